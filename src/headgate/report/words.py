"""What reports and commands say in the same words; amounts alone are in ``headgate.amounts``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from headgate.amounts import seconds, three_digits

__all__ = [
    "IN_BATCHES",
    "NOTHING",
    "title",
    "void",
    "way_on",
    "with_units",
]

IN_BATCHES = (
    "Cost is of the baseline one at a time and of the others in batches; speedup, and what is "
    "predicted to cost so many times as much, are of both in batches."
)
"""What stands beside two columns that need not agree: a slow build in batches may cost less than a
fast one that is asked one at a time."""


NOTHING = "–"
"""A cell of which there is nothing to say."""


def way_on(binding: str | None) -> str:
    """What to do after a search that left nothing; ``binding`` is the promise in its way.

    >>> way_on("latency_p95 at most 0.01")[:51]
    'What stands in the way is latency_p95 at most 10.0 '
    """
    if binding is None:
        return (
            "Bring what those lack that were left out, write a wider limit where one "
            "that they break protects nobody, or name other candidates."
        )
    return (
        f"What stands in the way is {with_units(binding)}: write a wider limit where that protects "
        "nobody, and why; or name other candidates, or give more data."
    )


def title(metric: str) -> str:
    """A metric over a column, whose cells say in which unit they are.

    >>> title("latency_p95"), title("device_s_per_1k")
    ('latency p95', 'device time per 1k')
    """
    return metric.replace("device_s", "device_time").replace("_", " ")


def void(why: Sequence[str]) -> str:
    """That a load test is, and why.

    >>> void(["requests left 0.7298 s late"])
    'The load test is void: requests left 730 ms late.'
    """
    return f"The load test is void: {with_units('; '.join(why))}."


_CLAUSE = (
    r"(?: candidate - current)?"
    r"(?: (?:=|is infinite|at most|at least|not (?:above|below) current by)"
    r"|: current against|: a block)"
    r" (?:\((?!and )[^()`]*\)|[^;:()`.]|\.(?=\d))*"
)
"""Behind a metric's name what is said of its values, up to where clause or sentence ends."""
_LATENCY = re.compile(rf"(latency_\w+|device_s_per_1k|\bage)({_CLAUSE})")
_MONEY = re.compile(rf"(cost_per_1k)({_CLAUSE})")
_IN_BACKTICKS = re.compile(r"(`[^`]*`)")
_DIGITS = r"(?<![\w.,-])(-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)"
_NUMBER = re.compile(_DIGITS + r"(?![\w.]|,\d| %| (?:µs|ms|s|min|days)\b)")
_IN_SECONDS = re.compile(_DIGITS + r" s\b")


def with_units(sentence: str) -> str:
    """A sentence of the gate, the plan or the search, its times (plain seconds) as durations and
    its money in plain digits.

    Those are what it says of a latency or an age, and whatever else is followed by ``s``. What is
    worded so already stays, and so does what stands in backticks, as it is to be typed.

    >>> with_units("latency_p95 = 0.0412 (95 % bound 0.0501) keeps 0.1; n = 9")
    'latency_p95 = 41.2 ms (95 % bound 50.1 ms) keeps 100 ms; n = 9'
    >>> with_units("latency_p95: current against itself differs by 0.02, more than 0.01, half of x")
    'latency_p95: current against itself differs by 20.0 ms, more than 10.0 ms, half of x'
    >>> with_units("latency_p95: a block differs from the next by 0.02, more than 0.01, half of x")
    'latency_p95: a block differs from the next by 20.0 ms, more than 10.0 ms, half of x'
    >>> with_units("latency_p95: 0.0003517 s even at the lowest rate, above the limit of 5e-05 s")
    'latency_p95: 352 µs even at the lowest rate, above the limit of 50.0 µs'
    >>> with_units("age at most 7.776e+06 (retrain)")
    'age at most 90.0 days (retrain)'
    >>> with_units("contracts.latency_p95 was ratio to current at most 1.1, is at most 0.1 s")
    'contracts.latency_p95 was ratio to current at most 1.1, is at most 100 ms'
    >>> with_units("cost_per_1k = 1.2345e-05 (95 % bound 1.4e-05) keeps 2e-05; n = 9")
    'cost_per_1k = 0.0000123 (95 % bound 0.0000140) keeps 0.0000200; n = 9'
    """

    def duration(found: re.Match[str]) -> str:
        return seconds(float(found[1].replace(",", "")))

    def amount(found: re.Match[str]) -> str:
        return three_digits(float(found[1].replace(",", "")))

    def worded(said: str) -> str:
        said = _MONEY.sub(lambda clause: clause[1] + _NUMBER.sub(amount, clause[2]), said)
        said = _LATENCY.sub(lambda clause: clause[1] + _NUMBER.sub(duration, clause[2]), said)
        return _IN_SECONDS.sub(duration, said)

    parts = _IN_BACKTICKS.split(sentence)  # every second one is in backticks
    return "".join(part if i % 2 else worded(part) for i, part in enumerate(parts))
