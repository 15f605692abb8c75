"""What each contract can tell, said before anything is judged."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.ledger import Store
from headgate.objects import BatchInvariance, Bound, Contract
from headgate.optimize.blocks import BlockTimes, SpeedBlocks
from headgate.optimize.evidence import MIN_SLICE, SPEED
from headgate.optimize.job import Job
from headgate.optimize.power import Power, plan_power
from headgate.optimize.stages import Baseline, Tried
from headgate.release import Rule

from .fakes import RUN, contract, invariance, quality, speed, tried

N = 400
BELOW, ONE_OF, RATIO = Bound.NOT_BELOW_CURRENT_BY, Bound.ONE_OF, Bound.RATIO_AT_MOST
SCORES = {"accuracy": tuple(float(k % 20 != 0) for k in range(N))}
TIMES = speed({"fp32": 10.0, "bf16": 2.0})
PILOT = tried(
    "bf16",
    quality=quality(SCORES, N),
    quality_run=RUN,
    invariance=invariance(BatchInvariance.EXACT),
)


def power(
    store: Store,
    *contracts: Contract,
    tries: tuple[Tried, ...] = (PILOT,),
    slices: tuple[tuple[str, ...], ...] = ((),) * N,
    price: float = 2e-5,
    times: SpeedBlocks = TIMES,
) -> Power:
    split = SimpleNamespace(slices=slices)
    job = SimpleNamespace(
        store=store,
        contracts=contracts,
        own={},
        inputs=SimpleNamespace(holdout=None, evaluate=split),
        config=SimpleNamespace(
            endpoint="docs",
            prices=SimpleNamespace(device_second=price),
            replay=SimpleNamespace(blocks=9),
        ),
    )
    baseline = SimpleNamespace(quality=quality({"accuracy": (1.0,) * N}, N), quality_run=RUN)
    planned = {c.metric: 9 if c.metric.startswith(SPEED) else N for c in contracts}
    rule = Rule("docs", "evaluate", "sha256:data", contracts, {}, planned, seed=0)
    timed = [t if t.name == "fp32" else replace(t, speed=times) for t in tries]
    return plan_power(cast("Job", job), rule, cast("Baseline", baseline), timed) or Power(())


def test_each_contract_has_a_row_with_its_rule_and_its_n(store: Store) -> None:
    """Items for quality, blocks for latency and cost, inputs for the class."""
    rows = power(
        store,
        contract("accuracy", BELOW, 0.05),
        contract("batch_invariance", ONE_OF, 0.0, allowed=("exact",)),
        contract("latency_p95", Bound.AT_MOST, 0.04),
        contract("cost_per_1k", RATIO, 1.0),
    ).rows
    assert [(r.rule, r.n) for r in rows] == [
        ("accuracy not below current by 0.05", N),
        ("batch_invariance one of exact", 64),
        ("latency_p95 at most 0.04", 9),
        ("cost_per_1k ratio to current at most 1", 9),
    ]
    assert all(0.0 <= r.power <= 1.0 for r in rows)


def test_of_the_model_as_it_is_only_times_have_no_row(store: Store) -> None:
    """Its answers are measured; under policies of its own nothing was timed."""
    own = replace(PILOT, name="fp32")
    promises = contract("accuracy", BELOW, 0.05), contract("cost_per_1k", RATIO, 1.0)
    found = power(store, *promises, tries=(own,))
    assert [r.rule for r in found.rows] == ["accuracy not below current by 0.05"]
    assert found.entry


def test_a_wider_margin_is_easier_to_show(store: Store) -> None:
    """And a margin that n items cannot resolve says how many would."""
    narrow, wide = (
        power(store, contract("accuracy", BELOW, margin)).rows[0] for margin in (0.001, 0.1)
    )
    assert narrow.power < wide.power
    assert not narrow.can_decide
    assert narrow.required_n is None or narrow.required_n > N


@pytest.mark.parametrize("metric", ["worst_slice_accuracy", "accuracy"])
def test_the_worst_slice_is_as_large_as_the_slice(store: Store, metric: str) -> None:
    """Slices below the smallest that can be judged do not count."""
    slices = tuple(("pen:thick",) if k < MIN_SLICE + 50 else ("pen:thin",) for k in range(N))
    small = tuple((*s, "rare:yes") if k < 5 else s for k, s in enumerate(slices))
    (row,) = power(store, contract(metric, BELOW, 0.05), slices=small).rows
    assert row.n == (MIN_SLICE + 50 if metric.startswith("worst") else N)


def test_no_slice_needs_fewer_items_than_are_judged(store: Store) -> None:
    """However wide the margin: the gate leaves smaller slices out."""
    slices = (("pen:thick",),) * (N // 2) + (("pen:thin",),) * (N - N // 2)
    (row,) = power(store, contract("worst_slice_accuracy", BELOW, 0.3), slices=slices).rows
    assert row.required_n == MIN_SLICE


@pytest.mark.parametrize(
    ("slices", "n", "words"),
    [
        ((("pen:thin",),) * (MIN_SLICE - 1) + ((),) * (N - MIN_SLICE + 1), MIN_SLICE - 1, "100"),
        (((),) * N, 0, "100"),
        ((("pen:thin",),) * 150 + ((),) * (N - 150), 150, "200"),  # min_n asks for 200
    ],
)
def test_where_no_slice_can_be_judged_nothing_can_be_decided(
    store: Store, slices: tuple[tuple[str, ...], ...], n: int, words: str
) -> None:
    """The gate would say unknown, so the power is 0, and the row says why."""
    wanted = contract("worst_slice_accuracy", BELOW, 0.1, min_n=int(words))
    (row,) = power(store, wanted, slices=slices).rows
    assert (row.power, row.can_decide, row.n) == (0.0, False, n)
    assert (row.assumed, row.required_n) == (f"no slice has {words} items", int(words))


def test_noise_above_half_the_margin_decides_nothing(store: Store) -> None:
    """As the gate would say of the replay: blocks that differ from themselves are no evidence."""
    noisy = replace(TIMES, aa_after=(TIMES.aa_after[0], BlockTimes((1.3,) * 10, 1.0)))
    wanted = contract("latency_p95", RATIO, 1.5)
    (calm,), (row,) = power(store, wanted).rows, power(store, wanted, times=noisy).rows
    assert calm.can_decide
    assert "9 blocks without load" in calm.assumed
    assert (row.power, row.can_decide, row.required_n) == (0.0, False, None)
    assert row.assumed.startswith("unknown in a pilot without load: current against itself differs")


def test_a_contract_that_nothing_measures_has_no_row(store: Store) -> None:
    """Neither recall without labels, nor a cost without a price."""
    rows = power(
        store,
        contract("recall@10", BELOW, 0.02),
        contract("cost_per_1k", RATIO, 1.0),
        price=0.0,
    ).rows
    assert rows == ()


def test_where_no_candidate_was_measured_an_earlier_table_stands(store: Store) -> None:
    """An empty one would be the newest, and `headgate gate --power` would know nothing."""
    promised = contract("accuracy", BELOW, 0.05)
    known = power(store, promised)
    assert power(store, promised, tries=(tried("bf16", None),)) == Power(())
    newest = store.latest("power", endpoint="docs")
    assert newest is not None
    assert newest.id == known.entry
