"""A file of named contents, every byte of which follows from their names, sizes and contents.

It is a tar, so that any tar lists it; no date, owner or mode of its own is in it. Whoever reads one
has a list of what must be in it, and compares with that in place of parsing: a link, a name that
leads elsewhere, a content too many or a changed padding is another byte than the one that is due.
Contents are streamed, however large they are. Knows nothing of what they mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headgate.errors import InputError, Tampered

__all__ = ["ArchiveReader", "Member", "packed"]

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_CHUNK_BYTES = 1 << 20
_SIZE = slice(124, 135)
"""Where a header has the size, in octal."""


@dataclass(frozen=True, slots=True)
class Member:
    """One content."""

    name: str
    """100 characters of ASCII at most."""
    size_bytes: int
    version: str
    """The digest of its content."""


def packed(first: tuple[str, bytes], members: Iterable[tuple[Member, Path]]) -> Iterator[bytes]:
    """The bytes of an archive of ``first`` (a name and its content) and ``members``, each from its
    file. Raises ``Tampered`` where a file is not what its member says."""
    name, content = first
    yield _header(name, len(content)) + content + _padding(len(content))
    for member, source in members:
        yield _header(member.name, member.size_bytes)
        yield from _checked(member, source)
        yield _padding(member.size_bytes)
    yield _END


def _checked(member: Member, source: Path) -> Iterator[bytes]:
    hasher, copied = hashlib.sha256(), 0
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
            copied += len(chunk)
            yield chunk
    if (copied, f"sha256:{hasher.hexdigest()}") != (member.size_bytes, member.version):
        raise Tampered(
            "was changed while it was copied",
            where=str(source),
            fix="leave it alone, and export again",
        )


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    made = info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
    assert len(made) == _BLOCK, f"{name} is too long a name"
    return made


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK)


class ArchiveReader:
    """An archive that is held against what must be in it."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self.where = where
        self._places: dict[str, tuple[int, int]] = {}
        """Version -> where its content begins, and its size."""

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[ArchiveReader]:
        """Raises ``InputError`` where there is no file that can be read."""
        try:
            file = path.open("rb")
        except OSError as error:
            raise InputError(
                f"cannot be read: {os.strerror(error.errno or 0)}",
                where=str(path),
                fix="check the path and its permissions",
            ) from error
        with file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(
                    "is no regular file", where=str(path), fix="copy it into one, and name that"
                )
            yield cls(file, str(path))

    def first(self, name: str, *, most_bytes: int) -> bytes:
        """The content of the first member, which must be called ``name``.

        Nothing says yet whether it is right. Raises ``InputError`` (``bundle_malformed``).
        """
        self._file.seek(0)
        head = self._file.read(_BLOCK)
        try:
            size = int(head[_SIZE], 8)
        except ValueError:
            size = -1
        if 0 <= size <= most_bytes and head == _header(name, size):
            content = self._file.read(size)
            if len(content) == size and self._file.read(len(_padding(size))) == _padding(size):
                return content
        raise InputError(
            "is no bundle, or its beginning is damaged",
            where=self.where,
            reason="bundle_malformed",
            fix="give the file that `headgate export --bundle` wrote, copied whole",
        )

    def check(self, members: Sequence[Member]) -> None:
        """Whether everything behind the first member is ``members``, to the last byte.

        Raises ``Tampered`` at the first that is not so.
        """
        due = self._file.tell() + len(_END)
        due += sum(_BLOCK + m.size_bytes + len(_padding(m.size_bytes)) for m in members)
        size = os.fstat(self._file.fileno()).st_size
        if size != due:
            raise self._tampered(f"it has {size:,} bytes, and {due:,} were signed")
        for member in members:
            if self._file.read(_BLOCK) != _header(member.name, member.size_bytes):
                raise self._tampered(f"where {member.name} must begin is something else")
            self._places[member.version] = self._file.tell(), member.size_bytes
            hasher = hashlib.sha256()
            for chunk in self.chunks(member.version):
                hasher.update(chunk)
            if f"sha256:{hasher.hexdigest()}" != member.version:
                raise self._tampered(f"the content of {member.name} is another")
            padding = _padding(member.size_bytes)
            if self._file.read(len(padding)) != padding:
                raise self._tampered(f"something hides behind {member.name}")
        if self._file.read() != _END:
            raise self._tampered("something hides behind its end")

    def chunks(self, version: str) -> Iterator[bytes]:
        """The content of a member that ``check`` saw; look at its digest again as it comes."""
        place, left = self._places[version]
        self._file.seek(place)
        while left and (chunk := self._file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk

    def _tampered(self, what: str) -> Tampered:
        return Tampered(
            f"is not what was signed: {what}",
            where=self.where,
            fix="copy it again from where it was exported",
        )
