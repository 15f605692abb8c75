"""Drawn models: the same from a seed, and outliers that change no answer in floats."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks.compression.failing import Trap, _save, draw, trapped

AMONG = ("digits", "BANKING77", "MiniLM")


def test_a_seed_is_one_model() -> None:
    assert draw(7, AMONG) == draw(7, AMONG)
    assert len({draw(seed, AMONG) for seed in range(50)}) == 50


def test_draws_are_of_every_kind() -> None:
    """Encoders every fifth time, one or two tensors, chains of 16 to 28 products."""
    drawn = [draw(seed, AMONG) for seed in range(500)]
    encoders = sum(d.base == "MiniLM" for d in drawn)
    assert 70 < encoders < 130
    assert {d.base for d in drawn} == set(AMONG)
    assert {d.trap.tensors for d in drawn} == {1, 2}
    assert {d.trap.channels for d in drawn} == set(range(1, 9))
    assert {len(d.widths) + 1 for d in drawn} == set(range(16, 29))
    assert 30 <= min(d.trap.strength for d in drawn) < 40
    assert 900 < max(d.trap.strength for d in drawn) <= 1000


def test_without_the_encoder_there_are_chains() -> None:
    assert {draw(seed, ("digits",)).base for seed in range(50)} == {"digits"}


def test_outliers_change_no_answer_in_floats_and_are_as_large_as_said(tmp_path: Path) -> None:
    """Two channels of one tensor are a hundred times what they were, and what reads them a
    hundredth; the answers stay."""
    rng = np.random.default_rng(0)
    sizes = (8, 16, 16, 4)
    weights = [rng.normal(size=pair).astype(np.float32) for pair in pairwise(sizes)]
    plain, path = tmp_path / "plain.onnx", tmp_path / "trapped.onnx"
    _save(plain, weights)
    model = trapped(onnx.load_model(plain), Trap(100.0, tensors=1, channels=2, seed=0))
    (scale,) = [w for w in model.graph.initializer if w.name.endswith("_scaled_by")]
    assert sorted(onnx.numpy_helper.to_array(scale))[-3:] == [1.0, 100.0, 100.0]
    onnx.save_model(model, path)
    x = rng.normal(size=(32, 8)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for p in (plain, path)
    )
    assert np.allclose(before[0], after[0], rtol=1e-4, atol=1e-4)
