"""A student before its teacher, with a threshold that keeps what the contracts promise.

``data.calibrate`` decides the threshold: neither student nor teacher learnt from it here, the
evaluation split has yet to judge what comes out, and the holdout stays sealed. Items in two of them
are refused before anything is made (``config.data.check_overlap``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from headgate.distillation import (
    CONFIDENCE,
    Threshold,
    disagreements,
    fewest_items,
    learn_threshold,
    lost_answers,
    margins,
)
from headgate.errors import InputError
from headgate.objects import (
    Bound,
    Build,
    Contract,
    Parts,
    canonical,
    cascade_of,
    parse,
)
from headgate.optimize.making.heads import answers_of, labels_of
from headgate.optimize.making.maker import Maker
from headgate.optimize.recorder import Call, Output, transformation
from headgate.quantization.speed import LEAST_GAIN

__all__ = ["cascaded", "lacks_for_cascade", "promised_risks"]

_LABELS = "labels"
_AGREEMENT = "agreement"
_OF_THE_MARGIN = 0.5
_SUREST = "mlp_cascade"


def promised_risks(contracts: Iterable[Contract]) -> Mapping[str, float]:
    """Metric -> the share of answers that a cascade may lose: half of what ``contracts`` allow.

    ``accuracy`` within a margin of current allows the margin, ``flip_rate`` its limit, and
    ``agreement`` of at least a share the rest; nothing else says how many answers may be lost. The
    other half is the gate's: a cascade that loses all that it may is one of which no number of
    items shows that it does not lose more.
    """
    allowed = {
        (Bound.NOT_BELOW_CURRENT_BY, "accuracy"): lambda limit: limit,
        (Bound.AT_MOST, "flip_rate"): lambda limit: limit,
        (Bound.AT_LEAST, _AGREEMENT): lambda limit: 1 - limit,
    }
    found: dict[str, float] = {}
    for contract in contracts:
        loss = allowed.get((contract.bound, contract.metric))
        if loss is not None and 0 < loss(contract.limit) < 1:
            risk = _OF_THE_MARGIN * loss(contract.limit)
            found[contract.metric] = min(found.get(contract.metric, 1.0), risk)
    return found


def _confidence(risks: Mapping[str, float]) -> float:
    """Of each, so that all are kept with ``CONFIDENCE`` (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / len(risks)


def lacks_for_cascade(contracts: Iterable[Contract], calibrate: int) -> str:
    """What stands in the way of a threshold before any is learnt; empty where nothing does.

    ``calibrate`` is the number of items that there are.
    """
    if not calibrate:
        return "data: calibrate is not declared"
    risks = promised_risks(contracts)
    if not risks:
        return (
            "no contract says how many answers a cascade may lose: accuracy with "
            "not_below_current_by, flip_rate with at_most, or agreement with at_least"
        )
    least = fewest_items(min(risks.values()), confidence=_confidence(risks))
    if calibrate < least:
        return (
            f"data.calibrate has {calibrate} items, and a risk of {min(risks.values()):.3g} can be "
            f"shown with {least} at least"
        )
    return ""


@transformation("cascade.threshold")
def threshold(call: Call) -> Mapping[str, Output]:
    """The lowest margin that the student may answer with, for each promise.

    Where there are no labels an answer counts as lost where the two disagree, which is never fewer.
    """
    student, teacher = (
        np.load(call.path(f"{role}.npy"), allow_pickle=False) for role in ("student", "teacher")
    )
    differ = disagreements(student, teacher)
    lost = differ
    if _LABELS in call.u:
        labels = np.array(parse(call.store.read(call.u[_LABELS])), dtype=np.int64)
        lost = lost_answers(student, teacher, labels)
    learnt = {
        metric: learn_threshold(
            margins(student),
            differ if metric == _AGREEMENT else lost,
            risk,
            confidence=_confidence(call.c["risks"]),
        )
        for metric, risk in call.c["risks"].items()
    }
    return {"thresholds": Output(canonical(learnt), "samples", "json {metric: Threshold or null}")}


def cascaded(maker: Maker, student: Build, *, name: str) -> Build:
    """``student`` where it is confident enough for every promise, and the model itself elsewhere.

    Raises ``InputError``: ``no_threshold`` where no threshold keeps one of them, so that everything
    would escalate; ``not_worth_it`` where nearly everything would. The student would be paid for
    nothing.
    """
    teacher, labels = maker.source.build, maker.inputs.labels.get("calibrate")
    u = {
        "student.npy": answers_of(maker, student, "calibrate"),
        "teacher.npy": answers_of(maker, teacher, "calibrate"),
    }
    if labels is not None:
        u[_LABELS] = labels_of(maker, "calibrate", labels)
    risks = promised_risks(maker.contracts)
    done = maker.recorder.run(threshold, u=u, c={"risks": risks}, detail=name)
    learnt = parse(maker.recorder.store.read(done.outputs["thresholds"]))
    found = [Threshold(**each) for each in learnt.values() if each is not None]
    if not found or len(found) < len(risks):
        raise InputError(
            "no threshold keeps "
            + ", ".join(f"a risk of {risks[m]:.3g} on {m}" for m, t in learnt.items() if t is None)
            + f" with {len(maker.inputs.calibrate)} items: everything would escalate",
            where="data.calibrate",
            reason="no_threshold",
            fix="give more items, or a student that is surer where it is right",
        )
    strictest = max(found, key=lambda each: each.margin)
    if strictest.escalated_share * LEAST_GAIN >= 1:
        raise InputError(
            f"not worth it: to keep what is promised, {strictest.escalated_share:.1%} of the items "
            "are asked of the model too, after the student was",
            where="data.calibrate",
            reason="not_worth_it",
            fix="give data.train more items"
            + f", or try {_SUREST}, whose student is surer where it is right" * (name != _SUREST),
        )
    return cascade_of(name, Parts(student, teacher, strictest.margin))
