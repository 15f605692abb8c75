"""Measurements, with clocks that say what they are told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate import engines
from headgate.engines.measure import Timed, sample_batches, service_times
from headgate.errors import InputError
from headgate.objects import Build
from headgate.workload import Tensors


class CostlyEngine:
    """Moves its own clock forward by ``1 + padded tokens`` a call; the first call is slow."""

    def __init__(self) -> None:
        self.now = 0.0
        self.shapes: list[tuple[int, ...]] = []

    def clock(self) -> float:
        return self.now

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        shape = tensors["x"].shape
        self.now += (1 + shape[0] * shape[1]) * (100 if shape not in self.shapes else 1)
        self.shapes.append(shape)
        return np.zeros(shape[0])

    def close(self) -> None:
        pass


def zeros(size: int, longest: int) -> Tensors:
    return {"x": np.zeros((size, longest))}


def measure(engine: CostlyEngine, **options: float) -> dict[tuple[int, int], float]:
    timed = [Timed([engine], zeros)]
    (times,) = service_times(
        timed,
        sizes=(1, 4),
        lengths=(8, 16),
        clock=engine.clock,
        cpu_clock=engine.clock,
        **options,
    )
    return {(p.size, p.longest): p.seconds for p in times.points}


def test_times_are_those_of_the_shape_without_its_first_calls() -> None:
    """The median of each shape, with compilation left out."""
    assert measure(CostlyEngine()) == {(1, 8): 9, (1, 16): 17, (4, 8): 33, (4, 16): 65}


def test_shapes_take_turns_in_rotated_order() -> None:
    """No shape runs twice in a row while others wait, and none always runs first."""
    engine = CostlyEngine()
    measure(engine, budget_s=0, min_repeats=4, max_repeats=4)
    rounds = [engine.shapes[8 + 4 * k : 12 + 4 * k] for k in range(4)]
    assert all(len(set(r)) == 4 for r in rounds)
    assert len({r[0] for r in rounds}) == 4


def test_the_budget_ends_it_but_not_before_the_least() -> None:
    """A budget of nothing still measures three times; a large one stops at the most repeats."""
    engine = CostlyEngine()
    measure(engine, budget_s=0)
    assert len(engine.shapes) == 4 * (2 + 3)
    engine = CostlyEngine()
    measure(engine, budget_s=1e9, max_repeats=7)
    assert len(engine.shapes) == 4 * (2 + 7)


def test_instances_run_at_the_same_time() -> None:
    """With two instances each call waits for the other to have begun: they truly overlap."""
    meeting = threading.Barrier(2, timeout=30)

    class Meets(CostlyEngine):
        def run(self, tensors: Tensors) -> NDArray[np.generic]:
            meeting.wait()
            return super().run(tensors)

    first, second = Meets(), Meets()
    timed = [Timed([first, second], zeros)]
    (times,) = service_times(
        timed, sizes=(2,), lengths=(8,), clock=first.clock, cpu_clock=first.clock, max_repeats=3
    )
    assert len(first.shapes) == len(second.shapes) == 5
    assert len(times.points) == 1


def test_builds_take_turns_so_that_a_slow_machine_slows_all() -> None:
    """From the third round on everything takes ten times as long, and the ratio of two builds that
    cost the same stays one; one after the other, the second would look ten times as dear."""
    clock = {"now": 0.0, "rounds": 0}

    class Slowed:
        def run(self, tensors: Tensors) -> NDArray[np.generic]:
            clock["rounds"] += 1
            clock["now"] += 10.0 if clock["rounds"] > 8 else 1.0
            return np.zeros(1)

        def close(self) -> None:
            pass

    first, second = service_times(
        [Timed([Slowed()], zeros), Timed([Slowed()], zeros)],
        sizes=(1,),
        lengths=(8,),
        clock=lambda: clock["now"],
        cpu_clock=lambda: clock["now"],
        min_repeats=9,
        max_repeats=9,
    )
    assert first.points[0].seconds == second.points[0].seconds


def test_cores_used_are_the_cpu_seconds_of_a_second_of_call() -> None:
    """A call of 2 s that computes on four cores for half of it uses two; compiling is left out."""
    now = {"wall": 0.0, "cpu": 0.0}

    class HalfIdle:
        def run(self, tensors: Tensors) -> NDArray[np.generic]:
            now["wall"] += 2.0
            now["cpu"] += 4.0 if now["wall"] > 4 else 400.0
            return np.zeros(1)

        def close(self) -> None:
            pass

    (times,) = service_times(
        [Timed([HalfIdle()], zeros)],
        sizes=(1,),
        lengths=(8,),
        clock=lambda: now["wall"],
        cpu_clock=lambda: now["cpu"],
        budget_s=10.0,
    )
    assert times.cores_used == 2.0


def test_batches_are_cut_from_real_tokens(
    text_build: Build, path_of: Callable[[str], Path]
) -> None:
    """Any shape can be made, of ids that the sample has, unpadded."""
    codec = engines.codec_for(text_build, path_of)
    make = sample_batches(codec, codec.encode(["abc", "xy"]), np.random.default_rng(0))
    batch = make(3, 12)
    assert batch["input_ids"].shape == (3, 12)
    assert batch["attention_mask"].all()
    known = np.concatenate([e.content for e in codec.encode(["abc", "xy"])])
    assert set(batch["input_ids"].ravel()) <= set(known)


def test_fixed_shapes_are_drawn_from_the_sample(
    tensor_build: Build, path_of: Callable[[str], Path]
) -> None:
    """Items of a fixed shape keep it; only their number changes."""
    codec = engines.codec_for(tensor_build, path_of)
    make = sample_batches(codec, codec.encode([[1, 2, 3, 4]]), np.random.default_rng(0))
    assert make(5, 1)["x"].tolist() == [[1, 2, 3, 4]] * 5


def test_without_items_there_is_nothing_to_measure(
    tensor_build: Build, path_of: Callable[[str], Path]
) -> None:
    """An empty sample is an error, not an empty batch."""
    with pytest.raises(InputError):
        sample_batches(engines.codec_for(tensor_build, path_of), [], np.random.default_rng(0))
