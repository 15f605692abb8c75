"""Fewer bits: the schemes, the grids beneath them, and a preview of what they cost and bring.

Pure but for ``produce``, which makes the files, and ``optional``, which loads what it takes;
nothing here imports either.
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
    FP32,
    FP32_OPENVINO,
    INT8_DYNAMIC,
    INT8_STATIC,
    SCHEMES,
    Applicability,
    Scheme,
    applies_to,
    coverage,
)

__all__ = [
    "BF16",
    "FP32",
    "FP32_OPENVINO",
    "INT8_DYNAMIC",
    "INT8_STATIC",
    "SCHEMES",
    "Applicability",
    "Grid",
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
    "symmetric_grid",
]
