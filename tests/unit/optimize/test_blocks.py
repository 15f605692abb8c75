"""Interleaved blocks: which time stands for what, and real builds measured side by side."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headgate.ledger import Store
from headgate.objects import Build, Direction
from headgate.optimize.blocks import BlockTimes, SpeedBlocks, measure_beside, measure_blocks
from headgate.optimize.measure import Behaviour
from headgate.optimize.recorder import Recorded, Recorder
from tests.models import tiny_classifier

RUN = Recorded("measure.blocks", "sha256:entry", {}, False, 1.0, "")
PRICE = 0.5


def times(scale: float, batched_s: float) -> BlockTimes:
    """Twenty requests of ``scale`` to ``20 * scale`` seconds."""
    return BlockTimes(tuple(scale * k for k in range(1, 21)), batched_s)


SPEED = SpeedBlocks(
    names=("fp32", "int8"),
    blocks=((times(1.0, 40.0), times(0.5, 10.0)), (times(2.0, 80.0), times(0.25, 5.0))),
    aa_before=(times(1.0, 41.0), times(1.1, 42.0)),
    aa_after=(times(1.2, 43.0), times(1.3, 44.0)),
    run=RUN,
)


@pytest.mark.parametrize(
    ("metric", "one"),
    [("latency_p50", 10.0), ("latency_p95", 19.0), ("latency_p99", 20.0), ("latency_mean", 10.5)],
)
def test_latency_is_that_of_lone_requests(metric: str, one: float) -> None:
    """The order statistic of each block; A/A pairs are the baseline's own."""
    blocks = SPEED.samples("int8", metric, price_per_s=PRICE)
    assert blocks is not None
    assert (blocks.unit, blocks.direction) == ("s", Direction.LOWER)
    assert blocks.candidate == pytest.approx((0.5 * one, 0.25 * one))
    assert blocks.current == pytest.approx((one, 2.0 * one))
    assert blocks.aa_before[0] == pytest.approx((one, 1.1 * one))
    assert blocks.aa_after[0] == pytest.approx((1.2 * one, 1.3 * one))


def test_a_speed_up_compares_both_in_the_same_batches() -> None:
    """4 and 16 times: 8 in the geometric mean. A/A pairs differ by 42/41 and 44/43."""
    found = SPEED.speedup("int8")
    assert (found.value, found.blocks) == (pytest.approx(8.0), 2)
    assert found.noise == pytest.approx(math.sqrt(42 / 41 * 44 / 43))
    assert not found.counts
    assert SPEED.baseline_item_s == pytest.approx((40.0 + 80.0) / 2 / 20)


def test_a_build_that_took_its_items_three_times_is_no_slower_for_it() -> None:
    """Short passes are repeated until they can be timed, each build as often as it needs."""
    thrice = tuple(
        (fp32, BlockTimes(int8.latencies_s * 3, int8.batched_s * 3)) for fp32, int8 in SPEED.blocks
    )
    again = replace(SPEED, blocks=thrice)
    assert again.speedup("int8").value == pytest.approx(SPEED.speedup("int8").value)
    for metric in ("device_s_per_1k", "latency_p95"):
        once, more = (s.samples("int8", metric, price_per_s=PRICE) for s in (SPEED, again))
        assert once is not None
        assert more is not None
        assert more.candidate == pytest.approx(once.candidate)


def test_cost_is_the_candidate_in_batches_against_the_baseline_alone() -> None:
    """What a user has today answers one request at a time: 1 + ... + 20 = 210 s for 20."""
    seconds = SPEED.samples("int8", "device_s_per_1k", price_per_s=PRICE)
    money = SPEED.samples("int8", "cost_per_1k", price_per_s=PRICE)
    assert seconds is not None
    assert money is not None
    assert seconds.candidate == (500.0, 250.0)
    assert seconds.current == (10_500.0, 21_000.0)
    assert seconds.aa_before == ((10_500.0, 11_550.0),)
    assert money.unit == "money"
    assert money.candidate == tuple(PRICE * s for s in seconds.candidate)
    assert money.current == tuple(PRICE * s for s in seconds.current)


def test_the_baseline_against_itself_is_alone_on_both_sides() -> None:
    """Its column of the table is what every ratio divides by."""
    blocks = SPEED.samples("fp32", "device_s_per_1k", price_per_s=PRICE)
    assert blocks is not None
    assert blocks.candidate == blocks.current


@pytest.mark.parametrize("metric", ["recall@10", "agreement", "worst_slice_mine", "mine"])
def test_a_metric_of_quality_is_not_measured_in_seconds(metric: str) -> None:
    """Where nothing scored it, there is nothing to judge, and the gate says so."""
    assert SPEED.samples("int8", metric, price_per_s=PRICE) is None


def test_the_baselines_p95_is_over_all_blocks() -> None:
    """The 38th of 40 lone requests: 20 up to 20 s, 20 up to 40 s."""
    assert SPEED.baseline_p95_s == 36.0


def test_builds_are_timed_on_the_same_items_and_remembered(
    store: Store, recorder: Recorder, tmp_path: Path
) -> None:
    """Each build in each block, as often as it takes to be timed; asked again, nothing runs."""
    model = store.put_file(tiny_classifier(tmp_path / "model.onnx"))
    build = Build("fp32", "classify", "onnxruntime", "fp32", {"model.onnx": model}, None, 1, 1)
    builds = [build, replace(build, name="again")]
    behaviour = Behaviour("classify", False, None, None, {})
    items = [np.full(4, k, dtype=np.float64) for k in range(10)]

    def measured() -> SpeedBlocks:
        return measure_blocks(recorder, builds, behaviour, items=items, n_blocks=2, n_items=5)

    speed = measured()
    assert speed.names == ("fp32", "again")
    assert [len(row) for row in speed.blocks] == [2, 2]
    cells = [*speed.blocks[0], *speed.blocks[1], *speed.aa_before, *speed.aa_after]
    for cell in cells:
        assert len(cell.latencies_s) % 5 == 0
        assert cell.latencies_s
        assert min(*cell.latencies_s, cell.batched_s) > 0
    again = measured()
    assert (speed.run.reused, again.run.reused) == (False, True)
    assert again.blocks == speed.blocks


@pytest.mark.parametrize(
    ("models", "groups"),
    [(100, ["fp32 a b c"]), (3, ["fp32 a b", "fp32 c"]), (1, ["fp32 a", "fp32 b", "fp32 c"])],
)
def test_no_more_builds_are_loaded_than_the_machine_holds(
    store: Store, recorder: Recorder, tmp_path: Path, models: int, groups: list[str]
) -> None:
    """Their files take a quarter of its memory at most, with the baseline's, which is always
    among them; one is measured beside it in any case."""
    path = tiny_classifier(tmp_path / "model.onnx")
    file = store.put_file(path)
    build = Build("fp32", "classify", "onnxruntime", "fp32", {"model.onnx": file}, None, 1, 1)
    speed = measure_beside(
        recorder,
        build,
        [replace(build, name=name) for name in "abc"],
        Behaviour("classify", False, None, None, {}),
        items=[np.full(4, k, dtype=np.float64) for k in range(5)],
        n_blocks=1,
        memory_bytes=4 * models * path.stat().st_size,
    )
    assert list(speed) == ["fp32", *"abc"]
    assert [*dict.fromkeys(" ".join(s.names) for s in speed.values())] == groups
    assert all(name in of.names for name, of in speed.items())


def test_own_steps_are_timed_with_the_items_that_they_know(
    store: Store, recorder: Recorder, tmp_path: Path
) -> None:
    """Numbers come to them as an array, as they do from a data file and from a caller."""
    (tmp_path / "own.py").write_text("def halve(item):\n    return item / 2\n", encoding="utf-8")
    model = store.put_file(tiny_classifier(tmp_path / "model.onnx"))
    build = Build("fp32", "classify", "onnxruntime", "fp32", {"model.onnx": model}, None, 1, 1)
    behaviour = Behaviour("classify", False, "own:halve", None, {})
    items = [np.full(4, k, dtype=np.float64) for k in range(5)]
    speed = measure_blocks(recorder, [build], behaviour, items=items, n_blocks=1)
    assert len(speed.blocks) == 1
