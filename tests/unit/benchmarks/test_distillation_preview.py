"""What became of the distillation preview's targets, from forecasts and truths."""

from __future__ import annotations

from benchmarks.compression.distillation_preview import STUDENTS, _pairs, _targets


def row(
    value: float, lost: float, *, half: float = 0.02, before: bool = True, layers: int = 3
) -> dict[str, object]:
    return {
        "layers": layers,
        "metric": "recall@10",
        "value": value,
        "low": value - half,
        "high": value + half,
        "lost": lost,
        "before": before,
        "pilots_s": 9.0,
        "training_s": 100.0,
    }


def test_a_forecast_of_what_was_known_does_not_count() -> None:
    """It stands among the rows, and the twelve are not all there."""
    found = _targets([row(0.02, 0.03), row(0.05, 0.9, before=False)], 2)
    assert found["students forecast and trained"].value == 1
    assert found["intervals that hold the truth, share"].value == 1


def test_intervals_widths_and_the_better_of_two_are_counted() -> None:
    """One of three intervals misses, and one of three pairs is named right."""
    found = _targets([row(0.02, 0.03), row(0.05, 0.04), row(0.10, 0.02)], 3)
    values = {name: target.value for name, target in found.items()}
    assert values["intervals that hold the truth, share"] == 2 / 3
    assert abs(values["width of the interval, margins, median"] - 2.0) < 1e-9
    assert values["the better of two named right, share"] == 1 / 3
    assert values["pilots' processor seconds by the training's, of any student"] == 0.09


def test_what_layers_alone_would_say_stands_beside() -> None:
    """Of three pairs one has as many layers; in the others more layers lost less once."""
    rows = [row(0.02, 0.03, layers=2), row(0.05, 0.04, layers=2), row(0.10, 0.035, layers=4)]
    assert _pairs(rows) == {
        "pairs with as many layers": 1,
        "of these named right": 1,
        "pairs with other layers": 2,
        "of those named right": 1,
        "of those the one with more layers is the better": 1,
    }


def test_the_twelve_differ_and_none_of_them_is_in_the_history() -> None:
    """Recipes and seeds are drawn apart: what is judged was not learnt from."""
    from benchmarks.compression.training_history import STUDENTS as LEARNT_FROM

    assert len({s.name for s in STUDENTS}) == 12
    assert not {s.seed for s in STUDENTS} & {s.seed for _, s in LEARNT_FROM}
    assert "python-help" not in {world for world, _ in LEARNT_FROM}
