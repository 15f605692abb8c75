"""Exporting a transformers encoder."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from headgate.errors import EngineError, MissingExtra
from tests.encoders import tiny_bert

pytest.importorskip("torch")

from headgate.engines import export_torch
from headgate.engines.export_torch import EXPORT_TOLERANCE, ExportFacts, export_embedder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("teacher"), layers=2)


@pytest.fixture(scope="module")
def exported(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExportFacts]:
    out = tmp_path_factory.mktemp("exported") / "model.onnx"
    return out, export_embedder(teacher, out)


def test_an_export_states_what_it_is_and_how_close(exported: tuple[Path, ExportFacts]) -> None:
    """The file has the stated digest, dynamic inputs and the output, and agrees with the model."""
    out, facts = exported
    assert facts.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (facts.dimension, facts.max_tokens) == (16, 24)
    assert facts.n >= 30
    assert 0 <= facts.max_abs_difference <= EXPORT_TOLERANCE
    model = onnx.load(out)
    assert [i.name for i in model.graph.input] == ["input_ids", "attention_mask"]
    assert [o.name for o in model.graph.output] == ["sentence_embedding"]
    for value in model.graph.input:
        assert [d.dim_param for d in value.type.tensor_type.shape.dim] == ["batch", "length"]
    assert list(out.parent.iterdir()) == [out]


def test_the_graph_normalises_and_ignores_padding(exported: tuple[Path, ExportFacts]) -> None:
    """Answers have length 1, and neither a neighbour nor what the padding holds changes one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(exported[0], providers=["CPUExecutionProvider"])

    def run(ids: list[list[int]], mask: list[list[int]]) -> np.ndarray:
        feed = {"input_ids": np.array(ids), "attention_mask": np.array(mask)}
        return session.run(None, feed)[0]

    alone = run([[5, 6, 7]], [[1, 1, 1]])
    padded = run([[5, 6, 7, 0, 0], [9] * 5], [[1, 1, 1, 0, 0], [1] * 5])
    dirty = run([[5, 6, 7, 8, 9], [9] * 5], [[1, 1, 1, 0, 0], [1] * 5])
    assert np.linalg.norm(padded, axis=1) == pytest.approx(1, abs=1e-6)
    assert padded[0] == pytest.approx(alone[0], abs=1e-6)
    assert dirty[0] == pytest.approx(padded[0], abs=1e-6)
    assert np.abs(padded[0] - padded[1]).max() > 0.01


def test_another_process_writes_the_same_bytes_and_no_word(
    teacher: Path, exported: tuple[Path, ExportFacts], tmp_path: Path
) -> None:
    """No path, stack trace, counter or hash order is in the file, nothing on the terminal."""
    program = (
        "import sys; from pathlib import Path;"
        "from headgate.engines.export_torch import export_embedder;"
        "export_embedder(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(teacher), str(tmp_path / "there.onnx")],
        check=True,
        capture_output=True,
        timeout=200,
        cwd=tmp_path,
        env={"PYTHONHASHSEED": "77"},
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    content = exported[0].read_bytes()
    assert content == (tmp_path / "there.onnx").read_bytes()
    for origin in (b"site-packages", b"pytorch", b".py"):
        assert origin not in content


def test_a_student_is_exported_with_its_own_weights(teacher: Path, tmp_path: Path) -> None:
    """``layers`` and ``state`` reach the graph: it holds one layer, and the state's numbers."""
    from safetensors.torch import save_file

    from headgate.distillation.encoder import load_encoder

    student = load_encoder(teacher, layers=(1,))
    state = {n: t * 0.5 for n, t in student.state_dict().items() if "pooler" not in n}
    state["encoder.layer.0.output.dense.bias"] += 0.125
    save_file(state, tmp_path / "student.safetensors")
    out = tmp_path / "model.onnx"
    facts = export_embedder(teacher, out, layers=(1,), state=tmp_path / "student.safetensors")
    assert facts.max_abs_difference <= EXPORT_TOLERANCE
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(out).graph.initializer}
    (name,) = [n for n in weights if n.endswith("output.dense.bias") and "attention" not in n]
    assert weights[name] == pytest.approx(state["encoder.layer.0.output.dense.bias"].numpy())


def test_a_graph_that_differs_is_not_written(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong export stops with the difference, and leaves no file."""

    def unmasked(hidden, mask):  # type: ignore[no-untyped-def]
        import torch

        return torch.nn.functional.normalize(hidden.mean(dim=1) + 0 * mask[:, :1], dim=-1)

    monkeypatch.setattr(export_torch, "pooled", unmasked)
    with pytest.raises(EngineError, match="differs from transformers by"):
        export_embedder(teacher, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_extra_is_named(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"extra 'train'") as error:
        export_embedder(teacher, tmp_path / "model.onnx")
    assert error.value.fix == "pip install 'headgate[train]'"
