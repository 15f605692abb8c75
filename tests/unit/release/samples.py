"""Contracts and samples for the tests of the gate: sound ones, to be broken one way at a time."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.objects import Action, Axis, Bound, Contract, Direction
from headgate.release import Blocks, ClassLabel, PairedItems, Samples, WorstSlice

QUIET = ((100.0, 101.0), (101.0, 100.0))
"""A/A pairs that differ by 1 %."""


def contract(
    metric: str = "recall",
    bound: Bound = Bound.NOT_BELOW_CURRENT_BY,
    limit: float = 0.02,
    *,
    axis: Axis = Axis.QUALITY,
    on_breach: Action = Action.ROLLBACK,
    allowed: tuple[str, ...] = (),
    min_n: int = 0,
) -> Contract:
    return Contract(
        metric,
        axis,
        bound,
        limit,
        "a reason",
        on_breach,
        "command:page",
        "previous",
        allowed,
        min_n,
    )


def items(
    candidate: Sequence[float | None],
    current: Sequence[float | None],
    *,
    metric: str = "recall",
    direction: Direction = Direction.HIGHER,
    slices: tuple[tuple[str, ...], ...] = (),
    value_range: tuple[float, float] = (0.0, 1.0),
) -> PairedItems:
    ids = tuple(f"q{i}" for i in range(len(candidate)))
    return PairedItems(
        metric, direction, ids, tuple(candidate), tuple(current), slices, value_range
    )


def binary(n: int, *, gained: int = 0, lost: int = 0) -> PairedItems:
    """n pairs, all right on both sides but ``lost`` and ``gained``."""
    agree = n - gained - lost
    return items(
        [1.0] * agree + [1.0] * gained + [0.0] * lost,
        [1.0] * agree + [0.0] * gained + [1.0] * lost,
    )


def blocks(
    candidate: Sequence[float],
    current: Sequence[float] | None = None,
    *,
    metric: str = "latency",
    direction: Direction = Direction.LOWER,
    aa_before: tuple[tuple[float, float], ...] = QUIET,
    aa_after: tuple[tuple[float, float], ...] = QUIET,
) -> Blocks:
    current = [100.0] * len(candidate) if current is None else current
    return Blocks(metric, "ms", direction, tuple(candidate), tuple(current), aa_before, aa_after)


def sound() -> tuple[list[Contract], dict[str, Samples]]:
    """Contracts on all four axes, and samples that keep every one of them."""
    recall = binary(1000, gained=3, lost=3)
    sliced = items(
        recall.candidate, recall.current, slices=tuple((f"family:{i % 2}",) for i in range(1000))
    )
    contracts = [
        contract(),
        contract("worst_slice", limit=0.05, axis=Axis.SAFETY),
        contract(
            "invariance", Bound.ONE_OF, 0.0, axis=Axis.SAFETY, allowed=("exact", "within_epsilon")
        ),
        contract("latency", Bound.RATIO_AT_MOST, 1.1, axis=Axis.LATENCY),
        contract("cost", Bound.AT_MOST, 100.0, axis=Axis.COST, on_breach=Action.WARN),
    ]
    samples: dict[str, Samples] = {
        "recall": recall,
        "worst_slice": WorstSlice("worst_slice", sliced),
        "invariance": ClassLabel("invariance", "exact", 64),
        "latency": blocks([50.0, 51.0] * 4),
        "cost": blocks([50.0, 51.0] * 4, metric="cost"),
    }
    return contracts, samples
