"""Does the same scheme give the same bytes? Of each twenty processes, all with other hash seeds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.compression.pieces import Pieces
from benchmarks.compression.subjects import minilm
from benchmarks.convention import Target, at_least
from headgate.engines import codec_for
from headgate.quantization import INT8_DYNAMIC, INT8_STATIC_QDQ, SCHEMES
from headgate.quantization.produce import quantize

__all__ = ["identical"]

_ITEMS = 8
"""Calibration items: how many changes the ranges, not how they are made."""
_RUNS = 20
_MADE = tuple(s.name for s in SCHEMES if s.makes_files)
_QUICK = (INT8_DYNAMIC.name, INT8_STATIC_QDQ.name)


def identical(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """For each scheme, in how many of the runs its files had the digests of the first."""
    minilm()
    names, runs = (_QUICK, 3) if quick else (_MADE, _RUNS)
    pieces = Pieces("identical", quick=quick)
    seen = {
        name: [
            pieces.of([name, seed], partial(_digests, name, hash_seed=seed)) for seed in range(runs)
        ]
        for name in names
    }
    targets = {
        f"{name}, of {runs} runs as the first": at_least(sum(d == found[0] for d in found), runs)
        for name, found in seen.items()
    }
    return targets, {"digests": {name: found[0] for name, found in seen.items()}}


def _digests(name: str, *, hash_seed: int) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, name],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    digests: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return digests


def _make(name: str) -> None:
    """One process's work: makes the scheme's files, and prints their digests."""
    subject = minilm()
    build = subject.build("fp32", "onnxruntime", {"model.onnx": subject.onnx}, threads=1)
    codec = codec_for(build, Path)
    encoded = codec.encode(subject.calibrate[:_ITEMS], truncate=True)
    items = [codec.collate([e]) for e in encoded]
    (scheme,) = [s for s in SCHEMES if s.name == name]
    with tempfile.TemporaryDirectory() as folder:
        made = quantize(scheme, subject.onnx, Path(folder), calibration=items)
        digests = {
            file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in made.items()
        }
    print(json.dumps(digests))


if __name__ == "__main__":
    _make(sys.argv[1])
