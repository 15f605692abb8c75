"""Fewer bits: the schemes, the grids beneath them, and a preview of what they cost and bring.

Pure but for ``produce``, which makes the files with ``onnx_files`` and ``openvino_files``, and
``optional``, which loads what it takes; nothing here imports any of them.
"""

from headgate.quantization.facts import ModelFacts, TensorSpec
from headgate.quantization.grids import (
    Grid,
    affine_grid,
    expected_sqnr_db,
    sqnr_db,
    symmetric_grid,
)
from headgate.quantization.preview import QuantizationForecast, forecast
from headgate.quantization.schemes import (
    BF16,
    FP16,
    FP32,
    FP32_OPENVINO,
    INT4_WEIGHTS,
    INT4_WEIGHTS_OPENVINO,
    INT8_BF16,
    INT8_DYNAMIC,
    INT8_MIXED,
    INT8_STATIC,
    INT8_STATIC_QDQ,
    INT8_WEIGHTS,
    SCHEMES,
    Applicability,
    Calibration,
    Scheme,
    applies_to,
    coverage,
    suited_to,
)
from headgate.quantization.sensitivity import Layer

__all__ = [
    "BF16",
    "FP16",
    "FP32",
    "FP32_OPENVINO",
    "INT4_WEIGHTS",
    "INT4_WEIGHTS_OPENVINO",
    "INT8_BF16",
    "INT8_DYNAMIC",
    "INT8_MIXED",
    "INT8_STATIC",
    "INT8_STATIC_QDQ",
    "INT8_WEIGHTS",
    "SCHEMES",
    "Applicability",
    "Calibration",
    "Grid",
    "Layer",
    "ModelFacts",
    "QuantizationForecast",
    "Scheme",
    "TensorSpec",
    "affine_grid",
    "applies_to",
    "coverage",
    "expected_sqnr_db",
    "forecast",
    "sqnr_db",
    "suited_to",
    "symmetric_grid",
]
