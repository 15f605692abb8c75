"""Checks a store of Headgate without Headgate; needs Python 3.11 and ``cryptography``.

    python verify_ledger.py STORE [--key PUBLIC ...] [--checkpoint FILE]

STORE is the directory with ``ledger.sqlite`` and ``artifacts/``; it is only read. PUBLIC is a line
``NAME+KEYID+BASE64`` (C2SP signed-note), FILE a checkpoint (C2SP tlog-checkpoint) that was kept.
Prints what is wrong, one line each; exit code 0 nothing, 3 something, 2 cannot say. ``headgate
verify`` also looks at SQLite's triggers and at what the user's own signer remembers.

What must hold of the entries 1 ... n of the table ``entries``:

1.  ``id`` is ``sha256:`` and the SHA-256 of
    ``{"body":BODY,"kind":KIND,"recorded_at":TIME,"seq":SEQ,"tree":TREE}``, where BODY is the stored
    text and the others are JSON without spaces, in UTF-8. BODY is a JSON object.
2.  ``seq`` counts 1, 2, 3 ... and SQLite has not counted further.
3.  ``tree`` is ``sha256:`` and the RFC 6962 Merkle root of all ids before it, 32 bytes a leaf.
4.  ``filled`` holds the hashes of the full subtrees of 2, 4, 8 ... leaves that the entry completes.
5.  A ``checkpoint`` holds a note of the tree before it, signed by one of the given keys (if any
    were, there is at least one); its origin is the id of the first entry or of the last ``fork``.
6.  What an entry names (runs, decisions) is an earlier entry; releases of an endpoint have the
    generations 0, 1, 2 ...; artifacts that an entry stands on are files with their own SHA-256.
7.  A kept checkpoint is of this ledger, by one of the keys, and has the root of its first entries.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NOTE = re.compile(
    r"(?P<text>(?P<origin>\S+)\n(?P<size>[1-9][0-9]{0,15})\n(?P<root>[A-Za-z0-9+/]{43}=)\n)\n"
    r"(?P<lines>(?:— [^\s+]+ [A-Za-z0-9+/=]+\n){1,16})"
)
COLUMNS = ("id", "tree", "kind", "recorded_at", "body", "filled")
NAMED = {
    "artifact": ["made_by"], "measurement": ["run", "current_run"], "requalification": ["import"],
    "audit": ["decision"], "drill": ["release"], "certificate": ["decision", "requalification"],
    "release": ["decision"], "watch": ["release", "decision"], "recovery": ["incident", "release"],
    "incident": ["release", "decision", "watch"], "response": ["incident", "release", "run"],
}  # fmt: skip
STANDS_ON = {
    "artifact": ["version"], "measurement": ["dataset", "samples"], "admission": ["data"],
    "release": ["variant"], "watch": ["variant"], "incident": ["variant"],
    "import": ["envelope", "variant", "current"], "certificate": ["certificate"],
}  # fmt: skip
HOT = """a writer was killed: its journal beside the ledger holds what it had not finished, which
`headgate history` takes back, here or in a copy of the store; then check again"""


class Unusable(Exception):
    """What was given cannot be checked at all."""


class Key(NamedTuple):
    name: str
    id: bytes
    public: Ed25519PublicKey


def read_key(given: str) -> Key:
    """``NAME+KEYID+BASE64``, or a file with that in it, which is not shown: it may be a secret."""
    text = Path(given).read_text(encoding="utf-8") if Path(given).is_file() else given
    shown = given.partition("\n")[0]
    try:
        name, key_id, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        expected = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        if raw[:1] != b"\x01" or bytes.fromhex(key_id) != expected:
            raise ValueError("no key")
        return Key(name, expected, Ed25519PublicKey.from_public_bytes(raw[1:]))
    except ValueError:
        raise Unusable(f"{shown!r} is no public key") from None


class Note(NamedTuple):
    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: list[tuple[str, bytes, bytes]]


def read_note(text: str) -> Note:
    """Raises ``ValueError`` for what is no signed checkpoint."""
    found = NOTE.fullmatch(text)
    if found is None:
        raise ValueError("no checkpoint")
    lines = [line.split(" ") for line in found["lines"].splitlines()]
    raws = [(name, base64.b64decode(encoded, validate=True)) for _, name, encoded in lines]
    signatures = [(name, raw[:4], raw[4:]) for name, raw in raws]
    root = base64.b64decode(found["root"], validate=True)
    return Note(found["origin"], int(found["size"]), root, found["text"].encode(), signatures)


def is_signed(note: Note, keys: list[Key]) -> bool:
    """By one of the keys; a wrong signature in the name of a key spoils it for that key."""
    for key in keys:
        claimed = [raw for name, id_, raw in note.signatures if (name, id_) == (key.name, key.id)]
        with suppress(InvalidSignature):
            for raw in claimed:
                key.public.verify(raw, note.text)
            if claimed:
                return True
    return False


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


class Tree:
    """RFC 6962, 2.1: only the hashes of full subtrees along the right edge are held."""

    def __init__(self) -> None:
        self.size = 0
        self.edge: list[bytes] = []

    def add(self, data: bytes) -> bytes:
        """Adds a leaf; the hashes of the subtrees that it completes, joined, smallest first."""
        self.size += 1
        self.edge.append(sha256(b"\x00" + data))
        completed, size = b"", self.size
        while size % 2 == 0:
            right, left = self.edge.pop(), self.edge.pop()
            self.edge.append(sha256(b"\x01" + left + right))
            completed += self.edge[-1]
            size //= 2
        return completed

    def root(self) -> bytes:
        *lefts, root = self.edge or [sha256(b"")]
        for left in reversed(lefts):
            root = sha256(b"\x01" + left + root)
        return root


def id_of(seq: int, tree: bytes, kind: bytes, recorded_at: bytes, body: bytes) -> str:
    def quoted(text: bytes) -> str:
        return json.dumps(text.decode("utf-8", "surrogateescape"), ensure_ascii=False)

    rest = f'"kind":{quoted(kind)},"recorded_at":{quoted(recorded_at)},"seq":{seq}'
    rest = f',{rest},"tree":{quoted(tree)}}}'
    return "sha256:" + sha256(b'{"body":' + body + rest.encode("utf-8", "surrogateescape")).hex()


def stands_on(kind: str, body: dict[str, Any]) -> Iterator[Any]:
    """The versions of the artifacts that an entry stands on. Raises where it is malformed."""
    yield from (body.get(role) for role in ("standard", *STANDS_ON.get(kind, ())))
    if kind == "artifact":
        yield from body.get("lineage") or ()
    elif kind in ("run", "failure"):
        yield from (*(body.get("u") or {}).values(), *(body.get("z") or {}).values())


def check_entries(
    rows: Iterator[tuple[Any, ...]], keys: list[Key], kept: Note | None, artifacts: dict[str, int]
) -> Iterator[str]:
    """What is wrong with the entries; ``artifacts`` is filled with (version, first entry)."""
    tree, seq, fits, signed = Tree(), 0, True, False
    origins, ids, generations = list[str](), set[str](), dict[str, int]()
    there: tuple[str, bytes] | None = None  # origin and root at the size of the kept checkpoint
    for found, *stored in rows:
        id_, root, kind, recorded_at, text, filled = (column or b"" for column in stored)
        if found != seq + 1:
            yield f"entry {seq + 1} is missing"
        seq = found
        true_id = id_of(seq, root, kind, recorded_at, text)
        if true_id.encode() != id_:
            yield f"entry {seq} does not match its own id"
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            yield f"the body of entry {seq} is no JSON object"
            body = {}
        before = tree.root()
        # A changed body keeps its id, by which all that follows still fits; else say it once.
        named = id_.decode("ascii", "replace")
        leaf = named if DIGEST.fullmatch(named) else true_id
        if root.decode("ascii", "replace") != f"sha256:{before.hex()}" and fits:
            fits = False
            yield f"entry {seq} was written after other entries than those before it"
        if tree.add(bytes.fromhex(leaf[7:])) != filled and fits:
            fits = False
            yield f"the subtrees beside entry {seq} are not those of its tree"
        kind = kind.decode("utf-8", "replace")
        if kind == "fork" or not origins:
            origins.append(f"headgate/{leaf[7:23]}")
        if kept is not None and tree.size == kept.size:
            there = origins[-1], tree.root()
        if kind == "checkpoint":
            try:
                note = read_note(str(body.get("note")))
                if (note.origin, note.size, note.root) != (origins[-1], seq - 1, before):
                    raise ValueError
            except ValueError:
                yield f"entry {seq} is no checkpoint of the entries before it"
            else:
                signed = True
                if keys and not is_signed(note, keys):
                    yield f"the checkpoint in entry {seq} is signed by none of the keys"
        for role in NAMED.get(kind, ()):
            if body.get(role) is not None and str(body[role]) not in ids:
                yield f"{role} of entry {seq} is no earlier entry"
        ids.add(leaf)
        try:
            for version in stands_on(kind, body):
                if isinstance(version, str) and DIGEST.fullmatch(version):
                    artifacts.setdefault(version, seq)
        except (TypeError, AttributeError):
            yield f"entry {seq} does not name what it stands on as a {kind} does"
        if kind == "release":
            endpoint = str(body.get("endpoint"))
            generations[endpoint] = generations.get(endpoint, -1) + 1
            if body.get("generation") != generations[endpoint]:
                yield f"entry {seq}: {endpoint} lacks generation {generations[endpoint]}"
    if keys and not signed:
        yield "nothing is signed"
    if kept is not None:
        if keys and not is_signed(kept, keys):
            yield "the kept checkpoint is signed by none of the keys"
        if kept.origin not in origins:
            yield f"the kept checkpoint is of {kept.origin}, and this is {', '.join(origins)}"
        elif there is None:
            yield f"the kept checkpoint covers {kept.size} entries, and {tree.size} are here"
        elif there != (kept.origin, kept.root):
            yield f"the first {kept.size} entries are not those of the kept checkpoint"


def check_artifacts(root: Path, artifacts: dict[str, int]) -> Iterator[str]:
    for version, seq in artifacts.items():
        path = root / version[7:9] / version[9:]
        if not path.is_file():
            yield f"artifact {version} of entry {seq} is missing"
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != version[7:]:
                yield f"artifact {version} of entry {seq} was changed"


def verify(store: Path, keys: list[str], checkpoint: str | None = None) -> list[str]:
    """What is wrong; empty where nothing is. Raises ``Unusable``. ``checkpoint`` is its text."""
    own = [read_key(key) for key in keys]
    try:
        kept = None if checkpoint is None else read_note(checkpoint)
    except ValueError:
        raise Unusable("the kept checkpoint is none") from None
    if not (ledger := store.absolute() / "ledger.sqlite").is_file():
        raise Unusable(f"there is no ledger in {store}")
    findings, artifacts = list[str](), dict[str, int]()
    columns = ", ".join(f"CAST({name} AS BLOB)" for name in COLUMNS)
    try:
        with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True)) as connection:
            said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            findings += [f"SQLite: {text}" for text in said if text != "ok"]
            rows = connection.execute(f"SELECT seq, {columns} FROM entries ORDER BY seq")
            findings += check_entries(rows, own, kept, artifacts)
            counted = "SELECT s.seq FROM sqlite_sequence s WHERE s.name = 'entries' AND s.seq > "
            beyond = connection.execute(f"{counted} (SELECT coalesce(max(seq), 0) FROM entries)")
            findings += [f"{n} entries were written; the last are gone" for (n,) in beyond]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_READONLY", "SQLITE_BUSY")):
            raise Unusable("another process writes: try again" if "BUSY" in name else HOT) from None
        findings.append(f"the ledger cannot be read: {error}")
    return findings + list(check_artifacts(store / "artifacts", artifacts))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("store", type=Path)
    arguments.add_argument("--key", action="append", default=[], metavar="PUBLIC")
    arguments.add_argument("--checkpoint", type=Path, metavar="FILE")
    given = arguments.parse_args()
    try:
        kept = given.checkpoint and given.checkpoint.read_text(encoding="utf-8")
        findings = verify(given.store, given.key, kept)
    except (Unusable, OSError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(findings) or "nothing is wrong")
    return 3 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
