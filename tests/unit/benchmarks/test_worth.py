"""What answers are worth beside others': lost by the gate's bound, and dependent on the batch."""

from __future__ import annotations

from dataclasses import astuple
from types import SimpleNamespace

import pytest

from benchmarks.compression import worth
from benchmarks.compression.worth import Dependence, dependence, lost
from headgate.objects import BatchInvariance
from tests.unit.optimize.fakes import build


def test_a_loss_that_is_small_is_not_shown_on_few_items() -> None:
    """One of 100 is a point, and may be five; three of 3,000 are a tenth of a point, at most
    three."""
    few = lost([0.0, *[1.0] * 99], [1.0] * 100)
    many = lost([*[0.0] * 3, *[1.0] * 2997], [1.0] * 3000)
    assert (few.value, few.n, few.shown) == (pytest.approx(0.01), 100, False)
    assert few.at_most > 0.03
    assert (many.value, many.n, many.shown) == (pytest.approx(0.001), 3000, True)
    assert 0.001 < many.at_most < 0.003


def test_items_are_paired() -> None:
    """As many right, but others: nothing is lost on average, and far less is known of it."""
    swapped = lost([*[0.0] * 40, *[1.0] * 160], [*[1.0] * 160, *[0.0] * 40])
    same = lost([1.0] * 160 + [0.0] * 40, [1.0] * 160 + [0.0] * 40)
    assert swapped.value == same.value == 0.0
    assert swapped.at_most > 3 * same.at_most


@pytest.mark.parametrize(("scaled", "same"), [(False, True), (True, False)])
def test_the_class_is_what_is_seen_or_what_the_graph_says(
    scaled: bool, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The larger of two differences counts: of the shape, and of what neighbours say."""
    report = SimpleNamespace(
        invariance=BatchInvariance.EPSILON, max_difference=1e-5, max_neighbour_difference=3e-4
    )
    monkeypatch.setattr(worth, "batch_invariance", lambda *args, **kwargs: report)
    monkeypatch.setattr(worth, "batch_scaled", lambda build, path_of: scaled)
    found = dependence(build(), None, None, [])  # type: ignore[arg-type]  # none is run
    assert found.largest_difference == 3e-4
    assert (found.by_construction, found.same_answers) == (scaled, same)
    assert Dependence.of(astuple(found)) == found
