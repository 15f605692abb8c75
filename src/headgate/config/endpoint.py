"""An endpoint as its headgate.yaml describes it: checked, complete, with paths that exist.

What is missing has a stated default or is a *gap*: a gap never stops a first result, and always
stops a promotion. Knows nothing of what the files contain; ``headgate.config.data`` reads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from headgate.config.contracts import (
    MetricKind,
    axes_without_contract,
    check_classes,
    contract_of,
    default_contracts,
    metric_kind,
)
from headgate.config.document import Document, KeyPath, read_document
from headgate.config.messages import as_config_error
from headgate.config.schema import (
    FORMAT,
    DataFiles,
    EndpointFile,
    MetricSpec,
    ModelSource,
    Prices,
    Replay,
    WorkloadSource,
)
from headgate.errors import ConfigError, InputError
from headgate.objects import Axis, Contract, Direction, Owner, digest_bytes

__all__ = ["DEFAULT_WORKLOAD", "EndpointConfig", "Gap", "expand_environment", "load_config"]

DEFAULT_WORKLOAD = WorkloadSource(rate_per_s=20.0)
"""Where a file names none: Poisson arrivals, items drawn from the evaluation data."""

_PREPARED = "prepared:"
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Gap:
    """What is missing for a promotion, and what to write."""

    key: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One endpoint. ``contracts`` are those declared; see ``contracts_for``."""

    path: Path
    """headgate.yaml, as it was named."""
    root: Path
    """Its directory, absolute: what every other path is relative to."""
    source_digest: str
    endpoint: str
    owner: Owner
    """``escalate`` as written: ``expand_environment`` resolves it when it is used."""
    task: str
    """``embed``, ``classify`` or ``predict``."""
    model: ModelSource
    prepare: str | None
    data: DataFiles
    workload: WorkloadSource
    prices: Prices
    contracts: tuple[Contract, ...]
    metrics: Mapping[str, MetricSpec]
    safety: Mapping[str, MetricSpec]
    preprocess: str | None
    postprocess: str | None
    candidates: tuple[str, ...]
    replay: Replay
    seed: int
    gaps: tuple[Gap, ...]
    """What stops a promotion; a first result is given all the same."""

    def contracts_for(self, *, labelled: bool) -> tuple[Contract, ...]:
        """What is declared or, where nothing is, the stated defaults."""
        if self.contracts:
            return self.contracts
        return default_contracts(self.task, labelled=labelled, owner=self.owner)

    def resolve(self, name: str, prepared_dir: Path | None = None) -> Path:
        """The file that ``name`` stands for; ``prepared:NAME`` lies in ``prepared_dir``.

        Raises ``InputError`` (reason ``file_missing``) where it does not exist.
        """
        if not name.startswith(_PREPARED):
            found = self.root / name
            if not found.exists():
                raise InputError(
                    f"there is no file {name!r}", where=str(self.path), reason="file_missing"
                )
            return found
        bare = name.removeprefix(_PREPARED)
        assert prepared_dir is not None, "prepared files need the directory that holds them"
        found = prepared_dir / bare
        if not found.is_file():
            wrote = sorted(p.name for p in prepared_dir.iterdir()) if prepared_dir.is_dir() else []
            raise InputError(
                f"{self.prepare} wrote no file {bare!r}",
                where=str(self.path),
                reason="file_missing",
                fix=f"it wrote: {', '.join(wrote) or 'nothing'}",
            )
        return found


def load_config(path: Path) -> EndpointConfig:
    """Reads and checks a headgate.yaml, or the one in a directory.

    Raises ``ConfigError`` and ``InputError``, each naming the file, the line, the key, what is
    wrong with it and what to write instead. Runs no user code.
    """
    if path.is_dir():
        path = path / "headgate.yaml"
    document = read_document(path)
    if not isinstance(document.value, dict):
        raise ConfigError(
            "holds no keys",
            where=str(path),
            reason="not_yaml",
            fix="`headgate init DIR` writes one to start from",
        )
    _check_format(document)
    _check_variables(document, (), document.value)
    try:
        file = EndpointFile.model_validate(document.value)
    except ValidationError as error:
        raise as_config_error(error, document) from None
    root = path.parent.absolute()
    _check_meaning(file, document)
    _check_files(file, document, root)
    owner = Owner(file.owner.team, file.owner.escalate)
    contracts = _contracts(file, document, owner)
    return EndpointConfig(
        path=path,
        root=root,
        source_digest=digest_bytes(path.read_bytes()),
        endpoint=file.endpoint,
        owner=owner,
        task=file.task,
        model=file.model,
        prepare=file.prepare,
        data=file.data,
        workload=file.workload or DEFAULT_WORKLOAD,
        prices=file.prices,
        contracts=contracts,
        metrics=file.metrics,
        safety=file.safety,
        preprocess=file.preprocess,
        postprocess=file.postprocess,
        candidates=file.candidates,
        replay=file.replay,
        seed=file.seed,
        gaps=_gaps(file, contracts),
    )


def expand_environment(text: str) -> str:
    """``text`` with every ``${NAME}`` from the environment. Raises ``ConfigError``."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise ConfigError(
                f"the environment has no {match[1]}",
                where="owner.escalate",
                reason="environment",
                fix=f"export {match[1]}=...",
            )
        return found

    return _VARIABLE.sub(value, text)


def _check_format(document: Document) -> None:
    given = document.value.get("format", FORMAT)
    if isinstance(given, int) and given > FORMAT:
        raise ConfigError(
            f"is written in format {given}; this Headgate reads up to {FORMAT}",
            where=document.where(("format",)),
            reason="newer_format",
            fix="upgrade headgate: pip install --upgrade headgate",
        )


def _check_variables(document: Document, loc: KeyPath, value: Any) -> None:
    """``${NAME}`` is read under ``escalate`` alone; elsewhere it would be taken literally."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_variables(document, (*loc, key), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _check_variables(document, (*loc, i), inner)
    elif isinstance(value, str) and _VARIABLE.search(value) and loc[-1] != "escalate":
        raise ConfigError(
            f"{value!r} is not read from the environment here",
            where=document.where(loc),
            reason="environment",
            fix="write the value itself; ${NAME} works under escalate only",
        )


def _check_meaning(file: EndpointFile, document: Document) -> None:
    """What the shape of the file cannot say."""

    def wrong(loc: KeyPath, what: str, fix: str, reason: str = "wrong_value") -> ConfigError:
        return ConfigError(what, where=document.where(loc), reason=reason, fix=fix)

    if file.task in ("rerank", "generate"):
        raise wrong(
            ("task",),
            f"{file.task!r} is not there yet",
            "write embed, classify or predict",
            "not_yet",
        )
    sources = file.model.kinds
    if len(sources) != 1:
        raise wrong(
            ("model",),
            f"names {len(sources)} sources: {', '.join(sources)}" if sources else "has no source",
            "give exactly one of onnx, path, package, sklearn",
        )
    if file.task == "embed" and sources == ("onnx",) and file.model.tokenizer is None:
        raise wrong(
            ("model", "tokenizer"),
            "is missing: an embedder takes text",
            "write, for example, `tokenizer: tokenizer.json`",
            "missing_key",
        )
    if file.workload is not None:
        _check_workload(file.workload, wrong)
    for kind in ("metrics", "safety"):
        for name, spec in getattr(file, kind).items():
            if spec.range[0] >= spec.range[1]:
                raise wrong((kind, name, "range"), "is empty", "write [lowest, highest]")
            _check_new_name(kind, name, file, wrong)


def _check_workload(workload: WorkloadSource, wrong: Any) -> None:
    if (workload.log is None) == (workload.rate_per_s is None):
        raise wrong(
            ("workload",),
            "wants either a log or a rate",
            "write `log: workload.jsonl` or `rate_per_s: 20`",
        )
    if workload.unique is not None and workload.log is None:
        raise wrong(("workload", "unique"), "stands beside no log", "add `log: workload.jsonl`")


def _check_new_name(kind: str, name: str, file: EndpointFile, wrong: Any) -> None:
    if kind == "safety" and name in file.metrics:
        raise wrong((kind, name), "is also under metrics", "give each metric one name")
    try:
        metric_kind(name, file.task, {})
    except ConfigError:
        return
    raise wrong((kind, name), "is the name of a metric of Headgate's own", "choose another name")


def _files(file: EndpointFile) -> dict[KeyPath, str]:
    """Every key that names a file, with the name."""
    sections: dict[str, tuple[str, ...]] = {
        "model": ("onnx", "path", "tokenizer"),
        "data": tuple(DataFiles.model_fields),
        "workload": ("log", "unique"),
    }
    return {
        (section, key): name
        for section, keys in sections.items()
        for key in keys
        if (name := getattr(getattr(file, section), key, None)) is not None
    }


def _check_files(file: EndpointFile, document: Document, root: Path) -> None:
    for loc, name in _files(file).items():
        where = document.where(loc)
        if name.startswith(_PREPARED):
            bare = name.removeprefix(_PREPARED)
            if file.prepare is None:
                raise ConfigError(
                    f"{name!r} is written by no one",
                    where=where,
                    reason="not_prepared",
                    fix="add `prepare: module:function`, which writes it, or name a file",
                )
            if not bare or Path(bare).name != bare or bare in (".", ".."):
                raise ConfigError(
                    f"{name!r} is not a file name",
                    where=where,
                    reason="wrong_value",
                    fix="write prepared:NAME, without directories",
                )
            continue
        directory = loc == ("model", "path")
        if not ((root / name).is_dir() if directory else (root / name).is_file()):
            raise InputError(
                f"there is no {'directory' if directory else 'file'} {name!r}",
                where=where,
                reason="file_missing",
                fix=f"paths are relative to {document.path.parent}/; correct the path or add it",
            )


def _own_kinds(file: EndpointFile) -> dict[str, MetricKind]:
    axes = {"metrics": Axis.QUALITY, "safety": Axis.SAFETY}
    return {
        name: MetricKind(axis, "number", Direction(spec.direction))
        for kind, axis in axes.items()
        for name, spec in getattr(file, kind).items()
    }


def _contracts(file: EndpointFile, document: Document, owner: Owner) -> tuple[Contract, ...]:
    own = _own_kinds(file)
    contracts: list[Contract] = []
    for metric, specs in file.contracts.items():
        for i, spec in enumerate(specs):
            try:
                contract = contract_of(metric, spec, metric_kind(metric, file.task, own), owner)
                check_classes(metric, contract.allowed)
            except ConfigError as error:
                raise ConfigError(
                    error.what,
                    where=document.where(("contracts", metric, i)),
                    reason=error.reason,
                    fix=error.fix,
                ) from None
            contracts.append(contract)
    return tuple(contracts)


def _gaps(file: EndpointFile, contracts: tuple[Contract, ...]) -> tuple[Gap, ...]:
    gaps: list[Gap] = []
    if not contracts:
        gaps.append(
            Gap(
                "contracts",
                "none is declared; stated defaults were used",
                "write a contract on quality, safety, latency and cost, each with its why",
            )
        )
    else:
        gaps += [
            Gap(
                "contracts",
                f"none is on {axis.value}",
                f"write a contract on the {axis.value} axis",
            )
            for axis in axes_without_contract(contracts)
        ]
    if "device_second" not in file.prices.model_fields_set and any(
        c.metric.startswith("cost_") for c in contracts
    ):
        gaps.append(
            Gap(
                "prices.device_second",
                "is not given and counted as 0, so a contract on cost decides nothing",
                "write the price of one second of your machine",
            )
        )
    if file.workload is None:
        gaps.append(
            Gap(
                "workload",
                f"is not given; {DEFAULT_WORKLOAD.rate_per_s:g} requests per second were assumed",
                "write `log: workload.jsonl` or `rate_per_s: 20`",
            )
        )
    gaps += [
        Gap("owner.escalate", f"the environment has no {name}", f"export {name}=...")
        for name in _VARIABLE.findall(file.owner.escalate)
        if not os.environ.get(name)
    ]
    return tuple(gaps)
