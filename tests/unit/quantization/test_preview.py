"""Schemes apply where they can gain, and forecasts cover what comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headgate.errors import Undecided
from headgate.quantization import (
    BF16,
    FP32,
    INT8_DYNAMIC,
    INT8_STATIC,
    ModelFacts,
    applies_to,
    coverage,
    forecast,
)
from headgate.quantization.preview import file_bytes, quality_loss, speedup_by_pilot

# MiniLM-L6, as check_onnx reads it.
MINILM = ModelFacts(
    inputs=(),
    outputs=(),
    parameters=22_565_381,
    weight_bytes=90_261_524,
    opset=20,
    operators={"MatMul": 48, "Gather": 3, "Add": 56},
    parameters_by_operator={"Gather": 11_917_824, "MatMul": 10_616_832, "Add": 20_736},
    weighted_products=36,
)
FILE_BYTES = 90_768_364
VNNI = ("avx2", "avx512_bf16", "avx512_vnni")
TREES = ModelFacts((), (), 0, 0, 20, {"TreeEnsembleClassifier": 1}, {})
LINEAR = replace(
    MINILM, parameters=640, parameters_by_operator={"Gemm": 640}, operators={"Gemm": 1}
)


@pytest.mark.parametrize("scheme", [BF16, INT8_DYNAMIC, INT8_STATIC])
def test_every_scheme_applies_to_an_encoder_on_a_modern_cpu(scheme: object) -> None:
    """With the flags, all of them are worth trying."""
    assert applies_to(scheme, MINILM, VNNI)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (TREES, "tree ensemble"),
        (LINEAR, "640 weights"),
        (replace(MINILM, operators={"MatMul": 12, "MatMulInteger": 36}), "already quantized"),
    ],
)
@pytest.mark.parametrize("scheme", [BF16, INT8_DYNAMIC, INT8_STATIC])
def test_trees_tiny_and_quantized_models_are_not_applicable(
    facts: ModelFacts, reason: str, scheme: object
) -> None:
    """Each says why, and fp32 applies to all."""
    answer = applies_to(scheme, facts, VNNI)  # type: ignore[arg-type]
    assert not answer
    assert answer.reason.startswith("not applicable")
    assert reason in answer.reason
    assert applies_to(FP32, facts, VNNI)


def test_flags_decide() -> None:
    """Without its flag bf16 does not apply; int8 does, warning of speed and saturation."""
    assert not applies_to(BF16, MINILM, ("avx2",))
    answer = applies_to(INT8_STATIC, MINILM, ("avx2",))
    assert answer
    assert "7 bits" in answer.warnings[0]
    assert applies_to(INT8_STATIC, MINILM, VNNI).warnings == ()


def test_a_shared_scale_is_warned_of() -> None:
    """Dynamic int8 says before it is made that neighbours can change an answer."""
    assert "neighbours" in applies_to(INT8_DYNAMIC, MINILM, VNNI).warnings[0]


def test_coverage_counts_products_with_weights() -> None:
    """36 of MiniLM's 48 products multiply by weights; a tree has none."""
    assert coverage(MINILM) == 0.75
    assert coverage(TREES) == 0.0


def test_the_size_is_forecast_within_two_percent() -> None:
    """MiniLM in int8 was measured at 23,207,228 bytes (ONNX) and 23,294,974 (OpenVINO)."""
    for measured in (23_207_228, 22_937_793 + 357_181):
        assert file_bytes(8, MINILM, FILE_BYTES) == pytest.approx(measured, rel=0.02)
    assert file_bytes(32, MINILM, FILE_BYTES) == FILE_BYTES


def test_without_a_pilot_speed_is_a_rule_of_thumb_and_quality_is_unknown() -> None:
    """The source of each figure is said, and no quality is invented."""
    f = forecast(
        INT8_STATIC, MINILM, VNNI, source_file_bytes=FILE_BYTES, baseline_memory_bytes=200_000_000
    )
    assert f.speedup_from == "coverage"
    assert 1 < f.speedup.low < f.speedup.value < f.speedup.high < 4
    assert (f.quality_loss, f.meets_margin, f.n_required) == (None, None, None)
    assert f.memory_bytes == 200_000_000 - FILE_BYTES + f.file_bytes


def test_without_its_flag_no_speed_is_promised() -> None:
    """On a CPU without VNNI the interval of the speed-up holds 1."""
    f = forecast(
        INT8_STATIC, MINILM, ("avx2",), source_file_bytes=FILE_BYTES, baseline_memory_bytes=1
    )
    assert f.speedup.low < 1 < f.speedup.high


def test_bf16_saves_memory_but_no_file() -> None:
    """Its weights are converted when the engine loads them."""
    f = forecast(
        BF16, MINILM, VNNI, source_file_bytes=FILE_BYTES, baseline_memory_bytes=200_000_000
    )
    assert f.file_bytes == FILE_BYTES
    assert 150_000_000 < f.memory_bytes < 160_000_000


def test_a_pilot_settles_speed_and_quality() -> None:
    """Ratios of 3 and a loss well within the margin: fast, and probably good enough."""
    rng = np.random.default_rng(0)
    f = forecast(
        INT8_STATIC,
        MINILM,
        VNNI,
        source_file_bytes=FILE_BYTES,
        baseline_memory_bytes=1,
        pilot_speedups=3 * np.exp(rng.normal(0, 0.02, 8)),
        pilot_differences=rng.choice([-1.0, 0.0, 1.0], 400, p=[0.02, 0.96, 0.02]),
        evaluation_items=1250,
        margin=0.02,
    )
    assert f.speedup_from == "pilot"
    assert 2.8 < f.speedup.low < 3 < f.speedup.high < 3.2
    assert f.quality_loss is not None
    assert f.quality_loss.low < 0 < f.quality_loss.high < 0.04
    assert f.meets_margin is not None
    assert f.meets_margin > 0.9
    assert f.n_required is not None
    assert 300 < f.n_required < 3000


def test_a_hopeless_loss_needs_more_items_than_there_are() -> None:
    """Where the loss itself exceeds the margin, no number of items would show it met."""
    f = forecast(
        INT8_STATIC,
        MINILM,
        VNNI,
        source_file_bytes=FILE_BYTES,
        baseline_memory_bytes=1,
        pilot_differences=np.full(100, -0.3),
        evaluation_items=1250,
        margin=0.02,
    )
    assert f.n_required is None
    assert f.meets_margin is not None
    assert f.meets_margin < 0.001


@pytest.mark.parametrize("discordance", [0.01, 0.04, 0.2])
@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_quality_intervals_cover_what_comes(discordance: float, loss: float) -> None:
    """Over 1,000 pilots of 200 items the 90 % interval holds the loss on 1,250 further items."""
    rng = np.random.default_rng(7)
    p = [(discordance + loss) / 2, (discordance - loss) / 2]
    covered = 0
    for _ in range(1000):
        lost, gained = rng.multinomial(200, [*p, 1 - sum(p)])[:2]
        pilot = np.concatenate(
            [np.full(lost, -1.0), np.ones(gained), np.zeros(200 - lost - gained)]
        )
        interval, _ = quality_loss(pilot, evaluation_items=1250, margin=0.02)
        lost, gained = rng.multinomial(1250, [*p, 1 - sum(p)])[:2]
        covered += interval.low <= (lost - gained) / 1250 <= interval.high
    assert covered >= 880


def test_a_spotless_pilot_is_no_proof() -> None:
    """50 items without a difference leave a loss of 2 points possible; 2,000 do not."""
    few, _ = quality_loss(np.zeros(50), evaluation_items=1250, margin=0.02)
    many, meets = quality_loss(np.zeros(2000), evaluation_items=1250, margin=0.02)
    assert few.high > 0.02
    assert many.high < 0.005
    assert meets > 0.999


@pytest.mark.parametrize("bad", [np.zeros(1), np.array([0.0, np.nan])])
def test_too_little_or_broken_pilots_are_undecided(bad: np.ndarray) -> None:
    """One item, or a NaN, forecasts nothing."""
    with pytest.raises(Undecided):
        quality_loss(bad, evaluation_items=100, margin=0.01)
    with pytest.raises(Undecided):
        speedup_by_pilot(bad)
