"""Pydantic's findings as one clear message: where, what, and what to write instead.

One problem at a time: a misspelt key also makes another one missing, so unknown keys come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from headgate.config.document import Document, KeyPath
from headgate.config.schema import (
    ContractSpec,
    DataFiles,
    DataPromise,
    EndpointFile,
    MetricSpec,
    ModelSource,
    OwnerSpec,
    Prices,
    Replay,
    Search,
    WorkloadSource,
    meant,
    nearest,
)
from headgate.errors import ConfigError, HeadgateError

__all__ = ["as_config_error", "said_of"]

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "owner": OwnerSpec,
    "model": ModelSource,
    "data": DataFiles,
    "workload": WorkloadSource,
    "prices": Prices,
    "contracts": ContractSpec,
    "data_contracts": DataPromise,
    "live": ContractSpec,
    "metrics": MetricSpec,
    "safety": MetricSpec,
    "replay": Replay,
    "search": Search,
}

_WANTED: Mapping[str, str] = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "model": "keys and values",
    "dict": "keys and values",
    "tuple": "a list",
    "list": "a list",
}


def as_config_error(error: ValidationError, document: Document) -> ConfigError:
    """The first problem of ``error``, unknown keys before all else."""
    problems = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    problem = problems[0]
    loc: KeyPath = tuple(problem["loc"])
    kind, given = problem["type"], problem["input"]
    context: Mapping[str, Any] = problem.get("ctx", {})
    where = document.where(loc)
    section, field = _field_of(loc)

    if kind == "extra_forbidden":
        return ConfigError(
            f"there is no key {str(loc[-1])!r} here",
            where=where,
            reason="unknown_key",
            fix=nearest(str(loc[-1]), list(section.model_fields)),
        )
    if kind == "missing":
        return ConfigError(
            "is missing", where=where, reason="missing_key", fix=_example(loc, field)
        )
    cause = context.get("error")
    if isinstance(cause, HeadgateError):
        return ConfigError(cause.what, where=where, reason=cause.reason, fix=cause.fix)
    if given is None:
        return ConfigError(
            "has no value", where=where, reason="wrong_value", fix=_example(loc, field)
        )
    if kind == "literal_error":
        allowed = [w.strip("' ") for w in context["expected"].replace(" or ", ",").split(",")]
        return ConfigError(
            f"{given!r} is not one of {', '.join(allowed)}",
            where=where,
            reason="wrong_value",
            fix=meant(str(given), allowed) or "write one of them",
        )
    return ConfigError(
        said_of(problem), where=where, reason="wrong_value", fix=_example(loc, field)
    )


def said_of(problem: ErrorDetails) -> str:
    """What is wrong with a value.

    >>> from pydantic import TypeAdapter
    >>> try:
    ...     TypeAdapter(int).validate_python("two")
    ... except ValidationError as error:
    ...     said_of(error.errors()[0])
    "'two' is not a whole number"
    """
    kind, given = problem["type"], problem["input"]
    context: Mapping[str, Any] = problem.get("ctx", {})
    if kind in ("greater_than_equal", "greater_than", "less_than", "less_than_equal"):
        limit = next(context[k] for k in ("ge", "gt", "lt", "le") if k in context)
        relation = {
            "greater_than_equal": f"{limit:g} or more",
            "greater_than": f"more than {limit:g}",
            "less_than": f"less than {limit:g}",
            "less_than_equal": f"{limit:g} or less",
        }[kind]
        return f"{given} is out of range: it must be {relation}"
    if kind in ("string_too_short", "too_short"):
        return "is empty"
    wanted = _WANTED.get(kind.split("_")[0], "another value")
    return f"{given!r} is not {wanted}"


def _field_of(loc: KeyPath) -> tuple[type[BaseModel], FieldInfo | None]:
    """The section that ``loc`` lies in, and the field that it names."""
    section: type[BaseModel] = EndpointFile
    if len(loc) > 1:
        section = _SECTIONS.get(str(loc[0]), EndpointFile)
    if section is DataPromise and len(loc) > 3:  # one of its contracts
        section = ContractSpec
    names = [str(part) for part in loc if str(part) in section.model_fields]
    if section is EndpointFile:
        names = [str(loc[0])] if loc and str(loc[0]) in EndpointFile.model_fields else []
    return section, section.model_fields[names[-1]] if names else None


def _example(loc: KeyPath, field: FieldInfo | None) -> str | None:
    if field is None:
        return None
    key = next((str(p) for p in reversed(loc) if isinstance(p, str) and p not in _TYPES), "")
    text = field.description or ""
    if field.examples:
        return f"write, for example, `{key}: {field.examples[0]}` ({text.rstrip('.')})"
    return text or None


_TYPES = frozenset({"float", "str"})
"""What pydantic appends to the path of a value of two types."""
