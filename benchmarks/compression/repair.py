"""Are models that int8 breaks mended within ten trials, with the speed that int8 was for?

Models are drawn (``failing``), and every one of them that int8 breaks is taken: it loses more than
a point, on the items that the search sees and on as many that it does not. A trial is good where
the release gate's own bound shows that no more than the margin is lost on the former. What the
search ends with is then made anew and measured: *mended* is what took at most ten builds, loses no
more than the margin on the items that no trial saw, and keeps four fifths of the speed of int8, by
turns with it. Engines have one thread and are timed by the processor seconds that they take, so
whoever else uses the machine does not count.

Each draw is a process of its own, ``python -m benchmarks.compression.repair _guided SEED``, and so
are the ways without sensitivity that it is held against (``_unguided``). First all of the former.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compression.alternating import alternate, over_loads, ratio
from benchmarks.compression.failing import Load, Subject, bases, draw, made
from benchmarks.compression.pieces import Pieces
from benchmarks.convention import Target, at_least
from headgate.engines.openvino_engine import OpenVinoEngine
from headgate.engines.probe import read_profile
from headgate.objects import Action, Axis, Bound, Contract, Direction, Verdict, digest
from headgate.quantization import BF16, INT8_STATIC, Calibration
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

Scores = Sequence[float]
Outcome = dict[str, object]


@dataclass(frozen=True)
class Variant:
    """A way to run a subject: which products stay out of int8, and what they compute in."""

    keep: tuple[str, ...] | None
    """None: all of them, nothing is quantized."""
    compute: str = "fp32"


_FP32, _BF16, _PLAIN = Variant(None), Variant(None, "bf16"), Variant(())


@dataclass
class Case:
    """A drawn model, and everything that was made of it."""

    subject: Subject
    scratch: Path
    pieces: Pieces

    def load(self, variant: Variant) -> Load:
        """What loads it; made where it is not there yet."""
        out = self.scratch / digest([self.subject.name, variant.keep])[-16:]
        if not out.exists():
            self._make(variant, out)
        return partial(
            OpenVinoEngine,
            out / "model.xml",
            out / "model.bin",
            threads=1,
            compute=variant.compute,
        )

    def _make(self, variant: Variant, out: Path) -> None:
        if variant.keep is None:
            openvino_ir(self.subject.model, out)
        else:
            scheme = replace(_INT8, keep=variant.keep)
            quantize(scheme, self.subject.model, out, calibration=self.subject.calibration)

    def scores(self, split: str, variant: Variant) -> Scores:
        """Of the items that the search may see (``evaluate``), or of others (``holdout``)."""
        judge = {"evaluate": self.subject.evaluate, "holdout": self.subject.holdout}[split]
        question = [self.subject.name, split, variant.keep, variant.compute]
        return self.pieces.of(question, lambda: judge(self.load(variant)))

    def lost(self, split: str, variant: Variant) -> float:
        return statistics.fmean(self.scores(split, _FP32)) - statistics.fmean(
            self.scores(split, variant)
        )

    def shown(self, split: str, variant: Variant) -> bool:
        """Whether the gate's bound keeps the margin."""
        scores, current = (tuple(self.scores(split, v)) for v in (variant, _FP32))
        items = tuple(str(i) for i in range(len(scores)))
        paired = PairedItems("accuracy", Direction.HIGHER, items, scores, current)
        return judge(_CONTRACT, paired).verdict is Verdict.PASS

    @cached_property
    def kept_in(self) -> str:
        """As ``optimize.mending`` chooses it."""
        bf16 = BF16.runs_with(read_profile().flags) and self.shown("evaluate", _BF16)
        return (_BF16 if bf16 else _FP32).compute

    def mixed(self, keep: Sequence[str]) -> Variant:
        return Variant(tuple(keep), self.kept_in)

    @property
    def breaks(self) -> bool:
        """Whether int8 loses more than the margin, on both splits."""
        return all(self.lost(split, _PLAIN) > _MARGIN for split in ("evaluate", "holdout"))

    def sensitivity(self) -> tuple[tuple[Layer, ...], float]:
        """Every product's, and the seconds that it took."""

        def measured() -> tuple[list[dict[str, Any]], float]:
            began_s = time.perf_counter()
            layers = measure_sensitivity(
                _INT8, self.subject.model, self.subject.calibration, scratch=self.scratch
            )
            return [asdict(layer) for layer in layers], time.perf_counter() - began_s

        rows, took_s = self.pieces.of([self.subject.name, "sensitivity"], measured)
        return tuple(Layer(**row) for row in rows), took_s

    def times_faster(self, fast: Variant, *, than: Variant) -> float:
        """As the search is told it: from some blocks."""
        question = [self.subject.name, "faster", asdict(fast), asdict(than)]
        return self.pieces.of(
            question, lambda: _faster(self.subject, self.load(than), self.load(fast))
        )


def repair(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """What became of every draw, and the share of the failing ones that was mended."""
    seeds = _SEEDS[:3] if quick else _SEEDS
    outcomes = {seed: _in_a_process(_guided, seed) for seed in seeds}
    failing = {seed: o for seed, o in outcomes.items() if o["int8"] == "fails"}
    for seed, outcome in failing.items():
        outcome |= _in_a_process(_unguided, seed)
    mended = [bool(o["mended"]) for o in failing.values()]
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
    kept = _numbers({seed: o for seed, o in failing.items() if o["mended"]}, "speed kept")
    return targets, {
        "draws": Counter(str(o["int8"]) for o in outcomes.values()),
        "trials": sorted(map(int, _numbers(failing, "trials"))),
        "speed kept by the mended, least and median": [min(kept), statistics.median(kept)]
        if kept
        else [],
        "shown on the items that no trial saw": _share(
            [bool(o["certified"]) for o in failing.values()]
        ),
        "a set found": ways,
        "each": list(outcomes.values()),
    }


def _guided(case: Case) -> Outcome:
    """What becomes of one draw."""
    name = case.subject.name
    if not case.breaks:
        return {"model": name, "int8": "holds"}
    speedup = case.times_faster(_PLAIN, than=_FP32)
    if speedup <= 1.05:  # it brings nothing that a repair could keep
        return {"model": name, "int8": "no faster"}
    layers, took_s = case.sensitivity()
    search = _mend(case)
    return {
        "model": name,
        "int8": "fails",
        "products": len(layers),
        "int8 lost": _rounded(case.lost("evaluate", _PLAIN)),
        "speed-up of int8": _rounded(speedup),
        "sensitivity took, s": _rounded(took_s),
        "kept in": case.kept_in,
        "trials": len(search.trials),
        "why": str(search.why),
        **_measured_anew(case, search),
        "guided": float(search.best is not None),
    }


def _search(case: Case, layers: Sequence[Layer]) -> Repair:
    return Repair(layers, speedup=case.times_faster(_PLAIN, than=Variant(None, case.kept_in)))


def _mend(case: Case) -> Repair:
    """As ``optimize.mending`` does it."""
    search = _search(case, case.sensitivity()[0])
    while (keep := search.ask()) is not None:
        search.tell(keep, met=case.shown("evaluate", case.mixed(keep)))
        best = search.best
        if search.ask() is None and best is not None and best.speed_kept is None:
            share = case.times_faster(case.mixed(best.keep), than=_PLAIN)
            search.tell(best.keep, met=True, speed_kept=share)
    return search


def _measured_anew(case: Case, search: Repair) -> Outcome:
    """Of what the search ended with, made once more: nothing that it was told is believed."""
    best = search.best
    if best is None:
        return {"mended": False, "certified": False}
    case = replace(case, scratch=case.scratch / "anew")
    mended = case.mixed(best.keep)
    lost = case.lost("holdout", mended)
    (batch,) = case.subject.timed
    load = {"int8": case.load(_PLAIN), "mended": case.load(mended)}
    seconds = over_loads(
        load, dict.fromkeys(load, batch), loads=5, rounds=5, clock=time.process_time
    )
    kept = ratio(seconds["int8"], seconds["mended"])
    return {
        "kept": list(best.keep),
        "lost on items that no trial saw": _rounded(lost),
        "speed kept": _rounded(kept.value),
        "speed kept, bounds": [_rounded(kept.lower), _rounded(kept.upper)],
        "mended": lost <= _MARGIN and kept.value >= LEAST_KEPT and len(search.trials) <= BUDGET,
        "certified": case.shown("holdout", mended),
    }


def _unguided(case: Case) -> Outcome:
    """How often each way without sensitivity finds a set that holds, in as many trials.

    ``random order`` is the very same search, with noise that is drawn, some draws a model;
    ``graph order`` takes the layers as they come; ``one by one`` adds one of these a trial.
    """
    layers, _ = case.sensitivity()
    n = len(layers)
    graph = [replace(a, noise=(n - i) * a.work) for i, a in enumerate(layers)]
    rng = np.random.default_rng(0)
    drawn = [
        [replace(a, noise=float(r) * a.work) for a, r in zip(layers, rng.random(n), strict=True)]
        for _ in range(_ORDERS)
    ]

    def holds(keep: Sequence[str]) -> bool:
        return case.shown("evaluate", case.mixed(keep))

    def finds(layers: Sequence[Layer]) -> bool:
        search = _search(case, layers)
        while (keep := search.ask()) is not None:
            search.tell(keep, met=holds(keep))
            if search.best is not None:
                return True
        return False

    names, room = [a.name for a in layers], _search(case, layers)
    fits = [names[:k] for k in range(1, min(BUDGET, n) + 1)]
    return {
        "random order": _share([finds(order) for order in drawn]),
        "graph order": float(finds(graph)),
        "one by one": float(any(room.estimate(k) >= LEAST_KEPT and holds(k) for k in fits)),
    }


def _faster(subject: Subject, slow: Load, fast: Load) -> float:
    """Time of ``slow`` over that of ``fast``: median of the ratios of interleaved blocks."""
    engines = {"slow": slow(), "fast": fast()}
    (batch,) = subject.timed
    seconds = alternate(
        engines,
        dict.fromkeys(engines, batch),
        rounds=_BLOCKS,
        least_s=0.02,
        clock=time.process_time,
    )
    return float(np.median(seconds["slow"] / seconds["fast"]))


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


def _share(held: Sequence[float]) -> float:
    return sum(held) / len(held) if held else float("nan")


def _numbers(outcomes: Mapping[int, Outcome], name: str) -> list[float]:
    return [float(str(o[name])) for o in outcomes.values()]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


_HALVES: Mapping[str, Callable[[Case], Outcome]] = {f.__name__: f for f in (_guided, _unguided)}


def _in_a_process(half: Callable[[Case], Outcome], seed: int) -> Outcome:
    """One half of what is asked of a draw."""

    def asked() -> Outcome:
        command = [sys.executable, "-m", __name__, half.__name__, str(seed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        outcome: Outcome = json.loads(done.stdout.splitlines()[-1])
        print(json.dumps(outcome), flush=True)
        return outcome

    return Pieces("repair").of([half.__name__, seed], asked)


def _one(half: str, seed: int) -> Outcome:
    """The work of one process."""
    pieces = Pieces("repair")
    with tempfile.TemporaryDirectory() as folder:
        subject = made(draw(seed, bases()), Path(folder))
        return _HALVES[half](Case(subject, Path(folder), pieces))


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], int(sys.argv[2]))))
