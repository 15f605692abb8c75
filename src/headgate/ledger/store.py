"""The store: one directory with the ledger and the artifacts, and the one interface to both.

Everything that is recorded goes through :class:`Store`, so that another database can stand behind
it. Knows of artifacts, runs and releases; every other kind of entry is a body to it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from headgate.errors import InputError, Refused, Tampered, UsageError
from headgate.ledger import releases
from headgate.ledger.blobs import Blobs
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.entry import Entry, utc_now
from headgate.ledger.faults import explained_disk_errors
from headgate.ledger.gaps import Gap, find_evidence, find_gaps, find_objects
from headgate.ledger.lock import exclusive
from headgate.ledger.log import Log
from headgate.ledger.memory import Memory
from headgate.ledger.merkle import consistency_proof, inclusion_proof
from headgate.ledger.signed import check_signed, sign
from headgate.ledger.signing import PublicKey, SigningKey
from headgate.ledger.sqlite import SqliteLog
from headgate.ledger.verify import Finding, VerifyReport, refuse_damaged, verify
from headgate.objects import Artifact, Release, Run, canonical, digest, jsonable, short

__all__ = ["Store"]

_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_CANDIDATES = 8


class Store:
    """A ``.headgate`` directory. Safe to share between threads; processes each open their own."""

    def __init__(self, root: Path, log: Log, blobs: Blobs) -> None:
        self.root = root
        self._log = log
        self._blobs = blobs

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Store:
        """Open the store at ``root``, making it where ``create`` and there is none.

        Raises ``InputError`` where there is none, one of a newer format, or a file in its place;
        ``Tampered`` where the ledger is damaged; ``Fault`` where the disk refuses.
        """
        if root.exists() and not root.is_dir():
            raise InputError(
                "is a file, and a store is a directory",
                where=str(root),
                fix="move the file away, or name another store with --store",
                reason="store_in_the_way",
            )
        if create:
            with explained_disk_errors(root, "make the store"):
                root.mkdir(parents=True, exist_ok=True)
        log = SqliteLog.open(root / "ledger.sqlite", may_create=create)
        blobs = Blobs(root / "artifacts")
        try:
            blobs.create()
        except BaseException:
            log.close()
            raise
        return cls(root, log, blobs)

    def close(self) -> None:
        """Close the ledger; nothing is pending."""
        self._blobs.close()
        self._log.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Content

    def put_bytes(self, content: bytes) -> str:
        """Keep ``content``; its version (``sha256:...``). Raises ``Fault`` where it cannot."""
        return self._blobs.put_bytes(content)

    def put_file(self, path: Path) -> str:
        """Keep the content of the file at ``path``; its version.

        Raises ``InputError`` where the file cannot be read, ``Fault`` where it cannot be kept.
        """
        return self._blobs.put_file(path)

    def put_chunks(self, version: str, chunks: Iterable[bytes]) -> None:
        """Keep what ``chunks`` give, which must come to ``version``.

        Raises ``Tampered`` where it is something else, ``Fault`` where it cannot; nothing is kept
        then.
        """
        self._blobs.put_chunks(version, chunks)

    def read(self, version: str) -> bytes:
        """The content of ``version``, verified; raises ``InputError`` or ``Tampered``."""
        return self._blobs.read(version)

    def path_of(self, version: str) -> Path:
        """A file with the content of ``version``, verified once; never write to it.

        Raises ``InputError`` where it is missing, ``Tampered`` where the content differs.
        """
        return self._blobs.path_of(version)

    def has(self, version: str) -> bool:
        """Whether the content of ``version`` is here; it is not looked at."""
        return self._blobs.has(version)

    # Entries

    def append(self, kind: str, body: object, *, recorded_at: str | None = None) -> Entry:
        """Record ``body`` (a mapping or a dataclass); durable when this returns."""
        with self._log.transaction():
            return self._log.append(kind, body, recorded_at or utc_now())

    def append_all(self, items: Sequence[tuple[str, object]]) -> list[Entry]:
        """Record every (kind, body), all of them or none."""
        now = utc_now()
        with self._log.transaction():
            return [self._log.append(kind, body, now) for kind, body in items]

    def get(self, id_or_prefix: str) -> Entry:
        """The entry with this id, or the newest that registers this artifact version.

        At least 4 hex digits are enough where they are unique, with or without ``sha256:``.
        Raises ``UsageError`` (reasons ``malformed_id``, ``unknown_id``, ``ambiguous_id``).
        """
        digits = id_or_prefix.removeprefix("sha256:").lower()
        if not _PREFIX.fullmatch(digits):
            raise UsageError(
                f"{id_or_prefix!r} is not an id",
                fix="an id is 4 to 64 hex digits, as a report or `headgate history` shows them",
                reason="malformed_id",
            )
        found = dict(self._log.called(f"sha256:{digits}"))
        if not found:
            raise UsageError(
                f"nothing here has an id that begins with {digits}",
                where=str(self.root),
                fix="take an id from a report or from `headgate history`",
                reason="unknown_id",
            )
        if len({entry.id for entry in found.values()}) > 1:
            names = [f"{short(d)} ({_name(entry)})" for d, entry in sorted(found.items())]
            more = ", ..." if len(names) > _CANDIDATES else ""
            raise UsageError(
                f"{digits} begins {len(names)} ids: {', '.join(names[:_CANDIDATES])}{more}",
                where=str(self.root),
                fix="write more digits",
                reason="ambiguous_id",
            )
        return next(iter(found.values()))

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """All entries, or those of one kind, oldest first; raises ``Tampered`` at a changed one."""
        return self._log.select(kind)

    def latest(self, kind: str, **body_equals: object) -> Entry | None:
        """The newest entry of ``kind`` whose body has these values."""
        wanted = {key: jsonable(value) for key, value in body_equals.items()}
        for entry in self._log.select(kind, newest_first=True):
            if all(key in entry.body and entry.body[key] == wanted[key] for key in wanted):
                return entry
        return None

    # Artifacts and runs

    def register(self, artifact: Artifact) -> Entry:
        """Record ``artifact``, whose content must be here, unless the newest entry with its id and
        version has its lineage and its standard too.

        Raises ``Refused`` (reason ``artifact_missing``) where the content is not here.
        """
        with self._blobs.used(), self._log.transaction():
            self._require(artifact.version, f"artifact {artifact.id}")
            for entry in self._artifacts("version", artifact.version, newest_first=True):
                known = _artifact(entry.body)
                if known.id == artifact.id:
                    if (known.lineage, known.standard) == (artifact.lineage, artifact.standard):
                        return entry
                    break  # it was registered otherwise since, and the newest is what counts
            return self._log.append("artifact", artifact, utc_now())

    def artifact(self, version_or_id: str) -> Artifact | None:
        """The newest artifact with this version or this id."""
        for key in ("version", "id"):
            for entry in self._artifacts(key, version_or_id, newest_first=True):
                return _artifact(entry.body)
        return None

    def record_run(self, run: Run) -> Entry:
        """Record ``run``, with the ``key`` by which ``find_run`` finds it."""
        key = _run_key(run.transformation, run.u, run.c, run.e, run.seed)
        return self.append("run", {**jsonable(run), "key": key})

    def find_run(
        self,
        *,
        transformation: str,
        u: Mapping[str, str],
        c: Mapping[str, object],
        e: str,
        seed: int,
    ) -> tuple[Entry, Run] | None:
        """The newest run of the same ``T(u; c, e)`` and seed whose outputs are all still here."""
        key = _run_key(transformation, u, c, e, seed)
        for entry in self._log.select("run", key=key, newest_first=True):
            if all(self.has(version) for version in entry.body["z"].values()):
                return entry, Run(**{k: v for k, v in entry.body.items() if k != "key"})
        return None

    # Releases

    def current(self, endpoint: str) -> Release | None:
        """What is current for ``endpoint``; None before generation 0."""
        return releases.current(self._log, endpoint)

    def history(self, endpoint: str) -> list[tuple[Entry, Release]]:
        """Every promotion and rollback of ``endpoint``, oldest first, without gaps."""
        return releases.history(self._log, endpoint)

    def promote(self, release: Release, *, expected_generation: int | None) -> Entry:
        """Make ``release`` current if the current generation is ``expected_generation``.

        ``None`` expects that there is no release yet. Exactly one of several writers wins. Raises
        ``Refused``: ``generation_moved``, ``generation_gap``, ``decision_missing``, or
        ``artifact_missing`` where the variant is not in the store.
        """
        with self._blobs.used():
            self._require(release.variant, "variant")
            return releases.promote(
                self._log, release, expected_generation=expected_generation, recorded_at=utc_now()
            )

    # The whole

    def uncollected(self) -> contextlib.AbstractContextManager[None]:
        """While inside, no content is collected: for whoever takes the store as it is now."""
        return self._blobs.used()

    def lock(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Hold the lock ``name`` in this store, or raise ``Busy`` (``locked``) at once."""
        directory = self.root / "locks"
        with explained_disk_errors(directory, f"lock {name}"):
            directory.mkdir(exist_ok=True)
        return exclusive(directory / f"{quote(name, safe='')}.lock", name)

    def checkpoint(self, key: SigningKey, *, fork: str | None = None) -> Checkpoint:
        """Sign all that is recorded, and record that; the last one where nothing came after it.

        A key that is in a file remembers what it signed (``headgate.ledger.memory``), and this must
        go on from there. ``fork`` says why it does not and is to be signed all the same: that goes
        on record, and begins a history with an origin of its own.

        Raises ``UsageError`` (``ledger_empty``); ``Tampered`` where this is another history than
        the one that was signed before: whoever signs both vouches for a forgery; ``Refused``
        (``ledger_copied``) for a copy; and what is wrong with the memory.
        """
        return sign(self._log, self.root, key, fork=fork)

    def check_signed(self, memory: Memory | None, *, copies: bool = True) -> Checkpoint | None:
        """What the signer remembers of this ledger, which goes on from it; None where it remembers
        nothing, and for a copy, of which nothing was signed.

        Raises ``Tampered`` where this is not what was signed, by that signer or by whoever made its
        last checkpoint; without ``copies``, ``Refused`` (``ledger_copied``) for a copy; and what is
        wrong with the memory.
        """
        return check_signed(self._log, self.root, memory, copies=copies)

    def prove(self, entry: Entry, size: int) -> list[bytes]:
        """What shows whoever holds a checkpoint of ``size``, and no store, that ``entry`` is there.

        ``merkle.is_included`` looks at it.
        """
        return inclusion_proof(entry.seq - 1, size, self._log.subtree)

    def prove_growth(self, old: int, size: int) -> list[bytes]:
        """What shows that the checkpoint of ``size`` entries goes on from that of ``old``.

        ``merkle.is_consistent`` looks at it.
        """
        return consistency_proof(old, size, self._log.subtree)

    def verify(
        self,
        *,
        keys: Sequence[PublicKey] = (),
        kept: Checkpoint | None = None,
        memory: Memory | None = None,
    ) -> VerifyReport:
        """Hash everything again and say what does not match (``headgate.ledger.verify``).

        With ``memory`` also what the signer remembers; raises what is wrong with that.
        """
        report = verify(self._log, self._blobs, keys=keys, kept=kept)
        if memory is None:
            return report
        try:
            known = self.check_signed(memory)
        except Tampered as error:
            finding = Finding("not_what_was_signed", error.what)
            return replace(report, findings=(*report.findings, finding))
        return replace(report, remembered=0 if known is None else known.size)

    def collect(self, memory: Memory | None = None) -> tuple[int, int]:
        """Remove content that no entry names; (files, bytes) that were removed.

        What an entry names anywhere in its body stays, and what that content names in turn. Raises
        ``Busy`` where another has put content in and may not have recorded it yet; ``Tampered``
        where entries were changed or are gone, or are not what the signer remembers: what they
        named is not known.
        """

        def named() -> Iterator[bytes]:
            self.check_signed(memory)
            refuse_damaged(self._log, self.root)
            return (canonical(entry.body) for entry in self._log.select())

        return self._blobs.collect(named)

    def gaps(self, starts: Sequence[str] | None = None) -> tuple[Gap, ...]:
        """What is missing from the evidence of ``starts`` (artifact versions, entry ids) and of all
        that they stand on; None is everything here."""
        return find_gaps(self._log, starts)

    def stands_on(self, starts: Sequence[str]) -> tuple[str, ...]:
        """The versions of all artifacts that ``starts`` (likewise) come from, measurements and
        decisions included, and of those among them; oldest first."""
        return find_objects(self._log, starts)

    def evidence_of(self, starts: Sequence[str]) -> list[Entry]:
        """The entries of ``starts`` (likewise) and of all that they stand on, oldest first: runs
        and measurements, and of each artifact the one that registered it last."""
        return [self.get(id_) for id_ in find_evidence(self._log, starts)]

    def size_bytes(self) -> int:
        """Bytes of all files of the store."""
        total = 0
        for path in self.root.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a writer's temporary file comes and goes
                if path.is_file():
                    total += path.stat().st_size
        return total

    def _artifacts(self, key: str, value: str, *, newest_first: bool = False) -> Iterator[Entry]:
        return self._log.select("artifact", newest_first=newest_first, **{key: value})

    def _require(self, version: str, role: str) -> None:
        if not self.has(version):
            raise Refused(
                f"the content of {role} ({version}) is not in the store",
                where=str(self.root),
                fix="keep the content first (put_bytes, put_file), then record it",
                reason="artifact_missing",
            )


def _artifact(body: Mapping[str, Any]) -> Artifact:
    return Artifact(**{**body, "lineage": tuple(body["lineage"])})


def _name(entry: Entry) -> str:
    return f"{entry.kind} {entry.body['id']}" if entry.kind == "artifact" else entry.kind


def _run_key(
    transformation: str, u: Mapping[str, str], c: Mapping[str, object], e: str, seed: int
) -> str:
    return digest({"transformation": transformation, "u": u, "c": c, "e": e, "seed": seed})
