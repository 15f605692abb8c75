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
        ((0.199, 0.011), (0.553, 0.174), (0.836, 0.189)),  # science, 3x600-6000-300-s103
        ((0.165, 0.011), (0.731, 0.154), (0.835, 0.149)),  # models, 2x600-6000-300-s112
        ((0.151, 0.011), (0.917, 0.071), (0.957, 0.071)),  # science, 1x600-6000-600-s101
        ((0.190, 0.010), None, None),  # models, 5x200-4000-600-s115
        ((0.202, 0.010), (0.711, 0.261), (0.505, 0.344)),  # science, 4x200-4000-600-s104
        ((0.133, 0.010), (0.783, 0.089), (0.786, 0.086)),  # models, 1x400-2500-600-s111
        ((0.188, 0.011), (0.522, 0.233), (0.689, 0.188)),  # models, 3x500-4000-600-s113
        ((0.192, 0.010), (0.822, 0.114), (0.717, 0.115)),  # science, 2x500-3000-600-s102
        ((0.172, 0.010), (0.868, 0.380), (1.042, 0.378)),  # models, 4x500-6000-300-s114
        ((0.159, 0.010), (0.651, 0.106), (0.799, 0.111)),  # science, 2x800-2000-300-s105
    )
)
"""Students of MiniLM, on texts of scientific packages and of packages of models: the lines that
``python -m benchmarks.compression.training_history`` prints."""
