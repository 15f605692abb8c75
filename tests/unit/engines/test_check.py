"""Which ONNX files are refused, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from headgate.engines.check import check_onnx
from headgate.errors import InputError
from headgate.quantization import INT8_DYNAMIC
from headgate.quantization.produce import quantize
from tests.models import TINY_VOCAB, tiny_embedder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_embedder(tmp_path / "m")


def spoil(path: Path, weight: str, value: float, *, index: int = 0) -> None:
    """Writes ``value`` into one element of a weight."""
    proto = onnx.load(path)
    (tensor,) = [w for w in proto.graph.initializer if w.name == weight]
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[index] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, weight))
    path.write_bytes(proto.SerializeToString())


def test_the_facts_of_a_model(model: Path) -> None:
    """Signature, sizes and operators are read from the file."""
    facts = check_onnx(model)
    assert [(i.name, i.dtype, i.shape) for i in facts.inputs] == [
        ("input_ids", "int64", (None, None)),
        ("attention_mask", "int64", (None, None)),
    ]
    assert [(o.name, o.shape) for o in facts.outputs] == [("sentence_embedding", (None, 8))]
    assert facts.parameters == TINY_VOCAB * 16 + 16 * 8
    assert facts.weight_bytes == 4 * facts.parameters
    assert facts.opset == 18
    assert facts.operators["MatMul"] == 1
    assert facts.parameters_by_operator == {"Gather": TINY_VOCAB * 16, "MatMul": 128}
    assert facts.weighted_products == 1


def test_quantized_weights_count_in_their_own_bytes(model: Path, tmp_path: Path) -> None:
    """An int8 model of the same parameters is smaller by their difference."""
    before = check_onnx(model)
    after = check_onnx(quantize(INT8_DYNAMIC, model, tmp_path / "int8")["model.onnx"])
    assert after.operators["MatMulInteger"] == 1
    assert after.weight_bytes < before.weight_bytes / 2


def test_every_truncation_is_refused(model: Path) -> None:
    """Wherever a copy was cut off, the file is named and nothing but InputError is raised."""
    whole = model.read_bytes()
    for end in range(0, len(whole), 53):
        model.write_bytes(whole[:end])
        with pytest.raises(InputError) as error:
            check_onnx(model)
        assert error.value.where == str(model)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 64, b"<?xml version='1.0'?>"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Text, zeros, XML and nothing are not ONNX."""
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(InputError, match="not a valid ONNX model"):
        check_onnx(tmp_path / "m")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """So is one that is not there."""
    with pytest.raises(InputError, match="No such file"):
        check_onnx(tmp_path / "m")


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")]
)
def test_weights_that_are_not_numbers_are_refused_by_name(
    model: Path, value: float, what: str
) -> None:
    """One bad element in one weight names that weight."""
    spoil(model, "weight", value, index=77)
    with pytest.raises(InputError, match=f"'weight' holds {what}"):
        check_onnx(model)


def test_a_single_infinity_is_a_mask(model: Path) -> None:
    """The -inf that attention masks are written with is no broken weight."""
    proto = onnx.load(model)
    proto.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array(-np.inf, dtype=np.float32), "minus_infinity")
    )
    model.write_bytes(proto.SerializeToString())
    check_onnx(model)


def test_constants_in_nodes_are_weights_too(model: Path) -> None:
    """A NaN hidden in a Constant node is found."""
    proto = onnx.load(model)
    bad = onnx.numpy_helper.from_array(np.array([np.nan, 1], dtype=np.float32), "bad")
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["unused"], value=bad))
    model.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="'bad' holds NaN"):
        check_onnx(model)


def test_weights_in_other_files_are_refused(model: Path) -> None:
    """A digest names one file; weights beside it would not be part of it."""
    proto = onnx.load(model)
    onnx.save_model(proto, model, save_as_external_data=True, location="w.data", size_threshold=0)
    with pytest.raises(InputError, match="in other files, such as 'embedding'"):
        check_onnx(model)


def test_weights_that_no_one_file_holds_are_told_so(model: Path) -> None:
    """By their shapes: saving them as one file is no advice then, and they need not be there."""
    proto = onnx.load(model)
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.dims[:] = [40_000, 20_000]
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="nowhere.bin")
    model.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=r"its weights take 3\.2 GB, in other files") as refused:
        check_onnx(model)
    assert "fp16" in str(refused.value.fix)


def test_more_than_protobuf_holds_is_refused_unread(tmp_path: Path) -> None:
    """A sparse file of 2 GiB is refused by its size."""
    with (tmp_path / "m").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(InputError, match="2 GiB"):
        check_onnx(tmp_path / "m")
