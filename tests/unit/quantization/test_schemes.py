"""Schemes as values: what their parts say of them, and where they do not apply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.planning import CANDIDATES
from headgate.quantization import (
    BF16,
    FP16,
    FP32,
    FP32_OPENVINO,
    INT4_WEIGHTS,
    INT4_WEIGHTS_OPENVINO,
    INT8_BF16,
    INT8_DYNAMIC,
    INT8_STATIC,
    INT8_STATIC_QDQ,
    INT8_WEIGHTS,
    SCHEMES,
    Calibration,
    Scheme,
    applies_to,
    suited_to,
)
from tests.unit.quantization.test_preview import MINILM

OLD, VNNI, ARM = ("avx2",), ("avx2", "avx512_vnni"), ("asimd", "asimddp")


def test_names_are_unique_and_every_one_is_a_candidate() -> None:
    """But for the model as it is, which is nobody's candidate."""
    names = [s.name for s in SCHEMES]
    assert len(set(names)) == len(names)
    assert set(names) - set(CANDIDATES) == {FP32.name}


@pytest.mark.parametrize(
    ("scheme", "precision", "bits", "extra"),
    [
        (FP32, "fp32", 32, None),
        (FP32_OPENVINO, "fp32", 32, "openvino"),
        (BF16, "bf16", 32, "openvino"),
        (FP16, "fp16", 32, "openvino"),
        (INT8_DYNAMIC, "int8", 8, None),
        (INT8_STATIC, "int8", 8, "openvino"),
        (INT8_BF16, "int8_bf16", 8, "openvino"),
        (INT8_STATIC_QDQ, "int8", 8, None),
        (INT8_WEIGHTS, "int8", 8, None),
        (INT4_WEIGHTS, "int4", 4, None),
        (INT4_WEIGHTS_OPENVINO, "int4", 4, "openvino"),
    ],
    ids=lambda v: v.name if isinstance(v, Scheme) else None,
)
def test_what_a_scheme_is_follows_from_its_parts(
    scheme: Scheme, precision: str, bits: int, extra: str | None
) -> None:
    assert (scheme.precision, scheme.file_bits, scheme.extra) == (precision, bits, extra)
    assert scheme.needs_calibration == (scheme.calibration is not None)
    assert scheme.quantizes == (scheme not in (FP32, FP32_OPENVINO))


def test_a_parameter_is_a_value_not_a_name() -> None:
    """Another group, calibration or node to keep: the same family, and another scheme."""
    kept = replace(INT8_STATIC, keep=("node_MatMul_41",))
    assert kept.name == INT8_STATIC.name
    assert kept != INT8_STATIC
    assert hash(kept) != hash(INT8_STATIC)


@pytest.mark.parametrize(
    ("scheme", "flags"),
    [(BF16, VNNI), (INT8_BF16, VNNI), (FP16, (*VNNI, "avx512_bf16"))],
    ids=lambda v: v.name if isinstance(v, Scheme) else None,
)
def test_a_precision_that_the_cpu_has_not_is_not_applicable(
    scheme: Scheme, flags: tuple[str, ...]
) -> None:
    """It would silently be computed in another."""
    answer = applies_to(scheme, MINILM, flags)
    assert not answer
    assert answer.reason.startswith("not applicable: this CPU has none of")


def test_fp16_applies_where_a_cpu_computes_it() -> None:
    assert applies_to(FP16, MINILM, (*ARM, "asimdhp"))
    assert applies_to(FP16, MINILM, (*VNNI, "avx512_fp16"))


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [
        (replace(INT8_STATIC, calibration=Calibration("entropy")), "no calibration by entropy"),
        (
            replace(INT8_STATIC_QDQ, calibration=Calibration("min_max", smoothing=0.5)),
            "no SmoothQuant",
        ),
    ],
)
def test_what_an_engine_has_not_is_not_applicable(scheme: Scheme, reason: str) -> None:
    assert reason in applies_to(scheme, MINILM, VNNI).reason


@pytest.mark.parametrize("scheme", [INT8_WEIGHTS, INT4_WEIGHTS, INT4_WEIGHTS_OPENVINO])
def test_weight_only_does_not_apply_twice(scheme: Scheme) -> None:
    """A model of MatMulNBits has its weights in few bits already."""
    done = replace(MINILM, operators={"MatMulNBits": 36, "MatMul": 12})
    assert "already quantized (MatMulNBits)" in applies_to(scheme, done, VNNI).reason


@pytest.mark.parametrize("scheme", [INT8_WEIGHTS, INT4_WEIGHTS])
def test_weights_of_a_gemm_have_no_groups(scheme: Scheme) -> None:
    """ONNX Runtime's kernel stands for MatMul alone: the file would be the same again."""
    layers = replace(MINILM, operators={"Gemm": 4}, parameters_by_operator={"Gemm": 10**6})
    assert "MatMul alone" in applies_to(scheme, layers, VNNI).reason
    assert applies_to(INT8_DYNAMIC, layers, VNNI)


@pytest.mark.parametrize("scheme", [INT8_DYNAMIC, INT8_STATIC, INT8_STATIC_QDQ])
def test_weights_take_seven_bits_only_where_sums_saturate(scheme: Scheme) -> None:
    """Without VNNI or its like, and the warning says so; on ARM and with VNNI all eight."""
    assert suited_to(scheme, OLD) == replace(scheme, reduced_weights=True)
    assert "7 bits" in applies_to(scheme, MINILM, OLD).warnings[0]
    for flags in (VNNI, ARM):
        assert suited_to(scheme, flags) is scheme
        assert not any("7 bits" in w for w in applies_to(scheme, MINILM, flags).warnings)


@pytest.mark.parametrize("scheme", [INT8_WEIGHTS, INT4_WEIGHTS, BF16, FP32])
def test_what_adds_in_32_bits_or_floats_keeps_all_its_bits(scheme: Scheme) -> None:
    assert suited_to(scheme, OLD) is scheme
    assert not any("7 bits" in w for w in applies_to(scheme, MINILM, OLD).warnings)
