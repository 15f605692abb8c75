"""What was expected is drawn beside what came of it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from xml.etree import ElementTree

import pytest

from headgate.report import Expectation, Learning, as_json, foresight, render_html
from headgate.report.canvas import NARROW_INCHES, WIDE_INCHES

from .test_report import figure, full_report


def expected(candidate: str, measured: float | None = None, **changes: object) -> Expectation:
    """A loss of 1 to 3 points."""
    fields = {
        "quantity": "loss of recall@10",
        "forecast": figure(0.02, "points", 0.01, 0.03),
        "measured": None if measured is None else figure(measured, "points"),
        "limit": 0.02,
    }
    return Expectation(candidate, **{**fields, **changes})  # type: ignore[arg-type]  # a test's own


def words_of(svg: str) -> list[str]:
    """All text of a drawing, which must parse as XML."""
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return ["".join(t.itertext()) for t in root.iter() if t.tag.endswith("}text")]


@pytest.mark.parametrize(
    ("measured", "held"), [(0.01, True), (0.03, True), (0.031, False), (0.0, False), (None, None)]
)
def test_an_interval_holds_what_lies_in_it_or_at_its_ends(
    measured: float | None, held: bool | None
) -> None:
    """Of what was not measured nothing is said."""
    assert expected("student3", measured).held is held


def test_a_forecast_without_an_interval_holds_only_itself() -> None:
    """A size is known, and has no ends."""
    row = expected("bf16", 0.02, forecast=figure(0.02, "points"))
    assert row.interval == (0.02, 0.02)
    assert row.held


def test_the_legend_has_what_is_drawn_and_no_more() -> None:
    """An interval that missed, a contract, a candidate that was skipped."""
    said = words_of(foresight.expectations([expected("student3", 0.02), expected("static")]))
    assert "forecast, 90 % interval" in said
    assert "measured" in said
    assert "contract" in said
    assert "measured, outside" not in said
    missed = words_of(foresight.expectations([expected("student3", 0.2, limit=None)]))
    assert "measured, outside" in missed
    assert "measured" not in missed
    assert "contract" not in missed


def test_a_panel_a_quantity_and_a_name_a_candidate() -> None:
    """Units stand in the titles, chosen by size; candidates are named once a row of panels,
    and only where one of these says something of them, in the order in which they come."""
    rows = [
        expected("student3"),
        expected("student3", quantity="training", forecast=figure(420.0, "s", 400.0, 500.0)),
        expected("bf16", quantity="latency p50", forecast=figure(0.004, "s", 0.003, 0.005)),
    ]
    said = words_of(foresight.expectations([dataclasses.replace(r, limit=None) for r in rows]))
    assert {"loss of recall@10, %", "training, min", "latency p50, ms"} <= set(said)
    assert [word for word in said if word in ("student3", "bf16")] == ["student3", "bf16"]


def test_figures_far_apart_share_a_logarithmic_axis() -> None:
    """A static student is sixty times as fast as its teacher; the others stay readable."""
    rows = [
        expected(name, quantity="speed-up", limit=None, forecast=figure(x, "times", x, x))
        for name, x in (("bf16", 1.9), ("static", 60.0))
    ]
    assert "speed-up, times (log)" in words_of(foresight.expectations(rows))
    assert "speed-up, times" in words_of(foresight.expectations(rows[:1]))


@pytest.mark.parametrize("width", [WIDE_INCHES, NARROW_INCHES])
def test_labels_of_a_logarithmic_axis_do_not_touch(width: float) -> None:
    """Over two to five decades, in a panel that shares its line with another, or with long names;
    there are always some to read it by. Without a unit there is no comma."""
    rows = [
        expected(name, quantity=quantity, limit=None, forecast=figure(high, unit, low, high))
        for quantity, unit, low, high in (
            ("loss of error", "difference", 0.0019, 0.11),
            ("speed-up", "times", 0.8, 90.0),
            ("training", "s", 9.0, 40_000.0),
            ("latency p50", "s", 0.00001, 0.9),
        )
        for name in ("student3_int8_static", "bf16")
    ]
    svg = foresight.expectations(rows, width=width)
    lines: dict[str, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(
        r'text-anchor: middle[^>]*? x="([\d.]+)" y="([\d.]+)"[^>]*>([\d.]+)<', svg
    ):
        lines.setdefault(y, []).append((float(x), text))
    assert sum(map(len, lines.values())) >= 12
    for line in lines.values():
        for (x, text), (right, other) in itertools.pairwise(sorted(line)):
            widths = 9.5 * 0.6 * (len(text) + len(other)) / 2
            assert right - x > widths, f"{text} and {other}"
    assert "loss of error (log)" in words_of(svg)


def test_trainings_are_drawn_with_what_was_held_back() -> None:
    """A training without held-back texts is drawn too."""
    one = Learning("student3", "sha256:a", (0.5, 0.3, 0.2, 0.15), ((2, 0.3), (4, 0.2)))
    bare = Learning("static", "sha256:b", (0.5, 0.4), ())
    said = words_of(foresight.learning([one, bare]))
    assert {"student3, its batches", "student3, held-back texts", "static, its batches"} <= set(
        said
    )
    assert "static, held-back texts" not in said


def test_the_page_says_how_many_intervals_held() -> None:
    """Those of skipped candidates do not count."""
    rows = (expected("a", 0.02), expected("b", 0.2), expected("c"))
    page = render_html(dataclasses.replace(full_report(), expectations=rows))
    assert "1 of 2 intervals hold what was then measured" in page
    assert page.count('class="wide"') == 7
    assert "What was expected" not in render_html(full_report())


def test_the_same_rows_give_the_same_drawing() -> None:
    """Nothing random or dated gets into it."""
    rows = [expected("student3", 0.02)]
    assert foresight.expectations(rows) == foresight.expectations(rows)


def test_json_has_forecasts_with_their_entries() -> None:
    """Whoever reads report.json can look each of them up."""
    body = as_json(dataclasses.replace(full_report(), expectations=(expected("a", 0.02),)))
    assert isinstance(body, dict)
    (row,) = body["expectations"]
    assert re.fullmatch(r"sha256:\w+", row["forecast"]["entry"])
    assert row["measured"]["value"] == 0.02
