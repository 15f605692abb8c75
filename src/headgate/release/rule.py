"""The rule of a decision: all that could be turned until it pleases, fixed before the first sample.

A rule is registered by its digest. The gate is told which digest was in force when each kind of
sample was first taken; where that is another, or none, the decision is invalid, whatever the
samples say (docs/decisions/0025-what-a-decision-may-get-wrong.md). Knows nothing of where rules
are registered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

from headgate.errors import InputError
from headgate.objects import Action, Bound, Contract, digest
from headgate.release.estimate import LEVEL
from headgate.release.replay import contract_from_json

__all__ = ["ANSWERS", "LATE", "LOAD", "Change", "Rule", "WayOut", "rule_from_json", "way_out"]

ANSWERS = "answers on the holdout"
LOAD = "speed under load"
"""What a rule can be too late for, in words: answers are seen once, a load can be sent again."""

LATE = "after this was measured"
"""In every sentence of ``Rule.edited``."""


@dataclass(frozen=True, slots=True)
class WayOut:
    """What to do where a rule was edited after samples were seen."""

    put_back: str | None
    """The command, once what was edited is as it was; None where that leads nowhere, since the rule
    as it is now is what the answers were seen by."""
    keep: str
    """What else to do, in words that end with the rule kept and ``command``."""
    command: str


def way_out(file: str, *, late: Collection[str], accepted: str = "") -> WayOut:
    """``file``: headgate.yaml, as a command line takes it. ``late``: as ``Rule.late`` says it of
    the decision. ``accepted``: the id of an earlier one, if any, that accepted by the rule which
    the answers were seen by: it counts where that rule stands, and costs no look.

    With that rule put back, all that it was decided by is read again, but for a load test that was
    taken under another since. Where the rule is kept, times are taken again in any case: what is on
    record is read again for the same winner, whatever the holdout.

    >>> print(way_out("headgate.yaml", late=(ANSWERS, LOAD)).keep)
    keep it, give new rows under data.holdout (answers to the old ones were seen), and take times \
again
    >>> way_out("headgate.yaml", late=(LOAD,), accepted="c0ffee").command
    'headgate promote c0ffee -f headgate.yaml'
    """
    fresh = f"headgate optimize --fresh --promote {file}"
    earlier = f"headgate promote {accepted} -f {file}" if accepted else fresh
    if ANSWERS not in late:
        again = (
            "take times again (one more look at the holdout), since the load test is another "
            "rule's and the answers are this one's"
        )
        before = "make current what this rule accepted before, which still counts"
        return WayOut(None, before if accepted else again, earlier)
    return WayOut(
        f"headgate optimize --promote {file}" if LOAD in late else earlier,
        "keep it, give new rows under data.holdout (answers to the old ones were seen), and take "
        "times again",
        fresh,
    )


_DERIVED = ("planned_n", "tried")
"""What follows from other parts, and is worth a word only where none of those was changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key of headgate.yaml that one rule has otherwise than another."""

    key: str
    was: str
    now: str
    """Both empty where only digests are on record."""
    looser: bool = False
    """A contract lets more through than it did."""

    def describe(self) -> str:
        """In words.

        >>> Change("contracts.accuracy", "at least 0.9", "at least 0.8", looser=True).describe()
        'contracts.accuracy was at least 0.9, is at least 0.8 (looser)'
        >>> Change("prices", "", "").describe()
        'prices is another'
        """
        if not self.was:
            return f"{self.key} is another"
        return f"{self.key} was {self.was}, is {self.now}{' (looser)' * self.looser}"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is promised, on what it is measured and by what, among how many, and at which levels.

    What a candidate *is* (its files, precision, policies) is not part of it: another candidate has
    other samples, and on a holdout each costs a use.
    """

    endpoint: str
    split: str
    dataset: str
    """Version of the split's content."""
    contracts: tuple[Contract, ...]
    metrics: Mapping[str, str]
    """Metric -> digest of what is declared of it, and of its function; empty where built in."""
    planned_n: Mapping[str, int]
    """Metric -> items or blocks; what is not in it has no planned n."""
    seed: int
    tried: int = 1
    """Among how many candidates it chooses; 1 certifies."""
    level: float = LEVEL
    workload: str = ""
    """Version of the requests that are replayed; empty where none are."""
    replay: Mapping[str, float] = field(default_factory=dict)
    """How they are: ``seconds`` a side, ``load`` (share of what a side can take), ``blocks``."""
    prices: str = ""
    """Version of the price list, by which seconds become money; empty where nothing is priced."""
    functions: Mapping[str, str] = field(default_factory=dict)
    """The endpoint's own steps -> the digests of their sources: ``preprocess``, ``postprocess``."""
    candidates: tuple[str, ...] = ()
    """Names of what may be chosen among."""

    @property
    def digest(self) -> str:
        """What is registered."""
        return digest(self)

    @property
    def pass_level(self) -> float:
        """Of the bound that a contract passes by: the error is shared by all that were tried."""
        return 1 - (1 - self.level) / self.tried

    def late(self, in_force: Mapping[str, str | None]) -> tuple[str, ...]:
        """What was measured by another rule than this, or by none; ``in_force`` as ``edited``'s."""
        return tuple(what for what, registered in in_force.items() if registered != self.digest)

    def edited(
        self, in_force: Mapping[str, str | None], before: Mapping[str, Rule] | None = None
    ) -> str | None:
        """Why no decision can be made by this rule, and what to do; or None.

        ``in_force`` maps what was measured, in words, to the digest of the rule that was registered
        when its first sample was taken; None where there was none. ``before``: digest -> such a
        rule, so that what was edited can be named.
        """
        late = self.late(in_force)
        if not late:
            return None
        known = [
            before[d] for w in late if (d := in_force[w]) is not None and before and d in before
        ]
        changes = dict.fromkeys(c.describe() for rule in known for c in rule.changes(self))
        edited = f"edited ({'; '.join(changes)})" if changes else "registered, or edited,"
        ways = (
            "take times again by this rule (`--fresh`), which saw the answers"
            if late == (LOAD,)
            else "put the old rule back, or take new samples by this one (`--fresh` takes times "
            "again; a holdout that was seen needs new data too)"
        )
        return f"the rule was {edited} {LATE}: {' and '.join(late)}; {ways}"

    def differs_in(self, other: Rule) -> tuple[str, ...]:
        """Names of the fields in which ``other`` is another rule. In which order its contracts
        stand makes it none, though it is registered under another digest then."""
        names = (f.name for f in fields(self))
        return tuple(n for n in names if digest(self._part(n)) != digest(other._part(n)))

    def _part(self, name: str) -> object:
        return _ordered(self.contracts) if name == "contracts" else getattr(self, name)

    def changes(self, now: Rule) -> tuple[Change, ...]:
        """What ``now`` has otherwise, by the keys of headgate.yaml, with what it was and is."""
        parts = self.differs_in(now)
        found: list[Change] = []
        for part in (p for p in parts if p not in _DERIVED):
            match part:
                case "contracts":
                    own = {m for rule in (self, now) for m, code in rule.metrics.items() if code}
                    found += _contracts_changed(self.contracts, now.contracts, own)
                case "metrics" | "functions":
                    found += _code_changed(part, getattr(self, part), getattr(now, part))
                case "replay":
                    keys = dict.fromkeys((*self.replay, *now.replay))
                    found += [
                        Change(f"replay.{k}", _said(self.replay.get(k)), _said(now.replay.get(k)))
                        for k in keys
                        if self.replay.get(k) != now.replay.get(k)
                    ]
                case "candidates" | "seed" | "split" | "level" | "endpoint":
                    was, is_ = getattr(self, part), getattr(now, part)
                    found.append(Change(part, _said(was), _said(is_)))
                case "dataset":
                    found.append(Change(f"data.{now.split}", "", ""))
                case _:  # on record as digests
                    found.append(Change(part, "", ""))
        derived = (p for p in parts if p in _DERIVED)
        return tuple(
            found or [Change(p, _said(getattr(self, p)), _said(getattr(now, p))) for p in derived]
        )


def _contracts_changed(
    was: Sequence[Contract], now: Sequence[Contract], own: Set[str]
) -> Iterator[Change]:
    """By metric, which may have several promises; ``own`` are those that are the endpoint's own."""
    for metric in dict.fromkeys(c.metric for c in (*was, *now)):
        before, after = (_ordered(c for c in cs if c.metric == metric) for cs in (was, now))
        if before != after:
            key = f"contracts.{metric}"
            # A limit may be another by less than its words have digits.
            said = [" and ".join(_bound(c, own) for c in cs) for cs in (before, after)]
            yield from [*_promise_changed(key, before, after, *said)] or [Change(key, "", "")]


def _ordered(contracts: Iterable[Contract]) -> list[Contract]:
    """By metric, bound and limit, and what they allow by name: as they count, whatever their order
    in headgate.yaml."""
    named = (replace(c, allowed=tuple(sorted(c.allowed))) for c in contracts)
    return sorted(named, key=lambda c: (c.metric, c.bound.value, c.limit, digest(c)))


def _promise_changed(
    key: str, before: Sequence[Contract], after: Sequence[Contract], was: str, now: str
) -> Iterator[Change]:
    """Of the promises on one metric, both ``_ordered``; ``was`` and ``now`` are their bounds."""
    pairs = _paired(before, after)
    if was != now:
        looser = len(after) < len(before) or any(_wider(*pair) for pair in pairs)
        yield Change(key, was or "not promised", now or "not promised", looser=looser)
    for name in _BESIDE_THE_BOUND:
        values = [(getattr(then, name), getattr(today, name)) for then, today in pairs]
        if any(then != today for then, today in values):
            then, today = (" and ".join(map(_said, side)) for side in zip(*values, strict=True))
            looser = any(_weaker(name, *pair) for pair in values)
            yield Change(f"{key}.{_KEYS.get(name, name)}", then, today, looser=looser)


_BESIDE_THE_BOUND = (
    "axis", "on_breach", "min_n", "rationale", "escalation", "rollback_candidate",
)  # fmt: skip
"""Fields of a contract that its own words do not say."""
_IN_SECONDS = ("latency_", "device_s_per_1k", "age")
"""What metrics that are times are called, or begin with, where they are not the endpoint's own."""
_KEYS = {"rationale": "why", "escalation": "escalate", "rollback_candidate": "rollback"}
"""What headgate.yaml calls the fields of a contract that have another name there."""


def _bound(c: Contract, own: Set[str]) -> str:
    """With its unit, where it has one: seconds, or money without an exponent."""
    words = c.describe().removeprefix(f"{c.metric} ")
    if c.metric in own or c.bound in (Bound.ONE_OF, Bound.RATIO_AT_MOST):
        return words
    if c.metric.startswith(_IN_SECONDS):
        return f"{words} s"
    if c.metric == "cost_per_1k":
        kind, _, limit = words.rpartition(" ")
        return f"{kind} {Decimal(limit):f}"
    return words


def _paired(
    before: Sequence[Contract], after: Sequence[Contract]
) -> Sequence[tuple[Contract, Contract]]:
    """What each promise on one metric became: as they are ordered, and by the kind of bound where
    some are new or gone."""
    if len(before) == len(after):
        return [*zip(before, after, strict=True)]
    return [(was, now) for was in before for now in after if was.bound is now.bound]


def _weaker(name: str, was: object, now: object) -> bool:
    """Whether this value of a field lets more through. Every action but *warn* stops what breaks
    the promise; fewer samples decide earlier."""
    if name == "on_breach":
        return now is Action.WARN and was is not Action.WARN
    return name == "min_n" and isinstance(was, int) and isinstance(now, int) and now < was


def _wider(was: Contract, now: Contract) -> bool:
    """Whether the bound does, which cannot be said of two kinds."""
    if was.bound is not now.bound:
        return False
    if now.bound is Bound.ONE_OF:
        return not set(now.allowed) <= set(was.allowed)
    return now.limit < was.limit if now.bound is Bound.AT_LEAST else now.limit > was.limit


def _code_changed(part: str, was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    """Of the endpoint's own functions, of which digests are on record. That a metric has none, or
    is new, is said by its contract."""
    for name in dict.fromkeys((*was, *now)):
        if was.get(name, "") == now.get(name, ""):
            continue
        if part == "functions":
            if name not in was or name not in now:
                then, today = ("there" if name in side else "not there" for side in (was, now))
                yield Change(name, then, today)
                continue
        elif name not in was or name not in now:
            continue
        own = f"the metric {name.removeprefix('worst_slice_')} (its code, direction or range)"
        yield Change(own if part == "metrics" else f"the code of {name}", "", "")


def _said(value: object) -> str:
    if value is None:
        return "not there"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_said(v)}" for k, v in sorted(value.items()))
    return f"{value:g}" if isinstance(value, float) else str(value)


def rule_from_json(data: Mapping[str, Any]) -> Rule:
    """The rule whose canonical JSON is ``data``. Raises ``InputError`` where it is none."""
    try:
        return Rule(
            **{
                **data,
                "contracts": tuple(map(contract_from_json, data["contracts"])),
                "candidates": tuple(data.get("candidates", ())),  # older records have none
            }
        )
    except (KeyError, TypeError) as cause:
        raise InputError(
            f"this is no rule: {cause!r}",
            where="rule",
            fix="use the JSON of a rule that Headgate recorded",
        ) from cause
