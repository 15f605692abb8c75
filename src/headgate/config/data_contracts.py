"""What is promised of data: how old it may be, and how far it may lie from a reference.

Contracts like any other, each with a why, an action on breach, who is told, and what returns. The
gate does not judge them; ``headgate.optimize.audit`` does, before anything is learnt from them or
promoted.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate.config.contracts import MetricKind, contract_of
from headgate.config.document import Document
from headgate.config.schema import DataPromise, EndpointFile, nearest
from headgate.errors import ConfigError, InputError
from headgate.objects import Axis, Bound, Contract, Direction, Owner
from headgate.release.data import LEAST_ROWS

__all__ = ["DATA_ROLES", "DataContracts", "TrainingPermission", "data_contracts_of"]

DATA_ROLES = ("evaluate", "holdout", "train", "calibrate", "workload", "unique")

_KINDS = {
    "age": MetricKind(Axis.QUALITY, "s", Direction.LOWER, ("d",)),
    "drift": MetricKind(Axis.QUALITY, "fraction", Direction.LOWER),
}


@dataclass(frozen=True, slots=True)
class TrainingPermission:
    """That the workload's own requests may be learnt from: who allowed it, and why."""

    allowed_by: str
    why: str


@dataclass(frozen=True, slots=True)
class DataContracts:
    """What is promised of one file of the data or the workload."""

    as_of: str | None
    """The day that its content is from, ``2026-11-01``; None where nobody says."""
    reference: str | None
    """What ``drift`` is measured from: another role, or a file beside headgate.yaml."""
    contracts: tuple[Contract, ...]
    """On ``age`` (seconds) and on ``drift`` (0 to 1)."""
    training: TrainingPermission | None = None
    """Of the workload: None where nobody allowed to learn from it."""


def data_contracts_of(
    file: EndpointFile, document: Document, root: Path, owner: Owner
) -> Mapping[str, DataContracts]:
    """Role -> its contracts. Raises ``ConfigError`` or ``InputError``, naming the key."""
    given = {role for role in DATA_ROLES if _names(file, role)}
    found: dict[str, DataContracts] = {}
    for role, promise in file.data_contracts.items():
        loc = ("data_contracts", role)
        if role not in given:
            raise ConfigError(
                f"there is no data named {role!r} here",
                where=document.where(loc),
                reason="unknown_key",
                fix=nearest(role, sorted(given)),
            )
        found[role] = DataContracts(
            as_of=_day(promise, document.where((*loc, "as_of"))),
            reference=_reference(promise, given - {role}, root, document.where(loc)),
            contracts=tuple(_contracts(promise, document, loc, owner)),
            training=_permission(promise, role, document.where((*loc, "training"))),
        )
    if file.data.learns_from_workload:
        _check_learns_from_workload(file, found, document.where(("data", "train")))
    return found


def _permission(promise: DataPromise, role: str, where: str) -> TrainingPermission | None:
    if promise.training is None:
        return None
    if role != "workload":
        raise ConfigError(
            f"says who allowed to learn from {role}",
            where=where,
            reason="wrong_value",
            fix="remove it: only callers' own requests ask for a permission, under workload",
        )
    return TrainingPermission(promise.training.allowed_by, promise.training.why)


def _check_learns_from_workload(
    file: EndpointFile, found: Mapping[str, DataContracts], where: str
) -> None:
    if file.task not in ("embed", "classify"):
        raise ConfigError(
            f"no student is made of a model for {file.task}",
            where=where,
            reason="wrong_value",
            fix="remove it",
        )
    if not _names(file, "workload"):
        raise ConfigError(
            "there is no log of requests to learn from, and what a rate draws is what judges",
            where=where,
            reason="no_log",
            fix="write `log: workload.jsonl` under workload, or name a file here",
        )
    if "workload" not in found or found["workload"].training is None:
        raise ConfigError(
            "nobody has allowed to learn from what callers ask",
            where=where,
            reason="not_allowed",
            fix="write who has, and why, or name a file here:\n"
            "  data_contracts: {workload: {training: {allowed_by: ..., why: ...}}}",
        )


def _names(file: EndpointFile, role: str) -> bool:
    if role in ("workload", "unique"):
        log = file.workload is not None and (
            file.workload.unique if role == "unique" else file.workload.log
        )
        return bool(log)
    return getattr(file.data, role) is not None


def _contracts(
    promise: DataPromise, document: Document, loc: tuple[str, str], owner: Owner
) -> list[Contract]:
    contracts: list[Contract] = []
    for metric, kind in _KINDS.items():
        spec = getattr(promise, metric)
        if spec is None:
            continue
        where = document.where((*loc, metric))
        if metric == "drift":
            spec = spec.model_copy(update={"min_n": spec.min_n or LEAST_ROWS})
        try:
            contract = contract_of(metric, spec, kind, owner)
        except ConfigError as error:
            raise ConfigError(error.what, where=where, reason=error.reason, fix=error.fix) from None
        if contract.bound is not Bound.AT_MOST:
            raise ConfigError(
                f"{contract.bound.value} does not fit data, which has no current release",
                where=where,
                reason="wrong_bound",
                fix="write at_most",
            )
        if contract.limit == 0:
            raise ConfigError(
                "can never be kept, whatever is measured: its limit leaves no room",
                where=where,
                reason="never_decides",
                fix="write how much is too much, such as 30d of age or 0.2 of drift",
            )
        contracts.append(contract)
    if not contracts and promise.training is None:
        raise ConfigError(
            "promises nothing",
            where=document.where(loc),
            reason="contract_without_bound",
            fix="write age or drift, each with at_most, why and on_breach",
        )
    return contracts


def _day(promise: DataPromise, where: str) -> str | None:
    if promise.as_of is None:
        return None
    try:
        return datetime.date.fromisoformat(promise.as_of).isoformat()
    except ValueError:
        raise ConfigError(
            f"{promise.as_of!r} is no day",
            where=where,
            reason="wrong_value",
            fix="write the day that the data is from, such as 2026-11-01",
        ) from None


def _reference(promise: DataPromise, others: set[str], root: Path, where: str) -> str | None:
    if promise.drift is None:
        return None
    reference = promise.reference
    if reference is None:
        raise ConfigError(
            "drift has no reference to be measured from",
            where=where,
            reason="contract_without_reference",
            fix=f"add `reference:`, a file or one of {', '.join(sorted(others))}",
        )
    if reference not in others and not (root / reference).is_file():
        directory = (root / reference).is_dir()
        raise InputError(
            f"{reference!r} is a directory, and a file is wanted, or other data"
            if directory
            else f"there is no file {reference!r}, and no other data of that name",
            where=where,
            reason="wrong_file" if directory else "file_missing",
            fix=f"name a file beside headgate.yaml, or one of {', '.join(sorted(others))}",
        )
    return reference
