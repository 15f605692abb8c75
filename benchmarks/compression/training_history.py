"""What became of ten trainings that had pilots: the figures of ``distillation/history.py``.

``python -m benchmarks.compression.training_history`` pilots and trains them, in texts that share
nothing with the data on which the preview is judged (``distillation_preview``), and prints a line
for each: how far its loss fell beyond its pilots' start, and what that cost of each metric beside
what the way to the pilot says. About half an hour of one core; what is done is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.compression.student_worlds import open_world
from benchmarks.compression.students_held import Student, alone, piloted, trained
from headgate.distillation import METRICS, Finished, Piloted
from headgate.theory.hierarchy import Measured

__all__ = ["STUDENTS", "finished"]

KEEP = Path(__file__).parents[1] / ".compression" / "training_history"


def _in_larger_batches(*figures: int) -> Student:
    """As students were trained before batches of 16 at 3e-4: 5 to 8 % more is left of the loss."""
    made = Student.of(*figures)
    return replace(made, recipe=replace(made.recipe, batch_texts=32, peak_learning_rate=2e-4))


STUDENTS = (
    ("science", Student.of(3, 600, 6000, 300, 103)),
    ("models", Student.of(2, 600, 6000, 300, 112)),
    ("science", Student.of(1, 600, 6000, 600, 101)),
    ("models", _in_larger_batches(5, 200, 4000, 600, 115)),
    ("science", _in_larger_batches(4, 200, 4000, 600, 104)),
    ("models", _in_larger_batches(1, 400, 2500, 600, 111)),
    ("models", Student.of(3, 500, 4000, 600, 113)),
    ("science", Student.of(2, 500, 3000, 600, 102)),
    ("models", Student.of(4, 500, 6000, 300, 114)),
    ("science", Student.of(2, 800, 2000, 300, 105)),
)
"""World and student; recipes and seeds are none of those that are judged."""


def finished() -> Iterator[tuple[str, Student, Piloted, Finished]]:
    """World, student, its pilots, and what became of it; those that another process works on are
    left out."""
    for name, student in STUDENTS:
        world, folder = open_world(name, KEEP), KEEP / name / "students"
        folder.mkdir(exist_ok=True)
        with alone(folder, student.name) as mine:
            pilots = piloted(world, student, folder, make=mine, ample=True)
            truth = trained(world, student, folder, make=mine)
        if pilots is None or truth is None:
            continue
        figures = Piloted.from_json(student.recipe, pilots.plan, pilots.found, items=pilots.items)
        yield name, student, figures, figures.finished(loss=truth.loss, lost=truth.lost)


def main() -> int:
    """Prints the lines of ``history.RECORDED``."""
    for world, student, _, became in finished():
        figures = ", ".join(_line(m) for m in (became.fall, *map(became.harm.get, METRICS)))
        print(f"({figures}),  # {world}, {student.name}", flush=True)
    return 0


def _line(measured: Measured | None) -> str:
    return "None" if measured is None else f"({measured.value:.3f}, {measured.error:.3f})"


if __name__ == "__main__":
    sys.exit(main())
