"""The matrix products of a graph, counted as they are in the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headgate.engines.products import read_products
from headgate.errors import InputError
from headgate.objects import Build
from headgate.quantization import INT8_DYNAMIC, INT8_STATIC, Calibration
from headgate.quantization.produce import quantize
from headgate.quantization.speed import Products
from tests.models import tiny_classifier


def products(precision: str = "int8", **files: Path) -> Products:
    names = {"xml": "model.xml", "onnx": "model.onnx"}
    build = Build(
        "x", "classify", "onnxruntime", precision,
        {names[kind]: str(path) for kind, path in files.items()}, None, 1, 1,
    )  # fmt: skip
    return read_products(build, Path)


def test_a_model_as_it_is_has_none_in_fewer_bits(tmp_path: Path) -> None:
    """Unless its engine is told to compute in bfloat16, which no file says."""
    model = tiny_classifier(tmp_path / "model.onnx")
    assert products(onnx=model) == Products(1, 0, 0)
    assert products("bf16", onnx=model) == Products(1, 1, 0)


def test_a_dynamic_product_converts_what_it_reads(tmp_path: Path) -> None:
    """Each time that it is run."""
    source = tiny_classifier(tmp_path / "fp32.onnx", features=64)
    made = quantize(INT8_DYNAMIC, source, tmp_path / "int8")
    assert products(onnx=made["model.onnx"]) == Products(1, 1, 1)


@pytest.mark.parametrize(("both", "found"), [(True, (1, 1, 1)), (False, (1, 0, 1))])
def test_a_product_between_conversions_is_one_in_few_bits(
    tmp_path: Path, both: bool, found: tuple[int, int, int]
) -> None:
    """As ONNX Runtime's static quantizer writes it; one that reads a plain weight is not."""
    weight = np.ones((4, 3))
    scale, zero = np.array(0.1, np.float32), np.array(0, np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["r"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["restored"]),
        helper.make_node("MatMul", ["r", "restored" if both else "plain"], ["y"]),
    ]
    weights = {"w": weight.astype(np.int8), "plain": weight.astype(np.float32)}
    graph = helper.make_graph(
        nodes, "qdq",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [
            numpy_helper.from_array(value, name)
            for name, value in {**weights, "scale": scale, "zero": zero}.items()
        ],
    )  # fmt: skip
    path = tmp_path / "qdq.onnx"
    onnx.save_model(helper.make_model(graph), path)
    assert products(onnx=path) == Products(*found)


def test_openvinos_format_tells_the_same(tmp_path: Path) -> None:
    """A product whose weights are held in eight bits, and the node that quantizes for it."""
    pytest.importorskip("nncf")
    source = tiny_classifier(tmp_path / "model.onnx", features=64)
    rows = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    scheme = replace(INT8_STATIC, calibration=Calibration("mean_min_max"))
    made = quantize(scheme, source, tmp_path / "ir", calibration=[{"x": rows}])
    found = products(xml=made["model.xml"])
    assert (found.total, found.quantized) == (1, 1)
    assert found.conversions >= 1


def test_what_is_no_graph_is_said_to_be_none(tmp_path: Path) -> None:
    """With the file's name."""
    path = tmp_path / "model.xml"
    path.write_text("<net>", encoding="utf-8")
    with pytest.raises(InputError, match="not OpenVINO's model format"):
        products(xml=path)


def test_a_server_that_is_not_ours_shows_none() -> None:
    """Its files are not here."""
    build = Build("x", "embed", "http", "unknown", {"server.json": "s"}, None, 1, 1)
    assert read_products(build, Path) == Products(0, 0, 0)
