"""A student before its teacher, with a threshold that keeps what the contracts promise.

``data.calibrate`` decides the threshold: neither student nor teacher learnt from it here, the
evaluation split has yet to judge what comes out, and the holdout stays sealed. Items in two of them
are refused before anything is made (``config.data.check_overlap``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from headgate.config import load_labelled
from headgate.distillation import (
    CONFIDENCE,
    Losses,
    Threshold,
    answers,
    disagreements,
    fewest_items,
    learn_threshold,
    lost_answers,
    lost_worth,
    sureness,
)
from headgate.errors import InputError
from headgate.objects import (
    Action,
    Bound,
    Build,
    Contract,
    Direction,
    Parts,
    canonical,
    cascade_of,
    parse,
)
from headgate.optimize.making.heads import answers_of, labels_of
from headgate.optimize.making.maker import Maker
from headgate.optimize.measure import own_metrics
from headgate.optimize.quality import agreement, score_labelled
from headgate.optimize.recorder import Call, Output, transformation
from headgate.quantization.speed import LEAST_GAIN

__all__ = ["cascaded", "lacks_for_cascade", "promised_risks", "sameness"]

OwnMetrics = Mapping[str, Mapping[str, object]]
"""Name -> specification, as ``Behaviour.metrics``."""
_LABELS, _ROWS = "labels", "rows"
_UNSCORED = "unscored"
_AGREEMENT, _WORST = "agreement", "worst_slice_"
_OF_THE_MARGIN = 0.5
_SUREST = "mlp_cascade"


def promised_risks(
    contracts: Iterable[Contract], task: str, own: OwnMetrics
) -> Mapping[str, float]:
    """Metric -> what a cascade may lose by it: half of what ``contracts`` allow whose breach stops
    a promotion. What is only warned of must not cost what would be accepted.

    Of ``classify`` a share of answers: ``accuracy`` within a margin of current allows the margin,
    ``flip_rate`` its limit, and ``agreement`` of at least a share the rest; nothing else says how
    many answers may be lost. Of ``predict`` the margin on one of the endpoint's ``own`` metrics,
    as a share of its range, and the rest that ``agreement`` leaves. The other half is the gate's: a
    cascade that loses all that it may is one of which no number of items shows that it does not
    lose more. All of it on the whole: a contract on the worst slice sets no risk, and the gate
    holds a cascade to it as any other candidate.
    """
    found: dict[str, float] = {}
    for contract in _stopping(contracts):
        allowed = _allowed(contract, task, own)
        if 0 < allowed < 1:
            risk = _OF_THE_MARGIN * allowed
            found[contract.metric] = min(found.get(contract.metric, 1.0), risk)
    return found


def _stopping(contracts: Iterable[Contract]) -> list[Contract]:
    return [c for c in contracts if c.on_breach is not Action.WARN]


def _allowed(contract: Contract, task: str, own: OwnMetrics) -> float:
    """The share of what there is to lose that ``contract`` lets be lost; 0 where it does not say.

    ``not_below_current_by`` is of what is better high, ``not_above_current_by`` of the others: a
    contract of the wrong one is refused when it is read.
    """
    margins = (Bound.NOT_BELOW_CURRENT_BY, Bound.NOT_ABOVE_CURRENT_BY)
    metric, bound, limit = contract.metric, contract.bound, contract.limit
    if metric == _AGREEMENT:
        return 1 - sameness(contract)
    if task == "predict":
        return limit / _span(own[metric]) if metric in own and bound in margins else 0.0
    of_classes = (("accuracy", Bound.NOT_BELOW_CURRENT_BY), ("flip_rate", Bound.AT_MOST))
    return limit if (metric, bound) in of_classes else 0.0


def sameness(contract: Contract) -> float:
    """The share of answers that ``contract`` wants to be current's own, on the whole or in the
    worst slice; 0 where it is about something else. Current's all are."""
    if contract.metric.removeprefix(_WORST) != _AGREEMENT:
        return 0.0
    return contract.limit if contract.bound is Bound.AT_LEAST else 1 - contract.limit


def _span(specified: Mapping[str, object]) -> float:
    low, high = cast("Sequence[float]", specified["range"])
    return high - low


def _confidence(risks: Mapping[str, float]) -> float:
    """Of each, so that all are kept with ``CONFIDENCE`` (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / len(risks)


def lacks_for_cascade(
    contracts: Iterable[Contract], task: str, own: OwnMetrics, calibrate: int
) -> str:
    """What stands in the way of a threshold before any is learnt; empty where nothing does.

    ``calibrate`` is the number of items that there are.
    """
    contracts = tuple(contracts)
    if not calibrate:
        return "data: calibrate is not declared"
    risks = promised_risks(contracts, task, own)
    if task == "predict" and not risks.keys() - {_AGREEMENT}:
        return (
            "no contract whose breach stops says how far off a cascade may be on the whole: a "
            "metric of your own with not_below_current_by or not_above_current_by"
            + _of_slices(contracts, own)
        )
    if not risks:
        return (
            "no contract whose breach stops says how many answers a cascade may lose on the whole: "
            "accuracy with not_below_current_by, flip_rate with at_most, or agreement with at_least"
            + _of_slices(contracts, ("accuracy", "flip_rate", _AGREEMENT))
        )
    if task == "predict":
        for contract in _stopping(contracts):
            # No threshold follows from slices, so nothing halves what they leave.
            of_slices = contract.metric.startswith(_WORST)
            kept = (1 if of_slices else _OF_THE_MARGIN) * (1 - sameness(contract))
            if _not_worth_it(1 - kept):
                return (
                    f"{contract.describe()}: no student's predictions are the model's own, so "
                    f"{kept:.2%} of the items{' of a slice' * of_slices} at most could be its "
                    "student's; where a metric of your own says what they are worth, leave it out"
                )
    least = {
        fewest_items(
            risk,
            shares=task == "predict" and metric != _AGREEMENT,
            confidence=_confidence(risks),
        ): risk
        for metric, risk in risks.items()
    }
    if calibrate < max(least):
        return (
            f"data.calibrate has {calibrate} items, and a risk of {least[max(least)]:.3g} can be "
            f"shown with {max(least)} at least"
        )
    return ""


def _of_slices(contracts: Iterable[Contract], metrics: Collection[str]) -> str:
    """What is done with those on slices of ``metrics``; empty where there are none."""
    names = {
        c.metric: None
        for c in contracts
        if c.metric.startswith(_WORST) and c.metric.removeprefix(_WORST) in metrics
    }
    if not names:
        return ""
    return f" (no threshold follows from {', '.join(names)}, which the gate judges slice by slice)"


def _not_worth_it(escalated_share: float) -> bool:
    """Whether so few are the student's that no gain could be shown, whatever it costs."""
    return escalated_share * LEAST_GAIN >= 1


@transformation("cascade.threshold")
def threshold(call: Call) -> Mapping[str, Output]:
    """How sure the student must be to answer, for each promise; and of how many items its metric
    says nothing, which count as lost."""
    student, teacher = (
        np.load(call.path(f"{role}.npy"), allow_pickle=False) for role in ("student", "teacher")
    )
    task = call.c.get("task", "classify")  # what older runs mean
    risks = call.c["risks"]
    lost_of = _lost_worth if task == "predict" else _lost_classes
    lost, unscored = lost_of(call, answers(student, task), teacher)
    learnt = {
        metric: learn_threshold(
            sureness(student, task), lost[metric], risk, confidence=_confidence(risks)
        )
        for metric, risk in risks.items()
    }
    return {
        "thresholds": Output(canonical(learnt), "samples", "json {metric: Threshold or null}"),
        _UNSCORED: Output(canonical(unscored), "samples", "json {metric: items}"),
    }


_Lost = tuple[Mapping[str, Losses], Mapping[str, int]]
"""Metric -> what is lost of each item, (items,); and of how many it says nothing."""


def _lost_classes(call: Call, student: NDArray[np.generic], teacher: NDArray[np.generic]) -> _Lost:
    """Where there are no labels an answer counts as lost where the two disagree, which is never
    fewer."""
    differ = lost = disagreements(student, teacher)
    if _LABELS in call.u:
        labels = np.array(parse(call.store.read(call.u[_LABELS])), dtype=np.int64)
        lost = lost_answers(student, teacher, labels)
    return {metric: differ if metric == _AGREEMENT else lost for metric in call.c["risks"]}, {}


def _lost_worth(call: Call, student: NDArray[np.generic], teacher: NDArray[np.generic]) -> _Lost:
    """How much worse the student's values are, as a share of each metric's range.

    Raises ``InputError`` where a metric says nothing of any item.
    """
    data = load_labelled(call.path(_ROWS))
    own = own_metrics(call.c["own"], call.root)
    ours, theirs = (score_labelled(v, data, own, values=True) for v in (student, teacher))
    lost: dict[str, Losses] = {
        metric.name: lost_worth(
            ours.scores[metric.name],
            theirs.scores[metric.name],
            span=metric.high - metric.low,
            higher=metric.direction is Direction.HIGHER,
        )
        for metric in own
    }
    for metric in own:
        if all(value is None for value in theirs.scores[metric.name]):
            raise InputError(
                f"{metric.name} says nothing of any of its {len(data.ids)} items",
                where="data.calibrate",
                reason="metric_invalid",
                fix=f"give its rows what {metric.function.spec} reads of those of data.evaluate",
            )
    unscored = {
        metric.name: sum(
            None in pair
            for pair in zip(ours.scores[metric.name], theirs.scores[metric.name], strict=True)
        )
        for metric in own
    }
    return lost | {_AGREEMENT: np.array(agreement(ours, theirs)) < 1}, unscored


def cascaded(maker: Maker, student: Build, *, name: str) -> Build:
    """``student`` where it is sure enough for every promise, and the model itself elsewhere.

    Raises ``InputError``: ``no_threshold`` where no threshold keeps one of them, so that everything
    would escalate; ``not_worth_it`` where nearly everything would. The student would be paid for
    nothing.
    """
    teacher = maker.source.build
    risks = promised_risks(maker.contracts, teacher.task, maker.own_metrics)
    own = {metric: spec for metric, spec in maker.own_metrics.items() if metric in risks}
    u = {
        "student.npy": answers_of(maker, student, "calibrate"),
        "teacher.npy": answers_of(maker, teacher, "calibrate"),
    }
    if teacher.task == "predict":
        u[_ROWS] = maker.inputs.versions["calibrate"]
    elif (labels := maker.inputs.labels.get("calibrate")) is not None:
        u[_LABELS] = labels_of(maker, "calibrate", labels)
    c = {"risks": risks, "task": teacher.task, "own": own if teacher.task == "predict" else {}}
    done = maker.recorder.run(threshold, u=u, c=c, detail=name)
    learnt, unscored = (
        parse(maker.recorder.store.read(done.outputs[key])) for key in ("thresholds", _UNSCORED)
    )
    silent = {metric: items for metric, items in unscored.items() if items}
    lost_whole = "".join(
        f"; {metric} says nothing of {items} of them, which count as lost"
        for metric, items in silent.items()
    )
    scored = f"give those items what {' and '.join(silent)} reads, or " if silent else ""
    found = [Threshold(**each) for each in learnt.values() if each is not None]
    if not found or len(found) < len(risks):
        raise InputError(
            "no threshold keeps "
            + ", ".join(f"a risk of {risks[m]:.3g} on {m}" for m, t in learnt.items() if t is None)
            + f" with {len(maker.inputs.calibrate)} items: everything would escalate"
            + lost_whole,
            where="data.calibrate",
            reason="no_threshold",
            fix=scored + "give more items, or a student that is surer where it is right",
        )
    strictest = max(found, key=lambda each: each.least)
    if _not_worth_it(strictest.escalated_share):
        raise InputError(
            f"not worth it: to keep what is promised, {strictest.escalated_share:.1%} of the items "
            "are asked of the model too, after the student was" + lost_whole,
            where="data.calibrate",
            reason="not_worth_it",
            fix=scored
            + "give data.train more items"
            + f", or try {_SUREST}, whose student is surer where it is right" * (name != _SUREST),
        )
    return cascade_of(name, Parts(student, teacher, strictest.least))
