"""What counts as a mended model, and of which models the share is taken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from benchmarks.compression import repair
from benchmarks.compression.failing import Kind
from benchmarks.compression.repair import Case, Outcome, held_to, summed
from benchmarks.compression.worth import Lost
from headgate.optimize.mending import Mended
from headgate.quantization.repair import Trial
from tests.unit.optimize.fakes import build


def outcome(kind: Kind, *, mended: bool, int8: str = "fails") -> Outcome:
    tried = {"guided": mended, "random order": 0.0, "graph order": False, "one by one": False}
    counts = {"mended": mended, "mended by values": mended, "certified": mended, "trials": 4}
    return {"kind": kind, "int8": int8, **tried, **counts}


def test_the_share_is_of_all_that_fail_and_of_each_kind() -> None:
    outcomes: list[Outcome] = [
        *[outcome("planted", mended=True)] * 9,
        outcome("natural", mended=False),
        {"kind": "natural", "int8": "holds"},
    ]
    targets, details = summed(outcomes, least=1)
    assert targets["failing models, mended"].value == pytest.approx(0.9)
    assert targets["planted, failing models, mended"].ok
    assert not targets["natural, failing models, mended"].ok
    assert not summed(outcomes, least=11)[0]["failing models"].ok
    assert details["draws"] == {"natural": {"fails": 1, "holds": 1}, "planted": {"fails": 9}}


def test_where_none_fails_nothing_is_shown() -> None:
    targets, _ = summed([{"kind": "natural", "int8": "holds"}], least=1)
    assert not any(t.ok for name, t in targets.items())


def case(*, loss: Lost, mended_s: list[float], fp32_s: float = 3.0) -> Case:
    seconds = {
        "fp32": np.full(3, fp32_s),
        "int8": np.ones(3),
        "int8 again": np.array([1.0, 1.02, 1.0]),
        "mended": np.array(mended_s),
    }
    made = SimpleNamespace(
        maker=None, int8=None, seconds=lambda builds: seconds, lost=lambda split, build: loss
    )
    return cast("Case", made)


FOUND = Mended(build(), True, "why", tuple(Trial((str(k),), True) for k in range(10)))
SHOWN, UNSHOWN = Lost(0.001, 0.004, 1000, True), Lost(0.001, 0.012, 100, False)


@pytest.fixture(autouse=True)
def no_builds_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "make_build", lambda name, maker: build(name))


@pytest.mark.parametrize(
    ("loss", "mended_s", "mended", "by_values"),
    [
        (SHOWN, [1.1, 1.1, 1.1], True, True),
        (UNSHOWN, [1.1, 1.1, 1.1], False, True),
        (SHOWN, [1.0, 1.2, 1.4], False, True),
        (SHOWN, [1.3, 1.3, 1.3], False, False),
        (Lost(0.02, 0.03, 1000, False), [1.1, 1.1, 1.1], False, False),
    ],
    ids=["shown", "loss not shown", "speed not shown", "too slow", "loses too much"],
)
def test_mended_is_what_both_bounds_show(
    loss: Lost, mended_s: list[float], mended: bool, by_values: bool
) -> None:
    said = held_to(case(loss=loss, mended_s=mended_s), FOUND)
    assert (said["mended"], said["mended by values"]) == (mended, by_values)


def test_a_model_that_int8_makes_no_faster_is_not_mended() -> None:
    said = held_to(case(loss=SHOWN, mended_s=[1.0] * 3, fp32_s=0.9), FOUND)
    assert not said["mended"]


def test_eleven_trials_are_too_many() -> None:
    found = Mended(build(), True, "why", tuple(Trial((str(k),), True) for k in range(11)))
    assert not held_to(case(loss=SHOWN, mended_s=[1.0] * 3), found)["mended"]


def test_where_nothing_was_found_nothing_is_mended() -> None:
    said = held_to(case(loss=SHOWN, mended_s=[1.0] * 3), Mended(None, True, "none"))
    assert (said["mended"], said["certified"]) == (False, False)
