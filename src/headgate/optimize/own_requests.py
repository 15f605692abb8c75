"""The workload's own requests as what students learn from, where the endpoint's owner allows it.

Who sent them did so to be answered. So nothing is learnt from them unless ``data_contracts`` of
headgate.yaml says who allowed it and why; both stand in the run that takes them from the log, which
is upstream of all that is trained. What judges stays what nobody learnt from: requests that are
also among the items of ``evaluate``, ``holdout`` or ``calibrate`` are left out, and how many is on
record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.config import (
    Item,
    TrainingPermission,
    guarded,
    item_digest,
    load_function,
    load_workload,
)
from headgate.errors import InputError
from headgate.objects import canonical, parse
from headgate.optimize.contents import SCHEMAS, TEXTS
from headgate.optimize.recorder import Call, Output, transformation

__all__ = ["LEARNT", "Chosen", "OwnRequests", "check_some_left", "choose", "digests", "learnt"]

LEARNT = "workload.learnt"
"""The transformation that takes them from the log."""

Prepared = Callable[[Item], Item]
"""The endpoint's own ``preprocess``, or nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which of a log's requests are learnt from, and why the others are not."""

    places: tuple[int, ...]
    """In the log, from 0, ascending."""
    repeats: int
    """Asked before, in the same words."""
    judging: int
    """Also among what judges."""
    empty: int
    """The endpoint's own ``preprocess`` leaves nothing of them."""

    @property
    def requests(self) -> int:
        return len(self.places) + self.repeats + self.judging + self.empty


@dataclass(frozen=True, slots=True)
class OwnRequests:
    """What was taken from the workload, who allowed it, and the run that says so."""

    permission: TrainingPermission
    chosen: Chosen
    entry: str


def choose(items: Sequence[Item], judging: Collection[str], prepared: Prepared) -> Chosen:
    """Of the requests ``items`` those that may be learnt from, each once: neither they nor what
    ``preprocess`` makes of them are among ``judging``, which are ``item_digest``'s."""
    places: list[int] = []
    seen: set[str] = set()
    repeats = judged = empty = 0
    for place, item in enumerate(items):
        to_the_model = prepared(item)
        digest = item_digest(to_the_model)
        if isinstance(to_the_model, str) and not to_the_model.strip():
            empty += 1
        elif digest in judging or item_digest(item) in judging:
            judged += 1
        elif digest in seen:
            repeats += 1
        else:
            seen.add(digest)
            places.append(place)
    return Chosen(tuple(places), repeats, judged, empty)


def digests(splits: Iterable[Sequence[Item]], prepared: Prepared) -> list[str]:
    """Of all items that judge, as they are and as the model sees them; sorted, each once."""
    items = [item for split in splits for item in split]
    return sorted({item_digest(i) for item in items for i in (item, prepared(item))})


def check_some_left(chosen: Chosen, log: Path) -> None:
    """Raises ``InputError`` (reason ``nothing_to_learn``) where no request may be learnt from."""
    if not chosen.places:
        raise InputError(
            f"none of its {chosen.requests} requests may be learnt from: {chosen.judging} are also "
            f"in evaluate, holdout or calibrate, and of {chosen.empty} preprocess leaves nothing",
            where=str(log),
            reason="nothing_to_learn",
            fix="give a log with requests that judge nothing, or a file under data.train",
        )


@transformation(LEARNT)
def learnt(call: Call) -> Mapping[str, Output]:
    """The requests that may be learnt from, as rows of ``data.train``; each has its place among the
    requests of the log as its id, from 1. Lines of the log that are blank are none."""
    items = load_workload(call.path("workload")).items
    own = call.c["preprocess"]
    prepared = _as_it_is if own is None else guarded(load_function(own["function"], call.root))
    chosen = choose(items, frozenset(parse(call.store.read(call.u["judging"]))), prepared)
    key, schema = ("text", TEXTS) if call.c["task"] == "embed" else ("input", SCHEMAS["classify"])
    rows = [canonical({"id": f"{place + 1}", key: items[place]}) for place in chosen.places]
    return {
        "train": Output(b"\n".join(rows) + b"\n", "dataset", schema),
        "chosen": Output(canonical(chosen), "samples", "json Chosen"),
    }


def _as_it_is(item: Item) -> Item:
    return item
