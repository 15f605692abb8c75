"""Small endpoints as a user has them: a directory with headgate.yaml, a model and data."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.engines.measure import Timed, Times, service_times
from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.engines.openvino_engine import OpenVinoEngine
from headgate.testing import ManualClock
from headgate.workload import Tensors
from tests.models import tiny_classifier, tiny_embedder, tiny_tokenizer

__all__ = [
    "HEADGATE",
    "change",
    "classifier",
    "content_of",
    "embedder",
    "measure_briefly",
    "served",
    "take",
    "write_rows",
]

HEADGATE = [sys.executable, "-m", "headgate"]

_HEAD = """\
endpoint: {endpoint}
owner: {{team: search, escalate: "command:true"}}
task: {task}
data: {{evaluate: evaluate.jsonl}}
workload: {{rate_per_s: 50, requests: 60}}
prices: {{device_second: 0.00002}}
candidates: [int8_dynamic]
"""


def measure_briefly(patch: pytest.MonkeyPatch) -> None:
    """What a load test asks of servers before it begins takes tenths of a second, and so does a
    curve."""
    for name, short in (
        ("load.replay._AA_S", 0.3),
        ("load.probe._PROBE_S", 0.3),
        ("load.probe._SHELL_REQUESTS", 200),
        ("load.probe._LONE_REQUESTS", 40),
        ("load.servers._WARM_S", 0.5),
        ("job._CURVE_BUDGET_S", 0.3),
    ):
        patch.setattr(f"headgate.optimize.{name}", short)


def take(patch: pytest.MonkeyPatch, seconds: Callable[[Path, int], float]) -> None:
    """What this process times takes what ``seconds`` says of each call, by model and rows, however
    fast the machine is: which build is cheaper is then the test's to say. Engines run all the same,
    one at a time and few times each. Servers are other processes, and load is what it is."""
    clock = ManualClock()

    def timed(engine: type[OnnxRuntimeEngine | OpenVinoEngine]) -> None:
        ran = engine.run

        def run(self: Any, tensors: Tensors) -> NDArray[np.generic]:
            clock.advance(seconds(self._model, len(next(iter(tensors.values())))))
            return ran(self, tensors)

        patch.setattr(engine, "run", run)

    def alone(builds: Sequence[Timed], **given: Any) -> list[Times]:
        given |= {"clock": clock.now_s, "cpu_clock": clock.now_s, "max_repeats": 3}
        return service_times([replace(b, instances=b.instances[:1]) for b in builds], **given)

    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        timed(engine)
    patch.setattr("headgate.optimize.measure.service_times", alone)
    patch.setattr("headgate.optimize.blocks.time", SimpleNamespace(perf_counter=clock.now_s))


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def classifier(here: Path) -> Path:
    """Numbers in, classes out, with labels; returns its headgate.yaml."""
    tiny_classifier(here / "model.onnx")
    rng = np.random.default_rng(0)
    write_rows(
        here / "evaluate.jsonl",
        ({"id": f"i{k}", "input": rng.normal(size=4).tolist(), "label": k % 3} for k in range(40)),
    )
    yaml = here / "headgate.yaml"
    head = _HEAD.format(endpoint="digits", task="classify")
    yaml.write_text(head + "model: {onnx: model.onnx}\n", encoding="utf-8")
    return yaml


def embedder(here: Path) -> Path:
    """Short texts in, vectors out, without labels; the model takes 12 tokens."""
    tiny_embedder(here / "model.onnx")
    tiny_tokenizer(here / "tokenizer.json")
    write_rows(here / "evaluate.jsonl", ({"id": f"t{k}", "text": f"text {k}"} for k in range(40)))
    yaml = here / "headgate.yaml"
    head = _HEAD.format(endpoint="docs", task="embed")
    model = "model: {onnx: model.onnx, tokenizer: tokenizer.json, max_tokens: 12}\n"
    yaml.write_text(head + model, encoding="utf-8")
    return yaml


@contextmanager
def served(yaml: Path, *options: str) -> Iterator[str]:
    """The address of a server of the endpoint, in a process of its own."""
    command = [*HEADGATE, "serve", "-f", str(yaml), *options, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()


def change(yaml: Path, old: str, new: str) -> None:
    """The file with one thing changed."""
    text = yaml.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is not in {yaml} once"
    yaml.write_text(text.replace(old, new), encoding="utf-8")


def content_of(root: Path) -> dict[str, str]:
    """Every file under ``root`` with the hash of its bytes; locks, always empty, aside."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.parent.name != "locks"
    }
