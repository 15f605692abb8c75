"""Every look at a holdout is counted before it is taken, and they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.errors import EngineError, Refused
from headgate.ledger import Store
from headgate.objects import Bound, jsonable
from headgate.optimize.holdout import Changed, changed_since_look, spending
from headgate.optimize.job import Job
from headgate.optimize.recorder import Call, Output, transformation
from headgate.release import Rule

from .conftest import NewRecorder
from .fakes import contract

RULE = Rule("docs", "holdout", "sha256:holdout", (), {}, {}, seed=0)
BROKEN: list[str] = []
EXECUTED: list[tuple[str, int]] = []
"""What was executed, and how many uses were on record by then."""


def uses(store: Store) -> list[dict[str, object]]:
    return [e.body for e in store.entries("holdout_use")]


def executed(call: Call, name: str) -> None:
    EXECUTED.append((name, len(uses(call.store))))
    if name in BROKEN:
        raise EngineError("the machine went to sleep")


@transformation("test.holdout.answers")
def answers(call: Call) -> Mapping[str, Output]:
    """What the candidate answers to the holdout."""
    executed(call, "answers")
    return {"out": Output(b"answers", "samples", "bytes")}


@transformation("test.holdout.load", measures=True)
def load(call: Call) -> Mapping[str, Output]:
    """How fast it was."""
    executed(call, "load")
    return {"out": Output(b"%d" % len(EXECUTED), "samples", "bytes")}


Certify = Callable[..., None]


@pytest.fixture
def certify(store: Store, new_recorder: NewRecorder) -> Certify:
    """A job, as a process of its own would run it, up to the samples of its certificate."""
    BROKEN.clear()
    EXECUTED.clear()

    def run(
        candidate: str = "a",
        *,
        fresh: bool = False,
        variant: str = "1",
        rule: Rule = RULE,
        budget: float = 0.25,
    ) -> None:
        job = SimpleNamespace(
            store=store,
            recorder=new_recorder(fresh_measurements=fresh),
            config=SimpleNamespace(path=Path("headgate.yaml"), holdout_error_budget=budget),
            looked_at=set(),
        )
        recorder = spending(cast("Job", job), rule, candidate=candidate, current="fp32")
        about = {"build": candidate, "on": rule.dataset}
        recorder.run(answers, u={}, c=about)
        recorder.run(load, u={}, c={**about, "variant": variant})

    return run


def test_a_use_is_on_record_before_its_first_sample(certify: Certify, store: Store) -> None:
    """One, for all the samples of a certificate."""
    certify()
    assert EXECUTED == [("answers", 1), ("load", 1)]
    (use,) = uses(store)
    assert use == {
        "endpoint": "docs",
        "dataset": "sha256:holdout",
        "rule": RULE.digest,
        "candidate": "a",
        "current": "fp32",
        "use": 1,
        "spends": 0.05,
        "budget": 0.25,
    }


def test_a_certificate_that_is_read_again_costs_nothing(certify: Certify, store: Store) -> None:
    """All of its samples are on record: the answer can be no other."""
    certify()
    certify()
    assert len(uses(store)) == 1
    assert len(EXECUTED) == 2


def test_times_that_are_taken_again_are_a_use(certify: Certify, store: Store) -> None:
    """`--fresh` asks the same candidate until the answer pleases."""
    certify()
    certify(fresh=True)
    assert EXECUTED[2:] == [("load", 2)]
    assert [u["use"] for u in uses(store)] == [1, 2]


def test_another_variant_of_the_same_build_is_a_use(certify: Certify, store: Store) -> None:
    """Its answers are known, and its times are new."""
    certify()
    certify(variant="2")
    assert EXECUTED[2:] == [("load", 2)]
    assert len(uses(store)) == 2


@pytest.mark.parametrize("at", ["answers", "load"])
def test_a_look_that_was_interrupted_is_a_use_and_so_is_the_next(
    certify: Certify, store: Store, at: str
) -> None:
    """Nobody can say what was seen of it."""
    BROKEN.append(at)
    with pytest.raises(EngineError):
        certify()
    assert len(uses(store)) == 1
    BROKEN.clear()
    certify()
    assert len(uses(store)) == 2


def test_a_holdout_certifies_until_its_budget_is_spent(certify: Certify, store: Store) -> None:
    """Five looks at 5 % of 25 %; then nothing is measured, and what to do is said."""
    for k in range(5):
        certify(f"{k}")
    with pytest.raises(
        Refused, match="was looked at 5 times, and its error budget pays for 5"
    ) as e:
        certify("5")
    assert e.value.reason == "holdout_spent"
    assert e.value.fix.startswith("give new holdout data")
    assert len(uses(store)) == 5
    assert len(EXECUTED) == 10
    certify("3")  # what is on record may still be read


def test_all_is_spent_by_one_candidate_that_is_asked_again_and_again(certify: Certify) -> None:
    """Which was free, once."""
    for _ in range(5):
        certify(fresh=True)
    with pytest.raises(Refused, match="was looked at 5 times"):
        certify(fresh=True)


def test_a_budget_is_not_raised_once_the_data_were_seen(certify: Certify) -> None:
    """It may be lowered."""
    certify("a", budget=0.1)
    certify("b", budget=1.0)
    with pytest.raises(Refused, match="its error budget pays for 2"):
        certify("c", budget=1.0)
    other = replace(RULE, dataset="sha256:other")
    certify("a", rule=other, budget=0.25)
    with pytest.raises(Refused, match="its error budget pays for 1"):
        certify("b", rule=other, budget=0.05)


def test_new_data_begin_anew(certify: Certify) -> None:
    """Uses are counted per version of the data, whichever endpoint asked."""
    for k in range(5):
        certify(f"{k}", rule=replace(RULE, endpoint=f"docs-{k % 2}"))
    certify("5", rule=replace(RULE, dataset="sha256:fresh"))
    with pytest.raises(Refused):
        certify("5", rule=replace(RULE, endpoint="another"))


def promising(*limits: float, **changes: object) -> Rule:
    """A rule with these promises on accuracy, registered nowhere yet."""
    contracts = tuple(contract("accuracy", Bound.AT_LEAST, x) for x in limits)
    return replace(RULE, contracts=contracts, **changes)  # type: ignore[arg-type]  # a test's own keywords


def register(store: Store, rule: Rule, purpose: str = "certify") -> str:
    """When it was."""
    body = {"purpose": purpose, "digest": rule.digest, **jsonable(rule)}
    return store.append("rule", body).recorded_at


def changed_by_now(store: Store, rule: Rule) -> tuple[Changed, ...]:
    """Of a decision that is made now."""
    return changed_since_look(store, rule, decided=store.append("run", {}).seq)


def test_a_promise_that_was_changed_after_a_look_is_named_with_both_and_since_when(
    store: Store, certify: Certify
) -> None:
    """From the first look on: what was changed before it, or changed back, is nobody's business."""
    register(store, promising(0.99))
    strict, loose = promising(0.9), promising(0.8, seed=1)
    register(store, strict)
    assert changed_by_now(store, strict) == (), "nobody has looked"
    certify("a", rule=strict)
    assert changed_by_now(store, strict) == ()
    register(store, promising(0.7))
    since = register(store, loose)
    register(store, replace(loose, candidates=("bf16",)))
    found = changed_by_now(store, replace(loose, candidates=("bf16",)))
    looked_at = next(iter(store.entries("holdout_use"))).recorded_at
    assert [(c.change.key, c.since, c.looked_at) for c in found] == [
        ("contracts.accuracy", since, looked_at),
        ("seed", since, looked_at),
    ]
    assert found[0].change.describe() == (
        "contracts.accuracy was at least 0.9, is at least 0.8 (looser)"
    )
    register(store, strict)
    assert changed_by_now(store, strict) == (), "it was put back"


def test_a_look_at_other_data_or_by_another_endpoint_is_none(
    store: Store, certify: Certify
) -> None:
    """Two endpoints may certify on the same data, each by its own promises; and the rules by which
    candidates are chosen certify nothing."""
    strict = promising(0.9)
    register(store, strict)
    register(store, strict, "choose")
    certify("a", rule=strict)
    for other in (promising(0.8, dataset="sha256:new"), promising(0.8, endpoint="other")):
        register(store, other)
        assert changed_by_now(store, other) == ()


def test_what_comes_after_a_decision_does_not_move_its_dates(
    store: Store, certify: Certify
) -> None:
    """Its rule may be left and returned to, and the data looked at again: it was made by what
    stood then."""
    strict, loose = promising(0.9), promising(0.8)
    register(store, strict)
    unseen = store.append("run", {}).seq
    certify("a", rule=strict)
    since = register(store, loose)
    decided = store.append("run", {}).seq
    register(store, strict)
    register(store, loose)
    (found,) = changed_since_look(store, loose, decided=decided)
    assert found.since == since
    assert changed_since_look(store, loose, decided=unseen) == ()


def test_a_change_of_which_no_date_is_on_record_is_given_none(
    store: Store, certify: Certify
) -> None:
    """Not that of the look, which was before it."""
    strict = promising(0.9)
    register(store, strict)
    certify("a", rule=strict)
    (found,) = changed_by_now(store, promising(0.8))
    assert found.since == ""
    looked_at = next(iter(store.entries("holdout_use"))).recorded_at[:16].replace("T", " ")
    assert found.describe().endswith(
        f" (looser); changed after the first look at the holdout, which was on {looked_at} UTC"
    )
