"""Takes a bundle in: whether this machine may serve what another judged, and then it is current.

Four steps, each of which leaves the store as it was or goes on where it was left: what the bundle
asks of the store is looked at before anything is written; its contents are kept, and an ``import``
entry names them with where they come from; the machine is found fit, or not, on the golden set; and
the decision is calculated again from its raw samples and promoted. What a decision says of latency
and cost it says of the machine that it was made on: those promises are watched here, and not judged
again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import headgate
from headgate.config import source_digest
from headgate.engines.probe import read_profile
from headgate.errors import Refused, Undecided
from headgate.ledger import Store, hold, hold_release
from headgate.ledger.disk import sync_directory
from headgate.ledger.faults import explained_disk_errors
from headgate.objects import (
    Artifact,
    Axis,
    Release,
    Verdict,
    digest_bytes,
    jsonable,
    short,
)
from headgate.optimize.audit import refuse_unaudited
from headgate.optimize.bundle import Bundle, Contents, function_files, listed
from headgate.optimize.gate import gate
from headgate.optimize.progress import Progress, Silent
from headgate.optimize.recertify import imported_certificate
from headgate.optimize.recorder import Recorder
from headgate.optimize.requalify import (
    REQUALIFICATION,
    Requalified,
    recorder_on,
    requalify,
)
from headgate.quantization.certificate import Golden
from headgate.release import INDEX, index_for, next_release
from headgate.runtime import target

__all__ = ["Imported", "import_bundle"]

_IMPORT = "import"
_NOWHERE = "still to be proved"


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a bundle."""

    endpoint: str
    generation: int
    variant: str
    name: str
    already: bool
    """It was current before, and nothing is recorded."""
    entry: str
    """The ``import`` entry; empty where it was current before."""
    origin: str
    """The ledger that it comes from."""
    signer: str
    judged_on: Mapping[str, Any]
    """The machine that it was judged on, as its profile has it."""
    here: Mapping[str, Any]
    """This one."""
    requalified: Requalified | None
    not_judged_here: tuple[str, ...]
    """Promises on latency and cost, in words, as the other machine kept them."""
    watched: tuple[str, ...]
    """Metrics that a server watches."""


def import_bundle(
    bundle: Bundle,
    store_root: Path,
    *,
    root: Path,
    progress: Progress | None = None,
) -> Imported:
    """Makes current what ``bundle`` holds, if this machine answers as the one that judged it.

    ``root`` is where the endpoint's own functions are put. Raises ``Refused``, with the store as it
    was: ``other_history``, ``function_differs``, and those of ``next_release``; with the evidence
    on record: ``not_requalified``, ``decision_differs``, ``rollback_target_unusable``,
    ``unauditable``; ``Undecided`` (``not_requalified``) where the golden set took too long.
    """
    contents, already = bundle.contents, None
    if (store_root / "ledger.sqlite").exists():
        with Store.open(store_root) as store:
            _refuse_other_history(store, contents)
            current = store.current(contents.endpoint)
            if current is not None and current.variant == contents.candidate:
                already = current
            else:
                _following(store, bundle)
    _refuse_other_functions(contents, root)
    with tempfile.TemporaryDirectory(prefix="headgate-") as name:
        staged = Path(name)  # nothing of it is beside the store before it is found fit
        _write_functions(bundle, staged)
        _refuse_other_source(bundle, staged)
        if already is not None:
            _write_functions(bundle, root)  # where somebody removed one
            return _imported(bundle, already, "", None)
        with Store.open(store_root, create=True) as store:
            return _take(store, bundle, root, staged, progress or Silent())


def _take(store: Store, bundle: Bundle, root: Path, staged: Path, progress: Progress) -> Imported:
    contents = bundle.contents
    progress.start("keep", f"{len(contents.artifacts)} artifacts")
    for version in contents.artifacts:
        store.put_chunks(version, bundle.chunks(version))
    entry = _record(store, bundle)
    recorder = _recorder(store, bundle, staged, progress)
    requalified = _requalify(recorder, bundle)
    shown = _show(store, bundle, entry, recorder.environment, requalified)
    _refuse_unfit(requalified, bundle)
    decided = _decided_again(recorder, bundle)
    _certify(recorder, bundle, requalified, decided=decided, requalification=shown)
    progress.start("prove", "the way back")
    proof = target.prove_target(store, contents.current, staged)
    refuse_unaudited(store, decided, bundle.decision, now=datetime.now(UTC))
    _refuse_other_functions(contents, root)  # somebody may have written there meanwhile
    _write_functions(bundle, root)
    _refuse_beside(bundle, root)
    release = _promote(store, bundle, decided, proof, {"import": entry, "requalified": shown})
    return _imported(bundle, release, entry, requalified)


def _imported(
    bundle: Bundle, release: Release, entry: str, requalified: Requalified | None
) -> Imported:
    contents = bundle.contents
    results = bundle.decision.results
    return Imported(
        endpoint=contents.endpoint,
        generation=release.generation,
        variant=release.variant,
        name=bundle.servable.variant.name,
        already=not entry,
        entry=entry,
        origin=contents.evidence.checkpoint.origin,
        signer=bundle.signer,
        judged_on=bundle.value(contents.entry("decision").body["e"]),
        here=read_profile().environment,
        requalified=requalified,
        not_judged_here=tuple(
            r.contract.describe() for r in results if r.contract.axis in (Axis.LATENCY, Axis.COST)
        ),
        watched=tuple(c["metric"] for c in bundle.value(contents.live)["contracts"]),
    )


def _following(
    store: Store,
    bundle: Bundle,
    *,
    decided: str = "",
    proof: str = _NOWHERE,
    extra: Mapping[str, str] | None = None,
) -> tuple[Release, Release]:
    """What is current, or is to be first; and the release that may follow it, or ``Refused``."""
    decision = bundle.decision
    endpoint = bundle.contents.endpoint
    before = bundle.current.build
    current = store.current(endpoint) or Release(
        endpoint,
        0,
        decision.current,
        None,
        "what it was judged against",
        extra=index_for(before),
    )
    index = index_for(bundle.servable.build, before=before, kept=current.extra.get(INDEX))
    following = next_release(
        current,
        decision,
        endpoint=endpoint,
        variant=decision.candidate,
        expected_generation=current.generation,
        decision_entry=decided,
        target_proof=proof,
        note=decision.because,
        extra={**(extra or {}), **index},
    )
    return current, following


def _promote(
    store: Store, bundle: Bundle, decided: str, proof: str, extra: Mapping[str, str]
) -> Release:
    current, following = _following(store, bundle, decided=decided, proof=proof, extra=extra)
    if store.current(bundle.contents.endpoint) is None:
        hold_release(store, current, expected_generation=None)
    hold_release(store, following, expected_generation=current.generation)
    return following


def _refuse_other_history(store: Store, contents: Contents) -> None:
    """A ledger that tells another history than it did when something was last taken from it."""
    evidence = contents.evidence
    origin = evidence.checkpoint.origin
    for entry in store.entries(_IMPORT):
        if entry.body["endpoint"] != contents.endpoint or entry.body["origin"] != origin:
            continue
        held = listed(store.read(entry.body["envelope"]), str(store.root)).evidence
        if not evidence.goes_on_from(held):
            raise Refused(
                f"the ledger {origin} is not the one that was imported from on "
                f"{entry.recorded_at}: {held.checkpoint.size} entries of it were written anew, or "
                "are gone",
                where=f"import {short(entry.id)}",
                reason="other_history",
                fix="ask whoever signed both; `headgate verify` there shows which is damaged",
            )


def _refuse_other_functions(contents: Contents, root: Path) -> None:
    for name, (version, _) in contents.functions.items():
        path = root / name
        leads_away = path.is_symlink() or not path.resolve().is_relative_to(root.resolve())
        if leads_away or (path.exists() and _digest_of(path) != version):
            raise Refused(
                "is there, and is not the file that the release was judged with",
                where=str(path),
                reason="function_differs",
                fix="import it into a directory of its own",
            )


def _refuse_other_source(bundle: Bundle, staged: Path) -> None:
    """The functions that travel must be those that were judged, and no more; none is run yet."""
    changed = _changed_source(bundle, staged)
    needed = function_files([bundle.servable, bundle.current], staged)
    more = sorted(bundle.contents.functions.keys() - needed.keys())
    if changed is not None or more:
        raise Refused(
            f"the source of {changed} in it is not what its release was judged with"
            if changed is not None
            else f"{', '.join(more)} in it is no source of its release",
            where=f"bundle {short(bundle.version)}",
            reason="function_changed",
            fix="do not use it, and ask whoever signed it how it was made",
        )


def _refuse_beside(bundle: Bundle, root: Path) -> None:
    """What a function would import here must be what it imported where it was judged."""
    changed = _changed_source(bundle, root)
    if changed is not None:
        raise Refused(
            f"{changed} would import other files here than where it was judged",
            where=str(root),
            reason="function_differs",
            fix="import it into a directory of its own",
        )


def _changed_source(bundle: Bundle, root: Path) -> str | None:
    """A function whose source in ``root`` is not what was judged."""
    for servable in (bundle.servable, bundle.current):
        for spec, judged in (
            (servable.preprocess, servable.build.preprocess),
            (servable.postprocess, servable.build.postprocess),
        ):
            if spec is not None and source_digest(spec, root) != judged:
                return spec
    return None


def _digest_of(path: Path) -> str:
    return digest_bytes(path.read_bytes()) if path.is_file() else ""


def _write_functions(bundle: Bundle, root: Path) -> None:
    """Each whole or not at all, for good, and never over a file that is another."""
    for name in bundle.contents.functions:
        path = root / name
        if path.exists():
            continue
        content = bundle.source(name)
        with explained_disk_errors(path, "write the endpoint's own functions"):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fchmod(descriptor, 0o644)
                    os.fsync(descriptor)
                Path(unfinished).replace(path)
                sync_directory(path.parent)
            except BaseException:
                Path(unfinished).unlink(missing_ok=True)
                raise


def _record(store: Store, bundle: Bundle) -> str:
    """The ``import`` entry, and every artifact under it; what is recorded already stays."""
    contents = bundle.contents
    checkpoint = contents.evidence.checkpoint
    envelope = store.put_bytes(bundle.envelope)
    body = {
        "endpoint": contents.endpoint,
        "envelope": envelope,
        "origin": checkpoint.origin,
        "checkpoint": str(checkpoint),
        "signer": bundle.signer,
        "decision": contents.decision,
        "variant": contents.candidate,
        "current": contents.current,
        "made_with": bundle.made_with,
    }
    known = store.latest(_IMPORT, envelope=envelope)
    entry = (known or store.append(_IMPORT, body)).id
    hold(
        store,
        Artifact(
            id=f"{contents.endpoint}/bundle",
            version=envelope,
            kind="bundle",
            schema="json DSSE of the list of a bundle",
            owner=contents.artifact(contents.candidate).owner,
            size_bytes=len(bundle.envelope),
            made_by=entry,
        ),
    )
    for version in contents.artifacts:
        artifact = contents.artifact(version)
        newest = store.artifact(artifact.id)
        if newest is None or newest.version != version:
            # What it was made from stands in the evidence; here it came by the import.
            here = tuple(v for v in artifact.lineage if v in contents.artifacts)
            hold(store, replace(artifact, lineage=here, made_by=entry, standard=None))
    return entry


def _recorder(store: Store, bundle: Bundle, root: Path, progress: Progress) -> Recorder:
    return recorder_on(
        read_profile(),
        store,
        endpoint=bundle.contents.endpoint,
        owner=bundle.contents.artifact(bundle.contents.candidate).owner,
        seed=int(bundle.contents.entry("decision").body["seed"]),
        root=root,
        progress=progress,
    )


def _requalify(recorder: Recorder, bundle: Bundle) -> Requalified:
    golden = bundle.contents.entry("golden").body
    return requalify(
        recorder,
        bundle.servable,
        bundle.contents.candidate,
        bundle.decision,
        items=golden["u"]["items"],
        recorded=bundle.value(golden["z"]["answers"]),
    )


def _show(
    store: Store, bundle: Bundle, entry: str, environment: str, requalified: Requalified
) -> str:
    """The entry of what was found; the one that is there where nothing about it is new."""
    body = {
        "import": entry,
        "endpoint": bundle.contents.endpoint,
        "variant": bundle.contents.candidate,
        "build": bundle.servable.build.version,
        "e": environment,
        "judged_in": bundle.contents.entry("decision").body["e"],
        **jsonable(requalified),
    }
    known = store.latest(REQUALIFICATION, **{"import": entry})
    if known is not None and known.body == jsonable(body):
        return known.id
    return store.append(REQUALIFICATION, body).id


def _refuse_unfit(requalified: Requalified, bundle: Bundle) -> None:
    where = f"{bundle.contents.endpoint}: {bundle.servable.variant.name} on this machine"
    if requalified.verdict is Verdict.FAIL:
        raise Refused(
            requalified.because,
            where=where,
            reason="not_requalified",
            fix="serve it on a machine like the one that judged it (`headgate doctor` says what "
            "this one is), or judge it on one like this",
        )
    if requalified.verdict is not Verdict.PASS:
        raise Undecided(
            requalified.because,
            where=where,
            reason="not_requalified",
            fix="import it again while the machine is quiet, or on a faster one",
        )


def _certify(
    recorder: Recorder,
    bundle: Bundle,
    requalified: Requalified,
    *,
    decided: str,
    requalification: str,
) -> None:
    """What is held to it from now on is what the machine answered that judged it."""
    golden = bundle.contents.entry("golden").body
    imported_certificate(
        recorder.store,
        bundle.servable,
        requalified,
        here=read_profile(),
        owner=recorder.owner,
        seed=recorder.seed,
        golden=Golden(golden["u"]["items"], golden["z"]["answers"]),
        decision=decided,
        requalification=requalification,
        judged_on=bundle.value(bundle.contents.entry("decision").body["e"]),
    )


def _decided_again(recorder: Recorder, bundle: Bundle) -> str:
    """The entry of the same decision, calculated here from its raw samples."""
    judged = bundle.contents.entry("decision").body
    run = recorder.run(gate, u={"case": judged["u"]["case"]}, c={}, detail="from its raw samples")
    if run.outputs["decision"] != judged["z"]["decision"]:
        raise Refused(
            "calculated from its raw samples, the decision comes out otherwise",
            where=f"decision {short(bundle.contents.decision)}",
            reason="decision_differs",
            fix=f"it was made with Headgate {bundle.made_with}; this is {headgate.__version__}",
        )
    return run.entry
