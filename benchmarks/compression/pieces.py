"""Pieces of a long part: each is kept as it is done, so that a run that was killed goes on.

A piece lies in ``benchmarks/.compression/pieces/PART`` under the digest of what it answers, of all
code that it can reach, of the libraries and the CPU's flags, and of the data. Once its part has
come to an end all of them go: whoever asks again measures again. The quick version has a folder of
its own, so it takes nothing away from a full one that is not done yet.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.subjects import BANKING77, ROOT
from headgate.engines.probe import read_profile
from headgate.objects import digest, digest_bytes, short
from headgate.optimize.code import code_digest

__all__ = ["Pieces"]

T = TypeVar("T")


class Pieces:
    """What is known of one part."""

    def __init__(self, part: str, root: Path = ROOT, *, quick: bool = False) -> None:
        self.folder = root / "pieces" / (f"{part}.quick" if quick else part)
        self._circumstances = {
            "code": code_digest(f"benchmarks.compression.{part}", "headgate"),
            "where": _where(),
            "data": _data(),
        }

    def of(self, question: object, answer: Callable[[], T]) -> T:
        """What ``answer`` says, asked once; it is JSON, and is returned as JSON gives it back."""
        kept = self.place(question).with_suffix(".json")
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

    def place(self, question: object) -> Path:
        """A folder, there or not, for what an answer is made of: it goes when the pieces go."""
        return self.folder / short(digest({"question": question, **self._circumstances}))

    def forget(self) -> None:
        """All of the part's."""
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def _where() -> Mapping[str, object]:
    """What of the machine can change an answer; how many threads there are, each part says."""
    found = read_profile().environment
    variables = found["variables"]
    assert isinstance(variables, dict)
    isa = {name: v for name, v in variables.items() if not name.endswith("_NUM_THREADS")}
    names = ("architecture", "flags", "libraries", "python", "system")
    return {**{name: found[name] for name in names}, "variables": isa}


@cache
def _data() -> Mapping[str, str]:
    """Digests of what is measured on, as far as it is there."""
    files = [
        ROOT / "minilm.onnx",
        *(ROOT / "python-help").glob("*.jsonl"),
        *BANKING77.glob("*.csv"),
    ]
    return {f.name: digest_bytes(f.read_bytes()) for f in files if f.exists()}
