"""What `headgate serve` says once it is there."""

from __future__ import annotations

import contextlib
import json
import shlex
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headgate.cli.serve import _example, _Successors
from headgate.errors import Fault
from headgate.objects import Release
from headgate.runtime import Deployment, Metrics, Tensor
from headgate.testing import ManualClock

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


class Releases:
    """A store whose current release is ``current``, and a loader that fails until ``loads``."""

    def __init__(self) -> None:
        self.now = Release("docs", 1, "v1", None)
        self.loads = False
        self.tried: list[int] = []
        self.sinks = 0
        self.store = self

    def current(self, endpoint: str) -> Release:
        return self.now

    def load(self, generation: int, version: str, **options: object) -> str:
        self.tried.append(generation)
        if not self.loads:
            raise Fault("no memory")
        return version

    def sink(self, generation: int, version: str) -> None:
        self.sinks += 1


def following(releases: Releases, clock: ManualClock) -> _Successors:
    served = SimpleNamespace(generation=1, metrics=Metrics())
    return _Successors(
        cast("Any", releases), "docs", cast("Any", served), cast("Any", releases), clock.now_s
    )


def polled(follow: _Successors, clock: ManualClock, seconds: int) -> list[object]:
    """What it gives, asked every two seconds; what raises gives nothing."""
    given = []
    for _ in range(seconds // 2):
        clock.advance(2.0)
        with contextlib.suppress(Fault):
            given.append(follow())
    return [one for one in given if one is not None]


def test_a_release_that_cannot_be_loaded_is_tried_once() -> None:
    """The next promotion is another, and may be loaded."""
    releases, clock = Releases(), ManualClock()
    follow = following(releases, clock)
    releases.now = Release("docs", 2, "v2", None)
    assert polled(follow, clock, 3600) == []
    releases.loads = True
    assert polled(follow, clock, 3600) == []
    releases.now = Release("docs", 3, "v3", None)
    assert polled(follow, clock, 60) == ["v3"]
    assert releases.tried == [2, 3]


def test_what_a_rollback_brought_back_is_tried_until_it_is_loaded() -> None:
    """After 5, 10, 20 seconds and so on, five minutes at last; once loaded, no more."""
    releases, clock = Releases(), ManualClock()
    follow = following(releases, clock)
    releases.now = Release("docs", 2, "v0", None, extra={"restores": "0"})
    assert polled(follow, clock, 3600) == []
    assert 10 <= len(releases.tried) <= 20
    assert releases.sinks == 1
    releases.loads = True
    assert polled(follow, clock, 600) == ["v0"]
