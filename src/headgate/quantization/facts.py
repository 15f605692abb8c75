"""What a model file holds, as facts. Reading them is ``engines.check``'s work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PRODUCTS", "ModelFacts", "TensorSpec"]

PRODUCTS = ("Conv", "Gemm", "MatMul")
"""The operators that quantization speeds up."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: ``dtype`` is numpy's name; ``shape`` has None where it is dynamic."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Signature, size and operators of one model."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: int
    """Elements of all floating-point and quantized weights."""
    weight_bytes: int
    opset: int
    operators: Mapping[str, int]
    """Operator -> how many nodes."""
    parameters_by_operator: Mapping[str, int]
    """Operator -> weight elements that it reads: what a scheme for that operator can shrink.

    Transposes, casts and reshapes in between are looked through, and a weight that two operators
    read counts for both.
    """
    weighted_products: int = 0
    """Nodes that multiply by a weight matrix (``PRODUCTS``), of those in ``operators``."""
