"""Gate in one place, serve in another: files and processes, as they are typed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bundles import Origin
from tests.e2e.endpoints import HEADGATE, content_of
from tests.e2e.test_serve_command import embed, served


def typed(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEADGATE, *arguments], cwd=here, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    made = Origin(tmp_path_factory.mktemp("ci"), own=True)
    made.release()
    return made


@pytest.fixture(scope="module")
def exported(origin: Origin) -> dict[str, str]:
    said = typed(origin.root, "export", "--bundle", "docs.bundle", "--json")
    assert said.returncode == 0, said.stderr
    return dict(json.loads(said.stdout))


def test_a_release_is_served_where_nothing_else_is(
    origin: Origin, exported: dict[str, str], tmp_path: Path
) -> None:
    """The file and the key are all that comes; the answers are those of the first machine."""
    shutil.copy(origin.root / "docs.bundle", tmp_path / "docs.bundle")
    here = tmp_path / "elsewhere"
    here.mkdir()
    said = typed(here, "import", "../docs.bundle", "--key", exported["key"])
    assert said.returncode == 0, said.stderr
    first, *_ = said.stdout.splitlines()
    assert first.startswith("docs is at generation 1: candidate  variant ")
    assert "all 12 answers are the same" in said.stdout
    assert "latency_p95 at most 1" in said.stdout
    assert sorted(p.name for p in here.iterdir()) == [".headgate", "own.py"]
    assert typed(here, "verify", "--key", exported["key"]).returncode == 0
    with served(origin.root / ".headgate") as (url, _):
        there = [embed(url, text) for text in ("hello", " text 3")]
    with served(here / ".headgate") as (url, _):
        assert [embed(url, text) for text in ("hello", " text 3")] == there


def test_without_a_key_nobody_is_believed(
    origin: Origin, exported: dict[str, str], tmp_path: Path
) -> None:
    """Exit code 2, with what to do; the directory is as it was."""
    said = typed(tmp_path, "import", str(origin.root / "docs.bundle"))
    assert said.returncode == 2
    assert "--key: whose signature is to be trusted was not said" in said.stderr
    assert "headgate checkpoint --json" in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_damaged_on_the_way_leaves_the_store_as_it_was(
    origin: Origin, exported: dict[str, str], tmp_path: Path
) -> None:
    """In its list or in what that lists: exit code 3."""
    for place in (2000, -2000):
        content = bytearray((origin.root / "docs.bundle").read_bytes())
        content[place] = ord("B" if content[place] == ord("A") else "A")  # base64 still
        (tmp_path / "damaged").write_bytes(content)
        before = content_of(tmp_path)
        said = typed(tmp_path, "import", "damaged", "--key", exported["key"])
        assert said.returncode == 3, said.stderr
        assert "is not what was signed" in said.stderr
        assert content_of(tmp_path) == before


def test_a_baseline_has_nothing_that_could_be_shown(tmp_path: Path) -> None:
    """Generation 0 was there before any decision."""
    Origin(tmp_path)
    said = typed(tmp_path, "export", "--bundle", "docs.bundle")
    assert said.returncode == 3
    assert "nothing was decided of it" in said.stderr
    assert not (tmp_path / "docs.bundle").exists()
