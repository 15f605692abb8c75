"""What a classifier's or a predictor's students lack; the rest is seen in what previews say."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.objects import Action, Bound, Contract
from headgate.optimize.job import Job
from headgate.optimize.lacking import lacks
from headgate.planning import CANDIDATES
from headgate.quantization import ModelFacts

from .fakes import contract

TEXTS = tuple(f"text {k}" for k in range(50))
NO_TORCH = "torch is not installed: pip install 'headgate[train]'"
NO_STUDENT = "linear is a student of a classifier or of a predictor"
NO_SCORES = "what postprocess makes of the outputs is not what a student learns"
BOTH = ("linear", "linear_cascade")
FACTS = ModelFacts((), (), 10**6, 4 * 10**6, 18, {"MatMul": 1}, {"MatMul": 10**6}, 1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, {}),
        ({"calibrate": ()}, {"linear_cascade": "data: calibrate is not declared"}),
        (
            {"calibrate": TEXTS},
            {
                "linear_cascade": "data.calibrate has 50 items, and a risk of 0.01 can be shown "
                "with 299 at least"
            },
        ),
        ({"task": "embed"}, dict.fromkeys(BOTH, NO_STUDENT)),
        (
            {"libraries": {}, "train": ()},
            dict.fromkeys(BOTH, f"{NO_TORCH}; data: train is not declared"),
        ),
        ({"postprocess": "own:scale"}, dict.fromkeys(BOTH, NO_SCORES)),
        (
            {"own_requests": "the log"},
            {
                "linear_cascade": "how often its student is unsure is told by the requests, which "
                "it learnt from here"
            },
        ),
    ],
    ids=[
        "nothing",
        "no split",
        "too few",
        "another task",
        "no extra, no data",
        "own step",
        "own requests",
    ],
)
def test_what_a_classifiers_students_lack_is_said(
    change: dict[str, object], why: dict[str, str]
) -> None:
    """Before any is trained; a cascade lacks what its student does, and more."""
    assert found(**{"task": "classify", **change}) == why


ERROR = contract("error", Bound.NOT_ABOVE_CURRENT_BY, 0.6)
AGREES = contract("agreement", Bound.AT_LEAST, 0.99)
NO_METRIC = (
    "no contract says how far off a student may be: agreement of predictions is that they are the "
    "same, and no student's are; promise a metric of your own"
)
NO_MARGIN = (
    "no contract whose breach stops says how far off a cascade may be on the whole: a metric of "
    "your own with not_below_current_by or not_above_current_by"
)
PARITY = "agreement at least 0.99: no student's predictions are the model's own"
LEAVE_OUT = "where a metric of your own says what they are worth, leave it out"
WORST = contract("worst_slice_error", Bound.NOT_ABOVE_CURRENT_BY, 0.6)


@pytest.mark.parametrize(
    ("contracts", "calibrate", "why"),
    [
        ((ERROR,), 300, {}),
        (
            (ERROR,),
            50,
            {
                "linear_cascade": "data.calibrate has 50 items, and a risk of 0.03 can be shown "
                "with 117 at least"
            },
        ),
        (
            (AGREES,),
            300,
            {"linear": NO_METRIC, "linear_cascade": NO_MARGIN},
        ),
        (
            (ERROR, AGREES),
            300,
            {
                "linear": f"{PARITY}; {LEAVE_OUT}",
                "linear_cascade": f"{PARITY}, so 0.50% of the items at most could be its "
                f"student's; {LEAVE_OUT}",
            },
        ),
        (
            (ERROR, replace(AGREES, on_breach=Action.WARN)),
            300,
            {},
        ),
        (
            (WORST,),
            300,
            {
                "linear_cascade": f"{NO_MARGIN} (no threshold follows from worst_slice_error, "
                "which the gate judges slice by slice)"
            },
        ),
        ((ERROR, WORST), 300, {}),
    ],
    ids=[
        "nothing",
        "too few",
        "only agreement",
        "agreement too",
        "agreement that is only warned of",
        "only of slices",
        "of slices too",
    ],
)
def test_what_a_predictors_students_lack_is_said(
    contracts: tuple[Contract, ...], calibrate: int, why: dict[str, str]
) -> None:
    """Above all a promise that a student could keep, and none beside it that it could not: all
    before anybody pays for training."""
    assert found(task="predict", contracts=contracts, calibrate=(TEXTS * 6)[:calibrate]) == why


def found(**has: object) -> dict[str, str]:
    """What each student lacks at an endpoint that has this, and all that is not said."""
    has = {
        "libraries": {"torch": "1"},
        "calibrate": TEXTS * 6,
        "train": TEXTS,
        "postprocess": None,
        "own_requests": None,
        "contracts": (contract("accuracy", Bound.NOT_BELOW_CURRENT_BY, 0.02),),
        **has,
    }
    job = SimpleNamespace(
        source=SimpleNamespace(encoder={}),
        config=SimpleNamespace(task=has["task"], postprocess=has["postprocess"]),
        behaviour=SimpleNamespace(metrics={"error": {"range": (0.0, 10.0)}}),
        contracts=has["contracts"],
        profile=SimpleNamespace(libraries=has["libraries"], flags=()),
        inputs=SimpleNamespace(
            calibrate=has["calibrate"], train=has["train"], own_requests=has["own_requests"]
        ),
    )
    lacking = {name: "; ".join(lacks(cast("Job", job), CANDIDATES[name], FACTS)) for name in BOTH}
    return {name: lack for name, lack in lacking.items() if lack}
