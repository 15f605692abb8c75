"""Content under its own SHA-256: written whole or not at all, verified before it is used.

``artifacts/ab/cdef...`` holds the content whose digest is ``sha256:abcdef...``. A blob is written
to a temporary file, synced, renamed into place, and its directory synced, so that a ledger entry
that names it is never more durable than the content. Whoever has put content in holds a lock
together with others until it is closed, because the entry that names the content comes later;
garbage is collected by one who holds it alone. Knows nothing of what the content means.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from headgate.errors import Fault, InputError, Tampered
from headgate.ledger.disk import sync_directory
from headgate.ledger.faults import explained_disk_errors
from headgate.ledger.lock import exclusive, shared
from headgate.objects import digest_bytes, short

__all__ = ["Blobs", "is_version"]

_VERSION = re.compile(r"sha256:[0-9a-f]{64}")
_VERSION_BYTES = re.compile(_VERSION.pattern.encode())
_CHUNK_BYTES = 1 << 20
_TEMPORARY = ".writing-"
_LOCKED = "the artifact store"


def is_version(value: object) -> bool:
    """Whether ``value`` has the form of a digest, ``sha256:`` and 64 hex digits."""
    return isinstance(value, str) and _VERSION.fullmatch(value) is not None


class Blobs:
    """The content-addressed files under ``root``. Safe to share between threads and processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # version -> (inode, size, mtime) of the file whose content was found to match.
        self._verified: dict[str, tuple[int, int, int]] = {}
        self._held: contextlib.ExitStack | None = None
        self._mutex = threading.Lock()

    def create(self) -> None:
        """Make the directory; remove what writers that were killed left behind."""
        with explained_disk_errors(self.root, "make the artifact store"):
            self.root.mkdir(exist_ok=True)
        # Writers hold the lock together; held alone, no temporary file belongs to a living one.
        # A store that is busy or read-only can be used without being cleaned.
        with contextlib.suppress(Fault, OSError), exclusive(self._lock, _LOCKED):
            for stale in self.root.glob(f"{_TEMPORARY}*"):
                stale.unlink()

    def close(self) -> None:
        """Let go of what was put in: entries name it by now, or never will."""
        with self._mutex:
            if self._held is not None:
                self._held.close()
                self._held = None

    def put_bytes(self, content: bytes) -> str:
        """Keep ``content`` and return its version. Raises ``Fault`` where the disk refuses."""
        self._hold()
        version = digest_bytes(content)
        if not self.intact(version):
            self._write([content], f"store {len(content)} bytes as {short(version)}")
        return version

    def put_file(self, path: Path) -> str:
        """Keep the content of the file at ``path`` and return its version.

        Raises ``InputError`` where the file cannot be read, ``Fault`` where the disk refuses.
        """
        self._hold()
        hasher = hashlib.sha256()
        for chunk in _chunks(path):
            hasher.update(chunk)
        version = f"sha256:{hasher.hexdigest()}"
        if self.intact(version):
            return version
        # The version of what was copied, not of what was hashed: the file may just have changed.
        return self._write(_chunks(path), f"store {path}")

    def put_chunks(self, version: str, chunks: Iterable[bytes]) -> None:
        """Keep what ``chunks`` give, which must come to ``version``.

        Raises ``Tampered`` where it is something else, ``Fault`` where the disk refuses; nothing is
        kept then.
        """
        self._hold()
        if not self.intact(version):
            self._write(chunks, f"store {short(version)}", due=version)

    def read(self, version: str) -> bytes:
        """The content of ``version``, verified; raises ``InputError`` or ``Tampered``."""
        path = self._present(version)
        with explained_disk_errors(path, "read the artifact"):
            content = path.read_bytes()
        if (found := digest_bytes(content)) != version:
            raise self._tampered(version, found)
        return content

    def path_of(self, version: str) -> Path:
        """The file that holds ``version``, verified unless this very file was before.

        Raises ``InputError`` where it is missing, ``Tampered`` where the content differs.
        """
        path = self._present(version)
        if not self.intact(version):
            raise self._tampered(version, _file_digest(path))
        return path

    def has(self, version: str) -> bool:
        """Whether there is a file for ``version``; its content is not looked at."""
        return is_version(version) and self.location(version).is_file()

    def intact(self, version: str) -> bool:
        """Whether ``version`` is present and its content matches (hashed once for each file)."""
        path = self.location(version)
        with explained_disk_errors(path, "read the artifact"):
            try:
                facts = path.stat()
            except FileNotFoundError:
                return False
            fingerprint = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if self._verified.get(version) == fingerprint:
                return True
            if _file_digest(path) != version:
                return False
        self._verified[version] = fingerprint
        return True

    def used(self) -> contextlib.AbstractContextManager[None]:
        """While inside, no content is collected: for whoever is about to name some."""
        return shared(self._lock, _LOCKED)

    def collect(self, named: Callable[[], Iterator[bytes]]) -> tuple[int, int]:
        """Remove all content but what ``named`` gives, and what that content names in turn.

        ``named`` gives texts with versions anywhere in them. Returns (files, bytes) that were
        removed. Raises ``Busy`` where somebody has put content in and is not closed.
        """
        with (
            explained_disk_errors(self.root, "remove artifacts"),
            exclusive(self._lock, _LOCKED),
        ):
            files = {
                f"sha256:{path.parent.name}{path.name}": path for path in self.root.glob("??/*")
            }
            kept: set[str] = set()
            found = {version for text in named() for version in _versions_in(text)}
            while found:
                kept |= found
                present = [files[version] for version in found & files.keys()]
                found = {v for path in present for v in _versions_in_file(path)} - kept
            garbage = [files[v] for v in files if v not in kept and is_version(v)]
            freed_bytes = sum(path.stat().st_size for path in garbage)
            for path in garbage:
                path.unlink()
        return len(garbage), freed_bytes

    def forget(self) -> None:
        """Hash every file again when it is next used."""
        self._verified.clear()

    def location(self, version: str) -> Path:
        """Where ``version`` is or would be; raises ``InputError`` for what is no version."""
        if not is_version(version):
            raise InputError(
                f"{version!r} is not an artifact version",
                fix="a version is sha256: and 64 hex digits, as `headgate show` prints it",
            )
        hexdigits = version.removeprefix("sha256:")
        return self.root / hexdigits[:2] / hexdigits[2:]

    def _hold(self) -> None:
        with self._mutex:
            if self._held is None:
                self._held = contextlib.ExitStack()
                self._held.enter_context(shared(self._lock, _LOCKED))

    @property
    def _lock(self) -> Path:
        return self.root / ".lock"

    def _present(self, version: str) -> Path:
        path = self.location(version)
        if not path.is_file():
            raise InputError(
                f"artifact {short(version)} is not in this store",
                where=str(path),
                fix="run `headgate optimize` again, which makes it, or restore it from a backup",
                reason="artifact_missing",
            )
        return path

    def _tampered(self, version: str, found: str) -> Tampered:
        return Tampered(
            f"the content of artifact {short(version)} has the digest {short(found)}",
            where=str(self.location(version)),
            fix="restore it from a backup, or remove this file and run `headgate optimize` again",
        )

    def _write(self, chunks: Iterable[bytes], doing: str, *, due: str | None = None) -> str:
        with explained_disk_errors(self.root, doing):
            descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.root)
            temporary = Path(name)
            try:
                hasher = hashlib.sha256()
                with os.fdopen(descriptor, "wb") as file:
                    for chunk in chunks:
                        hasher.update(chunk)
                        file.write(chunk)
                    file.flush()
                    os.fchmod(descriptor, 0o444)  # never to be edited in place
                    os.fsync(descriptor)
                version = f"sha256:{hasher.hexdigest()}"
                if due not in (None, version):
                    raise Tampered(
                        f"what was to be {short(str(due))} has the digest {short(version)}",
                        where=str(self.root),
                        fix="take it again from where it came",
                    )
                path = self.location(version)
                if not path.parent.is_dir():
                    path.parent.mkdir(exist_ok=True)
                    sync_directory(self.root)
                temporary.replace(path)
                sync_directory(path.parent)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return version


def _chunks(path: Path) -> Iterator[bytes]:
    # Reading fails as InputError here, so that it is not taken for a fault of the store.
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise InputError(
            f"cannot be read: {os.strerror(error.errno or 0)}",
            where=str(path),
            fix="check the path and its permissions",
        ) from error


def _versions_in(text: bytes | mmap.mmap) -> Iterator[str]:
    for found in _VERSION_BYTES.finditer(text):
        yield found[0].decode()


def _versions_in_file(path: Path) -> set[str]:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return set()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return set(_versions_in(content))


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
