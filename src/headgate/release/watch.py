"""The watch over a release that serves: ``(event, now) -> breaches, recoveries, withdrawals``.

Each promise that live traffic can speak about (``headgate.release.live``) is presumed kept. It is
*broken* once what was seen refutes it, and an incident is open then until what is seen afterwards
refutes that it is still broken. Both are tests that may be looked at every second, for ever
(``headgate.theory.betting``); in between nothing is known, and not knowing changes nothing.

**When something counts as shown**, either way:

1. The test says so: of seconds in which something was observed, one observation each, however far
   apart they are. Seconds without any are no evidence, of breach or recovery: an endpoint that
   nobody asks keeps its incident, and needs as many good seconds as a busy one.
2. The stretch of seconds that speaks most for it, up to now, holds at least ``min_n`` observations.
   What was seen before, when things were otherwise, does not count among them.
3. Of a promise with several means any one that is above its bound breaks it; for recovery each has
   to be shown to be below.
4. What needs no estimate (age) is told at a look, where it is known.

**How sure.** Call a release *faithful* if, in every second in which something is observed, what is
then expected of it, given all that was seen of it before, is within the bound of every promise.
One watch, from when a faithful release takes over until it is replaced or the server ends, ever
accuses it with a probability of at most ``false_alarm``. The level is divided evenly among the
promises that are watched, and that of a promise among its means; by Boole's inequality it does not
matter how they depend on each other, nor, by Ville's, how seconds do. It is not a promise about the
mean of a day: a release that is within it on average and has seconds from which worse was to be
expected is not faithful, and may be accused. Each takeover, each start of a server and each further
server watches anew, with a level of its own. After a breach, or a takeover while its incident is
open, the incident is closed with a probability of at most ``false_recovery`` if from then on one
and the same of the promise's means is broken in every second: what is expected of it is at its
bound or above (of cost, of what is below ``Mean.most``). It is a level of each incident, on each
release, whether or not that is found to break the promise *again*. Where several means are broken
by turns, each is kept in between, and that can be shown of each.

**When an incident is withdrawn.** It belongs to a promise, ``Contract.promise``: metric, bound,
limit and action. Where that is promised no more, or cannot be broken by the release that answers,
nothing that is seen can ever show recovery. Then it is *withdrawn*, when a release takes over or a
server starts: it is closed, and nothing is said to have recovered.

Knows no clock, no ledger and nobody to be told.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from headgate.objects import Action, Contract
from headgate.release.live import Mean, Observed, Second, Terms, means_of, unbreakable
from headgate.theory.betting import (
    Capital,
    Change,
    against_at_least,
    against_at_most,
    lower_bound,
)

__all__ = ["Breach", "Recovery", "TookOver", "WatchEvent", "WatchRule", "Watcher", "Withdrawal"]

_REMEMBERED = 120
"""Seconds that are kept to say by how much a promise is broken."""


@dataclass(frozen=True, slots=True)
class WatchRule:
    """What is watched, and how sure it has to be. On record before the first request is seen."""

    contracts: tuple[Contract, ...]
    false_alarm: float = 0.01
    """That a faithful release (see above) is ever accused: of all promises together, while one
    server serves it."""
    false_recovery: float = 0.05
    """That an incident is closed though a mean of its promise is broken in every second: of each
    incident, on each release."""
    min_n: int = 50
    """Fewer observations say nothing yet; a contract's own ``min_n`` goes before."""


@dataclass(frozen=True, slots=True)
class TookOver:
    """A release answers from now on: what was seen of the one before it says nothing of it."""

    generation: int
    terms: Terms
    restored: bool = False
    """A rollback brought it back: it is not rolled back further."""


WatchEvent: TypeAlias = TookOver | Second


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise is shown to be broken: run ``action``, once."""

    contract: Contract
    generation: int
    action: Action
    """What the contract declares; *escalate* where ``again``, or for a rollback that would be
    another one (``Watcher.action_of``)."""
    again: bool
    """Its incident is open already, and the release that answers now breaks it too."""
    value: float
    """The mean over the seconds since it was probably broken, each of which counts once."""
    low: float
    """What was expected of some second was above this, at the level of the promise. At least the
    bound, or there were no breach."""
    n: int
    """Observations in those seconds."""
    since_s: float
    """How long ago it was probably broken."""
    requests: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """A promise is shown to be kept again: its incident is over."""

    contract: Contract
    generation: int
    value: float
    """The mean over the seconds since it was probably kept again, each of which counts once."""
    n: int
    """Observations in those seconds."""
    because: str


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An incident that no evidence could close is over; nothing has recovered."""

    promise: str
    because: str


Said: TypeAlias = Breach | Recovery | Withdrawal


class Watcher:
    """``handle`` what happens; ``open`` are the incidents that are open already: ``promise`` of a
    contract, and the generation that broke it."""

    def __init__(self, rule: WatchRule, open: Mapping[str, int] | None = None) -> None:
        self.rule = rule
        self._broken_by = dict(open or {})
        self._generation: int | None = None
        self._restored = False
        self._promises: list[_Promise] = []

    @property
    def watched(self) -> tuple[Contract, ...]:
        """Those of the rule's contracts that can be seen of the release that answers now."""
        return tuple(promise.contract for promise in self._promises)

    @property
    def open(self) -> Mapping[str, int]:
        """What is broken, and the generation that broke it."""
        return dict(self._broken_by)

    def handle(self, event: WatchEvent, now_s: float) -> Sequence[Said]:
        if isinstance(event, TookOver):
            self._generation, self._restored = event.generation, event.restored
            self._promises = self._watch(event.terms, now_s)
            return list(self._withdrawn(event.terms))
        if self._generation is None:
            return []
        decided: list[Said] = []
        for promise in self._promises:
            promise.see(event, now_s)
            said = self._judge(promise, self._generation, now_s)
            if said is not None:
                decided.append(said)
        return decided

    def action_of(self, contract: Contract) -> Action:
        """What follows where the release that answers now breaks ``contract``.

        A rollback was a try. Where another promise is broken after it, or is still, the machine
        may be to blame, or the traffic: people are asked, and nothing is rolled back further.
        """
        if contract.on_breach is Action.ROLLBACK and (self._restored or self._rolled_back):
            return Action.ESCALATE
        return contract.on_breach

    @property
    def _rolled_back(self) -> bool:
        """An incident is open for which a release before this one was to be rolled back."""
        return any(
            self._broken_by.get(contract.promise, self._generation) != self._generation
            for contract in self.rule.contracts
            if contract.on_breach is Action.ROLLBACK
        )

    def _watch(self, terms: Terms, now_s: float) -> list[_Promise]:
        seen = [(c, means) for c in self.rule.contracts if (means := means_of(c, terms))]
        alpha = self.rule.false_alarm / max(len(seen), 1)
        return [_Promise(c, means, alpha, self.rule, now_s) for c, means in seen]

    def _withdrawn(self, terms: Terms) -> Iterator[Withdrawal]:
        promised = {contract.promise: contract for contract in self.rule.contracts}
        for promise in list(self._broken_by):
            contract = promised.get(promise)
            if contract is None:
                because = "that is promised no more"
            elif (why := unbreakable(contract, terms)) is not None:
                because = why
            else:
                continue
            del self._broken_by[promise]
            yield Withdrawal(promise, because)

    def _judge(self, promise: _Promise, generation: int, now_s: float) -> Said | None:
        key = promise.contract.promise
        broken_by = self._broken_by.get(key)
        if broken_by is not None and promise.kept:
            del self._broken_by[key]
            recovery = promise.recovery(generation)
            promise.begin_anew()
            return recovery
        if promise.broken and not promise.told and broken_by != generation:
            again = broken_by is not None
            action = Action.ESCALATE if again else self.action_of(promise.contract)
            self._broken_by.setdefault(key, generation)
            breach = promise.breach(generation, now_s, action, again=again)
            promise.await_recovery(again=again)
            return breach
        return None


class _Promise:
    """One contract, on one release."""

    def __init__(
        self,
        contract: Contract,
        means: Sequence[Mean],
        alpha: float,
        rule: WatchRule,
        now_s: float,
    ) -> None:
        self.contract = contract
        self.told = False
        """Its breach by this release was told."""
        min_n = contract.min_n or rule.min_n
        self._lines = [
            _Line(mean, alpha / len(means), rule.false_recovery, min_n, now_s) for mean in means
        ]

    def see(self, second: Second, now_s: float) -> None:
        for line in self._lines:
            line.see(second, now_s)

    @property
    def broken(self) -> bool:
        """Any of its means is shown to be above its bound."""
        return any(line.broken for line in self._lines)

    @property
    def kept(self) -> bool:
        """All of them are shown to be below."""
        return all(line.kept for line in self._lines)

    def await_recovery(self, *, again: bool) -> None:
        """Its breach was told; from now on what is seen may show that it is over. ``again``: it
        might have before, and what was spent on that is spent."""
        self.told = True
        for line in self._lines:
            line.await_recovery(again=again)

    def begin_anew(self) -> None:
        self.told = False
        for line in self._lines:
            line.begin_anew()

    def breach(self, generation: int, now_s: float, action: Action, *, again: bool) -> Breach:
        line = next(line for line in self._lines if line.broken)
        mean, low, seen = line.mean, line.low, line.badly
        because = (
            f"{mean.what}: {_number(seen.value, mean)}, "
            f"promised at most {_number(mean.bound, mean)}"
        )
        if not mean.certain:
            because += f" (above {_number(low, mean)}, whenever one looks; n = {seen.n})"
        return Breach(
            contract=self.contract,
            generation=generation,
            action=action,
            again=again,
            value=seen.value,
            low=low,
            n=seen.n,
            since_s=now_s - seen.since_s,
            requests=tuple(line.requests),
            because=because,
        )

    def recovery(self, generation: int) -> Recovery:
        line = max(self._lines, key=lambda line: line.well.value / line.mean.bound)
        mean, seen = line.mean, line.well
        because = (
            f"{mean.what}: {_number(seen.value, mean)}, shown to be at most "
            f"{_number(mean.bound, mean)} again; n = {seen.n}"
        )
        return Recovery(self.contract, generation, seen.value, seen.n, because)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Some seconds in a row, up to now."""

    since_s: float
    value: float
    """Their mean; each counts once."""
    n: int
    """Observations in them."""


@dataclass(frozen=True, slots=True)
class _Tally:
    """What was seen until some time."""

    at_s: float = 0.0
    seconds: int = 0
    total: float = 0.0
    """Of the seconds' means."""
    n: int = 0


class _Line:
    """One mean: what speaks against its bound, and what speaks against its being broken."""

    def __init__(
        self, mean: Mean, alpha: float, false_recovery: float, min_n: int, now_s: float
    ) -> None:
        self.mean = mean
        self._alpha = alpha
        self._false_recovery = false_recovery
        self._min_n = min_n
        self._looked_s = now_s
        self._last = Observed(0, 0.0)
        self._against, self._for = Capital(), Capital()
        self._rounds = 0
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self.requests: deque[str] = deque(maxlen=5)
        """Ids of some that speak against it."""
        self.begin_anew()

    def begin_anew(self) -> None:
        """What was seen counts no more, in neither direction."""
        self._against.begin_anew()
        self._broke = Change[_Tally]()
        self._recent.clear()
        self.requests.clear()
        self._tally = _Tally()
        self.await_recovery()

    def await_recovery(self, *, again: bool = False) -> None:
        """What was seen until now says nothing of recovery; of the same incident still where it is
        broken ``again``, so that the level is not spent anew."""
        if again:
            self._for.begin_anew()
        else:
            self._for = Capital()
        self._mended = Change[_Tally]()

    def see(self, second: Second, now_s: float) -> None:
        mean, self._last = self.mean, self.mean.observe(second)
        began_s, self._looked_s = self._looked_s, now_s
        n, x = self._last.n, self._last.mean
        if not n:
            return
        self.requests.extend(self._last.against)
        tally = replace(self._tally, at_s=began_s)
        self._tally = _Tally(now_s, tally.seconds + 1, tally.total + x, tally.n + n)
        self._rounds += 1
        self._recent.append(x)
        if mean.certain:
            return
        gains = against_at_most(x, mean.bound)
        self._against.play(gains)
        self._broke.play(gains, tally)
        gains = against_at_least(min(x, mean.most), mean.bound, mean.most)
        self._for.play(gains)
        self._mended.play(gains, tally)

    @property
    def broken(self) -> bool:
        if self.mean.certain:
            return self._last.n > 0 and self._last.mean > self.mean.bound
        return self._against.log >= -math.log(self._alpha) and self.badly.n >= self._min_n

    @property
    def kept(self) -> bool:
        if self.mean.certain:
            return self._last.n > 0 and self._last.mean <= self.mean.bound
        return self._for.log >= -math.log(self._false_recovery) and self.well.n >= self._min_n

    @property
    def badly(self) -> _Stretch:
        """The seconds since the bound was probably left."""
        return self._since(self._broke)

    @property
    def well(self) -> _Stretch:
        """The seconds since it was probably kept again."""
        return self._since(self._mended)

    @property
    def low(self) -> float:
        """What was expected of some second was above this, with the probability that the promise's
        level leaves; known once it is broken."""
        if self.mean.certain:
            return self._last.mean
        shown = lower_bound(
            self._recent, alpha=self._alpha, rounds_before=self._rounds - len(self._recent)
        )
        # Of what takes hours to show, the last seconds alone show less than all of them did.
        return max(shown, self.mean.bound)

    def _since(self, change: Change[_Tally]) -> _Stretch:
        now = self._tally
        if self.mean.certain:
            return _Stretch(now.at_s, self._last.mean, self._last.n)
        then = change.since
        seconds = now.seconds - then.seconds
        return _Stretch(then.at_s, (now.total - then.total) / seconds, now.n - then.n)


def _number(value: float, mean: Mean) -> str:
    return f"{100 * value:.3g} %" if mean.share else f"{value:.4g}"
