"""A cascade as a build: one that runs two others, a student and its teacher.

It is one answer, so it is one build (docs/decisions/0041): its files are those of both under
``student/`` and ``teacher/``, and so are the options of each. So whatever keeps, digests, ships or
replays a build does so with a cascade, and knows nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from headgate.errors import ConfigError
from headgate.objects.serving import Build

__all__ = ["CASCADE", "Parts", "cascade_of", "parts_of"]

CASCADE = "cascade"
"""Its engine."""
_STUDENT, _TEACHER = "student", "teacher"
_THRESHOLD, _ENGINE, _PRECISION = "threshold", "engine", "precision"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cascade is made of; both builds take the same items."""

    student: Build
    teacher: Build
    threshold: float
    """The least margin that the student answers with (``distillation.cascade``)."""


def cascade_of(name: str, parts: Parts) -> Build:
    """The build that asks the student first.

    It has the teacher's threads and pads to a multiple of both. Raises ``ConfigError`` where the
    parts do not take the same items, by content: task, tokenizer, the longest input, preprocessing.
    """
    student, teacher = parts.student, parts.teacher
    for what in ("task", "tokenizer", "max_tokens", "preprocess", "postprocess"):
        if getattr(student, what) != getattr(teacher, what):
            raise ConfigError(
                f"student and teacher differ in {what}: {getattr(student, what)} and "
                f"{getattr(teacher, what)}",
                where=name,
                reason="unlike_parts",
                fix="make the student from this teacher",
            )
    if CASCADE in (student.engine, teacher.engine):
        raise ConfigError("a part of a cascade is itself one", where=name, reason="unlike_parts")
    both = ((_STUDENT, student), (_TEACHER, teacher))
    own = {
        f"{role}/{key}": value
        for role, part in both
        for key, value in (
            (_ENGINE, part.engine),
            (_PRECISION, part.precision),
            *part.options.items(),
        )
    }
    return replace(
        teacher,
        name=name,
        engine=CASCADE,
        precision=f"{student.precision}, {teacher.precision}",
        files={f"{role}/{file}": v for role, part in both for file, v in part.files.items()},
        pad_to_multiple=math.lcm(student.pad_to_multiple, teacher.pad_to_multiple),
        options={_THRESHOLD: repr(parts.threshold), **own},
    )


def parts_of(build: Build) -> Parts:
    """What ``cascade_of`` was given, but for names; both have ``build``'s threads and padding.

    Raises ``ConfigError`` where it is no cascade.
    """
    if build.engine != CASCADE:
        raise ConfigError(f"its engine is {build.engine}, no cascade", where=build.name)
    return Parts(_part(build, _STUDENT), _part(build, _TEACHER), float(build.options[_THRESHOLD]))


def _part(build: Build, role: str) -> Build:
    options = _under(role, build.options)
    return replace(
        build,
        name=f"{build.name}/{role}",
        engine=options.pop(_ENGINE),
        precision=options.pop(_PRECISION),
        files=_under(role, build.files),
        options=options,
    )


def _under(role: str, values: Mapping[str, str]) -> dict[str, str]:
    prefix = f"{role}/"
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
