"""Whether the model as it is takes part in the search, and what it begins with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from headgate.objects import BatchInvariance, Bound, Contract
from headgate.optimize.as_it_is import as_it_is, entrant_as_it_is
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorder
from headgate.optimize.stages import Baseline, Tried
from headgate.planning import Cost

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
