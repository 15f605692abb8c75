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


@pytest.mark.parametrize("kind", ["_where", "_data"])
def test_another_machine_and_other_data_ask_anew(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries and CPU flags; the model, the texts, what is labelled."""
    assert Pieces("repair", tmp_path).of("a", lambda: 1) == 1
    monkeypatch.setattr(pieces, kind, lambda: {"numpy": "of another year"})
    assert Pieces("repair", tmp_path).of("a", lambda: 2) == 2


def test_the_data_are_known_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BANKING77", tmp_path)
    seen = []
    for text in ("text,category\n", "text,category\nhello,card\n"):
        (tmp_path / "train.csv").write_text(text, encoding="utf-8")
        pieces._data.cache_clear()
        seen.append(pieces._data()["train.csv"])
    pieces._data.cache_clear()
    assert len({*seen}) == 2


def test_what_the_machine_is_counts_but_not_how_many_threads_it_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces._where.cache_clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    found = pieces._where()
    pieces._where.cache_clear()
    variables = found["variables"]
    assert isinstance(variables, dict)
    assert {"flags", "libraries"} <= {*found}
    assert variables["DNNL_MAX_CPU_ISA"] == "AVX2"
    assert "OMP_NUM_THREADS" not in variables


def test_a_quick_run_takes_nothing_away_from_a_full_one(tmp_path: Path) -> None:
    """Neither its answers nor, when it comes to its end, what was kept."""
    full, quick = Pieces("repair", tmp_path), Pieces("repair", tmp_path, quick=True)
    assert full.of("a", lambda: 1) == 1
    assert quick.of("a", lambda: 2) == 2
    quick.forget()
    assert full.of("a", lambda: 3) == 1


def test_all_that_a_part_can_reach_is_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, ...]] = []

    def noted(*modules: str) -> str:
        seen.append(modules)
        return "sha256:code"

    monkeypatch.setattr(pieces, "code_digest", noted)
    Pieces("kernels")
    assert seen == [("benchmarks.compression.kernels", "headgate")]
