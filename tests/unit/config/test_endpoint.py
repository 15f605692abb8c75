"""What a good headgate.yaml becomes: values with units, defaults, gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config import EndpointConfig, expand_environment, json_schema, load_config
from headgate.config.endpoint import DEFAULT_WORKLOAD
from headgate.errors import ConfigError, InputError
from headgate.objects import Action, Axis, Bound, Contract

from .conftest import GOOD, Load, spoilt

SHORT = """\
endpoint: digits
owner: {team: vision, escalate: "command:page vision"}
task: classify
model: {onnx: model.onnx}
data: {evaluate: queries.jsonl}
"""


def test_a_complete_file_has_no_gaps(load: Load) -> None:
    """Every key that a promotion needs is there, so nothing stops it."""
    config = load(GOOD)
    assert config.gaps == ()
    assert config.endpoint == "docs-search"
    assert config.model.kind == "onnx"
    assert config.root.is_absolute()


def test_limits_are_in_the_unit_of_their_metric(load: Load) -> None:
    """40ms is 0.04 seconds, 1% is 0.01, money stays as it is."""
    limits = {c.metric: (c.axis, c.bound, c.limit) for c in load(GOOD).contracts}
    assert limits == {
        "recall@10": (Axis.QUALITY, Bound.NOT_BELOW_CURRENT_BY, 0.01),
        "batch_invariance": (Axis.SAFETY, Bound.ONE_OF, 0.0),
        "latency_p95": (Axis.LATENCY, Bound.AT_MOST, 0.04),
        "cost_per_1k": (Axis.COST, Bound.AT_MOST, 0.002),
    }


@pytest.mark.parametrize(
    ("metric", "given", "limit"),
    [
        ("device_s_per_1k", "0.05", 0.05),
        ("device_s_per_1k", "50ms", 0.05),
        ("latency_p95", "2s", 2),
    ],
)
def test_a_limit_of_seconds_needs_no_unit_where_the_metric_is_named_by_it(
    load: Load, metric: str, given: str, limit: float
) -> None:
    """Of any other time a bare number is refused."""
    promise = f"{metric}: {{at_most: {given}, why: page, on_breach: warn}}"
    text = spoilt("latency_p95: {at_most: 40ms, why: 100 ms page, on_breach: rollback}", promise)
    assert {c.metric: c.limit for c in load(text).contracts}[metric] == limit


def test_a_contract_carries_all_that_a_breach_needs(load: Load) -> None:
    """Escalation defaults to the owner's, the rollback candidate to the previous generation."""
    assert load(GOOD).contracts[0] == Contract(
        metric="recall@10",
        axis=Axis.QUALITY,
        bound=Bound.NOT_BELOW_CURRENT_BY,
        limit=0.01,
        rationale="goal 7",
        on_breach=Action.ROLLBACK,
        escalation="webhook:https://oncall.example/search",
        rollback_candidate="previous generation",
    )


LIVE = """\
retrain: "make candidate"
live:
  error_rate: {at_most: 1%, why: pages, on_breach: rollback}
  age: {at_most: 30d, why: prices move, on_breach: retrain}
"""


def test_what_is_watched_while_serving(load: Load) -> None:
    """What is declared of live traffic, and the absolute promises that it can speak about."""
    config = load(GOOD + LIVE)
    watched = {c.metric: (c.limit, c.on_breach) for c in config.watched}
    assert watched == {
        "error_rate": (0.01, Action.ROLLBACK),
        "age": (30 * 86_400.0, Action.RETRAIN),
        "latency_p95": (0.04, Action.ROLLBACK),
        "cost_per_1k": (0.002, Action.WARN),
    }
    assert config.retrain == "make candidate"
    assert [c.metric for c in config.contracts] == [c.metric for c in load(GOOD).contracts]


def test_a_live_promise_goes_before_that_of_a_release(load: Load) -> None:
    """Live traffic may be promised something else than a replay."""
    live = "live:\n  latency_p95: {at_most: 80ms, why: bursts, on_breach: warn}\n"
    watched = [c for c in load(GOOD + live).watched if c.metric == "latency_p95"]
    assert [(c.limit, c.on_breach) for c in watched] == [(0.08, Action.WARN)]


def test_one_metric_may_have_two_contracts(load: Load) -> None:
    """An absolute and a relative promise on latency stand side by side."""
    both = (
        "[{at_most: 40ms, why: page, on_breach: rollback},"
        " {ratio_to_current_at_most: 110%, why: no worse, on_breach: warn}]"
    )
    contracts = load(
        spoilt("{at_most: 40ms, why: 100 ms page, on_breach: rollback}", both)
    ).contracts
    latency = [c for c in contracts if c.metric == "latency_p95"]
    assert [(c.bound, c.limit) for c in latency] == [
        (Bound.AT_MOST, 0.04),
        (Bound.RATIO_AT_MOST, 1.1),
    ]


def test_a_short_file_is_enough_for_a_first_result(load: Load) -> None:
    """What is missing has a stated default, and is named as what stops a promotion."""
    config = load(SHORT)
    assert config.workload == DEFAULT_WORKLOAD
    assert [gap.key for gap in config.gaps] == ["contracts", "workload"]
    assert {c.axis for c in config.contracts_for(labelled=True)} == set(Axis)


@pytest.mark.parametrize(
    ("task", "labelled", "metric"),
    [
        ("embed", True, "recall@10"),
        ("embed", False, "agreement@10"),
        ("classify", True, "accuracy"),
        ("classify", False, "agreement"),
        ("predict", False, "agreement"),
    ],
)
def test_without_labels_quality_is_agreement_with_current(
    load: Load, task: str, labelled: bool, metric: str
) -> None:
    """The default quality contract needs nothing that the data do not have."""
    text = SHORT.replace("classify", task)
    if task == "embed":
        text = text.replace("onnx: model.onnx", "onnx: model.onnx, tokenizer: tokenizer.json")
    assert load(text).contracts_for(labelled=labelled)[0].metric == metric


def test_it_may_name_no_candidate(load: Load) -> None:
    """Then the model as it is is all that is tried."""
    assert load(SHORT + "candidates: []\n").candidates == ()


def test_declared_contracts_replace_the_defaults(load: Load) -> None:
    """A file that declares contracts is judged by those alone, and misses the other axes."""
    config = load(SHORT + "contracts:\n  accuracy: {at_least: 90%, why: law, on_breach: warn}\n")
    assert [c.metric for c in config.contracts_for(labelled=True)] == ["accuracy"]
    assert [gap.what for gap in config.gaps if gap.key == "contracts"] == [
        "none is on safety",
        "none is on latency",
        "none is on cost",
    ]


def test_a_cost_contract_without_a_price_stops_a_promotion(load: Load) -> None:
    """At a price of 0 every cost is 0, and a contract on it decides nothing."""
    config = load(spoilt("prices: {device_second: 2e-5}\n", ""))
    assert [gap.key for gap in config.gaps] == ["prices.device_second"]
    assert config.prices.device_second == 0.0


def test_secrets_stay_in_the_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's address is kept as written and resolved only when it is used."""
    text = spoilt("webhook:https://oncall.example/search", "webhook:${ONCALL_URL}")
    monkeypatch.delenv("ONCALL_URL", raising=False)
    config = load(text)
    assert config.owner.escalate == "webhook:${ONCALL_URL}"
    assert [gap.what for gap in config.gaps] == ["the environment has no ONCALL_URL"]
    with pytest.raises(ConfigError, match="the environment has no ONCALL_URL"):
        expand_environment(config.owner.escalate)
    monkeypatch.setenv("ONCALL_URL", "https://secret.example")
    assert load(text).gaps == ()
    assert expand_environment(config.owner.escalate) == "webhook:https://secret.example"


def test_what_a_server_at_a_url_does_not_declare_stops_a_promotion(load: Load) -> None:
    """It is unauditable, and named; what is declared is kept as it was written."""
    digest = f"sha256:{'0' * 64}"
    model = "{onnx: model.onnx, tokenizer: tokenizer.json}"
    said = f"url: 'https://gw/tei', model_digest: '{digest}', headers: {{api-key: '${{KEY}}'}}"
    config = load(spoilt(model, f"{{{said}, server: tei 1.8}}"))
    assert [(gap.key, gap.what) for gap in config.gaps] == [
        (
            "model.url",
            "what answers there is unauditable: tokenizer_digest, precision not declared",
        )
    ]
    assert config.model.kind == "url"
    assert config.model.headers == {"api-key": "${KEY}"}
    assert config.model.declared == {
        "model_digest": digest,
        "tokenizer_digest": None,
        "server": "tei 1.8",
        "precision": None,
    }
    more = f"tokenizer_digest: '{digest}', precision: fp16"
    assert load(spoilt(model, f"{{{said}, server: tei, {more}}}")).gaps == ()


def test_own_metrics_get_an_axis_and_a_contract(load: Load) -> None:
    """Metrics are on the quality axis, safety on the safety axis, worst slices on safety."""
    text = SHORT + (
        "metrics: {f1: 'own:f1', loss: {function: 'own:loss', direction: lower_is_better,"
        " range: [0, 10]}}\n"
        "safety: {toxic: {function: 'own:toxic', direction: lower_is_better}}\n"
        "contracts:\n"
        "  f1: {at_least: 0.5, why: w, on_breach: warn}\n"
        "  loss: {at_most: 3, why: w, on_breach: warn}\n"
        "  toxic: {at_most: 0.1, why: w, on_breach: rollback}\n"
        "  worst_slice_f1: {at_least: 0.4, why: w, on_breach: rollback}\n"
    )
    config = load(text)
    assert {c.metric: c.axis for c in config.contracts} == {
        "f1": Axis.QUALITY,
        "loss": Axis.QUALITY,
        "toxic": Axis.SAFETY,
        "worst_slice_f1": Axis.SAFETY,
    }
    assert config.metrics["loss"].range == (0, 10)


def test_a_directory_stands_for_its_file(endpoint: Path, load: Load) -> None:
    """`headgate optimize examples/python-help` reads the headgate.yaml in it."""
    config = load(GOOD)
    assert load_config(endpoint).source_digest == config.source_digest


def test_prepared_files_lie_where_they_were_written(load: Load, tmp_path: Path) -> None:
    """prepared:NAME is looked up in the directory that prepare wrote to, others in the root."""
    config: EndpointConfig = load(
        spoilt("evaluate: queries.jsonl", "evaluate: 'prepared:q.jsonl'") + "prepare: make:main\n"
    )
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    with pytest.raises(InputError) as missing:
        config.resolve(config.data.evaluate, prepared)
    assert str(missing.value) == (
        "headgate.yaml: make:main wrote no file 'q.jsonl'\n  what to do: it wrote: nothing"
    )
    (prepared / "q.jsonl").touch()
    assert config.resolve(config.data.evaluate, prepared) == prepared / "q.jsonl"
    assert config.resolve("model.onnx") == tmp_path / "model.onnx"


def test_yaml_means_what_it_looks_like(load: Load) -> None:
    """`no` is a team, a date is text, 2e-5 is a number: YAML 1.2, not 1.1."""
    config = load(spoilt("team: search", "team: no").replace("why: goal 7", "why: 2026-10-01"))
    assert config.owner.team == "no"
    assert config.contracts[0].rationale == "2026-10-01"
    assert config.prices.device_second == 2e-5


def test_the_schema_knows_every_key() -> None:
    """The JSON Schema names each top-level key, says what it is, and refuses others."""
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"endpoint", "owner", "task", "model", "data"}
    undescribed = [k for k, v in schema["properties"].items() if "description" not in v]
    assert undescribed == []
