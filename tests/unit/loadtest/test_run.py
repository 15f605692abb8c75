"""Plans that cannot be run are refused before a process starts."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.errors import InputError
from headgate.loadtest import Segment, Target, run_load

URL = "http://127.0.0.1:1/x"


def segment(times: list[float], bodies: int = 2, url: str = URL, **headers: str) -> Segment:
    return Segment(Target(url, headers), np.array(times), [b"{}"] * bodies)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (segment([0.0]), "for 2 bodies"),
        (segment([], bodies=0), "for 0 bodies"),
        (segment([1.0, 0.5]), "ascend"),
        (segment([-1.0, 0.5]), "from 0"),
        (segment([0.0, float("nan")]), "finite"),
        (segment([0.0, 1e9]), "shorten"),
        (segment([0.0, 1.0], url="ftp://127.0.0.1/x"), "http://"),
        (segment([0.0, 1.0], url="nonsense"), "http://"),
        (segment([0.0, 1.0], x="a\r\nb: c"), "line break"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(given: Segment, says: str) -> None:
    """Segment and rule are named."""
    with pytest.raises(InputError, match=says):
        run_load([given])


def test_no_segments_and_impossible_limits_are_refused() -> None:
    """Nothing to send, no time, no connection."""
    with pytest.raises(InputError, match="at least one segment"):
        run_load([])
    with pytest.raises(InputError, match="timeout_s"):
        run_load([segment([0.0, 1.0])], timeout_s=0.0)
    with pytest.raises(InputError, match="max_connections"):
        run_load([segment([0.0, 1.0])], max_connections=0)
