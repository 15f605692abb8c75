"""What the job starts from, as entries of the ledger: files, values, and what was taken from a log.

Whatever comes here was read and checked before (``inputs``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headgate.config import EndpointConfig, source_digest
from headgate.objects import Kind, canonical, parse
from headgate.optimize.contents import SCHEMAS, TEXTS, WORKLOAD, numbers
from headgate.optimize.own_requests import Chosen, OwnRequests, learnt
from headgate.optimize.recorder import Recorder

__all__ = ["holds_texts", "register_declared", "register_file", "register_own_requests"]


def register_file(recorder: Recorder, role: str, path: Path, task: str, made_by: str | None) -> str:
    """The version of the endpoint's file ``role``; ``made_by`` is the run of its ``prepare``."""
    kind, schema = _form(role, task)
    version = recorder.store.put_file(path.resolve())
    recorder.register(role, version, kind=kind, schema=schema, made_by=made_by)
    return version


def register_own_requests(
    config: EndpointConfig,
    recorder: Recorder,
    versions: Mapping[str, str],
    excluded: Sequence[str],
) -> tuple[OwnRequests, str]:
    """The workload's requests as ``data.train``, and their version; recorded with who allowed it.

    ``excluded`` are digests of what judges: of a holdout no more than these is read.
    """
    permission = config.data_contracts["workload"].training
    assert permission is not None, "the file was checked"
    own = config.preprocess
    judging = recorder.store.put_bytes(canonical(excluded))
    roles = ("evaluate", "holdout", "calibrate")
    recorder.register(
        "workload.learnt/judging",
        judging,
        kind="dataset",
        schema="json [digest of an item]",
        lineage=tuple(dict.fromkeys(versions[role] for role in roles if role in versions)),
    )
    done = recorder.run(
        learnt,
        u={"workload": versions["workload"], "judging": judging},
        c={
            "task": config.task,
            "permission": permission,
            "preprocess": None
            if own is None
            else {"function": own, "source": source_digest(own, config.root)},
        },
        detail=f"allowed by {permission.allowed_by}",
    )
    version = done.outputs["train"]
    kind, schema = _form("train", config.task)
    recorder.register(
        "train",
        version,
        kind=kind,
        schema=schema,
        lineage=(versions["workload"], judging),
        made_by=done.entry,
    )
    chosen = parse(recorder.store.read(done.outputs["chosen"]))
    found = Chosen(**{**chosen, "places": tuple(chosen["places"])})
    return OwnRequests(permission, found, done.entry), version


def register_declared(
    config: EndpointConfig, recorder: Recorder, versions: Mapping[str, str], *, labelled: bool
) -> dict[str, str]:
    """Versions of what headgate.yaml says itself: prices, contracts, and contracts on data."""
    prices, contracts = config.prices.model_dump(), config.contracts_for(labelled=labelled)
    declared = {
        "prices": _register_value(
            recorder, "prices", prices, "json {device_second, ..., currency}"
        ),
        "contracts": _register_value(recorder, "contracts", contracts, "json [contract]"),
    }
    if config.data_contracts:
        declared["data_contracts"] = _register_data_contracts(config, recorder, versions)
    return declared


def _register_data_contracts(
    config: EndpointConfig, recorder: Recorder, versions: Mapping[str, str]
) -> str:
    """The contracts on data, each with the version of its reference; their version."""
    body: dict[str, object] = {}
    references: list[str] = []
    for role, promised in config.data_contracts.items():
        reference = promised.reference
        if reference is not None:
            version = versions.get(reference) or _register_reference(config, recorder, role)
            references.append(version)
            reference = version
        body[role] = {
            "as_of": promised.as_of,
            "reference": reference,
            "contracts": promised.contracts,
            "training": promised.training,
        }
    version = recorder.store.put_bytes(canonical(body))
    recorder.register(
        "data_contracts",
        version,
        kind="contracts",
        schema="json {role: {as_of, reference, contracts, training}}",
        lineage=tuple(dict.fromkeys(references)),
    )
    return version


def _register_reference(config: EndpointConfig, recorder: Recorder, role: str) -> str:
    """The file that ``role`` is compared with, in the same form; its version."""
    name = config.data_contracts[role].reference
    assert name is not None, "the caller looked"
    path = config.resolve(name)
    kind, schema = _form(role, config.task)
    numbers(schema, path)  # refused before the store absorbs it
    version = recorder.store.put_file(path)
    recorder.register(f"reference/{role}", version, kind=kind, schema=schema)
    return version


def _register_value(recorder: Recorder, role: Kind, value: object, schema: str) -> str:
    version = recorder.store.put_bytes(canonical(value))
    recorder.register(role, version, kind=role, schema=schema)
    return version


def _form(role: str, task: str) -> tuple[Kind, str]:
    """Kind and schema of a file of the endpoint."""
    if role in ("workload", "unique"):
        return "workload", WORKLOAD
    texts = role in ("train", "calibrate") and holds_texts(role, task)
    return "dataset", TEXTS if texts else SCHEMAS[task]


def holds_texts(role: str, task: str) -> bool:
    """Whether train or calibrate, the ``role``, has texts alone, and not rows as evaluate."""
    return task == "embed" or (task == "rerank" and role == "train")
