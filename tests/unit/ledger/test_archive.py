"""A file of contents, each byte of which is due."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from headgate.errors import InputError, Tampered
from headgate.ledger.archive import ArchiveReader, Member, packed
from headgate.objects import digest_bytes

CONTENTS = {"a/one": b"", "a/two": b"x" * 512, "b/three": b"y" * 700}
LIST = b'{"what": "is in it"}'


@pytest.fixture
def members(tmp_path: Path) -> list[tuple[Member, Path]]:
    made = []
    for name, content in CONTENTS.items():
        path = tmp_path / name.replace("/", "-")
        path.write_bytes(content)
        made.append((Member(name, len(content), digest_bytes(content)), path))
    return made


@pytest.fixture
def written(members: list[tuple[Member, Path]], tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(b"".join(packed(("list", LIST), members)))
    return path


def read(path: Path, members: Sequence[Member]) -> list[bytes]:
    with ArchiveReader.open(path) as archive:
        assert archive.first("list", most_bytes=100) == LIST
        archive.check(members)
        return [b"".join(archive.chunks(member.version)) for member in members]


def test_what_is_written_is_read_in_any_order(
    written: Path, members: list[tuple[Member, Path]]
) -> None:
    """Contents that fill a block, that do not, and none."""
    due = [member for member, _ in members]
    assert read(written, due) == list(CONTENTS.values())
    with ArchiveReader.open(written) as archive:
        archive.first("list", most_bytes=100)
        archive.check(due)
        assert b"".join(archive.chunks(due[2].version)) == CONTENTS["b/three"]
        assert b"".join(archive.chunks(due[1].version)) == CONTENTS["a/two"]


def test_every_byte_of_it_is_due(written: Path, members: list[tuple[Member, Path]]) -> None:
    """All of them, one after the other: names, sizes, dates, owners, padding, the end."""
    due = [member for member, _ in members]
    content = written.read_bytes()
    changed = written.with_name("changed")
    for place in (p for p in range(len(content)) if not 512 <= p < 512 + len(LIST)):
        changed.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises((Tampered, InputError)):
            read(changed, due)


@pytest.mark.parametrize(
    ("name", "type_", "linkname"),
    [
        ("a/one", tarfile.SYMTYPE, "/etc/passwd"),
        ("a/one", tarfile.LNKTYPE, "a/two"),
        ("../one", tarfile.REGTYPE, ""),
        ("a/one", tarfile.DIRTYPE, ""),
        ("a/one", tarfile.CHRTYPE, ""),
    ],
)
def test_nothing_but_what_is_due_is_taken_for_it(
    written: Path, members: list[tuple[Member, Path]], name: str, type_: bytes, linkname: str
) -> None:
    """Nobody reads what the header says: it is the one that is due, or it is not."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type_, linkname
    content = written.read_bytes()
    written.write_bytes(content[:1024] + info.tobuf(tarfile.GNU_FORMAT) + content[1536:])
    with pytest.raises(Tampered, match="where a/one must begin is something else"):
        read(written, [member for member, _ in members])


def test_members_that_are_missing_more_or_in_another_order_are_found(
    written: Path, members: list[tuple[Member, Path]]
) -> None:
    """By the size of the file, before anything of it is read."""
    due = [member for member, _ in members]
    with pytest.raises(Tampered, match="and 3,584 were signed"):
        read(written, due[:2])
    with pytest.raises(Tampered, match="and 6,144 were signed"):
        read(written, [*due, due[1]])
    with pytest.raises(Tampered, match="where b/three must begin"):
        read(written, due[::-1])


def test_a_beginning_that_claims_to_be_endless_is_not_read(tmp_path: Path) -> None:
    """The list has a largest size, and nothing is allocated for more."""
    info = tarfile.TarInfo("list")
    info.size = 8**11 - 1
    path = tmp_path / "archive"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + LIST)
    with pytest.raises(InputError, match="is no bundle"):
        read(path, [])


def test_a_file_that_changes_while_it_is_copied_ends_it(
    members: list[tuple[Member, Path]],
) -> None:
    """What is not what the list says is not written to its end."""
    members[2][1].write_bytes(b"z" * 700)
    with pytest.raises(Tampered, match="was changed while it was copied"):
        list(packed(("list", LIST), members))


def test_contents_come_in_pieces(tmp_path: Path) -> None:
    """However large they are: no piece is larger than a mebibyte."""
    content = bytes(3 << 20)
    path = tmp_path / "large"
    path.write_bytes(content)
    member = Member("large", len(content), digest_bytes(content))
    pieces = list(packed(("list", LIST), [(member, path)]))
    assert max(map(len, pieces)) == 1 << 20
    (tmp_path / "archive").write_bytes(b"".join(pieces))
    with ArchiveReader.open(tmp_path / "archive") as archive:
        archive.first("list", most_bytes=100)
        archive.check([member])
        assert [len(chunk) for chunk in archive.chunks(member.version)] == [1 << 20] * 3
