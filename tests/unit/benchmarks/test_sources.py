"""Which code made what a benchmark keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.compression.sources import code_digest, source_digest

PLAIN = "def f(x):\n    return x + 1\n"
TOLD = '"""A module."""\n\n\ndef f(\n    x,\n):\n    """Adds one."""\n    return x + 1  # one\n'
OTHER = "def f(x):\n    return x + 2\n"


def test_words_and_layout_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What computes the same is the same code; what computes another thing is not."""
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for body in (PLAIN, TOLD, OTHER):
        (tmp_path / "kept_by.py").write_text(body, encoding="utf-8")
        found.append((code_digest("kept_by"), source_digest("kept_by")))
    (plain, plain_source), (told, told_source), (other, _) = found
    assert plain == told != other
    assert plain_source != told_source
