"""Which variant is current for an endpoint: a compare-and-swap on the generation.

Generations of an endpoint are 0, 1, 2 ... without gaps. A rollback is a new release, with a higher
generation, of a variant that was current before; nothing is ever taken back out of the history.
"""

from __future__ import annotations

from headgate.errors import Refused
from headgate.ledger.entry import Entry
from headgate.ledger.log import Log
from headgate.objects import Release

__all__ = ["current", "history", "promote"]


def current(log: Log, endpoint: str) -> Release | None:
    """The release of the highest generation."""
    newest = next(log.select("release", endpoint=endpoint, newest_first=True), None)
    return None if newest is None else Release(**newest.body)


def history(log: Log, endpoint: str) -> list[tuple[Entry, Release]]:
    """Every promotion and rollback, oldest first."""
    return [(e, Release(**e.body)) for e in log.select("release", endpoint=endpoint)]


def promote(
    log: Log, release: Release, *, expected_generation: int | None, recorded_at: str
) -> Entry:
    """Make ``release`` current if the current generation still is ``expected_generation``.

    Comparing and recording are one transaction: of several writers exactly one wins a generation.
    Raises ``Refused`` with the reason ``generation_moved`` where another was faster,
    ``generation_gap`` where the release would leave one out, and ``decision_missing`` where it
    names a decision that the ledger does not hold.
    """
    with log.transaction():
        now = current(log, release.endpoint)
        found = None if now is None else now.generation
        if found != expected_generation:
            raise Refused(
                f"{release.endpoint} is at {_generation(found)}, "
                f"not at {_generation(expected_generation)} as the decision assumed",
                reason="generation_moved",
                fix="look at `headgate history`, and judge the candidate against what is current",
            )
        following = 0 if found is None else found + 1
        if release.generation != following:
            raise Refused(
                f"{release.endpoint}: the next generation is {following}, not {release.generation}",
                reason="generation_gap",
                fix=f"promote it as generation {following}",
            )
        if release.decision is not None and not _is_entry(log, release.decision):
            raise Refused(
                f"the decision {release.decision} is not in this ledger",
                reason="decision_missing",
                fix="record the decision before the release that it allows",
            )
        return log.append("release", release, recorded_at)


def _is_entry(log: Log, id_: str) -> bool:
    return any(entry.id == id_ for _, entry in log.called(id_))


def _generation(number: int | None) -> str:
    return "no release" if number is None else f"generation {number}"
