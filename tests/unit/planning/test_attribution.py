"""Which optimization brought how much."""

from __future__ import annotations

import pytest

from headgate.planning import leave_one_out


def test_additive_savings_are_attributed_in_full() -> None:
    """Where effects add up, nothing is shared."""
    saves = {"cache": 3.0, "int8": 4.0}
    got = leave_one_out(lambda on: 10.0 - sum(saves[o] for o in on), ["cache", "int8"])
    assert got.saved_by == saves
    assert got.shared == 0.0
    assert got.factor == pytest.approx(10 / 3)


def test_what_harms_has_a_negative_saving() -> None:
    """An optimization that costs is shown as one."""
    got = leave_one_out(lambda on: 10.0 + 2.0 * ("harm" in on), ["harm"])
    assert got.saved_by == {"harm": -2.0}


def test_each_set_is_asked_for_once() -> None:
    """n + 2 evaluations: none, all, all but each."""
    asked: list[frozenset[str]] = []

    def cost(on: frozenset[str]) -> float:
        asked.append(on)
        return 1.0

    leave_one_out(cost, ["a", "b", "c"])
    assert len(asked) == len(set(asked)) == 5
