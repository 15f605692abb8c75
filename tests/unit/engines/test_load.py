"""From builds to engines: what of the build reaches the library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headgate import engines
from headgate.engines.openvino_engine import OpenVinoEngine, _core
from headgate.engines.probe import read_profile
from headgate.errors import EngineError, InputError, MissingExtra
from headgate.objects import Build
from headgate.quantization.schemes import BF16
from tests.models import TINY_VOCAB

PathOf = Callable[[str], Path]


def test_openvinos_tables_are_there_before_its_core_is() -> None:
    """Two threads that ran the first inference at one time waited for each other for ever, in some
    of the processes that were started; who has a model to run has made a core."""
    did: list[str] = []
    openvino = SimpleNamespace(
        Type=SimpleNamespace(f32=SimpleNamespace(to_dtype=lambda: did.append("to numpy"))),
        Tensor=lambda of: did.append(f"of {of.dtype}"),
        Core=lambda: did.append("core"),
    )
    _core.__wrapped__(openvino)
    assert did == ["to numpy", "of float32", "core"]


def test_precision_reaches_openvino(text_build: Build, path_of: PathOf) -> None:
    """bf16 is close to fp32 and not the same; a CPU without it is refused, not given fp32."""
    pytest.importorskip("openvino")
    bf16 = replace(text_build, engine="openvino", precision="bf16")
    if not set(BF16.fast_with) & set(read_profile().flags):
        with pytest.raises(EngineError, match="compute in bf16"):
            engines.load(bf16, path_of)
        return
    ids = np.random.default_rng(0).integers(4, TINY_VOCAB, (4, 8))
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    low = engines.load(bf16, path_of).run(batch)
    full = engines.load(replace(bf16, precision="fp32"), path_of).run(batch)
    assert low.dtype == np.float32
    assert 1e-5 < np.abs(low - full).max() < 0.05


def test_options_reach_the_engine(text_build: Build, path_of: PathOf) -> None:
    """An option that OpenVINO does not know is its error, so known ones are passed on too."""
    pytest.importorskip("openvino")
    build = replace(text_build, engine="openvino", options={"NO_SUCH_PROPERTY": "1"})
    with pytest.raises(EngineError, match="NO_SUCH_PROPERTY"):
        engines.load(build, path_of)


def test_an_operator_that_openvino_has_not_is_named(tmp_path: Path) -> None:
    """In one line with what to do, and without where in OpenVINO's source it was noticed."""
    pytest.importorskip("openvino")
    path = tmp_path / "det.onnx"
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [2, 3, 3]), ("y", [2]))
    )
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"])], "det", [x], [y])
    opset = [helper.make_opsetid("", 18)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    with pytest.raises(EngineError) as caught:
        OpenVinoEngine(path, threads=1)
    assert caught.value.what == (
        "OpenVINO cannot load it: No conversion rule found for operations: Det-18"
    )
    assert str(caught.value.fix).startswith("OpenVINO does not support Det-18;")


def test_a_failure_of_openvino_is_one_line(text_build: Build, path_of: PathOf) -> None:
    """The last that it says, which is what was wrong."""
    pytest.importorskip("openvino")
    engine = engines.load(replace(text_build, engine="openvino"), path_of)
    with pytest.raises(EngineError) as caught:
        engine.run({"nothing": np.zeros((1, 1), np.int64)})
    assert caught.value.what == "OpenVINO failed: Port for tensor name nothing was not found."


def test_a_missing_engine_names_the_extra(
    text_build: Build, path_of: PathOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without openvino a build for it says what to install."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match="engine openvino"):
        engines.load(replace(text_build, engine="openvino"), path_of)


def test_a_broken_model_has_no_codec(text_build: Build, path_of: PathOf, tmp_path: Path) -> None:
    """The signature of a truncated file cannot be read, and the file is named."""
    file = tmp_path / "aa11"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError) as error:
        engines.codec_for(text_build, path_of)
    assert error.value.where == str(file)


def test_heavy_libraries_wait_for_an_engine() -> None:
    """Importing the package loads no engine."""
    import subprocess

    code = (
        "import sys, headgate.engines, headgate.quantization.produce\n"
        "heavy = {'onnx', 'onnxruntime', 'openvino', 'nncf', 'tokenizers', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
