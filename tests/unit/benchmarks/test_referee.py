"""The pure parts of the referee: what LoadGen's summary says, and who agrees with whom."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from benchmarks.convention import Target
from benchmarks.referee import agrees, during, summary, targets

if TYPE_CHECKING:
    from headgate.loadtest import LoadResult

SUMMARY = """\
Scenario : Server
Completed samples per second    : 236.13
Result is : VALID
  Performance constraints satisfied : Yes
  Min duration satisfied : Yes
  Min queries satisfied : Yes
  Early stopping satisfied: Yes
90.00 percentile latency (ns)   : 1097934
95.00 percentile latency (ns)   : 2084493
99.00 percentile latency (ns)   : 4143214
99.90 percentile latency (ns)   : 6209422
target_latency (ns): 200000000
"""


def side(p95_s: float, *, valid: bool = True, failed: int = 0) -> dict[str, Any]:
    return {"p95_s": p95_s, "valid": valid, "failed": failed}


def row(loadgen_p95_s: float, ours_p95_s: float) -> dict[str, Any]:
    return {"loadgen": side(loadgen_p95_s), "ours": side(ours_p95_s)}


def judged(rows: list[dict[str, Any]], bare: dict[str, Any]) -> list[Target]:
    return list(targets(rows, bare).values())


def test_a_summary_is_read_in_seconds() -> None:
    """LoadGen writes nanoseconds; the 99th percentile is not the 99.9th."""
    assert summary(SUMMARY) == {
        "valid": True,
        "broken": [],
        "p95_s": pytest.approx(0.002084493),
        "p99_s": pytest.approx(0.004143214),
    }


def test_an_invalid_run_says_what_did_not_hold() -> None:
    """Whatever LoadGen answers NO to."""
    text = SUMMARY.replace("VALID", "INVALID").replace(
        "Early stopping satisfied: Yes", "Early stopping satisfied: NO"
    )
    told = summary(text)
    assert not told["valid"]
    assert told["broken"] == ["NO: Early stopping satisfied"]


def test_a_summary_that_was_cut_off_is_an_error() -> None:
    """Never a verdict without its percentiles."""
    with pytest.raises(ValueError, match=r"does not say '95\.00 percentile"):
        summary(SUMMARY.split("95.00")[0])


@pytest.mark.parametrize(
    ("loadgen_s", "ours_s", "agree"),
    [
        (0.1029, 0.1000, True),
        (0.0971, 0.1000, True),
        (0.1031, 0.1000, False),
        (0.0969, 0.1000, False),
        (0.0109, 0.0100, True),
        (0.0111, 0.0100, False),
    ],
)
def test_three_per_cent_or_a_millisecond_is_agreement(
    loadgen_s: float, ours_s: float, agree: bool
) -> None:
    """Whichever is more, in either direction."""
    assert agrees(row(loadgen_s, ours_s)) is agree


@pytest.mark.parametrize("broken", [{"valid": False}, {"failed": 1}])
@pytest.mark.parametrize("who", ["loadgen", "ours"])
def test_runs_that_measured_nothing_do_not_agree(who: str, broken: dict[str, Any]) -> None:
    """Two infinite p95 are equal, and so are two of a server that refuses."""
    assert not agrees({**row(0.1, 0.1), who: side(0.1, **broken)})


def test_two_runs_of_three_are_enough_and_one_is_not() -> None:
    """For LoadGen's verdict and for the agreement, each."""
    good, apart = row(0.1, 0.1), row(0.2, 0.1)
    invalid = {**good, "loadgen": side(0.1, valid=False)}
    assert [t.ok for t in judged([good, good, invalid], good)] == [True, True, True]
    assert [t.ok for t in judged([good, apart, good], good)] == [True, True, True]
    assert [t.ok for t in judged([good, apart, invalid], good)] == [True, False, True]
    assert [t.ok for t in judged([invalid, good, invalid], good)] == [False, False, True]


def test_an_answer_that_failed_makes_loadgens_verdict_worth_nothing() -> None:
    """LoadGen does not know that queries can fail: it would call a quick refusal fast."""
    refused = {**row(0.1, 0.1), "loadgen": side(0.1, failed=1)}
    valid, _, _ = judged([refused, refused, refused], row(0.001, 0.001))
    assert valid.value == 0


def test_a_client_that_is_slow_by_itself_is_no_referee() -> None:
    """On a server that does nothing it may see half a millisecond more than ours."""
    runs = [row(0.1, 0.1)] * 3
    assert judged(runs, row(0.0014, 0.0010))[2].ok
    assert not judged(runs, row(0.0016, 0.0010))[2].ok
    assert not judged(runs, {**row(0.001, 0.001), "loadgen": side(0.001, failed=1)})[2].ok
    assert not judged(runs, {**row(0.001, 0.001), "ours": side(0.001, valid=False)})[2].ok


def test_the_client_need_not_be_asked_often_enough_for_a_verdict() -> None:
    """What bounds it is its p95, not LoadGen's early stopping."""
    bare = {"loadgen": side(0.001, valid=False), "ours": side(0.001)}
    assert judged([row(0.1, 0.1)] * 3, bare)[2].ok


def test_only_what_was_asked_meanwhile_is_compared() -> None:
    """Ours begins before LoadGen and ends after it; then the server is half as busy."""
    result = cast(
        "LoadResult",
        SimpleNamespace(
            scheduled_s=np.array([0.0, 9.9, 10.1, 12.0, 15.1]),
            latencies_s=np.array([1.0, 2.0, 3.0, math.inf, 5.0]),
        ),
    )
    assert during(result, 10.0, 5.0).tolist() == [3.0, math.inf]
