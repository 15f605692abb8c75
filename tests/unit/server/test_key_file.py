"""The file of API keys: read again, and never worse than it was."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from headgate.errors import InputError
from headgate.server.http import HttpError
from headgate.server.key_file import KeyFile
from tests.unit.server.test_keys import line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(line("red", "search"), encoding="utf-8")
    return path


def knows(keys: KeyFile, key: str) -> bool:
    try:
        return bool(keys.tenant_of({b"authorization": b"Bearer " + key.encode()}))
    except HttpError:
        return False


def test_what_the_file_says_now_holds(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key that is gone from it opens nothing, one that is new does; the log says so, once."""
    caplog.set_level("WARNING", "headgate.server")
    keys = KeyFile(path)
    path.write_text(line("blue", "search"), encoding="utf-8")
    assert knows(keys, "red")
    keys.look()
    keys.look()
    assert (knows(keys, "red"), knows(keys, "blue")) == (False, True)
    assert caplog.messages == [f"{path}: read again; API keys that hold: 1"]


def test_a_broken_file_changes_nothing_and_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does one that is gone; when it is whole again, it counts, and so does its next fault."""
    keys = KeyFile(path)
    path.write_text(line("blue", "search") + "what is this", encoding="utf-8")
    keys.look()
    keys.look()
    assert (knows(keys, "red"), knows(keys, "blue")) == (True, False)
    (told,) = caplog.records
    assert told.levelno == logging.ERROR
    assert f"the API keys stay as they were: {path}:2: 3 words" in told.getMessage()
    path.unlink()
    keys.look()
    assert knows(keys, "red")
    assert "no such file" in caplog.messages[-1]
    path.write_text(line("red", "search"), encoding="utf-8")
    keys.look()
    assert len(caplog.records) == 2, "it says again what holds already"
    path.unlink()
    keys.look()
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("content", "what"), [(None, "no such file"), (b"\xff", "not UTF-8"), (b"", "no key is in it")]
)
def test_nothing_is_served_by_a_file_that_was_never_whole(
    tmp_path: Path, content: bytes | None, what: str
) -> None:
    """An empty file is not a server that is open to all."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=what) as refused:
        KeyFile(path)
    assert refused.value.where == str(path)
    assert refused.value.fix
