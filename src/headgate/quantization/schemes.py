"""The quantization schemes that Headgate tries, what each needs, and where it does not apply.

Knows facts of models and CPU flags; makes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from headgate.quantization.facts import PRODUCTS, ModelFacts

__all__ = [
    "BF16",
    "FP32",
    "FP32_OPENVINO",
    "INT8_DYNAMIC",
    "INT8_STATIC",
    "SCHEMES",
    "Applicability",
    "Scheme",
    "applies_to",
    "coverage",
    "product_weights",
]

_INT8_FLAGS = ("amx_int8", "asimddp", "avx512_vnni", "avx_vnni", "i8mm")
_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
_QUANTIZED = ("DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul")


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to hold weights and activations in fewer bits."""

    name: str
    engine: str
    precision: str
    weight_bits: int
    """In memory while serving."""
    file_bits: int
    """In the file: bf16 is made from fp32 weights when the engine loads."""
    extra: str | None
    """The optional dependency that it takes to make and to serve."""
    needs_calibration: bool
    shared_scale: bool
    """One activation scale for the whole batch, so that neighbours can change an answer."""
    fast_with: tuple[str, ...]
    """CPU flags, any of which brings the kernel; without one it is slow."""
    required_flags: bool
    """Without such a flag the engine would silently compute in another precision."""

    @property
    def quantizes(self) -> bool:
        """Whether it computes in fewer bits than the model has."""
        return self.weight_bits < 32


FP32 = Scheme("fp32", "onnxruntime", "fp32", 32, 32, None, False, False, (), False)
FP32_OPENVINO = Scheme(
    "fp32_openvino", "openvino", "fp32", 32, 32, "openvino", False, False, (), False
)
BF16 = Scheme("bf16", "openvino", "bf16", 16, 32, "openvino", False, False, _BF16_FLAGS, True)
INT8_DYNAMIC = Scheme(
    "int8_dynamic", "onnxruntime", "int8", 8, 8, None, False, True, _INT8_FLAGS, False
)
INT8_STATIC = Scheme(
    "int8_static", "openvino", "int8", 8, 8, "openvino", True, False, _INT8_FLAGS, False
)
SCHEMES = (FP32, FP32_OPENVINO, BF16, INT8_DYNAMIC, INT8_STATIC)


@dataclass(frozen=True, slots=True)
class Applicability:
    """Whether a scheme can gain anything here, why, and what to beware of."""

    applies: bool
    reason: str
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.applies


def applies_to(
    scheme: Scheme,
    facts: ModelFacts,
    flags: Collection[str],
    *,
    min_weights: int = 100_000,
) -> Applicability:
    """Whether ``scheme`` is worth trying on a model and a CPU.

    ``min_weights`` in matrix products: below it (0.1 M multiplications an item, some 10 us) the
    engine's call costs more than the arithmetic that a scheme could speed up.
    """
    if not scheme.quantizes:
        return Applicability(True, "the model as it is")
    trees = [o for o in facts.operators if o.startswith("TreeEnsemble")]
    weights = product_weights(facts)
    if trees and not weights:
        return Applicability(False, "not applicable: a tree ensemble has no matrix products")
    done = [o for o in _QUANTIZED if o in facts.operators]
    if done:
        return Applicability(False, f"not applicable: already quantized ({', '.join(done)})")
    if weights < min_weights:
        few = f"{weights:,}" if weights else "no"
        return Applicability(
            False,
            f"not applicable: {few} weights in matrix products; what they take is small beside the "
            "rest of a call, so making them smaller gains nothing",
        )
    fast = sorted(set(scheme.fast_with) & set(flags))
    if not fast and scheme.required_flags:
        return Applicability(
            False, f"not applicable: this CPU has none of {', '.join(scheme.fast_with)}"
        )
    warnings = []
    if not fast:
        warnings.append(
            f"this CPU has none of {', '.join(scheme.fast_with)}: expect about the speed of fp32, "
            "and saturation where weights are not reduced to 7 bits"
        )
    if scheme.shared_scale:
        warnings.append(
            "one activation scale for the whole batch: an answer may depend on its neighbours"
        )
    return Applicability(
        True,
        f"{weights:,} of {facts.parameters:,} weights are in matrix products"
        + (f"; {', '.join(fast)}" if fast else ""),
        tuple(warnings),
    )


def coverage(facts: ModelFacts) -> float:
    """Share of the matrix products that multiply by a weight, 0 to 1, as nodes.

    The rest (attention's products of activations) is left in the model's own precision.
    """
    products = sum(facts.operators.get(o, 0) for o in PRODUCTS)
    return facts.weighted_products / products if products else 0.0


def product_weights(facts: ModelFacts) -> int:
    """Weight elements that matrix products read."""
    return sum(facts.parameters_by_operator.get(o, 0) for o in PRODUCTS)
