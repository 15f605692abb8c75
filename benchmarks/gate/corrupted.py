"""Measurements that are broken in one way each, of which none may be accepted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.gate.world import AXES, BETTER, CONTRACTS, Plan
from headgate.objects import Direction
from headgate.release import Blocks, ClassLabel, PairedItems, Samples, decide

__all__ = ["corrupt", "corrupted"]

_NO_NUMBERS = (math.nan, math.inf, -math.inf)
_WAYS: dict[type, dict[str, Callable[[Any, str, int, Any], Samples]]] = {
    PairedItems: {
        "not a number": lambda s, side, at, rng: _put(s, side, at, rng.choice(_NO_NUMBERS)),
        "out of range": lambda s, side, at, rng: _put(
            s, side, at, rng.choice([-0.01, 1.01, 1e300])
        ),
        "cut short": lambda s, side, at, rng: replace(s, **{side: getattr(s, side)[:at]}),
        "too long": lambda s, side, at, rng: replace(s, **{side: (*getattr(s, side), 1.0)}),
        "an item twice": lambda s, side, at, rng: _put(s, "items", at, s.items[at - 1]),
        "errors": lambda s, side, at, rng: replace(
            s, **{side: _errored(getattr(s, side), len(s.items) // 100 + 1 + at)}
        ),
        "another metric": lambda s, side, at, rng: replace(s, metric=f"{s.metric}_"),
        "the other way round": lambda s, side, at, rng: replace(s, direction=Direction.LOWER),
        "no range": lambda s, side, at, rng: replace(s, value_range=(0.0, rng.choice(_NO_NUMBERS))),
        "empty": lambda s, side, at, rng: replace(s, items=(), candidate=(), current=()),
        "few": lambda s, side, at, rng: replace(
            s, items=s.items[:9], candidate=s.candidate[:9], current=s.current[:9]
        ),
    },
    Blocks: {
        "not a number": lambda s, side, at, rng: _put(s, side, at % 8, rng.choice(_NO_NUMBERS)),
        "not positive": lambda s, side, at, rng: _put(s, side, at % 8, -float(at)),
        "noise is no number": lambda s, side, at, rng: replace(
            s, aa_before=((1.0, float(rng.choice(_NO_NUMBERS))),)
        ),
        "loud": lambda s, side, at, rng: replace(s, aa_after=((1.0, 1.06 + at),)),
        "noise unknown": lambda s, side, at, rng: replace(s, aa_before=()),
        "cut short": lambda s, side, at, rng: replace(s, **{side: getattr(s, side)[: at % 8]}),
        "another metric": lambda s, side, at, rng: replace(s, metric=f"{s.metric}_"),
        "the other way round": lambda s, side, at, rng: replace(s, direction=Direction.HIGHER),
        "few": lambda s, side, at, rng: replace(
            s, candidate=s.candidate[: at % 8], current=s.current[: at % 8]
        ),
    },
}


def corrupt(samples: dict[str, Samples], rng: np.random.Generator) -> dict[str, Samples]:
    """``samples`` with one metric missing, of another kind, or broken in one way."""
    metric = AXES[rng.integers(len(AXES))]
    whole = samples[metric]
    ways = _WAYS[type(whole)]
    way = [*ways, "missing", "a class"][rng.integers(len(ways) + 2)]
    rest = {m: s for m, s in samples.items() if m != metric}
    if way == "missing":
        return rest
    if way == "a class":
        return rest | {metric: ClassLabel(metric, "exact", 64)}
    side = ("candidate", "current")[rng.integers(2)]
    n = len(whole.items) if isinstance(whole, PairedItems) else 8
    return rest | {metric: ways[way](whole, side, int(rng.integers(1, n)), rng)}


def corrupted(sets: int, seed: int) -> Counter[str]:
    """Of so many broken sets, how many were accepted; and whether the whole one is."""
    plan = Plan(items=400, blocks=9)  # what is plainly better is accepted with so few
    rng, seen = np.random.default_rng(seed), Counter[str]()
    sound = plan.draw(BETTER, np.random.default_rng(1))
    seen["sound"] = int(_accepted(sound))
    for _ in range(sets):
        seen["accepted"] += _accepted(corrupt(sound, rng))
    return seen


def _accepted(samples: dict[str, Samples]) -> bool:
    return decide(
        candidate="new",
        current="old",
        split="holdout",
        contracts=CONTRACTS,
        samples=samples,
        measurements={},
    ).accepted


def _put(samples: Any, field: str, at: int, value: object) -> Any:
    values = getattr(samples, field)
    return replace(samples, **{field: (*values[:at], value, *values[at + 1 :])})


def _errored(values: tuple[float | None, ...], errors: int) -> tuple[float | None, ...]:
    return (None,) * min(errors, len(values)) + values[errors:]
