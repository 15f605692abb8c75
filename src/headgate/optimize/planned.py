"""What the gate could decide with the data that there are: n needed, n at hand, power reached.

Measures nothing: what a contract needs at least follows from its limit, what it needs for 80 %
from a pilot that `headgate optimize` has run, where one is recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.config import EndpointConfig
from headgate.config.meaning import PREPARED
from headgate.ledger import Store
from headgate.objects import Action, Bound, Contract
from headgate.optimize.evidence import MIN_SLICE, SPEED
from headgate.optimize.inputs import Split, load_split, refuse_unlabelled
from headgate.optimize.rules import items_in, judged_at_most
from headgate.release import CERTIFICATE, joint_power, least_n
from headgate.release.power import ENOUGH_POWER

__all__ = ["Planned", "PlannedRow", "planned_power"]


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """One contract."""

    rule: str
    least_n: int | None
    """Below it nothing could be accepted, whatever is measured; None where no n suffices."""
    needed_n: int | None
    """For its share of 80 % for all; None where a pilot is missing, or no n suffices."""
    n: int | None
    """At hand; None where the data are not there yet."""
    power: float | None
    """None where no pilot is recorded for this n."""
    assumed: str
    """What the power assumes; where there is none, why, and what to do."""

    @property
    def never(self) -> bool:
        """It can never decide with the n at hand."""
        return self.least_n is None or (self.n is not None and self.n < self.least_n)


@dataclass(frozen=True, slots=True)
class Planned:
    """All contracts, and what they come to together."""

    split: str
    rows: tuple[PlannedRow, ...]
    unpromised: tuple[str, ...] = ()
    """The endpoint's own metrics, by their keys, that no contract is on: nothing is decided by
    them."""

    @property
    def joint(self) -> float | None:
        """A candidate without any true loss is accepted at least so often; None where unknown."""
        powers = [row.power for row in self.rows]
        known = [p for p in powers if p is not None]
        return joint_power(known) if len(known) == len(powers) else None

    @property
    def action(self) -> Action:
        """Accept where 80 % are reached, escalate where a contract can never decide."""
        if any(row.never for row in self.rows):
            return Action.ESCALATE
        enough = self.joint is not None and self.joint >= ENOUGH_POWER
        return Action.ACCEPT if enough else Action.UNKNOWN


def planned_power(config: EndpointConfig, store: Store | None) -> Planned:
    """The table, for the split that certifies. ``store`` is None where there is none yet.

    Raises ``InputError`` where the split cannot be read, or lacks the labels that judge.
    """
    role = "holdout" if config.data.holdout is not None else "evaluate"
    path = _path(config, role, store)
    split = None if path is None else load_split(config.task, path)
    contracts = config.contracts_for(labelled=split is None or split.labelled)
    if path is not None and split is not None:
        refuse_unlabelled(config.task, contracts, path, split)
    named = config.candidates
    level = 1 - CERTIFICATE / (1 if role == "holdout" else judged_at_most(named, sealed=False))
    pilot = _Pilot.of(config.endpoint, store)
    promised = {c.metric.removeprefix("worst_slice_") for c in contracts}
    sections = {"metrics": config.metrics, "safety": config.safety}
    return Planned(
        role,
        tuple(_row(config, c, split, level, pilot) for c in contracts),
        tuple(f"{s}.{m}" for s, own in sections.items() for m in own if m not in promised),
    )


def _row(
    config: EndpointConfig,
    contract: Contract,
    split: Split | None,
    level: float,
    pilot: _Pilot,
) -> PlannedRow:
    base = contract.metric.removeprefix("worst_slice_")
    own = {**config.metrics, **config.safety}.get(base)
    speed = own is None and contract.metric.startswith(SPEED)
    value_range = None if speed else own.range if own is not None else (0.0, 1.0)
    least = least_n(contract, value_range=value_range, level=level)
    row = pilot.rows.get(contract.describe(), {})
    if contract.bound is Bound.ONE_OF:
        n = row.get("n")
    elif speed:
        n = config.replay.blocks
    elif split is None:
        n = None
    elif base == contract.metric:
        n = items_in(split)
    else:
        n = _smallest_slice(split.slices, max(MIN_SLICE, contract.min_n))
        least = None if least is None else max(least, MIN_SLICE)
    known = bool(row) and row["n"] == n
    return PlannedRow(
        contract.describe(),
        least,
        row["required_n"] if known else None,
        n,
        float(row["power"]) if known else None,
        str(row["assumed"]) if known else pilot.lacks(row, speed=speed),
    )


def _smallest_slice(slices: Sequence[Sequence[str]], least: int) -> int:
    """Of those that are judged; where none is, the largest."""
    sizes = Counter(name for names in slices for name in set(names)).values()
    return min((s for s in sizes if s >= least), default=max(sizes, default=0))


def _path(config: EndpointConfig, role: str, store: Store | None) -> Path | None:
    """The split's file, or what the store has of one that ``prepare`` writes."""
    name = config.data.holdout if role == "holdout" else config.data.evaluate
    assert name is not None
    if not name.startswith(PREPARED):
        return config.resolve(name)
    artifact = store.artifact(f"{config.endpoint}/{role}") if store is not None else None
    return None if artifact is None or store is None else store.path_of(artifact.version)


@dataclass(frozen=True, slots=True)
class _Pilot:
    """What ``optimize`` has found out of the spread of measurements."""

    rows: Mapping[str, Mapping[str, Any]]
    """The newest power table, by rule."""
    ran: bool
    """Whether ``optimize`` came as far as its search: what it left open, again it leaves open."""

    @classmethod
    def of(cls, endpoint: str, store: Store | None) -> _Pilot:
        if store is None:
            return cls({}, ran=False)
        entry = store.latest("power", endpoint=endpoint)
        rows = {} if entry is None else {row["rule"]: row for row in entry.body["rows"]}
        return cls(rows, ran=store.latest("search", endpoint=endpoint) is not None)

    def lacks(self, row: Mapping[str, Any], *, speed: bool) -> str:
        """Why the power of a contract is not known, and what to do; ``row`` is what is known."""
        if row:
            return f"the pilot was of n = {row['n']:,}; `headgate optimize` runs one of this n"
        if not self.ran:
            return "no pilot with this n; `headgate optimize` runs one"
        if not self.rows or (speed and not any(rule.startswith(SPEED) for rule in self.rows)):
            beside = "timed beside the baseline" if self.rows else "measured"
            return (
                f"`headgate optimize` had no candidate that could be {beside}, so the spread is "
                "not known; name another under candidates"
            )
        return "the contract is new since `headgate optimize` ran a pilot; its next run has it"
