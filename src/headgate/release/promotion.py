"""Promotion and rollback as compare-and-swap: which release may come next.

A release is the next generation of an endpoint. Generations only grow, also on a rollback: what
was in production, and when, is never rewritten, and a cache that is fenced by generation can never
serve an answer of the release that was left. Knows nothing of where releases are kept; the store
must apply the result only while ``expected_generation`` is still current, in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headgate.errors import Refused
from headgate.objects import Action, Decision, Release, short
from headgate.release.rule import ANSWERS, LATE, LOAD, way_out

__all__ = ["next_release", "restored_generation", "rollback_release", "rollback_target"]

_RESTORES = "restores"
"""Key of ``Release.extra`` of a rollback: the generation whose variant it brings back."""
_TARGET_PROOF = "target_proof"
"""Key of ``Release.extra`` of a promotion: the entry of what proved that it can be taken back."""


def next_release(
    current: Release | None,
    decision: Decision | None,
    *,
    endpoint: str,
    variant: str,
    expected_generation: int | None,
    decision_entry: str | None = None,
    target_proof: str | None = None,
    note: str = "",
    extra: Mapping[str, str] | None = None,
    config: str = "headgate.yaml",
    accepted: str = "",
) -> Release:
    """The release that makes ``variant`` current, or ``Refused``.

    ``target_proof`` is the entry of the proof that ``current`` can be served again: it was loaded,
    checked against its digests and probed before anything takes its place. ``config`` is the
    endpoint's file, as a command line takes it, and ``accepted`` as of ``way_out``.

    ``expected_generation`` is the generation that the caller believes current, None for none yet.
    The first release is the baseline, generation 0, and needs no decision. Reasons to refuse:

    - ``generation_moved``: another release became current meanwhile;
    - ``decision_not_accepted``: there is no decision, or its action is neither accept nor warn;
    - ``decision_of_other_candidate``: it judged another variant;
    - ``decision_of_other_current``: it compared with something else than what is current now;
    - ``rollback_target_unproved``: nobody has shown that there is a way back.
    """
    _expect(current, expected_generation)
    if current is None:
        return Release(endpoint, 0, variant, decision_entry, note, dict(extra or {}))
    where = f"promotion of {short(variant)}"
    if decision is None or not decision.accepted:
        raise Refused(
            "no decision accepts this candidate"
            if decision is None
            else f"the decision is {decision.action}: {decision.because}",
            where=where,
            reason="decision_not_accepted",
            fix=_way_out(decision, config, accepted),
        )
    for what, judged, actual in (
        ("candidate", decision.candidate, variant),
        ("current", decision.current, current.variant),
    ):
        if judged != actual:
            raise Refused(
                f"the decision is about the {what} {short(judged)}, not {short(actual)}",
                where=where,
                reason=f"decision_of_other_{what}",
                fix="gate this candidate against the current release",
            )
    if target_proof is None:
        raise Refused(
            "nobody has shown that what is current could be returned to",
            where=where,
            reason="rollback_target_unproved",
            fix="load and probe it first, as `headgate promote` does",
        )
    return Release(
        endpoint,
        current.generation + 1,
        variant,
        decision_entry,
        note,
        {**(extra or {}), _TARGET_PROOF: target_proof},
    )


def _way_out(decision: Decision | None, config: str, accepted: str) -> str:
    if decision is None or decision.action not in (Action.UNKNOWN, Action.INVALID):
        return "only a decision to accept (or warn) can be promoted"
    _, edited, said = decision.because.partition(LATE)
    if edited:
        late = [what for what in (ANSWERS, LOAD) if what in said]
        out = way_out(config, late=late, accepted=accepted)
        keep = f"{out.keep}: `{out.command}`"
        if out.put_back is None:
            return keep
        return f"put back what was edited and type `{out.put_back}`; or {keep}"
    return (
        f"measure again while the machine is quiet: `headgate optimize --fresh --promote {config}`"
    )


def rollback_target(history: Sequence[Release]) -> Release:
    """The release that a rollback from the last of ``history`` brings back.

    It is the generation before the one whose variant is current. A rollback does not count as a
    place to return to: after generation 2 was rolled back to 1 (as generation 3), another rollback
    goes to 0 and not to 2 again. ``history`` is gapless, from generation 0.
    Raises ``Refused`` (``nothing_to_roll_back_to``) at the baseline.
    """
    if not history:
        raise Refused(
            "nothing was ever promoted",
            reason="nothing_to_roll_back_to",
            fix="promote a release first",
        )
    for generation, release in enumerate(history):
        assert release.generation == generation, "a history has no gaps"
    origin = restored_generation(history[-1])
    if origin == 0:
        current = history[-1].generation
        again = f"generation {current} is current, and is generation 0, the baseline, again"
        raise Refused(
            f"{again if current else 'the baseline, generation 0, is current'}; there is nothing "
            "before it",
            where=f"endpoint {history[-1].endpoint}",
            reason="nothing_to_roll_back_to",
            fix="promote another release instead",
        )
    return history[restored_generation(history[origin - 1])]


def rollback_release(
    history: Sequence[Release],
    *,
    expected_generation: int,
    decision_entry: str | None = None,
    note: str = "",
) -> Release:
    """The next generation, with the variant (and index) of ``rollback_target``, or ``Refused``.

    Its ``extra`` names the generation that it restores.
    """
    _expect(history[-1] if history else None, expected_generation)
    target = rollback_target(history)
    return Release(
        target.endpoint,
        history[-1].generation + 1,
        target.variant,
        decision_entry,
        note,
        {
            **{key: value for key, value in target.extra.items() if key != _TARGET_PROOF},
            _RESTORES: str(target.generation),
        },
    )


def restored_generation(release: Release) -> int:
    """The generation in which the release's variant was promoted: its own, unless it is a
    rollback."""
    return int(release.extra.get(_RESTORES, release.generation))


def _expect(current: Release | None, expected_generation: int | None) -> None:
    actual = None if current is None else current.generation
    if actual != expected_generation:
        raise Refused(
            f"generation {actual} is current, not {expected_generation}",
            reason="generation_moved",
            fix="look at what became current meanwhile, and gate against it",
        )
