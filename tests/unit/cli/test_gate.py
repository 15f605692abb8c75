"""gate: a verdict on recorded evidence, for CI; and what could be decided at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.config import load_config
from headgate.ledger import Store, hold
from headgate.objects import Direction, Release, jsonable, short
from headgate.optimize.gate import judge_candidate
from headgate.optimize.recorder import Recorder
from headgate.optimize.rules import as_declared
from headgate.planning import tried_by_default
from headgate.release import ANSWERS, LOAD, Blocks, ClassLabel, PairedItems, Rule, Samples
from headgate.runtime.decisions import accepted_before, decisions, rule_of

from .conftest import Cli, Ids, environment

N = 400
YAML = """\
endpoint: docs
owner: {team: search, escalate: "command:true"}
task: classify
model: {onnx: model.onnx}
data: {evaluate: evaluate.jsonl, holdout: holdout.jsonl}
workload: {rate_per_s: 20}
prices: {device_second: 0.00002}
contracts:
  accuracy: {not_below_current_by: 0.02, why: a test, on_breach: rollback}
  batch_invariance: {one_of: [exact], why: a test, on_breach: rollback}
  latency_p95: {ratio_to_current_at_most: 1.1, why: a test, on_breach: rollback}
  cost_per_1k: {ratio_to_current_at_most: 0.9, why: a test, on_breach: rollback}
"""
Judge = Callable[..., str]


@pytest.fixture
def yaml(ids: Ids) -> Path:
    """The endpoint's file beside the store, with 400 items that certify."""
    Path("model.onnx").touch()
    rows = [json.dumps({"id": f"i{k}", "input": [k], "label": k % 2}) for k in range(N)]
    for name in ("evaluate.jsonl", "holdout.jsonl"):
        Path(name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    path = Path("headgate.yaml")
    path.write_text(YAML, encoding="utf-8")
    return path


def samples(lost: int = 2) -> dict[str, Samples]:
    """Half as slow, a quarter as dear, and ``lost`` items worse, all of them in one slice."""
    aa = ((1.0, 1.0),)

    def blocks(metric: str, candidate: float) -> Blocks:
        return Blocks(metric, "s", Direction.LOWER, (candidate,) * 9, (1.0,) * 9, aa, aa)

    return {
        "accuracy": PairedItems(
            "accuracy",
            Direction.HIGHER,
            tuple(f"i{k}" for k in range(N)),
            tuple(float(k >= lost) for k in range(N)),
            tuple(float(k != N - 1) for k in range(N)),
            tuple((f"pen:{'thick' if k < 100 else 'thin'}",) for k in range(N)),
        ),
        "batch_invariance": ClassLabel("batch_invariance", "exact", 64),
        "latency_p95": blocks("latency_p95", 0.5),
        "cost_per_1k": blocks("cost_per_1k", 0.25),
    }


@pytest.fixture
def judge(yaml: Path, ids: Ids) -> Judge:
    """Records a decision about the student by the contracts of the file; its entry. ``seen_by``:
    the rules that saw the answers and the load; else the file's."""

    def record(
        current: str = "",
        given: dict[str, Samples] | None = None,
        seen_by: tuple[str | None, str | None] | None = None,
    ) -> str:
        config = load_config(yaml)
        planned = {"accuracy": N, "latency_p95": 9, "cost_per_1k": 9}
        rule = as_declared(
            Rule("docs", "holdout", "sha256:data", config.contracts, {}, planned, seed=0), config
        )
        with Store.open(Path(".headgate")) as store:
            rules = {r.digest: r for r in (rule_of(store, run) for run, _ in decisions(store))}
            recorder = Recorder(store, "docs", "search", environment(store), 0, Path.cwd())
            _, run = judge_candidate(
                recorder,
                candidate=ids.student,
                current=current or ids.baseline,
                rule=rule,
                samples=samples() if given is None else given,
                measurements={},
                in_force=dict(
                    zip((ANSWERS, LOAD), seen_by or (rule.digest, rule.digest), strict=True)
                ),
                before={d: rules[d] for d in seen_by or () if d in rules},
            )
        return run.entry

    return record


def test_a_candidate_that_keeps_every_contract_passes(cli: Cli, ids: Ids, judge: Judge) -> None:
    """Exit code 0, the flips and slices beside the averages, and what to type next."""
    entry = judge()
    said = cli("gate", ids.student)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].split()[:2] == ["docs", "ACCEPT"]
    assert lines[1] == "all 4 contracts are kept on holdout"
    accuracy = next(line for line in lines if line.startswith("accuracy"))
    assert accuracy.split() == ["accuracy", "quality", "pass", "400", "1", "2", "1"]
    slices = [line.split()[1] for line in lines if line.startswith("accuracy  pen:")]
    assert slices == ["pen:thick", "pen:thin"]
    assert said.err == f"`headgate promote {short(entry)}` makes it current.\n"
    assert cli("promote", short(entry)).code == 0
    assert cli("gate", ids.student, "--against", ids.baseline).err == "", "it has been promoted"


@pytest.mark.parametrize("command", [("show",), ("audit", "--object")])
def test_a_decision_is_shown_with_its_whole_promises(
    cli: Cli, ids: Ids, judge: Judge, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric may have several, so that its name alone does not say which is meant."""
    monkeypatch.setenv("COLUMNS", "200")
    said = " ".join(cli(*command, judge()).out.split())
    assert "latency_p95 ratio to current at most 1.1 pass" in said


def test_the_decision_names_the_candidate_as_well(cli: Cli, ids: Ids, judge: Judge) -> None:
    """By its run or by its own version; and --json says all of it."""
    entry = judge()
    with Store.open(Path(".headgate")) as store:
        version = store.get(entry).body["z"]["decision"]
    for id in (entry, version):
        found = json.loads(cli("gate", id, "--json").out)
        assert (found["candidate"], found["current"]) == (ids.student, ids.baseline)
        assert (found["action"], found["entry"], found["missing"]) == ("accept", entry, [])
        assert found["decision"]["results"][0]["flips"] == {"gained": 1, "lost": 2, "p": 1}


@pytest.mark.parametrize(("lost", "code", "action"), [(40, 3, "rollback"), (8, 4, "unknown")])
def test_harm_and_not_knowing_stop_a_release(
    cli: Cli, ids: Ids, judge: Judge, lost: int, code: int, action: str
) -> None:
    """Exit codes 3 and 4."""
    judge(given=samples(lost))
    assert cli("gate", ids.student).code == code
    assert json.loads(cli("gate", ids.student, "--json").out)["action"] == action


@pytest.mark.parametrize("metric", ["accuracy", "batch_invariance", "latency_p95", "cost_per_1k"])
def test_what_was_not_measured_is_never_a_pass(
    cli: Cli, ids: Ids, judge: Judge, metric: str
) -> None:
    """On whichever axis; the contract that wants it is named."""
    judge(given={m: s for m, s in samples().items() if m != metric})
    said = cli("gate", ids.student)
    assert said.code == 4
    assert f"{metric}: there are no samples of it" in " ".join(said.out.split())


def test_a_candidate_that_was_never_judged_says_how_to_judge_it(
    cli: Cli, ids: Ids, yaml: Path
) -> None:
    """Exit code 4, what is missing, and the command that gets it."""
    with Store.open(Path(".headgate")) as store:
        body = json.loads(store.read(ids.student)) | {"truncate": True}
        other = store.put_bytes(json.dumps(body).encode())
        artifact = store.artifact(ids.student)
        assert artifact is not None
        store.register(replace(artifact, version=other))
    said = cli("gate", other)
    assert said.code == 4
    assert "it was never judged, and not against" in said.out
    assert said.err == (
        "missing: a decision on quality, safety, latency and cost of these two\n"
        f"  what to do: type `headgate optimize {Path.cwd()}/headgate.yaml`, which measures the "
        "winner beside what is current\n"
    )


def test_a_decision_against_another_current_is_none(cli: Cli, ids: Ids, judge: Judge) -> None:
    """What it was judged against is said; against that it still passes."""
    judge()
    with Store.open(Path(".headgate")) as store:
        body = json.loads(store.read(ids.baseline)) | {"truncate": True}
        other = store.put_bytes(json.dumps(body).encode())
        artifact = store.artifact(ids.baseline)
        assert artifact is not None
        store.register(replace(artifact, version=other))
        store.promote(Release("docs", 1, other, None), expected_generation=0)
    said = cli("gate", ids.student, "--json")
    assert said.code == 4
    assert json.loads(said.out)["because"] == (
        f"it was judged against {short(ids.baseline)}, and not against {short(other)}"
    )
    assert cli("gate", ids.student, "--against", ids.baseline).code == 0


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        (
            "by: 0.02",
            "by: 0.2",
            "contracts.accuracy was not below current by 0.02, is not below current by 0.2 "
            "(looser)",
        ),
        (
            "ratio_to_current_at_most: 1.1",
            "at_most: 50ms",
            "contracts.latency_p95 was ratio to current at most 1.1, is at most 50.0 ms",
        ),
        ("0.00002", "0.00001", "prices is another"),
        (
            "contracts:\n",
            "replay: {load: 0.3}\ncontracts:\n",
            "replay.load was 0.7, is 0.3",
        ),
        (
            "contracts:\n",
            "candidates: [bf16]\ncontracts:\n",
            f"candidates was [{', '.join(tried_by_default('classify'))}], is [bf16]",
        ),
        ("contracts:\n", "seed: 1\ncontracts:\n", "seed was 0, is 1"),
    ],
)
def test_a_file_that_was_edited_since_makes_it_invalid(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path, old: str, new: str, part: str
) -> None:
    """What it says was never judged; the keys are named with what they were and are, the way out is
    no command that says the same again, and the old file is judged as before."""
    entry = judge()
    yaml.write_text(YAML.replace(old, new), encoding="utf-8")
    said = cli("gate", ids.student)
    assert said.code == 4
    assert "INVALID" in said.out
    edited = f"headgate.yaml was edited since: {part}. What it says now was never judged"
    assert edited in " ".join(said.out.split())
    way_out = (
        "put that back, and the decision counts again; or keep it, give new rows under "
        "data.holdout (answers to the old ones were seen), and take times again: `headgate "
        "optimize --fresh --promote "
    )
    assert way_out in said.err
    refused = cli("promote", short(entry))
    assert refused.code == 3, "one rule for all that approves"
    assert edited in refused.err
    assert way_out in refused.err
    yaml.write_text(YAML, encoding="utf-8")
    assert cli("gate", ids.student).code == 0
    assert cli("promote", short(entry)).code == 0


def test_the_same_promises_in_another_order_are_no_edit(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path
) -> None:
    """The decision counts as it did, for both that approve."""
    entry = judge()
    head, _, promises = YAML.partition("contracts:\n")
    lines = promises.splitlines(keepends=True)
    yaml.write_text(f"{head}contracts:\n{''.join(lines[::-1])}", encoding="utf-8")
    said = cli("gate", ids.student)
    assert (said.code, "edited" in said.out) == (0, False)
    assert cli("promote", short(entry)).code == 0


def test_what_was_too_late_for_its_samples_supersedes_nothing(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path
) -> None:
    """It says nothing of the two: with the rule of before put back, what that accepted counts, by
    whichever id, and a refusal of the late one names it."""
    entry = judge()
    with Store.open(Path(".headgate")) as store:
        first = rule_of(store, store.get(entry)).digest
    yaml.write_text(YAML.replace("by: 0.02", "by: 0.2"), encoding="utf-8")
    late = [judge(seen_by=(first, by)) for by in (first, None)]
    assert cli("gate", ids.student).code == 4
    refused = cli("promote", short(entry))
    assert "headgate.yaml was edited since: contracts.accuracy" in refused.err
    yaml.write_text(YAML, encoding="utf-8")
    assert cli("gate", ids.student).code == 0
    for decision in late:
        refused = cli("promote", short(decision))
        assert refused.code == 3
        assert "the rule was edited" in refused.err or "or edited, after this" in refused.err
    assert cli("promote", ids.student).code == 0


def test_only_what_counts_and_was_decided_by_the_rule_of_the_answers_is_named_instead(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path
) -> None:
    """Nothing of another rule or another current, nothing that was refused since."""
    entry = judge()
    with Store.open(Path(".headgate")) as store:
        first = rule_of(store, store.get(entry)).digest

    def named(run: str) -> str:
        with Store.open(Path(".headgate")) as store:
            return accepted_before(store, store.get(run))

    yaml.write_text(YAML.replace("by: 0.02", "by: 0.2"), encoding="utf-8")
    assert named(judge(seen_by=(first, None))) == short(entry)
    assert named(judge(seen_by=(first, first))) == short(entry)
    assert named(judge(seen_by=(None, None))) == ""
    assert named(judge(current=ids.student, seen_by=(first, None))) == ""
    late = judge(seen_by=(first, "sha256:third"))
    yaml.write_text(YAML, encoding="utf-8")
    judge(given=samples(lost=40))
    assert named(late) == "", "a later decision refuses it"


def test_what_was_promised_otherwise_at_the_first_look_is_said_with_its_unit(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path
) -> None:
    """By whatever approves, before anything becomes current, and again of what is."""
    yaml.write_text(YAML.replace("ratio_to_current_at_most: 1.1", "at_most: 50ms"))
    contracts = load_config(yaml).contracts
    yaml.write_text(YAML, encoding="utf-8")
    about = {"endpoint": "docs", "dataset": "sha256:data"}
    looked_at_by = Rule("docs", "holdout", "sha256:data", contracts, {}, {}, seed=0)
    with Store.open(Path(".headgate")) as store:
        digest = looked_at_by.digest
        rule = {"purpose": "certify", "digest": digest, **jsonable(looked_at_by)}  # type: ignore[dict-item]
        store.append("rule", rule)
        store.append("holdout_use", {**about, "rule": digest})
    entry = judge()
    told = "contracts.latency_p95 was at most 50.0 ms, is ratio to current at most 1.1; changed "
    assert told in " ".join(cli("gate", ids.student).out.split())
    for _ in range(2):
        assert f"changed after a look at the holdout: {told}" in cli("promote", short(entry)).err
    assert "already current" in cli("promote", short(entry)).out


def test_the_file_of_another_endpoint_says_nothing_of_this_one(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path
) -> None:
    """A store may hold several, and one file stands beside it."""
    entry = judge()
    yaml.write_text(YAML.replace("endpoint: docs", "endpoint: other\nseed: 1"), encoding="utf-8")
    assert cli("gate", ids.student).code == 0
    assert cli("promote", short(entry)).code == 0


def test_what_the_file_leaves_open_stops_it(cli: Cli, ids: Ids, judge: Judge, yaml: Path) -> None:
    """As it stops a promotion."""
    judge()
    yaml.write_text(YAML.replace("workload: {rate_per_s: 20}\n", ""), encoding="utf-8")
    said = cli("gate", ids.student)
    assert said.code == 4
    assert said.err.startswith("missing: workload: is not given")


def test_what_a_promotion_would_wait_for_is_not_approved(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path
) -> None:
    """One rule for all: exit code 3, what is missing by its name, and what brings it."""
    entry = judge()
    with Store.open(Path(".headgate")) as store:
        store.append("artifact", {**store.get(ids.model).body, "standard": None})
    said = cli("gate", ids.student)
    assert said.code == 3
    lines = said.out.splitlines()
    assert lines[0].split()[:2] == ["docs", "ROLLBACK"]
    assert " ".join(lines[1:3]).startswith(
        "all 4 contracts are kept on holdout, but its evidence stops a promotion: current stays"
    )
    assert said.err == (
        "missing: docs/model: held_to: it is held to no metric, contract and failure note\n"
        "  what to do: headgate optimize headgate.yaml\n"
    )
    assert cli("promote", short(entry)).code == 3
    found = json.loads(cli("gate", ids.student, "--json").out)
    assert (found["action"], found["decision"]["action"]) == ("rollback", "accept")


def test_what_stops_nobody_is_told_by_the_gate_too(cli: Cli, ids: Ids, judge: Judge) -> None:
    """A newer version of the model is known; the candidate passes."""
    judge()
    with Store.open(Path(".headgate")) as store:
        artifact = store.artifact(ids.model)
        assert artifact is not None
        hold(store, replace(artifact, version=store.put_bytes(b"a newer model")))
    said = cli("gate", ids.student)
    assert said.code == 0
    assert "docs/variant/student: stale: a newer version is known of docs/model" in said.err


def test_a_decision_that_does_not_follow_from_its_samples_is_invalid(
    cli: Cli, ids: Ids, judge: Judge
) -> None:
    """Somebody recorded another answer to the same case."""
    entry = judge(given=samples(40))
    with Store.open(Path(".headgate")) as store:
        run = store.get(entry).body
        decision = json.loads(store.read(run["z"]["decision"]))
        forged = store.put_bytes(json.dumps(decision | {"action": "accept"}).encode())
        store.append("run", {**run, "z": {"decision": forged}})
    found = json.loads(cli("gate", ids.student, "--json").out)
    assert found["action"] == "invalid"
    assert found["because"] == "the recorded decision does not follow from its samples"


def test_what_is_current_is_held_against_something_else(cli: Cli, ids: Ids, yaml: Path) -> None:
    """Against itself everything is unchanged."""
    said = cli("gate", ids.baseline)
    assert said.code == 4
    assert "it is itself what is current" in said.out


def test_a_metric_of_ones_own_without_a_contract_is_named_where_power_is(
    cli: Cli, yaml: Path
) -> None:
    """It has no row, since nothing is decided by it; one that is promised has a row and no word."""
    Path("own.py").write_text("def exact(item, output):\n    return 1.0\n", encoding="utf-8")
    yaml.write_text(f'{YAML}metrics: {{exact: "own:exact"}}\n', encoding="utf-8")
    said = cli("gate", "--power").err
    assert "metrics.exact: no contract is on it, so nothing is decided by it" in said
    assert "what to do: write one under contracts: exact" in said
    assert json.loads(cli("gate", "--power", "--json").out)["unpromised"] == ["metrics.exact"]
    promised = yaml.read_text(encoding="utf-8").replace("  accuracy:", "  worst_slice_exact:")
    yaml.write_text(promised, encoding="utf-8")
    assert "no contract is on it" not in cli("gate", "--power").err


def test_power_is_not_told_of_a_contract_that_no_label_can_decide(cli: Cli, yaml: Path) -> None:
    """The split that certifies has none: which file that is, and what to write instead."""
    rows = [json.dumps({"id": f"i{k}", "input": [k]}) for k in range(N)]
    Path("holdout.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    said = cli("gate", "--power")
    assert said.code == 2
    assert (
        "holdout.jsonl: has no labels, so a contract on accuracy can never be decided" in said.err
    )
    assert 'give every row its "label", or write a contract on agreement' in said.err


@pytest.mark.parametrize("arguments", [["gate"], ["gate", "abcd", "--power"]])
def test_a_gate_without_a_question_is_refused(cli: Cli, arguments: list[str]) -> None:
    """A candidate or --power, not both and not neither."""
    assert cli(*arguments).code == 2


def test_a_model_is_no_candidate(cli: Cli, ids: Ids, yaml: Path) -> None:
    """Nor is anything else that cannot be served."""
    said = cli("gate", ids.model)
    assert said.code == 2
    assert "is neither a variant nor a decision about one" in said.err


class TestPower:
    """``gate --power``."""

    def test_without_a_pilot_it_says_what_is_needed_at_least(self, cli: Cli, yaml: Path) -> None:
        """Nothing is ever accepted below that; how much more is needed, a pilot says."""
        said = cli("gate", "--power")
        assert said.code == 4
        rows = {line.split()[0]: line.split()[-4:] for line in said.out.splitlines()[2:6]}
        assert rows["accuracy"] == ["133", "–", "400", "–"]
        assert rows["latency_p95"] == ["8", "–", "9", "–"]
        assert "no pilot with this n; `headgate optimize` runs one" in said.err
        assert "is accepted in at least" not in said.out

    def test_with_a_pilot_it_says_what_all_contracts_come_to(self, cli: Cli, yaml: Path) -> None:
        """Of four at 96, 100, 99 and 98 % at least 93 % pass together."""
        words = [c.describe() for c in load_config(yaml).contracts]
        pilots = zip(words, (N, 64, 9, 9), (0.96, 1.0, 0.99, 0.98), strict=True)
        rows = [
            {
                "rule": w,
                "n": n,
                "assumed": "a pilot",
                "power": p,
                "required_n": 7,
                "can_decide": True,
            }
            for w, n, p in pilots
        ]
        with Store.open(Path(".headgate")) as store:
            store.append("power", {"endpoint": "docs", "rows": rows})
        said = cli("gate", "--power")
        assert said.code == 0, said.err
        assert said.out.splitlines()[-1] == (
            "A candidate without any true loss is accepted in at least 93 %."
        )
        rows[0]["power"] = 0.5
        with Store.open(Path(".headgate")) as store:
            store.append("power", {"endpoint": "docs", "rows": rows})
        assert cli("gate", "--power").code == 4

    @pytest.mark.parametrize(
        ("known", "said_of", "said"),
        [
            ([], "accuracy", "had no candidate that could be measured, so the spread is not"),
            (["accuracy"], "latency_p95", "had no candidate that could be timed beside the"),
            (["accuracy", "cost_per_1k"], "latency_p95", "the contract is new since"),
            (["cost_per_1k"], "accuracy", "the contract is new since"),
        ],
    )
    def test_what_a_pilot_did_not_tell_is_not_promised_of_another(
        self, cli: Cli, yaml: Path, known: list[str], said_of: str, said: str
    ) -> None:
        """Where the model as it is won, or nothing did, `optimize` ran and timed no candidate."""
        contracts = {c.metric: c.describe() for c in load_config(yaml).contracts}
        pilot = {"n": N, "assumed": "a pilot", "power": 0.96, "required_n": 7, "can_decide": True}
        with Store.open(Path(".headgate")) as store:
            if known:
                rows = [{"rule": contracts[metric], **pilot} for metric in known]
                store.append("power", {"endpoint": "docs", "rows": rows})
            store.append("search", {"endpoint": "docs"})
        (line,) = (
            line
            for line in cli("gate", "--power").err.splitlines()
            if line.startswith(contracts[said_of])
        )
        assert said in line
        assert "`headgate optimize` runs one" not in line

    def test_a_pilot_of_other_data_is_run_again(self, cli: Cli, yaml: Path) -> None:
        """Its spread holds for its own n."""
        row = {"rule": load_config(yaml).contracts[0].describe(), "n": 300, "assumed": "a pilot"}
        with Store.open(Path(".headgate")) as store:
            store.append("power", {"endpoint": "docs", "rows": [row]})
        said = cli("gate", "--power").err
        assert "0.02: the pilot was of n = 300; `headgate optimize` runs one of this n" in said

    def test_a_gate_that_can_never_decide_is_refused(self, cli: Cli, yaml: Path) -> None:
        """400 items cannot show a loss below half a point, whatever they say."""
        yaml.write_text(YAML.replace("by: 0.02", "by: 0.005"), encoding="utf-8")
        said = cli("gate", "--power")
        assert said.code == 3
        assert (
            "accuracy not below current by 0.005: nothing could ever be accepted: 539 are"
            in said.err
        )
        found = json.loads(cli("gate", "--power", "--json").out)
        assert [row["never"] for row in found["rows"]] == [True, False, False, False]
        assert not found["ok"]


def test_a_promise_that_was_loosened_after_a_look_is_told_wherever_it_is_approved(
    cli: Cli, ids: Ids, judge: Judge, yaml: Path
) -> None:
    """`gate` and `promote` name the contract, what it was and is, and since when."""
    config = load_config(yaml)
    planned = {"accuracy": N, "latency_p95": 9, "cost_per_1k": 9}
    rule = as_declared(
        Rule("docs", "holdout", "sha256:data", config.contracts, {}, planned, seed=0), config
    )
    strict = replace(rule, contracts=(replace(rule.contracts[0], limit=0.01), *rule.contracts[1:]))
    with Store.open(Path(".headgate")) as store:
        for step in (strict, None, rule):
            if step is None:
                look = {"endpoint": "docs", "dataset": rule.dataset, "rule": strict.digest}
                store.append("holdout_use", look)
            else:
                body = {"purpose": "certify", "digest": step.digest, **jsonable(step)}
                store.append("rule", body)
    entry = judge()
    told = (
        "contracts.accuracy was not below current by 0.01, is not below current by 0.02 (looser); "
        "changed on "
    )
    assert told in " ".join(cli("gate", ids.student).out.split())
    changed = json.loads(cli("gate", ids.student, "--json").out)["changed"]
    assert [c["change"]["key"] for c in changed] == ["contracts.accuracy"]
    assert told in cli("promote", short(entry)).err
