"""A predictor and a student that says how far off it is: does its cascade keep what is declared?

Values of Friedman (1991) with noise, five of ten numbers telling; the teacher is a random forest,
through ONNX. What is lost is how much further off the student is than the forest, of the 30 that
the values range over.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compression.classifiers import KEPT_FILES, Classified, Split
from headgate.distillation import HEADS, answers, escalates, learn_threshold, lost_worth, sureness
from headgate.distillation.heads import train_value_head
from headgate.engines import codec_for
from headgate.engines.export_head import export_value_head
from headgate.engines.signature import model_inputs
from headgate.objects import Build

__all__ = ["Predicted", "friedman"]

_SPAN = 30.0
_TRAIN, _CALIBRATE, _EVALUATE = 2000, 1000, 4000
_TREES = 200

Values = NDArray[np.generic]


@dataclass(frozen=True)
class Predicted:
    """A teacher of values with its three splits, and a student of its answers."""

    data: Classified
    student: Build
    risk: float
    """Declared, a share of the range."""

    @cached_property
    def _calibrate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._seen(self.data.calibrate)

    @cached_property
    def _evaluate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._seen(self.data.evaluate)

    def _seen(self, split: Split) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How sure the student is of each item, and what is lost of it."""
        outputs = self.data.scores(self.student, split)
        ours, theirs = answers(outputs, "predict"), self.data.scores(self.data.teacher, split)
        off = [np.minimum(np.abs(v[:, 0] - split.labels), _SPAN).tolist() for v in (ours, theirs)]
        return sureness(outputs, "predict"), lost_worth(*off, span=_SPAN, higher=False)

    def kept(self, calibrations: int) -> float:
        """The share of calibrations, each on draws with replacement from all items that nobody
        learnt from, whose threshold keeps the risk on all of these."""
        sure, lost = (
            np.concatenate(pair) for pair in zip(self._calibrate, self._evaluate, strict=True)
        )
        rng, kept = np.random.default_rng(0), 0
        for _ in range(calibrations):
            drawn = rng.integers(len(sure), size=len(self.data.calibrate))
            found = learn_threshold(sure[drawn], lost[drawn], self.risk)
            kept += found is not None and float(lost[sure >= found.least].sum()) <= self.risk * len(
                lost
            )
        return kept / calibrations

    @property
    def threshold(self) -> float:
        """Of the one calibration split; +inf where everything escalates."""
        found = learn_threshold(*self._calibrate, self.risk)
        return np.inf if found is None else found.least

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Which of the items to judge by escalate."""
        outputs = self.data.scores(self.student, self.data.evaluate)
        return escalates(outputs, self.threshold, "predict")

    @property
    def details(self) -> dict[str, object]:
        """What the cascade loses on the items to judge by, and the student alone."""
        found, (_, lost) = learn_threshold(*self._calibrate, self.risk), self._evaluate
        return {
            "threshold": None if found is None else asdict(found),
            "risk": self.risk,
            "escalated": float(self.asked.mean()),
            "lost": float(lost[~self.asked].sum() / len(lost)),
            "lost by the student alone": float(lost.mean()),
        }


def friedman(name: str, *, risk: float) -> Predicted:
    """The forest, and the student ``name`` of what it answers to what it learnt from."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import make_friedman1
    from sklearn.ensemble import RandomForestRegressor

    numbers, values = make_friedman1(_TRAIN + _CALIBRATE + _EVALUATE, noise=1.0, random_state=0)
    whole = Split(list(numbers.astype(np.float32)), values)
    places = np.split(np.arange(len(whole)), [_TRAIN, _TRAIN + _CALIBRATE])
    train, calibrate, evaluate = (whole.of(part) for part in places)
    forest = RandomForestRegressor(_TREES, random_state=0, n_jobs=1)
    forest.fit(np.array(train.items), train.labels)
    graph = to_onnx(forest, initial_types=[("input", FloatTensorType([None, 10]))], target_opset=18)
    KEPT_FILES.mkdir(exist_ok=True)
    model, out = KEPT_FILES / "friedman.onnx", KEPT_FILES / f"friedman-{name}.onnx"
    model.write_bytes(graph.SerializeToString(deterministic=True))
    data = Classified(_build("teacher", model), train, calibrate, evaluate)
    made = train_value_head(
        [e.content for e in codec_for(data.teacher, Path).encode(train.items)],
        data.answers.astype(np.float64),
        vocabulary=None,
        table=None,
        recipe=HEADS[name],
        seed=0,
    )
    inputs = model_inputs(data.teacher, Path)
    export_value_head(made, inputs, out, dtype=str(data.answers.dtype), doubts=True)
    return Predicted(data, _build(name, out), risk)


def _build(name: str, model: Path) -> Build:
    files = {"model.onnx": str(model)}
    return Build(name, "predict", "onnxruntime", "fp32", files, None, 1, 1)
