"""The watch over a release that serves: ``(event, now) -> breaches and recoveries``.

Each promise that live traffic can speak about (``headgate.release.live``) is presumed kept. It is
*broken* once what was seen refutes it, and an incident is open then until what is seen afterwards
refutes that it is still broken. Both are tests that may be looked at every second, for ever
(``headgate.theory.betting``); in between nothing is known, and not knowing changes nothing.

A release that keeps all its promises is ever accused of breaking one with a probability of at most
``false_alarm``, however long it serves: the level is divided among its promises.

Knows no clock, no ledger and nobody to be told.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from headgate.objects import Action, Contract
from headgate.release.live import Mean, Observed, Second, Terms, means_of
from headgate.theory.betting import (
    Capital,
    against_at_least,
    against_at_most,
    lower_bound,
    rounds_since_change,
)

__all__ = ["Breach", "Recovery", "TookOver", "WatchEvent", "WatchRule", "Watcher"]

_REMEMBERED = 120
"""Seconds that are kept to say since when, and by how much, a promise is broken."""


@dataclass(frozen=True, slots=True)
class WatchRule:
    """What is watched, and how sure it has to be. On record before the first request is seen."""

    contracts: tuple[Contract, ...]
    false_alarm: float = 0.01
    """Of a release that keeps all its promises, ever."""
    false_recovery: float = 0.05
    """After a breach, ever: that its incident is closed while its promise is still broken."""
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
    """The mean over the seconds since it was probably broken."""
    low: float
    """It is above this, at the level of the promise; above the bound, or there were no breach."""
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
    n: int
    because: str


class Watcher:
    """``handle`` what happens; ``open`` are the incidents that are open already: what the contract
    says (``Contract.describe``) and the generation that broke it."""

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

    def handle(self, event: WatchEvent, now_s: float) -> list[Breach | Recovery]:
        if isinstance(event, TookOver):
            self._generation, self._restored = event.generation, event.restored
            self._promises = self._watch(event.terms)
            return []
        if self._generation is None:
            return []
        decided: list[Breach | Recovery] = []
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
            self._broken_by.get(contract.describe(), self._generation) != self._generation
            for contract in self.rule.contracts
            if contract.on_breach is Action.ROLLBACK
        )

    def _watch(self, terms: Terms) -> list[_Promise]:
        seen = [(c, means) for c in self.rule.contracts if (means := means_of(c, terms))]
        alpha = self.rule.false_alarm / max(len(seen), 1)
        return [_Promise(c, means, alpha, self.rule) for c, means in seen]

    def _judge(self, promise: _Promise, generation: int, now_s: float) -> Breach | Recovery | None:
        key = promise.contract.describe()
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
            promise.await_recovery()
            return breach
        return None


class _Promise:
    """One contract, on one release."""

    def __init__(
        self, contract: Contract, means: Sequence[Mean], alpha: float, rule: WatchRule
    ) -> None:
        self.contract = contract
        self.told = False
        """Its breach by this release was told."""
        self._lines = [
            _Line(mean, alpha / len(means), rule.false_recovery, contract.min_n or rule.min_n)
            for mean in means
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

    def await_recovery(self) -> None:
        """Its breach was told; from now on what is seen may show that it is over."""
        self.told = True
        for line in self._lines:
            line.await_recovery()

    def begin_anew(self) -> None:
        self.told = False
        for line in self._lines:
            line.begin_anew()

    def breach(self, generation: int, now_s: float, action: Action, *, again: bool) -> Breach:
        line = next(line for line in self._lines if line.broken)
        value, n, since_s = line.since_change(now_s)
        low = line.low
        because = (
            f"{line.mean.what}: {_number(value, line.mean)}, "
            f"promised at most {_number(line.mean.bound, line.mean)}"
        )
        if not line.mean.certain:
            because += f" (above {_number(low, line.mean)}, whenever one looks; n = {n})"
        return Breach(
            contract=self.contract,
            generation=generation,
            action=action,
            again=again,
            value=value,
            low=low,
            n=n,
            since_s=since_s,
            requests=tuple(line.against),
            because=because,
        )

    def recovery(self, generation: int) -> Recovery:
        line = max(self._lines, key=lambda line: line.seen_mean / line.mean.bound)
        value, n = line.seen_mean, line.seen
        because = (
            f"{line.mean.what}: {_number(value, line.mean)}, shown to be at most "
            f"{_number(line.mean.bound, line.mean)} again; n = {n}"
        )
        return Recovery(self.contract, generation, value, n, because)


class _Line:
    """One mean: what speaks against its bound, and what speaks against its being broken."""

    def __init__(self, mean: Mean, alpha: float, false_recovery: float, min_n: int) -> None:
        self.mean = mean
        self._alpha = alpha
        self._false_recovery = false_recovery
        self._min_n = 1 if mean.certain else min_n
        self._against = Capital()
        self._rounds = 0
        self._recent: deque[tuple[float, Observed]] = deque(maxlen=_REMEMBERED)
        self.against: deque[str] = deque(maxlen=5)
        self.begin_anew()

    def begin_anew(self) -> None:
        """What was seen counts no more, in neither direction."""
        self._against.begin_anew()
        self._recent.clear()
        self.against.clear()
        self.await_recovery()

    def await_recovery(self) -> None:
        """What was seen until now says nothing of recovery."""
        self._for = Capital()
        self.seen, self._total = 0, 0.0

    def see(self, second: Second, now_s: float) -> None:
        observed = self.mean.observe(second)
        if not observed.n:
            return
        mean = self.mean
        self.seen += observed.n
        self._total += observed.n * observed.mean
        self._rounds += 1
        self._recent.append((now_s, observed))
        self.against.extend(observed.against)
        if mean.certain:
            return
        self._against.play(against_at_most(observed.mean, mean.bound))
        seen = min(observed.mean, mean.most)
        self._for.play(against_at_least(seen, mean.bound, mean.most))

    @property
    def seen_mean(self) -> float:
        return self._total / self.seen if self.seen else math.nan

    @property
    def broken(self) -> bool:
        if self.seen < self._min_n:
            return False
        if self.mean.certain:
            return self._recent[-1][1].mean > self.mean.bound
        return self._against.log >= -math.log(self._alpha)

    @property
    def kept(self) -> bool:
        if self.seen < self._min_n:
            return False
        if self.mean.certain:
            return self._recent[-1][1].mean <= self.mean.bound
        return self._for.log >= -math.log(self._false_recovery)

    @property
    def low(self) -> float:
        """The mean was above this, with the probability that the promise's level leaves."""
        if self.mean.certain:
            return self._recent[-1][1].mean
        return lower_bound(
            [o.mean for _, o in self._recent],
            alpha=self._alpha,
            rounds_before=self._rounds - len(self._recent),
        )

    def since_change(self, now_s: float) -> tuple[float, int, float]:
        """Mean, observations and seconds since the bound was probably left."""
        means = [observed.mean for _, observed in self._recent]
        rounds = rounds_since_change(means, self.mean.bound)
        last = list(self._recent)[-rounds:]
        n = sum(observed.n for _, observed in last)
        total = sum(observed.n * observed.mean for _, observed in last)
        before_s = self._recent[-rounds - 1][0] if rounds < len(self._recent) else last[0][0]
        return total / n, n, now_s - before_s


def _number(value: float, mean: Mean) -> str:
    return f"{100 * value:.3g} %" if mean.share else f"{value:.4g}"
