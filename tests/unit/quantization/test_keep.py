"""Layers that are to stay in the model's own precision do, in the file of either engine."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from headgate.errors import InputError
from headgate.quantization import INT8_STATIC, INT8_STATIC_QDQ, Calibration, Scheme
from headgate.quantization.produce import quantize
from headgate.workload import Tensors

pytest.importorskip("openvino")

NAMES = ("dense", "unnamed_product", "middle", "last")
WIDTHS = (16, 24, 32, 40, 8)
"""Of the input, and of what each of them gives."""
WIDTH_OF = dict(zip(NAMES, WIDTHS[1:], strict=True))
both = pytest.mark.parametrize("scheme", [INT8_STATIC, INT8_STATIC_QDQ], ids=lambda s: s.name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Gemm, a product without a name, one with a name, and one that makes the output: the ways in
    which OpenVINO's name of a node differs from ONNX's. Each has a width of its own."""
    rng = np.random.default_rng(0)
    weights = {
        f"w{i}": rng.normal(size=shape).astype(np.float32)
        for i, shape in enumerate(pairwise(WIDTHS))
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "bias"], ["a"], name="dense"),
        helper.make_node("Relu", ["a"], ["ra"]),
        helper.make_node("MatMul", ["ra", "w1"], ["unnamed_product"]),
        helper.make_node("Relu", ["unnamed_product"], ["rb"]),
        helper.make_node("MatMul", ["rb", "w2"], ["c"], name="middle"),
        helper.make_node("Relu", ["c"], ["rc"]),
        helper.make_node("MatMul", ["rc", "w3"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "four",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [
            numpy_helper.from_array(w, n)
            for n, w in {**weights, "bias": np.ones(24, dtype=np.float32)}.items()
        ],
    )
    path = tmp_path / "four.onnx"
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )
    return path


def items(n: int = 20) -> list[Tensors]:
    rows = np.random.default_rng(1).normal(size=(n, 1, 16)).astype(np.float32)
    return [{"x": row} for row in rows]


def in_int8(made: dict[str, Path]) -> set[int]:
    """The widths of what those products give whose weights are held in int8."""
    return _of_onnx(made["model.onnx"]) if "model.onnx" in made else _of_ir(made["model.xml"])


def _of_onnx(path: Path) -> set[int]:
    graph = onnx.load_model(path).graph
    held = [w.dims for w in graph.initializer if w.data_type == TensorProto.INT8]
    return {dims[1] for dims in held if len(dims) == 2}  # a zero point has one


def _of_ir(path: Path) -> set[int]:
    constants = ET.parse(path).getroot().iterfind("layers/layer[@type='Const']/data")
    shapes = [c.attrib["shape"] for c in constants if c.attrib["element_type"] == "i8"]
    sides = [{int(side) for side in shape.split(",")} for shape in shapes]
    return {outputs for inputs, outputs in pairwise(WIDTHS) if {inputs, outputs} in sides}


@both
def test_nothing_is_kept_unless_it_is_asked_for(
    source: Path, tmp_path: Path, scheme: Scheme
) -> None:
    made = quantize(scheme, source, tmp_path / "out", calibration=items())
    assert in_int8(made) == set(WIDTH_OF.values())


@both
@pytest.mark.parametrize("name", NAMES)
def test_a_kept_layer_stays_as_it_is_and_no_other_does(
    source: Path, tmp_path: Path, scheme: Scheme, name: str
) -> None:
    made = quantize(replace(scheme, keep=(name,)), source, tmp_path / "out", calibration=items())
    assert in_int8(made) == set(WIDTH_OF.values()) - {WIDTH_OF[name]}


@both
def test_several_are_kept_together(source: Path, tmp_path: Path, scheme: Scheme) -> None:
    kept = replace(scheme, keep=("dense", "last"))
    made = quantize(kept, source, tmp_path / "out", calibration=items())
    assert in_int8(made) == {32, 40}


@pytest.fixture
def branching(tmp_path: Path) -> Path:
    """A residual sum, a product to keep beside it, one weight for both, and a Gemm with a beta."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(16, 16)), "last": rng.normal(size=(16, 8)), "bias": np.full(8, 3.0)
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="branch"),
        helper.make_node("MatMul", ["x", "w"], ["b"], name="kept"),
        helper.make_node("Add", ["x", "a"], ["sum"], name="residual"),
        helper.make_node("Add", ["sum", "b"], ["c"], name="both"),
        helper.make_node("Gemm", ["c", "last", "bias"], ["y"], name="head", beta=0.5),
    ]
    graph = helper.make_graph(
        nodes,
        "branching",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    path = tmp_path / "branching.onnx"
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )
    return path


def test_what_is_rounded_for_one_product_is_rounded_for_nobody_else(
    branching: Path, tmp_path: Path
) -> None:
    """Sums and the kept product read the tensor and the weight as they are; beta is not lost."""
    x = np.random.default_rng(1).normal(size=(64, 16)).astype(np.float32)
    scheme = replace(INT8_STATIC_QDQ, keep=("kept",), calibration=Calibration("min_max"))
    made = quantize(scheme, branching, tmp_path / "out", calibration=[{"x": x}])["model.onnx"]
    graph = onnx.load_model(made).graph
    rounded = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    reads = {n.name: set(n.input) & rounded for n in graph.node}
    assert [name for name in ("residual", "both", "kept") if reads[name]] == []
    assert len(reads["branch"]) == len(reads["head"]) == 2
    exact, rounded_y = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for path in (branching, made)
    )
    assert np.abs(exact - rounded_y).max() < 0.03 * np.abs(exact).max()


@pytest.fixture
def convolutions(tmp_path: Path) -> Path:
    """One with a bias, which OpenVINO adds in a node of its own, one without, and a Dropout that
    OpenVINO leaves out, and with it the name of what goes in."""
    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.normal(size=(6, 3, 3, 3)), "b0": rng.normal(size=6),
        "w1": rng.normal(size=(8, 6, 3, 3)), "w2": rng.normal(size=(5, 8, 3, 3)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], name="biased"),
        helper.make_node("Relu", ["a"], ["ra"]),
        helper.make_node("Conv", ["ra", "w1"], ["b"], name="plain"),
        helper.make_node("Relu", ["b"], ["rb"]),
        helper.make_node("Conv", ["rb", "w2"], ["c"], name="dropped"),
        helper.make_node("Dropout", ["c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5, 6, 6])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    path = tmp_path / "convolutions.onnx"
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path
    )
    return path


def pictures(n: int = 20) -> list[Tensors]:
    rows = np.random.default_rng(1).normal(size=(n, 1, 3, 12, 12)).astype(np.float32)
    return [{"x": row} for row in rows]


@pytest.mark.parametrize("name", ["biased", "plain"])
def test_a_kept_convolution_stays_as_it_is_on_openvino(
    convolutions: Path, tmp_path: Path, name: str
) -> None:
    scheme = replace(INT8_STATIC, keep=(name,))
    made = quantize(scheme, convolutions, tmp_path / "out", calibration=pictures())
    constants = ET.parse(made["model.xml"]).getroot().iterfind("layers/layer[@type='Const']/data")
    held = {c.attrib["shape"] for c in constants if c.attrib["element_type"] == "i8"}
    kept = {"biased": "6, 3, 3, 3", "plain": "8, 6, 3, 3"}[name]
    assert kept not in held
    assert held == {"6, 3, 3, 3", "8, 6, 3, 3", "5, 8, 3, 3"} - {kept}


def test_a_name_that_openvino_does_not_know_is_an_error(convolutions: Path, tmp_path: Path) -> None:
    """And not a model that keeps less than it says; the error lists what could be named."""
    scheme = replace(INT8_STATIC, keep=("plain", "dropped"))
    with pytest.raises(InputError, match="no node 'dropped'") as error:
        quantize(scheme, convolutions, tmp_path / "out", calibration=pictures())
    assert "biased, plain, dropped" in str(error.value)
    assert not list((tmp_path / "out").iterdir())
