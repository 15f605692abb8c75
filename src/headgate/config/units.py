"""Quantities with units, as people write them: ``40ms``, ``512MiB``, ``1%``.

A plain number is bytes or a fraction, and seconds where the key says so; a duration names its unit.
Knows nothing of the keys it is used under.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from headgate.errors import ConfigError

__all__ = ["parse_bytes", "parse_duration", "parse_fraction", "parse_number", "parse_seconds"]

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\W\d_]*|%)\s*")

_SECONDS = MappingProxyType(
    {
        "ns": 1e-9,
        "us": 1e-6,
        "µs": 1e-6,
        "ms": 1e-3,
        "s": 1.0,
        "min": 60.0,
        "h": 3600.0,
        "d": 86400.0,
    }
)
_BYTES = MappingProxyType(
    {
        "B": 1.0,
        "kB": 1e3,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "TB": 1e12,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
        "TiB": 2.0**40,
    }
)
_FRACTION = MappingProxyType({"%": 0.01})
_NONE: Mapping[str, float] = MappingProxyType({})


def parse_seconds(value: float | str) -> float:
    """A duration in seconds, where the key says that they are. Raises ``ConfigError``.

    >>> parse_seconds("40ms"), parse_seconds(2), parse_seconds("1.5 min")
    (0.04, 2.0, 90.0)
    """
    return _parse(value, _SECONDS, "a duration, such as 40ms or 2s")


def parse_duration(value: float | str, meant: Sequence[str] = ("ms", "s")) -> float:
    """A duration in seconds, of a value that names its unit. Raises ``ConfigError``.

    Nothing is nothing in every unit, so 0 needs none. ``meant`` are the units that are suggested
    for a number that lacks one.

    >>> parse_duration("40ms"), parse_duration(0)
    (0.04, 0.0)
    """
    seconds = parse_seconds(value)
    bare = str(value).strip().removesuffix(".0")
    if seconds and bare[-1] in "0123456789.":
        written = " or ".join(f"{bare}{unit}" for unit in meant)
        raise ConfigError(
            f"{bare} has no unit", fix=f"write {written}; units: {', '.join(_SECONDS)}"
        )
    return seconds


def parse_bytes(value: float | str) -> int:
    """A size in bytes; MB is 10^6 and MiB is 2^20. Raises ``ConfigError``.

    >>> parse_bytes("512MB"), parse_bytes("512MiB")
    (512000000, 536870912)
    """
    return round(_parse(value, _BYTES, "a size, such as 512MB or 512MiB"))


def parse_fraction(value: float | str) -> float:
    """A fraction. Raises ``ConfigError``.

    >>> parse_fraction("1%"), parse_fraction(0.01)
    (0.01, 0.01)
    """
    return _parse(value, _FRACTION, "a fraction, such as 0.01 or 1%")


def parse_number(value: float | str) -> float:
    """A number without a unit. Raises ``ConfigError``.

    >>> parse_number("2e-5")
    2e-05
    """
    return _parse(value, _NONE, "a plain number")


def _parse(value: float | str, units: Mapping[str, float], wanted: str) -> float:
    if isinstance(value, bool):
        raise ConfigError(f"{str(value).lower()!r} is not a number", fix=f"write {wanted}")
    if isinstance(value, int | float):
        number, factor = float(value), 1.0
    else:
        match = _QUANTITY.fullmatch(value)
        if match is None:
            raise ConfigError(f"{value!r} is not a number", fix=f"write {wanted}")
        unit = match[2]
        if unit and unit not in units:
            raise ConfigError(
                f"{value!r} has a unit that does not fit here",
                fix=f"write {wanted}" + (f"; units: {', '.join(units)}" if units else ""),
            )
        number, factor = float(match[1]), units[unit] if unit else 1.0
    if not math.isfinite(number):
        raise ConfigError(f"{value} is not a finite number", fix=f"write {wanted}")
    # Dividing by 1000 is exact where multiplying by 0.001 is not: 40ms is 0.04, not 0.0400…01.
    return number / round(1 / factor) if factor < 1 else number * factor
