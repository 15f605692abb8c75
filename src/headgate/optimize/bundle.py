"""A release in one signed file: what it takes to serve it, and what shows that it may be served.

Beside the contents there is one list, in a signed envelope (DSSE): what is in the file by digest,
and, from the ledger that the release was decided in, every entry that the decision stands on, each
with the proof that it is under a signed checkpoint. Whoever reads it trusts a key and nothing else:
the list is checked against its signature before any of it is believed, every byte of the file
against the list before any is kept, and what the list says against the entries.
docs/decisions/0034-a-release-in-a-file.md says what is in it and what is not.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import headgate
from headgate.config import source_files
from headgate.errors import HeadgateError, InputError, Refused, Tampered
from headgate.ledger import Entry
from headgate.ledger.archive import ArchiveReader, Member
from headgate.ledger.blobs import is_version
from headgate.ledger.dsse import Envelope
from headgate.ledger.excerpt import Excerpt
from headgate.ledger.signing import PublicKey, SigningKey
from headgate.objects import Artifact, Decision, canonical, digest_bytes, parse, short
from headgate.optimize.golden import ANSWERS
from headgate.optimize.measure import build_inputs
from headgate.release import contract_from_json, decision_from_json
from headgate.runtime.decisions import is_decision
from headgate.runtime.servable import Servable

__all__ = [
    "FORMAT",
    "LIST",
    "LIVE_SCHEMA",
    "Bundle",
    "Contents",
    "function_files",
    "listed",
    "sealed",
]

FORMAT = 1
LIST = "bundle.json"
"""The first file in a bundle: the signed list."""
LIVE_SCHEMA = "json {contracts, price_per_s}"
"""How what is to be watched while serving is written."""

_TYPE = "application/vnd.headgate.bundle+json"
_MOST_LIST_BYTES = 1 << 26
_MOST_VALUE_BYTES = 1 << 28
"""Of what is read whole: a variant, a decision, the golden set."""
_FUNCTION_FILE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*/)*[A-Za-z_][A-Za-z0-9_]*\.py")
_MOST_NAME = 80


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a bundle, and what it shows."""

    endpoint: str
    candidate: str
    """The version of the variant that is to be served."""
    current: str
    """That which it was judged against, and which a rollback returns to."""
    decision: str
    """The entry that decided it; this and the other entries are in ``evidence``."""
    audit: str
    """The entry that says that nothing of its evidence is missing."""
    golden: str
    """The entry of the run that recorded the golden set's answers."""
    live: str
    """The version of what is to be watched while it is served."""
    artifacts: Mapping[str, int]
    """Version -> bytes."""
    functions: Mapping[str, tuple[str, int]]
    """File of the endpoint's own functions -> version, bytes."""
    evidence: Excerpt

    @property
    def members(self) -> list[Member]:
        """All files behind the list, in their order."""
        kept = [
            Member(f"artifacts/{version[7:9]}/{version[9:]}", size, version)
            for version, size in sorted(self.artifacts.items())
        ]
        own = [Member(f"functions/{n}", size, v) for n, (v, size) in sorted(self.functions.items())]
        return kept + own

    def artifact(self, version: str) -> Artifact:
        """As the ledger that it comes from registered it last; ``KeyError`` where it did not."""
        entry = self.evidence.registered(version)
        if entry is None:
            raise KeyError(f"no entry registers {short(version)}")
        return Artifact(**{**entry.body, "lineage": tuple(entry.body["lineage"])})

    def entry(self, role: str) -> Entry:
        """The entry ``decision``, ``audit`` or ``golden``; ``KeyError`` where it is not there."""
        entry = self.evidence.entry(getattr(self, role), "audit" if role == "audit" else "run")
        if entry is None:
            raise KeyError(f"the entry {role} is not in the evidence")
        return entry

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; ``from_json`` gives an equal value back."""
        texts = {name: getattr(self, name) for name in _TEXTS}
        return {
            "format": FORMAT,
            "headgate": headgate.__version__,
            **texts,
            "artifacts": dict(self.artifacts),
            "functions": {
                name: {"version": version, "size_bytes": size}
                for name, (version, size) in self.functions.items()
            },
            "evidence": self.evidence.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Contents:
        """What ``to_json`` wrote. Raises ``ValueError``, ``TypeError``, ``KeyError`` or
        ``AttributeError`` where it is something else, or names a file that may not be written."""
        functions = {
            name: (file["version"], file["size_bytes"]) for name, file in value["functions"].items()
        }
        for name in functions:
            if not _FUNCTION_FILE.fullmatch(name) or len(name) > _MOST_NAME:
                raise ValueError(f"{name!r} is no name for a file of functions")
        artifacts = dict(value["artifacts"].items())
        for version, size in (*artifacts.items(), *functions.values()):
            if not is_version(version) or type(size) is not int or size < 0:
                raise ValueError(f"{version!r} of {size!r} bytes is no content")
        texts = {name: value[name] for name in _TEXTS}
        if not all(isinstance(text, str) for text in texts.values()):
            raise TypeError("ids are texts")
        return cls(
            **texts,
            artifacts=artifacts,
            functions=functions,
            evidence=Excerpt.from_json(value["evidence"]),
        )


_TEXTS = ("endpoint", "candidate", "current", "decision", "audit", "golden", "live")


def sealed(contents: Contents, key: SigningKey) -> bytes:
    """The list as it is written."""
    return bytes(Envelope.signed(key, _TYPE, canonical(contents.to_json())))


def listed(written: bytes, where: str) -> Contents:
    """What a list says that was found right before. Raises ``InputError``."""
    return _listed(Envelope.parse(written, where).payload, where)[0]


def function_files(servables: Sequence[Servable], root: Path) -> dict[str, Path]:
    """The files of the endpoint's own steps in ``root``: name in a bundle -> file.

    Raises ``InputError`` where a file is missing, or has a name that cannot travel.
    """
    specs = {s for one in servables for s in (one.preprocess, one.postprocess) if s is not None}
    files = {
        path.relative_to(root).as_posix(): path for s in specs for path in source_files(s, root)
    }
    for name in files:
        if not _FUNCTION_FILE.fullmatch(name) or len(name) > _MOST_NAME:
            raise InputError(
                f"a file called {name!r} cannot travel in a bundle",
                where=str(root),
                fix="use letters, digits and underscores",
            )
    return files


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature, bytes and evidence were found right."""

    contents: Contents
    envelope: bytes
    """The signed list, byte for byte."""
    signer: str
    """The key, for people."""
    made_with: str
    """The version of Headgate that wrote it."""
    decision: Decision
    servable: Servable
    """What is to be served."""
    current: Servable
    """What it was judged against."""
    _archive: ArchiveReader

    @property
    def version(self) -> str:
        """The digest of the signed list, which stands for all that it lists."""
        return digest_bytes(self.envelope)

    def chunks(self, version: str) -> Iterator[bytes]:
        """The content of an artifact; look at its digest again as it comes."""
        return self._archive.chunks(version)

    def source(self, name: str) -> bytes:
        """A file of functions. Raises ``Tampered`` where it was changed since it was checked."""
        version, _ = self.contents.functions[name]
        return _content(self._archive, version)

    def value(self, version: str) -> Any:
        """The content of a small artifact, as JSON. Raises ``KeyError`` or ``ValueError``;
        ``Tampered`` where it was changed since it was checked."""
        return _value(self._archive, self.contents, version)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, keys: Sequence[PublicKey]) -> Iterator[Bundle]:
        """Reads the whole file and writes nothing.

        Raises ``InputError`` for what is no bundle (``bundle_malformed``) or one of another format
        (``bundle_format``), ``Refused`` where nobody of ``keys`` signed it (``signer_unknown``) or
        it may not be served (``decision_not_accepted``, ``unauditable``), and ``Tampered`` where it
        is not what was signed.
        """
        where = str(path)
        with ArchiveReader.open(path) as archive:
            written = archive.first(LIST, most_bytes=_MOST_LIST_BYTES)
            payload, signer = _opened(written, keys, where)
            contents, made_with = _listed(payload, where)
            contents.evidence.check(keys, where)
            archive.check(contents.members)
            try:
                decision, servable, current = _agreed(archive, contents, where)
            except InputError as error:  # a decision or a promise that is none
                raise _contradicts(error.what, where) from error
            except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
                raise _contradicts(str(error), where) from error
            yield cls(contents, written, signer, made_with, decision, servable, current, archive)


def _opened(written: bytes, keys: Sequence[PublicKey], where: str) -> tuple[bytes, str]:
    """What is signed, and who signed it."""
    try:
        envelope = Envelope.parse(written, where)
    except InputError as error:
        raise _malformed(error.what, where) from None
    for key in keys:
        if envelope.signed_by(key):
            break
    else:
        claimed = [key_id for key_id, _ in envelope.signatures]
        if any(key.signer in claimed for key in keys):
            raise Tampered(
                "its list is not what was signed",
                where=where,
                fix="copy it again from where it was exported",
            )
        raise Refused(
            f"it says that {', '.join(claimed)} signed it, and no key that was given did",
            where=where,
            reason="signer_unknown",
            fix="give the key of whoever exported it; `headgate checkpoint --json` prints it there",
        )
    # A reader of envelopes is lenient; a bundle is written in one way only.
    signed_once = [key_id for key_id, _ in envelope.signatures] == [key.signer]
    if bytes(envelope) != written or not signed_once or envelope.payload_type != _TYPE:
        raise _malformed("what was signed is no list of a bundle", where)
    return envelope.payload, key.signer


def _listed(payload: bytes, where: str) -> tuple[Contents, str]:
    try:
        value = json.loads(payload)
        found = value["format"]
        if found != FORMAT:
            older = isinstance(found, int) and found < FORMAT
            raise InputError(
                f"the bundle has format {found}; this Headgate reads format {FORMAT}",
                where=where,
                reason="bundle_format",
                fix="export it again with this version of Headgate"
                if older
                else "install the Headgate that wrote it: pip install --upgrade headgate",
            )
        return Contents.from_json(value), str(value["headgate"])
    except HeadgateError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _malformed(f"its list cannot be read: {error}", where) from error


def _agreed(
    archive: ArchiveReader, contents: Contents, where: str
) -> tuple[Decision, Servable, Servable]:
    """The decision and the two that it is about, once the evidence says so too."""
    decided, audit, golden = (contents.entry(role) for role in ("decision", "audit", "golden"))
    if not is_decision(decided) or golden.body["transformation"] != ANSWERS:
        raise ValueError("the decision or the golden set is of another kind")
    decision = decision_from_json(_value(archive, contents, decided.body["z"]["decision"]))
    servable, other = (
        Servable.from_json(_value(archive, contents, version))
        for version in (contents.candidate, contents.current)
    )
    if (decision.candidate, decision.current) != (contents.candidate, contents.current):
        raise ValueError("the decision is about other variants than those that are here")
    if (audit.body["decision"], servable.endpoint) != (decided.id, contents.endpoint):
        raise ValueError("the audit or the variant is of another decision or endpoint")
    asked = golden.body["u"]
    if asked != build_inputs(servable.build, items=asked["items"]):
        raise ValueError("the golden set's answers are those of another build")
    if golden.body["e"] != decided.body["e"]:
        raise ValueError("the golden set was answered on another machine than the decision's")
    for version in _needed(contents, servable, other):
        if version not in contents.artifacts:
            raise ValueError(f"{short(version)} is needed and is not in it")
    for version in contents.artifacts:
        name = contents.artifact(version).id
        if not name.startswith(f"{contents.endpoint}/"):
            raise ValueError(f"{name} is of another endpoint")
    _look_at_values(archive, contents)
    _refuse_unaccepted(decision, audit, where)
    return decision, servable, other


def _look_at_values(archive: ArchiveReader, contents: Contents) -> None:
    """Whether what is read later is what it must be. Raises as ``_agreed``."""
    golden = contents.entry("golden").body
    items, answers = (
        _value(archive, contents, version)
        for version in (golden["u"]["items"], golden["z"]["answers"])
    )
    if not isinstance(items, list) or not isinstance(answers, list):
        raise TypeError("the golden set or its answers are no lists")
    if not items or len(items) != len(answers):
        raise ValueError(f"the golden set has {len(items)} requests and {len(answers)} answers")
    live = _value(archive, contents, contents.live)
    for contract in live["contracts"]:
        contract_from_json(contract)
    float(live["price_per_s"])
    if not isinstance(_value(archive, contents, contents.entry("decision").body["e"]), dict):
        raise TypeError("the machine that judged is no profile")


def _needed(contents: Contents, *servables: Servable) -> Iterator[str]:
    decided, golden = contents.entry("decision").body, contents.entry("golden").body
    yield from (contents.candidate, contents.current, contents.live, decided["e"])
    yield from (decided["u"]["case"], golden["u"]["items"], golden["z"]["answers"])
    for servable in servables:
        yield from build_inputs(servable.build).values()


def _refuse_unaccepted(decision: Decision, audit: Entry, where: str) -> None:
    if not decision.accepted:
        raise Refused(
            f"the decision is {decision.action}: {decision.because}",
            where=where,
            reason="decision_not_accepted",
            fix="only a decision to accept (or warn) can be served",
        )
    if audit.body["stops"]:
        raise Refused(
            f"{len(audit.body['stops'])} things are missing from its evidence",
            where=where,
            reason="unauditable",
            fix="`headgate audit` lists them where it was exported",
        )


def _value(archive: ArchiveReader, contents: Contents, version: str) -> Any:
    """Raises ``KeyError`` where it is not in the bundle, ``ValueError`` where it is too large."""
    if contents.artifacts[version] > _MOST_VALUE_BYTES:
        raise ValueError(f"{short(version)} is larger than anything of its kind")
    return parse(_content(archive, version))


def _content(archive: ArchiveReader, version: str) -> bytes:
    content = b"".join(archive.chunks(version))
    if digest_bytes(content) != version:
        raise Tampered(
            f"its content {short(version)} was changed since it was checked",
            where=archive.where,
            fix="leave the file alone, and import it again",
        )
    return content


def _malformed(what: str, where: str) -> InputError:
    return InputError(
        what,
        where=where,
        reason="bundle_malformed",
        fix="give the file that `headgate export --bundle` wrote, copied whole",
    )


def _contradicts(what: str, where: str) -> Tampered:
    return Tampered(
        f"contradicts itself: {what}",
        where=where,
        fix="do not use it, and ask whoever signed it how it was made",
    )
