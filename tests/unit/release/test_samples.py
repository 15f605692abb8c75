"""Samples survive storage unchanged, and refuse to be read from anything else."""

from __future__ import annotations

import json
import math

import pytest

from headgate.errors import InputError
from headgate.objects import canonical
from headgate.release import ClassLabel, Samples, WorstSlice, from_json
from tests.unit.release.samples import blocks, items

SAMPLES: list[Samples] = [
    items([1.0, None, 1 / 3], [0.1 + 0.2, 0.0, None], slices=(("a:b",), (), ("a:c", "d:e"))),
    WorstSlice("worst", items([1.0], [0.0], slices=(("a:b",),)), min_n=7),
    blocks([1.0, math.inf, 2 / 3], [3.0, 4.0, math.pi], aa_before=(), aa_after=((1.0, 1.1),)),
    ClassLabel("invariance", "exact", 12),
]


@pytest.mark.parametrize("samples", SAMPLES, ids=lambda s: type(s).__name__)
def test_what_is_stored_is_what_was_judged(samples: Samples) -> None:
    """Through canonical bytes and back, samples are equal to the last bit."""
    stored = json.loads(canonical(samples.to_json()))
    assert from_json(stored) == samples
    assert from_json(samples.to_json()) == samples


def test_nan_survives_storage() -> None:
    """NaN comes back as NaN, so that a broken measurement stays broken."""
    again = from_json(json.loads(canonical(items([math.nan], [1.0]).to_json())))
    assert math.isnan(again.candidate[0])  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Pickle"},
        {"kind": None},
        {"direction": "sideways"},
        {"candidate": ["1.0", None, 0.5]},
        {"candidate": [True, None, 0.5]},
        {"candidate": [{"$float": "one"}, None, 0.5]},
        {"candidate": 3},
        {"items": [1, 2, 3]},
        {"metric": None},
        {"value_range": [0.0]},
    ],
)
def test_what_is_not_samples_is_refused(change: dict[str, object]) -> None:
    """A wrong kind, type, tag or shape is an InputError that names the cause."""
    with pytest.raises(InputError, match="no samples"):
        from_json(SAMPLES[0].to_json() | change)


def test_a_missing_field_is_refused() -> None:
    """Nothing is filled in for a field that is not there."""
    data = SAMPLES[3].to_json()
    del data["n"]
    with pytest.raises(InputError, match="'n'"):
        from_json(data)
