"""Pieces of a long part: asked once, and kept until the part has come to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compression import pieces
from benchmarks.compression.pieces import Pieces


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    answers = iter([1, 2, 3])
    kept = Pieces("repair", tmp_path)
    assert kept.of("a", lambda: next(answers)) == 1
    assert kept.of(["b", 7], lambda: next(answers)) == 2
    assert Pieces("repair", tmp_path).of("a", lambda: next(answers)) == 1
    kept.forget()
    assert kept.of("a", lambda: next(answers)) == 3


def test_an_answer_is_the_same_when_it_is_new_and_when_it_was_kept(tmp_path: Path) -> None:
    """JSON has no tuples: who is asked first is not told anything else than who comes later."""
    kept = Pieces("repair", tmp_path)
    assert kept.of("a", lambda: (1, 2)) == kept.of("a", lambda: (1, 2)) == [1, 2]


def test_a_piece_whose_making_failed_is_made_the_next_time(tmp_path: Path) -> None:
    kept = Pieces("repair", tmp_path)
    with pytest.raises(ZeroDivisionError):
        kept.of("a", lambda: 1 // 0)
    assert kept.of("a", lambda: 2) == 2


def test_other_code_asks_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Pieces("repair", tmp_path).of("a", lambda: 1) == 1
    monkeypatch.setattr(pieces, "code_digest", lambda *modules: "sha256:changed")
    assert Pieces("repair", tmp_path).of("a", lambda: 2) == 2


def test_all_that_a_part_can_reach_is_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, ...]] = []

    def noted(*modules: str) -> str:
        seen.append(modules)
        return "sha256:code"

    monkeypatch.setattr(pieces, "code_digest", noted)
    Pieces("kernels")
    assert seen == [("benchmarks.compression.kernels", "headgate")]
