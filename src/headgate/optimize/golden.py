"""A golden set: some requests and a build's answers to them, to know the build by elsewhere.

Quality belongs to a build *and* the instructions that a processor has: another one may run another
kernel. Whether it answers the same is looked at by the rule of decision 4, item by item, each
alone; whether its answers depend on their neighbours there is measured anew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headgate.engines.invariance import EPSILON, cosine_distance, largest_difference
from headgate.errors import EngineError, Undecided
from headgate.objects import Build, canonical, parse
from headgate.optimize.measure import Behaviour, build_inputs, open_answerer
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.optimize.served import as_items
from headgate.runtime.output import rows
from headgate.runtime.servable import Servable, build_from_json

__all__ = ["ANSWERS", "LIMIT_S", "Agreement", "agreement", "behaviour_of", "golden_answers"]

LIMIT_S = 120.0
"""Within so long a machine is found fit, or it is not known to be."""
ANSWERS = "golden.answers"
"""The transformation whose runs hold them."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two sets of answers to the same items."""

    items: int
    same: int
    largest: float
    """The largest difference, in the unit of the rule; infinite where one is no answer at all."""


@transformation(ANSWERS)
def golden(call: Call) -> Mapping[str, Output]:
    """What a build answers to each item alone.

    Raises ``Undecided`` after ``LIMIT_S`` (reason ``too_slow``) or where there is no item to answer
    (``no_golden_set``), ``EngineError`` where it answers what no caller may see.
    """
    build, behaviour = build_from_json(call.c["build"]), Behaviour(**call.c["behaviour"])
    items = as_items(parse(call.store.read(call.u["items"])))
    if not items:
        raise Undecided(
            "the golden set has no request, so nothing tells what it answers",
            where=f"build {build.name}",
            reason="no_golden_set",
            fix="certify it on requests of the workload: headgate optimize headgate.yaml",
        )
    until_s = time.monotonic() + LIMIT_S
    answers = []
    opened = open_answerer(build, behaviour, call.store.path_of, call.root)
    with contextlib.closing(opened) as answerer:
        for i, item in enumerate(items):
            if time.monotonic() > until_s:
                raise Undecided(
                    f"{i} of {len(items)} requests were answered in {LIMIT_S:g} s",
                    where=f"build {build.name}",
                    reason="too_slow",
                    fix="try it while the machine is quiet, or on a faster one",
                )
            call.progress(i / len(items), build.name)
            (answer,) = rows(answerer.run(answerer.codec.encode([item], truncate=True)), 1, None)
            if isinstance(answer, EngineError):
                raise answer
            answers.append(answer)
    return {"answers": Output(canonical(answers), "samples", "json [answer], one an item")}


def golden_answers(recorder: Recorder, build: Build, behaviour: Behaviour, items: str) -> Recorded:
    """The answers of ``build`` to the items of this version; metrics have no part in them."""
    return recorder.run(
        golden,
        u=build_inputs(build, items=items),
        c={"build": build, "behaviour": replace(behaviour, metrics={})},
        detail=build.name,
    )


def behaviour_of(servable: Servable) -> Behaviour:
    """What decides its answers beside the build."""
    return Behaviour(
        servable.task, servable.truncate, servable.preprocess, servable.postprocess, {}
    )


def agreement(build: Build, recorded: Sequence[object], here: Sequence[object]) -> Agreement:
    """How many of ``build``'s answers are the same, by docs/decisions/0004.

    >>> build = Build("x", "classify", "onnxruntime", "fp32", {}, None, 1, 1)
    >>> agreement(build, [[0.25, 0.75], [0.5, 0.5]], [[0.25, 0.75], [0.5, 0.25]])
    Agreement(items=2, same=1, largest=0.25)
    """
    differ = cosine_distance if build.task == "embed" else largest_difference
    differences = []
    for then, now in zip(recorded, here, strict=True):
        a, b = np.array(then), np.array(now)
        far = differ(a, b) if a.shape == b.shape else np.inf
        differences.append(np.inf if np.isnan(far) else max(far, 0.0))
    same = sum(far <= EPSILON for far in differences)
    return Agreement(len(differences), same, float(max(differences, default=0.0)))
