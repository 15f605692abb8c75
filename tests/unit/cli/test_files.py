"""A file that a command writes is whole, or is what it was before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli.files import write_whole
from headgate.errors import Fault, Tampered


def test_a_file_is_written_with_its_directory(tmp_path: Path) -> None:
    """And the number of its lines is known."""
    path = tmp_path / "a" / "b.jsonl"
    assert write_whole(path, [b"1\n", b"2\n"]) == 2
    assert path.read_bytes() == b"1\n2\n"


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    """The new one takes its name at once, and writes into nothing that was there."""
    path = tmp_path / "b.jsonl"
    path.write_bytes(b"before\n")
    with path.open("rb") as old:
        write_whole(path, [b"after\n"])
        assert old.read() == b"before\n"
    assert path.read_bytes() == b"after\n"


def test_what_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    """The first half is nowhere to be seen."""
    path = tmp_path / "b.jsonl"
    path.write_bytes(b"before\n")

    def lines() -> Iterator[bytes]:
        yield b"1\n"
        raise Tampered("changed")

    with pytest.raises(Tampered):
        write_whole(path, lines())
    assert path.read_bytes() == b"before\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With what is wrong about it."""
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match="cannot be written: File exists") as caught:
        write_whole(tmp_path / "file" / "b.jsonl", [b""])
    assert caught.value.where == str(tmp_path / "file" / "b.jsonl")
