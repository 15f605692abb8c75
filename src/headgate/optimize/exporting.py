"""Writes a release of this store, with its evidence, into one file that another machine can serve.

What could not be promoted here is not exported: the decision accepts it, nothing of its evidence is
missing, and its own functions are those that it was judged with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headgate.engines.probe import read_profile
from headgate.errors import InputError, Refused
from headgate.ledger import Entry, Store
from headgate.ledger.archive import packed
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.excerpt import Excerpt
from headgate.ledger.signing import SigningKey
from headgate.objects import Contract, Decision, canonical, digest, digest_bytes, short
from headgate.optimize.audit import refuse_unaudited
from headgate.optimize.bundle import LIST, LIVE_SCHEMA, Contents, function_files, sealed
from headgate.optimize.golden import behaviour_of, golden_answers
from headgate.optimize.measure import build_inputs
from headgate.optimize.progress import Progress, Silent
from headgate.optimize.recorder import Recorder
from headgate.optimize.requalify import REQUALIFICATION
from headgate.runtime.decisions import decided, rule_of
from headgate.runtime.loading import own_functions
from headgate.runtime.servable import Servable, build_from_json

__all__ = ["Packed", "pack"]

_RULE, _USE = "rule", "holdout_use"


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle, and what is in it."""

    bundle: str
    """The digest of its signed list."""
    endpoint: str
    variant: str
    decision: str
    artifacts: int
    entries: int
    """Of the ledger, each with its proof."""
    checkpoint: Checkpoint
    key: str
    """The public key, as `headgate import --key` takes it."""
    chunks: Iterator[bytes]
    """The file."""


def pack(
    store: Store,
    entry: Entry,
    *,
    key: SigningKey,
    root: Path,
    watched: Sequence[Contract],
    price_per_s: float,
    now: datetime,
    progress: Progress | None = None,
) -> Packed:
    """What the decision of ``entry`` accepted, as a bundle that is signed with ``key``.

    ``root`` is where the endpoint's own functions are; ``watched`` and the ``price_per_s`` of this
    machine are what a server holds the release to. The golden set is answered, and the ledger
    signed, on the way; the same release gives the same bytes as long as nothing else is recorded.
    Raises ``Refused``: ``decision_not_accepted``, ``unauditable``, ``function_changed``,
    ``other_machine``; ``InputError``: ``not_servable``, ``not_ours``, ``no_golden_set``.
    """
    decision = _accepted(store, entry)
    variants = {v: _servable(store, v) for v in (decision.candidate, decision.current)}
    servable = variants[decision.candidate]
    for one in variants.values():
        own_functions(one, root)  # raises where the source is not what was judged
    _refuse_elsewhere(entry)
    refuse_unaudited(store, entry.id, decision, now=now)
    recorder = Recorder(
        store=store,
        endpoint=servable.endpoint,
        owner=_owner(store, decision.candidate),
        environment=str(entry.body["e"]),
        seed=int(entry.body["seed"]),
        root=root,
        on_start=(progress or Silent()).start,
    )
    golden = golden_answers(
        recorder, servable.build, behaviour_of(servable), _golden_items(store, servable)
    )
    live = store.put_bytes(canonical({"contracts": watched, "price_per_s": price_per_s}))
    recorder.register("live", live, kind="contracts", schema=LIVE_SCHEMA)
    audit = store.latest("audit", decision=entry.id)
    assert audit is not None, "it was just audited"
    versions = {live, *_versions(store, entry, variants), *_ends(store, golden.entry)}
    files = function_files(list(variants.values()), root)
    evidence = [audit, *_evidence(store, entry, decision, [golden.entry, *versions])]
    checkpoint = store.checkpoint(key)  # over all of it
    contents = Contents(
        endpoint=servable.endpoint,
        candidate=decision.candidate,
        current=decision.current,
        decision=entry.id,
        audit=audit.id,
        golden=golden.entry,
        live=live,
        artifacts={version: store.path_of(version).stat().st_size for version in versions},
        functions={
            name: (digest_bytes(content := file.read_bytes()), len(content))
            for name, file in files.items()
        },
        evidence=Excerpt.of(store, evidence, checkpoint),
    )
    written = sealed(contents, key)
    sources = {version: store.path_of(version) for version in versions}
    sources |= {version: files[name] for name, (version, _) in contents.functions.items()}
    return Packed(
        bundle=digest_bytes(written),
        endpoint=servable.endpoint,
        variant=decision.candidate,
        decision=entry.id,
        artifacts=len(versions),
        entries=len(contents.evidence.proved),
        checkpoint=checkpoint,
        key=str(key.public),
        chunks=packed((LIST, written), [(m, sources[m.version]) for m in contents.members]),
    )


def _accepted(store: Store, entry: Entry) -> Decision:
    decision = decided(store, entry)
    if not decision.accepted:
        raise Refused(
            f"the decision is {decision.action}: {decision.because}",
            where=f"decision {short(entry.id)}",
            reason="decision_not_accepted",
            fix="only a decision to accept (or warn) can be exported to be served",
        )
    return decision


def _servable(store: Store, version: str) -> Servable:
    artifact = store.artifact(version)
    if artifact is None or artifact.kind != "variant":
        raise InputError(
            "the decision is about a candidate that was not planned for serving",
            where=f"candidate {short(version)}",
            reason="not_servable",
            fix="give the decision on a variant: a report with a winner names it under its title",
        )
    servable = Servable.load(store, version)
    if servable.build.foreign:
        raise InputError(
            "a server that is not ours answers for it, and it has no model to take along",
            where=f"variant {servable.variant.name}",
            reason="not_ours",
            fix="give Headgate the model itself",
        )
    return servable


def _refuse_elsewhere(entry: Entry) -> None:
    """The golden set's answers must be those that were judged."""
    if digest(read_profile().environment) != entry.body["e"]:
        raise Refused(
            "this machine or its libraries are not those that it was judged on",
            where=f"decision {short(entry.id)}",
            reason="other_machine",
            fix="export it there, or judge it here: headgate optimize headgate.yaml",
        )


def _owner(store: Store, version: str) -> str:
    artifact = store.artifact(version)
    assert artifact is not None, "the caller looked"
    return artifact.owner


def _golden_items(store: Store, servable: Servable) -> str:
    """The items on which the build's batch-invariance class was measured."""
    for run in reversed(list(store.entries("run"))):
        if (
            run.body["transformation"] == "measure.batch_invariance"
            and build_from_json(run.body["c"]["build"]) == servable.build
        ):
            return str(run.body["u"]["items"])
    raise InputError(
        "no requests are on record that its batch invariance was measured on",
        where=f"variant {servable.variant.name}",
        reason="no_golden_set",
        fix="headgate optimize headgate.yaml",
    )


def _ends(store: Store, run: str) -> Iterator[str]:
    """What a run was given, and what it gave, but for models."""
    body = store.get(run).body
    yield from (body["u"]["items"], *body["z"].values())


def _versions(store: Store, entry: Entry, variants: Mapping[str, Servable]) -> Iterator[str]:
    """The decision with its raw samples; the variants, all that they serve with, their terms."""
    yield from (entry.body["e"], entry.body["u"]["case"], entry.body["z"]["decision"])
    for version, servable in variants.items():
        artifact = store.artifact(version)
        assert artifact is not None, "the caller looked"
        yield from (version, *artifact.lineage, *build_inputs(servable.build).values())


def _evidence(
    store: Store, entry: Entry, decision: Decision, starts: Sequence[str]
) -> Iterator[Entry]:
    """Every entry that the decision, and what is in the bundle, stands on."""
    measured = [r.measurement for r in decision.results if r.measurement is not None]
    for shown in store.entries(REQUALIFICATION):  # where it was imported itself
        if shown.body["variant"] == decision.candidate:
            measured += shown.body["measurements"]
            yield shown
    yield from store.evidence_of([entry.id, *measured, *starts])
    # Every look at the data that it was certified on, and by which rule: whoever imports it sees
    # how many there were, and what was changed since the first.
    dataset = rule_of(store, entry).dataset
    uses = [e for e in store.entries(_USE) if e.body["dataset"] == dataset and e.seq < entry.seq]
    rules = {decision.rule, *(use.body["rule"] for use in uses)}
    yield from (e for e in store.entries(_RULE) if e.body["digest"] in rules and e.seq < entry.seq)
    yield from uses
    yield from (e for e in store.entries("release") if e.body["decision"] == entry.id)
