"""What an endpoint's model is imported as: whose names the classes bear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from headgate.config import load_config
from headgate.errors import InputError
from headgate.optimize.models import check_source, import_model
from headgate.optimize.recorder import Recorder
from tests.e2e.endpoints import change, classifier

TRAINED = """\
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
X = [[k, 0, 0, 0] for k in range(6)]
def estimator():
    return LogisticRegression().fit(X, list("ababac"))
def layers():
    return MLPClassifier(random_state=0).partial_fit(X, [7, 8, 7, 8, 7, 9], classes=[7, 8, 9])
def voters():
    parts = [("linear", LogisticRegression()), ("bayes", GaussianNB())]
    return VotingClassifier(parts, voting="soft", flatten_transform=False).fit(X, list("ababac"))
def same(outputs):
    return outputs
"""


@pytest.fixture
def labels(tmp_path: Path, recorder: Recorder) -> Callable[[str, str], object]:
    def read(model: str, more: str = "") -> object:
        yaml = classifier(tmp_path)
        change(yaml, "{onnx: model.onnx}", model)
        with yaml.open("a", encoding="utf-8") as file:
            file.write(more)
        (tmp_path / "train.py").write_text(TRAINED, encoding="utf-8")
        return import_model(load_config(yaml), recorder, threads=1).labels

    return read


@pytest.mark.parametrize(
    ("model", "more", "expected"),
    [
        ("{onnx: model.onnx}", "", ()),
        ("{onnx: model.onnx, labels: [cat, dog, eel]}", "", ("cat", "dog", "eel")),
        ('{sklearn: "train:estimator"}', "", ("a", "b", "c")),
        ('{sklearn: "train:layers"}', "", ("7", "8", "9")),
        ('{sklearn: "train:voters"}', "", ("a", "b", "c")),
        ('{sklearn: "train:estimator", labels: [x, y, z]}', "", ("x", "y", "z")),
        ('{sklearn: "train:estimator"}', 'postprocess: "train:same"\n', ()),
    ],
)
def test_classes_bear_the_names_of_the_file_or_of_the_estimator(
    labels: Callable[[str, str], object], model: str, more: str, expected: tuple[str, ...]
) -> None:
    """The file's own word first; after a postprocess the estimator's need not be right."""
    assert labels(model, more) == expected


@pytest.mark.parametrize(
    ("returned", "what", "fix"),
    [
        ("LogisticRegression()", "it returned LogisticRegression, which is not fitted", "fit(X, y"),
        ("GaussianNB", "it returned the class GaussianNB, which is no", "return estimator"),
        ("None", "it returned NoneType, which is no scikit-learn estimator", "return estimator"),
        ("TfidfVectorizer().fit(['a text'])", "does not say how many numbers", "array of numbers"),
        (
            "VotingClassifier([('a', GaussianNB())]).fit([[0], [1]], [0, 1])",
            "skl2onnx cannot convert VotingClassifier: flatten_transform==True",
            "that skl2onnx supports",
        ),
    ],
)
def test_what_is_no_fitted_estimator_of_numbers_is_told_so(
    tmp_path: Path, recorder: Recorder, returned: str, what: str, fix: str
) -> None:
    """What came back, and what to return instead."""
    yaml = classifier(tmp_path)
    change(yaml, "{onnx: model.onnx}", '{sklearn: "train:estimator"}')
    (tmp_path / "train.py").write_text(
        "from sklearn.ensemble import VotingClassifier\n"
        "from sklearn.feature_extraction.text import TfidfVectorizer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.naive_bayes import GaussianNB\n"
        f"def estimator():\n    return {returned}\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError) as caught:
        import_model(load_config(yaml), recorder, threads=1)
    assert caught.value.where == "train:estimator"
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("wrong", "fix"),
    [
        ("an operator", "export it with operators that ONNX Runtime has"),
        ("a type", "check that the file is whole, or export the model again"),
    ],
)
def test_what_does_not_load_is_told_what_to_do_about_what_is_wrong(
    tmp_path: Path, wrong: str, fix: str
) -> None:
    """Numbers where there should be truths: it has such an operator, and does not blame it."""
    yaml = classifier(tmp_path)
    model = onnx.load(tmp_path / "model.onnx")
    if wrong == "an operator":
        model.graph.node[0].op_type, model.graph.node[0].domain = "Squash", "their.own"
        model.opset_import.append(onnx.helper.make_opsetid("their.own", 1))
    else:
        model.graph.node[0].op_type = "And"
        del model.graph.node[0].attribute[:]
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="ONNX Runtime cannot load it") as refused:
        check_source(load_config(yaml))
    assert refused.value.fix == fix
