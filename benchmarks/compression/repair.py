"""Are models that int8 breaks mended within ten trials, with the speed that int8 was for?

A *failing* model loses more than a point to int8, on the items that the search sees and on as many
that it does not. A trial is good where the release gate's own bound shows that no more than the
margin is lost on the former; *mended* is what then loses no more than the margin on the latter too,
and keeps the speed, measured side by side.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.compression.failing import Load, Subject, population
from benchmarks.convention import Target, at_least, at_most
from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.engines.openvino_engine import OpenVinoEngine
from headgate.objects import Action, Axis, Bound, Contract, Direction, Verdict, digest
from headgate.quantization import INT8_STATIC, INT8_STATIC_QDQ, Calibration
from headgate.quantization.produce import measure_sensitivity, openvino_ir, quantize
from headgate.quantization.repair import BUDGET, LEAST_KEPT, Repair
from headgate.quantization.sensitivity import Layer
from headgate.release import PairedItems, judge

__all__ = ["repair"]

_MARGIN = 0.01
_INT8 = replace(INT8_STATIC, calibration=Calibration("min_max"))
"""Without smoothing, which would take out again what was put in."""
_BLOCKS = 15
_ORDERS = 3
"""Random orders that the guided one is held against."""

Scores = tuple[float, ...]


@dataclass
class Case:
    """A failing model, with everything that was made of it."""

    subject: Subject
    scratch: Path
    layers: tuple[Layer, ...]
    sensitivity_s: float
    fp32: Scores
    speedup: float = 0.0
    _held: dict[tuple[str, ...], bool] = field(default_factory=dict)

    def build(self, keep: Sequence[str]) -> Load:
        scheme = replace(_INT8, keep=tuple(keep))
        out = self.scratch / digest([self.subject.name, *keep])[-16:]
        if not out.exists():
            quantize(scheme, self.subject.model, out, calibration=self.subject.calibration)
        return partial(OpenVinoEngine, out / "model.xml", out / "model.bin", threads=1)

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


def _exact(subject: Subject, scratch: Path) -> Load:
    xml, weights = openvino_ir(subject.model, scratch / digest(subject.name)[-16:])
    return partial(OpenVinoEngine, xml, weights, threads=1)


def repair(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """Finds failing models, mends them guided and otherwise, and measures what is left of int8."""
    outcomes: list[dict[str, object]] = []
    ranked: list[float] = []
    tried = slow = sound = 0
    others: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for subject in population(scratch, quick=quick):
            tried += 1
            encoder = subject.name.startswith("MiniLM")
            if encoder:
                ranked.append(_rank_correlation(subject, scratch))
            case = _failing(subject, scratch)
            if case is None:
                sound += 1
                continue
            if case.speedup <= 1.05:
                slow += 1  # int8 brings nothing that a repair could keep
                continue
            found = _mend(case, case.layers)
            outcome = _outcome(case, found)
            outcomes.append(outcome)
            if not encoder:
                for name, mended in _unguided(case).items():
                    others[name].append(mended)
                others["guided"].append(found.best is not None)
            print(outcome, flush=True)
    mended = [o for o in outcomes if o["mended"]]
    share = len(mended) / len(outcomes) if outcomes else float("nan")
    most = max((int(str(o["trials"])) for o in outcomes), default=0)
    kept = [float(str(o["speed kept"])) for o in mended]
    targets = {
        "failing models, mended": at_least(share, 0.8),
        "trials of one model, at most": at_most(most, BUDGET),
        "speed kept by the mended, least": at_least(min(kept, default=float("nan")), LEAST_KEPT),
        "guided less random order, mended": at_least(
            _share(others["guided"]) - _share(others["random order"]), 0.0
        ),
    }
    return targets, {
        "models": {
            "tried": tried,
            "int8 holds": sound,
            "no faster": slow,
            "failing": len(outcomes),
        },
        "trials, median": statistics.median([int(str(o["trials"])) for o in outcomes] or [0]),
        "speed kept, median": statistics.median(kept or [float("nan")]),
        "certified on the holdout": sum(bool(o["certified"]) for o in outcomes),
        "mended in the search": {name: _share(held) for name, held in sorted(others.items())},
        "rank correlation with each layer quantized alone": {
            "models": len(ranked),
            "median": statistics.median(ranked or [float("nan")]),
            "least": min(ranked, default=float("nan")),
        },
        "each": outcomes,
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


def _mend(case: Case, layers: Sequence[Layer]) -> Repair:
    search = Repair(layers, speedup=case.speedup)
    while (keep := search.ask()) is not None:
        search.tell(keep, met=case.holds(keep))
        if search.ask() is None and search.best is not None and search.best.speed_kept is None:
            kept = _faster(case.subject, case.build(search.best.keep), case.build(()))
            search.tell(search.best.keep, met=True, speed_kept=1 / kept)
    return search


def _outcome(case: Case, search: Repair) -> dict[str, object]:
    best = search.best
    found: dict[str, object] = {
        "model": case.subject.name,
        "products": len(case.layers),
        "int8 lost": _rounded(_lost(case.subject.evaluate(case.build(())), case.fp32)),
        "speed-up of int8": _rounded(case.speedup),
        "trials": len(search.trials),
        "why": str(search.why),
        "sensitivity took, s": _rounded(case.sensitivity_s),
        "mended": False,
        "certified": False,
    }
    if best is None or best.speed_kept is None:
        return found
    scores = case.subject.holdout(case.build(best.keep))
    lost = _lost(scores, case.holdout)
    return found | {
        "kept": list(best.keep),
        "holdout lost": _rounded(lost),
        "speed kept": _rounded(best.speed_kept),
        "mended": lost <= _MARGIN and best.speed_kept >= LEAST_KEPT,
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


def _rank_correlation(subject: Subject, scratch: Path) -> float:
    """Spearman's, of the noise with how far outputs move where one layer alone is int8.

    On ONNX Runtime, where a build takes a second. How far is the mean squared distance of the
    outputs, over the mean square of fp32's.
    """
    scheme = replace(INT8_STATIC_QDQ, calibration=Calibration("min_max"))
    layers = measure_sensitivity(scheme, subject.model, subject.calibration, scratch=scratch)
    (batch,) = subject.timed
    exact = OnnxRuntimeEngine(subject.model, threads=1).run(batch).astype(np.float64)
    moved = []
    for layer in layers:
        others = tuple(other.name for other in layers if other is not layer)
        alone = quantize(
            replace(scheme, keep=others), subject.model, scratch, calibration=subject.calibration
        )
        outputs = OnnxRuntimeEngine(alone["model.onnx"], threads=1).run(batch)
        moved.append(float(np.square(outputs - exact).sum() / np.square(exact).sum()))
    return float(spearmanr([layer.noise for layer in layers], moved).statistic)


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


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
