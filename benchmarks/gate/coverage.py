"""Do the gate's bounds hold where a metric is no plain mean of tame values, and would a bootstrap
do better? In worlds whose truth is known: skewed items, small slices, p95 under load.

Each world is judged at its own truth: a contract whose limit is exactly what is true must pass in
5 % of gates at most. Beside it stand three bootstraps of the same mean, by the bound that would let
it pass (docs/decisions/0025-what-a-decision-may-get-wrong.md says what came of it).
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from headgate.objects import Action, Axis, Bound, Contract, Direction, Verdict
from headgate.release import Blocks, PairedItems, Samples, judge

__all__ = ["BOOTSTRAPS", "WORLDS", "World", "covered"]

_ITEMS, _SLICE, _BLOCKS = 300, 100, 9
_REQUESTS = 600
"""In a block: five seconds at 120 a second."""
_LOAD = 0.7
_RESAMPLES = 999
_LEVEL = 0.95

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One set of measurements, judged by a contract whose limit is the truth."""

    contract: Contract
    samples: Samples
    goodness: Values
    """What is averaged, shape (n,), turned so that more of it is better."""
    truth: float
    """Its true mean."""


def _contract(metric: str, bound: Bound, limit: float) -> Contract:
    return Contract(
        metric,
        Axis.LATENCY if metric == "p95" else Axis.QUALITY,
        bound,
        limit,
        "so that the truth is known",
        Action.ROLLBACK,
        "command:true",
        "previous generation",
    )


def _items(differences: Values, truth: float) -> Drawn:
    """Current answers everything; the candidate differs as drawn."""
    contract = _contract("quality", Bound.NOT_BELOW_CURRENT_BY, -truth)
    n = len(differences)
    candidate, current = 0.5 + differences / 2, 0.5 - differences / 2
    samples = PairedItems(
        "quality",
        Direction.HIGHER,
        tuple(map(str, range(n))),
        tuple(candidate.tolist()),
        tuple(current.tolist()),
    )
    return Drawn(contract, samples, differences, truth)


def graded(rng: np.random.Generator) -> Drawn:
    """Recall in tenths: of a tenth of the items some answers are lost, of a twentieth won."""
    kind = rng.random(_ITEMS)
    size = rng.integers(1, 11, _ITEMS) / 10
    differences = np.where(kind < 0.1, -size, np.where(kind < 0.15, size, 0.0))
    return _items(differences, -0.05 * 0.55)


def catastrophes(rng: np.random.Generator) -> Drawn:
    """One item in a hundred is lost wholly, among small changes that cancel."""
    small = rng.normal(0, 0.01, _ITEMS).clip(-0.05, 0.05)
    lost = rng.random(_ITEMS) < 0.01
    return _items(np.where(lost, -1.0, small), -0.01)


def small_slice(rng: np.random.Generator) -> Drawn:
    """The same, of a slice that is as small as one may be."""
    small = rng.normal(0, 0.01, _SLICE).clip(-0.05, 0.05)
    lost = rng.random(_SLICE) < 0.02
    return _items(np.where(lost, -1.0, small), -0.02)


def block_p95_s(rng: np.random.Generator, blocks: int, spread: float) -> Values:
    """p95 of so many blocks of one server at 70 % of its capacity, shape (blocks,), where it takes
    a second a request on average: Poisson arrivals, log-normal times with ``spread``.

    Waits by Lindley's recursion, ``W' = max(0, W + S - A)``; each block begins with an idle server.
    """
    shape = (blocks, _REQUESTS)
    service = rng.lognormal(-(spread**2) / 2, spread, shape)
    steps = service[:, :-1] - rng.exponential(1 / _LOAD, (blocks, _REQUESTS - 1))
    walk = np.concatenate([np.zeros((blocks, 1)), np.cumsum(steps, axis=1)], axis=1)
    waits = walk - np.minimum.accumulate(walk, axis=1)
    sorted_s = np.sort(waits + service, axis=1)
    return np.asarray(sorted_s[:, math.ceil(0.95 * _REQUESTS) - 1])


@functools.cache
def _true(spread: float) -> tuple[float, float]:
    """Mean of a block's p95 and of its logarithm."""
    p95_s = np.concatenate(
        [block_p95_s(np.random.default_rng(k), 1_000, spread) for k in range(20)]
    )
    return float(p95_s.mean()), float(np.log(p95_s).mean())


def _under_load(
    rng: np.random.Generator, bound: Bound, spread: float, current_spread: float
) -> Drawn:
    candidate = block_p95_s(rng, _BLOCKS, spread)
    current = block_p95_s(rng, _BLOCKS, current_spread)
    aa = block_p95_s(rng, 4, current_spread)
    if bound is Bound.RATIO_AT_MOST:
        goodness = np.log(current / candidate)
        truth = _true(current_spread)[1] - _true(spread)[1]
        limit = math.exp(-truth)
    else:
        goodness, truth = -candidate, -_true(spread)[0]
        limit = -truth
    samples = Blocks(
        "p95",
        "s",
        Direction.LOWER,
        tuple(candidate.tolist()),
        tuple(current.tolist()),
        ((float(aa[0]), float(aa[1])),),
        ((float(aa[2]), float(aa[3])),),
    )
    return Drawn(_contract("p95", bound, limit), samples, goodness, truth)


def ratio_of_p95(rng: np.random.Generator) -> Drawn:
    """Two servers of the same kind."""
    return _under_load(rng, Bound.RATIO_AT_MOST, 0.5, 0.5)


def ratio_to_a_steadier(rng: np.random.Generator) -> Drawn:
    """Times of the candidate have a long tail, and current's have none: nine skewed blocks are few
    for a t interval, and the A/A pairs, which are current's, tell nothing of it."""
    return _under_load(rng, Bound.RATIO_AT_MOST, 1.2, 0.1)


def p95_itself(rng: np.random.Generator) -> Drawn:
    """An absolute limit."""
    return _under_load(rng, Bound.AT_MOST, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class World:
    """What is drawn, and how often at most it may pass at its limit."""

    draw: Callable[[np.random.Generator], Drawn]
    at_most: float = 0.05


WORLDS: Mapping[str, World] = {
    f"recall in tenths, {_ITEMS} items": World(graded),
    f"rare whole losses, {_ITEMS} items": World(catastrophes),
    f"rare whole losses, a slice of {_SLICE}": World(small_slice),
    f"p95 ratio, {_BLOCKS} blocks": World(ratio_of_p95),
    f"p95 ratio, long tail to none, {_BLOCKS} blocks": World(ratio_to_a_steadier, 0.065),
    f"p95 itself, {_BLOCKS} blocks": World(p95_itself),
}

Bootstrap = Callable[[Values, Values, Values], float]
"""Lower bound of a mean from (values, means of resamples, standard deviations of resamples)."""


def percentile(values: Values, means: Values, sds: Values) -> float:
    """The quantile of the resampled means (Efron, 1979)."""
    return float(np.quantile(means, 1 - _LEVEL))


def bca(values: Values, means: Values, sds: Values) -> float:
    """The same, corrected for bias and skew (Efron, 1987); of a constant sample its value."""
    away = values - values.mean()
    squares = float(away @ away)
    if squares == 0:
        return float(values.mean())
    acceleration = float((away**3).sum()) / (6 * squares**1.5)
    below = float((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2
    bias = float(ndtri(below))
    z = bias + float(ndtri(1 - _LEVEL))
    return float(np.quantile(means, float(ndtr(bias + z / (1 - acceleration * z)))))


def studentized(values: Values, means: Values, sds: Values) -> float:
    """By the quantile of resampled t statistics (Hall, 1988)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num((means - values.mean()) / sds, nan=0.0)
    scale = values.std(ddof=1)
    return float(values.mean() - np.quantile(t, _LEVEL) * scale) if scale > 0 else float(values[0])


BOOTSTRAPS: Mapping[str, Bootstrap] = {
    "percentile": percentile,
    "BCa": bca,
    "studentized": studentized,
}


def covered(world: str, gates: int, seed: int) -> Counter[str]:
    """How often each would let pass what is exactly at its limit.

    ``judged`` is the gate's own verdict; ``bound`` its bound alone, where noise does not count.
    """
    rng, seen = np.random.default_rng(seed), Counter[str]()
    for _ in range(gates):
        drawn = WORLDS[world].draw(rng)
        result = judge(drawn.contract, drawn.samples)
        seen["judged"] += result.verdict is Verdict.PASS
        seen["bound"] += _bound_passes(drawn, result.low, result.high)
        resampled = rng.choice(drawn.goodness, (_RESAMPLES, len(drawn.goodness)))
        means, sds = resampled.mean(axis=1), resampled.std(axis=1, ddof=1)
        for name, lower in BOOTSTRAPS.items():
            seen[name] += lower(drawn.goodness, means, sds) > drawn.truth
    return seen


def _bound_passes(drawn: Drawn, low: float, high: float) -> bool:
    if drawn.contract.bound is Bound.NOT_BELOW_CURRENT_BY:
        return low > -drawn.contract.limit
    return high < drawn.contract.limit
