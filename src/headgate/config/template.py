"""The headgate.yaml that ``headgate init`` writes: short, commented, and valid once filled."""

from __future__ import annotations

import re

from headgate.config.schema import nearest
from headgate.errors import UsageError

__all__ = ["template"]

_TASKS = ("embed", "classify", "predict", "rerank")

_MODEL = {
    "embed": """\
# The model: an ONNX file with its tokenizer, or {path: DIR} of a transformers encoder. A running
# server that is not ours is measured where it is: {url: "http://host:port", name: its-model}.
model:
  onnx: model.onnx
  tokenizer: tokenizer.json
  max_tokens: 256          # longer texts are refused, unless truncate: true""",
    "classify": """\
# The model: an ONNX file; one input whose first axis is the batch. Of scikit-learn instead:
# {sklearn: "train:estimator"}, where train.py beside this file has a function estimator() that
# returns the fitted estimator.
model:
  onnx: model.onnx""",
    "predict": """\
# The model: an ONNX file; one input whose first axis is the batch, and its first output is what is
# predicted. Of scikit-learn instead: {sklearn: "train:estimator"}, where train.py beside this file
# has a function estimator() that returns the fitted estimator.
model:
  onnx: model.onnx""",
    "rerank": """\
# The model: an ONNX cross-encoder whose first output is one logit a pair, and its tokenizer.
model:
  onnx: model.onnx
  tokenizer: tokenizer.json
  max_tokens: 512          # longer pairs are refused, unless truncate: true""",
}

_DATA = {
    "embed": """\
# evaluate.jsonl, one JSON object a line. Without labels:
#   {"id": "t1", "text": "how do I read a file"}
# or, better, with labels (and "slices": ["length:short"]):
#   {"id": "p1", "passage": "open() returns a file object ..."}
#   {"id": "q1", "query": "how do I read a file", "relevant": ["p1"]}""",
    "classify": """\
# evaluate.jsonl, one JSON object a line; label and slices are optional:
#   {"id": "1", "input": [0.0, 5.0, 13.0], "label": 3, "slices": ["pen:thick"]}""",
    "predict": """\
# evaluate.jsonl, one JSON object a line; label, the true value, is for your own metric; slices are
# optional:
#   {"id": "1", "input": [0.0, 5.0, 13.0], "label": 21.5, "slices": ["region:north"]}""",
    "rerank": """\
# evaluate.jsonl, one JSON object a line, one for each text of a query; label (how much it answers
# the query, 0 or more) and slices are optional:
#   {"id": "1", "query": "how do I read a file", "text": "open() returns ...", "label": 1}
#   {"id": "2", "query": "how do I read a file", "text": "print() writes ...", "label": 0}""",
}

_QUALITY = {
    "embed": """\
  agreement@10:            # of the ten nearest texts, how many are those of today
    at_least: 90%
    why: callers keep the answers that they have today
    on_breach: rollback
# recall@10:               # with labels, better: this instead
#   {not_below_current_by: 0.02, why: ..., on_breach: rollback}""",
    "classify": """\
  agreement:               # how many answers are those of today
    at_least: 99%
    why: callers keep the answers that they have today
    on_breach: rollback
# accuracy:                # with labels, better: this instead
#   {not_below_current_by: 1%, why: ..., on_breach: rollback}""",
    "predict": """\
  error:                   # the margin: so much more of it than today goes unnoticed
    not_above_current_by: 1
    why: callers round to whole numbers
    on_breach: rollback""",
    "rerank": """\
  agreement:               # for how many queries the same text comes first as today
    at_least: 99%
    why: callers keep the answers that they have today
    on_breach: rollback
# ndcg@10:                 # with labels, better: this instead
#   {not_below_current_by: 0.02, why: ..., on_breach: rollback}""",
}
_SPLITS = {
    "embed": """\
# holdout certifies what evaluate chose; students learn from train and int8 takes its ranges from
# calibrate, both {"id": ..., "text": ...}. No item may be in two.
data:
  evaluate: evaluate.jsonl
# holdout: holdout.jsonl
# train: train.jsonl
# calibrate: calibrate.jsonl""",
    "classify": """\
# holdout certifies what evaluate chose; small students learn from train, int8 takes its ranges
# and a cascade its threshold from calibrate. All have rows as above, and no item may be in two.
data:
  evaluate: evaluate.jsonl
# holdout: holdout.jsonl
# train: train.jsonl
# calibrate: calibrate.jsonl""",
    "rerank": """\
# holdout certifies what evaluate chose; int8 takes its ranges from calibrate. Both have rows as
# above, and no query may be in two.
data:
  evaluate: evaluate.jsonl
# holdout: holdout.jsonl
# calibrate: calibrate.jsonl""",
}
_SPLITS["predict"] = _SPLITS["classify"]
_OWN = {
    "predict": """\

# How far off is too far, only you know. metrics.py beside this file has the function; range is the
# least and the greatest value that it gives of one item, and what lies outside counts as lost:
#   def error(item, output):
#       return min(abs(float(output[0]) - item["label"]), 100.0)
metrics:
  error: {function: "metrics:error", direction: lower_is_better, range: [0, 100]}

# Small students are tried where they are named; mlp_cascade asks the model where it is unsure.
# candidates: [mlp, mlp_cascade]
""",
}
"""What only these tasks have, before the promises."""
_ASKED = {"embed": '"text": ...', "rerank": '"query": ..., "text": ...'}

_TEXT = """\
# An endpoint: what is promised to callers, by whom, and on which evidence.
# `headgate optimize headgate.yaml` finds the cheapest way to keep these promises.
# Paths are relative to this file. Every key is in `headgate schema`.
endpoint: {endpoint}
task: {task}

# Who decides when it fails: webhook:URL or command:PROGRAM; ${{NAME}} is read from the environment.
owner:
  team: my-team
  escalate: "command:logger headgate"

{model}

{data}
{splits}

# What is asked, and when: a rate, or better a log of {{"at_s": 0.013, {asked}}}.
workload:
  rate_per_s: 20
# log: workload.jsonl

# What one second of the whole machine costs. Without it costs are shown in seconds of the machine
# (device_s_per_1k); a contract on cost_per_1k needs it.
# prices: {{device_second: 0.00002}}
{own}
# The promises. Each needs one bound, a why, and what is done on breach (warn, rollback, retrain
# or escalate); a promotion needs all four axes: quality, safety, latency and cost.
contracts:
{quality}
  batch_invariance:        # no answer may depend on who shared its batch
    one_of: [exact, within_epsilon]
    why: no caller may change another's answer
    on_breach: rollback
  latency_p95:             # or {{at_most: 40ms}}
    ratio_to_current_at_most: 1.0
    why: nobody waits longer than today
    on_breach: rollback
  device_s_per_1k:         # seconds of the machine for 1,000 requests
    ratio_to_current_at_most: 1.0
    why: it is to become cheaper
    on_breach: rollback

# Watched while serving, beside what says at_most above: error_rate, invalid_rate, wrong_hit_rate,
# input_drift, age. on_breach: retrain runs the command under retrain.
# retrain: "headgate optimize --fresh ."
# live:
#   error_rate: {{at_most: 1%, why: ..., on_breach: rollback}}
"""


def template(task: str, *, endpoint: str) -> str:
    """A headgate.yaml for ``task``, named after ``endpoint``. Raises ``UsageError``.

    >>> "task: classify" in template("classify", endpoint="Digits 2")
    True
    """
    if task not in _TASKS:
        raise UsageError(f"there is no task {task!r}", where="--task", fix=nearest(task, _TASKS))
    name = re.sub(r"[^a-z0-9]+", "-", endpoint.lower()).strip("-")[:63].strip("-")
    return _TEXT.format(
        endpoint=name or "my-endpoint",
        task=task,
        model=_MODEL[task],
        data=_DATA[task],
        quality=_QUALITY[task],
        splits=_SPLITS[task],
        own=_OWN.get(task, ""),
        asked=_ASKED.get(task, '"input": [...]'),
    )
