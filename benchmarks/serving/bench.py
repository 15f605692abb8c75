"""One run of the benchmark: where its files are, how long things take, what was measured so far."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FULL", "QUICK", "Bench", "Lengths"]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Seconds and counts; the full run's sum to about half an hour."""

    grid_s: float
    """One setting of the grid, at one number of connections."""
    round_s: float
    rounds: int
    tail_s: float
    """One open-loop segment."""
    segments: int
    """Segments of each side in an alternation."""
    overload_s: float
    n_texts: int


FULL = Lengths(5, 6, 3, 10, 2, 300, 1000)
QUICK = Lengths(1, 1, 1, 2, 1, 5, 100)


@dataclass(frozen=True)
class Bench:
    """``out``: raw data, one JSON file a part, and the servers' logs."""

    out: Path
    lengths: Lengths
    peers: tuple[str, ...]

    def read(self, part: str) -> Any:
        """The raw data of a part; None where it was not run."""
        path = self.out / f"{part}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def write(self, part: str, data: object) -> None:
        """A part that is through. What there is of one that is not is ``keep``'s."""
        (self.out / f"{part}.json").write_text(json.dumps(data, indent=1) + "\n")

    def keep(self, part: str, data: object) -> None:
        """What was measured so far, for people: an interrupted part is run again."""
        self.write(f"{part}-unfinished", data)

    def needs(self, part: str) -> Any:
        """The raw data of a part that another one builds on."""
        data = self.read(part)
        if data is None:
            raise RuntimeError(f"run the part {part!r} first (its raw data is not in {self.out})")
        return data

    @property
    def store(self) -> Path:
        return self.out / "store"

    @property
    def model(self) -> dict[str, Any]:
        """What ``prepare`` wrote: files, texts, endpoints."""
        return dict(self.needs("prepare"))

    def bodies(self, name: str, bodies: list[bytes]) -> Path:
        """A file for wrk, one body a line."""
        path = self.out / f"{name}.bodies"
        path.write_bytes(b"\n".join(bodies) + b"\n")
        return path
