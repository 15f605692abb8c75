"""What each student would be worth, from pilots that cost at most a tenth of its training.

Runs the pilots (``making.pilots``) and asks the pure half (``distillation.piloted``, ``preview``)
what their figures mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from headgate.config import RetrievalSet
from headgate.distillation import (
    METRICS,
    RECORDED,
    STUDENTS,
    Advice,
    Piloted,
    PilotPlan,
    Recipe,
    StudentPreview,
    plan_pilots,
    preview,
    subset,
)
from headgate.objects import Action, Bound, Contract, parse
from headgate.optimize.admission import admit
from headgate.optimize.forecasts import HOPELESS
from headgate.optimize.job import Job
from headgate.optimize.making import Maker
from headgate.optimize.making.pilots import pilots
from headgate.optimize.making.students import on_this_machine, teacher_answers
from headgate.optimize.measure import VECTORS, build_inputs
from headgate.optimize.recorder import Recorded
from headgate.optimize.stages import Baseline
from headgate.theory.intervals import Range

__all__ = ["StudentForecast", "forecast_student"]

_GLOOM = (Advice.DO_NOT_TRAIN, Advice.LEARN_MORE, Advice.TRAIN)
_COST_ERROR = 1.35
"""A training took up to so many times as long, or as short, as its pilots said."""


@dataclass(frozen=True, slots=True)
class StudentForecast:
    """What is expected of one student, in its model's own precision."""

    loses: Mapping[str, Range]
    """Metric of a contract relative to current -> what of it is lost."""
    meets: float | None
    """Chance to keep those that stop a promotion; None where none is."""
    training_s: Range
    """Device seconds, the teacher's answers among them."""
    break_even_requests: float
    advice: Advice
    hopeless: str
    """Why it is left out; empty where it is not."""
    pilots_share: float
    """What the pilots were to cost, as a share of the training."""
    run: Recorded

    @property
    def detail(self) -> Mapping[str, object]:
        """For the forecast's entry: the same however often it is asked for."""
        return {
            "loses": self.loses,
            "training_device_s": self.training_s,
            "break_even_requests": self.break_even_requests,
            "advice": self.advice,
            "pilots_share": self.pilots_share,
            "pilots": self.run.entry,
        }


def forecast_student(job: Job, baseline: Baseline, name: str) -> StudentForecast | str:
    """The forecast of the student ``name``; why there is none, where pilots would tell nothing.

    Raises what training raises.
    """
    contracts = [c for c in job.contracts if _is_forecast(c)]
    data = job.inputs.evaluate
    if not isinstance(data, RetrievalSet) or data.relevant is None or not contracts:
        return "pilots know recall@10 and mrr@10 of labelled queries, and no contract is on these"
    if job.behaviour.postprocess is not None:
        return "pilots do not know what postprocess makes of a student's answers"
    maker = Maker.of(job)
    device, recipe = on_this_machine(maker, STUDENTS[name])
    recipe = replace(recipe, max_texts=min(recipe.max_texts, len(_learnt(job))))
    plan = plan_pilots(recipe, teacher_layers=_layers(job), evaluation_texts=_texts(job, data))
    if plan is None:
        return "a tenth of its training is too little for pilots"
    done = _piloted(job, maker, baseline, name, plan, device)
    found = parse(job.store.read(done.outputs["pilots"]))
    figures = Piloted.from_json(recipe, plan, found, items=len(data.queries))
    draws = figures.forecasts(RECORDED, np.random.default_rng(job.recorder.seed))
    training_s = plan.training_s(found["device_s"])
    request_s = baseline.curve.curve.predict_s(1, job.lengths[len(job.lengths) // 2])
    looks = {
        c.metric: preview(
            draws[c.metric],
            margin=c.limit,
            training_cost=training_s,
            cost_per_request=request_s,
            student_cost_per_request=request_s * _work_kept(recipe) / _layers(job),
        )
        for c in contracts
    }
    stops = {c.metric: looks[c.metric] for c in contracts if c.on_breach is not Action.WARN}
    return StudentForecast(
        loses={m: Range(d.median, d.lower, d.upper) for m, d in draws.items() if m in looks},
        meets=min((look.meets_contract for look in stops.values()), default=None),
        training_s=Range(training_s, training_s / _COST_ERROR, training_s * _COST_ERROR),
        break_even_requests=next(iter(looks.values())).break_even_requests,
        advice=min(
            (look.advice for look in stops.values()), key=_GLOOM.index, default=Advice.TRAIN
        ),
        hopeless=_hopeless(stops),
        pilots_share=plan.share,
        run=done,
    )


def _piloted(
    job: Job, maker: Maker, baseline: Baseline, name: str, plan: PilotPlan, device: str
) -> Recorded:
    admit(job.recorder, "train", job.inputs.versions, now=datetime.now(UTC))
    most = max(plan.texts, plan.start.bridge_texts)
    texts = maker.json_artifact(
        f"train/{name}_pilots", subset(_learnt(job), most), (job.inputs.versions["train"],)
    )
    return job.recorder.run(
        pilots,
        u={
            **build_inputs(baseline.build, dataset=job.inputs.versions["evaluate"]),
            **job.source.encoder,
            "texts": texts,
            "outputs.npy": teacher_answers(maker, texts, detail=f"the pilots of {name}"),
            "vectors": baseline.quality_run.outputs[VECTORS],
        },
        c={
            "plan": plan,
            "build": baseline.build,
            "behaviour": job.behaviour,
            "encoder": job.source.encoder,
            "device": device,
        },
        detail=name,
    )


def _is_forecast(contract: Contract) -> bool:
    return contract.metric in METRICS and contract.bound is Bound.NOT_BELOW_CURRENT_BY


def _hopeless(stops: Mapping[str, StudentPreview]) -> str:
    """Of what it would lose, what it may least afford; or that it never pays."""
    for metric, look in sorted(stops.items(), key=lambda each: each[1].meets_contract):
        if look.meets_contract <= HOPELESS or math.isinf(look.break_even_requests):
            said = f"not worth its training, its pilots say: of {metric} {look.reason}"
            return said.replace("%", " %")
    return ""


def _work_kept(recipe: Recipe) -> float:
    """Layers' worth of work; two thirds of a layer's products are in its feed-forward half."""
    return recipe.layers_kept * (1 + 2 * recipe.feed_forward_kept) / 3


def _layers(job: Job) -> int:
    config = parse(job.store.read(job.source.encoder["config.json"]))
    return int(config["num_hidden_layers"])


def _texts(job: Job, data: RetrievalSet) -> float:
    """Texts of the evaluation split, by their characters, in training texts."""
    learnt = _learnt(job)
    asked = sum(map(len, data.passages)) + sum(map(len, data.queries))
    return asked * len(learnt) / max(sum(map(len, learnt)), 1)


def _learnt(job: Job) -> list[str]:
    return [t for t in job.inputs.train if isinstance(t, str)]
