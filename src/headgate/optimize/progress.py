"""How the main job tells a person what it is doing. Results never go this way."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Told of each step as it begins and of how far it is; reused steps are not told."""

    def start(self, name: str, detail: str = "") -> None:
        """A step begins; the one before it is done."""
        ...

    def update(self, share: float, detail: str = "") -> None:
        """``share`` (0 to 1) of the step is done."""
        ...


class Silent:
    """Says nothing."""

    def start(self, name: str, detail: str = "") -> None: ...

    def update(self, share: float, detail: str = "") -> None: ...
