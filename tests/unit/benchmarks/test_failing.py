"""Drawn models: the same from a seed, and outliers that change no answer in floats."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.compression import failing
from benchmarks.compression.failing import Draw, Kind, Trap, _save, chain, draw, endpoint, trapped
from headgate.config import load_config

AMONG = ("digits", "BANKING77", "MiniLM")


@pytest.mark.parametrize("kind", ["planted", "natural"])
def test_a_seed_is_one_model(kind: Kind) -> None:
    assert draw(7, AMONG, kind) == draw(7, AMONG, kind)
    assert len({draw(seed, AMONG, kind) for seed in range(50)}) == 50


def test_planted_draws_are_of_every_sort() -> None:
    """Encoders every fifth time, one or two tensors, chains of 16 to 28 products."""
    drawn = [draw(seed, AMONG, "planted") for seed in range(500)]
    traps = [d.trap for d in drawn if d.trap is not None]
    assert len(traps) == 500
    encoders = sum(d.base == "MiniLM" for d in drawn)
    assert 70 < encoders < 130
    assert {d.base for d in drawn} == set(AMONG)
    assert {t.tensors for t in traps} == {1, 2}
    assert {t.channels for t in traps} == set(range(1, 9))
    chains = [d for d in drawn if d.base != "MiniLM"]
    assert {len(d.shape) + 1 for d in chains} == set(range(16, 29))
    assert 30 <= min(t.strength for t in traps) < 40
    assert 900 < max(t.strength for t in traps) <= 1000


def test_natural_draws_have_no_outliers_and_are_small_nets_and_cuts_of_the_encoder() -> None:
    drawn = [draw(seed, AMONG, "natural") for seed in range(500)]
    assert {d.trap for d in drawn} == {None}
    chains = [d for d in drawn if d.base != "MiniLM"]
    assert {len(d.shape) + 1 for d in chains} == set(range(3, 29))
    assert {width for d in chains for width in d.shape} == {16, 32, 64, 128, 256}
    cuts = [d.shape for d in drawn if d.base == "MiniLM"]
    assert {len(cut) for cut in cuts} == {1, 2, 3, 4, 5}
    assert {layer for cut in cuts for layer in cut} == set(range(6))
    assert all(list(cut) == sorted(set(cut)) for cut in cuts)


def test_without_the_encoder_there_are_chains() -> None:
    assert {draw(seed, ("digits",), "natural").base for seed in range(50)} == {"digits"}


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


def test_no_row_is_in_two_parts_and_the_file_is_one_that_the_product_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row twice: it is learnt from, tried on or judged by, and by one of them alone."""
    rows = np.arange(60, dtype=np.float32).reshape(30, 2)
    twice = np.concatenate([rows, rows]), np.tile(np.arange(30) % 3, 2)
    monkeypatch.setattr(failing, "_labelled", lambda name: twice)
    monkeypatch.setattr(failing, "_train", lambda *args, path, **kwargs: path.write_bytes(b""))
    drawn = Draw(0, "digits", (4, 4), None)
    made = chain(drawn, tmp_path)
    parts = [{*map(tuple, x)} for x in (made.calibrate[0], made.evaluate[0], made.holdout[0])]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 30
    config = load_config(endpoint(drawn, tmp_path))
    assert config.task == "classify"
    assert config.candidates == ("int8_static",)
    (contract,) = config.contracts
    assert (contract.metric, contract.limit) == ("accuracy", 0.01)


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text("made", encoding="utf-8")
    assert endpoint(Draw(0, "digits", (4,), None), tmp_path).read_text("utf-8") == "made"
