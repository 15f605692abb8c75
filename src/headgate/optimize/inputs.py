"""Everything that the job starts from, as registered artifacts: data, workloads, prices, contracts.

What is incomplete, malformed or overlapping is refused here, before anything is measured; what
shows without the model, before that is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    needs_labels,
    source_digest,
)
from headgate.errors import ConfigError, InputError
from headgate.objects import Contract, canonical
from headgate.optimize.accept import Acceptance
from headgate.optimize.contents import WORKLOAD
from headgate.optimize.own_requests import OwnRequests, check_some_left, choose, digests
from headgate.optimize.recorder import Call, Output, Recorder, scratch, transformation
from headgate.optimize.registering import (
    holds_texts,
    register_declared,
    register_file,
    register_own_requests,
)
from headgate.workload import Pair
from headgate.workload.arrivals import poisson_arrivals

__all__ = [
    "Given",
    "Inputs",
    "Split",
    "load_split",
    "read_inputs",
    "refuse_unlabelled",
    "register_inputs",
]

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
        return self.evaluate.labelled


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


@contextlib.contextmanager
def read_inputs(config: EndpointConfig, recorder: Recorder) -> Iterator[Given]:
    """Every input as it is in its file; what ``prepare`` wrote is there until this ends.

    Raises ``InputError`` and ``ConfigError`` for what is wrong whatever the model is; the store is
    then as it was, but for what the endpoint's own ``prepare`` function wrote.
    """
    if config.workload.log is None and config.workload.requests < 2:
        raise ConfigError(
            "a rate needs two requests at least",
            where=f"{config.path}: workload.requests",
            fix="leave it out, or write how many to draw",
        )
    with scratch(recorder.store, recorder.endpoint) as prepared:
        given = _read(config, prepared, _prepare(config, recorder, prepared))
        _refuse_unread_labels(config, given)
        _refuse_undecidable(config, given)
        check_overlap(given.splits, path=config.path, names=given.names)
        yield given


def register_inputs(
    config: EndpointConfig, recorder: Recorder, given: Given, acceptance: Acceptance
) -> Inputs:
    """Checks that the model takes every input, and only then registers any.

    Raises ``InputError`` and ``ConfigError``; the store is then as it was.
    """
    excluded = list[str]()
    if config.data.learns_from_workload:
        given, excluded = _learning_from_requests(given, acceptance)
    _check(config, given, acceptance)
    versions = {
        role: register_file(recorder, role, path, config.task, given.made_by)
        for role, path in given.paths.items()
    }
    own_requests = None
    if config.data.learns_from_workload:
        own_requests, versions["train"] = register_own_requests(
            config, recorder, versions, excluded
        )
        # The store's copy of a log that is being written may hold more than was read here.
        taken = _learnt_from(config.task, "train", recorder.store.path_of(versions["train"]))
        given = replace(given, train=_inputs_of(taken))
    workload = given.logs.get("workload")
    if workload is None:
        versions["workload"] = _drawn_workload(config, recorder, versions["evaluate"])
        workload = load_workload(recorder.store.path_of(versions["workload"]))
    versions |= register_declared(config, recorder, versions, labelled=given.evaluate.labelled)
    return Inputs(
        given.evaluate,
        given.holdout,
        acceptance.prepared(given.train),
        acceptance.prepared(given.calibrate),
        given.labels,
        workload,
        given.logs.get("unique"),
        versions,
        own_requests,
    )


@dataclass(frozen=True, slots=True)
class Given:
    """What the endpoint's files hold."""

    paths: Mapping[str, Path]
    made_by: str | None
    """The run that ``prepare`` wrote some of them in."""
    evaluate: Split
    holdout: Split | None
    learnt: Mapping[str, LabelledSet | tuple[str, ...]]
    """Of the files under train and calibrate."""
    train: tuple[Item, ...]
    calibrate: tuple[Item, ...]
    logs: Mapping[str, WorkloadLog]
    """Of workload and unique."""

    @property
    def judging(self) -> Mapping[str, Sequence[Item]]:
        """Split -> items that nothing may learn from."""
        holdout = () if self.holdout is None else _items(self.holdout)
        return {
            "evaluate": _items(self.evaluate),
            "holdout": holdout,
            "calibrate": self.calibrate,
        }

    @property
    def splits(self) -> Mapping[str, Sequence[Item]]:
        """All that must not overlap."""
        every = {**self.judging, "train": self.train}
        return {role: items for role, items in every.items() if items}

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """What the items of each of ``splits`` are called: by their ids, or their rows."""
        learnt = {"train": self.train, "calibrate": self.calibrate}
        named = {role: [f"row {i + 1}" for i in range(len(rows))] for role, rows in learnt.items()}
        named |= {r: [*s.ids] for r, s in self.learnt.items() if isinstance(s, LabelledSet)}
        for role, split in (("evaluate", self.evaluate), ("holdout", self.holdout)):
            if split is not None:
                named[role] = [*_named(split)[1]]
        return named

    @property
    def labels(self) -> Mapping[str, tuple[float, ...]]:
        return {
            role: split.labels
            for role, split in self.learnt.items()
            if isinstance(split, LabelledSet) and split.labels is not None
        }


def _read(config: EndpointConfig, prepared: Path, made_by: str | None) -> Given:
    logs = {"workload": config.workload.log, "unique": config.workload.unique}
    named = config.data.given | {role: name for role, name in logs.items() if name is not None}
    paths = {role: config.resolve(name, prepared) for role, name in named.items()}
    learnt: dict[str, LabelledSet | tuple[str, ...]] = {
        role: _learnt_from(config.task, role, paths[role])
        for role in ("train", "calibrate")
        if role in paths
    }
    return Given(
        paths,
        made_by,
        load_split(config.task, paths["evaluate"]),
        load_split(config.task, paths["holdout"]) if "holdout" in paths else None,
        learnt,
        _inputs_of(learnt.get("train")),
        _inputs_of(learnt.get("calibrate")),
        {role: _workload(paths[role]) for role in logs if role in paths},
    )


def _refuse_unread_labels(config: EndpointConfig, given: Given) -> None:
    """A predictor's labels are for own metrics alone; who has none believes that they count."""
    if config.task != "predict" or config.metrics or config.safety:
        return
    held = {"evaluate": given.evaluate, "holdout": given.holdout, **given.learnt}
    for role, split in held.items():
        if isinstance(split, LabelledSet) and split.labels is not None:
            raise InputError(
                "nothing reads the labels of a predictor but a metric of your own, and none is "
                "declared",
                where=f"{given.paths[role]}:{split.lines[0]}: label",
                reason="label_unread",
                fix='declare a metric that reads item["label"] under metrics, or leave labels out',
            )


def _refuse_undecidable(config: EndpointConfig, given: Given) -> None:
    """What judges has the labels that the contracts ask for, in either split."""
    contracts = config.contracts_for(labelled=given.evaluate.labelled)
    for role, split in (("evaluate", given.evaluate), ("holdout", given.holdout)):
        if split is not None:
            refuse_unlabelled(config.task, contracts, given.paths[role], split)


def refuse_unlabelled(task: str, contracts: Iterable[Contract], path: Path, split: Split) -> None:
    """Raises ``InputError`` where ``split``, read from ``path``, has no labels and a contract is
    on what only labels show: it would be measured to the end, and never decided."""
    metrics = list(dict.fromkeys(c.metric for c in contracts if needs_labels(c.metric, task)))
    if split.labelled or not metrics:
        return
    label = 'every query its "relevant" passages' if task == "embed" else 'every row its "label"'
    instead = "agreement@10" if task == "embed" else "agreement"
    raise InputError(
        f"has no labels, so a contract on {' or '.join(metrics)} can never be decided here",
        where=str(path),
        reason="unlabelled",
        fix=f"give {label}, or write a contract on {instead} in its place, which needs none",
    )


def _learning_from_requests(given: Given, acceptance: Acceptance) -> tuple[Given, list[str]]:
    """With the requests of the log to train on, but for those that judge; these as digests."""
    excluded = digests(given.judging.values(), acceptance.prepare)
    log = given.logs["workload"].items
    chosen = choose(log, frozenset(excluded), acceptance.prepare)
    check_some_left(chosen, given.paths["workload"])
    return replace(given, train=tuple(log[place] for place in chosen.places)), excluded


def _check(config: EndpointConfig, given: Given, acceptance: Acceptance) -> None:
    """Raises ``InputError`` for what the model does not take, or takes for one in two splits."""
    paths = given.paths
    for role, split in (("evaluate", given.evaluate), ("holdout", given.holdout)):
        if split is not None:
            acceptance.check(paths[role], *_named(split))
        if isinstance(split, LabelledSet):
            acceptance.check_labels(paths[role], split)
    for role, log in given.logs.items():
        names = [f"request {i + 1}" for i in range(len(log.items))]
        acceptance.check(paths[role], log.items, names)
    for role, items in (("train", given.train), ("calibrate", given.calibrate)):
        names = [f"row {i + 1}" for i in range(len(items))]
        acceptance.check_learnable(paths.get(role, config.path), items, names)
        rows = given.learnt.get(role)
        if isinstance(rows, LabelledSet):
            acceptance.check_labels(paths[role], rows)
    if acceptance.preprocess is not None:  # two items may be one to the model
        seen = {role: _seen(acceptance, items) for role, items in given.splits.items()}
        check_overlap(seen, path=config.path, after=" after preprocess", names=given.names)


def _drawn_workload(config: EndpointConfig, recorder: Recorder, evaluate: str) -> str:
    """The version of the requests that stand for a rate."""
    drawn = recorder.run(
        draw_workload,
        u={"evaluate": evaluate},
        c={
            "task": config.task,
            "rate_per_s": config.workload.rate_per_s,
            "requests": config.workload.requests,
        },
    )
    return drawn.outputs["workload"]


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


def _learnt_from(task: str, role: str, path: Path) -> LabelledSet | tuple[str, ...]:
    """Texts; of classifiers, predictors and what calibrates a cross-encoder rows as in evaluate."""
    if holds_texts(role, task):
        return tuple(load_texts(path))
    split = load_split(task, path)
    assert isinstance(split, LabelledSet), "embed learns from texts"
    return split


def _inputs_of(split: LabelledSet | tuple[str, ...] | None) -> tuple[Item, ...]:
    return split.inputs if isinstance(split, LabelledSet) else split or ()


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
    return (*split.queries, *split.passages) if split.labelled else split.queries
