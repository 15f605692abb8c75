"""The release gate: contracts and raw samples in, verdicts and one decision out.

Pure and deterministic: the same samples give the same canonical bytes in any process. A pass needs
proof that the promise is kept, a fail needs proof that it is broken, and everything between is
*unknown*; nothing that is broken, missing or too little ever passes. Several verdicts share one
error (docs/decisions/0025-what-a-decision-may-get-wrong.md):

- to accept, every contract must be kept, so each is tested at its own 5 % (intersection-union:
  Berger, 1982);
- to fail, one broken contract is enough, so harm is shown by Holm's procedure (1979) over all;
- to choose among several candidates, each passes at 5 % divided by their number (Bonferroni).

Knows nothing of where samples come from or what carries an action out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from headgate.objects import (
    Action,
    Axis,
    Bound,
    Contract,
    ContractResult,
    Decision,
    Direction,
    Flips,
    SliceResult,
    Verdict,
)
from headgate.release.estimate import (
    LEVEL,
    Estimate,
    NoEstimate,
    estimate_blocks,
    estimate_items,
    mismatch,
)
from headgate.release.samples import Blocks, ClassLabel, PairedItems, Samples, WorstSlice
from headgate.theory.significance import mcnemar_exact

__all__ = ["decide", "judge"]

_SEVERITY = (Action.ESCALATE, Action.ROLLBACK, Action.RETRAIN)
"""Where several contracts fail, the first of these that one of them declares is what is done."""

_NAN = float("nan")
_ALPHA = 1 - LEVEL
_BREACHED = (Verdict.FAIL, Verdict.WARN)


def judge(
    contract: Contract,
    samples: Samples | None,
    measurement: str | None = None,
    *,
    level: float = LEVEL,
) -> ContractResult:
    """One contract on its samples, with one-sided bounds at ``level``.

    *Pass*: the bound on the bad side keeps the limit (the
    relative bounds strictly). *Fail*: the bound on the good side breaks it, so harm is shown
    (*warn* where the contract says ``on_breach: warn``). Otherwise *unknown*. Without samples:
    *unknown*.

    ``value``, ``low`` and ``high`` of the result are of the compared quantity (see
    ``release.estimate``): a difference, a ratio, or the candidate's own mean; NaN where there is
    none. A class has 1 for allowed and 0 for not.

    >>> from headgate.objects import Direction
    >>> contract = Contract("exact_match", Axis.QUALITY, Bound.NOT_BELOW_CURRENT_BY, 0.02, "why",
    ...                     Action.ROLLBACK, "command:page", "previous")
    >>> ones = (1.0,) * 400
    >>> items = PairedItems("exact_match", Direction.HIGHER, tuple(map(str, range(400))),
    ...                     (0.0, *ones[1:]), ones)
    >>> print(judge(contract, items).because)
    exact_match candidate - current = -0.0025 (95 % bound -0.01113) keeps -0.02; n = 400
    """
    if samples is None:
        result = _without(contract, NoEstimate(Verdict.UNKNOWN, "there are no samples of it", 0))
    elif isinstance(samples, ClassLabel):
        result = _judge_class(contract, samples)
    elif contract.bound is Bound.ONE_OF:
        result = _without(
            contract, NoEstimate(Verdict.INVALID, "numbers were measured where a class is due", 0)
        )
    elif isinstance(samples, WorstSlice):
        result = _judge_slices(contract, samples, level)
    else:
        result = _judge_numbers(contract, samples, level)
    return replace(result, measurement=measurement)


def decide(
    *,
    candidate: str,
    current: str,
    split: str,
    contracts: Sequence[Contract],
    samples: Mapping[str, Samples],
    measurements: Mapping[str, str],
    tried: int = 1,
    planned_n: Mapping[str, int] | None = None,
) -> Decision:
    """All contracts on their samples, and the one next action.

    ``candidate`` and ``current`` are versions of what is compared. ``samples`` go by metric;
    ``measurements`` (ledger entries) by the rule in words (``Contract.describe``), because two
    contracts on one metric may compare it in two ways. ``tried`` is the number of candidates that
    these verdicts choose among; a certificate of one that was chosen on other data has 1.
    ``planned_n`` maps a metric to the items or blocks that were planned: before there are so many
    nothing is decided, and with more the measurement is broken, since one that is prolonged until
    it pleases always pleases. The first of these that applies:

    1. an axis without a contract: *unknown*, naming the axes;
    2. a measurement that is broken: *invalid*;
    3. harm shown: the most severe ``on_breach`` of the failed (escalate, rollback, retrain);
    4. a contract that cannot be told: *unknown*;
    5. a breached contract that only warns: *warn*;
    6. *accept*.
    """
    assert tried >= 1, "at least this candidate was tried"
    results = tuple(
        replace(_as_planned(r, samples.get(r.contract.metric), planned_n or {}), measurement=m)
        for r in _verdicts(contracts, samples, tried)
        for m in (measurements.get(r.contract.describe()),)
    )
    covered = {c.axis for c in contracts}
    missing = tuple(axis for axis in Axis if axis not in covered)
    action, because = _outcome(results, missing, split)
    return Decision(candidate, current, split, results, action, because, missing, tried)


def _verdicts(
    contracts: Sequence[Contract], samples: Mapping[str, Samples], tried: int
) -> list[ContractResult]:
    """Each contract at the level that it passes at or, where it does not, that it fails at.

    Holm without p-values: while any of the ``left`` contracts is broken at ``1 - 5 %/left``, those
    are shown to be, and the rest is tested again, more leniently.
    """

    def at(level: float, i: int) -> ContractResult:
        return judge(contracts[i], samples.get(contracts[i].metric), level=level)

    results = [at(1 - _ALPHA / tried, i) for i in range(len(contracts))]
    suspects = [
        i
        for i, r in enumerate(results)
        if r.verdict in (*_BREACHED, Verdict.UNKNOWN) and at(LEVEL, i).verdict in _BREACHED
    ]
    left = len(contracts)
    while suspects:
        for i in suspects:
            results[i] = at(1 - _ALPHA / left, i)
        waiting = [i for i in suspects if results[i].verdict not in _BREACHED]
        if len(waiting) == len(suspects):
            break
        left -= len(suspects) - len(waiting)
        suspects = waiting
    return results


def _as_planned(
    result: ContractResult, samples: Samples | None, planned_n: Mapping[str, int]
) -> ContractResult:
    metric = result.contract.metric
    planned = planned_n.get(metric)
    if samples is None or planned is None or result.verdict is Verdict.INVALID:
        return result
    n = _size(samples)
    if n < planned:
        because = f"{n} of {planned} planned; what is looked at before the end decides nothing"
        return replace(result, verdict=Verdict.UNKNOWN, because=f"{metric}: {because}")
    if n > planned:
        because = f"{n} were measured where {planned} were planned"
        return replace(result, verdict=Verdict.INVALID, because=f"{metric}: {because}")
    return result


def _size(samples: Samples) -> int:
    """Items, or blocks."""
    match samples:
        case PairedItems():
            return len(samples.items)
        case WorstSlice():
            return len(samples.items.items)
        case Blocks():
            return len(samples.candidate)
        case ClassLabel():
            return samples.n


def _outcome(
    results: Sequence[ContractResult], missing: Sequence[Axis], split: str
) -> tuple[Action, str]:
    by = {v: [r for r in results if r.verdict is v] for v in Verdict}
    if missing:
        axes = " and ".join(axis.value for axis in missing)
        return Action.UNKNOWN, f"no contract speaks for {axes}, and a release needs all four axes"
    if by[Verdict.INVALID]:
        return Action.INVALID, _first(by[Verdict.INVALID], "a measurement is broken")
    if by[Verdict.FAIL]:
        failed = by[Verdict.FAIL]
        declared = {r.contract.on_breach for r in failed}
        action = next(a for a in _SEVERITY if a in declared)
        # The sentence names a contract that asked for this action.
        failed.sort(key=lambda r: r.contract.on_breach is not action)
        return action, _first(failed, "harm is shown")
    if by[Verdict.UNKNOWN]:
        return Action.UNKNOWN, _first(by[Verdict.UNKNOWN], "not enough is known")
    if by[Verdict.WARN]:
        return Action.WARN, _first(by[Verdict.WARN], "a contract that only warns is breached")
    return Action.ACCEPT, f"all {len(results)} contracts are kept on {split}"


def _first(results: Sequence[ContractResult], what: str) -> str:
    others = f" (and {len(results) - 1} more)" if len(results) > 1 else ""
    return f"{what}: {results[0].because}{others}"


def _without(contract: Contract, none: NoEstimate) -> ContractResult:
    seen = none.seen or Estimate(_NAN, _NAN, _NAN, none.n, None)
    return ContractResult(
        contract,
        none.verdict,
        seen.value,
        seen.low,
        seen.high,
        none.n,
        f"{contract.metric}: {none.because}",
        current_value=seen.current,
    )


def _judge_class(contract: Contract, label: ClassLabel) -> ContractResult:
    def none(verdict: Verdict, because: str) -> ContractResult:
        return _without(contract, NoEstimate(verdict, because, label.n))

    if contract.bound is not Bound.ONE_OF:
        return none(Verdict.INVALID, "a class was measured where a number is due")
    if label.metric != contract.metric:
        return none(Verdict.INVALID, f"the samples are of {label.metric}")
    if label.n <= 0 or not label.value:
        return none(Verdict.INVALID, "nothing was measured")
    if label.n < contract.min_n:
        return none(
            Verdict.UNKNOWN, f"{label.n} items are fewer than the {contract.min_n} required"
        )
    held = label.value in contract.allowed
    one = float(held)
    return ContractResult(
        contract,
        Verdict.PASS if held else contract.breach,
        one,
        one,
        one,
        label.n,
        f"{contract.metric} is {label.value}, {'one' if held else 'none'} of "
        f"{', '.join(contract.allowed)}; n = {label.n}",
    )


def _judge_numbers(
    contract: Contract, samples: PairedItems | Blocks, level: float
) -> ContractResult:
    wrong = mismatch(contract, samples.metric, samples.direction)
    if wrong is not None:
        return _without(contract, NoEstimate(Verdict.INVALID, wrong, 0))
    if isinstance(samples, Blocks):
        return _compare(contract, estimate_blocks(contract, samples, level=level), level)
    result = _compare(contract, estimate_items(contract, samples, level=level), level)
    if result.verdict is Verdict.INVALID or not contract.bound.needs_current:
        return result
    return replace(result, flips=_flips(samples), slices=tuple(_slices(contract, samples, level)))


def _flips(samples: PairedItems) -> Flips:
    """Of items that both sides answered."""
    sign = 1 if samples.direction is Direction.HIGHER else -1
    differences = [
        sign * (a - b)
        for a, b in zip(samples.candidate, samples.current, strict=True)
        if a is not None and b is not None
    ]
    gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Flips(gained, lost, mcnemar_exact(gained, lost))


def _slices(contract: Contract, whole: PairedItems, level: float) -> Iterator[SliceResult]:
    for name, rows in _members(whole).items():
        r = _slice_result(replace(contract, min_n=0), whole, rows, level)
        yield SliceResult(name, len(rows), r.value, r.low, r.high)


def _members(whole: PairedItems) -> dict[str, list[int]]:
    """Slice -> which items are in it, by name."""
    members: dict[str, list[int]] = {}
    for i, names in enumerate(whole.slices):
        for name in dict.fromkeys(names):
            members.setdefault(name, []).append(i)
    return dict(sorted(members.items()))


def _judge_slices(contract: Contract, samples: WorstSlice, level: float) -> ContractResult:
    """Each large slice alone: all must pass, each at ``level`` (intersection-union), and one that
    fails of k does so at ``1 - (1 - level)/k`` (Bonferroni).

    The result is the worst slice's; slices that are too small are named, never passed silently.
    """
    whole = samples.items
    wrong = mismatch(contract, samples.metric, whole.direction)
    if wrong is not None:
        return _without(contract, NoEstimate(Verdict.INVALID, wrong, 0))
    # Broken, empty or errored measurements are so as a whole, before they are cut into slices.
    overall = estimate_items(replace(contract, min_n=0), whole)
    if isinstance(overall, NoEstimate):
        return _without(contract, overall)
    members = _members(whole)
    least = max(samples.min_n, contract.min_n, 2)
    small = [name for name, rows in members.items() if len(rows) < least]
    large = {name: rows for name, rows in members.items() if len(rows) >= least}
    unjudged = f"; not judged, fewer than {least} items: {', '.join(small)}" if small else ""
    if not large:
        because = f"no slice has {least} items{unjudged}"
        return _without(contract, NoEstimate(Verdict.UNKNOWN, because, len(whole.items)))
    judged = {name: _slice_result(contract, whole, rows, level) for name, rows in large.items()}
    for name, result in judged.items():
        if result.verdict in _BREACHED:
            shared = 1 - (1 - level) / len(large)
            judged[name] = _slice_result(contract, whole, large[name], shared)
    name, worst = min(judged.items(), key=lambda pair: _badness(pair[1]))
    return replace(
        worst, because=f"worst of {len(judged)} slices, {name}: {worst.because}{unjudged}"
    )


def _slice_result(
    contract: Contract, whole: PairedItems, rows: Sequence[int], level: float
) -> ContractResult:
    part = replace(
        whole,
        items=tuple(whole.items[i] for i in rows),
        candidate=tuple(whole.candidate[i] for i in rows),
        current=tuple(whole.current[i] for i in rows),
        slices=(),
    )
    estimate = estimate_items(contract, part, level=level, max_errored_share=1.0)
    return _compare(contract, estimate, level)


def _badness(result: ContractResult) -> tuple[int, float]:
    order = (Verdict.INVALID, Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN, Verdict.PASS)
    bound = result.low if _guards_high(result.contract.bound) else -result.high
    return order.index(result.verdict), bound


def _guards_high(bound: Bound) -> bool:
    return bound in (Bound.AT_LEAST, Bound.NOT_BELOW_CURRENT_BY)


def _kept(contract: Contract, x: float) -> bool:
    match contract.bound:
        case Bound.AT_LEAST:
            return x >= contract.limit
        case Bound.NOT_BELOW_CURRENT_BY:
            return x > -contract.limit
        case Bound.NOT_ABOVE_CURRENT_BY:
            return x < contract.limit
        case _:
            return x <= contract.limit


def _compare(contract: Contract, estimate: Estimate | NoEstimate, level: float) -> ContractResult:
    at = f"{100 * level:.4g} %"
    if isinstance(estimate, NoEstimate):
        return _without(contract, estimate)
    high_is_good = _guards_high(contract.bound)
    bad, good = (estimate.low, estimate.high) if high_is_good else (estimate.high, estimate.low)
    limit = -contract.limit if contract.bound is Bound.NOT_BELOW_CURRENT_BY else contract.limit
    quantity = contract.metric + {
        Bound.NOT_BELOW_CURRENT_BY: " candidate - current",
        Bound.NOT_ABOVE_CURRENT_BY: " candidate - current",
        Bound.RATIO_AT_MOST: " candidate / current",
    }.get(contract.bound, "")
    if _kept(contract, bad):
        verdict = Verdict.PASS
        because = f"{quantity} = {estimate.value:.4g} ({at} bound {bad:.4g}) keeps {limit:.4g}"
    elif not _kept(contract, good):
        verdict = contract.breach
        told = f"= {estimate.value:.4g} (at best {good:.4g} at {at})"
        if math.isinf(estimate.value):
            told = "is infinite and"
        because = f"{quantity} {told} breaks {limit:.4g}"
    else:
        verdict = Verdict.UNKNOWN
        because = (
            f"{quantity} = {estimate.value:.4g} is somewhere in {estimate.low:.4g} to "
            f"{estimate.high:.4g} at {at}, which does not tell on which side of {limit:.4g}"
        )
    note = f"; {estimate.note}" if estimate.note else ""
    return ContractResult(
        contract,
        verdict,
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.n,
        f"{because}; n = {estimate.n}{note}",
        current_value=estimate.current,
        level=level,
    )
