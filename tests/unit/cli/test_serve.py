"""What `headgate serve` says once it is there."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.cli.serve import _example
from headgate.runtime import Deployment, Tensor

SCORES = Tensor("scores", "float32", (3,))
LABEL = Tensor("label", "int64", ())


@pytest.mark.parametrize(
    ("task", "accepts", "gives", "path", "body"),
    [
        ("classify", Tensor("x", "float32", (2,)), SCORES, "/predict", {"inputs": [0.0, 0.0]}),
        ("classify", Tensor("text", "str", ()), SCORES, "/predict", {"inputs": "hello"}),
        ("predict", Tensor("x", "float32", (1,)), LABEL, "/predict", {"inputs": [0.0]}),
        ("classify", Tensor("x", "float32", (2,)), LABEL, "/v2/models/iris", None),
        ("classify", Tensor("x", "float32", (784,)), SCORES, "/v2/models/iris", None),
    ],
)
def test_a_command_asks_something_of_what_is_served(
    task: str, accepts: Tensor, gives: Tensor, path: str, body: object
) -> None:
    """A whole request where it is short, else what the model takes."""
    deployment = SimpleNamespace(
        endpoint="iris", build=SimpleNamespace(task=task), input=accepts, output=gives
    )
    said = _example(cast("Deployment", deployment), "http://127.0.0.1:8000", keyed=False)
    words = shlex.split(said)
    assert words[:2] == ["curl", f"http://127.0.0.1:8000{path}"]
    assert (json.loads(words[words.index("-d") + 1]) if "-d" in words else None) == body
