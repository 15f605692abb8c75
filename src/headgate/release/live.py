"""Which promises live traffic can speak about, and what it says.

A contract that can be seen live is one or several *means* that it keeps at most at a bound: of
"latency_p95 at most 100 ms" the share of requests that take longer, at most 5 %. What requests do
within a second depends on each other (they share a queue, a machine, an engine), so a second is
one observation: the mean of what it held. Pure; a relative bound is the release gate's to judge,
because nothing serves beside the current release to be compared with.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from headgate.objects import Bound, Contract
from headgate.theory.quantile import quantile

__all__ = [
    "LIVE_METRICS",
    "Mean",
    "Observed",
    "Second",
    "Seen",
    "Terms",
    "deciles",
    "means_of",
    "unbreakable",
]

LIVE_METRICS = (
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "cost_per_1k",
    "device_s_per_1k",
    "error_rate",
    "invalid_rate",
    "wrong_hit_rate",
    "input_drift",
    "age",
)
"""Those that are promised with ``at_most`` and can be seen while serving."""

_QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
_DEAREST = 4.0
"""For evidence that cost has recovered no second counts as dearer than so many times the bound:
nothing can be shown of the mean of what has no limit."""
_NAMED = 5
_GONE = 499
_BUSY = 429


class Seen(Protocol):
    """A request that is over, as ``headgate.runtime.Trace`` records it."""

    @property
    def request_id(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def items(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def total_s(self) -> float: ...
    @property
    def device_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Second:
    """What the current release did since the last look, about a second ago."""

    requests: Sequence[Seen] = ()
    valid_answers: int = 0
    """Answers of engines that kept the output contract."""
    invalid_answers: int = 0
    hits_checked: int = 0
    """Cached answers that an engine computed again."""
    wrong_hits: int = 0
    """Of these, those that came out otherwise."""
    age_s: float | None = None
    """Since what is served was made; None where no clock can be trusted to say (``age.Age``)."""
    lengths: Sequence[int] = field(init=False, repr=False)
    """Token lengths, ascending, of the requests that asked for one item and were answered: of
    several only the sum is known."""

    def __post_init__(self) -> None:
        alone = sorted(r.tokens for r in self.requests if r.items == 1 and r.status < 400)
        object.__setattr__(self, "lengths", alone)


@dataclass(frozen=True, slots=True)
class Terms:
    """What belongs to a release and is needed to judge its traffic."""

    price_per_s: float = 0.0
    """Of the whole machine."""
    machine_share: float = 1.0
    """Of the machine that an engine call uses: its threads among the cores."""
    lengths: Sequence[tuple[int, float]] = ()
    """Of the evaluation data: a length in tokens, and the share of texts that are no longer, at
    each decile. Empty where items have no length."""
    cached: bool = True
    """It answers from a cache."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one second showed of one mean."""

    n: int
    mean: float
    against: tuple[str, ...] = ()
    """Ids of some requests that speak against the promise."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean that is promised to be at most ``bound``; ``what`` says in words of what."""

    what: str
    bound: float
    observe: Callable[[Second], Observed] = field(repr=False)
    most: float = 1.0
    """The largest value of one observation: 1 where it is a share."""
    share: bool = True
    """Of requests, each of which is 0 or 1."""
    certain: bool = False
    """There is nothing to estimate: one look tells."""


def means_of(contract: Contract, terms: Terms) -> tuple[Mean, ...]:
    """The means that ``contract`` keeps at most at a bound; none where it cannot be seen live."""
    metric, limit = contract.metric, contract.limit
    if contract.bound is not Bound.AT_MOST or metric not in LIVE_METRICS:
        return ()
    if limit <= 0:  # that nothing ever costs anything cannot be shown
        return ()
    if metric in _QUANTILES:
        what = f"requests that took longer than {limit * 1e3:g} ms, or failed"
        return (Mean(what, round(1 - _QUANTILES[metric], 12), lambda s: _slow(s, limit)),)
    if metric == "cost_per_1k":
        if terms.price_per_s == 0:
            return ()
        return (_cost(limit, 1000 * terms.machine_share * terms.price_per_s, "cost"),)
    if metric == "device_s_per_1k":
        return (_cost(limit, 1000 * terms.machine_share, "seconds of the machine"),)
    if metric == "age":
        what = "seconds since it was made"
        return (Mean(what, limit, _aged, share=False, certain=True),)
    if unbreakable(contract, terms) is not None:
        return ()
    if metric == "input_drift":
        return tuple(_drift(terms.lengths, limit))
    what, observe = _SHARES[metric]
    return (Mean(what, limit, observe),)


def unbreakable(contract: Contract, terms: Terms) -> str | None:
    """Why a release with these terms cannot break ``contract``, whatever it does; None where it
    can. What merely cannot be seen of it (lengths without a reference, costs without a price) it
    may well break.
    """
    if contract.metric == "wrong_hit_rate" and not terms.cached:
        return "the release that answers now keeps no answers"
    return None


def deciles(lengths: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """``Terms.lengths`` of a data set: each decile, and the share of ``lengths`` up to it.

    >>> deciles([3, 3, 3, 3, 3, 3, 3, 4, 4, 9])
    ((3, 0.7), (4, 0.9))
    """
    cuts = sorted({int(quantile(lengths, tenth / 10)) for tenth in range(1, 10)})
    return tuple((cut, sum(x <= cut for x in lengths) / len(lengths)) for cut in cuts)


def _slow(second: Second, limit_s: float) -> Observed:
    """A request that failed, or was refused for want of room, took for ever. Of one whose caller
    went away it is known how long they waited at least."""
    n, slow = 0, []
    for request in second.requests:
        status = request.status
        if status < 400 or status == _GONE:
            n += 1
            if request.total_s > limit_s:
                slow.append(request.request_id)
        elif status == _BUSY or status >= 500:
            n += 1
            slow.append(request.request_id)
    return _share(n, slow)


def _failed(second: Second) -> Observed:
    """Not the caller's doing; who is asked to come again later has not been failed."""
    judged = [r for r in second.requests if r.status < 400 or r.status >= 500]
    return _share(len(judged), [r.request_id for r in judged if r.status >= 500])


def _aged(second: Second) -> Observed:
    """Nothing where its age is not known."""
    return Observed(0, 0.0) if second.age_s is None else Observed(1, second.age_s)


def _share(n: int, against: Sequence[str]) -> Observed:
    return Observed(n, len(against) / n if n else 0.0, tuple(against[:_NAMED]))


def _part(n: int, bad: int) -> Observed:
    return Observed(n, bad / n if n else 0.0)


def _cost(limit: float, per_device_s: float, what: str) -> Mean:
    def observe(second: Second) -> Observed:
        answered = sum(request.status < 400 for request in second.requests)
        used_s = sum(request.device_s for request in second.requests)
        return Observed(answered, per_device_s * used_s / answered if answered else 0.0)

    return Mean(
        f"{what} of a thousand requests", limit, observe, most=_DEAREST * limit, share=False
    )


def _drift(reference: Sequence[tuple[int, float]], limit: float) -> Iterable[Mean]:
    """How far the shares of short and of long texts may be from those of the reference: the
    Kolmogorov-Smirnov distance, at the reference's deciles. It is an effect, not a p-value: the
    same distance is too far for a hundred requests and for a million."""
    for length, up_to in reference:
        for shorter in (True, False):
            expected = up_to if shorter else 1 - up_to
            if expected + limit >= 1:
                continue
            side = "at most" if shorter else "more than"
            yield Mean(
                f"requests of {side} {length} tokens ({expected:.0%} in the evaluation data)",
                round(expected + limit, 12),
                partial(_lengths, length, shorter),
            )


def _lengths(length: int, shorter: bool, second: Second) -> Observed:
    n = len(second.lengths)
    up_to = bisect_right(second.lengths, length)
    return _part(n, up_to if shorter else n - up_to)


_SHARES: dict[str, tuple[str, Callable[[Second], Observed]]] = {
    "error_rate": ("requests that failed", _failed),
    "invalid_rate": (
        "answers that break the output contract",
        lambda s: _part(s.valid_answers + s.invalid_answers, s.invalid_answers),
    ),
    "wrong_hit_rate": (
        "cached answers that are computed otherwise now",
        lambda s: _part(s.hits_checked, s.wrong_hits),
    ),
}
