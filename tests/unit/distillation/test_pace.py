"""When a training saves and stops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.distillation.pace import Cadence, best_of, has_stalled, validation_due


@given(
    steps=st.integers(1, 2000),
    step_s=st.integers(1, 1000),
    save_s=st.integers(0, 200),
)
def test_a_kill_loses_a_hundredth_or_six_checkpoints(steps: int, step_s: int, save_s: int) -> None:
    """At any moment: a hundredth of the steps or one, unless six times what a checkpoint
    takes is more; and checkpoints take at most a seventh of the time."""
    cadence, now, saved, lost, saving = Cadence(steps), 0, 0, 0, 0
    for step in range(1, steps + 1):
        now += step_s
        lost = max(lost, step - saved)
        if cadence.due(step, now):
            cadence.saved(step, began_s=now, ended_s=now + save_s)
            now += save_s
            saving += save_s
            saved = step
    assert lost <= max(1, steps // 125, 6 * save_s / step_s + 1)
    assert saving <= now / 7 + save_s


def test_a_resumed_training_counts_from_where_it_resumed() -> None:
    """Steps that were done before do not make a checkpoint due."""
    cadence = Cadence(1000)
    cadence.saved(500, began_s=0.0, ended_s=0.0)
    assert not cadence.due(507, 1.0)
    assert cadence.due(508, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 5))
def test_stalled_is_as_many_validations_after_the_best(losses: list[float], patience: int) -> None:
    """The first of equal bests counts: a curve that stands still has stalled."""
    curve = list(enumerate(losses))
    since_best = len(curve) - 1 - best_of(curve)[0]
    assert has_stalled(curve, patience) == (since_best >= patience)


@given(st.integers(1, 60), st.integers(1, 70))
def test_a_validation_is_due_once_at_each_of_its_steps(steps: int, every: int) -> None:
    """After every ``every`` steps and after the last, however often it is asked."""
    curve: list[tuple[int, float]] = []
    for step in range(steps + 1):
        for _ in range(2):
            if validation_due(curve, step, steps=steps, every=every):
                curve.append((step, 0.5))
    assert [step for step, _ in curve] == sorted({*range(every, steps + 1, every), steps})
