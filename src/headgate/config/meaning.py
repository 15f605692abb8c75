"""What the shape of a headgate.yaml cannot say: keys that exclude each other, files that exist."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.config.contracts import metric_kind
from headgate.config.document import Document, KeyPath
from headgate.config.schema import DECLARED, FORMAT, EndpointFile, WorkloadSource
from headgate.errors import ConfigError, InputError

__all__ = [
    "PREPARED",
    "VARIABLE",
    "check_files",
    "check_format",
    "check_meaning",
    "check_variables",
]

PREPARED = "prepared:"
"""Begins the name of a file that the endpoint's ``prepare`` function writes."""

VARIABLE = re.compile(r"\$\{([^}]*)\}")


def check_format(document: Document) -> None:
    given = document.value.get("format", FORMAT)
    if isinstance(given, int) and given > FORMAT:
        raise ConfigError(
            f"is written in format {given}; this Headgate reads up to {FORMAT}",
            where=document.where(("format",)),
            reason="newer_format",
            fix="upgrade headgate: pip install --upgrade headgate",
        )


def check_variables(document: Document, loc: KeyPath, value: Any) -> None:
    """``${NAME}`` is read under ``escalate`` and ``headers`` alone; elsewhere it would be taken
    literally."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_variables(document, (*loc, key), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            check_variables(document, (*loc, i), inner)
    elif (
        isinstance(value, str)
        and VARIABLE.search(value)
        and loc[-1] != "escalate"
        and loc[:2] != ("model", "headers")
    ):
        raise ConfigError(
            f"{value!r} is not read from the environment here",
            where=document.where(loc),
            reason="environment",
            fix="write the value itself; ${NAME} works under escalate and model.headers only",
        )


def check_meaning(file: EndpointFile, document: Document) -> None:
    """What the shape of the file cannot say."""

    def wrong(loc: KeyPath, what: str, fix: str, reason: str = "wrong_value") -> ConfigError:
        return ConfigError(what, where=document.where(loc), reason=reason, fix=fix)

    sources = file.model.kinds
    if len(sources) != 1:
        raise wrong(
            ("model",),
            f"names {len(sources)} sources: {', '.join(sources)}" if sources else "has no source",
            "give exactly one of onnx, path, package, sklearn, url",
        )
    if file.task == "rerank" and sources != ("onnx",):
        raise wrong(
            ("model", sources[0]),
            "a cross-encoder is taken as an ONNX file",
            "export it so that its output is one logit a pair, and write `onnx: model.onnx`",
            "not_yet",
        )
    if file.task != "embed" and sources[0] in ("path", "package"):
        raise wrong(
            ("model", sources[0]),
            f"is an encoder, which embeds: {file.task} has a head, which would be lost",
            "export encoder and head as one model, and write `onnx: model.onnx` and `tokenizer:`",
            "not_yet",
        )
    _check_url(file, wrong)
    takes_text = {"embed": "an embedder takes text", "rerank": "a cross-encoder takes text"}
    if file.task in takes_text and sources == ("onnx",) and file.model.tokenizer is None:
        raise wrong(
            ("model", "tokenizer"),
            f"is missing: {takes_text[file.task]}",
            "write, for example, `tokenizer: tokenizer.json`",
            "missing_key",
        )
    if file.model.labels is not None and file.task != "classify":
        raise wrong(("model", "labels"), f"names classes, and {file.task} has none", "remove it")
    if file.data is not None and file.data.index_items is not None and file.task != "embed":
        raise wrong(
            ("data", "index_items"), f"counts vectors, and {file.task} has none", "remove it"
        )
    if file.workload is not None:
        _check_workload(file.workload, wrong)
    _check_retrain(file, wrong)
    for kind in ("metrics", "safety"):
        for name, spec in getattr(file, kind).items():
            low, high = spec.range
            if not math.isfinite(high - low):
                raise wrong(
                    (kind, name, "range"),
                    f"[{low:g}, {high:g}] has no finite width, of which a margin is a share",
                    "write the lowest and the highest value of one item, such as [0, 100], and "
                    "have the metric return no more",
                )
            if low >= high:
                raise wrong((kind, name, "range"), "is empty", "write [lowest, highest]")
            _check_new_name(kind, name, file, wrong)


def _check_url(file: EndpointFile, wrong: Any) -> None:
    """The keys of a server that is not ours, and those of a model that is."""
    model, written = file.model, file.model.model_fields_set
    if model.url is None:
        for key in ("protocol", "name", "headers", *DECLARED):
            if key in written:
                raise wrong(("model", key), "stands beside no url", "leave it out, or add `url:`")
        return
    for key in ("tokenizer", "max_tokens", "truncate"):
        if key in written:
            raise wrong(
                ("model", key), "stands beside a url", "leave it out: the server sees to it"
            )
    if model.protocol == "openai" and file.task != "embed":
        raise wrong(("model", "protocol"), f"has no {file.task}", "write `protocol: v2`")
    if model.name is None and (model.protocol == "v2" or file.task != "embed"):
        raise wrong(
            ("model", "name"),
            "is missing: /v2 does not list its models",
            "write what the server calls the model",
            "missing_key",
        )


def _check_workload(workload: WorkloadSource, wrong: Any) -> None:
    if (workload.log is None) == (workload.rate_per_s is None):
        raise wrong(
            ("workload",),
            "wants either a log or a rate",
            "write `log: workload.jsonl` or `rate_per_s: 20`",
        )
    if workload.unique is not None and workload.log is None:
        raise wrong(("workload", "unique"), "stands beside no log", "add `log: workload.jsonl`")


def _check_retrain(file: EndpointFile, wrong: Any) -> None:
    for section in ("contracts", "live"):
        for metric, specs in getattr(file, section).items():
            if file.retrain is None and any(spec.on_breach == "retrain" for spec in specs):
                raise wrong(
                    (section, metric, "on_breach"),
                    "is retrain, and no command does that",
                    'add `retrain: "COMMAND"`, such as "headgate optimize --fresh ."',
                    "retrain_without_command",
                )


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
    named: dict[str, Mapping[str, str | None]] = {
        "model": {key: getattr(file.model, key) for key in ("onnx", "path", "tokenizer")},
        "data": file.data.given,
    }
    if file.workload is not None:
        named["workload"] = {key: getattr(file.workload, key) for key in ("log", "unique")}
    return {
        (section, key): name
        for section, names in named.items()
        for key, name in names.items()
        if name is not None
    }


def check_files(file: EndpointFile, document: Document, root: Path) -> None:
    for loc, name in _files(file).items():
        where = document.where(loc)
        if name.startswith(PREPARED):
            bare = name.removeprefix(PREPARED)
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
        found = root / name
        wanted = "directory" if loc == ("model", "path") else "file"
        if found.is_dir() if wanted == "directory" else found.is_file():
            continue
        if found.exists():
            raise InputError(
                f"{name!r} is {_kind(found)}, and a {wanted} is wanted",
                where=where,
                reason="wrong_file",
                fix=f"paths are relative to {document.path.parent}/; name a {wanted}",
            )
        raise InputError(
            f"there is no {wanted} {name!r}",
            where=where,
            reason="file_missing",
            fix=f"paths are relative to {document.path.parent}/; correct the path or add it",
        )


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a directory"
    return "a file" if path.is_file() else "neither a file nor a directory"
