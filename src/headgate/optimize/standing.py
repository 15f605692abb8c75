"""Where a candidate stands: what the evidence in the store says of it, and what is missing.

Measures nothing. A decision counts only where it follows again from its own samples, was made by
what headgate.yaml says today, and is about these two variants; everything else is *unknown* or
*invalid*, with what would make it known.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

from headgate.config import EndpointConfig
from headgate.errors import UsageError
from headgate.ledger import Entry, Store
from headgate.objects import Action, Decision, short
from headgate.optimize.audit import Notice, audit_candidate
from headgate.optimize.gate import gate
from headgate.optimize.holdout import Changed, changed_since_look
from headgate.optimize.recorder import Recorder
from headgate.optimize.rules import as_declared
from headgate.release import ANSWERS, LOAD, way_out
from headgate.report.words import with_units
from headgate.runtime.decisions import counting, decided, decisions, is_decision, rule_of
from headgate.runtime.servable import Servable

__all__ = ["CURRENT", "Missing", "Standing", "after_an_edit", "edited_since", "stand"]

CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Missing:
    """Evidence that is not there, and how to get it."""

    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate against one current, by what is recorded."""

    endpoint: str
    candidate: str
    current: str
    action: Action
    because: str
    decision: Decision | None = None
    entry: str | None = None
    """The run that made the decision: what `headgate promote` takes."""
    missing: tuple[Missing, ...] = ()
    may_replace: bool = False
    """It was held against what is current, so that it may take its place."""
    told: tuple[Notice, ...] = ()
    """What its owner is told of its evidence; it stops nobody."""
    changed: tuple[Changed, ...] = ()
    """What was promised otherwise when the holdout was first looked at."""


def stand(
    store: Store,
    candidate: str,
    *,
    now: datetime,
    against: str = CURRENT,
    config: EndpointConfig | None = None,
) -> Standing:
    """``candidate`` is the id of a variant or of a decision, ``against`` that of a variant, or
    ``current``; before the first release that is what the newest decision compared it with.

    ``config``: the endpoint's file, where there is one. Raises ``UsageError`` where an id is none
    of a variant's, or the two are of different endpoints.
    """
    version = _variant(store, candidate)
    endpoint = Servable.load(store, version).endpoint
    if config is not None and config.endpoint != endpoint:
        config = None  # that of another endpoint in the same store says nothing of this one
    about = [(run, d) for run, d in decisions(store) if d.candidate == version]
    current = _current(store, endpoint, against, about)
    if current == version:
        return Standing(
            endpoint,
            version,
            current,
            Action.UNKNOWN,
            "it is itself what is current",
            missing=(Missing("another variant to hold it against", "give --against ID"),),
        )
    asked = _again(config)
    here = [(run, d) for run, d in about if d.current == current]
    if not here:
        others = ", ".join(dict.fromkeys(short(d.current) for _, d in about))
        judged = f"it was judged against {others}" if others else "it was never judged"
        return Standing(
            endpoint,
            version,
            current or "",
            Action.UNKNOWN,
            f"{judged}, and not against {short(current) if current else 'anything'}",
            missing=(
                Missing(
                    "a decision on quality, safety, latency and cost of these two",
                    f"type `{asked}`, which measures the winner beside what is current",
                ),
            ),
        )
    run, decision = next(counting(here), here[0]) if config else here[0]
    action, because, missing = _checked(store, run, decision, config)
    told: tuple[Notice, ...] = ()
    if action in (Action.ACCEPT, Action.WARN):  # what `promote` would refuse is not approved
        audited = audit_candidate(store, run.id, decision, now=now)
        told = audited.told
        if audited.stops:
            action = Action.ROLLBACK
            because = f"{because}, but its evidence stops a promotion: current stays"
            missing = tuple(Missing(str(stop), stop.fix) for stop in audited.stops)
    release = store.current(endpoint)
    return Standing(
        endpoint,
        version,
        decision.current,
        action,
        because,
        decision,
        run.id,
        missing,
        may_replace=release is None or release.variant == decision.current,
        told=told,
        changed=changed_since_look(store, rule_of(store, run), decided=run.seq),
    )


def edited_since(store: Store, run: Entry, config: EndpointConfig) -> str:
    """In which parts ``config`` is not what the decision of ``run`` was made by; empty where in
    none."""
    rule = rule_of(store, run)
    edited = "; ".join(c.describe() for c in rule.changes(as_declared(rule, config)))
    said = f"headgate.yaml was edited since: {edited}. What it says now was never judged"
    return with_units(said) if edited else ""


def after_an_edit(store: Store, run: Entry, config: EndpointConfig) -> str:
    """What to do where ``edited_since`` says something."""
    back = "put that back, and the decision counts again"
    if rule_of(store, run).split != "holdout":
        return f"{back}; or keep it, and `{_again(config)}` decides by it"
    out = way_out(_file(config), late=(ANSWERS, LOAD))
    return f"{back}; or {out.keep}: `{out.command}`"


def _file(config: EndpointConfig | None) -> str:
    return shlex.quote(str(config.path)) if config else "headgate.yaml"


def _again(config: EndpointConfig | None) -> str:
    return f"headgate optimize {_file(config)}"


def _checked(
    store: Store, run: Entry, decision: Decision, config: EndpointConfig | None
) -> tuple[Action, str, tuple[Missing, ...]]:
    """What the decision is worth today."""
    recorder = Recorder(store, "", "", "", int(run.body["seed"]), store.root.absolute().parent)
    if not recorder.replay(run).identical:
        newer = run.body["c"].get("code") != gate.code
        because = "the recorded decision does not follow from its samples" + (
            ": this version decides otherwise" if newer else ""
        )
        return (
            Action.INVALID,
            because,
            (Missing("a decision of this version", f"type `{_again(config)}`"),),
        )
    if config is None:
        return decision.action, decision.because, ()
    edited = edited_since(store, run, config)
    if edited:
        return (
            Action.INVALID,
            edited,
            (Missing("a decision by what it says", after_an_edit(store, run, config)),),
        )
    if config.gaps and decision.accepted:
        return (
            Action.UNKNOWN,
            "headgate.yaml leaves open what a release needs",
            tuple(Missing(f"{gap.key}: {gap.what}", gap.fix) for gap in config.gaps),
        )
    return decision.action, decision.because, ()


def _variant(store: Store, id: str) -> str:
    """The version of the variant with this id, or of the one that the decision is about."""
    entry = store.get(id)
    if entry.kind == "artifact" and entry.body["kind"] == "decision":
        made_by = entry.body["made_by"]
        entry = store.get(made_by) if made_by else entry
    version = entry.body.get("version")
    if is_decision(entry):
        version = decided(store, entry).candidate
    artifact = store.artifact(version) if version else None
    if artifact is None or artifact.kind != "variant":
        raise UsageError(
            f"{id} is neither a variant nor a decision about one",
            where=str(store.root),
            reason="no_variant",
            fix="take the id of the winner from the report of `headgate optimize`; a build that "
            "was not planned for serving cannot be released",
        )
    return artifact.version


def _current(
    store: Store, endpoint: str, against: str, about: list[tuple[Entry, Decision]]
) -> str | None:
    if against != CURRENT:
        version = _variant(store, against)
        other = Servable.load(store, version).endpoint
        if other != endpoint:
            raise UsageError(
                f"{against} is of the endpoint {other}, and the candidate of {endpoint}",
                where=str(store.root),
                reason="other_endpoint",
                fix="compare two variants of one endpoint",
            )
        return version
    release = store.current(endpoint)
    if release is not None:
        return release.variant
    return about[0][1].current if about else None
