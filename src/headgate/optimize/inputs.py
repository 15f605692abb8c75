"""Everything that the job starts from, as registered artifacts: data, workloads, prices, contracts.

What is incomplete, malformed or overlapping is refused here, before anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headgate.config import (
    EndpointConfig,
    Item,
    LabelledSet,
    RetrievalSet,
    WorkloadLog,
    check_overlap,
    guarded,
    load_function,
    load_labelled,
    load_pairs,
    load_retrieval,
    load_texts,
    load_workload,
    source_digest,
)
from headgate.errors import ConfigError, InputError
from headgate.objects import Kind, canonical, parse
from headgate.optimize.accept import Acceptance
from headgate.optimize.contents import SCHEMAS, TEXTS, WORKLOAD, numbers
from headgate.optimize.own_requests import Chosen, OwnRequests, check_some_left, choose, digests
from headgate.optimize.own_requests import learnt as learnt_requests
from headgate.optimize.recorder import Call, Output, Recorder, scratch, transformation
from headgate.workload import Pair
from headgate.workload.arrivals import poisson_arrivals

__all__ = ["Inputs", "Split", "load_split", "register_inputs"]

Split = RetrievalSet | LabelledSet


@dataclass(frozen=True, slots=True)
class Inputs:
    """The loaded inputs and the artifact version of each."""

    evaluate: Split
    holdout: Split | None
    train: tuple[Item, ...]
    """As the model takes them: after the endpoint's own ``preprocess``."""
    calibrate: tuple[Item, ...]
    """The same."""
    labels: Mapping[str, tuple[float, ...]]
    """Of train and calibrate, one an item, where they have labels."""
    workload: WorkloadLog
    unique: WorkloadLog | None
    versions: Mapping[str, str]
    """evaluate, holdout, train, calibrate, workload, unique, prices, contracts and data_contracts
    -> version."""
    own_requests: OwnRequests | None = None
    """Where ``train`` are the workload's own."""

    @property
    def labelled(self) -> bool:
        return _labelled(self.evaluate)


@transformation("prepare")
def prepare(call: Call) -> Mapping[str, Output]:
    """Runs the endpoint's own ``prepare`` function; its files are the outputs."""
    call.progress(0.0, "preparing the input files")
    guarded(load_function(str(call.c["function"]), call.root))(call.work_dir)
    return {
        path.name: Output(path, "prepared", "as the endpoint's prepare function wrote it")
        for path in sorted(call.work_dir.iterdir())
        if path.is_file()
    }


@transformation("workload.draw")
def draw_workload(call: Call) -> Mapping[str, Output]:
    """Poisson arrivals at the stated rate, items drawn from the evaluation inputs."""
    split = load_split(str(call.c["task"]), call.path("evaluate"))
    items = split.inputs if isinstance(split, LabelledSet) else split.queries
    rng, n = np.random.default_rng(call.seed), int(call.c["requests"])
    at_s = poisson_arrivals(n, rate_per_s=float(call.c["rate_per_s"]), rng=rng)
    lines = [
        canonical({"at_s": at, **_asked(items[i])})
        for at, i in zip(at_s, rng.integers(0, len(items), n), strict=True)
    ]
    return {"workload": Output(b"\n".join(lines) + b"\n", "workload", WORKLOAD)}


def _asked(item: Item) -> dict[str, object]:
    """The keys of a workload's row."""
    if isinstance(item, Pair):
        return {"query": item.query, "text": item.text}
    return {"text" if isinstance(item, str) else "input": item}


def load_split(task: str, path: Path) -> Split:
    """An evaluation or holdout file of the endpoint's task."""
    if task == "embed":
        return load_retrieval(path)
    return load_pairs(path) if task == "rerank" else load_labelled(path)


def register_inputs(config: EndpointConfig, recorder: Recorder, acceptance: Acceptance) -> Inputs:
    """Loads and checks every input, and only then registers any.

    Raises ``InputError``, ``ConfigError`` and ``Refused``; the store is then as it was, but for
    what the endpoint's own ``prepare`` function wrote.
    """
    if config.workload.log is None and config.workload.requests < 2:
        raise ConfigError(
            "a rate needs two requests at least",
            where=f"{config.path}: workload.requests",
            fix="leave it out, or write how many to draw",
        )
    with scratch(recorder.store, recorder.endpoint) as prepared:
        made_by = _prepare(config, recorder, prepared)
        paths = {
            role: config.resolve(given, prepared) for role, given in _given_files(config).items()
        }
        evaluate = load_split(config.task, paths["evaluate"])
        holdout = load_split(config.task, paths["holdout"]) if "holdout" in paths else None
        learnt: dict[str, LabelledSet | tuple[str, ...]] = {
            role: _learnt_from(config.task, role, paths[role])
            for role in ("train", "calibrate")
            if role in paths
        }
        train, calibrate = (_inputs_of(learnt.get(role)) for role in ("train", "calibrate"))
        unique = _workload(paths["unique"]) if "unique" in paths else None
        logged = _workload(paths["workload"]) if "workload" in paths else None
        judging = {
            "evaluate": _items(evaluate),
            "holdout": _items(holdout) if holdout is not None else (),
            "calibrate": calibrate,
        }
        excluded: list[str] = []
        if config.data.learns_from_workload:
            assert logged is not None, "the file was checked"
            excluded = digests(judging.values(), acceptance.prepare)
            chosen = choose(logged.items, frozenset(excluded), acceptance.prepare)
            check_some_left(chosen, paths["workload"])
            train = tuple(logged.items[place] for place in chosen.places)
        splits = {role: items for role, items in {**judging, "train": train}.items() if items}
        check_overlap(splits, path=config.path)
        for role, split in (("evaluate", evaluate), ("holdout", holdout)):
            if split is not None:
                acceptance.check(paths[role], *_named(split))
            if isinstance(split, LabelledSet):
                acceptance.check_labels(paths[role], split)
        for role, log in (("workload", logged), ("unique", unique)):
            if log is not None:
                names = [f"request {i + 1}" for i in range(len(log.items))]
                acceptance.check(paths[role], log.items, names)
        for role, items in (("train", train), ("calibrate", calibrate)):
            names = [f"row {i + 1}" for i in range(len(items))]
            acceptance.check_learnable(paths.get(role, config.path), items, names)
            rows = learnt.get(role)
            if isinstance(rows, LabelledSet):
                acceptance.check_labels(paths[role], rows)
        if acceptance.preprocess is not None:  # two items may be one to the model
            seen = {role: _seen(acceptance, items) for role, items in splits.items()}
            check_overlap(seen, path=config.path, after=" after preprocess")
        versions = {
            role: _register_file(recorder, role, path, config.task, made_by)
            for role, path in paths.items()
        }
    own_requests = None
    if config.data.learns_from_workload:
        own_requests, versions["train"] = _learnt_requests(config, recorder, versions, excluded)
    if "workload" not in versions:
        drawn = recorder.run(
            draw_workload,
            u={"evaluate": versions["evaluate"]},
            c={
                "task": config.task,
                "rate_per_s": config.workload.rate_per_s,
                "requests": config.workload.requests,
            },
        )
        versions["workload"] = drawn.outputs["workload"]
    workload = logged or load_workload(recorder.store.path_of(versions["workload"]))
    versions["prices"] = _register_value(
        recorder, "prices", config.prices.model_dump(), "json {device_second, ..., currency}"
    )
    versions["contracts"] = _register_value(
        recorder,
        "contracts",
        config.contracts_for(labelled=_labelled(evaluate)),
        "json [contract]",
    )
    if config.data_contracts:
        versions["data_contracts"] = _register_data_contracts(config, recorder, versions)
    return Inputs(
        evaluate,
        holdout,
        acceptance.prepared(train),
        acceptance.prepared(calibrate),
        {
            role: split.labels
            for role, split in learnt.items()
            if isinstance(split, LabelledSet) and split.labels is not None
        },
        workload,
        unique,
        versions,
        own_requests,
    )


def _learnt_requests(
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
        learnt_requests,
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


def _seen(acceptance: Acceptance, items: Sequence[Item]) -> Sequence[Item]:
    """``items`` as the model sees them; a function of the user's may return lists."""
    return [
        item if isinstance(item, str | Pair) else np.asarray(item, dtype=np.float64)
        for item in acceptance.prepared(items)
    ]


def _prepare(config: EndpointConfig, recorder: Recorder, directory: Path) -> str | None:
    """Runs ``prepare`` and links its files into ``directory``; the run's ledger entry."""
    if config.prepare is None:
        return None
    version = source_digest(config.prepare, config.root)
    done = recorder.run(prepare, u={}, c={"function": config.prepare, "source": version})
    for name, content in done.outputs.items():
        (directory / name).symlink_to(recorder.store.path_of(content).absolute())
    return done.entry


def _given_files(config: EndpointConfig) -> dict[str, str]:
    logs = {"workload": config.workload.log, "unique": config.workload.unique}
    return config.data.given | {role: name for role, name in logs.items() if name is not None}


def _learnt_from(task: str, role: str, path: Path) -> LabelledSet | tuple[str, ...]:
    """Texts; of classifiers, predictors and what calibrates a cross-encoder rows as in evaluate."""
    if _holds_texts(role, task):
        return tuple(load_texts(path))
    split = load_split(task, path)
    assert isinstance(split, LabelledSet), "embed learns from texts"
    return split


def _inputs_of(split: LabelledSet | tuple[str, ...] | None) -> tuple[Item, ...]:
    return split.inputs if isinstance(split, LabelledSet) else split or ()


def _holds_texts(role: str, task: str) -> bool:
    return task == "embed" or (task == "rerank" and role == "train")


def _workload(path: Path) -> WorkloadLog:
    log = load_workload(path)
    if log.at_s[0] == log.at_s[-1]:
        raise InputError(
            "all requests come at one moment, so there is no rate",
            where=f"{path}: at_s",
            reason="no_rate",
            fix="write when each came, in seconds from the first, or give a rate_per_s instead",
        )
    return log


def _named(split: Split) -> tuple[Sequence[Item], Sequence[str]]:
    """All that a model is asked of a split, and what each is called there."""
    if isinstance(split, LabelledSet):
        return split.inputs, split.ids
    return (*split.queries, *split.passages), (*split.query_ids, *split.passage_ids)


def _items(split: Split) -> Sequence[Item]:
    if isinstance(split, LabelledSet):
        return split.inputs
    return (*split.queries, *split.passages) if split.relevant is not None else split.queries


def _labelled(split: Split) -> bool:
    labels = split.relevant if isinstance(split, RetrievalSet) else split.labels
    return labels is not None


def _form(role: str, task: str) -> tuple[Kind, str]:
    """Kind and schema of a file of the endpoint."""
    if role in ("workload", "unique"):
        return "workload", WORKLOAD
    texts = role in ("train", "calibrate") and _holds_texts(role, task)
    return "dataset", TEXTS if texts else SCHEMAS[task]


def _register_file(
    recorder: Recorder, role: str, path: Path, task: str, made_by: str | None
) -> str:
    kind, schema = _form(role, task)
    version = recorder.store.put_file(path.resolve())
    recorder.register(role, version, kind=kind, schema=schema, made_by=made_by)
    return version


def _register_value(recorder: Recorder, role: Kind, value: object, schema: str) -> str:
    version = recorder.store.put_bytes(canonical(value))
    recorder.register(role, version, kind=role, schema=schema)
    return version


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
