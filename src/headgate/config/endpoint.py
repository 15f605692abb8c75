"""An endpoint as its headgate.yaml describes it: checked, complete, with paths that exist.

What is missing has a stated default or is a *gap*: a gap never stops a first result, and always
stops a promotion. Knows nothing of what the files contain; ``headgate.config.data`` reads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from headgate.config.contracts import (
    MetricKind,
    axes_without_contract,
    check_classes,
    check_decidable,
    check_safety,
    contract_of,
    default_contracts,
    live_contract_of,
    metric_kind,
)
from headgate.config.data_contracts import DataContracts, data_contracts_of
from headgate.config.document import Document, read_document
from headgate.config.meaning import (
    PREPARED,
    VARIABLE,
    check_files,
    check_format,
    check_meaning,
    check_variables,
)
from headgate.config.messages import as_config_error
from headgate.config.schema import (
    ContractSpec,
    DataFiles,
    EndpointFile,
    MetricSpec,
    ModelSource,
    Prices,
    Replay,
    Search,
    WorkloadSource,
)
from headgate.errors import ConfigError, InputError
from headgate.objects import Axis, Bound, Contract, Direction, Owner, digest_bytes
from headgate.planning import tried_by_default
from headgate.release import LIVE_METRICS

__all__ = ["DEFAULT_WORKLOAD", "EndpointConfig", "Gap", "expand_environment", "load_config"]

DEFAULT_WORKLOAD = WorkloadSource(rate_per_s=20.0)
"""Where a file names none: Poisson arrivals, items drawn from the evaluation data."""


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
    """``embed``, ``classify``, ``predict`` or ``rerank``."""
    model: ModelSource
    prepare: str | None
    data: DataFiles
    holdout_error_budget: float
    """The chance that may be taken of any certificate on one holdout being wrong."""
    workload: WorkloadSource
    prices: Prices
    contracts: tuple[Contract, ...]
    data_contracts: Mapping[str, DataContracts]
    """By role: evaluate, holdout, train, calibrate, workload, unique."""
    live: tuple[Contract, ...]
    """Declared of live traffic; see ``watched``."""
    retrain: str | None
    metrics: Mapping[str, MetricSpec]
    safety: Mapping[str, MetricSpec]
    preprocess: str | None
    postprocess: str | None
    candidates: tuple[str, ...]
    replay: Replay
    search: Search
    seed: int
    gaps: tuple[Gap, ...]
    """What stops a promotion; a first result is given all the same."""

    def contracts_for(self, *, labelled: bool) -> tuple[Contract, ...]:
        """What is declared or, where nothing is, the stated defaults."""
        if self.contracts:
            return self.contracts
        return default_contracts(self.task, labelled=labelled, owner=self.owner)

    @property
    def watched(self) -> tuple[Contract, ...]:
        """What is watched while serving: ``live``, and the absolute promises of ``contracts`` on
        metrics that can be seen live and that ``live`` says nothing of."""
        declared = {contract.metric for contract in self.live}
        return self.live + tuple(
            c
            for c in self.contracts
            if c.metric in LIVE_METRICS and c.metric not in declared and c.bound is Bound.AT_MOST
        )

    def resolve(self, name: str, prepared_dir: Path | None = None) -> Path:
        """The file that ``name`` stands for; ``prepared:NAME`` lies in ``prepared_dir``.

        Raises ``InputError`` (reason ``file_missing``) where it does not exist.
        """
        if not name.startswith(PREPARED):
            found = self.root / name
            if not found.exists():
                raise InputError(
                    f"there is no file {name!r}", where=str(self.path), reason="file_missing"
                )
            return found
        bare = name.removeprefix(PREPARED)
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
    check_format(document)
    check_variables(document, (), document.value)
    try:
        file = EndpointFile.model_validate(document.value)
    except ValidationError as error:
        raise as_config_error(error, document) from None
    root = path.parent.absolute()
    check_meaning(file, document)
    check_files(file, document, root)
    owner = Owner(file.owner.team, file.owner.escalate)
    own = _own_kinds(file)

    def decidable(metric: str, spec: ContractSpec) -> Contract:
        kind = metric_kind(metric, file.task, own)
        contract = contract_of(metric, spec, kind, owner)
        check_safety(contract)
        check_decidable(contract, kind, file.replay.blocks, *_range_of(metric, file))
        return contract

    contracts = _contracts("contracts", file.contracts, document, decidable)
    live = _contracts(
        "live", file.live, document, lambda metric, spec: live_contract_of(metric, spec, owner)
    )
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
        holdout_error_budget=file.holdout_error_budget,
        workload=file.workload or DEFAULT_WORKLOAD,
        prices=file.prices,
        contracts=contracts,
        data_contracts=data_contracts_of(file, document, root, owner),
        live=live,
        retrain=file.retrain,
        metrics=file.metrics,
        safety=file.safety,
        preprocess=file.preprocess,
        postprocess=file.postprocess,
        candidates=file.candidates
        if "candidates" in file.model_fields_set
        else tried_by_default(file.task),
        replay=file.replay,
        search=file.search,
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

    return VARIABLE.sub(value, text)


def _own_kinds(file: EndpointFile) -> dict[str, MetricKind]:
    axes = {"metrics": Axis.QUALITY, "safety": Axis.SAFETY}
    return {
        name: MetricKind(axis, "number", Direction(spec.direction))
        for kind, axis in axes.items()
        for name, spec in getattr(file, kind).items()
    }


def _contracts(
    section: str,
    declared: Mapping[str, Sequence[ContractSpec]],
    document: Document,
    contract: Callable[[str, ContractSpec], Contract],
) -> tuple[Contract, ...]:
    contracts: list[Contract] = []
    for metric, specs in declared.items():
        for i, spec in enumerate(specs):
            try:
                made = contract(metric, spec)
                check_classes(metric, made.allowed)
            except ConfigError as error:
                raise ConfigError(
                    error.what,
                    where=document.where((section, metric, i)),
                    reason=error.reason,
                    fix=error.fix,
                ) from None
            contracts.append(made)
    return tuple(contracts)


def _range_of(metric: str, file: EndpointFile) -> tuple[tuple[float, float], str]:
    """Of one item: what the endpoint's own metric declares, else a fraction; and where that is, or
    is not, written."""
    name = metric.removeprefix("worst_slice_")
    for section, own in (("metrics", file.metrics), ("safety", file.safety)):
        if name in own:
            spec = own[name]
            key = f"{section}.{name}.range"
            written = "range" in spec.model_fields_set
            return spec.range, key if written else f"what is taken where {key} is left out"
    return (0.0, 1.0), ""


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
    undeclared = [name for name, value in file.model.declared.items() if value is None]
    if file.model.url is not None and undeclared:
        gaps.append(
            Gap(
                "model.url",
                f"what answers there is unauditable: {', '.join(undeclared)} not declared",
                f"write {', '.join(undeclared)} under model, as the server's owner says they are",
            )
        )
    gaps += [
        Gap("owner.escalate", f"the environment has no {name}", f"export {name}=...")
        for name in VARIABLE.findall(file.owner.escalate)
        if not os.environ.get(name)
    ]
    return tuple(gaps)
