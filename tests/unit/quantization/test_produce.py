"""What the quantizers make: models that still compute, the same bytes twice, nothing left over."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headgate.engines.onnxruntime_engine import OnnxRuntimeEngine
from headgate.engines.openvino_engine import OpenVinoEngine
from headgate.engines.probe import read_profile
from headgate.errors import EngineError, InputError
from headgate.quantization import (
    BF16,
    INT4_WEIGHTS,
    INT8_DYNAMIC,
    INT8_STATIC,
    INT8_STATIC_QDQ,
    INT8_WEIGHTS,
    SCHEMES,
    Calibration,
    Scheme,
    onnx_files,
    openvino_files,
    suited_to,
)
from headgate.quantization.optional import load_openvino
from headgate.quantization.produce import openvino_ir, quantize
from headgate.workload import Engine, Tensors
from tests.models import TINY_VOCAB, tiny_embedder

pytest.importorskip("openvino")

MADE = [s for s in SCHEMES if s.makes_files]
STATIC = [s for s in MADE if s.needs_calibration]
PRODUCT = "product"
"""The tiny embedder's one node with a weight matrix."""

by_name = pytest.mark.parametrize("scheme", MADE, ids=lambda s: s.name)
static = pytest.mark.parametrize("scheme", STATIC, ids=lambda s: s.name)


def batches(n: int, *, seed: int = 0, tokens: int = 8) -> list[Tensors]:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(4, TINY_VOCAB, (1, tokens)) for _ in range(n)]
    return [{"input_ids": i, "attention_mask": np.ones_like(i)} for i in ids]


def padded(items: list[Tensors], *, width: int, left: bool = False) -> Tensors:
    """All items in one batch, padded with the tokens that are farthest from 0."""
    ids = np.zeros((len(items), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, item in enumerate(items):
        n = item["input_ids"].shape[1]
        at = slice(width - n, width) if left else slice(0, n)
        ids[row, at], mask[row, at] = item["input_ids"][0], 1
    return {"input_ids": ids, "attention_mask": mask}


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def shas(made: dict[str, Path]) -> dict[str, str]:
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in made.items()}


def here(scheme: Scheme) -> Scheme:
    """As it is made for this machine: 8 bits a weight saturate where the CPU has no VNNI."""
    return suited_to(scheme, read_profile().flags)


def loaded(scheme: Scheme, made: dict[str, Path]) -> Engine:
    if scheme.engine == "onnxruntime":
        return OnnxRuntimeEngine(made["model.onnx"], threads=1)
    return OpenVinoEngine(made["model.xml"], made["model.bin"], threads=1, compute=scheme.compute)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The tiny embedder as a store keeps it: no extension, read-only, in a read-only folder."""
    store = tmp_path / "store"
    store.mkdir()
    path = tiny_embedder(store / "ab12")
    model = onnx.load_model(path)
    for node in model.graph.node:
        node.name = PRODUCT if node.op_type == "MatMul" else node.output[0]
    onnx.save_model(model, path)
    path.chmod(0o444)
    store.chmod(0o555)
    return path


def similarity(a: Engine, b: Engine) -> float:
    """Smallest cosine between their answers, which are unit vectors."""
    return min(float((a.run(x) * b.run(x)).sum()) for x in batches(20, seed=1))


@by_name
def test_every_scheme_still_computes_the_model(
    source: Path, tmp_path: Path, scheme: Scheme
) -> None:
    """Close to fp32, not equal to it, smaller where that shows, and alone in its folder."""
    made = quantize(here(scheme), source, tmp_path / "out", calibration=batches(30))
    assert files(tmp_path / "out") == sorted(made)
    assert files(source.parent) == ["ab12"]
    if not scheme.runs_with(read_profile().flags):
        return  # made here, to be served elsewhere
    cosine = similarity(OnnxRuntimeEngine(source, threads=1), loaded(scheme, made))
    assert (0.95 if scheme.weight_bits == 4 else 0.98) < cosine < 1 - 1e-7


@pytest.mark.parametrize("method", ["min_max", "mean_min_max", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("scheme", [INT8_STATIC, INT8_STATIC_QDQ], ids=lambda s: s.name)
def test_every_calibration_computes_the_model_or_says_that_the_engine_has_it_not(
    source: Path, tmp_path: Path, scheme: Scheme, method: str
) -> None:
    """NNCF has no entropy; everything else is there on both."""
    scheme = replace(scheme, calibration=Calibration(method))  # type: ignore[arg-type]  # of Method
    if method == "entropy" and scheme.engine == "openvino":
        with pytest.raises(InputError, match="no calibration by entropy"):
            quantize(scheme, source, tmp_path / "out", calibration=batches(5))
        return
    made = quantize(here(scheme), source, tmp_path / "out", calibration=batches(30))
    cosine = similarity(OnnxRuntimeEngine(source, threads=1), loaded(scheme, made))
    assert 0.97 < cosine < 1 - 1e-7


def test_what_the_engine_makes_itself_is_the_source(source: Path, tmp_path: Path) -> None:
    """bf16 is made of the fp32 weights when the engine loads."""
    assert quantize(BF16, source, tmp_path / "out") == {"model.onnx": source}
    assert not (tmp_path / "out").exists()


@by_name
def test_the_same_bytes_twice_and_from_another_place(
    source: Path, tmp_path: Path, scheme: Scheme
) -> None:
    """Made again, after other conversions, of a copy elsewhere, each file has the same digest."""
    first = quantize(scheme, source, tmp_path / "a", calibration=batches(10))
    openvino_ir(source, tmp_path / "between")
    copy = tmp_path / "elsewhere.onnx"
    copy.write_bytes(source.read_bytes())
    again = quantize(scheme, copy, tmp_path / "b", calibration=batches(10))
    assert shas(first) == shas(again)


@by_name
def test_a_node_that_is_kept_stays_in_floats(source: Path, tmp_path: Path, scheme: Scheme) -> None:
    """With the one product and the table kept, nothing is quantized: the answers are fp32's."""
    if scheme.compute != "fp32":
        return
    kept = replace(scheme, keep=(PRODUCT, "embedded"))
    made = quantize(kept, source, tmp_path / "out", calibration=batches(10))
    cosine = similarity(OnnxRuntimeEngine(source, threads=1), loaded(kept, made))
    assert cosine > 1 - 1e-6


@by_name
def test_a_gemm_that_is_kept_stays_in_floats(tmp_path: Path, scheme: Scheme) -> None:
    """OpenVINO makes two nodes of it, under other names."""
    if scheme.compute != "fp32":
        return
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n])
        for name, n in (("x", 32), ("y", 3))
    )
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in (("weight", (32, 3)), ("bias", (3,)))
    ]
    gemm = helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], name=PRODUCT)
    opset = [helper.make_opsetid("", 18)]
    graph = helper.make_graph([gemm], "gemm", [x], [y], weights)
    source = tmp_path / "gemm.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), source)
    items = [{"x": rng.normal(size=(8, 32)).astype(np.float32)}]
    kept = replace(scheme, keep=(PRODUCT,))
    made = quantize(kept, source, tmp_path / "out", calibration=items)
    want = OnnxRuntimeEngine(source, threads=1).run(items[0])
    assert np.allclose(loaded(kept, made).run(items[0]), want, atol=1e-4)


def test_a_node_that_is_not_there_cannot_be_kept(source: Path, tmp_path: Path) -> None:
    """A typing error would otherwise be a model that keeps less than it says."""
    with pytest.raises(InputError, match=f"(?s)no node 'prodduct'.*: {PRODUCT}"):
        quantize(replace(INT8_DYNAMIC, keep=("prodduct",)), source, tmp_path / "out")


@pytest.mark.parametrize("scheme", [INT8_DYNAMIC, INT8_STATIC_QDQ], ids=lambda s: s.name)
def test_weights_take_seven_bits_where_sums_would_saturate(
    source: Path, tmp_path: Path, scheme: Scheme
) -> None:
    """No weight of the product is beyond 64, half of what int8 holds."""

    def largest(scheme: Scheme, folder: str) -> int:
        made = quantize(scheme, source, tmp_path / folder, calibration=batches(10))
        tensors = onnx.load_model(made["model.onnx"]).graph.initializer
        (weight,) = [t for t in tensors if t.name == "weight_quantized"]
        return int(np.abs(onnx.numpy_helper.to_array(weight).astype(int)).max())

    assert largest(scheme, "a") >= 127
    assert largest(replace(scheme, reduced_weights=True), "b") <= 64


def test_openvino_ir_is_the_same_model(source: Path, tmp_path: Path) -> None:
    """Another format, the same weights: no half precision on the way."""
    xml, weights = openvino_ir(source, tmp_path / "out")
    cosine = similarity(
        OnnxRuntimeEngine(source, threads=1), OpenVinoEngine(xml, weights, threads=1)
    )
    assert cosine > 1 - 1e-6
    assert weights.stat().st_size >= 4 * TINY_VOCAB * 16


@static
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_leaves_no_trace_in_the_ranges(
    source: Path, tmp_path: Path, scheme: Scheme, left: bool
) -> None:
    """One padded batch calibrates to the bytes of its items alone."""
    items = [batches(1, seed=n, tokens=n)[0] for n in (3, 5, 8, 4, 6)]
    alone = quantize(scheme, source, tmp_path / "a", calibration=items)
    batch = [padded(items, width=11, left=left)]
    assert shas(quantize(scheme, source, tmp_path / "b", calibration=batch)) == shas(alone)


def test_calibration_data_decide(source: Path, tmp_path: Path) -> None:
    """Other calibration data give other scales: the data belong in the lineage."""
    one = quantize(INT8_STATIC, source, tmp_path / "a", calibration=batches(10))
    two = quantize(INT8_STATIC, source, tmp_path / "b", calibration=batches(10, seed=5))
    assert shas(one) != shas(two)


@static
def test_calibration_holds_one_batch_at_a_time(
    source: Path, tmp_path: Path, scheme: Scheme
) -> None:
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

    quantize(scheme, source, tmp_path / "out", calibration=Stream())
    assert most <= 3


def test_openvino_means_over_items_keep_one_sum(source: Path) -> None:
    """NNCF's own keeps every item's array, for each tensor; numbered 1 to 1,000 they are 500.5."""
    from nncf.common.tensor_statistics import collectors
    from nncf.quantization.range_estimator import AggregatorType
    from nncf.tensor import Tensor

    own = collectors.AGGREGATORS_MAP[AggregatorType.MEAN]
    openvino = load_openvino("a test")
    with openvino_files.watched(openvino, openvino.Core().read_model(source)):
        mean = collectors.AGGREGATORS_MAP[AggregatorType.MEAN](num_samples=1000)
    for number in range(1, 1201):  # what is beyond the number of samples does not count
        mean.register_reduced_input(Tensor(np.full((1, 1, 1), number, dtype=np.float32)))
    assert len(mean._container) == 1
    assert np.array_equal(mean.aggregate().data, np.full((1, 1, 1), 500.5, dtype=np.float32))
    assert collectors.AGGREGATORS_MAP[AggregatorType.MEAN] is own


@pytest.mark.parametrize("method", ["mean_min_max", "percentile"])
def test_openvino_calibrates_to_what_nncf_would(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """But for rounding: NNCF adds in fp32."""
    scheme = replace(INT8_STATIC, calibration=Calibration(method))  # type: ignore[arg-type]  # of Method
    ours = quantize(scheme, source, tmp_path / "ours", calibration=batches(40))
    monkeypatch.setattr(openvino_files, "watched", lambda *_: contextlib.nullcontext())
    theirs = quantize(scheme, source, tmp_path / "theirs", calibration=batches(40))
    assert similarity(loaded(scheme, ours), loaded(scheme, theirs)) > 1 - 1e-6


@static
def test_items_of_one_row_are_not_cut_off_at_the_mean_of_their_extremes(
    tmp_path: Path, scheme: Scheme
) -> None:
    """Every second row is ten times as large: its answer is as near as that of any other."""
    rng = np.random.default_rng(0)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n])
        for name, n in (("x", 16), ("y", 8))
    )
    product = helper.make_node("MatMul", ["x", "weight"], ["y"], name=PRODUCT)
    weight = onnx.numpy_helper.from_array(rng.normal(size=(16, 8)).astype(np.float32), "weight")
    graph = helper.make_graph([product], "rows", [x], [y], [weight])
    opset, path = [helper.make_opsetid("", 18)], tmp_path / "rows.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    rows: list[Tensors] = [
        {"x": (rng.normal(size=(1, 16)) * scale).astype(np.float32)} for scale in (1, 10) * 20
    ]
    made = quantize(here(scheme), path, tmp_path / "out", calibration=rows)
    if not scheme.runs_with(read_profile().flags):
        return  # made here, to be served elsewhere
    engine, exact = loaded(scheme, made), OnnxRuntimeEngine(path, threads=1)
    near = 0.06 if here(scheme).reduced_weights else 0.03  # cut off, it would be some 0.45 away
    for row in rows[1::2]:
        right = exact.run(row)
        assert np.abs(engine.run(row) - right).max() < near * np.abs(right).max()


@static
def test_a_dropped_mask_is_noticed(source: Path, tmp_path: Path, scheme: Scheme) -> None:
    """Calibration data without one of the model's inputs are refused by its name."""
    unmasked = [{"input_ids": b["input_ids"]} for b in batches(3)]
    with pytest.raises(InputError, match="without attention_mask"):
        quantize(scheme, source, tmp_path / "out", calibration=unmasked)


@static
@pytest.mark.parametrize("calibration", [None, [], iter(batches(3))])
def test_unusable_calibration_data_are_refused(
    source: Path, tmp_path: Path, scheme: Scheme, calibration: list[Tensors] | None
) -> None:
    """None, empty, and data that can be read only once, are named before any work."""
    with pytest.raises(InputError, match="calibration data"):
        quantize(scheme, source, tmp_path / "out", calibration=calibration)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def logarithm(tmp_path: Path) -> Path:
    """x (batch, 4) -> log(x) @ weight: NaN for a negative x, between its input and its product."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n])
        for name, n in (("x", 4), ("y", 3))
    )
    nodes = [
        helper.make_node("Log", ["x"], ["logs"], name="logs"),
        helper.make_node("MatMul", ["logs", "weight"], ["y"], name=PRODUCT),
    ]
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    weights = [onnx.numpy_helper.from_array(weight, "weight")]
    graph = helper.make_graph(nodes, "logarithm", [x], [y], weights)
    opset = [helper.make_opsetid("", 18)]
    path = tmp_path / "log.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@static
def test_a_calibration_item_with_nan_is_named(
    logarithm: Path, tmp_path: Path, scheme: Scheme
) -> None:
    """The third item of the second batch, and which input it is in."""
    rows = np.exp(np.random.default_rng(0).normal(size=(4, 4))).astype(np.float32)
    broken = rows.copy()
    broken[2, 1] = np.nan
    with pytest.raises(InputError, match="NaN in the tensor 'x'") as error:
        quantize(scheme, logarithm, tmp_path / "out", calibration=[{"x": rows}, {"x": broken}])
    assert error.value.where == "calibration item 7"
    assert files(tmp_path / "out") == []


def test_an_item_with_nan_is_refused_where_no_range_is_taken(
    logarithm: Path, tmp_path: Path
) -> None:
    """NNCF asks the model nothing then."""
    rows = np.full((1, 4), np.nan, dtype=np.float32)
    scheme = replace(INT8_STATIC, keep=(PRODUCT,))
    with pytest.raises(InputError, match="NaN in the tensor 'x'"):
        quantize(scheme, logarithm, tmp_path / "out", calibration=[{"x": rows}])


@static
def test_an_activation_of_nan_is_refused(logarithm: Path, tmp_path: Path, scheme: Scheme) -> None:
    """The inputs are finite, and the logarithm of one is not."""
    rows = np.exp(np.random.default_rng(0).normal(size=(4, 4))).astype(np.float32)
    rows[3, 0] = -1.0
    with pytest.raises(InputError, match="NaN"):
        quantize(scheme, logarithm, tmp_path / "out", calibration=[{"x": rows}])
    assert files(tmp_path / "out") == []


@by_name
def test_a_broken_source_is_named_and_leaves_nothing(tmp_path: Path, scheme: Scheme) -> None:
    """What is not a model is an EngineError for every scheme, without half a product."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a model")
    with pytest.raises(EngineError) as error:
        quantize(scheme, broken, tmp_path / "out", calibration=batches(1))
    assert error.value.where == str(broken)
    assert not (tmp_path / "out").exists()


@static
def test_an_operator_that_the_engine_has_not_is_named(
    source: Path, tmp_path: Path, scheme: Scheme
) -> None:
    """Both engines say which, and the error says of which file."""
    model = onnx.load_model(source)
    model.opset_import.append(helper.make_opsetid("a.lab", 1))
    model.graph.node[2].op_type, model.graph.node[2].domain = "Squash", "a.lab"
    odd = tmp_path / "odd.onnx"
    onnx.save_model(model, odd)
    with pytest.raises(EngineError, match="Squash") as error:
        quantize(scheme, odd, tmp_path / "out", calibration=batches(3))
    assert error.value.where == str(odd)
    assert files(tmp_path / "out") == []


def test_a_model_of_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Its file is nothing but a hole."""
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(InputError, match="2 GiB"):
        quantize(INT8_WEIGHTS, large, tmp_path / "out")


@pytest.mark.parametrize(
    ("scheme", "module", "maker"),
    [
        (INT8_DYNAMIC, onnx_files, "dynamic_int8"),
        (INT4_WEIGHTS, onnx_files, "weights_by_group"),
        (INT8_STATIC_QDQ, onnx_files, "static_int8"),
        (INT8_STATIC, openvino_files, "static_int8"),
    ],
)
@pytest.mark.parametrize(
    ("raised", "seen"),
    [(OSError(28, "No space left on device"), OSError), (MemoryError(), EngineError)],
    ids=["disk", "memory"],
)
def test_a_full_disk_or_memory_leaves_what_was_there(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: Scheme,
    module: object,
    maker: str,
    raised: Exception,
    seen: type[Exception],
) -> None:
    """When it happens in the middle of writing: the files of before are whole, and alone."""
    before = quantize(scheme, source, tmp_path / "out", calibration=batches(3))
    known = shas(before)

    def full(_scheme: Scheme, _source: Path, out: Path, *rest: object, **more: object) -> None:
        out.write_bytes(b"half of it")
        raise raised

    monkeypatch.setattr(module, maker, full)
    with pytest.raises(seen):
        quantize(scheme, source, tmp_path / "out", calibration=batches(9))
    assert files(tmp_path / "out") == sorted(known)
    assert shas(before) == known


@by_name
def test_producers_are_silent(
    source: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    scheme: Scheme,
) -> None:
    """No progress bar on stdout, where results go, and no advice on stderr."""
    handlers = list(logging.getLogger().handlers)
    quantize(scheme, source, tmp_path / "a", calibration=batches(10))
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
