"""What the benchmark of kernels compares: the faster fp32 engine and the best int8."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from benchmarks.compression.alternating import over_loads, ratio
from benchmarks.compression.kernels import _best, _part, _ratios
from headgate.config import RetrievalSet
from headgate.quantization import FP32, INT8_DYNAMIC, INT8_STATIC, INT8_WEIGHTS
from headgate.workload import Tensors

SHAPES = ((32, 16), (32, 128))


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


def test_the_best_is_the_fastest_int8_that_is_not_refused_as_it_is_made() -> None:
    """However fast what is refused; nor is it what is no int8."""
    seconds = {
        shape: {
            "int8_dynamic": np.array([1.0]),
            "int8_weights": np.array([3.0]),
            "int8_static": np.array([2.0]),
            "fp32": np.array([0.5]),
        }
        for shape in SHAPES
    }
    schemes = [FP32, INT8_DYNAMIC, INT8_STATIC, INT8_WEIGHTS]
    assert _best(schemes, seconds, refused=["int8_dynamic"]) == "int8_static"
    assert _best(schemes, seconds, refused=[]) == "int8_dynamic"


def test_the_lower_bound_of_a_ratio_that_varies_is_below_it() -> None:
    """By Student's interval of its logarithm: 2 and 8 are 4 in the middle."""
    found = ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert found.value == pytest.approx(4.0)
    assert found.lower == pytest.approx(1.243, abs=0.01)
    assert found.upper == pytest.approx(4.0**2 / found.lower)
    assert ratio([2.0, 2.0], [1.0, 1.0]).lower == pytest.approx(2.0)


def test_rounds_of_one_load_count_once() -> None:
    """A thousand rounds of two loads that differ are two values, and a bound as wide."""
    one = np.ones((2, 1000))
    loads = np.array([[2.0], [8.0]]) * one
    assert ratio(loads, one).lower == pytest.approx(ratio([2.0, 8.0], [1.0, 1.0]).lower)
    assert ratio(loads, one).lower < 0.1 < 2.0 < ratio(loads.ravel(), one.ravel()).lower


def test_no_bound_is_narrower_than_an_engine_beside_itself() -> None:
    """Rounds that agree to the last bit, of a method that sees a tenth between equals."""
    three, one = [3.0] * 9, [1.0] * 9
    found = ratio(three, one, same=([1.0, 1.1], [1.1, 1.0]))
    assert found.value == pytest.approx(3.0)
    assert found.lower == pytest.approx(2.828, abs=0.001)
    seconds = {
        (32, 16): {
            "fp32": np.array([3.0, 3.0]),
            "fp32_openvino": np.array([4.0, 4.0]),
            "fp32 again": np.array([3.3, 3.0]),
            "a": np.ones(2),
        }
    }
    assert _ratios("a", seconds)["32x16"].lower < 2.6
    assert _ratios("fp32 again", seconds)["32x16"].value == pytest.approx((1 / 1.1) ** 0.5)


class Loaded:
    """Notes its own loading and closing."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self._name, self._seen = name, seen
        seen.append(f"load {name}")

    def run(self, tensors: Tensors) -> np.ndarray:
        return np.zeros(1)

    def close(self) -> None:
        self._seen.append(f"close {self._name}")


def test_engines_are_loaded_anew_for_every_load_and_in_turned_order() -> None:
    seen: list[str] = []
    load = {name: partial(Loaded, name, seen) for name in "ab"}
    seconds = over_loads(load, {"a": {}, "b": {}}, loads=2, rounds=3, least_s=0.0)
    assert {name: s.shape for name, s in seconds.items()} == {"a": (2, 3), "b": (2, 3)}
    assert seen[0::4] == ["load b", "load a"]
    assert len(seen) == 8


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
