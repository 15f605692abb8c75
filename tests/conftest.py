"""What all tests share: properties are tried on the same examples each time, without a stopwatch.

A test that fails now and then, or on a slow machine, says nothing about the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from headgate.ledger.signing import users_key

settings.register_profile("headgate", deadline=None, derandomize=True)
settings.load_profile("headgate")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end files come first, in random order as all others: they take longest, and for one
    that came last the other process of ``make test`` would wait."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def users_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration directory with a key, so that none is made in that of who runs the tests."""
    directory = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(directory))
        patch.delenv("HEADGATE_KEY", raising=False)
        users_key()
        yield directory
