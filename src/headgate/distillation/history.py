"""What became of trainings that had pilots: what the next one's pilots cannot know.

Two things are not in a student's pilots: how far its loss will fall beyond their start's, and how
much harm the errors of a student that learnt more do, beside those of its pilot made smaller.
Trainings that are over tell both, with their spread. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headgate.theory.hierarchy import Measured

__all__ = ["RECORDED", "Finished"]


@dataclass(frozen=True, slots=True)
class Finished:
    """A training that had pilots and is over."""

    fall: Measured
    """``f`` where its loss is the one of its pilots' start times ``more_texts^-f``: that many times
    as many texts it saw, each counted as often as it was seen, as that was fitted on."""
    harm: Mapping[str, Measured]
    """Metric -> what it lost, as a share of what the way to its pilot says at its loss; none where
    that says too little."""


RECORDED: Sequence[Finished] = ()
