"""What the winner owes to its teacher: the student in it against the control of equal compute.

The control is trained and measured for the winner alone, and where there is a student in it: it
costs as much as the student did (docs/decisions/0040-students-and-their-control.md). Both are
measured where the winner was certified: on the split that chose it the student was lucky, and its
control was not chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headgate.distillation import Advice, Gain, gain_of
from headgate.objects import Bound, Build, canonical, jsonable, parse
from headgate.optimize.job import Job
from headgate.optimize.making import Maker
from headgate.optimize.making.heads import trained_head, untaught_head
from headgate.optimize.making.students import trained_student, untaught_student
from headgate.optimize.measure import measure_quality
from headgate.optimize.quality import QualitySamples, agreement
from headgate.optimize.recorder import Call, Output, transformation
from headgate.planning import BUILDS
from headgate.release import Rule

__all__ = ["gain_of_teacher"]

_METRICS = ("recall@10", "accuracy")
"""What the gain is told in, where it was measured; else in the endpoint's agreement."""
_Make = Callable[[Maker, str], Build]
_MARGIN = 0.02
"""Where no contract says what may be lost."""


@transformation("distill.gain")
def gain(call: Call) -> Mapping[str, Output]:
    """Student and control, compared item by item."""
    student, control, teacher = (
        QualitySamples.from_json(parse(call.store.read(call.u[name])))
        for name in ("student", "control", "teacher")
    )
    metric = next((m for m in _METRICS if m in student.scores), call.c["agreement"])
    values = [
        samples.scores[metric] if metric in samples.scores else agreement(samples, teacher)
        for samples in (student, control, teacher)
    ]
    found = gain_of(metric, *values, margin=call.c["margins"].get(metric, _MARGIN))
    return {"gain": Output(canonical(jsonable(found)), "samples", "json Gain")}


def gain_of_teacher(job: Job, rule: Rule, winner: str) -> Gain | None:
    """Of the student in the candidate ``winner``, on the data that it was certified on, by
    ``rule``; None where there is none in it, or none can be without its teacher: a classifier's, of
    data without labels, and a predictor's, whose labels only the endpoint's own metrics read.

    Both are measured as they were trained, in fp32. Their answers to a holdout belong to the use
    that the certificate was, now or in an earlier run: they decide nothing, and what they are of
    was chosen before. Raises as ``trained_student`` does.
    """
    candidate = BUILDS[winner]
    name = candidate.student
    if name is None:
        return None
    making: tuple[_Make, _Make] = (trained_student, untaught_student)
    if candidate.of_head:
        if job.config.task != "classify" or "train" not in job.inputs.labels:
            return None
        making = (trained_head, untaught_head)
    maker = Maker.of(job, failures_stand=True)
    student, control = (make(maker, name) for make in making)
    measured = {}
    roles = {"teacher": job.source.build, "student": student, "control": control}
    for role, build in roles.items():
        _, run = measure_quality(
            job.recorder, build, job.behaviour, dataset=rule.dataset, split=rule.split
        )
        measured[role] = run.outputs["samples"]
    margins = {c.metric: c.limit for c in job.contracts if c.bound is Bound.NOT_BELOW_CURRENT_BY}
    agreement_of = "agreement@10" if job.config.task == "embed" else "agreement"
    done = maker.recorder.run(
        gain, u=measured, c={"margins": margins, "agreement": agreement_of}, detail=name
    )
    body = parse(job.store.read(done.outputs["gain"]))
    return Gain(**{**body, "advice": Advice(body["advice"])})
