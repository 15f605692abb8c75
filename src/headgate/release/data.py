"""Contracts on data: how old it may be, and how far it may lie from a reference.

One rule at every n. Drift is shown where the whole interval of the effect size lies beyond the
limit, and absent where all of it keeps the limit; with little data the interval is wide, and the
answer is *unknown*. No p-value is asked: with enough rows any two samples differ.
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from headgate.objects import Contract, ContractResult, Verdict
from headgate.theory.divergence import ks_distance

__all__ = ["LEAST_ROWS", "judge_age", "judge_drift"]

LEAST_ROWS = 200
"""Fewer on either side tell nothing of a distribution, unless the contract says another number."""

_LEVEL = 0.99
_DAY_S = 86_400.0


def judge_age(contract: Contract, age_s: float) -> ContractResult:
    """A contract on ``age``: seconds since the data came to be, at most its limit.

    NaN and an age below 0 are *invalid*: an event of tomorrow is a wrong clock or a wrong date.
    """
    said = f"age is {age_s / _DAY_S:,.3g} days, at most {contract.limit / _DAY_S:,.3g}"
    if math.isnan(age_s) or age_s < 0:
        return _result(contract, Verdict.INVALID, age_s, age_s, age_s, 1, f"{said}: no age")
    verdict = Verdict.PASS if age_s <= contract.limit else contract.breach
    return _result(contract, verdict, age_s, age_s, age_s, 1, said)


def judge_drift(contract: Contract, current: ArrayLike, reference: ArrayLike) -> ContractResult:
    """A contract on ``drift``: the distance of two samples (``ks_distance``), at most its limit.

    ``current`` and ``reference`` hold one number a row, shapes ``(n,)`` and ``(m,)``, not empty.
    """
    distance = ks_distance(current, reference, level=_LEVEL)
    value, low, high, n = distance.value, distance.low, distance.high, distance.n
    told = f"the distance from the reference is {value:.3g} (99 % bounds {low:.3g} to {high:.3g})"
    if n < max(contract.min_n, 1):
        verdict = Verdict.UNKNOWN
        because = f"{n} rows are fewer than the {contract.min_n} required"
    elif low > contract.limit:
        verdict, because = contract.breach, f"{told}, beyond {contract.limit:.3g}; n = {n}"
    elif high <= contract.limit:
        verdict, because = Verdict.PASS, f"{told}, within {contract.limit:.3g}; n = {n}"
    else:
        verdict = Verdict.UNKNOWN
        because = f"{told} does not tell on which side of {contract.limit:.3g}; n = {n}"
    return _result(contract, verdict, value, low, high, n, because)


def _result(
    contract: Contract,
    verdict: Verdict,
    value: float,
    low: float,
    high: float,
    n: int,
    because: str,
) -> ContractResult:
    return ContractResult(contract, verdict, value, low, high, n, because)
