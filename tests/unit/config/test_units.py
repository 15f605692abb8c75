"""Quantities with units."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.units import (
    parse_bytes,
    parse_duration,
    parse_fraction,
    parse_number,
    parse_seconds,
)
from headgate.errors import ConfigError


@given(st.integers(min_value=0, max_value=10**9))
def test_a_unit_gives_the_float_that_the_decimal_names(number: int) -> None:
    """40ms is exactly the float 0.04, for every number: no rounding of our own."""
    assert parse_seconds(f"{number}ms") == float(f"{number}e-3")
    assert parse_duration(f"{number} us") == float(f"{number}e-6")
    assert parse_fraction(f"{number}%") == float(f"{number}e-2")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_plain_number_is_itself(number: float) -> None:
    """As a number or as text, with or without an exponent."""
    assert parse_number(number) == number
    assert parse_number(repr(number)) == number


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_seconds, "40 MB"),
        (parse_seconds, "ms"),
        (parse_seconds, "1e999"),
        (parse_seconds, "1,5s"),
        (parse_duration, 40),
        (parse_duration, "40 "),
        (parse_duration, "4."),
        (parse_duration, "40 MB"),
        (parse_bytes, "512 mb"),
        (parse_fraction, "1 percent"),
        (parse_number, "nan"),
        (parse_number, "1%"),
        (parse_number, True),
        (parse_number, float("inf")),
    ],
)
def test_what_is_no_quantity_is_refused(parse: Callable[..., float], text: object) -> None:
    """Wrong units, words, infinities and booleans are errors, never zero."""
    with pytest.raises(ConfigError):
        parse(text)
