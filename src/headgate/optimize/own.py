"""The endpoint's own functions as a recorded configuration names them: still what they were?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headgate.config import source_digest
from headgate.errors import InputError

__all__ = ["edited_functions"]

_STEPS = ("preprocess", "postprocess")


def edited_functions(c: Mapping[str, Any], root: Path) -> tuple[str, ...]:
    """Those that ``c`` names, ``module:function``, whose source under ``root`` is another today.

    A metric stands with its source's digest; of the steps around a model the digests stand in its
    builds.
    """
    recorded: set[tuple[str, str]] = set()
    named: dict[str, set[str]] = {step: set() for step in _STEPS}
    for part in _mappings(c):
        if isinstance(part.get("function"), str) and isinstance(part.get("source"), str):
            recorded.add((part["function"], part["source"]))
        for step in _STEPS:
            if isinstance(part.get(step), str):
                named[step].add(part[step])
    for values in named.values():
        digests = {v for v in values if v.startswith("sha256:")}
        recorded |= {(function, d) for function in values - digests for d in digests}
    return tuple(sorted({f for f, version in recorded if _source(f, root) != version}))


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _mappings(part)


def _source(function: str, root: Path) -> str | None:
    try:
        return source_digest(function, root)
    except InputError:  # it is gone
        return None
