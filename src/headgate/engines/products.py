"""Counts the matrix products of a build's graph, those in fewer bits, and what converts for them.

Reads ONNX and OpenVINO's format; loads no engine.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from headgate.errors import InputError
from headgate.objects import Build
from headgate.quantization.facts import PRODUCTS
from headgate.quantization.speed import Products

__all__ = ["read_products"]

_INTEGER = (
    "ConvInteger",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulNBits",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
)
"""ONNX operators that multiply in fewer bits by themselves."""
_QUANTIZES = ("QuantizeLinear", "DynamicQuantizeLinear")
_IR_PRODUCTS = ("MatMul", "Convolution")
_IR_PASSED = ("Convert", "Multiply", "Reshape", "Subtract", "Transpose", "Unsqueeze")
"""Between a product and the numbers that it reads, where these are held in fewer bits."""
_IR_FEW_BITS = ("i4", "i8", "nf4", "u4", "u8")


def read_products(build: Build, path_of: Callable[[str], Path]) -> Products:
    """Of the graph as it is in the file; an engine may join nodes when it loads it.

    bfloat16 is nowhere in a file: there every product is computed in it. A server that is not ours
    shows none, and a cascade has none of its own.
    """
    if "model.xml" in build.files:
        found = _of_ir(path_of(build.files["model.xml"]))
    elif "model.onnx" in build.files:
        found = _of_onnx(path_of(build.files["model.onnx"]))
    else:
        return Products(0, 0, 0)
    return Products(found.total, found.total, 0) if build.precision == "bf16" else found


def _of_onnx(path: Path) -> Products:
    import onnx

    graph = onnx.load_model(path, format="protobuf", load_external_data=False).graph
    restored = {out for n in graph.node if n.op_type == "DequantizeLinear" for out in n.output}
    total = quantized = conversions = 0
    for node in graph.node:
        if node.op_type in PRODUCTS or node.op_type in _INTEGER:
            total += 1
            between = all(name in restored for name in list(node.input)[:2])  # a QDQ pair around it
            quantized += node.op_type in _INTEGER or between
        elif node.op_type in _QUANTIZES:
            conversions += 1
    return Products(total, quantized, conversions)


def _of_ir(path: Path) -> Products:
    try:
        net = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise InputError(f"not OpenVINO's model format: {error}", where=str(path)) from error
    layers = {layer.attrib["id"]: layer for layer in net.iterfind("layers/layer")}
    read_by: dict[str, list[str]] = {}
    for edge in net.iterfind("edges/edge"):
        read_by.setdefault(edge.attrib["to-layer"], []).append(edge.attrib["from-layer"])
    products = [name for name, layer in layers.items() if layer.attrib["type"] in _IR_PRODUCTS]
    return Products(
        total=len(products),
        quantized=sum(any(map(_is_few_bits, _read(p, layers, read_by))) for p in products),
        conversions=sum(layer.attrib["type"] == "FakeQuantize" for layer in layers.values()),
    )


def _read(
    product: str, layers: Mapping[str, ET.Element], read_by: Mapping[str, list[str]]
) -> Iterator[ET.Element]:
    """What the product reads, seen through what only passes it on."""
    waiting, seen = list(read_by.get(product, ())), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        yield layers[name]
        if layers[name].attrib["type"] in _IR_PASSED:
            waiting += read_by.get(name, ())


def _is_few_bits(layer: ET.Element) -> bool:
    if layer.attrib["type"] == "FakeQuantize":
        return True
    data = layer.find("data")
    held = "" if data is None else data.attrib.get("element_type", "")
    return layer.attrib["type"] == "Const" and held in _IR_FEW_BITS
