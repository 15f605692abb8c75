"""What became of trainings that had pilots: what the next one's pilots cannot know.

Two things are not in a student's pilots: how far its loss will fall beyond their start's, and how
much harm the errors of a student that learnt more do, beside those of its pilot made smaller.
Trainings that are over tell both, with their spread. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headgate.distillation.sampled import METRICS
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


RECORDED: Sequence[Finished] = tuple(
    Finished(
        Measured(*fall),
        {metric: Measured(*each) for metric, each in zip(METRICS, harm, strict=True) if each},
    )
    for fall, *harm in (
        ((0.184, 0.011), (0.606, 0.190), (0.833, 0.185)),  # science, 3x600-6000-300-s103
        ((0.172, 0.011), (0.723, 0.151), (0.799, 0.140)),  # models, 2x600-6000-300-s112
        ((0.149, 0.012), (0.849, 0.068), (0.879, 0.065)),  # science, 1x600-6000-600-s101
        ((0.189, 0.010), None, None),  # models, 5x200-4000-600-s115
        ((0.209, 0.011), (0.871, 0.294), (0.676, 0.443)),  # science, 4x200-4000-600-s104
        ((0.110, 0.010), (0.705, 0.083), (0.711, 0.081)),  # models, 1x400-2500-600-s111
        ((0.189, 0.011), (0.524, 0.243), (0.776, 0.210)),  # models, 3x500-4000-600-s113
        ((0.199, 0.011), (0.903, 0.126), (0.781, 0.123)),  # science, 2x500-3000-600-s102
        ((0.161, 0.011), (0.777, 0.366), (0.840, 0.299)),  # models, 4x500-6000-300-s114
        ((0.142, 0.010), (0.640, 0.105), (0.787, 0.109)),  # science, 2x800-2000-300-s105
    )
)
"""Students of MiniLM, on texts of scientific packages and of packages of models: the lines that
``python -m benchmarks.compression.training_history`` prints."""
