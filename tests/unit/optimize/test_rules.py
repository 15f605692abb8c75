"""Rules are registered before the first sample, and hold all that could be turned afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.config import LabelledSet, RetrievalSet
from headgate.config.schema import EndpointFile, MetricSpec, Prices, Replay
from headgate.ledger import Store
from headgate.objects import Action, Axis, Bound, Contract, digest
from headgate.optimize.inputs import Split
from headgate.optimize.job import Job
from headgate.optimize.rules import (
    as_declared,
    in_force,
    items_in,
    register_rules,
    rules_named,
)
from headgate.release import Rule
from headgate.report.words import with_units
from headgate.workload import Pair

from .fakes import build, contract

CONTRACTS = (
    contract("accuracy", Bound.NOT_BELOW_CURRENT_BY, 0.02, min_n=300),
    contract("worst_slice_exact", Bound.NOT_BELOW_CURRENT_BY, 0.05),
    contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",)),
    contract("latency_p95", Bound.RATIO_AT_MOST, 1.0),
    contract("cost_per_1k", Bound.RATIO_AT_MOST, 0.9),
)
OWN = "def exact(item, output):\n    return 1.0\n"
STEPS = "def clean(item):\n    return item\n"


def rows(n: int) -> Split:
    """A split of ``n`` items."""
    return cast("Split", SimpleNamespace(query_ids=tuple(map(str, range(n)))))


@pytest.fixture
def job(store: Store, tmp_path: Path) -> Job:
    """As much of a job as has rules: 500 items choose, 400 certify."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "steps.py").write_text(STEPS, encoding="utf-8")
    made = SimpleNamespace(
        store=store,
        contracts=CONTRACTS,
        inputs=SimpleNamespace(
            evaluate=rows(500),
            holdout=rows(400),
            versions={
                "evaluate": "sha256:evaluate",
                "holdout": "sha256:holdout",
                "workload": "sha256:workload",
            },
        ),
        config=SimpleNamespace(
            root=tmp_path,
            endpoint="docs",
            seed=3,
            contracts=CONTRACTS,
            candidates=("bf16", "int8_static", "student3"),
            metrics={"exact": MetricSpec(function="own:exact")},
            safety={},
            preprocess="steps:clean",
            postprocess=None,
            prices=Prices(device_second=2e-5),
            replay=Replay(blocks=12),
        ),
    )
    return cast("Job", made)


def entries(store: Store) -> int:
    return len(list(store.entries()))


def test_a_rule_says_what_will_be_measured_by_what_and_how_much_of_it(job: Job) -> None:
    """Of the split that it is about; the candidates that are tried share the error of choosing."""
    rules = register_rules(job)
    choose, certify = rules.choose, rules.certify
    assert (choose.split, choose.dataset, choose.tried) == ("evaluate", "sha256:evaluate", 4), (
        "int8_mixed may join the three"
    )
    assert (certify.split, certify.dataset, certify.tried) == ("holdout", "sha256:holdout", 1)
    assert choose.pass_level == pytest.approx(1 - 0.05 / 4)
    assert certify.pass_level == pytest.approx(0.95)
    assert certify.planned_n == {
        "accuracy": 400,
        "worst_slice_exact": 400,
        "latency_p95": 12,
        "cost_per_1k": 12,
    }
    assert choose.planned_n["latency_p95"] == 9
    assert certify.metrics["worst_slice_exact"].startswith("sha256:")
    assert certify.metrics["accuracy"] == ""
    assert certify.workload == "sha256:workload"
    assert certify.replay == {"seconds": 45.0, "load": 0.7, "blocks": 12}
    assert certify.prices == digest(job.config.prices.model_dump())
    assert list(certify.functions) == ["preprocess"]
    assert certify.candidates == ("bf16", "int8_static", "student3")


def test_without_a_holdout_the_certificate_is_one_verdict_of_several(job: Job) -> None:
    """It was chosen on the same data; nothing is mended then, so the three are all there are."""
    job.inputs = cast("object", SimpleNamespace(**{**vars(job.inputs), "holdout": None}))  # type: ignore[assignment]
    rule = register_rules(job).certify
    assert (rule.split, rule.tried, rule.planned_n["latency_p95"]) == ("evaluate", 3, 12)


def test_where_no_candidate_is_named_the_model_as_it_is_is_the_one(job: Job) -> None:
    """With a holdout or without one there is one verdict, at the whole 5 %."""
    set_config(candidates=())(job)
    for held in (rows(400), None):
        job.inputs = cast("object", SimpleNamespace(**{**vars(job.inputs), "holdout": held}))  # type: ignore[assignment]
        rules = register_rules(job)
        assert rules.choose.pass_level == rules.certify.pass_level == pytest.approx(0.95)


def set_config(**changes: object) -> Callable[[Job], None]:
    return lambda job: vars(job.config).update(changes)


def set_version(role: str) -> Callable[[Job], None]:
    return lambda job: cast("dict[str, str]", job.inputs.versions).update({role: "sha256:other"})


def rewrite(file: str, old: str, new: str) -> Callable[[Job], None]:
    def edit(job: Job) -> None:
        path = job.config.root / file
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    return edit


def promise(**fields: object) -> Callable[[Job], None]:
    """Of accuracy, with these fields."""

    def edit(job: Job) -> None:
        job.contracts = (replace(CONTRACTS[0], **fields), *CONTRACTS[1:])  # type: ignore[arg-type]  # a test's own keywords
        vars(job.config).update(contracts=job.contracts)

    return edit


def fewer(job: Job) -> None:
    vars(job.inputs).update(holdout=rows(300))


def own(**declared: object) -> Callable[[Job], None]:
    return set_config(metrics={"exact": MetricSpec(function="own:exact", **declared)})  # type: ignore[arg-type]  # a test's own keywords


EDITS: dict[str, tuple[str, Callable[[Job], None]]] = {
    "a wider margin": ("contracts", promise(limit=0.1)),
    "a breach that only warns": ("contracts", promise(on_breach=Action.WARN)),
    "fewer samples suffice": ("contracts", promise(min_n=30)),
    "another way back": ("contracts", promise(rollback_candidate="generation 0")),
    "another reason": ("contracts", promise(rationale="another")),
    "another who is called": ("contracts", promise(escalation="command:false")),
    "another axis": ("contracts", promise(axis=Axis.SAFETY)),
    "a metric that is kinder": ("metrics", rewrite("own.py", "1.0", "0.5")),
    "a metric turned round": ("metrics", own(direction="lower_is_better")),
    "a metric of another range": ("metrics", own(range=(0.0, 2.0))),
    "another cleaning of inputs": ("functions", rewrite("steps.py", "return item", "return 1")),
    "no cleaning": ("functions", set_config(preprocess=None)),
    "a step behind the model": ("functions", set_config(postprocess="steps:clean")),
    "a cheaper machine": ("prices", set_config(prices=Prices(device_second=1e-5))),
    "another currency": ("prices", set_config(prices=Prices(device_second=2e-5, currency="EUR"))),
    "a shorter replay": ("replay", set_config(replay=Replay(blocks=12, seconds=5.0))),
    "a lighter load": ("replay", set_config(replay=Replay(blocks=12, load=0.3))),
    "fewer blocks": ("planned_n", set_config(replay=Replay(blocks=9))),
    "other requests": ("workload", set_version("workload")),
    "another holdout": ("dataset", set_version("holdout")),
    "part of the holdout": ("planned_n", fewer),
    "one candidate less": ("candidates", set_config(candidates=("bf16", "int8_static"))),
    "another candidate": ("candidates", set_config(candidates=("bf16", "int8_static", "x"))),
    "another seed": ("seed", set_config(seed=4)),
    "another name": ("endpoint", set_config(endpoint="other")),
}


KEYS: dict[str, list[str]] = {
    "a wider margin": ["contracts.accuracy"],
    "a breach that only warns": ["contracts.accuracy.on_breach"],
    "fewer samples suffice": ["contracts.accuracy.min_n"],
    "another way back": ["contracts.accuracy.rollback"],
    "another reason": ["contracts.accuracy.why"],
    "another who is called": ["contracts.accuracy.escalate"],
    "another axis": ["contracts.accuracy.axis"],
    "a metric that is kinder": ["the metric exact (its code, direction or range)"],
    "a metric turned round": ["the metric exact (its code, direction or range)"],
    "a metric of another range": ["the metric exact (its code, direction or range)"],
    "another cleaning of inputs": ["the code of preprocess"],
    "no cleaning": ["preprocess"],
    "a step behind the model": ["postprocess"],
    "a cheaper machine": ["prices"],
    "another currency": ["prices"],
    "a shorter replay": ["replay.seconds"],
    "a lighter load": ["replay.load"],
    "fewer blocks": ["replay.blocks"],
    "other requests": ["workload"],
    "another holdout": ["data.holdout"],
    "part of the holdout": ["planned_n"],
    "one candidate less": ["candidates"],
    "another candidate": ["candidates"],
    "another seed": ["seed"],
    "another name": ["endpoint"],
}
"""What each edit is called, by the keys of headgate.yaml."""


def answers(store: Store, name: str = "bf16", **c: object) -> str:
    """A run that took a build's answers on the holdout."""
    body = {
        "transformation": "measure.quality",
        "u": {"dataset": "sha256:holdout"},
        "c": {"build": build(name), **c},
    }
    return store.append("run", body).id


def load(store: Store) -> str:
    return store.append("run", {"transformation": "load.replay", "u": {}, "c": {}}).id


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_edited_once_the_samples_were_seen_is_another_rule(
    job: Job, store: Store, edit: str
) -> None:
    """Whatever of it could move the decision; and the old one, put back, is in force again."""
    field, change = EDITS[edit]
    kept = register_rules(job).certify
    seen = {"answers": answers(store), "load": load(store)}
    assert kept.edited(in_force(store, kept, **seen)) is None
    change(job)
    edited = register_rules(job).certify
    assert field in kept.differs_in(edited)
    assert [c.key for c in kept.changes(edited)] == KEYS[edit]
    late = "the rule was registered, or edited, after this was measured:"
    found = str(edited.edited(in_force(store, edited, **seen)))
    assert found.startswith(f"{late} answers on the holdout and speed under load; put the old rule")
    named = str(edited.edited(in_force(store, edited, **seen), rules_named(store, [kept.digest])))
    (changed,) = kept.changes(edited)
    other = edit == "another name"  # of which no rule was in force
    assert other or f"the rule was edited ({changed.describe()}) after this was measured: " in named
    assert kept.edited(in_force(store, kept, **seen)) is None


KEPT, ABSOLUTE = CONTRACTS[0], contract("accuracy", Bound.AT_LEAST, 0.9)
FAST = contract("latency_p95", Bound.AT_MOST, 0.1)
ALONE = contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",))
WIDER = "contracts.accuracy was not below current by 0.02, is not below current by 0.1 (looser)"
WARNS = "contracts.accuracy.on_breach was rollback, is warn (looser)"


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ([KEPT], [replace(KEPT, limit=0.1, on_breach=Action.WARN)], [WIDER, WARNS]),
        (
            [KEPT],
            [replace(KEPT, limit=0.01, min_n=30)],
            [
                "contracts.accuracy was not below current by 0.02, is not below current by 0.01",
                "contracts.accuracy.min_n was 300, is 30 (looser)",
            ],
        ),
        (
            [replace(KEPT, on_breach=Action.WARN, min_n=0)],
            [KEPT],
            [
                "contracts.accuracy.on_breach was warn, is rollback",
                "contracts.accuracy.min_n was 0, is 300",
            ],
        ),
        (
            [KEPT],
            [replace(KEPT, on_breach=Action.RETRAIN, rollback_candidate="generation 0")],
            [
                "contracts.accuracy.on_breach was rollback, is retrain",
                "contracts.accuracy.rollback was previous generation, is generation 0",
            ],
        ),
        (
            [KEPT, ABSOLUTE],
            [replace(KEPT, limit=0.1), replace(ABSOLUTE, on_breach=Action.WARN)],
            [
                "contracts.accuracy was at least 0.9 and not below current by 0.02, is at least "
                "0.9 and not below current by 0.1 (looser)",
                "contracts.accuracy.on_breach was rollback and rollback, is warn and rollback "
                "(looser)",
            ],
        ),
        (
            [KEPT, ABSOLUTE],
            [replace(ABSOLUTE, on_breach=Action.WARN)],
            [
                "contracts.accuracy was at least 0.9 and not below current by 0.02, is at least "
                "0.9 (looser)",
                WARNS,
            ],
        ),
        (
            [KEPT],
            [KEPT, ABSOLUTE],
            [
                "contracts.accuracy was not below current by 0.02, is at least 0.9 and not below "
                "current by 0.02"
            ],
        ),
        (
            [ALONE],
            [replace(ALONE, allowed=("dependent",))],
            ["contracts.batch_invariance was one of exact, is one of dependent (looser)"],
        ),
        (
            [replace(ALONE, allowed=("exact", "dependent"))],
            [ALONE],
            ["contracts.batch_invariance was one of dependent, exact, is one of exact"],
        ),
        (
            [KEPT, ABSOLUTE],
            [ABSOLUTE, replace(KEPT, limit=0.1)],
            [
                "contracts.accuracy was at least 0.9 and not below current by 0.02, is at least "
                "0.9 and not below current by 0.1 (looser)"
            ],
        ),
        (
            [FAST, contract("latency_p95", Bound.RATIO_AT_MOST, 1.1)],
            [replace(FAST, limit=0.2), contract("latency_p95", Bound.RATIO_AT_MOST, 1.2)],
            [
                "contracts.latency_p95 was at most 100 ms and ratio to current at most 1.1, is at "
                "most 200 ms and ratio to current at most 1.2 (looser)"
            ],
        ),
        (
            [contract("cost_per_1k", Bound.AT_MOST, 1e-5)],
            [
                contract("cost_per_1k", Bound.AT_MOST, 2e-5),
                contract("cost_per_1k", Bound.NOT_ABOVE_CURRENT_BY, 1e-6),
            ],
            [
                "contracts.cost_per_1k was at most 0.00001, is at most 0.00002 and not above "
                "current by 0.000001 (looser)"
            ],
        ),
        (
            [contract("latency_own", Bound.AT_MOST, 3)],
            [contract("latency_own", Bound.AT_MOST, 4)],
            ["contracts.latency_own was at most 3, is at most 4 (looser)"],
        ),
        ([KEPT], [replace(KEPT, limit=0.02 + 1e-12)], ["contracts.accuracy is another"]),
        (
            [KEPT],
            [],
            ["contracts.accuracy was not below current by 0.02, is not promised (looser)"],
        ),
    ],
)
def test_every_change_of_a_promise_is_said_and_what_is_looser_is_marked(
    was: list[Contract], now: list[Contract], said: list[str]
) -> None:
    """A bound that was changed hides nothing else; a breach that only warns stops nothing, and
    fewer samples decide earlier. Every bound has its unit, but those of a metric of one's own."""
    own = {"latency_own": "sha256:code"}
    rules = [
        Rule("docs", "holdout", "sha256:data", tuple(promised), own, {}, seed=0)
        for promised in (was, now)
    ]
    assert [with_units(c.describe()) for c in rules[0].changes(rules[1])] == said


def test_promises_in_another_order_are_the_same_rule(job: Job, store: Store) -> None:
    """Also where the one on record stands in the order of an older store or file: nothing was
    edited, and what was seen by it was seen by this one."""
    allowed = replace(CONTRACTS[2], allowed=("exact", "within_epsilon"))
    promises = (CONTRACTS[0], ABSOLUTE, allowed, *CONTRACTS[3:])
    reversed_ = (
        *CONTRACTS[:2:-1],
        replace(allowed, allowed=allowed.allowed[::-1]),
        *promises[1::-1],
    )

    def registered(contracts: tuple[Contract, ...]) -> Rule:
        vars(job).update(contracts=contracts)
        set_config(contracts=contracts)(job)
        return register_rules(job).certify

    kept = registered(promises)
    seen = {"answers": answers(store), "load": load(store)}
    again = registered(reversed_)
    assert again.contracts == reversed_, "reports show them in the order of the file"
    assert (kept.differs_in(again), kept.changes(again)) == ((), ())
    assert set(in_force(store, again, **seen).values()) == {again.digest}
    assert again.edited(in_force(store, again, **seen)) is None
    fewer = registered(promises[:-1])
    assert set(in_force(store, fewer, **seen).values()) == {kept.digest}
    assert set(rules_named(store, [kept.digest])) == {kept.digest}


def test_a_rule_of_another_version_is_another(job: Job, store: Store) -> None:
    """It has parts that nobody knows here; what was seen by it was seen by none of ours."""
    rule = register_rules(job).certify
    newest = store.latest("rule", purpose="certify")
    assert newest is not None
    store.append("rule", {**newest.body, "digest": "sha256:other", "quorum": 3})
    seen = {"answers": answers(store), "load": load(store)}
    assert set(in_force(store, rule, **seen).values()) == {"sha256:other"}


def test_every_part_of_a_rule_is_among_the_edits() -> None:
    """But for what no user sets: the split follows from the file, `tried` from split and
    candidates, and the level is the gate's."""
    edited = {field for field, _ in EDITS.values()}
    assert {f.name for f in fields(Rule)} - edited == {"split", "tried", "level"}


OF_THE_RULE = {
    "endpoint", "data", "workload", "prices", "contracts", "metrics", "safety", "preprocess",
    "postprocess", "candidates", "replay", "seed",
}  # fmt: skip
ELSEWHERE = {
    "format": "how the file is read",
    "owner": "who is told; a contract names it, and so does the rule",
    "task": "what a model is asked: other samples",
    "model": "what a candidate is made of: other builds, other samples",
    "prepare": "writes the data, whose versions are in the rule",
    "holdout_error_budget": "counted by its uses, and cannot be raised after the first",
    "data_contracts": "judged by the audit, and on record with the data",
    "live": "about traffic after the decision",
    "retrain": "what a breach runs",
    "search": "how many of the candidates are measured; each is judged among all that are named",
}
"""Keys that move no decision on samples that were seen, and why."""


def test_every_key_of_the_file_is_in_the_rule_or_moves_no_decision() -> None:
    """Who adds a key to headgate.yaml says here which it is."""
    assert OF_THE_RULE.isdisjoint(ELSEWHERE)
    assert set(EndpointFile.model_fields) == OF_THE_RULE | set(ELSEWHERE)


def test_a_rule_is_entered_once_and_again_where_it_was_left(job: Job, store: Store) -> None:
    """So the newest entry is the rule in force."""
    register_rules(job)
    once = entries(store)
    register_rules(job)
    assert entries(store) == once
    set_config(seed=4)(job)
    register_rules(job)
    set_config(seed=3)(job)
    register_rules(job)
    assert entries(store) == once + 4


def test_the_rule_in_force_is_the_last_before_the_first_sample(job: Job, store: Store) -> None:
    """Not the one that is registered now, nor any other that was there once."""
    early = answers(store, "early")
    kept = register_rules(job).certify
    after_kept = load(store)
    set_config(seed=4)(job)
    edited = register_rules(job).certify
    after_edited = answers(store, "late")
    assert in_force(store, edited, answers=early, load=after_kept) == {
        "answers on the holdout": None,
        "speed under load": kept.digest,
    }
    found = in_force(store, edited, answers=after_edited, load=after_kept)
    assert found["answers on the holdout"] == edited.digest
    assert ": speed under load; take times again by this rule" in str(edited.edited(found))


def test_answers_that_are_taken_again_were_seen_the_first_time(job: Job, store: Store) -> None:
    """By more instances, by other code or under another rule: a holdout is not unseen. Times are
    others each time."""
    kept = register_rules(job).certify
    answers(store)
    load(store)
    set_config(seed=4)(job)
    edited = register_rules(job).certify
    again = answers(store, instances=2, code="sha256:new")
    assert in_force(store, edited, answers=again, load=load(store)) == {
        "answers on the holdout": kept.digest,
        "speed under load": edited.digest,
    }
    another = answers(store, "int8_static")
    assert edited.edited(in_force(store, edited, answers=another, load=load(store))) is None


def test_contracts_that_are_not_declared_stay_as_they_were_judged(job: Job) -> None:
    """Their defaults depend on the data, which the file does not hold."""
    rule = register_rules(job).certify
    set_config(contracts=())(job)
    assert rule.differs_in(as_declared(rule, job.config)) == ()


def test_what_a_metric_has_one_value_of_is_counted() -> None:
    """Queries of a retrieval set, rows of labels, and the queries whose texts are ranked."""
    texts = RetrievalSet(("q1", "q2"), ("a", "b"), None, ("p",), ("c",), ((), ()), ({}, {}))
    labels = LabelledSet(("i1", "i2", "i3"), ([1], [2], [3]), None, ((),) * 3, ({},) * 3, (1, 2, 3))
    ranked = replace(labels, inputs=(Pair("q", "a"), Pair("q", "b"), Pair("r", "a")))
    assert [items_in(split) for split in (texts, labels, ranked)] == [2, 3, 2]
