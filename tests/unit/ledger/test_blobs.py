"""Content is kept whole or not at all, and is verified before it is used."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from headgate.errors import Fault, InputError, Tampered
from headgate.ledger import Store
from headgate.objects import digest_bytes


def files(root: Path) -> list[Path]:
    """What is in the artifact store, but for its lock."""
    return [p for p in (root / "artifacts").rglob("*") if p.is_file() and p.name != ".lock"]


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_bytes_come_back_under_their_own_sha256(store: Store, root: Path) -> None:
    """The version is the SHA-256 of the content, and the file is where it says."""
    version = store.put_bytes(b"hello")
    expected = hashlib.sha256(b"hello").hexdigest()
    assert version == f"sha256:{expected}"
    assert store.read(version) == b"hello"
    assert store.path_of(version) == root / "artifacts" / expected[:2] / expected[2:]
    assert store.has(version)


def test_a_file_has_the_version_of_its_bytes(store: Store, tmp_path: Path) -> None:
    """A file longer than one chunk gets the same version as its bytes would."""
    content = bytes(range(256)) * 5000
    source = tmp_path / "model.onnx"
    source.write_bytes(content)
    version = store.put_file(source)
    assert version == digest_bytes(content)
    assert store.read(version) == content


def test_content_is_kept_once(store: Store, root: Path) -> None:
    """The same content put again, as bytes or as a file, leaves the same single file."""
    version = store.put_bytes(b"same")
    before = store.path_of(version).stat().st_ino
    store.put_bytes(b"same")
    assert store.put_file(store.path_of(version)) == version
    assert [p.stat().st_ino for p in files(root)] == [before]


def test_blobs_cannot_be_edited_in_place(store: Store) -> None:
    """A blob has no write permission for anybody."""
    mode = store.path_of(store.put_bytes(b"x")).stat().st_mode
    assert not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


def test_changed_content_is_never_returned(store: Store) -> None:
    """One flipped bit makes read and path_of raise Tampered, naming the file."""
    version = store.put_bytes(b"evidence")
    path = store.path_of(version)
    overwrite(path, b"evidencd")
    for use in (store.read, store.path_of):
        with pytest.raises(Tampered, match="digest") as caught:
            use(version)
        assert caught.value.where == str(path)


def test_a_file_is_hashed_once_for_a_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """path_of hashes a large model the first time only, and again when the file is another."""
    version = store.put_bytes(b"large")
    hashed: list[object] = []
    original = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda f, name: (hashed.append(f), original(f, name))[1]
    )
    for _ in range(3):
        path = store.path_of(version)
    assert len(hashed) == 1
    os.utime(path, ns=(1, 1))
    store.path_of(version)
    assert len(hashed) == 2


def test_putting_the_content_again_repairs_a_damaged_blob(store: Store) -> None:
    """The content in hand is right by its digest, so it replaces what is damaged."""
    version = store.put_bytes(b"right")
    overwrite(store.path_of(version), b"wrong")
    assert store.put_bytes(b"right") == version
    assert store.read(version) == b"right"


def test_missing_content_is_named(store: Store) -> None:
    """An absent version is an InputError that says what to do."""
    absent = digest_bytes(b"never kept")
    assert not store.has(absent)
    for use in (store.read, store.path_of):
        with pytest.raises(InputError, match="not in this store") as caught:
            use(absent)
        assert caught.value.reason == "artifact_missing"


@pytest.mark.parametrize("name", ["", "sha256:", "sha256:../../etc/passwd", "sha256:" + "G" * 64])
def test_what_is_no_version_is_refused(store: Store, name: str) -> None:
    """A malformed version never becomes a path."""
    assert not store.has(name)
    with pytest.raises(InputError, match="not an artifact version"):
        store.read(name)


def test_an_unreadable_source_is_the_callers_mistake(store: Store, tmp_path: Path) -> None:
    """A missing source file is an InputError that names it, not a fault of the store."""
    with pytest.raises(InputError, match="No such file") as caught:
        store.put_file(tmp_path / "absent.onnx")
    assert caught.value.where == str(tmp_path / "absent.onnx")


@pytest.mark.parametrize("step", ["fsync", "fchmod", "open"])
def test_a_full_disk_leaves_nothing_half_written(
    store: Store, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Wherever the disk refuses, the error names the store and the cure, and no file is left."""
    source = tmp_path / "model.onnx"
    source.write_bytes(b"model")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, refuse)
        for put, what in ((store.put_bytes, b"bytes"), (store.put_file, source)):
            with pytest.raises(Fault, match="No space left") as caught:
                put(what)
            assert str(root / "artifacts") in str(caught.value)
            assert "free space" in str(caught.value)
    assert files(root) == []
    assert store.put_file(source) == digest_bytes(b"model")


def test_what_a_killed_writer_left_is_removed_when_the_store_is_opened(
    store: Store, root: Path
) -> None:
    """A stale temporary file disappears at the next open; blobs stay."""
    version = store.put_bytes(b"kept")
    store.close()
    stale = root / "artifacts" / ".writing-abandoned"
    stale.write_bytes(b"half")
    with Store.open(root) as again:
        assert not stale.exists()
        assert again.read(version) == b"kept"


def test_a_living_writers_temporary_file_is_left_alone(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening the store while another writer is in the middle of a blob does not disturb it."""
    original = os.fchmod

    def open_meanwhile(descriptor: int, mode: int) -> None:
        Store.open(root).close()
        original(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", open_meanwhile)
    version = store.put_bytes(b"in progress")
    assert store.read(version) == b"in progress"


def test_content_that_comes_in_pieces_is_kept_if_it_is_what_was_due(
    store: Store, root: Path
) -> None:
    """What is something else is refused, and nothing of it is left."""
    version = digest_bytes(b"hello")
    store.put_chunks(version, iter([b"he", b"llo"]))
    assert store.read(version) == b"hello"
    with pytest.raises(Tampered, match="has the digest"):
        store.put_chunks(digest_bytes(b"goodbye"), iter([b"good", b"night"]))
    assert [path.read_bytes() for path in files(root)] == [b"hello"]
