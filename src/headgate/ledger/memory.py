"""What a signer remembers: the last checkpoint of every ledger that it signed, beside its key.

A store cannot say what was signed of it: whoever writes it anew leaves that out. So the signer
keeps it where the store's writers need not reach, and signs nothing that does not go on from it.
A JSON array of ``{"stores": [PATH], "checkpoint": NOTE}`` in ``KEY.signed`` beside the key, one of
each origin; a note is what ``headgate checkpoint`` printed, so it proves to others what it says.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headgate.errors import Fault, InputError, Refused, Tampered
from headgate.ledger.checkpoint import Checkpoint
from headgate.ledger.disk import sync_directory
from headgate.ledger.signing import KEY_VARIABLE, users_key_file

__all__ = ["COPIED", "History", "Memory", "Signed", "names_of", "users_memory"]

COPIED = "ledger_copied"
"""Why a copy is not signed, for machines."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FORK = (
    "if you restored a backup or put another ledger here, say so: `headgate checkpoint --fork WHY`"
)
_FORGED = f"{_FORK}; else somebody rewrote it: restore the store from a backup"


@dataclass(frozen=True, slots=True)
class History:
    """A ledger, as a signer sees it."""

    stores: tuple[str, ...]
    """Absolute paths of where it is: as it is called, and without links."""
    origins: tuple[str, ...]
    """Of its first entry and of every fork since; the last is the one that is signed."""
    size: int
    """Entries."""
    root: Callable[[int], bytes]
    """The root over so many entries, ``size`` at most."""


@dataclass(frozen=True, slots=True)
class Signed:
    """One ledger that was signed."""

    checkpoint: Checkpoint
    stores: tuple[str, ...]
    """Where it was signed, the last place last, but for those where another was signed since."""


class Memory:
    """The file beside a key. Safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def beside(cls, key_file: Path) -> Memory:
        """That of the key in this file, by whatever link it is named."""
        real = key_file.resolve()
        return cls(real.with_name(f"{real.name}.signed"))

    def recall(self, history_of: Callable[[], History]) -> Signed | None:
        """What was signed of this ledger, which goes on from it; None for one that is new.

        ``history_of`` is asked after what is remembered was read: another signer may be at work,
        and what it has signed by then is in the ledger.

        Raises ``Tampered`` where it does not, or where another ledger was signed in its place;
        ``Refused`` (``ledger_copied``) for a copy whose original is still there; ``InputError``,
        ``Refused`` and ``Fault`` where the file cannot be used.
        """
        remembered = self._read()
        return _recalled(remembered, history_of())

    def set_aside(self, history: History) -> Checkpoint | None:
        """What was signed last of this ledger, or else of the one that stood in its place."""
        remembered = self._read()
        known = [remembered[origin] for origin in history.origins[::-1] if origin in remembered]
        found = known[0] if known else _signed_in(remembered, history.stores)
        return None if found is None else found.checkpoint

    def remember(self, made: Checkpoint, history: History, *, fork: bool = False) -> None:
        """Keep ``made``, of ``history``, durably; a ``fork`` is a new ledger wherever it stands.

        Raises as ``recall`` does, and then remembers nothing.
        """
        with self._held():
            remembered = self._read()
            known = None if fork else _recalled(remembered, history)
            newest = (
                made if known is None or known.checkpoint.size < made.size else known.checkpoint
            )
            earlier = () if known is None else _without(known, history.stores).stores
            signed = Signed(newest, (*earlier, *history.stores))
            if known == signed:
                return
            others = {o: _without(s, history.stores) for o, s in remembered.items()}
            self._write(others | {made.origin: signed})

    def signed_in(self, store: Path) -> Checkpoint | None:
        """What was signed last in ``store``, which need not be there any more."""
        found = _signed_in(self._read(), names_of(store))
        return None if found is None else found.checkpoint

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Nobody else reads in order to write; it takes no time, so others wait."""
        try:
            descriptor = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._disk(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, Signed]:
        try:
            with self.path.open("rb") as file:
                exposed = os.fstat(file.fileno()).st_mode & _OTHERS_WRITE
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise self._disk(error) from error
        if exposed:
            raise Refused(
                "others than its owner may change what was signed",
                where=str(self.path),
                reason="memory_exposed",
                fix=f"chmod 600 {self.path}; if somebody may have changed it, compare with "
                "checkpoints that you kept: `headgate verify --checkpoint FILE`",
            )
        try:
            known = json.loads(content)
            if not isinstance(known, list):
                raise TypeError("an array")
            signed = [
                Signed(Checkpoint.parse(one["checkpoint"]), tuple(map(str, one["stores"])))
                for one in known
            ]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                "is not what a signer remembers; nothing is signed against it",
                where=str(self.path),
                reason="memory_malformed",
                fix="restore it from a backup. Without one, look at your stores with `headgate "
                "verify --checkpoint FILE`, then move it away: they are signed as new ones",
            ) from error
        return {one.checkpoint.origin: one for one in signed}

    def _write(self, remembered: dict[str, Signed]) -> None:
        """The whole file or nothing; only while it is held."""
        content = [
            {"stores": signed.stores, "checkpoint": str(signed.checkpoint)}
            for signed in remembered.values()
        ]
        unfinished = self._beside(".new")
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1, ensure_ascii=False)
                file.flush()
                os.fsync(descriptor)
            unfinished.replace(self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            raise self._disk(error) from error

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _disk(self, error: OSError) -> Fault:
        return Fault(
            f"what was signed cannot be remembered: {os.strerror(error.errno or 0)}",
            where=str(self.path),
            reason="disk",
            fix="make the key's directory writable, or copy the key into one that is and name it "
            f"with {KEY_VARIABLE}",
        )


def users_memory() -> Memory | None:
    """What the key of who runs this process signed; None where there is no home to keep it in."""
    try:
        return Memory.beside(users_key_file())
    except Fault:
        return None


def names_of(store: Path) -> tuple[str, ...]:
    """The absolute paths of ``store``: as it is called, and without links."""
    return tuple(dict.fromkeys((str(store.absolute()), str(store.resolve()))))


def _recalled(remembered: dict[str, Signed], history: History) -> Signed | None:
    """See ``Memory.recall``."""
    where = history.stores[0]
    origin = history.origins[-1] if history.origins else ""
    known, here = remembered.get(origin), _signed_in(remembered, history.stores)
    if known is None and any(earlier in remembered for earlier in history.origins):
        what = "this ledger was forked, and whoever did it did not tell this signer"
        raise Tampered(what, where=where, fix=_FORGED)
    original = known.stores[-1] if known is not None and known.stores else where
    elsewhere = known is None or original not in history.stores
    if elsewhere and here is not None and here is not known:
        before = here.checkpoint
        what = f"another ledger was signed here: {before.origin}, with {before.size} entries"
        raise Tampered(what, where=where, fix=_FORGED)
    if known is None:
        return None
    if elsewhere and _stands(original, where):
        raise Refused(
            f"this is a copy of the ledger in {original}, and no key signs two histories",
            where=where,
            reason=COPIED,
            fix="if it is to go on as a ledger of its own: `headgate checkpoint --fork WHY`",
        )
    signed = known.checkpoint
    if signed.size > history.size:
        what = f"{signed.size} entries were signed, and {history.size} are left"
        raise Tampered(what, where=where, fix=_FORGED)
    if history.root(signed.size) != signed.root:
        what = f"the first {signed.size} entries are not those that were signed"
        raise Tampered(what, where=where, fix=_FORGED)
    return known


def _signed_in(remembered: dict[str, Signed], stores: Sequence[str]) -> Signed | None:
    return next((s for s in remembered.values() if not set(stores).isdisjoint(s.stores)), None)


def _stands(store: str, other: str) -> bool:
    """Whether a ledger is still in ``store``, and not the one in ``other`` by another path."""
    ledger = Path(store) / "ledger.sqlite"
    try:
        return not ledger.samefile(Path(other) / ledger.name)
    except OSError:  # it was moved, or is out of sight
        return False


def _without(signed: Signed, stores: Sequence[str]) -> Signed:
    return replace(signed, stores=tuple(s for s in signed.stores if s not in stores))
