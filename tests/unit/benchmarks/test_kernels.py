"""What the benchmark of kernels compares: the faster fp32 engine and the best int8."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.compression.alternating import ratio
from benchmarks.compression.kernels import _best, _part, _ratios, _Worth
from headgate.config import RetrievalSet
from headgate.optimize.quality import QualitySamples
from headgate.quantization import FP32, INT8_DYNAMIC, INT8_STATIC, INT8_WEIGHTS

SHAPES = ((32, 16), (32, 128))


def worth(invariance: str) -> _Worth:
    empty = QualitySamples((), (), {"recall@10": ()}, ())
    return _Worth(empty, np.zeros((0, 1)), invariance, 0.0)


def test_the_faster_fp32_engine_is_the_one_at_that_shape() -> None:
    """One is faster on short texts, the other on long ones."""
    seconds = {
        (32, 16): {
            "fp32": np.array([4.0, 4.0]),
            "fp32_openvino": np.array([6.0, 6.0]),
            "a": ones(),
        },
        (32, 128): {
            "fp32": np.array([9.0, 9.0]),
            "fp32_openvino": np.array([3.0, 3.0]),
            "a": ones(),
        },
    }
    found = _ratios("a", seconds)
    assert {shape: r.value for shape, r in found.items()} == {
        "32x16": pytest.approx(4.0),
        "32x128": pytest.approx(3.0),
    }


def ones() -> np.ndarray:
    return np.ones(2)


def test_what_depends_on_the_batch_is_not_the_best() -> None:
    """However fast; nor is what is no int8."""
    seconds = {
        shape: {
            "int8_dynamic": np.array([1.0]),
            "int8_weights": np.array([3.0]),
            "int8_static": np.array([2.0]),
            "fp32": np.array([0.5]),
        }
        for shape in SHAPES
    }
    values = {
        "int8_dynamic": worth("dependent"),
        "int8_static": worth("within_epsilon"),
        "int8_weights": worth("exact"),
        "fp32": worth("exact"),
    }
    schemes = [FP32, INT8_DYNAMIC, INT8_STATIC, INT8_WEIGHTS]
    assert _best(schemes, values, seconds) == "int8_static"


def test_the_lower_bound_of_a_ratio_that_varies_is_below_it() -> None:
    """By Student's interval of its logarithm: 2 and 8 are 4 in the middle."""
    found = ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert found.value == pytest.approx(4.0)
    assert found.lower == pytest.approx(1.243, abs=0.01)
    assert ratio([2.0, 2.0], [1.0, 1.0]).lower == pytest.approx(2.0)


def test_a_part_keeps_the_queries_that_it_answers() -> None:
    data = RetrievalSet(
        ("q0", "q1"),
        ("a", "b"),
        ((0,), (2,)),
        ("p0", "p1", "p2"),
        ("x", "y", "z"),
        ((), ()),
        ({}, {}),
    )
    part = _part(data, 2)
    assert (part.queries, part.passages, part.relevant) == (("a",), ("x", "y"), ((0,),))
