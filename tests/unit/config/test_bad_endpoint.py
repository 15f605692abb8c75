"""Each way to get headgate.yaml wrong has one message: where, what, and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config import load_config
from headgate.errors import ConfigError, InputError, UsageError

from .conftest import GOOD, Load, spoilt

MODEL = "{onnx: model.onnx, tokenizer: tokenizer.json}"

BAD = {
    "misspelt key": (
        spoilt("contracts:", "contract:"),
        "unknown_key",
        "headgate.yaml:8: contract: there is no key 'contract' here\n"
        "  what to do: did you mean 'contracts'?",
    ),
    "misspelt key inside a contract": (
        spoilt("why: goal 7", "wy: goal 7"),
        "unknown_key",
        "headgate.yaml:9: contracts.recall@10.wy: there is no key 'wy' here\n"
        "  what to do: did you mean 'why'?",
    ),
    "key that is near to nothing": (
        spoilt("device_second: 2e-5", "gold: 1"),
        "unknown_key",
        "headgate.yaml:7: prices.gold: there is no key 'gold' here\n"
        "  what to do: known here: device_second, input_token, output_token, currency",
    ),
    "no owner": (
        spoilt('owner: {team: search, escalate: "webhook:https://oncall.example/search"}\n', ""),
        "missing_key",
        "headgate.yaml: owner: is missing\n"
        "  what to do: write, for example, `owner: {team: search, escalate: "
        '"webhook:${ONCALL_URL}"}`'
        " (Who owns the endpoint, and how they are reached)",
    ),
    "owner without escalation": (
        spoilt(', escalate: "webhook:https://oncall.example/search"', ""),
        "missing_key",
        "headgate.yaml:2: owner.escalate: is missing\n"
        "  what to do: write, for example, `escalate: webhook:${ONCALL_URL}` (How the team is "
        "reached: webhook:URL or command:PROGRAM; ${NAME} is read from the environment when it is "
        "used, so that no secret enters the ledger)",
    ),
    "escalation to nowhere": (
        spoilt("webhook:https://oncall.example/search", "the team chat"),
        "config",
        "headgate.yaml:2: owner.escalate: 'the team chat' is not a way to reach the owner\n"
        '  what to do: write "webhook:URL" or "command:PROGRAM ARGUMENTS"; ${NAME} is read from '
        "the environment",
    ),
    "missing file": (
        spoilt("evaluate: queries.jsonl", "evaluate: querys.jsonl"),
        "file_missing",
        "headgate.yaml:6: data.evaluate: there is no file 'querys.jsonl'\n"
        "  what to do: paths are relative to ./; correct the path or add it",
    ),
    "missing model directory": (
        spoilt("{onnx: model.onnx, tokenizer: tokenizer.json}", "{path: minilm}"),
        "file_missing",
        "headgate.yaml:4: model.path: there is no directory 'minilm'\n"
        "  what to do: paths are relative to ./; correct the path or add it",
    ),
    "a limit without room": (
        spoilt("not_below_current_by: 1%", "at_least: 100%"),
        "never_decides",
        "headgate.yaml:9: contracts.recall@10: can never be kept, whatever is measured: its limit "
        "leaves no room\n"
        "  what to do: write a limit that the best value of the metric keeps with some room",
    ),
    "a margin that lets any loss through": (
        spoilt("not_below_current_by: 1%", "not_below_current_by: 100%"),
        "never_decides",
        "headgate.yaml:9: contracts.recall@10: has a margin of 1, and one item's value is from "
        "0 to 1: whatever is answered would keep it\n"
        "  what to do: write a smaller margin",
    ),
    "a margin without end": (
        spoilt("not_below_current_by: 1%", "not_below_current_by: 1e999"),
        "config",
        "headgate.yaml:9: contracts.recall@10: the margin inf is not a finite number\n"
        "  what to do: write a fraction, such as 0.01 or 1%",
    ),
    "a range without end": (
        GOOD + "metrics: {far: {function: 'own:far', range: [0, 1e999]}}\n",
        "wrong_value",
        "headgate.yaml:13: metrics.far.range: [0, inf] has no finite width, of which a margin is a "
        "share\n"
        "  what to do: write the lowest and the highest value of one item, such as [0, 100], and "
        "have the metric return no more",
    ),
    "a range whose width is no number": (
        GOOD + "safety: {far: {function: 'own:far', range: [-1e308, 1e308]}}\n",
        "wrong_value",
        "headgate.yaml:13: safety.far.range: [-1e+308, 1e+308] has no finite width, of which a "
        "margin is a share\n"
        "  what to do: write the lowest and the highest value of one item, such as [0, 100], and "
        "have the metric return no more",
    ),
    "a range of words": (
        GOOD + "metrics: {far: {function: 'own:far', range: [0, .inf]}}\n",
        "wrong_value",
        "headgate.yaml:13: metrics.far.range[1]: '.inf' is not a number\n"
        "  what to do: write, for example, `range: [0, 100]` (The lowest and the highest value of "
        "one item)",
    ),
    "a margin that only a gain would keep": (
        spoilt("not_below_current_by: 1%", "not_below_current_by: 0"),
        "never_decides",
        "headgate.yaml:9: contracts.recall@10: has a margin of 0: not even answers that equal "
        "current's would keep it\n"
        "  what to do: write how much worse it may get; a gain is asked for by at_least",
    ),
    "a latency of nothing": (
        spoilt("at_most: 40ms", "at_most: 0ms"),
        "never_decides",
        "headgate.yaml:11: contracts.latency_p95: can never be kept, whatever is measured: its "
        "limit leaves no room\n"
        "  what to do: write a limit that the best value of the metric keeps with some room",
    ),
    "a cost of nothing": (
        spoilt("at_most: 0.002", "at_most: 0"),
        "never_decides",
        "headgate.yaml:12: contracts.cost_per_1k: can never be kept, whatever is measured: its "
        "limit leaves no room\n"
        "  what to do: write a limit that the best value of the metric keeps with some room",
    ),
    "a margin as wide as a range that nobody wrote": (
        spoilt("recall@10: {not_below_current_by: 1%", "f1: {not_below_current_by: 3")
        + 'metrics: {f1: "own:f1"}\n',
        "never_decides",
        "headgate.yaml:9: contracts.f1: has a margin of 3, and one item's value is from 0 to 1 "
        "(what is taken where metrics.f1.range is left out): whatever is answered would keep it\n"
        "  what to do: write the lowest and the highest value of one item there, `range: [LOWEST, "
        "HIGHEST]`, or a smaller margin here",
    ),
    "a limit outside of a range that is written": (
        spoilt("recall@10: {not_below_current_by: 1%", "f1: {at_least: 9")
        + 'metrics: {f1: {function: "own:f1", range: [2, 5]}}\n',
        "never_decides",
        "headgate.yaml:9: contracts.f1: can never be kept: its limit is 9, and one item's value "
        "is from 2 to 5 (metrics.f1.range)\n"
        "  what to do: write the lowest and the highest value of one item there, `range: [LOWEST, "
        "HIGHEST]`, or another limit here",
    ),
    "no class that is allowed": (
        spoilt("[exact, within_epsilon]", "[]"),
        "wrong_value",
        "headgate.yaml:10: contracts.batch_invariance.one_of: is empty\n"
        "  what to do: write, for example, `one_of: [exact, within_epsilon]` (The classes that are "
        "allowed)",
    ),
    "fewer blocks than the gate wants": (
        f"{GOOD}replay: {{blocks: 7}}\n",
        "never_decides",
        "headgate.yaml:11: contracts.latency_p95: can never be decided: it needs 8 blocks, and "
        "replay.blocks is 7\n"
        "  what to do: write `replay: {blocks: 8}` or more",
    ),
    "more blocks asked for than are run": (
        spoilt("at_most: 40ms,", "at_most: 40ms, min_n: 20,"),
        "never_decides",
        "headgate.yaml:11: contracts.latency_p95: can never be decided: it needs 20 blocks, and "
        "replay.blocks is 9\n"
        "  what to do: write `replay: {blocks: 20}` or more",
    ),
    "a holdout that may never certify": (
        f"{GOOD}holdout_error_budget: 4%\n",
        "wrong_value",
        "headgate.yaml:13: holdout_error_budget: 0.04 is out of range: it must be 0.05 or more\n"
        "  what to do: write, for example, `holdout_error_budget: 0.25` (The chance that may be "
        "taken of any certificate on one holdout being wrong, said before it is looked at; each "
        "look takes 5 % of it, and then new holdout data are needed)",
    ),
    "embedder without tokenizer": (
        spoilt(", tokenizer: tokenizer.json", ""),
        "missing_key",
        "headgate.yaml:4: model.tokenizer: is missing: an embedder takes text\n"
        "  what to do: write, for example, `tokenizer: tokenizer.json`",
    ),
    "names of classes where there are none": (
        spoilt("tokenizer: tokenizer.json}", "tokenizer: tokenizer.json, labels: [a, b]}"),
        "wrong_value",
        "headgate.yaml:4: model.labels: names classes, and embed has none\n  what to do: remove it",
    ),
    "two models": (
        spoilt("onnx: model.onnx", "onnx: model.onnx, package: minilm"),
        "wrong_value",
        "headgate.yaml:4: model: names 2 sources: onnx, package\n"
        "  what to do: give exactly one of onnx, path, package, sklearn, url",
    ),
    "a url without a scheme": (
        spoilt(MODEL, "{url: 'tei:8080'}"),
        "config",
        "headgate.yaml:4: model.url: 'tei:8080' is not the URL of a server\n"
        "  what to do: write http://host:port, with the path in front of /v1 or /v2; secrets go "
        "under headers",
    ),
    "a url with a password": (
        spoilt(MODEL, "{url: 'https://me:secret@tei'}"),
        "config",
        "headgate.yaml:4: model.url: 'https://me:secret@tei' is not the URL of a server\n"
        "  what to do: write http://host:port, with the path in front of /v1 or /v2; secrets go "
        "under headers",
    ),
    "a tokenizer beside a url": (
        spoilt(MODEL, "{url: 'http://tei', tokenizer: tokenizer.json}"),
        "wrong_value",
        "headgate.yaml:4: model.tokenizer: stands beside a url\n"
        "  what to do: leave it out: the server sees to it",
    ),
    "a declared digest beside no url": (
        spoilt("tokenizer: tokenizer.json", "tokenizer: tokenizer.json, server: tei"),
        "wrong_value",
        "headgate.yaml:4: model.server: stands beside no url\n"
        "  what to do: leave it out, or add `url:`",
    ),
    "a digest that is none": (
        spoilt(MODEL, "{url: 'http://tei', model_digest: v1.5}"),
        "config",
        "headgate.yaml:4: model.model_digest: 'v1.5' is not a digest\n"
        "  what to do: write sha256: and what `sha256sum FILE` prints",
    ),
    "a secret in the file": (
        spoilt(MODEL, "{url: 'http://tei', headers: {Authorization: Bearer abc}}"),
        "config",
        "headgate.yaml:4: model.headers.Authorization: 'Bearer abc' is not a header without a "
        "secret\n"
        '  what to do: write "Bearer ${NAME}": the file goes into the ledger, and the environment '
        "does not",
    ),
    "a V2 server without the model's name": (
        spoilt(MODEL, "{url: 'http://tei', protocol: v2}"),
        "missing_key",
        "headgate.yaml:4: model.name: is missing: /v2 does not list its models\n"
        "  what to do: write what the server calls the model",
    ),
    "OpenAI's protocol for a classifier": (
        spoilt(MODEL, "{url: 'http://tei', protocol: openai}").replace("embed", "classify"),
        "wrong_value",
        "headgate.yaml:4: model.protocol: has no classify\n  what to do: write `protocol: v2`",
    ),
    "no evaluation data": (
        spoilt("evaluate: queries.jsonl", "train: queries.jsonl"),
        "missing_key",
        "headgate.yaml:6: data.evaluate: is missing\n"
        "  what to do: write, for example, `evaluate: evaluate.jsonl` (What candidates are "
        "measured on; labels are optional)",
    ),
    "key without value": (
        spoilt("data: {evaluate: queries.jsonl}", "data:"),
        "wrong_value",
        "headgate.yaml:6: data: has no value\n"
        "  what to do: write, for example, `data: {evaluate: evaluate.jsonl}` (What it is "
        "measured, trained and calibrated on)",
    ),
    "contract without rationale": (
        spoilt("why: goal 7, ", ""),
        "missing_key",
        "headgate.yaml:9: contracts.recall@10.why: is missing\n"
        '  what to do: write, for example, `why: "100 ms page budget"` (The rationale of the '
        "limit: who asked for it, and what it protects)",
    ),
    "contract with an empty rationale": (
        spoilt("why: goal 7", "why: ''"),
        "wrong_value",
        "headgate.yaml:9: contracts.recall@10.why: is empty\n"
        '  what to do: write, for example, `why: "100 ms page budget"` (The rationale of the '
        "limit: who asked for it, and what it protects)",
    ),
    "contract without action": (
        spoilt("{at_most: 40ms, why: 100 ms page, on_breach: rollback}", "{at_most: 1, why: w}"),
        "missing_key",
        "headgate.yaml:11: contracts.latency_p95.on_breach: is missing\n"
        "  what to do: write, for example, `on_breach: rollback` (What is done when it does not "
        "hold: warn, rollback, retrain or escalate)",
    ),
    "contract with another action": (
        spoilt("on_breach: warn", "on_breach: warning"),
        "wrong_value",
        "headgate.yaml:12: contracts.cost_per_1k.on_breach: 'warning' is not one of warn, "
        "rollback, retrain, escalate\n"
        "  what to do: did you mean 'warn'?",
    ),
    "contract without escalation": (
        spoilt("why: goal 7", "why: goal 7, escalate: ''"),
        "config",
        "headgate.yaml:9: contracts.recall@10.escalate: '' is not a way to reach the owner\n"
        '  what to do: write "webhook:URL" or "command:PROGRAM ARGUMENTS"; ${NAME} is read from '
        "the environment",
    ),
    "contract without rollback candidate": (
        spoilt("why: goal 7", "why: goal 7, rollback: ''"),
        "wrong_value",
        "headgate.yaml:9: contracts.recall@10.rollback: is empty\n"
        "  what to do: write, for example, `rollback: previous generation` (What returns when it "
        "does not hold)",
    ),
    "contract without bound": (
        spoilt("at_most: 40ms, ", ""),
        "contract_without_bound",
        "headgate.yaml:11: contracts.latency_p95: has no bound\n"
        "  what to do: give exactly one of at_most, at_least, not_below_current_by, "
        "not_above_current_by, ratio_to_current_at_most, one_of",
    ),
    "contract with two bounds": (
        spoilt("at_most: 40ms", "at_most: 40ms, at_least: 1ms"),
        "contract_with_two_bounds",
        "headgate.yaml:11: contracts.latency_p95: has 2 bounds: at_most, at_least\n"
        "  what to do: give exactly one of at_most, at_least, not_below_current_by, "
        "not_above_current_by, ratio_to_current_at_most, one_of",
    ),
    "bound that points the wrong way": (
        spoilt("not_below_current_by: 1%", "at_most: 0.9"),
        "wrong_bound",
        "headgate.yaml:9: contracts.recall@10: at_most does not fit recall@10, which is better "
        "high\n"
        "  what to do: write at_least or not_below_current_by",
    ),
    "latency in percent": (
        spoilt("at_most: 40ms", "at_most: 40%"),
        "config",
        "headgate.yaml:11: contracts.latency_p95: '40%' has a unit that does not fit here\n"
        "  what to do: write a duration, such as 40ms or 2s; units: ns, us, µs, ms, s, min, h, d",
    ),
    "latency without a unit": (
        spoilt("at_most: 40ms", "at_most: 40"),
        "config",
        "headgate.yaml:11: contracts.latency_p95: 40 has no unit\n"
        "  what to do: write 40ms or 40s; units: ns, us, µs, ms, s, min, h, d",
    ),
    "latency of nothing, which is that in every unit": (
        spoilt("at_most: 40ms", "at_most: 0"),
        "never_decides",
        "headgate.yaml:11: contracts.latency_p95: can never be kept, whatever is measured: its "
        "limit leaves no room\n"
        "  what to do: write a limit that the best value of the metric keeps with some room",
    ),
    "a number without a unit, with all its digits": (
        GOOD + "search: {budget: 1234567.5}\n",
        "config",
        "headgate.yaml:13: search.budget: 1234567.5 has no unit\n"
        "  what to do: write 1234567.5min; units: ns, us, µs, ms, s, min, h, d",
    ),
    "age without a unit, while serving": (
        GOOD + "live:\n  age: {at_most: '90', why: w, on_breach: warn}\n",
        "config",
        "headgate.yaml:14: live.age: 90 has no unit\n"
        "  what to do: write 90d; units: ns, us, µs, ms, s, min, h, d",
    ),
    "age without a unit, of data": (
        GOOD + "data_contracts:\n  evaluate:\n    age: {at_most: 30, why: w, on_breach: warn}\n",
        "config",
        "headgate.yaml:15: data_contracts.evaluate.age: 30 has no unit\n"
        "  what to do: write 30d; units: ns, us, µs, ms, s, min, h, d",
    ),
    "budget without a unit": (
        GOOD + "search: {budget: 20}\n",
        "config",
        "headgate.yaml:13: search.budget: 20 has no unit\n"
        "  what to do: write 20min; units: ns, us, µs, ms, s, min, h, d",
    ),
    "negative margin": (
        spoilt("not_below_current_by: 1%", "not_below_current_by: -1%"),
        "wrong_value",
        "headgate.yaml:9: contracts.recall@10: the limit -1% is negative\n"
        "  what to do: a margin is how much worse it may get",
    ),
    "negative margin of a metric of one's own": (
        spoilt("recall@10: {not_below_current_by: 1%", "f1: {not_below_current_by: -0.1")
        + 'metrics: {f1: "own:f1"}\n',
        "wrong_value",
        "headgate.yaml:9: contracts.f1: the limit -0.1 is negative\n"
        "  what to do: a margin is how much worse it may get",
    ),
    "ratio of what items have": (
        spoilt("recall@10: {not_below_current_by: 1%", "flip_rate: {ratio_to_current_at_most: 1"),
        "wrong_bound",
        "headgate.yaml:9: contracts.flip_rate: ratio_to_current_at_most does not fit flip_rate, "
        "which is measured item by item\n"
        "  what to do: write a bound relative to current by a margin, or an absolute one",
    ),
    "negative limit": (
        spoilt("at_most: 40ms", "at_most: -40ms"),
        "wrong_value",
        "headgate.yaml:11: contracts.latency_p95: the limit -40ms is negative\n"
        "  what to do: nothing that is measured here is below 0; write the most that it may be, "
        "without the minus",
    ),
    "share above the whole": (
        spoilt("not_below_current_by: 1%", "not_below_current_by: 990%"),
        "wrong_value",
        "headgate.yaml:9: contracts.recall@10: the limit 990% is more than the whole\n"
        "  what to do: write a share from 0 to 1, or from 0% to 100%",
    ),
    "metric that nobody measures": (
        spoilt("recall@10:", "recal@10:"),
        "unknown_metric",
        "headgate.yaml:9: contracts.recal@10: nothing measures a metric named 'recal@10' "
        "for the task embed\n"
        "  what to do: did you mean 'recall@10'? Your own go under metrics or safety.",
    ),
    "class that does not exist": (
        spoilt("[exact, within_epsilon]", "[exakt]"),
        "wrong_value",
        "headgate.yaml:10: contracts.batch_invariance: there is no batch-invariance class 'exakt'\n"
        "  what to do: did you mean 'exact'?",
    ),
    "negative price": (
        spoilt("device_second: 2e-5", "device_second: -2e-5"),
        "wrong_value",
        "headgate.yaml:7: prices.device_second: -2e-05 is out of range: it must be 0 or more\n"
        "  what to do: write, for example, `device_second: 0.00002` (One second of the whole "
        "machine)",
    ),
    "price in words": (
        spoilt("device_second: 2e-5", "device_second: cheap"),
        "config",
        "headgate.yaml:7: prices.device_second: 'cheap' is not a number\n"
        "  what to do: write a plain number",
    ),
    "vectors of what makes none": (
        spoilt("evaluate: queries.jsonl", "evaluate: queries.jsonl, index_items: 5").replace(
            "task: embed", "task: classify"
        ),
        "wrong_value",
        "headgate.yaml:6: data.index_items: counts vectors, and classify has none\n"
        "  what to do: remove it",
    ),
    "an index of nothing": (
        spoilt("evaluate: queries.jsonl", "evaluate: queries.jsonl, index_items: 0"),
        "wrong_value",
        "headgate.yaml:6: data.index_items: 0 is out of range: it must be 1 or more\n"
        "  what to do: write, for example, `index_items: 1200000` (How many vectors the index of "
        "an encoder holds; else the passages of evaluate are counted)",
    ),
    "log and rate": (
        spoilt("workload: {log: access.jsonl}", "workload: {log: access.jsonl, rate_per_s: 3}"),
        "wrong_value",
        "headgate.yaml:5: workload: wants either a log or a rate\n"
        "  what to do: write `log: workload.jsonl` or `rate_per_s: 20`",
    ),
    "wrong id": (
        spoilt("endpoint: docs-search", "endpoint: Docs Search"),
        "config",
        "headgate.yaml:1: endpoint: 'Docs Search' is not an endpoint's id\n"
        "  what to do: use lower-case letters, digits and hyphens, at most 63",
    ),
    "task to come": (
        spoilt("task: embed", "task: generate"),
        "not_yet",
        "headgate.yaml:3: task: 'generate' is not there yet\n"
        "  what to do: write embed, classify, predict or rerank",
    ),
    "no task at all": (
        spoilt("task: embed", "task: foo"),
        "wrong_value",
        "headgate.yaml:3: task: 'foo' is not one of embed, classify, predict, rerank\n"
        "  what to do: write one of them",
    ),
    "a list of tasks": (
        spoilt("task: embed", "task: [classify]"),
        "wrong_value",
        "headgate.yaml:3: task: ['classify'] is not one of embed, classify, predict, rerank\n"
        "  what to do: did you mean 'classify'?",
    ),
    "cross-encoder that is no ONNX file": (
        spoilt("task: embed", "task: rerank").replace(
            "onnx: model.onnx, tokenizer: tokenizer.json", "package: minilm"
        ),
        "not_yet",
        "headgate.yaml:4: model.package: a cross-encoder is taken as an ONNX file\n"
        "  what to do: export it so that its output is one logit a pair, "
        "and write `onnx: model.onnx`",
    ),
    "a classifier as an encoder, which has no head": (
        spoilt("task: embed", "task: classify").replace(
            "onnx: model.onnx, tokenizer: tokenizer.json", "path: minilm"
        ),
        "not_yet",
        "headgate.yaml:4: model.path: is an encoder, which embeds: classify has a head, which "
        "would be lost\n"
        "  what to do: export encoder and head as one model, and write `onnx: model.onnx` and "
        "`tokenizer:`",
    ),
    "cross-encoder without tokenizer": (
        spoilt("task: embed", "task: rerank").replace(", tokenizer: tokenizer.json", ""),
        "missing_key",
        "headgate.yaml:4: model.tokenizer: is missing: a cross-encoder takes text\n"
        "  what to do: write, for example, `tokenizer: tokenizer.json`",
    ),
    "candidate that does not exist": (
        GOOD + "candidates: [bf16, int8_dinamic]\n",
        "config",
        "headgate.yaml:13: candidates[1]: there is no candidate 'int8_dinamic'\n"
        "  what to do: did you mean 'int8_dynamic'?",
    ),
    "candidate that takes part anyway": (
        GOOD + "candidates: [bf16, fp32]\n",
        "config",
        "headgate.yaml:13: candidates[1]: 'fp32', the model as it is, takes part without being "
        "named\n"
        "  what to do: leave it out; `candidates: []` tries nothing else",
    ),
    "prepared by no one": (
        spoilt("log: access.jsonl", "log: 'prepared:w.jsonl'"),
        "not_prepared",
        "headgate.yaml:5: workload.log: 'prepared:w.jsonl' is written by no one\n"
        "  what to do: add `prepare: module:function`, which writes it, or name a file",
    ),
    "prepared elsewhere": (
        spoilt("log: access.jsonl", "log: 'prepared:../w.jsonl'") + "prepare: make:main\n",
        "wrong_value",
        "headgate.yaml:5: workload.log: 'prepared:../w.jsonl' is not a file name\n"
        "  what to do: write prepared:NAME, without directories",
    ),
    "newer format": (
        "format: 2\nnew_key: 1\n" + GOOD,
        "newer_format",
        "headgate.yaml:1: format: is written in format 2; this Headgate reads up to 1\n"
        "  what to do: upgrade headgate: pip install --upgrade headgate",
    ),
    "variable outside escalate": (
        spoilt("onnx: model.onnx", "onnx: '${MODEL}'"),
        "environment",
        "headgate.yaml:4: model.onnx: '${MODEL}' is not read from the environment here\n"
        "  what to do: write the value itself; ${NAME} works under escalate and model.headers "
        "only",
    ),
    "metric named as one of Headgate's": (
        GOOD + "metrics: {mrr@10: 'own:mrr'}\n",
        "wrong_value",
        "headgate.yaml:13: metrics.mrr@10: is the name of a metric of Headgate's own\n"
        "  what to do: choose another name",
    ),
    "function without module": (
        GOOD + "preprocess: clean\n",
        "config",
        "headgate.yaml:13: preprocess: 'clean' is not a function\n"
        "  what to do: write module:function, the module being a file beside headgate.yaml",
    ),
    "duplicate key": (
        GOOD + "task: classify\n",
        "not_yaml",
        "headgate.yaml:13: the key 'task' stands here and on line 3\n"
        "  what to do: keep one of them",
    ),
    "not YAML": (
        spoilt("task: embed", "task: [embed"),
        "not_yaml",
        "headgate.yaml:4: this is not YAML: expected ',' or ']', but got ':'\n"
        "  what to do: check the indentation, quotes and brackets on that line",
    ),
    "alert without rationale": (
        GOOD + "live:\n  error_rate: {at_most: 1%, on_breach: warn}\n",
        "missing_key",
        "headgate.yaml:14: live.error_rate.why: is missing\n"
        '  what to do: write, for example, `why: "100 ms page budget"` (The rationale of the '
        "limit: who asked for it, and what it protects)",
    ),
    "alert without rollback candidate": (
        GOOD + "live:\n  error_rate: {at_most: 1%, why: w, on_breach: warn, rollback: ''}\n",
        "wrong_value",
        "headgate.yaml:14: live.error_rate.rollback: is empty\n"
        "  what to do: write, for example, `rollback: previous generation` (What returns when it "
        "does not hold)",
    ),
    "alert without escalation": (
        GOOD + "live:\n  error_rate: {at_most: 1%, why: w, on_breach: warn, escalate: ''}\n",
        "config",
        "headgate.yaml:14: live.error_rate.escalate: '' is not a way to reach the owner\n"
        '  what to do: write "webhook:URL" or "command:PROGRAM ARGUMENTS"; ${NAME} is read from '
        "the environment",
    ),
    "contract on data without rationale": (
        GOOD + "data_contracts:\n  evaluate:\n    age: {at_most: 30d, on_breach: warn}\n",
        "missing_key",
        "headgate.yaml:15: data_contracts.evaluate.age.why: is missing\n"
        '  what to do: write, for example, `why: "100 ms page budget"` (The rationale of the '
        "limit: who asked for it, and what it protects)",
    ),
    "misspelt contract on data": (
        GOOD + "data_contracts:\n  evaluate:\n    aeg: {at_most: 30d, on_breach: warn}\n",
        "unknown_key",
        "headgate.yaml:15: data_contracts.evaluate.aeg: there is no key 'aeg' here\n"
        "  what to do: did you mean 'age'?",
    ),
    "live promise on what nobody sees": (
        GOOD + "live:\n  recall@10: {at_most: 1%, why: w, on_breach: warn}\n",
        "unknown_metric",
        "headgate.yaml:14: live.recall@10: nothing that is named 'recall@10' is seen while "
        "serving\n"
        "  what to do: known here: latency_p50, latency_p95, latency_p99, cost_per_1k, "
        "device_s_per_1k, error_rate, invalid_rate, wrong_hit_rate, input_drift, age",
    ),
    "live promise beside what is current": (
        GOOD + "live:\n  error_rate: {not_above_current_by: 1%, why: w, on_breach: warn}\n",
        "wrong_bound",
        "headgate.yaml:14: live.error_rate: not_above_current_by has nothing beside it to be "
        "compared with while serving\n"
        "  what to do: write at_most",
    ),
    "live promise that nothing ever fails": (
        GOOD + "live:\n  error_rate: {at_most: 0, why: w, on_breach: warn}\n",
        "wrong_value",
        "headgate.yaml:14: live.error_rate: that it never happens cannot be shown of traffic\n"
        "  what to do: write how much is too much, such as 0.1%",
    ),
    "live promise that nothing can break": (
        GOOD + "live:\n  error_rate: {at_most: 100%, why: w, on_breach: warn}\n",
        "wrong_value",
        "headgate.yaml:14: live.error_rate: a share of at most 1 is kept whatever happens\n"
        "  what to do: write how much is too much, such as 0.1%",
    ),
    "what is old brought back for being old": (
        GOOD + "live:\n  age: {at_most: 30d, why: w, on_breach: rollback}\n",
        "wrong_value",
        "headgate.yaml:14: live.age: what a rollback brings back is older still\n"
        "  what to do: write on_breach: retrain, escalate or warn",
    ),
    "safety that only warns": (
        spoilt("why: no strangers, on_breach: rollback", "why: no strangers, on_breach: warn"),
        "safety_only_warns",
        "headgate.yaml:10: contracts.batch_invariance: a breach of safety would only be warned of, "
        "and promoted\n  what to do: write on_breach: rollback, retrain or escalate",
    ),
    "a promise on cost for one on safety": (
        spoilt("why: budget line 7,", "why: budget line 7, axis: safety,"),
        "wrong_axis",
        "headgate.yaml:12: contracts.cost_per_1k: its axis is cost, not safety\n"
        "  what to do: leave axis out; only what is about answers may be quality or safety",
    ),
    "retraining without a command": (
        spoilt("on_breach: warn", "on_breach: retrain"),
        "retrain_without_command",
        "headgate.yaml:12: contracts.cost_per_1k.on_breach: is retrain, and no command does that\n"
        '  what to do: add `retrain: "COMMAND"`, such as "headgate optimize --fresh ."',
    ),
    "object in disguise": (
        GOOD + "seed: !!python/object/apply:os.getcwd []\n",
        "not_yaml",
        "headgate.yaml:13: the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd' is not read\n"
        "  what to do: write a plain value",
    ),
    "empty file": (
        "# nothing yet\n",
        "not_yaml",
        "headgate.yaml: holds no keys\n  what to do: `headgate init DIR` writes one to start from",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_says_where_what_and_what_to_do(case: str, load: Load) -> None:
    """One message for one mistake, exit code 2, and a reason code for machines."""
    text, reason, message = BAD[case]
    with pytest.raises(UsageError) as caught:
        load(text)
    assert str(caught.value) == message
    assert (caught.value.exit_code, caught.value.reason) == (2, reason)


@pytest.mark.parametrize(
    ("key", "old"),
    [
        ("model.onnx", "onnx: model.onnx"),
        ("model.tokenizer", "tokenizer: tokenizer.json"),
        ("data.evaluate", "evaluate: queries.jsonl"),
        ("workload.log", "log: access.jsonl"),
    ],
)
def test_a_directory_in_place_of_a_file_is_said_to_be_one(
    load: Load, endpoint: Path, key: str, old: str
) -> None:
    """It is there, so the advice is not to add it."""
    (endpoint / "saved").mkdir()
    with pytest.raises(InputError) as caught:
        load(spoilt(old, f"{old.split(':')[0]}: saved"))
    assert caught.value.reason == "wrong_file"
    assert f": {key}: 'saved' is a directory, and a file is wanted" in str(caught.value)
    assert caught.value.fix == "paths are relative to ./; name a file"


def test_a_file_in_place_of_a_models_directory_is_said_to_be_one(load: Load) -> None:
    """The other way round."""
    with pytest.raises(InputError) as caught:
        load(spoilt(MODEL, "{path: model.onnx}"))
    assert str(caught.value) == (
        "headgate.yaml:4: model.path: 'model.onnx' is a file, and a directory is wanted\n"
        "  what to do: paths are relative to ./; name a directory"
    )


def test_a_misspelt_key_is_named_before_the_key_that_it_leaves_missing(load: Load) -> None:
    """`ownr` leaves `owner` missing; the cause is what the message names."""
    with pytest.raises(ConfigError, match="did you mean 'owner'"):
        load(GOOD.replace("owner:", "ownr:"))


def test_a_missing_headgate_yaml_says_how_to_get_one(tmp_path: Path) -> None:
    """The first thing that a new user does wrong."""
    with pytest.raises(InputError) as caught:
        load_config(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/headgate.yaml: there is no such file\n"
        "  what to do: check the path, or let `headgate init DIR` write one"
    )


def test_a_document_that_contains_itself_is_refused(load: Load) -> None:
    """A recursive alias ends in a message, not in a stack overflow."""
    with pytest.raises(ConfigError, match="an alias makes the document endless"):
        load("owner: &a {team: *a}\n")


def test_a_file_that_is_not_utf8_is_refused(endpoint: Path) -> None:
    """Latin-1 ends in a message."""
    Path("headgate.yaml").write_bytes(b"endpoint: caf\xe9\n")
    with pytest.raises(InputError, match="byte 13 is not UTF-8"):
        load_config(Path("headgate.yaml"))
