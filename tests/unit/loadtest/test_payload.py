"""Bodies and schedules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate.errors import InputError
from headgate.loadtest import infer_body, poisson_times, read_requests


def test_a_poisson_process_has_the_rate_and_the_seed_that_were_given() -> None:
    """Gaps are exponential (mean and deviation 1/rate), and a seed gives one process."""
    times = poisson_times(200.0, 100.0, seed=3)
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)
    assert np.array_equal(times, poisson_times(200.0, 100.0, seed=3))
    assert not np.array_equal(times[:100], poisson_times(200.0, 100.0, seed=4)[:100])


@pytest.mark.parametrize(("rate", "duration"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_load_without_requests_is_refused(rate: float, duration: float) -> None:
    """Rate and duration must be above 0."""
    with pytest.raises(InputError, match="no requests"):
        poisson_times(rate, duration, seed=0)


def test_tensors_are_flattened_with_their_shape() -> None:
    """Two items of two numbers."""
    body = infer_body([[1, 2], [3, 4]], name="x", datatype="FP32")
    assert body == (b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2,3,4]}]}')


def test_requests_are_read_as_they_stand(tmp_path: Path) -> None:
    """A JSON body is sent byte for byte; other bodies come in base64; empty lines are skipped."""
    path = tmp_path / "load.jsonl"
    path.write_text('{"at_s": 0, "body": {"a":  1}}\n\n{"at_s": 0.5, "body_base64": "aGk="}\n')
    times, bodies = read_requests(path)
    assert times.tolist() == [0.0, 0.5]
    assert bodies == [b'{"a":  1}', b"hi"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2"),
        ('{"at_s": 1}', "neither body"),
        ('{"at_s": 0.1, "body": {}}', "earlier"),
        ('{"at_s": "x", "body": {}}', "at_s"),
        ('{"at_s": 2, "body_base64": "?"}', "line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    """File and line, and what is wrong with it."""
    path = tmp_path / "load.jsonl"
    path.write_text('{"at_s": 0.5, "body": {}}\n' + line)
    with pytest.raises(InputError, match=says) as refused:
        read_requests(path)
    assert "line 2" in str(refused.value)


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    """No traceback for a wrong path."""
    with pytest.raises(InputError, match=r"none\.jsonl"):
        read_requests(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="no requests"):
        read_requests(tmp_path / "empty.jsonl")
