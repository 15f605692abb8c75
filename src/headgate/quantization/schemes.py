"""The quantization schemes: what is held in fewer bits, what each needs, where it does not apply.

A scheme is a value that says all of what is done; another parameter is another value
(``dataclasses.replace``), not another code path. Knows facts of models and CPU flags; makes
nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from headgate.quantization.facts import PRODUCTS, ModelFacts

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
    "Scheme",
    "applies_to",
    "coverage",
    "product_weights",
    "suited_to",
]

Activations = Literal["float", "dynamic", "static"]
"""Of matrix products: as the model has them, quantized as they come, or by calibrated ranges."""
Compute = Literal["fp32", "bf16", "fp16"]
Method = Literal["min_max", "mean_min_max", "percentile", "entropy", "mse"]

_INT8_FLAGS = ("amx_int8", "asimddp", "avx512_vnni", "avx_vnni", "i8mm")
_COMPUTE_FLAGS = {
    "fp32": (),
    "bf16": ("amx_bf16", "avx512_bf16", "bf16"),
    "fp16": ("amx_fp16", "asimdhp", "avx512_fp16"),
}
_QUANTIZED = (
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "MatMulNBits",
    "QLinearMatMul",
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How static int8 finds the ranges of activations (``quantization/calibration.py``)."""

    method: Method
    share: float = 0.9999
    """Of the values, that ``percentile`` keeps."""
    smoothing: float | None = None
    """SmoothQuant's alpha, 0 to 1: how much of the outliers goes from activations into weights
    (arXiv 2211.10438). None leaves them where they are."""

    @property
    def counts_values(self) -> bool:
        """Whether it looks at the distribution, not at its ends alone."""
        return self.method not in ("min_max", "mean_min_max")

    def without_mask(self) -> Calibration:
        """The same for a model whose items are not sequences, as NNCF carries it out.

        The mean of the items' extremes is meant for items of many rows. Where an item is one row it
        cuts off what is large in every second of them (decision 37), so extremes are of all items.
        And NNCF smooths transformers only.
        """
        method: Method = "min_max" if self.method == "mean_min_max" else self.method
        return replace(self, method=method, smoothing=None)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to hold weights and activations in fewer bits, and who computes it."""

    name: str
    engine: Literal["onnxruntime", "openvino"]
    weight_bits: int
    """In memory while serving."""
    activations: Activations = "float"
    compute: Compute = "fp32"
    """What everything is computed in that is not quantized."""
    calibration: Calibration | None = None
    """Of static activations."""
    group: int | None = None
    """Weights of one column that share a scale; None is a scale for each column."""
    accuracy_level: int | None = None
    """Of MatMulNBits: 1 computes in fp32; 4 quantizes each row's activations to int8, in the same
    groups, and is what VNNI makes fast."""
    reduced_weights: bool = False
    """7 bits in place of 8, where the CPU's 16-bit sums of int8 products would saturate."""
    keep: tuple[str, ...] = ()
    """Names of nodes of the model's graph that are not quantized: mixed precision."""

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16``, ``int8``, ``int8_bf16``, ``int4`` ..., as a build is called."""
        if not self.makes_files:
            return self.compute
        rest = "" if self.compute == "fp32" else f"_{self.compute}"
        return f"int{self.weight_bits}{rest}"

    @property
    def makes_files(self) -> bool:
        """Whether the model is rewritten; bf16 is made of fp32 weights when the engine loads."""
        return self.weight_bits < 16

    @property
    def file_bits(self) -> int:
        """Of weights, in the file."""
        return self.weight_bits if self.makes_files else 32

    @property
    def in_files(self) -> Scheme:
        """The scheme as its files know it: what the rest computes in is chosen as they are loaded.

        >>> INT8_BF16.in_files == INT8_STATIC
        True
        """
        if self.compute == "fp32":
            return self
        return replace(self, name=f"int{self.weight_bits}_{self.activations}", compute="fp32")

    @property
    def quantizes(self) -> bool:
        """Whether it computes in fewer bits than the model has."""
        return self.weight_bits < 32

    @property
    def extra(self) -> str | None:
        """The optional dependency that it takes to make and to serve."""
        return "openvino" if self.engine == "openvino" else None

    @property
    def needs_calibration(self) -> bool:
        return self.activations == "static"

    @property
    def shared_scale(self) -> bool:
        """One activation scale for the whole batch, so that neighbours can change an answer."""
        return self.activations == "dynamic"

    @property
    def int8_products(self) -> bool:
        """Whether the CPU multiplies int8 by int8."""
        return self.activations != "float" or self.accuracy_level == 4

    @property
    def fast_with(self) -> tuple[str, ...]:
        """CPU flags, any of which brings the kernel; without one it is slow."""
        return _INT8_FLAGS if self.int8_products else _COMPUTE_FLAGS[self.compute]

    def saturates(self, flags: Collection[str]) -> bool:
        """Whether a CPU with ``flags`` adds two int8 products in 16 bits, which cannot hold them.

        So it is without VNNI or its like; MatMulNBits adds in 32 bits everywhere.
        """
        return self.activations != "float" and not set(_INT8_FLAGS) & set(flags)

    @property
    def required_flags(self) -> tuple[str, ...]:
        """CPU flags without any of which the engine would silently compute in something else."""
        return _COMPUTE_FLAGS[self.compute]

    def runs_with(self, flags: Collection[str]) -> bool:
        """Whether a CPU with ``flags`` computes in what the scheme says.

        >>> BF16.runs_with(("avx2",)), FP32.runs_with(("avx2",))
        (False, True)
        """
        return not self.required_flags or bool(set(self.required_flags) & set(flags))


FP32 = Scheme("fp32", "onnxruntime", 32)
FP32_OPENVINO = Scheme("fp32_openvino", "openvino", 32)
BF16 = Scheme("bf16", "openvino", 16, compute="bf16")
FP16 = Scheme("fp16", "openvino", 16, compute="fp16")
INT8_DYNAMIC = Scheme("int8_dynamic", "onnxruntime", 8, "dynamic")
INT8_STATIC = Scheme(
    "int8_static", "openvino", 8, "static", calibration=Calibration("mean_min_max", smoothing=0.95)
)
INT8_MIXED = replace(INT8_STATIC, name="int8_mixed")
"""The layers that it keeps are found for each model (``quantization/repair.py``), and with them the
rest computes in bf16 where the CPU does: in fp32 a layer takes twice as long."""
INT8_BF16 = replace(INT8_STATIC, name="int8_bf16", compute="bf16")
INT8_STATIC_QDQ = Scheme(
    "int8_static_qdq", "onnxruntime", 8, "static", calibration=Calibration("mse")
)
INT8_WEIGHTS = Scheme("int8_weights", "onnxruntime", 8, group=128, accuracy_level=4)
INT4_WEIGHTS = Scheme("int4_weights", "onnxruntime", 4, group=32, accuracy_level=4)
INT4_WEIGHTS_OPENVINO = Scheme("int4_weights_openvino", "openvino", 4, group=32)
SCHEMES = (
    FP32,
    FP32_OPENVINO,
    BF16,
    FP16,
    INT8_DYNAMIC,
    INT8_STATIC,
    INT8_BF16,
    INT8_STATIC_QDQ,
    INT8_WEIGHTS,
    INT4_WEIGHTS,
    INT4_WEIGHTS_OPENVINO,
)


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
    calibration = scheme.calibration
    if scheme.engine == "openvino" and calibration is not None and calibration.method == "entropy":
        return Applicability(False, "not applicable: NNCF has no calibration by entropy")
    if scheme.engine == "onnxruntime" and calibration is not None and calibration.smoothing:
        return Applicability(False, "not applicable: ONNX Runtime has no SmoothQuant of its own")
    trees = [o for o in facts.operators if o.startswith("TreeEnsemble")]
    weights = product_weights(facts)
    if trees and not weights:
        return Applicability(False, "not applicable: a tree ensemble has no matrix products")
    done = [o for o in _QUANTIZED if o in facts.operators]
    if done:
        return Applicability(False, f"not applicable: already quantized ({', '.join(done)})")
    if scheme.engine == "onnxruntime" and scheme.group is not None:
        weights = facts.parameters_by_operator.get("MatMul", 0)
        if not weights:
            return Applicability(False, "not applicable: MatMulNBits stands for MatMul alone")
    if weights < min_weights:
        few = f"{weights:,}" if weights else "no"
        return Applicability(
            False,
            f"not applicable: {few} weights in matrix products; what they take is small beside the "
            "rest of a call, so making them smaller gains nothing",
        )
    if not scheme.runs_with(flags):
        return Applicability(
            False, f"not applicable: this CPU has none of {', '.join(scheme.required_flags)}"
        )
    fast = sorted(set(scheme.fast_with) & set(flags))
    warnings = []
    if scheme.fast_with and not fast:
        warnings.append(
            f"this CPU has none of {', '.join(scheme.fast_with)}: expect about the speed of fp32"
            + (", and 7 bits for weights against saturation" if scheme.saturates(flags) else "")
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


def suited_to(scheme: Scheme, flags: Collection[str]) -> Scheme:
    """``scheme`` for a CPU: weights of 7 bits where sums of int8 products would saturate.

    >>> suited_to(INT8_DYNAMIC, ("avx2",)).reduced_weights
    True
    """
    return replace(scheme, reduced_weights=True) if scheme.saturates(flags) else scheme


def coverage(facts: ModelFacts) -> float:
    """Share of the matrix products that multiply by a weight, 0 to 1, as nodes.

    The rest (attention's products of activations) is left in the model's own precision.
    """
    products = sum(facts.operators.get(o, 0) for o in PRODUCTS)
    return facts.weighted_products / products if products else 0.0


def product_weights(facts: ModelFacts) -> int:
    """Weight elements that matrix products read."""
    return sum(facts.parameters_by_operator.get(o, 0) for o in PRODUCTS)
