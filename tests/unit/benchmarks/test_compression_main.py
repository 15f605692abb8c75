"""The command that runs the parts: what it says in its lines, and which pieces it forgets."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.compression import __main__ as command
from benchmarks.compression.pieces import Pieces
from benchmarks.convention import at_least


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Parts that measure nothing; where their pieces lie."""

    def pieces(part: str, *, quick: bool) -> Pieces:
        return Pieces("repair", tmp_path, quick=quick)

    def part(*, quick: bool) -> tuple[dict[str, object], dict[str, object]]:
        pieces("repair", quick=quick).of("a", lambda: 1)
        return {"one": at_least(1, 1)}, {}

    fake = SimpleNamespace(repair=part, kernels=part)
    monkeypatch.setattr(command, "import_module", lambda name: fake)
    monkeypatch.setattr(command, "Pieces", pieces)
    return tmp_path / "pieces"


def test_a_quick_run_forgets_its_own_pieces_and_a_full_one_its_own(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pieces("repair", kept.parent).of("of a run that was killed", lambda: 1)
    monkeypatch.setattr(sys, "argv", ["compression", "repair", "--quick"])
    assert command.main() == 0
    assert [folder.name for folder in kept.iterdir()] == ["repair"]
    monkeypatch.setattr(sys, "argv", ["compression", "repair"])
    assert command.main() == 0
    assert not list(kept.iterdir())


@pytest.mark.parametrize(("part", "said"), [("repair", ["BANKING77"]), ("kernels", [])])
def test_data_that_are_not_there_are_named_by_the_parts_that_want_them(
    part: str,
    said: list[str],
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "BANKING77", kept / "nowhere")
    monkeypatch.setattr(sys, "argv", ["compression", part])
    command.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["name"], line["missing"]) == (f"compression.{part}", said)
