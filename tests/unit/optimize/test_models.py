"""What an endpoint's model is imported as: whose names the classes bear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.config import load_config
from headgate.optimize.models import import_model
from headgate.optimize.recorder import Recorder
from tests.e2e.endpoints import change, classifier

TRAINED = """\
from sklearn.linear_model import LogisticRegression
def estimator():
    return LogisticRegression().fit([[k, 0, 0, 0] for k in range(6)], list("ababac"))
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
        ('{sklearn: "train:estimator", labels: [x, y, z]}', "", ("x", "y", "z")),
        ('{sklearn: "train:estimator"}', 'postprocess: "train:same"\n', ()),
    ],
)
def test_classes_bear_the_names_of_the_file_or_of_the_estimator(
    labels: Callable[[str, str], object], model: str, more: str, expected: tuple[str, ...]
) -> None:
    """The file's own word first; after a postprocess the estimator's need not be right."""
    assert labels(model, more) == expected
