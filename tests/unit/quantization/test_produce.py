"""What the quantizers make: models that still compute, the same bytes twice, nothing left over."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.engines.openvino_engine import OpenVinoEngine
from headgate.errors import EngineError, InputError
from headgate.quantization.produce import dynamic_int8, openvino_ir, static_int8
from headgate.workload import Engine, Tensors
from tests.models import TINY_VOCAB, tiny_embedder

pytest.importorskip("openvino")


def batches(n: int, *, seed: int = 0) -> list[Tensors]:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(4, TINY_VOCAB, (1, 8)) for _ in range(n)]
    return [{"input_ids": i, "attention_mask": np.ones_like(i)} for i in ids]


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The tiny embedder as a store keeps it: no extension, read-only, in a read-only folder."""
    store = tmp_path / "store"
    store.mkdir()
    path = tiny_embedder(store / "ab12")
    path.chmod(0o444)
    store.chmod(0o555)
    return path


def similarity(a: Engine, b: Engine) -> float:
    """Smallest cosine between their answers, which are unit vectors."""
    return min(float((a.run(x) * b.run(x)).sum()) for x in batches(20, seed=1))


def test_dynamic_int8_still_computes_the_model(source: Path, tmp_path: Path) -> None:
    """Close to fp32, not equal to it, and alone in its folder."""
    made = dynamic_int8(source, tmp_path / "out" / "int8.onnx")
    cosine = similarity(OnnxRuntimeEngine(source, threads=1), OnnxRuntimeEngine(made, threads=1))
    assert 0.98 < cosine < 1 - 1e-7
    assert files(tmp_path / "out") == ["int8.onnx"]
    assert files(source.parent) == ["ab12"]


def test_static_int8_still_computes_the_model(source: Path, tmp_path: Path) -> None:
    """Close to fp32, not equal to it, and only the two files of the format."""
    xml, weights = static_int8(source, batches(30), tmp_path / "out")
    cosine = similarity(
        OnnxRuntimeEngine(source, threads=1), OpenVinoEngine(xml, weights, threads=1)
    )
    assert 0.98 < cosine < 1 - 1e-7
    assert files(tmp_path / "out") == ["model.bin", "model.xml"]


def test_openvino_ir_is_the_same_model(source: Path, tmp_path: Path) -> None:
    """Another format, the same weights: no half precision on the way."""
    xml, weights = openvino_ir(source, tmp_path / "out")
    cosine = similarity(
        OnnxRuntimeEngine(source, threads=1), OpenVinoEngine(xml, weights, threads=1)
    )
    assert cosine > 1 - 1e-6
    assert weights.stat().st_size >= 4 * TINY_VOCAB * 16


def test_the_same_bytes_twice(source: Path, tmp_path: Path) -> None:
    """Made again in the same process, after other conversions, each file has the same digest."""
    first, second = [
        [
            dynamic_int8(source, tmp_path / k / "int8"),
            *static_int8(source, batches(10), tmp_path / k / "static"),
            *openvino_ir(source, tmp_path / k / "ir"),
        ]
        for k in ("a", "b")
    ]
    assert [sha(p) for p in first] == [sha(p) for p in second]


def test_the_same_bytes_from_another_place(source: Path, tmp_path: Path) -> None:
    """The path of the source is no part of the product."""
    other = tiny_embedder(tmp_path / "elsewhere.onnx")
    assert sha(dynamic_int8(source, tmp_path / "a")) == sha(dynamic_int8(other, tmp_path / "b"))
    one, two = openvino_ir(source, tmp_path / "c"), openvino_ir(other, tmp_path / "d")
    assert [sha(p) for p in one] == [sha(p) for p in two]


def test_calibration_data_decides(source: Path, tmp_path: Path) -> None:
    """Other calibration data gives other scales: the data belong in the lineage."""
    one = static_int8(source, batches(10), tmp_path / "a")
    two = static_int8(source, batches(10, seed=5), tmp_path / "b")
    assert [sha(p) for p in one] != [sha(p) for p in two]


def test_calibration_holds_one_batch_at_a_time(source: Path, tmp_path: Path) -> None:
    """A stream is read batch by batch, each batch dropped before the one after the next is made."""
    alive = most = 0

    class Counted(dict[str, np.ndarray]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Stream:
        def __iter__(self) -> Iterator[Tensors]:
            nonlocal alive, most
            for batch in batches(50):
                alive += 1
                most = max(most, alive)
                yield Counted(batch)

    static_int8(source, Stream(), tmp_path / "out", samples=50)
    assert most <= 3


def test_calibration_reads_no_more_than_it_is_told(source: Path, tmp_path: Path) -> None:
    """``samples`` bounds what is read of a longer stream."""
    read = 0

    class Endless:
        def __iter__(self) -> Iterator[Tensors]:
            nonlocal read
            (batch,) = batches(1)
            for _ in range(1000):
                read += 1
                yield batch

    static_int8(source, Endless(), tmp_path / "out", samples=5)
    assert read < 50


def test_a_dropped_mask_is_noticed(source: Path, tmp_path: Path) -> None:
    """Calibration data without one of the model's inputs are refused by its name."""
    unmasked = [{"input_ids": b["input_ids"]} for b in batches(3)]
    with pytest.raises(InputError, match="without attention_mask"):
        static_int8(source, unmasked, tmp_path / "out")


@pytest.mark.parametrize("calibration", [[], iter(batches(3))])
def test_unusable_calibration_data_are_refused(
    source: Path, tmp_path: Path, calibration: list[Tensors]
) -> None:
    """Empty data, and data that can be read only once, are named before any work."""
    with pytest.raises(InputError, match="calibration data"):
        static_int8(source, calibration, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_broken_source_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    """What is not a model is an EngineError for every producer, without half a product."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a model")
    for produce in (
        lambda: dynamic_int8(broken, tmp_path / "out" / "a"),
        lambda: static_int8(broken, batches(1), tmp_path / "out"),
        lambda: openvino_ir(broken, tmp_path / "out"),
    ):
        with pytest.raises(EngineError) as error:
            produce()
        assert error.value.where == str(broken)
    assert not (tmp_path / "out").exists() or files(tmp_path / "out") == []


def test_producers_are_silent(
    source: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No progress bar on stdout, where results go, and no advice on stderr."""
    handlers = list(logging.getLogger().handlers)
    dynamic_int8(source, tmp_path / "a")
    static_int8(source, batches(10), tmp_path / "b")
    assert capfd.readouterr() == ("", "")
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert logging.getLogger().handlers == handlers


def test_nothing_is_reported_to_the_makers_of_libraries(tmp_path: Path) -> None:
    """A fresh home stays empty: no client id, no statistics, no telemetry module."""
    code = (
        "import sys\n"
        "from headgate.quantization.optional import load_nncf, load_openvino\n"
        "load_openvino('a test'); load_nncf('a test')\n"
        "assert sys.modules.get('openvino_telemetry') is None\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
    assert files(home) == []
