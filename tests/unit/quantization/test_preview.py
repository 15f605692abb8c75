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
from headgate.quantization.preview import (
    FEW_ITEMS,
    Pilot,
    QualityPilot,
    Side,
    file_bytes,
    pilot_items,
    quality,
    ratio_to_come,
)
from headgate.theory.strata import Stratum

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
    f = forecast(INT8_STATIC, MINILM, VNNI, source_file_bytes=FILE_BYTES)
    assert not f.piloted
    assert 1 < f.speedup.low < f.speedup.value < f.speedup.high < 4
    assert (f.quality, f.meets, f.n_required) == ((), None, None)
    assert f.memory_bytes is None


def test_without_its_flag_no_speed_is_promised() -> None:
    """On a CPU without VNNI the interval of the speed-up holds 1."""
    f = forecast(INT8_STATIC, MINILM, ("avx2",), source_file_bytes=FILE_BYTES)
    assert f.speedup.low < 1 < f.speedup.high


def test_bf16_saves_no_file() -> None:
    """Its weights are converted when the engine loads them."""
    f = forecast(BF16, MINILM, VNNI, source_file_bytes=FILE_BYTES)
    assert f.file_bytes.value == FILE_BYTES


@pytest.mark.parametrize("few", [False, True])
def test_memory_is_that_of_the_pilot(few: bool) -> None:
    """Known where it is the very build; of one of its size nearly so; unknown where it would not
    be weighed."""
    pilot = replace(PILOT, few=few, memory_bytes=400)
    f = forecast(INT8_STATIC, MINILM, VNNI, source_file_bytes=FILE_BYTES, pilot=pilot)
    assert f.memory_bytes is not None
    assert f.memory_bytes.holds(400)
    assert f.memory_bytes.holds(410) is few
    assert not f.memory_bytes.holds(430)
    pilot = replace(pilot, memory_bytes=None)
    f = forecast(INT8_STATIC, MINILM, VNNI, source_file_bytes=FILE_BYTES, pilot=pilot)
    assert f.memory_bytes is None


PILOT = Pilot(
    file_bytes=23_000_000,
    memory_bytes=300_000_000,
    p50_ratios=(0.4, 0.41, 0.39, 0.4),
    speedups=(3.0, 3.1, 2.9, 3.0),
    baseline_p50_s=0.01,
    baseline_per_s=100.0,
    quality=(),
    few=False,
    again=True,
)


def flips(lost: int, gained: int, n: int, *, of: int, limit: float = 0.02) -> QualityPilot:
    """A pilot of ``n`` items in one stratum of ``of``."""
    values = (1.0,) * lost + (-1.0,) * gained + (0.0,) * (n - lost - gained)
    return QualityPilot("recall@10", Side.LOSS, limit, 1.0, (Stratum(of, values),))


def test_a_pilot_settles_size_speed_and_quality() -> None:
    """What was measured takes the place of accounting, and every interval holds it."""
    f = forecast(
        INT8_STATIC,
        MINILM,
        VNNI,
        source_file_bytes=FILE_BYTES,
        pilot=replace(PILOT, quality=(flips(8, 8, 400, of=1250),)),
    )
    assert f.piloted
    assert f.file_bytes.holds(23_000_000)
    assert 2.7 < f.speedup.low < 3 < f.speedup.high < 3.3
    assert f.p50_ratio is not None
    assert 0.37 < f.p50_ratio.low < 0.4 < f.p50_ratio.high < 0.43
    assert f.p50_s is not None
    assert 0.0037 < f.p50_s.low < 0.004 < f.p50_s.high < 0.0043
    assert f.per_s is not None
    assert f.per_s.low == pytest.approx(100 * f.speedup.low)
    (loss,) = f.quality
    assert loss.range.low < 0 < loss.range.high < 0.04
    assert f.meets is not None
    assert f.meets > 0.9
    assert f.n_required is not None
    assert 300 < f.n_required < 3000


def test_a_hopeless_loss_needs_more_items_than_there_are() -> None:
    """Where the loss itself exceeds the margin, no number of items would show it met."""
    loss = quality(flips(30, 0, 100, of=1250), again=True)
    assert loss.n_required is None
    assert loss.meets < 0.001


def test_a_gain_that_a_pilot_saw_promises_no_smaller_n() -> None:
    """It may be luck: as many items are needed as if there were none."""
    gained = quality(flips(4, 12, 400, of=1250), again=True)
    neither = quality(flips(8, 8, 400, of=1250), again=True)
    assert gained.n_required is not None
    assert neither.n_required is not None
    assert gained.n_required >= 0.95 * neither.n_required


def test_a_contract_that_only_warns_rules_nothing_out() -> None:
    """The chance to be promoted is that of the contracts whose breach stops."""
    hopeless = replace(flips(30, 0, 100, of=1250), stops=False)
    pilot = replace(PILOT, quality=(flips(1, 1, 100, of=1250, limit=0.1), hopeless))
    f = forecast(INT8_STATIC, MINILM, VNNI, source_file_bytes=1, pilot=pilot)
    assert f.meets is not None
    assert f.meets > 0.9


def test_a_value_that_must_stay_above_its_limit() -> None:
    """An agreement of nine in ten probably keeps 0.6, and not 0.95."""
    values = (Stratum(1250, (1.0,) * 180 + (0.0,) * 20),)
    kept, broken = (
        quality(QualityPilot("agreement", Side.AT_LEAST, limit, 1.0, values), again=True)
        for limit in (0.6, 0.95)
    )
    assert kept.meets > 0.999 > 0.05 > broken.meets
    few = QualityPilot("agreement", Side.AT_LEAST, 0.6, 1.0, (Stratum(99, (1.0,) * 9),))
    assert quality(few, again=True).range.high > 1
    assert quality(replace(few, bounds=(0.0, 1.0)), again=True).range.high == 1


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("discordance", [0.01, 0.04, 0.2])
@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_quality_intervals_cover_what_is_measured_then(
    discordance: float, loss: float, again: bool
) -> None:
    """Over 1,000 pilots of 256 of 1,250 items the 90 % interval holds the loss on all of them: of
    the very values that the pilot sampled, or, made again, of others with the same chances."""
    rng = np.random.default_rng(7)
    chances = [(discordance + loss) / 2, (discordance - loss) / 2, 1 - discordance]
    covered = 0
    for _ in range(1000):
        seen = rng.choice([1.0, -1.0, 0.0], 1250, p=chances)
        pilot = QualityPilot("m", Side.LOSS, 0.02, 1.0, (Stratum(1250, tuple(seen[:256])),))
        truth = rng.choice([1.0, -1.0, 0.0], 1250, p=chances) if again else seen
        covered += quality(pilot, again=again).range.holds(float(truth.mean()))
    assert covered >= 880


def test_a_spotless_pilot_is_no_proof() -> None:
    """50 items without a difference leave a loss of 2 points possible; 2,000 do not."""
    few = quality(flips(0, 0, 50, of=1250), again=True)
    many = quality(flips(0, 0, 2000, of=4000), again=True)
    assert few.range.high > 0.02
    assert many.range.high < 0.005
    assert many.meets > 0.999


def test_even_blocks_leave_a_drift_and_uneven_ones_are_wider() -> None:
    """3 % from hour to hour, however alike four blocks were."""
    even, uneven = ratio_to_come((2.0,) * 4), ratio_to_come((1.8, 2.2, 1.9, 2.1))
    assert even.high / even.value == pytest.approx(1.05, rel=0.005)
    assert uneven.high / uneven.value > even.high / even.value


def test_a_pilot_is_the_real_build_where_the_rest_costs_little() -> None:
    """All items or few, by what those between them take for all schemes together."""
    assert pilot_items(150, schemes=2, item_s=15 / 134 / 2 - 1e-6) == 150
    assert pilot_items(150, schemes=2, item_s=15 / 134 / 2 + 1e-6) == FEW_ITEMS
    assert pilot_items(150, schemes=0, item_s=100.0) == 150, "nothing is calibrated"
    assert pilot_items(FEW_ITEMS, schemes=9, item_s=100.0) == FEW_ITEMS


def test_what_is_the_build_itself_has_its_size() -> None:
    """Of a pilot on few items half a per cent is left open."""
    sizes = [
        forecast(INT8_STATIC, MINILM, VNNI, source_file_bytes=FILE_BYTES, pilot=p).file_bytes
        for p in (PILOT, replace(PILOT, few=True))
    ]
    assert (sizes[0].low, sizes[0].high) == (23_000_000, 23_000_000)
    assert sizes[1].low < 23_000_000 < sizes[1].high


def test_calibrated_on_few_it_may_lose_more_or_less() -> None:
    """Whatever its items say: they are another build's."""
    pilot = flips(0, 0, 1250, of=1250)
    same, other = quality(pilot, again=False), quality(pilot, again=False, few=True)
    assert (same.range.low, same.range.high) == (0.0, 0.0)
    assert other.range.low < -0.005 < 0.005 < other.range.high
    assert same.meets == 1 > other.meets


@pytest.mark.parametrize("bad", [(0.0,), (0.0, float("nan"))])
def test_too_little_or_broken_pilots_are_undecided(bad: tuple[float, ...]) -> None:
    """One item, or a NaN, forecasts nothing."""
    with pytest.raises(Undecided):
        quality(QualityPilot("m", Side.LOSS, 0.01, 1.0, (Stratum(100, bad),)), again=True)
    with pytest.raises(Undecided):
        ratio_to_come(bad)
