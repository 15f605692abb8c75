"""Whether the store still is what was written: offline, from the bytes, trusting no summary.

Finds every change of an entry, missing or reordered entries, and content that is gone or differs.
That somebody wrote all of it anew, hashes and all, shows by the signatures of its checkpoints,
which take a key that is not in the store; that the end was cut off, by a checkpoint that was kept
elsewhere, be it by whoever signs (``headgate.ledger.memory``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.errors import InputError, Tampered
from headgate.ledger.blobs import Blobs, is_version
from headgate.ledger.checkpoint import Checkpoint, origin_of
from headgate.ledger.entry import Row, hash_row, leaf_of
from headgate.ledger.log import Log
from headgate.ledger.merkle import Edge
from headgate.ledger.signing import PublicKey
from headgate.objects import short

__all__ = ["Finding", "VerifyReport", "refuse_damaged", "unreadable", "verify"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    reason: str
    """For machines: database_damaged, guard_missing, seq_gap, tree_broken, entry_changed,
    entry_malformed, end_missing, parent_missing, artifact_missing, artifact_changed,
    generation_gap, checkpoint_broken, signer_unknown, unsigned, kept_elsewhere_differs,
    not_what_was_signed."""
    what: str
    entry: str | None = None
    """The entry that it was found at, where there is one."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was looked at and what was found."""

    entries: int
    artifacts: int
    """Distinct artifact versions that entries refer to."""
    root: str
    """The root of the Merkle tree of all entries."""
    signed: int
    """How many entries the last checkpoint covers that was checked; 0 where there is none."""
    unsigned: int
    """How many came after it, itself aside."""
    signers: tuple[str, ...]
    """Who signed checkpoints, ``headgate+1a2b3c4d``; proved only where a key was given."""
    forks: tuple[str, ...]
    """Entries at which somebody said that another history begins; each says why."""
    findings: tuple[Finding, ...]
    remembered: int = 0
    """How many entries the signer remembers, and they are these; 0 where it does not know them."""

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(
    log: Log, blobs: Blobs, *, keys: Sequence[PublicKey] = (), kept: Checkpoint | None = None
) -> VerifyReport:
    """Hash all entries again, and the content of every artifact that they refer to.

    With ``keys`` every checkpoint must be signed by one of them, and there must be one. The ledger
    must begin with what ``kept`` covers.
    """
    looked = _Entries(keys, kept)
    findings = list(looked.at_all(log))
    blobs.forget()
    for version, (entry_id, role) in looked.referenced.items():
        if not blobs.has(version):
            what = f"{role} {short(version)} is not in the store"
            findings.append(Finding("artifact_missing", what, entry_id))
        elif not blobs.intact(version):
            what = f"the content of {role} {short(version)} does not match its digest"
            findings.append(Finding("artifact_changed", what, entry_id))
    return VerifyReport(
        looked.count,
        len(looked.referenced),
        f"sha256:{looked.edge.root().hex()}",
        looked.signed,
        looked.unsigned,
        tuple(looked.signers),
        tuple(looked.forks),
        tuple(findings),
    )


def unreadable(error: Tampered) -> VerifyReport:
    """What is to be said of a ledger that could not even be opened, which raised ``error``."""
    finding = Finding("database_damaged", error.what)
    return VerifyReport(0, 0, f"sha256:{Edge(0, []).root().hex()}", 0, 0, (), (), (finding,))


def refuse_damaged(log: Log, store: Path) -> None:
    """Raises ``Tampered`` where an entry was changed or is missing; content is not looked at."""
    for finding in _Entries((), None).at_all(log):
        raise Tampered(
            finding.what,
            where=str(store),
            fix="restore the ledger from a backup; `headgate verify` lists what is damaged",
        )


class _Entries:
    """What the entries come to, one after the other."""

    def __init__(self, keys: Sequence[PublicKey], kept: Checkpoint | None) -> None:
        self.count = self.seq = self.signed = self.unsigned = 0
        self.edge = Edge(0, [])
        self.signers: dict[str, None] = {}
        self.forks: list[str] = []
        self.referenced: dict[str, tuple[str, str]] = {}
        """Version -> the first entry that refers to it, and its role there."""
        self._keys, self._kept = keys, kept
        self._found: tuple[str, bytes] | None = None
        """Origin and root at the size of ``kept``."""
        self._origins: list[str] = []
        self._broken = False
        self._ids: set[str] = set()
        self._generations: dict[str, int] = {}

    def at_all(self, log: Log) -> Iterator[Finding]:
        """What is wrong with the entries of ``log``."""
        try:
            yield from (Finding(reason, what) for reason, what in log.damage())
            highest = log.highest_seq()
            for row in log.rows():
                yield from self._at(row)
            if self.seq < highest:
                what = f"the last entry is {self.seq}, but {highest} were written"
                yield Finding("end_missing", what)
        except Tampered as error:
            yield Finding("database_damaged", error.what)
        yield from self._at_the_end()

    def _at(self, row: Row) -> Iterator[Finding]:
        self.count += 1
        self.unsigned += 1
        if row.seq != self.seq + 1:
            gap = f"entry {self.seq + 1} is followed by {row.seq}"
            what = gap if self.seq else "entry 1 is missing"
            yield Finding("seq_gap", what, row.id)
        self.seq = row.seq
        value = _object(row.body)
        true_id = hash_row(row.seq, row.tree, row.kind, row.recorded_at, row.body)
        if true_id != row.id:
            yield Finding("entry_changed", f"entry {row.seq} does not match its own id", row.id)
        elif value is None:
            what = f"the body of entry {row.seq} is not a JSON object"
            yield Finding("entry_changed", what, row.id)
        value = value or {}
        yield from self._in_the_tree(row, true_id)
        if row.kind == "checkpoint":
            yield from self._checkpoint(row, value)
        for role, parent in _parents(row.kind, value):
            if parent not in self._ids:
                what = f"{role} {short(parent)} of entry {row.seq} is no earlier entry"
                yield Finding("parent_missing", what, row.id)
        self._ids.add(row.id)
        try:
            for role, version in _references(row.kind, value):
                self.referenced.setdefault(version, (row.id, role))
        except (TypeError, AttributeError):
            what = f"entry {row.seq} does not name what it stands on as a {row.kind} does"
            yield Finding("entry_malformed", what, row.id)
        if row.kind == "release":
            yield from _generation_gap(value, self._generations, row.id)

    def _in_the_tree(self, row: Row, true_id: str) -> Iterator[Finding]:
        """Whether it commits to all before it; said once, for nothing fits after the first."""
        tree = f"sha256:{self.edge.root().hex()}"
        if row.kind == "fork":
            self.forks.append(row.id)
        if row.kind == "fork" or not self._origins:
            self._origins.append(origin_of(row.id))
        if row.tree != tree and not self._broken:
            self._broken = True
            what = f"entry {row.seq} was written after other entries than those before it"
            yield Finding("tree_broken", what, row.id)
        try:
            leaf = leaf_of(row.id)
        except ValueError:
            leaf = leaf_of(true_id)
        if self.edge.add(leaf) != row.filled and not self._broken:
            self._broken = True
            what = f"the hashes of subtrees beside entry {row.seq} are not those of its tree"
            yield Finding("tree_broken", what, row.id)
        if self._kept is not None and self.edge.size == self._kept.size:
            self._found = (self._origins[-1], self.edge.root())

    def _checkpoint(self, row: Row, body: Mapping[str, Any]) -> Iterator[Finding]:
        try:
            found = Checkpoint.parse(str(body.get("note")))
        except InputError:
            yield Finding("checkpoint_broken", f"entry {row.seq} is no checkpoint", row.id)
            return
        tree = f"sha256:{found.root.hex()}"
        if (found.origin, found.size, tree) != (self._origins[-1], row.seq - 1, row.tree):
            what = f"the checkpoint in entry {row.seq} is of other entries than those before it"
            yield Finding("checkpoint_broken", what, row.id)
            return
        self.signers |= dict.fromkeys(s.signer for s in found.signatures)
        if not self._keys or any(found.signed_by(key) for key in self._keys):
            self.signed, self.unsigned = found.size, 0
            return
        signers = ", ".join(s.signer for s in found.signatures)
        what = f"the checkpoint in entry {row.seq}, of {signers}, is by no key that was given"
        yield Finding("signer_unknown", what, row.id)

    def _at_the_end(self) -> Iterator[Finding]:
        """What only the whole can show."""
        if self._keys and not self.signers:
            yield Finding("unsigned", "nothing here is signed, by the given keys or any other")
        kept = self._kept
        if kept is None:
            return
        if self._keys and not any(kept.signed_by(key) for key in self._keys):
            what = "the checkpoint that was kept elsewhere is by no key that was given"
            yield Finding("signer_unknown", what)
        if kept.origin not in self._origins:
            what = f"the checkpoint that was kept is of {kept.origin}; this is "
            what += ", ".join(self._origins) or "empty"
            yield Finding("kept_elsewhere_differs", what)
        elif self._found is None:
            what = f"{kept.size} entries were there when the kept checkpoint was made, "
            yield Finding("kept_elsewhere_differs", f"{what}and {self.count} are left")
        elif self._found != (kept.origin, kept.root):
            what = f"the first {kept.size} entries are not those of the checkpoint that was kept"
            yield Finding("kept_elsewhere_differs", what)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _references(kind: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(role, version) of the artifacts that an entry stands on."""
    named: list[tuple[str, object]] = [("standard", body.get("standard"))]
    match kind:
        case "artifact":
            named.append((f"artifact {body.get('id')}", body.get("version")))
            named += [("lineage", version) for version in body.get("lineage") or ()]
        case "run" | "failure":
            named += [(f"input {name}", v) for name, v in (body.get("u") or {}).items()]
            named += [(f"output {name}", v) for name, v in (body.get("z") or {}).items()]
        case "measurement":
            named += [(role, body.get(role)) for role in ("dataset", "samples")]
        case "admission":
            named.append(("data", body.get("data")))
        case "certificate":
            named.append(("certificate", body.get("certificate")))
        case "import":
            named += [(role, body.get(role)) for role in ("envelope", "variant", "current")]
        case "release" | "watch" | "incident":
            named.append(("variant", body.get("variant")))
    for role, version in named:
        if isinstance(version, str) and is_version(version):
            yield role, version


_PARENTS = {
    "artifact": ("made_by",),
    "audit": ("decision",),
    "certificate": ("decision", "requalification"),
    "measurement": ("run", "current_run"),
    "release": ("decision",),
    "requalification": ("import",),
    "drill": ("release",),
    "watch": ("release", "decision"),
    "incident": ("release", "decision", "watch"),
    "response": ("incident", "release", "run"),
    "recovery": ("incident", "release"),
}
"""Kind -> fields of its body that name an earlier entry, where they are there."""


def _parents(kind: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(role, id) of the entries that an entry stands on."""
    for role in _PARENTS.get(kind, ()):
        if body.get(role) is not None:
            yield role, str(body[role])


def _generation_gap(
    body: Mapping[str, Any], generations: dict[str, int], entry_id: str
) -> list[Finding]:
    endpoint, generation = str(body.get("endpoint")), body.get("generation")
    expected = generations.get(endpoint, -1) + 1
    generations[endpoint] = expected
    if generation == expected:
        return []
    what = f"{endpoint}: generation {expected} should be next, found {generation}"
    return [Finding("generation_gap", what, entry_id)]
