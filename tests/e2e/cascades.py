"""A cascade as a user has it: a forest, a small student before it, and the job that found it."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.app import run
from headgate.ledger import Store
from headgate.runtime.servable import Servable

from .endpoints import change, measure_briefly, served, take, write_rows

__all__ = ["Job", "ask", "forest_job"]

_FOREST_BYTES = 1_000_000
"""Its file has more, and a student's less."""


def _takes_s(model: Path, rows: int) -> float:
    """A forest 5 ms an item, beside which neither a student nor a slow server is much."""
    return 1e-4 + rows * (5e-3 if model.stat().st_size > _FOREST_BYTES else 1e-5)


@dataclass(frozen=True)
class Job:
    """The endpoint, and what the job reported of it."""

    yaml: Path
    report: dict[str, Any]

    @property
    def store(self) -> Path:
        return self.yaml.parent / ".headgate"

    @property
    def winner(self) -> Servable:
        with Store.open(self.store) as store:
            return Servable.load(store, self.report["winner_id"])

    def runs(self, transformation: str) -> list[Mapping[str, Any]]:
        """The bodies of its runs, as they are on record."""
        with Store.open(self.store) as store:
            bodies = [e.body for e in store.entries("run")]
        return [body for body in bodies if body["transformation"] == transformation]

    def served(self) -> AbstractContextManager[str]:
        """The address of a server of the winner."""
        return served(self.yaml, "--variant", self.report["winner_id"])


def forest_job(
    here: Path,
    task: str,
    teacher: str,
    splits: Mapping[str, Iterable[Mapping[str, object]]],
    promises: str,
) -> Job:
    """Runs ``optimize`` on what ``teacher``, the source of an ``estimator()``, fits: with rows for
    train, calibrate and evaluate, and ``promises`` in place of the template's contracts. That the
    forest is dear and its student cheap is made up, so that no stopwatch decides what wins."""
    assert run(["init", str(here), "--task", task]) == 0
    (here / "forest.py").write_text(teacher, encoding="utf-8")
    for name, rows in splits.items():
        write_rows(here / f"{name}.jsonl", rows)
    yaml = here / "headgate.yaml"
    change(yaml, "onnx: model.onnx", 'sklearn: "forest:estimator"')
    more = "  train: train.jsonl\n  calibrate: calibrate.jsonl\n"
    change(yaml, "evaluate: evaluate.jsonl\n", f"evaluate: evaluate.jsonl\n{more}")
    change(yaml, "rate_per_s: 20", "rate_per_s: 20\n  requests: 400")
    text = re.sub(r"(?ms)^metrics:\n.*?\n\n", "", yaml.read_text(encoding="utf-8"))
    yaml.write_text(re.sub(r"(?ms)^contracts:\n.*?\n\n", promises, text), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        measure_briefly(patch)
        take(patch, _takes_s)
        assert run(["optimize", str(yaml)]) in (0, 4)
    return Job(yaml, json.loads((here / "report.json").read_text(encoding="utf-8")))


def ask(url: str, items: Sequence[list[float]]) -> Any:
    """What ``/predict`` answers, as it stands."""
    body = json.dumps({"inputs": items}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())
