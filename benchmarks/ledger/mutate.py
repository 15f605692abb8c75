"""Random changes to a ledger by somebody who knows it well, but for the private key.

The change is made behind the triggers, which are put back; the places where SQLite counts are set
right. Everything is judged with the public key and a checkpoint that was kept elsewhere.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headgate.ledger import Store
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.signing import PublicKey, SigningKey
from headgate.ledger.sqlite import GUARDS
from headgate.objects import Artifact, Release, Run

__all__ = ["KINDS", "Template", "mutations"]

_COLUMNS = ("id", "tree", "kind", "recorded_at", "body", "filled")
_TIMES = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")


@dataclass(frozen=True, slots=True)
class Template:
    """A store that was signed, and what an honest reader holds of it."""

    root: Path
    key: PublicKey
    kept: Checkpoint

    @classmethod
    def make(cls, root: Path) -> Template:
        """Some 40 entries of every kind on six artifacts, three checkpoints, the last one kept."""
        key = SigningKey.generate()
        with Store.open(root, create=True) as store:
            for generation in range(3):
                contents = [f"{name} {generation}".encode() for name in ("data", "variant")]
                data, variant = map(store.put_bytes, contents)
                for name, version in (("data", data), ("variant", variant)):
                    store.register(Artifact(name, version, name, "bytes", "search", 9))
                made = store.record_run(
                    Run("make", {"data": data}, {"bits": 8}, "e", {"v": variant}, 7, *_TIMES)
                )
                store.append("measurement", {"dataset": data, "run": made.id, "value": 0.5})
                store.append_all([("note", {"n": n, "text": "größe" * n}) for n in range(6)])
                before = generation - 1 if generation else None
                release = Release("docs", generation, variant, None)
                store.promote(release, expected_generation=before)
                kept = store.checkpoint(key)
            store.append_all([("note", {"n": n}) for n in range(3)])
        return cls(root, key.public, kept)


def mutations(
    template: Template, folder: Path, count: int, seed: int
) -> Iterator[tuple[str, Path]]:
    """(what was done, a store to which it was done), ``count`` times; the store is changed again
    when the next is asked for."""
    rng = random.Random(seed)
    root = folder / "mutated"
    for number in range(count):
        what = list(KINDS)[number % len(KINDS)]
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(template.root, root)
        done = KINDS[what](root, template, rng)
        yield f"{what}: {done}", root


def _flip(content: bytes, rng: random.Random) -> bytes:
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def _flip_entry(root: Path, template: Template, rng: random.Random) -> str:
    with _behind_the_guards(root) as connection:
        while True:
            seq, column = rng.randint(1, _last(connection)), rng.choice(_COLUMNS)
            query = f"SELECT CAST({column} AS BLOB) FROM entries WHERE seq = ?"
            ((content,),) = connection.execute(query, [seq])
            if content:  # every other entry fills no subtree
                break
        kind = "BLOB" if column == "filled" else "TEXT"
        connection.execute(
            f"UPDATE entries SET {column} = CAST(? AS {kind}) WHERE seq = ?",
            (_flip(content, rng), seq),
        )
    return f"a bit of {column} of entry {seq}"


def _flip_artifact(root: Path, template: Template, rng: random.Random) -> str:
    files = sorted(p for p in (root / "artifacts").glob("??/*"))
    path = rng.choice(files)
    path.chmod(0o644)
    path.write_bytes(_flip(path.read_bytes(), rng))
    return f"a bit of {path.name[:8]}"


def _delete(root: Path, template: Template, rng: random.Random) -> str:
    """One or more entries in a row, the rest renumbered or not; the signed part is touched."""
    with _behind_the_guards(root) as connection:
        first = rng.randint(1, template.kept.size)
        count = rng.randint(1, 3)
        connection.execute("DELETE FROM entries WHERE seq >= ? AND seq < ?", [first, first + count])
        if renumbered := rng.random() < 0.5:
            connection.execute(
                "UPDATE entries SET seq = seq - ? WHERE seq >= ?", [count, first + count]
            )
        _set_highest(connection)
    return f"{count} from {first}, renumbered: {renumbered}"


def _reorder(root: Path, template: Template, rng: random.Random) -> str:
    with _behind_the_guards(root) as connection:
        a, b = rng.sample(range(1, _last(connection) + 1), 2)
        for old, new in ((a, 0), (b, a), (0, b)):
            connection.execute("UPDATE entries SET seq = ? WHERE seq = ?", [new, old])
    return f"{a} and {b}"


def _truncate(root: Path, template: Template, rng: random.Random) -> str:
    """Below the checkpoint that was kept, whatever older checkpoint that leaves."""
    with _behind_the_guards(root) as connection:
        left = rng.randrange(template.kept.size)
        connection.execute("DELETE FROM entries WHERE seq > ?", [left])
        _set_highest(connection)
    return f"after {left}"


def _rewrite(root: Path, template: Template, rng: random.Random) -> str:
    """One body changed and everything after it written anew, signed by another key or by none.

    Signatures before it stay, and are good.
    """
    key = SigningKey.generate() if rng.random() < 0.5 else None
    with Store.open(template.root) as store:
        entries = list(store.entries())
    signed = [entry.seq for entry in entries if entry.kind == "checkpoint"]
    changed = rng.choice([n for n in range(1, template.kept.size) if n not in signed])
    for path in root.glob("ledger.sqlite*"):
        path.unlink()
    shutil.move(root / "artifacts", root / "kept-artifacts")  # else it would say that it is gone
    with Store.open(root, create=True) as forged:
        shutil.rmtree(root / "artifacts")
        shutil.move(root / "kept-artifacts", root / "artifacts")
        renamed: dict[object, str] = {}  # what others name by its id has another one now
        for entry in entries:
            if entry.kind == "checkpoint" and entry.seq > changed:
                if key is not None:
                    forged.checkpoint(key)
                continue
            body = entry.body | {k: renamed[v] for k, v in entry.body.items() if _is_in(v, renamed)}
            if entry.seq == changed:
                body["forged"] = True
            renamed[entry.id] = forged.append(entry.kind, body, recorded_at=entry.recorded_at).id
    return f"from {changed}, {'signed by another' if key else 'unsigned'}"


def _is_in(value: object, renamed: dict[object, str]) -> bool:
    return isinstance(value, str) and value in renamed


KINDS: dict[str, Callable[[Path, Template, random.Random], str]] = {
    "bit flip": _flip_entry,
    "bit flip of an artifact": _flip_artifact,
    "deletion": _delete,
    "reorder": _reorder,
    "truncation below a checkpoint": _truncate,
    "rewriting": _rewrite,
}


@contextlib.contextmanager
def _behind_the_guards(root: Path) -> Iterator[sqlite3.Connection]:
    """The database without its triggers and indexes; with the triggers again afterwards."""
    with contextlib.closing(
        sqlite3.connect(root / "ledger.sqlite", isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")
        for name in GUARDS:
            connection.execute(f"DROP TRIGGER {name}")
        # They refuse malformed bodies and two of a generation.
        made = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        for (name,) in connection.execute(made).fetchall():
            connection.execute(f"DROP INDEX {name}")
        yield connection
        for sql in GUARDS.values():
            connection.execute(sql)


def _last(connection: sqlite3.Connection) -> int:
    ((last,),) = connection.execute("SELECT max(seq) FROM entries")
    return int(last)


def _set_highest(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE sqlite_sequence SET seq = (SELECT coalesce(max(seq), 0) FROM entries)"
    )
