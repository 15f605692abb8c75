"""Does the same scheme give the same bytes? Twenty processes, each with a hash seed of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

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
    seen = [_digests(names, hash_seed=seed) for seed in range(runs)]
    targets = {
        f"{name}, of {runs} runs as the first": at_least(
            sum(run[name] == seen[0][name] for run in seen), runs
        )
        for name in names
    }
    return targets, {"digests": seen[0]}


def _digests(names: tuple[str, ...], *, hash_seed: int) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, *names],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=True,
        timeout=3600,
    )
    digests: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return digests


def _make(names: list[str]) -> None:
    """One process's work: makes each scheme's files, and prints their digests."""
    subject = minilm()
    build = subject.build("fp32", "onnxruntime", {"model.onnx": subject.onnx}, threads=1)
    codec = codec_for(build, Path)
    encoded = codec.encode(subject.calibrate[:_ITEMS], truncate=True)
    items = [codec.collate([e]) for e in encoded]
    digests: dict[str, dict[str, str]] = {}
    for scheme in SCHEMES:
        if scheme.name in names:
            with tempfile.TemporaryDirectory() as folder:
                made = quantize(scheme, subject.onnx, Path(folder), calibration=items)
                digests[scheme.name] = {
                    name: hashlib.sha256(path.read_bytes()).hexdigest()
                    for name, path in made.items()
                }
    print(json.dumps(digests))


if __name__ == "__main__":
    _make(sys.argv[1:])
