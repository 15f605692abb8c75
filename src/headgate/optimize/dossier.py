"""Gathers all that is on record of one thing, for exporters: it reads, and measures nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headgate.errors import UsageError
from headgate.ledger import Entry, Store
from headgate.objects import Decision, Release, Run, short
from headgate.report.export import Composed, Dossier, Judged, Ran
from headgate.runtime.decisions import decided, decisions, is_decision
from headgate.runtime.servable import Servable

__all__ = ["dossier_of", "meant"]


def dossier_of(store: Store, id: str) -> Dossier:
    """What made the thing with this id, and whether it kept its promises.

    ``id`` is a release's, a decision's, or an artifact's; of a decision it is the candidate that is
    meant, of a release its variant, with the decision that let it through. Of an artifact the
    newest decision counts. Raises ``UsageError`` (``not_exportable``) for anything else.
    """
    entry = store.get(id)
    version, run = meant(store, entry)
    artifact = store.artifact(version)
    if artifact is None:
        raise UsageError(
            f"the candidate {short(version)} is not recorded here",
            where=str(store.root),
            reason="not_exportable",
            fix="`headgate audit` lists what is missing, and how to get it",
        )
    judged = _judged(store, run) if run is not None else None
    starts = [version]
    if judged is not None:
        starts += [judged.entry, *_measurements(judged.decision)]
    versions = store.stands_on(starts)
    known = {v: found.id for v in versions if (found := store.artifact(v)) is not None}
    return Dossier(
        endpoint=artifact.id.partition("/")[0],
        subject=version,
        task=Servable.load(store, version).task if artifact.kind == "variant" else "",
        steps=tuple(_steps(store, versions)),
        judged=judged,
        names=known,
        traces=_traces(store, version),
    )


def meant(store: Store, entry: Entry) -> tuple[str, Entry | None]:
    """The version of what an id stands for, and the run that decided about it."""
    if entry.kind == "release":
        release = Release(**entry.body)
        return release.variant, _let_through(store, release)
    run = entry
    if entry.kind == "artifact":
        maker = entry.body["made_by"]
        if entry.body["kind"] != "decision" or maker is None:
            version = str(entry.body["version"])
            about = (run for run, d in decisions(store) if d.candidate == version)
            return version, next(about, None)
        run = store.get(maker)
    if is_decision(run):
        return decided(store, run).candidate, run
    raise UsageError(
        f"{short(entry.id)} is of kind {entry.kind}, which no format has a word for",
        where=str(store.root),
        reason="not_exportable",
        fix="give the id of a release, of a decision, or of something that a run made",
    )


def _let_through(store: Store, release: Release) -> Entry | None:
    """The decision that first let this variant through: a rollback makes none of its own."""
    allowed = (
        r.decision
        for _, r in store.history(release.endpoint)
        if r.variant == release.variant and r.decision is not None
    )
    decision = release.decision or next(allowed, None)
    return store.get(decision) if decision is not None else None


def _judged(store: Store, run: Entry) -> Judged:
    decision = decided(store, run)
    measured = (_here(store, m) for m in _measurements(decision))
    datasets = dict.fromkeys(str(m.body["dataset"]) for m in measured if m is not None)
    return Judged(run.id, decision, str(run.body["u"]["case"]), tuple(datasets))


def _measurements(decision: Decision) -> list[str]:
    return [r.measurement for r in decision.results if r.measurement is not None]


def _here(store: Store, id: str) -> Entry | None:
    """None for an entry of another ledger, and for a gap, which `headgate audit` names."""
    try:
        return store.get(id)
    except UsageError:
        return None


def _steps(store: Store, versions: tuple[str, ...]) -> Iterator[Ran | Composed]:
    """How each came about, in this order. What came from outside, or from another ledger, took no
    step that is on record here."""
    told = set()
    for version in versions:
        entry = store.get(version)
        made_by = entry.body["made_by"]
        maker = None if made_by is None else _here(store, made_by)
        if made_by is not None and (maker is None or maker.kind != "run"):
            continue
        if maker is not None and version in maker.body["z"].values():
            if maker.id not in told:
                told.add(maker.id)
                yield _ran(store, maker)
        elif entry.body["lineage"]:
            artifact = store.artifact(version)
            assert artifact is not None, "its entry was just read"
            yield Composed(entry.id, artifact, entry.recorded_at)


def _ran(store: Store, entry: Entry) -> Ran:
    run = Run(**{k: v for k, v in entry.body.items() if k != "key"})
    environment = json.loads(store.read(run.e)) if store.has(run.e) else None
    return Ran(entry.id, run, environment)


def _traces(store: Store, version: str) -> Iterator[Mapping[str, Any]]:
    for entry in store.entries("artifact"):
        if entry.body["kind"] == "traces" and version in entry.body["lineage"]:
            with store.path_of(entry.body["version"]).open("rb") as lines:
                yield from map(json.loads, lines)
