"""Amounts as people read them: units chosen by size, three significant digits.

Imports nothing, so that what says how long it still takes depends on no report.

>>> seconds(0.00423), seconds(12.3), count(20000), size(90_768_346)
('4.23 ms', '12.3 s', '20,000', '86.6 MiB')
"""

from __future__ import annotations

import math

__all__ = [
    "count",
    "counted",
    "figure",
    "money",
    "percent",
    "seconds",
    "size",
    "three_digits",
    "times",
]


def three_digits(x: float) -> str:
    """Three significant digits, no exponent."""
    if x == 0 or not math.isfinite(x):
        return "0" if x == 0 else ("∞" if x > 0 else "−∞" if x < 0 else "n/a")
    digits = max(0, 2 - math.floor(math.log10(abs(x))))
    return f"{x:,.{min(digits, 9)}f}"


def seconds(x: float) -> str:
    """A duration: µs, ms, s, min or days.

    >>> seconds(90 * 86400), seconds(0)
    ('90.0 days', '0 s')
    """
    if not math.isfinite(x):
        return "∞" if x > 0 else "n/a"
    if x == 0:
        return "0 s"
    if abs(x) >= 2 * 86400:
        return f"{three_digits(x / 86400)} days"
    if abs(x) >= 119.5:  # what would read 120 s
        return f"{three_digits(x / 60)} min"
    if abs(x) >= 1:
        return f"{three_digits(x)} s"
    if abs(x) >= 1e-3:
        return f"{three_digits(x * 1e3)} ms"
    return f"{three_digits(x * 1e6)} µs"


def count(x: float) -> str:
    """A whole number with thousands separated."""
    return f"{round(x):,}"


def counted(n: int, what: str) -> str:
    """So many of them.

    >>> counted(1, "answer"), counted(1200, "answer")
    ('1 answer', '1,200 answers')
    """
    return f"{n:,} {what}{'s' * (n != 1)}"


def size(n_bytes: float) -> str:
    """Bytes in binary units."""
    for unit in ("B", "KiB", "MiB"):
        if abs(n_bytes) < 1024:
            return f"{three_digits(n_bytes)} {unit}"
        n_bytes /= 1024
    return f"{three_digits(n_bytes)} GiB"


def money(x: float, currency: str = "USD") -> str:
    """An amount with its currency.

    >>> money(0.000123)
    '0.000123 USD'
    """
    return f"{three_digits(x)} {currency}"


def percent(x: float, *, signed: bool = False, digits: int = 1) -> str:
    """A fraction in per cent.

    >>> percent(-0.0123, signed=True), percent(42.1, digits=0), percent(-1e-9, signed=True)
    ('−1.2 %', '4,210 %', '+0.0 %')
    """
    sign = "+" if signed else ""
    text = f"{x * 100:{sign}z,.{digits}f}"
    return text.replace("-", "−").replace("inf", "∞") + " %"


def times(x: float) -> str:
    """A factor.

    >>> times(8.04)
    '8.0x'
    """
    return f"{x:.1f}x" if abs(x) < 100 else f"{x:.0f}x"


def figure(value: float, unit: str, currency: str = "USD") -> str:
    """A value in the way of its unit.

    >>> figure(0.012, "points"), figure(1.25, "difference"), figure(0.7, "share")
    ('+1.2 %', '+1.25', '70.0 %')
    """
    match unit:
        case "s":
            return seconds(value)
        case "bytes":
            return size(value)
        case "money_per_1k":
            return money(value, currency)
        case "share":
            return percent(value)
        case "points":
            return percent(value, signed=True)
        case "difference":
            return f"{'+' if value > 0 else ''}{three_digits(value)}"
        case "times":
            return times(value)
        case "ratio":
            return f"{three_digits(value)}x"
        case "per_s":
            return f"{three_digits(value)}/s"
        case _:
            return f"{three_digits(value)} {unit}".strip()
