"""What every engine promises, checked on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from headgate import engines
from headgate.errors import ConfigError, EngineError
from headgate.objects import Build
from headgate.quantization.produce import openvino_ir
from headgate.workload import Engine, Tensors
from tests.models import tiny_embedder, tiny_tokenizer

KINDS = ("onnxruntime", "openvino-onnx", "openvino-ir")


@pytest.fixture(params=KINDS)
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """The tiny embedder for each engine, in files without extensions, as a store keeps them."""
    tiny_embedder(tmp_path / "m")
    tiny_tokenizer(tmp_path / "t")
    files = {"model.onnx": "m"}
    if request.param != "onnxruntime":
        pytest.importorskip("openvino")
    if request.param == "openvino-ir":
        xml, weights = openvino_ir(tmp_path / "m", tmp_path / "ir")
        files = {"model.xml": "x", "model.bin": "w"}
        xml.rename(tmp_path / "x")
        weights.rename(tmp_path / "w")
    engine = request.param.split("-")[0]
    return Build("tiny", "embed", engine, "fp32", files, "t", 64, 1, pad_to_multiple=8)


@pytest.fixture
def path_of(tmp_path: Path) -> Callable[[str], Path]:
    return lambda version: tmp_path / version


@pytest.fixture
def engine(build: Build, path_of: Callable[[str], Path]) -> Iterator[Engine]:
    loaded = engines.load(build, path_of)
    yield loaded
    loaded.close()


@pytest.fixture
def batch(build: Build, path_of: Callable[[str], Path]) -> Tensors:
    codec = engines.codec_for(build, path_of)
    return codec.collate(codec.encode(["open a file", "read"]))


def expected(tmp_path: Path, batch: Tensors) -> np.ndarray:
    """The tiny embedder in numpy."""
    import onnx

    graph = onnx.load(tmp_path / "m").graph
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
    hidden = np.tanh(weights["embedding"][batch["input_ids"]] @ weights["weight"])
    mask = np.asarray(batch["attention_mask"])[:, :, None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True))


def test_it_computes_the_model(engine: Engine, batch: Tensors, tmp_path: Path) -> None:
    """The answer is the model's, to float32 accuracy."""
    answer = engine.run(batch)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected(tmp_path, batch), atol=1e-6)


def test_it_repeats_itself(engine: Engine, batch: Tensors) -> None:
    """The same batch gives the same bytes."""
    assert engine.run(batch).tobytes() == engine.run(batch).tobytes()


def test_an_answer_is_the_callers_to_keep(engine: Engine, batch: Tensors) -> None:
    """A later call does not write into an earlier answer, nor into its inputs."""
    before = {k: v.copy() for k, v in batch.items()}
    first = engine.run(batch)
    kept = first.copy()
    engine.run({k: np.ascontiguousarray(v[::-1]) for k, v in batch.items()})
    np.testing.assert_array_equal(first, kept)
    for name, value in batch.items():
        np.testing.assert_array_equal(value, before[name])


def test_any_shape_may_follow_any_other(engine: Engine, tmp_path: Path) -> None:
    """Batch size and length change from call to call, and no buffer of an old shape shows."""
    rng = np.random.default_rng(0)
    for size, length in [(1, 8), (4, 32), (1, 1), (2, 8), (4, 32)]:
        ids = rng.integers(4, 70, (size, length))
        batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        np.testing.assert_allclose(engine.run(batch), expected(tmp_path, batch), atol=1e-6)


def test_padding_does_not_count(engine: Engine, tmp_path: Path) -> None:
    """An item padded behind its mask has the answer that it has alone."""
    ids = np.array([[2, 5, 6, 3]])
    padded = np.array([[2, 5, 6, 3, 9, 9]])
    mask = np.array([[1, 1, 1, 1, 0, 0]])
    alone = engine.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    together = engine.run({"input_ids": padded, "attention_mask": mask})
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: {"input_ids": b["input_ids"], "no_such_input": b["input_ids"]},
        lambda b: {**b, "input_ids": b["input_ids"].astype(np.float32)[0]},
        lambda b: {**b, "attention_mask": b["attention_mask"][:, :3]},
    ],
)
def test_a_bad_batch_is_an_engine_error_and_does_no_harm(
    engine: Engine, batch: Tensors, spoil: Callable[[Tensors], Tensors]
) -> None:
    """What the library raises comes out as EngineError, and the engine works on."""
    good = engine.run(batch)
    with pytest.raises(EngineError):
        engine.run(spoil(batch))
    np.testing.assert_array_equal(engine.run(batch), good)


def test_a_closed_engine_says_so(engine: Engine, batch: Tensors) -> None:
    """close() may be repeated; run() after it is an error, not a crash."""
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="after close"):
        engine.run(batch)


def test_a_broken_file_is_an_engine_error(
    build: Build, path_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """A truncated model is named, and so is a missing one."""
    file = path_of(next(iter(build.files.values())))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError) as error:
        engines.load(build, path_of)
    assert error.value.where == str(file)
    file.unlink()
    with pytest.raises(EngineError):
        engines.load(build, path_of)


def test_an_unknown_engine_is_named(build: Build, path_of: Callable[[str], Path]) -> None:
    """A build for an engine that does not exist names the build and what there is."""
    import dataclasses

    with pytest.raises(ConfigError, match="no engine 'tensorrt'"):
        engines.load(dataclasses.replace(build, engine="tensorrt"), path_of)
