"""Whether the store still is what was written: offline, from the bytes, trusting no summary.

Finds every change of an entry, missing or reordered entries, and content that is gone or differs.
Does not find that the chain was written anew, hashes and all, from some entry to its end: compare
``head`` with one that was kept elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headgate.errors import Tampered
from headgate.ledger.blobs import Blobs, is_version
from headgate.ledger.chain import GUARDS, Chain
from headgate.ledger.entry import GENESIS, hash_row
from headgate.objects import short

__all__ = ["Finding", "VerifyReport", "verify"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    reason: str
    """For machines: database_damaged, guard_missing, seq_gap, chain_broken, entry_changed,
    end_missing, parent_missing, artifact_missing, artifact_changed, generation_gap."""
    what: str
    entry: str | None = None
    """The entry that it was found at, where there is one."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was looked at and what was found."""

    entries: int
    artifacts: int
    """Distinct artifact versions that entries refer to."""
    head: str
    """The id of the last entry: it commits to all of them."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings


def verify(chain: Chain, blobs: Blobs) -> VerifyReport:
    """Hash the whole chain again, and the content of every artifact that it refers to."""
    findings: list[Finding] = []
    highest = 0
    try:
        findings += [Finding("database_damaged", text) for text in chain.damage()]
        highest = chain.highest_seq()
        present = chain.guards()
        findings += [
            Finding("guard_missing", f"the trigger {name} is missing or was changed")
            for name, sql in GUARDS.items()
            if present.get(name) != sql
        ]
    except Tampered as error:
        findings.append(Finding("database_damaged", error.what))

    seq, head, count = 0, GENESIS, 0
    referenced: dict[str, tuple[str, str]] = {}  # version -> (first entry, its role there)
    generations: dict[str, int] = {}
    ids: set[str] = set()
    try:
        for found_seq, entry_id, previous, kind, recorded_at, body in chain.rows():
            count += 1
            if found_seq != seq + 1:
                what = (
                    f"entry {seq + 1} is followed by {found_seq}" if seq else "entry 1 is missing"
                )
                findings.append(Finding("seq_gap", what, entry_id))
            if previous != head:
                what = f"entry {found_seq} names {short(previous)} as the one before it, which is "
                findings.append(Finding("chain_broken", what + short(head), entry_id))
            value = _object(body)
            if hash_row(found_seq, previous, kind, recorded_at, body) != entry_id:
                what = f"entry {found_seq} does not match its own id"
                findings.append(Finding("entry_changed", what, entry_id))
            elif value is None:
                what = f"the body of entry {found_seq} is not a JSON object"
                findings.append(Finding("entry_changed", what, entry_id))
            seq, head = found_seq, entry_id
            for role, parent in _parents(kind, value or {}):
                if parent not in ids:
                    what = f"{role} {short(parent)} of entry {found_seq} is no earlier entry"
                    findings.append(Finding("parent_missing", what, entry_id))
            ids.add(entry_id)
            for role, version in _references(kind, value or {}):
                referenced.setdefault(version, (entry_id, role))
            if kind == "release":
                findings += _generation_gap(value or {}, generations, entry_id)
    except Tampered as error:
        findings.append(Finding("database_damaged", error.what))
    if seq < highest:
        what = f"the last entry is {seq}, but {highest} were written"
        findings.append(Finding("end_missing", what))

    blobs.forget()
    for version, (entry_id, role) in referenced.items():
        if not blobs.has(version):
            what = f"{role} {short(version)} is not in the store"
            findings.append(Finding("artifact_missing", what, entry_id))
        elif not blobs.intact(version):
            what = f"the content of {role} {short(version)} does not match its digest"
            findings.append(Finding("artifact_changed", what, entry_id))
    return VerifyReport(count, len(referenced), head, tuple(findings))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _references(kind: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(role, version) of the artifacts that an entry stands on."""
    named: list[tuple[str, object]] = []
    match kind:
        case "artifact":
            named.append((f"artifact {body.get('id')}", body.get("version")))
            named += [("lineage", version) for version in body.get("lineage") or ()]
        case "run" | "failure":
            named += [(f"input {name}", v) for name, v in (body.get("u") or {}).items()]
            named += [(f"output {name}", v) for name, v in (body.get("z") or {}).items()]
        case "measurement":
            named += [(role, body.get(role)) for role in ("dataset", "samples")]
        case "release" | "watch" | "incident":
            named.append(("variant", body.get("variant")))
    for role, version in named:
        if isinstance(version, str) and is_version(version):
            yield role, version


_PARENTS = {
    "artifact": ("made_by",),
    "measurement": ("run", "current_run"),
    "release": ("decision",),
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
