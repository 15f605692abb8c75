"""What a graph says about its answers."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headgate.engines import load
from headgate.engines.check import check_onnx
from headgate.engines.outputs import (
    batch_scaled,
    check_answer,
    class_labels,
    keep_output,
    scores_beside_labels,
)
from headgate.errors import InputError
from headgate.objects import Build

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def classifier(path: Path, *outputs: str, dynamic: bool = False) -> Path:
    """Scores are ``x @ W``, the label the largest's index."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    if "packed" in outputs:
        nodes.append(helper.make_node("SplitToSequence", ["scores"], ["packed"], axis=0))
    if dynamic:
        nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]))
    sequence = helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(TensorProto.FLOAT, [None])
    )
    infos = {
        "packed": helper.make_value_info("packed", sequence),
        "label": helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        "scores": helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 3]),
    }
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [infos[o] for o in outputs],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        (("label", "scores"), "scores"),
        (("scores", "label"), None),
        (("scores",), None),
        (("label",), None),
    ],
)
def test_scores_are_chosen_where_labels_come_first(
    tmp_path: Path, outputs: tuple[str, ...], chosen: str | None
) -> None:
    """skl2onnx writes the label first; what is alone, or first already, stays."""
    assert scores_beside_labels(classifier(tmp_path / "m", *outputs)) == chosen


@pytest.mark.parametrize(
    ("task", "outputs", "said"),
    [
        ("classify", ("label", "packed"), "'packed' is no tensor, and no other holds the scores"),
        ("predict", ("packed", "label"), "its first output, 'packed', is no tensor"),
        ("classify", ("packed", "scores"), None),
        ("predict", ("label", "packed"), None),
        ("classify", ("label",), None),
    ],
)
def test_an_answer_that_is_no_tensor_is_refused(
    tmp_path: Path, task: str, outputs: tuple[str, ...], said: str | None
) -> None:
    """A sequence beside what is answered with is left alone, and no fact of the model."""
    path = classifier(tmp_path / "m", *outputs)
    assert [o.name for o in check_onnx(path).outputs] == [o for o in outputs if o != "packed"]
    with pytest.raises(InputError, match=said) if said else nullcontext():
        check_answer(path, task)


def test_what_is_kept_computes_the_scores_and_nothing_else(tmp_path: Path) -> None:
    """The label's operator is gone, the answer is the scores."""
    source, out = classifier(tmp_path / "m", "label", "scores"), tmp_path / "kept"
    keep_output(source, "scores", out)
    assert [n.op_type for n in onnx.load_model(out).graph.node] == ["MatMul"]
    build = Build("c", "classify", "onnxruntime", "fp32", {"model.onnx": "v"}, None, 1, 1)
    engine = load(build, lambda _: out)
    x = np.eye(4, dtype=np.float32)
    assert np.array_equal(engine.run({"x": x}), WEIGHTS)
    engine.close()


@pytest.mark.parametrize(
    ("attribute", "values", "names"),
    [
        ("classlabels_ints", [3, 1], ("3", "1")),
        ("classlabels_strings", ["ham", "spam"], ("ham", "spam")),
        ("other", [3, 1], ()),
    ],
)
def test_an_operator_of_a_classifier_names_its_classes(
    tmp_path: Path, attribute: str, values: list[int] | list[str], names: tuple[str, ...]
) -> None:
    """In the order of the scores."""
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", **{attribute: values}
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])],
    )
    onnx.save_model(helper.make_model(graph), tmp_path / "m")
    assert class_labels(tmp_path / "m") == names


@pytest.mark.parametrize("picked_by", ["ArgMax", "Cast"])
@pytest.mark.parametrize("names", [["7", "9"], ["ham", "spam"]])
def test_the_list_that_the_largest_score_picks_from_names_the_classes(
    tmp_path: Path, picked_by: str, names: list[str]
) -> None:
    """As skl2onnx writes networks and Bayes; what anything else picks from is no class."""
    values = np.array(names, object) if names[0].isalpha() else np.array([7, 9], np.int32)
    nodes = [
        helper.make_node(picked_by, ["x"], ["index"], **({"to": 7} if picked_by == "Cast" else {})),
        helper.make_node(
            "ArrayFeatureExtractor", ["classes", "index"], ["label"], domain="ai.onnx.ml"
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("label", TensorProto.INT32, [None])],
        [
            numpy_helper.from_array(
                values.astype(object) if names[0].isalpha() else values, "classes"
            )
        ],
    )
    onnx.save_model(helper.make_model(graph), tmp_path / "m")
    assert class_labels(tmp_path / "m") == (tuple(names) if picked_by == "ArgMax" else ())


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_scale_of_the_whole_batch_is_seen_in_the_graph(tmp_path: Path, dynamic: bool) -> None:
    """However equal the answers to a few examples are."""
    path = classifier(tmp_path / "m", "scores", dynamic=dynamic)
    build = Build("c", "classify", "onnxruntime", "int8", {"model.onnx": "v"}, None, 1, 1)
    assert batch_scaled(build, lambda _: path) is dynamic
