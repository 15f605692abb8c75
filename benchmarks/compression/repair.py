"""Are models that int8 breaks mended within ten trials, with the speed that int8 was for?

Models are drawn (``failing``), and every one of them that int8 breaks is taken: it loses more than
a point, on the items that the search sees and on as many that it does not. A trial is good where
the release gate's own bound shows that no more than the margin is lost on the former. What the
search ends with is then made anew and measured: *mended* is what took at most ten builds, loses no
more than the margin on the items that no trial saw, and keeps four fifths of the speed of int8, by
turns with it.

Each draw is a process of its own: ``python -m benchmarks.compression.repair SEED`` is one.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from benchmarks.compression.alternating import over_loads, ratio
from benchmarks.compression.failing import Load, Subject, bases, draw, made
from benchmarks.convention import Target, at_least
from headgate.engines.openvino_engine import OpenVinoEngine
from headgate.objects import Action, Axis, Bound, Contract, Direction, Verdict, digest
from headgate.quantization import INT8_STATIC, Calibration
from headgate.quantization.produce import measure_sensitivity, openvino_ir, quantize
from headgate.quantization.repair import BUDGET, LEAST_KEPT, Repair
from headgate.quantization.sensitivity import Layer
from headgate.release import PairedItems, judge

__all__ = ["repair"]

_SEEDS = range(2000, 2030)
"""The population. What is tried out is tried on others (from 1000 on)."""
_LEAST = 10
"""Of failing models, for a share of them to say anything."""
_MARGIN = 0.01
_INT8 = replace(INT8_STATIC, calibration=Calibration("min_max"))
"""Without smoothing, which would take out again what was put in."""
_BLOCKS = 15
_ORDERS = 3
"""Random orders that the guided one is held against."""

Scores = tuple[float, ...]
Outcome = dict[str, object]


@dataclass
class Case:
    """A failing model, with everything that was made of it."""

    subject: Subject
    scratch: Path
    layers: tuple[Layer, ...]
    sensitivity_s: float
    fp32: Scores
    speedup: float = 0.0
    builds: int = 0
    """Made so far."""
    _held: dict[tuple[str, ...], bool] = field(default_factory=dict)

    def build(self, keep: Sequence[str]) -> Load:
        out = self.scratch / digest([self.subject.name, *keep])[-16:]
        return self.made(keep, out) if not out.exists() else _engine(out)

    def made(self, keep: Sequence[str], out: Path) -> Load:
        scheme = replace(_INT8, keep=tuple(keep))
        quantize(scheme, self.subject.model, out, calibration=self.subject.calibration)
        self.builds += 1
        return _engine(out)

    def holds(self, keep: Sequence[str]) -> bool:
        """Whether the gate's bound keeps the margin on the items that the search may see."""
        known = tuple(keep)
        if known not in self._held:
            scores = self.subject.evaluate(self.build(keep))
            self._held[known] = _passes(scores, self.fp32)
        return self._held[known]

    @cached_property
    def holdout(self) -> Scores:
        return self.subject.holdout(_exact(self.subject, self.scratch))


def _engine(out: Path) -> Load:
    return partial(OpenVinoEngine, out / "model.xml", out / "model.bin", threads=1)


def _exact(subject: Subject, scratch: Path) -> Load:
    xml, weights = openvino_ir(subject.model, scratch / digest(subject.name)[-16:])
    return partial(OpenVinoEngine, xml, weights, threads=1)


def repair(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """What became of every draw, and the share of the failing ones that was mended."""
    outcomes: list[Outcome] = []
    for seed in _SEEDS[:3] if quick else _SEEDS:
        outcomes.append(_in_its_own_process(seed))
        print(outcomes[-1], flush=True)
    failing = [o for o in outcomes if o["int8"] == "fails"]
    mended = [bool(o["mended"]) for o in failing]
    ways = {
        way: statistics.fmean(_numbers(failing, way)) if failing else float("nan")
        for way in ("guided", "random order", "graph order", "one by one")
    }
    targets = {
        "failing models": at_least(len(failing), 1 if quick else _LEAST),
        "failing models, mended": at_least(_share(mended), 0.8),
        "guided less random order, a set found": at_least(
            ways["guided"] - ways["random order"], 0.0
        ),
    }
    kept = _numbers([o for o in failing if o["mended"]], "speed kept")
    return targets, {
        "draws": {
            what: sum(o["int8"] == what for o in outcomes)
            for what in ("holds", "no faster", "fails")
        },
        "trials": sorted(map(int, _numbers(failing, "trials"))),
        "speed kept by the mended, least and median": [min(kept), statistics.median(kept)]
        if kept
        else [],
        "shown on the items that no trial saw": _share([bool(o["certified"]) for o in failing]),
        "a set found": ways,
        "each": outcomes,
    }


def _in_its_own_process(seed: int) -> Outcome:
    command = [sys.executable, "-m", __name__, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=7200)
    outcome: Outcome = json.loads(done.stdout.splitlines()[-1])
    return outcome


def _one(seed: int) -> Outcome:
    """What becomes of one draw."""
    with tempfile.TemporaryDirectory() as folder:
        subject = made(draw(seed, bases()), Path(folder))
        case = _failing(subject, Path(folder))
        if case is None:
            return {"model": subject.name, "int8": "holds"}
        if case.speedup <= 1.05:  # it brings nothing that a repair could keep
            return {"model": subject.name, "int8": "no faster"}
        before = case.builds
        search = _mend(case)
        return {
            "model": subject.name,
            "int8": "fails",
            "products": len(case.layers),
            "int8 lost": _rounded(_lost(case.subject.evaluate(case.build(())), case.fp32)),
            "speed-up of int8": _rounded(case.speedup),
            "sensitivity took, s": _rounded(case.sensitivity_s),
            "trials": case.builds - before,
            "why": str(search.why),
            **_measured_anew(case, search, trials=case.builds - before),
            "guided": float(search.best is not None),
            **_unguided(case),
        }


def _failing(subject: Subject, scratch: Path) -> Case | None:
    """The case, where int8 loses more than the margin on both splits."""
    exact = _exact(subject, scratch)
    fp32 = subject.evaluate(exact)
    began = time.perf_counter()
    layers = measure_sensitivity(_INT8, subject.model, subject.calibration, scratch=scratch)
    case = Case(subject, scratch, layers, time.perf_counter() - began, fp32)
    plain = case.build(())
    if _lost(subject.evaluate(plain), fp32) <= _MARGIN:
        return None
    if _lost(subject.holdout(plain), case.holdout) <= _MARGIN:
        return None
    case.speedup = _faster(subject, exact, plain)
    return case


def _mend(case: Case) -> Repair:
    """As ``optimize.mending`` does it."""
    search = Repair(case.layers, speedup=case.speedup)
    while (keep := search.ask()) is not None:
        search.tell(keep, met=case.holds(keep))
        if search.ask() is None and search.best is not None and search.best.speed_kept is None:
            kept = _faster(case.subject, case.build(search.best.keep), case.build(()))
            search.tell(search.best.keep, met=True, speed_kept=1 / kept)
    return search


def _measured_anew(case: Case, search: Repair, *, trials: int) -> Outcome:
    """Of what the search ended with, made once more: nothing that it was told is believed."""
    best = search.best
    if best is None:
        return {"mended": False, "certified": False}
    mended = case.made(best.keep, case.scratch / "anew")
    scores = case.subject.holdout(mended)
    lost = _lost(scores, case.holdout)
    (batch,) = case.subject.timed
    load = {"int8": case.build(()), "mended": mended}
    seconds = over_loads(load, dict.fromkeys(load, batch), loads=5, rounds=5)
    kept = ratio(seconds["int8"], seconds["mended"])
    return {
        "kept": list(best.keep),
        "lost on items that no trial saw": _rounded(lost),
        "speed kept": _rounded(kept.value),
        "speed kept, bounds": [_rounded(kept.lower), _rounded(kept.upper)],
        "mended": lost <= _MARGIN and kept.value >= LEAST_KEPT and trials <= BUDGET,
        "certified": _passes(scores, case.holdout),
    }


def _unguided(case: Case) -> dict[str, float]:
    """How often each way without sensitivity finds a set that holds, in as many trials.

    ``random order`` is the very same search, with noise that is drawn, some draws a model;
    ``graph order`` takes the layers as they come; ``one by one`` adds one of these a trial.
    """
    n = len(case.layers)
    graph = [replace(a, noise=(n - i) * a.work) for i, a in enumerate(case.layers)]
    rng = np.random.default_rng(0)
    drawn = [
        [
            replace(a, noise=float(r) * a.work)
            for a, r in zip(case.layers, rng.random(n), strict=True)
        ]
        for _ in range(_ORDERS)
    ]

    def finds(layers: Sequence[Layer]) -> bool:
        search = Repair(layers, speedup=case.speedup)
        while (keep := search.ask()) is not None:
            search.tell(keep, met=case.holds(keep))
            if search.best is not None:
                return True
        return False

    names = [a.name for a in case.layers]
    room = Repair(case.layers, speedup=case.speedup)
    fits = [names[:k] for k in range(1, min(BUDGET, n) + 1)]
    return {
        "random order": _share([finds(layers) for layers in drawn]),
        "graph order": float(finds(graph)),
        "one by one": float(any(room.estimate(k) >= LEAST_KEPT and case.holds(k) for k in fits)),
    }


def _faster(subject: Subject, slow: Load, fast: Load) -> float:
    """Time of ``slow`` over that of ``fast``: median of the ratios of interleaved blocks."""
    engines = [slow(), fast()]

    def seconds(k: int, repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            for batch in subject.timed:
                engines[k].run(batch)
        return time.perf_counter() - start

    seconds(0, 2), seconds(1, 2)
    repeats = max(1, round(0.02 / seconds(1, 1)))
    ratios = []
    for block in range(_BLOCKS):
        order = (0, 1) if block % 2 else (1, 0)
        took = {k: seconds(k, repeats) for k in order}
        ratios.append(took[0] / took[1])
    return statistics.median(ratios)


_CONTRACT = Contract(
    "accuracy",
    Axis.QUALITY,
    Bound.NOT_BELOW_CURRENT_BY,
    _MARGIN,
    "the margin of this benchmark",
    Action.ROLLBACK,
    "command:true",
    "previous",
)


def _passes(scores: Scores, current: Scores) -> bool:
    items = tuple(str(i) for i in range(len(scores)))
    paired = PairedItems("accuracy", Direction.HIGHER, items, scores, current)
    return judge(_CONTRACT, paired).verdict is Verdict.PASS


def _lost(scores: Scores, current: Scores) -> float:
    return statistics.fmean(current) - statistics.fmean(scores)


def _share(held: Sequence[float]) -> float:
    return sum(held) / len(held) if held else float("nan")


def _numbers(outcomes: Sequence[Outcome], name: str) -> list[float]:
    return [float(str(o[name])) for o in outcomes]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    print(json.dumps(_one(int(sys.argv[1]))))
