"""Layers that are to stay in the model's own precision do, in the file of either engine."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headgate.quantization import INT8_STATIC, INT8_STATIC_QDQ, Scheme
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
