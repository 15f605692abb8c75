"""What the report's tests share: a drawing of the same things is drawn once."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from types import ModuleType

import pytest

from headgate.report import foresight, plots

_DRAWN: dict[bytes, str] = {}
"""By what was asked for: most pages of these tests differ in their words alone, and the drawings
take nearly all of a page's time."""


@pytest.fixture(autouse=True)
def drawings_of_the_same_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plots, foresight):
        for name in filter(str.islower, module.__all__):  # the others are colours
            monkeypatch.setattr(module, name, _once(module, getattr(module, name)))


def _once(module: ModuleType, draw: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(draw)
    def drawn(*args: object, **kwargs: object) -> str:
        key = pickle.dumps((module.__name__, draw.__name__, args, sorted(kwargs.items())))
        if key not in _DRAWN:
            _DRAWN[key] = draw(*args, **kwargs)
        return _DRAWN[key]

    return drawn
