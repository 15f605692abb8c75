"""An int8 build that breaks a promise of quality, and what of it is kept out of int8."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.engines.probe import read_profile
from headgate.objects import Bound, Build
from headgate.optimize import mending
from headgate.optimize.inputs import Inputs
from headgate.optimize.job import Job
from headgate.optimize.making import Maker
from headgate.optimize.making.quantized import quantized
from headgate.optimize.measure import Behaviour, measure_quality
from headgate.optimize.mending import Mended, Reference, mend
from headgate.optimize.models import Source
from headgate.optimize.recorder import Recorder
from headgate.quantization import BF16, FP32_OPENVINO, INT8_STATIC, Calibration, Layer, Scheme
from headgate.quantization.speed import Speedup
from headgate.release import Rule
from tests.models import outlier_chain

from .fakes import build, contract, invariance

LAYERS = (Layer("query", 0.1, 0.2), Layer("up", 0.01, 0.4), Layer("down", 0.9, 0.1))
"""The rest of the work, 0.3, is of layers that nothing is said about."""

PLAIN = ("bf16", "fp32_openvino")


def exactly(value: float) -> Speedup:
    return Speedup(value, value, value, 5, 1.0)


Holds = Callable[[Build], bool]


class World:
    """An endpoint whose builds hold as a test says; remembers what was asked of it."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        holds: Holds,
        *,
        share: float = 0.9,
        speedup: float = 2.0,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.judged: list[str] = []
        self.held_against: list[str] = []
        self._flags = flags

        def judge(job: object, rule: object, reference: object, made: Build) -> bool:
            self.judged.append(made.name)
            return holds(made)

        def times(job: object, made: Build, *, than: Build, limit: float) -> Speedup:
            self.held_against.append(than.name)
            return exactly(share if made.name.startswith("int8_mixed") else speedup)

        def mixed(maker: object, keep: tuple[str, ...], kept_in: Scheme) -> Build:
            return build(f"int8_mixed, {kept_in.compute} for {' '.join(keep)}")

        monkeypatch.setattr(mending, "_holds", judge)
        monkeypatch.setattr(mending, "_times_faster", times)
        monkeypatch.setattr(mending, "_mixed", mixed)
        monkeypatch.setattr(mending, "make_build", lambda name, maker: build(name))
        monkeypatch.setattr(mending, "layers_of", lambda maker, source, scheme: LAYERS)

    def mend(self, *, holdout: object = "sealed") -> Mended:
        job = SimpleNamespace(inputs=SimpleNamespace(holdout=holdout), notes=[])
        maker = SimpleNamespace(
            source=SimpleNamespace(build=build()), profile=SimpleNamespace(flags=self._flags)
        )
        return mend(
            cast("Job", job), cast("Rule", None), cast("Reference", None), cast("Maker", maker)
        )


def needs(*layers: str) -> Holds:
    return lambda made: made.name in PLAIN or set(layers) <= set(made.name.split())


def test_where_int8_holds_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, lambda made: True)
    assert world.mend() == Mended(None, False, "int8_static keeps what was promised of quality")
    assert world.judged == ["int8_static"]


def test_the_layer_that_breaks_it_stays_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noisiest is tried first and is enough; how many were tried is said with it."""
    world = World(monkeypatch, needs("down"))
    found = world.mend()
    assert found.build is not None
    assert found.build.name == "int8_mixed, fp32 for down"
    assert found.because == (
        "the best of 1 trials on evaluate leaves down in fp32 and keeps 90% of the speed of "
        "int8_static; nothing more in it is worth dropping"
    )
    assert world.judged == ["int8_static", "fp32_openvino", "int8_mixed, fp32 for down"]
    assert world.held_against == ["fp32_openvino", "int8_static"]


@pytest.mark.parametrize(
    ("few", "blocks", "kept"),
    [((0.7, 0.9), [5, 15], 0.85), ((0.81, 0.9), [5], 0.8), ((0.7, 0.79), [5, 15], 0.85)],
    ids=["on either side", "above", "below"],
)
def test_a_speed_that_few_blocks_do_not_show_is_measured_in_more(
    monkeypatch: pytest.MonkeyPatch, few: tuple[float, float], blocks: list[int], kept: float
) -> None:
    """What a few noisy blocks do not tell neither drops a set that holds, nor lets it stand."""
    asked: list[int] = []

    def measured(*_: object, n_blocks: int, **__: object) -> SimpleNamespace:
        asked.append(n_blocks)
        found = {5: Speedup(0.8, *few, 5, 1.0), 15: Speedup(0.85, 0.82, 0.88, 15, 1.0)}[n_blocks]
        return SimpleNamespace(speedup=lambda name: found)

    monkeypatch.setattr(mending, "measure_blocks", measured)
    job = cast("Job", SimpleNamespace(recorder=None, behaviour=None, queries=[]))
    found = mending._times_faster(job, build("int8_mixed"), than=build("int8_static"), limit=0.8)
    assert (asked, found.value) == (blocks, kept)


def test_where_the_cpu_computes_in_bf16_that_is_what_layers_are_kept_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what plain int8 is held against: its speed-up says what a layer costs that is kept."""
    world = World(monkeypatch, needs("down"), flags=("avx512_bf16",))
    found = world.mend()
    assert "leaves down in bf16" in found.because
    assert world.judged == ["int8_static", "bf16", "int8_mixed, bf16 for down"]
    assert world.held_against == ["bf16", "int8_static"]


def test_where_bf16_breaks_the_promise_itself_layers_are_kept_in_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holds = needs("down")
    world = World(
        monkeypatch, lambda made: made.name != "bf16" and holds(made), flags=("avx512_bf16",)
    )
    assert "leaves down in fp32" in world.mend().because
    assert world.judged[:3] == ["int8_static", "bf16", "fp32_openvino"]


def test_where_int8_is_no_faster_than_what_holds_anyway_nothing_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """bf16 keeps the promises and is as fast: that is said, and not that layers cost too much."""
    world = World(monkeypatch, needs("down"), flags=("avx512_bf16",), speedup=0.98)
    assert world.mend().because == (
        "not mended in 0 trials: int8_static is no faster here than what layers would be kept in, "
        "which keeps all that was promised"
    )
    assert world.judged == ["int8_static", "bf16"]


def test_one_that_turns_out_too_slow_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds, and measured it keeps less than four fifths of the speed."""
    found = World(monkeypatch, needs("down"), share=0.6).mend()
    assert found.build is None
    assert "costs more than a fifth of the speed-up" in found.because


def test_what_is_chosen_by_trying_needs_a_holdout(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, needs("down"))
    found = world.mend(holdout=None)
    assert found.build is None
    assert found.needed
    assert "data: holdout" in found.because
    assert world.judged == ["int8_static"]


def test_data_that_cannot_even_show_it_of_fp32_cost_no_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, lambda made: False)
    assert "not even fp32" in world.mend().because
    assert world.judged == ["int8_static", "fp32_openvino"]


@pytest.fixture
def broken(recorder: Recorder, tmp_path: Path) -> tuple[Job, Reference, Maker]:
    """A classifier of six layers with an outlier before the fourth, on 400 rows that it is right
    about itself, under a promise to stay within 0.15 of that, which weights of 7 bits can keep."""
    pytest.importorskip("openvino")
    rng, store = np.random.default_rng(0), recorder.store
    model = outlier_chain(tmp_path / "m.onnx", widths=(16, 24, 24, 24, 24, 24, 4), before=3)
    rows = np.sign(rng.normal(size=(400, 16))).astype(np.float32)
    labels = OnnxRuntimeEngine(model, threads=1).run({"x": rows}).argmax(axis=1)
    data = tmp_path / "evaluate.jsonl"
    data.write_text(
        "".join(
            json.dumps({"id": f"i{k}", "input": row.tolist(), "label": int(label)}) + "\n"
            for k, (row, label) in enumerate(zip(rows, labels, strict=True))
        ),
        encoding="utf-8",
    )
    versions = {"evaluate": store.put_file(data), "workload": store.put_bytes(b"asked")}
    for name, version in versions.items():
        recorder.register(name, version, kind="dataset", schema="jsonl")
    fp32 = build(files={"model.onnx": store.put_file(model)}, threads=1)
    inputs = SimpleNamespace(
        versions=versions,
        holdout="sealed",
        calibrate=tuple(np.sign(rng.normal(size=(50, 16))).astype(np.float32)),
    )
    behaviour = Behaviour("classify", True, None, None, {})
    scored = measure_quality(
        recorder, fp32, behaviour, dataset=versions["evaluate"], split="evaluate"
    )
    job = SimpleNamespace(
        recorder=recorder,
        inputs=inputs,
        behaviour=behaviour,
        own={},
        contracts=(contract("accuracy", Bound.NOT_BELOW_CURRENT_BY, 0.15),),
        register_build=lambda made: store.put_bytes(made.content),
    )
    store.put_bytes(fp32.content)
    maker = Maker(recorder, Source(fp32, {}, "made"), cast("Inputs", inputs), read_profile(), ())
    return cast("Job", job), Reference(fp32, scored, invariance()), maker


RULE = Rule(
    endpoint="docs",
    split="evaluate",
    dataset="sha256:evaluate",
    contracts=(),
    metrics={},
    planned_n={},
    seed=0,
)


def test_a_model_that_int8_breaks_is_mended_and_every_trial_is_on_record(
    broken: tuple[Job, Reference, Maker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With engines and quantizers as they are: what reads the outlier stays out of int8, and a
    search that was killed finds every trial made and judged."""
    job, reference, maker = broken
    int8 = replace(INT8_STATIC, calibration=Calibration("min_max"))  # clips no outlier
    schemes = {s.name: s for s in (int8, BF16, FP32_OPENVINO)}
    monkeypatch.setattr(mending, "INT8_MIXED", replace(int8, name="int8_mixed"))
    monkeypatch.setattr(
        mending,
        "make_build",
        lambda name, maker: quantized(maker, maker.source.build, schemes[name], name=name),
    )
    monkeypatch.setattr(
        mending,
        "_times_faster",
        lambda job, made, *, than, limit: exactly(0.9 if made.name == "int8_mixed" else 2.0),
    )
    found = mend(job, RULE, reference, maker)
    assert found.build is not None, found.because
    assert "leaves product3 in " in found.because
    executed = [run.name for run in job.recorder.runs]
    assert executed.count("quantize.sensitivity") == 1
    assert "gate.decide" not in executed
    assert executed.count("quantize") >= 2
    before = len(job.recorder.runs)
    assert mend(job, RULE, reference, maker) == found
    assert all(run.reused for run in job.recorder.runs[before:])
