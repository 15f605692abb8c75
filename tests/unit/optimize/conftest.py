"""A new store, and recorders on it that differ in one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.ledger import Store
from headgate.optimize.recorder import Recorder

NewRecorder = Callable[..., Recorder]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / ".headgate", create=True) as opened:
        yield opened


@pytest.fixture
def new_recorder(store: Store, tmp_path: Path) -> NewRecorder:
    """A recorder as a new process would have it; keywords change one field."""

    def make(**changes: object) -> Recorder:
        fields = {"endpoint": "docs", "owner": "search", "environment": "sha256:here", "seed": 0}
        return Recorder(store=store, root=tmp_path, **{**fields, **changes})  # type: ignore[arg-type]  # a test's own keywords

    return make


@pytest.fixture
def recorder(new_recorder: NewRecorder) -> Recorder:
    return new_recorder()
