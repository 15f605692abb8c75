"""What `headgate serve` says once it is there."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.cli.serve import _example
from headgate.runtime import Deployment, Tensor
from headgate.server.serve import bind

from .conftest import Cli

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


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
@pytest.mark.usefixtures("ids")
def test_a_port_that_is_taken_is_told_before_anything_is_loaded(cli: Cli, option: str) -> None:
    """What is released here could not even be loaded."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        said = cli("serve", "--port", "0", option, str(port))
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"headgate: 127.0.0.1:{port}: another process listens on this port")
    assert f"{option} {port + 1}" in said.err
