"""Pieces of a long part: each is kept as it is done, so that a run that was killed goes on.

A piece lies in ``benchmarks/.compression/pieces/PART`` under the digest of what it answers and of
all code that it can reach. Once its part has come to an end all of them go: whoever asks again
measures again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.subjects import ROOT
from headgate.objects import digest, short
from headgate.optimize.code import code_digest

__all__ = ["Pieces"]

T = TypeVar("T")


class Pieces:
    """What is known of one part."""

    def __init__(self, part: str, root: Path = ROOT) -> None:
        self.folder = root / "pieces" / part
        self._code = code_digest(f"benchmarks.compression.{part}", "headgate")

    def of(self, question: object, answer: Callable[[], T]) -> T:
        """What ``answer`` says, asked once; it is JSON, and is returned as JSON gives it back."""
        kept = self.folder / f"{short(digest({'question': question, 'code': self._code}))}.json"
        if not kept.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = kept.with_suffix(f".{os.getpid()}")
            unfinished.write_text(
                json.dumps({"question": question, "answer": answer()}), encoding="utf-8"
            )
            unfinished.replace(kept)
        known: T = json.loads(kept.read_text(encoding="utf-8"))["answer"]
        return known

    def arrays_of(
        self, question: object, answer: Callable[[], Mapping[str, NDArray[np.float64]]]
    ) -> dict[str, NDArray[np.float64]]:
        """As ``of``, where the answer is arrays by name."""
        found = self.of(question, lambda: {name: a.tolist() for name, a in answer().items()})
        return {name: np.array(rows) for name, rows in found.items()}

    def forget(self) -> None:
        """All of the part's."""
        shutil.rmtree(self.folder, ignore_errors=True)
