"""Does calibrating take bounded memory? Peak of a process that calibrates, beside one that infers.

Every figure is of a process of its own; texts are read and encoded as they are needed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
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
_ENGINES = {"onnxruntime": "fp32", "openvino": "fp32_openvino"}


def calibration_memory(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Peak RSS of calibrating over that of fp32 inference on the same items, and how it grows."""
    minilm()  # made before anything is measured
    counts = (32, 200) if quick else (32, 1_000, 10_000)
    inference = {e: _peak_mb(name, counts[0]) for e, name in _ENGINES.items()}
    targets: dict[str, Target] = {}
    peaks: dict[str, dict[int, float]] = {}
    for scheme in _SCHEMES:
        seen = peaks[scheme.name] = {n: _peak_mb(scheme.name, n) for n in counts}
        targets[f"{scheme.name}, peak over that of fp32 inference"] = at_most(
            seen[counts[-1]] / inference[scheme.engine], 1.5
        )
        targets[f"{scheme.name}, {counts[-1]:,} items over {counts[0]}"] = at_most(
            seen[counts[-1]] / seen[counts[0]], 1.1
        )
    return targets, {
        "fp32 inference, MB": inference,
        "calibrating, MB": {n: dict(by_count) for n, by_count in peaks.items()},
    }


def _peak_mb(name: str, items: int) -> float:
    command = [sys.executable, "-m", __name__, name, str(items)]

    def measured() -> float:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout.splitlines()[-1])

    peak_mb = Pieces("calibration_memory").of([name, items], measured)
    print(f"{name}, {items:,} items: {peak_mb:.0f} MB", flush=True)
    return peak_mb


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
