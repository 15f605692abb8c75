"""Looks at every candidate before it is paid for: what applies here, what is expected, what not.

Forecasts come from the pure previews of ``quantization`` and ``distillation``; this module knows
what the endpoint has (data, extras, an encoder) and asks them. Each forecast is an entry of the
ledger, so that it can be held against what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.distillation import Recipe, break_even_requests
from headgate.engines import codec_for
from headgate.engines.check import check_onnx
from headgate.objects import jsonable
from headgate.optimize.job import Job
from headgate.optimize.making.cascades import lacks_for_cascade
from headgate.optimize.measure import MeasuredCurve
from headgate.planning import CANDIDATES, Candidate
from headgate.quantization import ModelFacts, QuantizationForecast, Scheme, forecast
from headgate.report import words

__all__ = ["Forecast", "preview"]

UNKNOWN_SPEEDUP = (0.5, 8.0)
_STUDENT_SPEEDUP = (1.5, 2.5)
"""Of half the layers."""
_BACKWARD = 2.0
"""A backward pass costs about two forward passes (Kaplan et al., arXiv 2001.08361, section 2.1)."""
_HEAD_EXPECTED = {
    False: "a small model of the teacher's answers; training takes seconds",
    True: "the teacher answers what a small student is not sure of",
}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a candidate; ``skip`` says why it is not tried, if so."""

    name: str
    skip: str
    expected: str
    """In words: how fast, how large, what making it costs."""
    warnings: tuple[str, ...]
    entry: str
    """Of the ledger."""
    speedup: tuple[float, float] = UNKNOWN_SPEEDUP
    """90 % interval of the time that the model takes for a batch, over this one's."""
    making_s: float = 10.0
    """Of the device, about."""


def preview(job: Job, curve: MeasuredCurve) -> Sequence[Forecast]:
    """A forecast for each candidate that the endpoint names; ``curve`` is the baseline's.

    None of a server that is not ours: there is nothing that a candidate could be made of.
    """
    if job.source.build.foreign:
        return ()
    facts = check_onnx(job.store.path_of(job.source.build.files["model.onnx"]))
    return [_look_at(job, name, facts, curve) for name in job.config.candidates]


def _look_at(job: Job, name: str, facts: ModelFacts, curve: MeasuredCurve) -> Forecast:
    candidate = CANDIDATES[name]
    lacks = [*_lacks(job, candidate)]
    expected: list[str] = []
    warnings: tuple[str, ...] = ()
    body: dict[str, object] = {}
    low, high, making_s = 1.0, 1.0, 10.0
    if candidate.scheme.quantizes:
        quantized = _quantized(job, candidate.scheme, facts)
        if not quantized.applies:
            lacks.append(quantized.reason)
        speed = quantized.speedup
        expected.append(f"{speed.low:.1f}x to {speed.high:.1f}x the speed")
        expected.append(words.size(quantized.file_bytes))
        warnings = quantized.warnings
        low, high = speed.low, speed.high
        body["quantization"] = quantized
    if candidate.classifies:
        expected.append(_HEAD_EXPECTED[candidate.cascade])
        low, high = UNKNOWN_SPEEDUP
    elif candidate.student is not None and not lacks:
        said, training_s = _student(job, curve, body)
        expected.append(said)
        making_s += training_s
        low, high = low * _STUDENT_SPEEDUP[0], high * _STUDENT_SPEEDUP[1]
    skip = "; ".join(lacks)
    said = "" if skip else ", ".join(expected)
    said_of = {
        "endpoint": job.config.endpoint,
        "candidate": name,
        "skip": skip,
        "expected": said,
    }
    known = job.store.latest("forecast", **said_of)
    entry = known or job.store.append("forecast", jsonable(body | said_of))
    return Forecast(name, skip, said, warnings, entry.id, (low, high), making_s)


def _lacks(job: Job, candidate: Candidate) -> Sequence[str]:
    """What the endpoint or the machine does not have, that the candidate needs."""
    needs: list[tuple[bool, str]] = []
    if candidate.scheme.extra == "openvino":
        there = "openvino" in job.profile.libraries
        needs.append((there, "OpenVINO is not installed: pip install 'headgate[openvino]'"))
    if candidate.scheme.needs_calibration:
        needs.append((bool(job.inputs.calibrate), "data: calibrate is not declared"))
    if candidate.student is not None:
        needs += [
            (
                "torch" in job.profile.libraries,
                "torch is not installed: pip install 'headgate[train]'",
            ),
            (bool(job.inputs.train), "data: train is not declared"),
        ]
        if candidate.classifies:
            return [*(what for there, what in needs if not there), *_lacks_head(job, candidate)]
        if not job.source.encoder:  # nothing that could be installed or declared helps
            return ["a student takes layers of a transformers encoder (model: {path: DIR})"]
    return [what for there, what in needs if not there]


def _lacks_head(job: Job, candidate: Candidate) -> Sequence[str]:
    """The same of a classifier's small student, alone or before its teacher."""
    if job.config.task != "classify":
        return [f"{candidate.student} is a student of a classifier"]
    if job.config.postprocess is not None:
        return ["what postprocess makes of the scores is not what a student learns"]
    if not candidate.cascade:
        return []
    lacking = lacks_for_cascade(job.contracts, len(job.inputs.calibrate))
    return [lacking] if lacking else []


def _quantized(job: Job, scheme: Scheme, facts: ModelFacts) -> QuantizationForecast:
    model = job.source.build.files["model.onnx"]
    size = job.store.path_of(model).stat().st_size
    return forecast(
        scheme, facts, job.profile.flags, source_file_bytes=size, baseline_memory_bytes=size
    )


def _student(job: Job, curve: MeasuredCurve, body: dict[str, object]) -> tuple[str, float]:
    """Half the layers: what training costs, and after how many requests it has paid for itself;
    in words, and the seconds of training."""
    recipe = Recipe()
    codec = codec_for(job.source.build, job.store.path_of)
    sample = codec.encode(job.inputs.train[:500], truncate=True)
    length = round(sum(e.length for e in sample) / len(sample))
    forward_s = curve.curve.predict_s(recipe.batch_texts, length) / 2
    once_s = curve.curve.predict_s(32, length) * min(len(job.inputs.train), recipe.max_texts) / 32
    training_s = recipe.steps * forward_s * (1 + _BACKWARD) + once_s
    request_s = curve.curve.predict_s(1, job.lengths[len(job.lengths) // 2])
    requests = break_even_requests(training_s, request_s, request_s / 2)
    body["student"] = {"training_device_s": training_s, "break_even_requests": requests}
    said = (
        f"half the layers; training takes about {words.seconds(training_s)}, "
        f"earned back by {words.count(requests)} requests"
    )
    return said, training_s
