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

__all__ = ["DATA_ROLES", "DataContracts", "data_contracts_of"]

DATA_ROLES = ("evaluate", "holdout", "train", "calibrate", "workload", "unique")

_KINDS = {
    "age": MetricKind(Axis.QUALITY, "s", Direction.LOWER),
    "drift": MetricKind(Axis.QUALITY, "fraction", Direction.LOWER),
}


@dataclass(frozen=True, slots=True)
class DataContracts:
    """What is promised of one file of the data or the workload."""

    as_of: str | None
    """The day that its content is from, ``2026-11-01``; None where nobody says."""
    reference: str | None
    """What ``drift`` is measured from: another role, or a file beside headgate.yaml."""
    contracts: tuple[Contract, ...]
    """On ``age`` (seconds) and on ``drift`` (0 to 1)."""


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
        )
    return found


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
        contracts.append(contract)
    if not contracts:
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
        raise InputError(
            f"there is no file {reference!r}, and no other data of that name",
            where=where,
            reason="file_missing",
            fix=f"name a file beside headgate.yaml, or one of {', '.join(sorted(others))}",
        )
    return reference
