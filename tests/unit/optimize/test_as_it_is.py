"""Whether the model as it is takes part in the search, and what it begins with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from headgate.ledger import Store
from headgate.objects import BatchInvariance, Bound, Build, Contract, Release
from headgate.optimize import as_it_is as module
from headgate.optimize.as_it_is import (
    as_it_is,
    breaks_cost,
    entrant_as_it_is,
    gains_nothing,
    replaces_another,
)
from headgate.optimize.job import Job
from headgate.optimize.pricing import Priced
from headgate.optimize.recorder import Recorder
from headgate.optimize.stages import Baseline, Tried
from headgate.planning import Cost
from headgate.release import Rule

from .fakes import RUN, build, contract, invariance, quality

INDEPENDENT = contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",))
NO_LOSS = contract("recall@10", Bound.NOT_BELOW_CURRENT_BY, 0.02)


def measured(
    recorder: Recorder, *contracts: Contract, found: float = 0.9, n: int = 400, level: float = 0.95
) -> Tried:
    """Of a baseline that finds the share ``found`` of what it should, ``n`` times asked; certified
    at ``level``."""
    inputs = SimpleNamespace(versions={"evaluate": "sha256:evaluate", "workload": "sha256:log"})
    job = SimpleNamespace(recorder=recorder, contracts=contracts, inputs=inputs, own={})
    hits = tuple(float(k < found * n) for k in range(n))
    baseline = SimpleNamespace(
        build=build(),
        quality=quality({"recall@10": hits}, n=n),
        quality_run=RUN,
        invariance=invariance(BatchInvariance.EPSILON),
    )
    certify = SimpleNamespace(pass_level=level)
    return as_it_is(cast("Job", job), cast("Baseline", baseline), cast("Rule", certify))


@pytest.mark.parametrize(
    "promises",
    [
        (NO_LOSS, contract("agreement@10", Bound.AT_LEAST, 0.99)),
        (contract("recall@10", Bound.AT_LEAST, 0.8),),
        (contract("recall@10_kept_index", Bound.NOT_BELOW_CURRENT_BY, 0.02),),
        (contract("flip_rate", Bound.AT_MOST, 0.01),),
    ],
    ids=["relative", "absolute", "its own index", "flips"],
)
def test_what_changes_no_answer_takes_part(
    recorder: Recorder, promises: tuple[Contract, ...]
) -> None:
    """It is accepted from the start, and costs what all others are counted in."""
    own = measured(recorder, *promises)
    assert own.skipped == ""
    assert own.build == build()
    entrant = entrant_as_it_is(own)
    assert entrant.accepted
    assert entrant.cost == Cost(0.0)


@pytest.mark.parametrize(
    ("promise", "n", "said"),
    [
        (contract("recall@10", Bound.AT_LEAST, 0.95), 400, "recall@10 = 0.9 (at best"),
        (contract("recall@10", Bound.AT_LEAST, 0.89), 400, "recall@10 = 0.9 is somewhere in"),
        (INDEPENDENT, 400, "batch_invariance is within_epsilon, none of exact"),
        (NO_LOSS, 40, "recall@10 candidate - current = 0 is somewhere in"),
    ],
    ids=["broken", "not shown to be kept", "of another class", "too few to show that none is lost"],
)
def test_a_promise_that_its_answers_are_not_shown_to_keep_leaves_it_out(
    recorder: Recorder, promise: Contract, n: int, said: str
) -> None:
    """No policy mends an answer, and no load test may be spent on what it cannot decide."""
    own = measured(recorder, promise, n=n)
    assert own.skipped.startswith(said)
    entrant = entrant_as_it_is(own)
    assert entrant.ruled_out == own.skipped
    assert not entrant.accepted


def test_what_it_is_judged_by_is_on_record(recorder: Recorder) -> None:
    """One measurement of each promise about answers, on the split that chooses."""
    measured(recorder, NO_LOSS, INDEPENDENT, contract("latency_p95", Bound.AT_MOST, 1.0))
    kept = [e.body for e in recorder.store.entries("measurement")]
    assert [(m["metric"], m["artifact"]) for m in kept] == [
        ("recall@10", build().version),
        ("batch_invariance", build().version),
    ]


@pytest.mark.parametrize(("n", "alone", "of_six"), [(200, True, False), (400, True, True)])
def test_without_a_holdout_it_is_judged_as_strictly_as_its_certificate(
    recorder: Recorder, n: int, alone: bool, of_six: bool
) -> None:
    """That reads the same data once more: nothing is lost of 200, which shows a loss below 0.02 at
    95 %, and not at the level that six candidates share."""
    assert (measured(recorder, NO_LOSS, n=n).skipped == "") is alone
    shared = measured(recorder, NO_LOSS, n=n, level=1 - 0.05 / 6)
    assert (shared.skipped == "") is of_six


def priced(provisioned_s: float, attributed_s: float = 1e-3) -> Priced:
    found = SimpleNamespace(provisioned_s=provisioned_s, attributed_s=attributed_s)
    return cast("Priced", found)


@pytest.mark.parametrize(("cost_s", "wins"), [(1.9, True), (1.99, False), (2.0, False)])
def test_what_costs_as_much_as_now_gains_nothing(cost_s: float, wins: bool) -> None:
    """Within a percent costs are equal, and the plainest stays."""
    assert (gains_nothing(priced(cost_s), priced(2.0)) == "") is wins
    assert gains_nothing(priced(cost_s), priced(float("inf"))) == "", "it is too slow as it is"


RATIO = contract("device_s_per_1k", Bound.RATIO_AT_MOST, 0.7)


@pytest.mark.parametrize(
    ("promise", "saves", "kept"),
    [
        (RATIO, 0.03, False),
        (RATIO, 0.24, True),
        (RATIO, 0.4, True),
        (contract("cost_per_1k", Bound.RATIO_AT_MOST, 0.7), 0.03, False),
        (contract("cost_per_1k", Bound.AT_MOST, 1.0), 0.03, False),
        (contract("cost_per_1k", Bound.AT_MOST, 2.0), 0.03, True),
        (contract("device_s_per_1k", Bound.NOT_ABOVE_CURRENT_BY, 0.0), 0.03, True),
        (contract("device_s_per_1k", Bound.NOT_ABOVE_CURRENT_BY, 0.0), -0.2, False),
        (contract("latency_p95", Bound.RATIO_AT_MOST, 0.7), 0.0, True),
    ],
)
def test_a_promise_about_cost_that_its_price_breaks_is_not_left_to_the_load_test(
    promise: Contract, saves: float, kept: bool
) -> None:
    """Nothing else judges it of the model as it is. A plan may be wrong by a tenth; of latency the
    plan itself has a limit. A thousand requests cost 2 as it is served now."""
    job = SimpleNamespace(
        contracts=(promise,), config=SimpleNamespace(prices=SimpleNamespace(device_second=2.0))
    )
    said = breaks_cost(priced(0.5, 1e-3 * (1 - saves)), priced(1.0, 1e-3), cast("Job", job))
    assert (said == "") is kept
    assert kept or said.startswith(promise.describe())


@pytest.mark.parametrize(
    ("current", "serves", "another"),
    [
        ("none", None, False),
        ("baseline", build(), False),
        ("under other policies", build(threads=1), False),
        ("another", build("int8_static"), True),
        ("on another engine", build(engine="openvino"), True),
    ],
)
def test_it_replaces_nothing_but_itself(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    current: str,
    serves: Build | None,
    another: bool,
) -> None:
    """Whatever else is current may be cheaper than what it is priced beside, and answers of its
    own would be held against that."""
    baseline = SimpleNamespace(build=build(), version=store.put_bytes(b"baseline"))
    monkeypatch.setattr(
        module, "Servable", SimpleNamespace(load=lambda *_: SimpleNamespace(build=serves))
    )
    if serves is not None:
        release = Release("docs", 0, store.put_bytes(current.encode()), None)
        store.promote(release, expected_generation=None)
    job = SimpleNamespace(store=store, config=SimpleNamespace(endpoint="docs"))
    said = replaces_another(cast("Job", job), cast("Baseline", baseline))
    assert (said != "") is another
    assert not another or said.startswith("a release of another build is current, ")
