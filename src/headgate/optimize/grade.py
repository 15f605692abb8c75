"""How reproducible a model is: the same bytes, the same answers, neither, or nobody can tell.

Bytes differ where a library counts its layers on, or a thread sums in another order; what matters
then is whether anybody could tell. Both models answer the requests that the recorded one's batch
invariance was measured on, here and now, and are held to the rule of decision 4. Nothing is
recorded.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from headgate.engines.invariance import EPSILON
from headgate.errors import InputError
from headgate.ledger import Entry, Store
from headgate.objects import Build, jsonable, parse, short
from headgate.optimize.golden import agreement, golden
from headgate.optimize.measure import Behaviour, build_inputs
from headgate.optimize.recorder import Recorder, Replayed, transformation_named
from headgate.runtime.servable import build_from_json

__all__ = ["Grade", "Graded", "grade"]


class Grade(enum.StrEnum):
    """Of a model that was made again."""

    IDENTICAL = "identical"
    TOLERATED = "tolerated"
    """Other bytes, and answers within ``epsilon``."""
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    """Other bytes, and nothing on record that can be asked what they answer."""

    @property
    def agrees(self) -> bool:
        return self in (Grade.IDENTICAL, Grade.TOLERATED)


@dataclass(frozen=True, slots=True)
class Graded:
    """The grade, and what it was given for."""

    grade: Grade
    because: str
    build: str = ""
    """The version of the build that answered; empty where none had to."""
    items: int = 0
    same: int = 0
    largest_difference: float = 0.0
    """In the unit of the rule (docs/decisions/0004)."""
    epsilon: float = EPSILON
    fix: str = ""
    """What to do where it is unknown."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A build that runs on what was made, and the requests that it was measured on."""

    build: Build
    behaviour: Behaviour
    items: str


def grade(recorder: Recorder, run: Entry, done: Replayed) -> Graded | None:
    """Of the models that ``run`` made, from what executing it again came to; None where it made
    none.

    What is no build by itself, such as the weights of a student, is made into one again.
    """
    store = recorder.store
    made = {
        name: output
        for name, output in done.outputs.items()
        if output.recorded is not None and _is_model(store, output.recorded)
    }
    if not made:
        return None
    if all(output.same for output in made.values()):
        return Graded(Grade.IDENTICAL, "the files have the same digests")
    again = {str(o.recorded): o.again for o in made.values()}
    if None in again.values():
        return Graded(Grade.DIFFERENT, "a file did not come out at all")
    others = {old: str(new) for old, new in again.items()}
    asked = _asked(store, others)
    if asked is None:
        try:
            asked = _asked(store, _made_of(recorder, others))
        except InputError as error:
            return _unknown(error.what, error.fix or _MEASURE)
    if asked is None:
        return _unknown("nothing on record answers with them", _MEASURE)
    found, remade = asked
    if not parse(store.read(found.items)):
        return _unknown("the build that has them was measured on no request", _MEASURE)
    recorded, here = (_answers(recorder, replace(found, build=b)) for b in (found.build, remade))
    agreed = agreement(found.build, recorded, here)
    tolerated = agreed.same == agreed.items
    return Graded(
        Grade.TOLERATED if tolerated else Grade.DIFFERENT,
        f"the bytes differ, and {agreed.same} of {agreed.items} answers are the same (largest "
        f"difference {agreed.largest:.3g}, {EPSILON:g} allowed)",
        found.build.version,
        agreed.items,
        agreed.same,
        agreed.largest,
    )


_MEASURE = "measure a build of it first: headgate optimize headgate.yaml"


def _unknown(why: str, fix: str) -> Graded:
    return Graded(Grade.UNKNOWN, f"the bytes differ, and {why}", fix=fix)


def _is_model(store: Store, version: str) -> bool:
    artifact = store.artifact(version)
    return artifact is not None and artifact.kind == "model"


def _asked(store: Store, others: Mapping[str, str]) -> tuple[_Asked, Build] | None:
    """The newest build on record that has one of these files, and the same with those in their
    place."""
    for run in _newest(store):
        if run.body["transformation"] != "measure.batch_invariance":
            continue
        build = build_from_json(run.body["c"]["build"])
        if not others.keys() & set(build.files.values()):
            continue
        files = {name: others.get(version, version) for name, version in build.files.items()}
        behaviour = Behaviour(**run.body["c"]["behaviour"])
        return _Asked(build, behaviour, run.body["u"]["items"]), replace(build, files=files)
    return None


def _made_of(recorder: Recorder, others: Mapping[str, str]) -> Mapping[str, str]:
    """What was made of the recorded files, and what is made of the others in their place.

    Raises ``InputError`` (reason ``no_such_transformation``) where this version cannot make it.
    """
    gone: Entry | None = None
    for run in _newest(recorder.store):
        used = run.body["u"]
        models = {n: v for n, v in run.body["z"].items() if _is_model(recorder.store, v)}
        if not models or not others.keys() & set(used.values()):
            continue
        what = transformation_named(run.body["transformation"])
        if what is None:
            gone = gone or run
            continue
        u = {name: others.get(version, version) for name, version in used.items()}
        made = recorder.execute(what, u, run.body["c"]).outputs
        return {version: made[name].version for name, version in models.items()}
    if gone is not None:
        raise InputError(
            f"this version has no {gone.body['transformation']}, which made a build of them",
            where=f"run {short(gone.id)}",
            reason="no_such_transformation",
            fix="replay it with the version of Headgate that recorded it, or make it anew: "
            "headgate optimize headgate.yaml",
        )
    return {}


def _answers(recorder: Recorder, asked: _Asked) -> list[object]:
    executed = recorder.execute(
        golden,
        build_inputs(asked.build, items=asked.items),
        jsonable({"build": asked.build, "behaviour": replace(asked.behaviour, metrics={})}),
    )
    answers: list[object] = parse(recorder.store.read(executed.outputs["answers"].version))
    return answers


def _newest(store: Store) -> Iterator[Entry]:
    return reversed(list(store.entries("run")))
