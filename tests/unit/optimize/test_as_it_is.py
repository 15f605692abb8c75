"""Whether the model as it is takes part in the search, and what it begins with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from headgate.objects import BatchInvariance, Bound, Contract
from headgate.optimize.as_it_is import as_it_is, entrant_as_it_is, why_not
from headgate.optimize.job import Job
from headgate.optimize.pricing import Offer
from headgate.optimize.recorder import Recorder
from headgate.optimize.stages import Baseline, Plans, Tried
from headgate.planning import Cost
from headgate.scheduling import InstancePlan

from .fakes import RUN, build, contract, invariance, quality

INDEPENDENT = contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",))
NO_LOSS = contract("recall@10", Bound.NOT_BELOW_CURRENT_BY, 0.02)


def measured(recorder: Recorder, *contracts: Contract, found: float = 0.9, n: int = 400) -> Tried:
    """Of a baseline that finds the share ``found`` of what it should, ``n`` times asked."""
    inputs = SimpleNamespace(versions={"evaluate": "sha256:evaluate", "workload": "sha256:log"})
    job = SimpleNamespace(recorder=recorder, contracts=contracts, inputs=inputs, own={})
    hits = tuple(float(k < found * n) for k in range(n))
    baseline = SimpleNamespace(
        build=build(),
        quality=quality({"recall@10": hits}, n=n),
        quality_run=RUN,
        invariance=invariance(BatchInvariance.EPSILON),
    )
    return as_it_is(cast("Job", job), cast("Baseline", baseline))


@pytest.mark.parametrize(
    "promises",
    [
        (NO_LOSS, contract("agreement@10", Bound.AT_LEAST, 0.99)),
        (contract("recall@10", Bound.AT_LEAST, 0.8),),
        (contract("recall@10_kept_index", Bound.NOT_BELOW_CURRENT_BY, 0.02),),
        (contract("flip_rate", Bound.AT_MOST, 0.01),),
        (contract("latency_p95", Bound.AT_MOST, 1e-9), contract("cost_per_1k", Bound.AT_MOST, 0)),
    ],
    ids=["relative", "absolute", "its own index", "flips", "times"],
)
def test_what_changes_no_answer_takes_part(
    recorder: Recorder, promises: tuple[Contract, ...]
) -> None:
    """Of times nothing is said before there are policies: it may be cheap and quick with others."""
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


def plans(binding: str | None, cost_s: float = 1.0, naive_s: float = 2.0) -> Plans:
    """At ``cost_s`` a request, beside ``naive_s`` of the baseline as it is served."""
    naive = SimpleNamespace(provisioned_s=naive_s)
    offers = {"fp32": Offer("fp32", {InstancePlan(2, 1): build()}, (), BatchInvariance.EXACT)}
    pricer = SimpleNamespace(offers=offers, price=lambda *_, **__: naive, all=list)
    choice = SimpleNamespace(binding=binding)
    chosen = SimpleNamespace(provisioned_s=cost_s, choice=choice)
    return cast("Plans", SimpleNamespace(pricer=pricer, chosen=chosen))


BASELINE = cast("Baseline", SimpleNamespace(build=build()))
NEVER = "latency_p95: 0.2 s even at the lowest rate tried"


def test_it_cannot_win_where_none_of_its_plans_holds_the_p95_promise() -> None:
    """One that holds is enough."""
    refused, held = plans(NEVER), plans(None)
    assert why_not([], None, BASELINE) == ""
    assert why_not([refused, refused], None, BASELINE) == NEVER
    assert why_not([refused, held], None, BASELINE) == ""
    assert why_not([refused, held], held, BASELINE) == ""


@pytest.mark.parametrize(("cost_s", "wins"), [(1.9, True), (1.99, False), (2.0, False)])
def test_it_wins_nothing_by_what_costs_as_much_as_it_does_now(cost_s: float, wins: bool) -> None:
    """Within a percent costs are equal, and the plainest stays."""
    best = plans(None, cost_s)
    said = why_not([best], best, BASELINE)
    assert said == ("" if wins else "no policies make it cheaper than it is")
