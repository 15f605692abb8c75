"""A static student's graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headgate.errors import EngineError, InputError

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from headgate.engines import export_table as module  # noqa: E402
from headgate.engines.export_table import export_table  # noqa: E402
from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402


@pytest.fixture
def state(tmp_path: Path) -> Path:
    rng = torch.Generator().manual_seed(0)
    tensors = {
        "table": torch.randn(50, 4, generator=rng),
        "basis": torch.randn(4, 6, generator=rng),
    }
    save_file(tensors, tmp_path / "state.safetensors")
    return tmp_path / "state.safetensors"


def test_its_answer_is_the_weighted_mean_of_its_tokens(state: Path, tmp_path: Path) -> None:
    """Of length 1, whatever the padding holds, and the same alone."""
    from safetensors.torch import load_file

    assert export_table(state, tmp_path / "model.onnx") < 1e-5
    engine = OnnxRuntimeEngine(tmp_path / "model.onnx", threads=1)
    ids = np.array([[3, 7, 9], [5, 49, 49]])
    mask = np.array([[1, 1, 1], [1, 0, 0]])
    answers = engine.run({"input_ids": ids, "attention_mask": mask})
    alone = engine.run({"input_ids": ids[1:, :1], "attention_mask": mask[1:, :1]})
    tensors = load_file(state)
    sums = torch.stack([tensors["table"][[3, 7, 9]].mean(dim=0), tensors["table"][5]])
    expected = torch.nn.functional.normalize(sums @ tensors["basis"], dim=-1)
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    np.testing.assert_allclose(alone[0], answers[1], atol=1e-6)
    engine.close()


def test_the_same_state_gives_the_same_bytes(state: Path, tmp_path: Path) -> None:
    """Nothing of the run is in the file."""
    for name in ("a", "b"):
        export_table(state, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_student_s_state_is_refused(tmp_path: Path) -> None:
    """By what it holds; nothing is written."""
    save_file({"encoder.layer.0.weight": torch.ones(2)}, tmp_path / "state")
    with pytest.raises(InputError, match="not table and basis"):
        export_table(tmp_path / "state", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_graph_that_differs_is_not_written(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A basis with one number changed is found by the comparison."""
    graph = module._graph

    def wrong(table: np.ndarray, basis: np.ndarray) -> object:
        basis = basis.copy()
        basis[0, 0] += 1
        return graph(table, basis)

    monkeypatch.setattr(module, "_graph", wrong)
    with pytest.raises(EngineError, match="differs from numpy"):
        export_table(state, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
