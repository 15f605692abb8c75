"""Which samples a contract is judged on, and the measurements that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from headgate.ledger import Store
from headgate.objects import BatchInvariance, Bound, Contract, Direction, Verdict
from headgate.optimize.evidence import Evidence, OwnRange, gather, paired
from headgate.optimize.quality import QualitySamples
from headgate.optimize.recorder import Recorder
from headgate.release import Blocks, ClassLabel, PairedItems, WorstSlice, judge

from .fakes import RUN, contract, invariance, quality, speed

N = 400
OURS = quality({"recall@10": (1.0,) * N, "mine": (0.25,) * N}, N, ("length:short",))
THEIRS = quality({"recall@10": (1.0,) * N, "mine": (0.5,) * N}, N, ("length:short",))
OWN = {"mine": OwnRange(Direction.LOWER, -1.0, 2.0)}
CURRENT = replace(RUN, entry="sha256:current")
TIMES = speed({"fp32": 10.0, "int8": 1.0})


def test_a_metric_is_paired_item_by_item() -> None:
    """Candidate and current, slices and all; an own metric with its direction and range."""
    items = paired("mine", OURS, THEIRS, OWN)
    assert items is not None
    assert (items.candidate, items.current) == ((0.25,) * N, (0.5,) * N)
    assert (items.direction, items.value_range) == (Direction.LOWER, (-1.0, 2.0))
    assert items.slices == (("length:short",),) * N
    builtin = paired("recall@10", OURS, THEIRS, OWN)
    assert builtin is not None
    assert (builtin.direction, builtin.value_range) == (Direction.HIGHER, (0.0, 1.0))


@pytest.mark.parametrize("metric", ["agreement", "agreement@10"])
def test_agreement_compares_answers_and_current_agrees_with_itself(metric: str) -> None:
    """Its current side is 1 by definition."""
    items = paired(metric, OURS, THEIRS, {})
    assert items is not None
    assert (items.candidate, items.current) == ((1.0,) * N, (1.0,) * N)


def test_a_mean_that_stays_may_hide_flips_and_a_contract_on_them_fails() -> None:
    """A fifth was right and is wrong, a fifth the other way round: recall stands still,
    ``flip_rate`` does not."""
    fifth = N // 5
    before = (1.0,) * fifth + (0.0,) * fifth + (1.0,) * (N - 2 * fifth)
    now = (0.0,) * fifth + (1.0,) * (N - fifth)
    ours, theirs = (quality({"recall@10": scores}, N) for scores in (now, before))
    recall, flipped = (paired(m, ours, theirs, {}) for m in ("recall@10", "flip_rate"))
    assert recall is not None
    assert flipped is not None
    assert sum(map(float, now)) == sum(map(float, before))
    assert (sum(map(bool, flipped.candidate)), set(flipped.current)) == (fifth, {0.0})
    kept = judge(contract("recall@10", Bound.NOT_BELOW_CURRENT_BY, 0.1), recall)
    broken = judge(contract("flip_rate", Bound.AT_MOST, 0.1), flipped)
    assert (kept.verdict, broken.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert judge(contract("flip_rate", Bound.AT_MOST, 0.3), flipped).verdict is Verdict.PASS


def test_an_item_that_errored_is_no_flip_and_without_labels_there_are_none() -> None:
    """It is counted as errored, as in every metric."""
    ours, theirs = quality({"accuracy": (None, 0.0)}, 2), quality({"accuracy": (1.0, 1.0)}, 2)
    flipped = paired("flip_rate", ours, theirs, {})
    assert flipped is not None
    assert flipped.candidate == (None, 1.0)
    unlabelled = replace(ours, scores={})
    assert paired("flip_rate", unlabelled, unlabelled, {}) is None


def test_an_own_metric_may_begin_with_agreement() -> None:
    """It is the user's, and is not replaced by the overlap of answers."""
    name = "agreement_with_people"
    ours, theirs = quality({name: (0.5,) * N}), quality({name: (0.75,) * N})
    items = paired(name, ours, theirs, {})
    assert items is not None
    assert set(items.candidate) == {0.5}


def test_what_neither_build_was_scored_on_has_no_pairs() -> None:
    """Recall without labels, for one."""
    unlabelled = QualitySamples(OURS.items, OURS.slices, {}, OURS.answers)
    assert paired("recall@10", unlabelled, unlabelled, {}) is None


def evidence(
    recorder: Recorder, store: Store, *metrics: str, contracts: Sequence[Contract] = ()
) -> Evidence:
    """Gathered for one contract a metric, or for ``contracts``."""
    dataset = store.put_bytes(b"data")
    candidate = store.put_bytes(b"candidate")
    contracts = contracts or [
        contract(m, Bound.ONE_OF, 0.0, allowed=("exact",))
        if m == "batch_invariance"
        else contract(
            m, Bound.AT_MOST if m.startswith(("latency", "cost", "mine")) else Bound.AT_LEAST, 0.5
        )
        for m in metrics
    ]
    return gather(
        recorder,
        contracts,
        candidate=candidate,
        dataset=dataset,
        workload=store.put_bytes(b"workload"),
        quality=((OURS, RUN), (THEIRS, CURRENT)),
        invariance=invariance(BatchInvariance.EXACT),
        speed=lambda metric: TIMES.samples("int8", metric, price_per_s=1.0),
        speed_run=RUN,
        own=OWN,
    )


def test_each_metric_gets_its_kind_of_samples(recorder: Recorder, store: Store) -> None:
    """Pairs, the worst slice of pairs, blocks, a class: and one measurement entry for each."""
    metrics = {
        "recall@10": PairedItems,
        "worst_slice_recall@10": WorstSlice,
        "latency_p95": Blocks,
        "cost_per_1k": Blocks,
        "batch_invariance": ClassLabel,
    }
    found = evidence(recorder, store, *metrics)
    assert {m: type(s) for m, s in found.samples.items()} == metrics
    bodies = [store.get(entry).body for entry in found.measurements.values()]
    assert [b["metric"] for b in bodies] == list(metrics)
    assert all((b["run"], b["seed"]) == (RUN.entry, 0) for b in bodies)
    recall = bodies[0]
    counts = ("value", "n", "attempted", "scored", "errored", "skipped")
    assert [recall[name] for name in counts] == [1, N, N, N, 0, 0]


def test_a_measurement_says_what_its_number_is(recorder: Recorder, store: Store) -> None:
    """The candidate's own value, current's, what is compared and how, and the run of each.

    Ten lone requests of a second against one of 0.1 s in batches: 100 s against 1,000 s.
    """
    found = evidence(
        recorder,
        store,
        contracts=[
            contract("mine", Bound.NOT_ABOVE_CURRENT_BY, 0.1),
            contract("recall@10", Bound.AT_LEAST, 0.5),
            contract("device_s_per_1k", Bound.RATIO_AT_MOST, 1.0),
            contract("device_s_per_1k", Bound.AT_MOST, 200.0),
            contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",)),
        ],
    )
    told = [store.get(entry).body for entry in found.measurements.values()]
    fields = ("metric", "unit", "statistic", "value", "current", "compared")
    assert [tuple(body[f] for f in fields) for body in told] == [
        ("mine", "number", "difference", 0.25, 0.5, -0.25),
        ("recall@10", "fraction", "value", 1, None, 1),
        ("device_s_per_1k", "s", "ratio", 100, 1000, 0.1),
        ("device_s_per_1k", "s", "value", 100, None, 100),
        ("batch_invariance", "class", "value", 1, None, 1),
    ]
    data, workload = store.put_bytes(b"data"), store.put_bytes(b"workload")
    assert [body["dataset"] for body in told] == [data, data, workload, workload, workload]
    ours, theirs = RUN.entry, CURRENT.entry
    assert [body["run"] for body in told] == [ours] * 5
    assert [body["current_run"] for body in told] == [theirs, theirs, ours, ours, None]


def test_the_value_of_the_worst_slice_is_that_slices(recorder: Recorder, store: Store) -> None:
    """Not the whole's: current is 1 and the candidate 0.9 where it lost."""
    half = N // 2
    slices = tuple(("length:short",) if k < half else ("length:long",) for k in range(N))
    lost = tuple(0.9 if k < half else 1.0 for k in range(N))
    ours = QualitySamples(OURS.items, slices, {"recall@10": lost}, OURS.answers)
    theirs = QualitySamples(OURS.items, slices, {"recall@10": (1.0,) * N}, OURS.answers)
    found = gather(
        recorder,
        [contract("worst_slice_recall@10", Bound.NOT_BELOW_CURRENT_BY, 0.2)],
        candidate="sha256:candidate",
        dataset="sha256:data",
        workload="sha256:workload",
        quality=((ours, RUN), (theirs, CURRENT)),
        invariance=invariance(BatchInvariance.EXACT),
        speed=lambda metric: None,
        speed_run=RUN,
        own={},
    )
    (entry,) = found.measurements.values()
    body = store.get(entry).body
    assert body["value"] == pytest.approx(0.9)
    assert body["current"] == 1
    assert body["compared"] == pytest.approx(-0.1)


def test_what_was_measured_already_is_not_entered_again(recorder: Recorder, store: Store) -> None:
    """A second job on the same samples names the same measurements."""
    first = evidence(recorder, store, "recall@10", "latency_p95")
    entries = len(list(store.entries()))
    assert evidence(recorder, store, "recall@10", "latency_p95").measurements == first.measurements
    assert len(list(store.entries())) == entries


def test_a_contract_that_nothing_measured_has_no_samples(recorder: Recorder, store: Store) -> None:
    """It has no measurement either, and the gate will not accept."""
    found = evidence(recorder, store, "accuracy")
    assert (found.samples, found.measurements) == ({}, {})
