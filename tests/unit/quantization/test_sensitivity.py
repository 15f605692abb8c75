"""What int8 does to each layer, seen in one pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from headgate.errors import EngineError, InputError
from headgate.quantization import INT8_STATIC_QDQ, Calibration, Layer, Scheme
from headgate.quantization.produce import measure_sensitivity
from headgate.quantization.products import weighted_products
from headgate.quantization.sensitivity import RowSample, Sensitivity, noise
from headgate.workload import Tensors
from tests.models import TINY_VOCAB, tiny_cross_encoder, tiny_embedder

RNG = np.random.default_rng
PLAIN = replace(INT8_STATIC_QDQ, calibration=Calibration("min_max"))
"""Static int8 that clips nothing."""


def two_layers(path: Path, *, outlier: float = 1.0, branch: float = 1.0) -> Path:
    """x (batch, 16) -> x + branch * relu(x @ first) @ second, node names ``first`` and ``second``.

    ``outlier`` scales a channel between the two and is divided out again by the second.
    """
    rng = RNG(0)
    scale = np.ones(32, dtype=np.float32)
    scale[3] = outlier
    first = rng.normal(size=(16, 32)).astype(np.float32) * scale
    second = branch * rng.normal(size=(32, 16)).astype(np.float32) / scale[:, None]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"], name="second"),
        helper.make_node("Add", ["c", "bias"], ["d"]),
        helper.make_node("Add", ["d", "x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16])],
        [
            numpy_helper.from_array(a, n)
            for n, a in (("w1", first), ("w2", second), ("bias", np.ones(16, dtype=np.float32)))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def inputs(n: int, *, seed: int = 0) -> list[Tensors]:
    return [{"x": row[None].astype(np.float32)} for row in RNG(seed).normal(size=(n, 16))]


def layers_of(scheme: Scheme, path: Path, batches: list[Tensors]) -> tuple[Layer, ...]:
    return measure_sensitivity(scheme, path, batches, scratch=path.parent)


def noises(path: Path, batches: list[Tensors]) -> dict[str, float]:
    return {layer.name: layer.noise for layer in layers_of(PLAIN, path, batches)}


def test_an_outlier_channel_is_found_where_it_hurts(tmp_path: Path) -> None:
    """The product that reads it is disturbed a hundred times as much; the other is not."""
    plain = noises(two_layers(tmp_path / "a"), inputs(50))
    hurt = noises(two_layers(tmp_path / "b", outlier=100.0), inputs(50))
    assert hurt["second"] > 100 * plain["second"]
    assert hurt["first"] < 2 * plain["first"]


def test_noise_in_a_branch_counts_against_the_stream_that_it_returns_to(tmp_path: Path) -> None:
    """A branch of a thousandth of the stream may be as noisy as it likes."""
    heavy = noises(two_layers(tmp_path / "a"), inputs(50))
    light = noises(two_layers(tmp_path / "b", branch=0.001), inputs(50))
    assert light["second"] < heavy["second"] / 1000
    assert light["first"] == pytest.approx(heavy["first"])


def test_noise_is_what_rounding_both_sides_does() -> None:
    """By hand: 0.4 of a step of 1 is lost in each activation, and the weight is exact."""
    x = np.full((4, 1), 100.4)
    assert noise(x, np.array([[1.0]]), low=0.0, high=255.0) == pytest.approx((0.4 / 100.4) ** 2)


def test_a_row_of_zeros_has_nothing_to_lose() -> None:
    x = np.array([[0.0], [0.0], [100.4]])
    assert noise(x, np.eye(1), low=0.0, high=255.0) > 0
    assert noise(np.zeros((3, 1)), np.eye(1), low=0.0, high=1.0) == 0.0


def test_smoothing_takes_an_outlier_channel_out_again(tmp_path: Path) -> None:
    """A scheme that smooths is not told to leave out what smoothing mends."""
    products = weighted_products(onnx.load(two_layers(tmp_path / "m", outlier=100.0)))
    seen = {p.reads: RNG(1).normal(size=(50, len(p.weight))) for p in products}
    seen["b"][:, 3] *= 100
    seen["a"], seen["y"] = np.ones((50, 32)), np.ones((50, 16))

    def second(smoothing: float | None) -> float:
        sensitivity = Sensitivity(products, Calibration("min_max", smoothing=smoothing))
        sensitivity.add(seen)
        return sensitivity.layers()[1].noise

    assert second(0.5) < second(None) / 10


def test_a_range_that_clips_is_seen_to(tmp_path: Path) -> None:
    """The scheme's own calibration decides what is lost: here it cuts off half of the values."""
    clipping = replace(PLAIN, calibration=Calibration("percentile", share=0.5))
    path = two_layers(tmp_path / "m")
    clipped = {a.name: a.noise for a in layers_of(clipping, path, inputs(50))}
    assert clipped["first"] > 100 * noises(path, inputs(50))["first"]


def test_a_model_without_a_mask_is_calibrated_as_nncf_is_asked_to(tmp_path: Path) -> None:
    """It is not smoothed, and the extremes of its rows are not averaged."""
    asked = replace(PLAIN, calibration=Calibration("mean_min_max", smoothing=0.5))
    path = two_layers(tmp_path / "m", outlier=100.0)
    assert layers_of(asked, path, inputs(50)) == layers_of(PLAIN, path, inputs(50))


def test_work_is_each_products_share_of_the_multiplications(tmp_path: Path) -> None:
    """The cross-encoder's head multiplies once an item, the layer before it once a token."""
    path = tiny_cross_encoder(tmp_path / "m", hidden=16, scores=1)
    ids = RNG(0).integers(4, TINY_VOCAB, (1, 7))
    batch = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    work = {layer.name: layer.work for layer in layers_of(PLAIN, path, [batch] * 3)}
    total = 7 * 16 * 16 + 16
    assert work == {"projected": 7 * 16 * 16 / total, "logits": pytest.approx(16 / total)}


def test_products_without_a_name_are_called_as_openvino_calls_them(tmp_path: Path) -> None:
    (product,) = weighted_products(onnx.load(tiny_embedder(tmp_path / "m")))
    assert (product.name, product.reads, product.joins) == ("projected", "embedded", "projected")


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_plain_gemm_is_a_product(transposed: int) -> None:
    """Its weight is given as (inputs, outputs), whichever way it is stored."""
    weight = RNG(0).normal(size=(4, 3)).astype(np.float32)
    stored = np.ascontiguousarray(weight.T) if transposed else weight
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense", transB=transposed)
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(stored, "w")])
    (product,) = weighted_products(helper.make_model(graph))
    np.testing.assert_array_equal(product.weight, weight)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5),
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
        helper.make_node("MatMul", ["x", "z"], ["y"]),
        helper.make_node("Mul", ["x", "w"], ["y"]),
    ],
    ids=["scaled", "transposed input", "two activations", "no product"],
)
def test_what_is_no_plain_product_is_none(node: onnx.NodeProto) -> None:
    weight = numpy_helper.from_array(np.ones((4, 4), dtype=np.float32), "w")
    assert (
        weighted_products(helper.make_model(helper.make_graph([node], "g", [], [], [weight]))) == ()
    )


@given(st.integers(1, 20), st.integers(0, 300), st.integers(0, 2**32))
def test_a_sample_is_evenly_spaced_and_bounded(limit: int, n: int, seed: int) -> None:
    """However the rows come, in whatever pieces: every stride-th of them, at most ``limit``, and
    more than half of that where there are so many; the range is that of all of them."""
    rng = RNG(seed)
    rows = rng.normal(size=(n, 2)).astype(np.float32)
    sample, place = RowSample(limit), 0
    while place < n:
        size = int(rng.integers(1, 50))
        sample.add(rows[place : place + size])
        place += size
    kept = sample.rows
    assert len(kept) <= limit
    assert len(kept) == n or len(kept) > limit // 2
    if n:
        stride = next(s for s in (2**k for k in range(12)) if len(rows[::s]) == len(kept))
        np.testing.assert_array_equal(kept, rows[::stride])
        np.testing.assert_array_equal(sample.lows, rows.min(axis=0))
        np.testing.assert_array_equal(sample.highs, rows.max(axis=0))
    assert sample.count == n


def test_more_calibration_takes_no_more_memory(tmp_path: Path) -> None:
    """What is kept of ten thousand rows is no more than of a thousand."""
    sensitivity = Sensitivity(
        weighted_products(onnx.load(two_layers(tmp_path / "m"))), Calibration("min_max")
    )
    values = {t: np.ones((10_000, 16 if t in "xy" else 32)) for t in sensitivity.tensors}
    sensitivity.add(values)
    kept = [*sensitivity._reads.values(), *sensitivity._energies.values()]
    assert all(len(sample.rows) <= 256 for sample in kept)


def test_calibration_that_is_not_finite_is_named(tmp_path: Path) -> None:
    broken = [{"x": np.full((1, 16), np.nan, dtype=np.float32)}]
    with pytest.raises(InputError, match="NaN in the tensor 'x'"):
        layers_of(PLAIN, two_layers(tmp_path / "m"), broken)


def test_without_calibration_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no calibration data"):
        layers_of(PLAIN, two_layers(tmp_path / "m"), [])


def test_a_dropped_input_is_noticed(tmp_path: Path) -> None:
    ids = np.full((1, 4), 5)
    with pytest.raises(InputError, match="without attention_mask"):
        layers_of(PLAIN, tiny_embedder(tmp_path / "m"), [{"input_ids": ids}])


def test_a_broken_model_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a model")
    with pytest.raises(EngineError) as error:
        layers_of(PLAIN, broken, inputs(1))
    assert error.value.where == str(broken)


def test_the_same_items_give_the_same_numbers(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "m")
    assert noises(path, inputs(300)) == noises(path, inputs(300))
