"""Raw samples: what a decision is calculated from, and calculated again from.

A sample is a passive value. It accepts whatever was measured, broken or not, because a broken
measurement must become a verdict (*invalid*) and not an exception on the way to one. Floats are
kept at the 12 significant digits of their canonical form, so that what is stored and what was
judged are the same numbers. Knows nothing of contracts or bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, cast

from headgate.errors import InputError
from headgate.objects.contract import Direction
from headgate.objects.digest import jsonable

__all__ = ["Blocks", "ClassLabel", "PairedItems", "Samples", "WorstSlice", "from_json"]


def _kept(x: float) -> float:
    x = float(x)
    return x if x == 0.0 or x == 1.0 else float(f"{x:.12g}")  # most items are right or wrong


def _kept_or_none(x: float | None) -> float | None:
    return None if x is None else _kept(x)


def _kept_pair(pair: Sequence[float]) -> tuple[float, float]:
    first, second = pair
    return _kept(first), _kept(second)


@dataclass(frozen=True, slots=True)
class PairedItems:
    """A metric of the same items under candidate and current, one value an item.

    ``None`` is an item that errored. ``value_range`` is the least and the greatest value that one
    item can have, in the metric's unit: it is what an errored item is charged with.
    """

    metric: str
    direction: Direction
    items: tuple[str, ...]
    """Item ids, each once: repeats of an item are averaged before they come here."""
    candidate: tuple[float | None, ...]
    current: tuple[float | None, ...]
    slices: tuple[tuple[str, ...], ...] = ()
    """For each item the slices that it is in, as ``dimension:value``; empty where unsliced."""
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        _freeze(
            self,
            direction=Direction(self.direction),
            items=tuple(self.items),
            candidate=tuple(map(_kept_or_none, self.candidate)),
            current=tuple(map(_kept_or_none, self.current)),
            slices=tuple(tuple(s) for s in self.slices),
            value_range=_kept_pair(self.value_range),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; ``from_json`` gives an equal value back."""
        return _to_json(self)


@dataclass(frozen=True, slots=True)
class WorstSlice:
    """The same values, judged slice by slice: each slice of ``min_n`` items or more alone."""

    metric: str
    """The name of the contract's metric, such as ``worst_slice_recall@10``."""
    items: PairedItems
    min_n: int = 100

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; ``from_json`` gives an equal value back."""
        return _to_json(self) | {"items": self.items.to_json()}


@dataclass(frozen=True, slots=True)
class Blocks:
    """A metric of whole blocks of load; ``candidate[i]`` ran next to ``current[i]``.

    Requests under load are not independent of each other; blocks nearly are. A block in which more
    than one request in a hundred failed has the value ``inf``. The A/A pairs are blocks in which
    current ran against itself, before and after: (first, second).
    """

    metric: str
    unit: str
    direction: Direction
    candidate: tuple[float, ...]
    current: tuple[float, ...]
    aa_before: tuple[tuple[float, float], ...]
    aa_after: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        _freeze(
            self,
            direction=Direction(self.direction),
            candidate=tuple(map(_kept, self.candidate)),
            current=tuple(map(_kept, self.current)),
            aa_before=tuple(map(_kept_pair, self.aa_before)),
            aa_after=tuple(map(_kept_pair, self.aa_after)),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; ``from_json`` gives an equal value back."""
        return _to_json(self)


@dataclass(frozen=True, slots=True)
class ClassLabel:
    """A class that was measured on ``n`` items, such as the batch-invariance class."""

    metric: str
    value: str
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; ``from_json`` gives an equal value back."""
        return _to_json(self)


Samples: TypeAlias = PairedItems | WorstSlice | Blocks | ClassLabel


def from_json(data: Mapping[str, Any]) -> Samples:
    """The samples that ``to_json`` described. Raises ``InputError`` where they cannot be read.

    >>> label = ClassLabel("batch_invariance", "exact", 512)
    >>> from_json(label.to_json()) == label
    True
    """
    readers: dict[str, Callable[[Mapping[str, Any]], Samples]] = {
        "PairedItems": _paired_items,
        "WorstSlice": lambda d: WorstSlice(
            _text(d["metric"]), _paired_items(d["items"]), _count(d["min_n"])
        ),
        "Blocks": _blocks,
        "ClassLabel": lambda d: ClassLabel(_text(d["metric"]), _text(d["value"]), _count(d["n"])),
    }
    kind = data.get("kind")
    try:
        return readers[cast("str", kind)](data)
    except (KeyError, TypeError, ValueError, AttributeError) as cause:
        raise InputError(
            f"these are no samples of kind {kind!r}: {cause!r}",
            where="samples",
            fix="use the JSON that to_json() of headgate.release.samples wrote",
        ) from cause


def _freeze(self: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(self, name, value)


def _to_json(samples: Samples) -> dict[str, Any]:
    values = {f.name: jsonable(getattr(samples, f.name)) for f in fields(samples)}
    return {"kind": type(samples).__name__} | values


def _paired_items(d: Mapping[str, Any]) -> PairedItems:
    return PairedItems(
        metric=_text(d["metric"]),
        direction=Direction(d["direction"]),
        items=tuple(map(_text, d["items"])),
        candidate=tuple(None if x is None else _number(x) for x in d["candidate"]),
        current=tuple(None if x is None else _number(x) for x in d["current"]),
        slices=tuple(tuple(map(_text, s)) for s in d["slices"]),
        value_range=_pair(d["value_range"]),
    )


def _blocks(d: Mapping[str, Any]) -> Blocks:
    return Blocks(
        metric=_text(d["metric"]),
        unit=_text(d["unit"]),
        direction=Direction(d["direction"]),
        candidate=tuple(map(_number, d["candidate"])),
        current=tuple(map(_number, d["current"])),
        aa_before=tuple(map(_pair, d["aa_before"])),
        aa_after=tuple(map(_pair, d["aa_after"])),
    )


def _text(x: object) -> str:
    if not isinstance(x, str):
        raise TypeError(f"{x!r} is not a text")
    return x


def _count(x: object) -> int:
    if not isinstance(x, int) or isinstance(x, bool):
        raise TypeError(f"{x!r} is not a count")
    return x


def _number(x: object) -> float:
    if isinstance(x, Mapping):  # the tag of a float that JSON has no word for
        return float(x["$float"])
    if not isinstance(x, int | float) or isinstance(x, bool):
        raise TypeError(f"{x!r} is not a number")
    return float(x)


def _pair(x: Sequence[object]) -> tuple[float, float]:
    first, second = x
    return _number(first), _number(second)
