"""Does calibrating take bounded memory? Peak of a process that calibrates, beside one that infers.

Every figure is of five processes of its own, since allocators and threads have some luck in them:
the worst of those that calibrate is held against the best of those that infer. Texts are read and
encoded as they are needed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from benchmarks.compression.pieces import Pieces
from benchmarks.compression.subjects import minilm
from benchmarks.convention import Target, at_most
from headgate.engines import codec_for, load
from headgate.engines.peak import peak_bytes
from headgate.quantization import INT8_STATIC, INT8_STATIC_QDQ, SCHEMES
from headgate.quantization.produce import quantize
from headgate.workload import Tensors

__all__ = ["calibration_memory"]

_LONGEST = 128
_SCHEMES = (INT8_STATIC_QDQ, INT8_STATIC)
_PROCESSES = 5
_ENGINES = {"onnxruntime": "fp32", "openvino": "fp32_openvino"}


def calibration_memory(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Peak RSS of calibrating over that of fp32 inference on the same items, and how it grows."""
    minilm()  # made before anything is measured
    counts, processes = ((32, 200), 2) if quick else ((32, 1_000, 10_000), _PROCESSES)
    peaks = partial(_peaks_mb, Pieces("calibration_memory", quick=quick), processes)
    inference = {e: peaks(name, counts[0]) for e, name in _ENGINES.items()}
    targets: dict[str, Target] = {}
    calibrating: dict[str, dict[int, list[float]]] = {}
    for scheme in _SCHEMES:
        seen = calibrating[scheme.name] = {n: peaks(scheme.name, n) for n in counts}
        targets[f"{scheme.name}, highest peak over the lowest of fp32 inference"] = at_most(
            max(map(max, seen.values())) / min(inference[scheme.engine]), 1.5
        )
        targets[f"{scheme.name}, highest of {counts[-1]:,} items over lowest of {counts[0]}"] = (
            at_most(max(seen[counts[-1]]) / min(seen[counts[0]]), 1.1)
        )
    return targets, {
        "processes a figure": processes,
        "fp32 inference, MB, each process": inference,
        "calibrating, MB, each process": calibrating,
    }


def _peaks_mb(pieces: Pieces, processes: int, name: str, items: int) -> list[float]:
    """Of each process, in order."""
    command = [sys.executable, "-m", __name__, name, str(items)]

    def measured() -> float:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return round(float(done.stdout.splitlines()[-1]), 1)

    found = sorted(pieces.of([name, items, k], measured) for k in range(processes))
    print(f"{name}, {items:,} items: {found} MB", flush=True)
    return found


class _Stream:
    """``n`` texts as the model takes them, one at a time."""

    def __init__(self, n: int) -> None:
        self._subject, self._n = minilm(), n
        build = self._subject.build(
            "fp32", "onnxruntime", {"model.onnx": self._subject.onnx}, threads=1
        )
        self._codec = codec_for(build, Path)

    def __iter__(self) -> Iterator[Tensors]:
        texts = islice(cycle(self._subject.train), self._n)
        for text in texts:
            (encoded,) = self._codec.encode([text], truncate=True)
            yield self._codec.collate([encoded.resized(min(encoded.length, _LONGEST))])


def _one(name: str, items: int) -> None:
    """One process's work; prints its peak in MB."""
    stream = _Stream(items)
    subject = minilm()
    if name in _ENGINES.values():
        engine_name = next(e for e, plain in _ENGINES.items() if plain == name)
        build = subject.build("fp32", engine_name, {"model.onnx": subject.onnx}, threads=1)
        engine = load(build, Path)
        for tensors in stream:
            engine.run(tensors)
    else:
        (scheme,) = [s for s in SCHEMES if s.name == name]
        with tempfile.TemporaryDirectory() as folder:
            quantize(scheme, subject.onnx, Path(folder), calibration=stream)
    print(peak_bytes() / 2**20)


if __name__ == "__main__":
    given = argparse.ArgumentParser()
    given.add_argument("name")
    given.add_argument("items", type=int)
    _one(**vars(given.parse_args()))
