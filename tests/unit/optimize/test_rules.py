"""Rules are registered before the first sample, and a holdout's certificates are counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.config import LabelledSet, RetrievalSet
from headgate.config.schema import MetricSpec
from headgate.errors import Refused
from headgate.ledger import Store
from headgate.objects import Bound
from headgate.optimize.inputs import Split
from headgate.optimize.job import Job
from headgate.optimize.rules import Rules, in_force, items_in, register_rules, use_holdout
from headgate.release import Rule
from headgate.workload import Pair

from .fakes import contract

CONTRACTS = (
    contract("accuracy", Bound.NOT_BELOW_CURRENT_BY, 0.02),
    contract("worst_slice_exact", Bound.NOT_BELOW_CURRENT_BY, 0.05),
    contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",)),
    contract("latency_p95", Bound.RATIO_AT_MOST, 1.0),
    contract("cost_per_1k", Bound.RATIO_AT_MOST, 0.9),
)
OWN = "def exact(item, output):\n    return 1.0\n"


def rows(n: int) -> Split:
    """A split of ``n`` items."""
    return cast("Split", SimpleNamespace(query_ids=tuple(map(str, range(n)))))


@pytest.fixture
def job(store: Store, tmp_path: Path) -> Job:
    """As much of a job as has rules: 500 items choose, 400 certify."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    made = SimpleNamespace(
        store=store,
        contracts=CONTRACTS,
        inputs=SimpleNamespace(
            evaluate=rows(500),
            holdout=rows(400),
            versions={"evaluate": "sha256:evaluate", "holdout": "sha256:holdout"},
        ),
        config=SimpleNamespace(
            path=tmp_path / "headgate.yaml",
            root=tmp_path,
            endpoint="docs",
            seed=3,
            candidates=("bf16", "int8_static", "student3"),
            metrics={"exact": MetricSpec(function="own:exact")},
            safety={},
            replay=SimpleNamespace(blocks=12),
            holdout_error_budget=0.25,
        ),
    )
    return cast("Job", made)


def loosened(job: Job) -> Job:
    """The same job after somebody widened a margin."""
    wider = replace(CONTRACTS[0], limit=0.1)
    return cast("Job", SimpleNamespace(**{**vars(job), "contracts": (wider, *CONTRACTS[1:])}))


def entries(store: Store) -> int:
    return len(list(store.entries()))


def test_a_rule_says_what_will_be_measured_by_what_and_how_much_of_it(job: Job) -> None:
    """Of the split that it is about; the candidates that are tried share the error of choosing."""
    rules = register_rules(job)
    choose, certify = rules.choose, rules.certify
    assert (choose.split, choose.dataset, choose.tried) == ("evaluate", "sha256:evaluate", 3)
    assert (certify.split, certify.dataset, certify.tried) == ("holdout", "sha256:holdout", 1)
    assert choose.pass_level == pytest.approx(1 - 0.05 / 3)
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


def test_without_a_holdout_the_certificate_is_one_verdict_of_several(job: Job) -> None:
    """It was chosen on the same data."""
    job.inputs = cast("object", SimpleNamespace(**{**vars(job.inputs), "holdout": None}))  # type: ignore[assignment]
    rule = register_rules(job).certify
    assert (rule.split, rule.tried, rule.planned_n["latency_p95"]) == ("evaluate", 3, 12)


def test_a_rule_is_entered_once_and_again_where_it_was_left(job: Job, store: Store) -> None:
    """So the newest entry is the rule in force."""
    register_rules(job)
    once = entries(store)
    register_rules(job)
    assert entries(store) == once
    register_rules(loosened(job))
    register_rules(job)
    assert entries(store) == once + 4


def sampled(store: Store) -> str:
    return store.append("run", {"made": "up"}).id


def test_the_rule_in_force_is_the_last_before_the_first_sample(job: Job, store: Store) -> None:
    """Not the one that is registered now, nor any other that was there once."""
    early = sampled(store)
    kept = register_rules(job).certify
    after_kept = sampled(store)
    edited = register_rules(loosened(job)).certify
    after_edited = sampled(store)
    found = in_force(store, edited, {"a": early, "b": after_kept, "c": after_edited})
    assert found == {"a": None, "b": kept.digest, "c": edited.digest}
    assert kept.edited({"b": found["b"]}) is None
    late = "the rule was registered, or edited, after this was measured:"
    assert str(edited.edited(found)).startswith(f"{late} a and b; put the old rule back")
    assert str(kept.edited({"a": found["a"]})).startswith(f"{late} a; ")


def test_a_function_of_the_users_own_that_changed_is_another_rule(job: Job) -> None:
    """What a metric means is part of what was promised."""
    before = register_rules(job).certify
    (job.config.root / "own.py").write_text(OWN.replace("1.0", "0.5"), encoding="utf-8")
    assert register_rules(job).certify.digest != before.digest


@pytest.fixture
def rules(job: Job) -> Rules:
    return register_rules(job)


def certificate(job: Job, rule: Rule, candidate: str, current: str = "sha256:fp32") -> None:
    use_holdout(job, rule, candidate=candidate, current=current)


def test_a_holdout_certifies_until_its_budget_is_spent(
    job: Job, rules: Rules, store: Store
) -> None:
    """Five times at 5 % of 25 %, counted before they are measured; then it refuses and says why."""
    for k in range(5):
        certificate(job, rules.certify, f"sha256:{k}")
    uses = [e.body for e in store.entries("holdout_use")]
    assert [(u["use"], u["spends"], u["budget"]) for u in uses] == [
        (k + 1, 0.05, 0.25) for k in range(5)
    ]
    with pytest.raises(
        Refused, match="has certified 5 times, and its error budget of 25% pays for 5"
    ) as e:
        certificate(job, rules.certify, "sha256:5")
    assert e.value.reason == "holdout_spent"
    assert e.value.fix.startswith("give new holdout data")
    assert len(list(store.entries("holdout_use"))) == 5


def test_the_same_pair_again_tells_nothing_new(job: Job, rules: Rules, store: Store) -> None:
    """A second run of the job spends nothing, and may still be had when all is spent."""
    for k in (0, 1, 2, 3, 4, 0, 3):
        certificate(job, rules.certify, f"sha256:{k}")
    assert len(list(store.entries("holdout_use"))) == 5


def test_against_another_current_it_is_another_certificate(
    job: Job, rules: Rules, store: Store
) -> None:
    """The comparison is new."""
    certificate(job, rules.certify, "sha256:0")
    certificate(job, rules.certify, "sha256:0", "sha256:bf16")
    assert len(list(store.entries("holdout_use"))) == 2


def test_new_data_begin_anew(job: Job, rules: Rules) -> None:
    """Uses are counted per version of the data, whatever endpoint asked."""
    for k in range(5):
        certificate(job, rules.certify, f"sha256:{k}")
    certificate(job, replace(rules.certify, dataset="sha256:fresh"), "sha256:5")


def test_what_a_metric_has_one_value_of_is_counted() -> None:
    """Queries of a retrieval set, rows of labels, and the queries whose texts are ranked."""
    texts = RetrievalSet(("q1", "q2"), ("a", "b"), None, ("p",), ("c",), ((), ()), ({}, {}))
    labels = LabelledSet(("i1", "i2", "i3"), ([1], [2], [3]), None, ((),) * 3, ({},) * 3, (1, 2, 3))
    ranked = replace(labels, inputs=(Pair("q", "a"), Pair("q", "b"), Pair("r", "a")))
    assert [items_in(split) for split in (texts, labels, ranked)] == [2, 3, 2]
