"""What a cascade does on a workload: who escalates there, and how long its calls take.

Both parts are measured as any build is. How often the second is asked is a property of the items
that callers send, so it comes from these, by the very policy that serves (``escalates``), and the
curve is composed (``workload.cascade``).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.config import load_workload
from headgate.distillation import escalates
from headgate.engines.load import load_part
from headgate.objects import CASCADE, Build, canonical, cascade_of, parts_of
from headgate.optimize.answers import Answerer
from headgate.optimize.measure import MeasuredCurve, build_inputs, npy
from headgate.optimize.recorder import Asked, Call, Output, transformation
from headgate.optimize.served import served_codec
from headgate.runtime.servable import build_from_json
from headgate.workload import CascadeTimes, ServiceCurve

__all__ = [
    "ESCALATED",
    "asked_escalations",
    "composed",
    "escalated_items",
    "measured_parts",
    "share_of_items",
]

ESCALATED = "escalated.npy"


@transformation("cascade.escalations")
def escalations(call: Call) -> Mapping[str, Output]:
    """Which requests of a workload the teacher answers."""
    build, path_of = build_from_json(call.c["build"]), call.store.path_of
    call.progress(0.0, f"{build.name}: who escalates")
    parts = parts_of(build)
    codec = served_codec(build, path_of, preprocess=call.c["preprocess"], root=call.root)
    student = Answerer(load_part(parts.student, path_of), codec, truncate=True)
    with contextlib.closing(student):
        outputs = student.answer(load_workload(call.path("workload")).items)
    asked = npy(escalates(outputs, parts.threshold, build.task))
    return {ESCALATED: Output(asked, "samples", "npy bool, one a request")}


def asked_escalations(build: Build, *, workload: str, preprocess: str | None) -> Asked:
    """To be asked of a cascade before it is planned; ``escalated_items`` reads the answer."""
    # Who escalates is the same on any number of threads: one run for all plans.
    one = {"build": replace(build, threads=1), "preprocess": preprocess}
    return Asked(escalations, u=build_inputs(build, workload=workload), c=one, detail=build.name)


def escalated_items(content: bytes) -> NDArray[np.bool_]:
    """One a request of the workload."""
    found: NDArray[np.bool_] = np.load(io.BytesIO(content), allow_pickle=False)
    return found


def share_of_items(
    sample: Sequence[object], requests: Sequence[object], escalated: NDArray[np.bool_]
) -> float:
    """Of ``sample``, the share that escalates; all of them are among ``requests`` (n,), of which
    ``escalated`` (n,) says it, and all are JSON.

    >>> share_of_items(["a", "b", "b"], ["b", "c", "a"], np.array([True, False, False]))
    0.667
    """
    known = dict(zip(map(canonical, requests), map(bool, escalated), strict=True))
    return sum(known[canonical(item)] for item in sample) / len(sample)


def measured_parts(build: Build) -> tuple[Build, ...]:
    """The builds whose curves are measured for that of ``build``: itself, or two for a cascade.

    The student's is that of a cascade in which nobody escalates, so that asking who does is in it:
    some ten microseconds a call, as long as a small student takes.
    """
    if build.engine != CASCADE:
        return (build,)
    parts = parts_of(build)
    return cascade_of(f"{build.name}/student", replace(parts, threshold=0.0)), parts.teacher


def composed(student: MeasuredCurve, teacher: MeasuredCurve, share: float) -> MeasuredCurve:
    """The curve of a cascade of which the ``share`` escalates, on one instance plan."""
    times = CascadeTimes(student.curve, teacher.curve, share)
    shapes = [(p.size, p.longest) for p in student.points]
    points = times.points(shapes)
    whole_s = sum(p.seconds for p in points)
    own_s = sum(student.curve.predict_s(*shape) for shape in shapes)
    cores = (own_s * student.cores_used + (whole_s - own_s) * teacher.cores_used) / whole_s
    curve = ServiceCurve.fit(points, length_multiple=student.curve.length_multiple)
    return MeasuredCurve(
        student.plan, curve, tuple(points), cores, student.run, (student.curve, teacher.curve)
    )
