"""Traces as OTLP spans: names are those of the pinned conventions, or our own."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import (
    GenAiOperationNameValues,
)
from opentelemetry.semconv.schemas import Schemas

from headgate.objects import digest_bytes
from headgate.report.export import FORMATS, Dossier
from headgate.report.export.otel import CONVENTIONS, OPERATIONS, SEMCONV, spans
from headgate.runtime import Metrics, Trace, TraceLog

OTEL = FORMATS["otel"]


def trace(**fields: object) -> dict[str, Any]:
    """A line as serve writes it."""
    written = {
        "release": "docs@3",
        "endpoint_version": "sha256:1",
        "build": "sha256:2",
        "variant": "sha256:3",
        "request_id": "r-1",
        "at": "2026-01-01T00:00:00.250001Z",
        "tenant": "search",
        "status": 200,
        "source": "engine",
        "items": 2,
        "tokens": 11,
        "batch_size": 4,
        "read_s": 0.001,
        "total_s": 0.0125,
    }
    return {**written, **fields}


def dossier(*traces: Mapping[str, Any], task: str = "embed") -> Dossier:
    return Dossier("docs", digest_bytes(b"v"), task, (), None, {}, traces)


def only(*traces: Mapping[str, Any], task: str = "embed") -> dict[str, Any]:
    """The one span of one trace."""
    (batch,) = spans(dossier(*traces, task=task))
    (resource,) = batch["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    (span,) = scope["spans"]
    found: dict[str, Any] = span
    return found


def values(attributes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values())) for a in attributes}


def known_attributes() -> set[str]:
    """Every name in the conventions that OpenTelemetry's own package knows and does not call
    deprecated, which it says below the name."""
    files = [f for package in (stable, incubating) for f in Path(package.__path__[0]).glob("*.py")]
    return {
        name.value.value
        for file in files
        for name, below in itertools.pairwise(ast.parse(file.read_text(encoding="utf-8")).body)
        if isinstance(name, ast.AnnAssign)
        and isinstance(name.value, ast.Constant)
        and "Deprecated" not in ast.unparse(below)
    }


def test_the_table_names_only_what_the_conventions_know() -> None:
    """A name that was invented, misspelt or moved away would be found here."""
    known = known_attributes()
    assert "gen_ai.system" not in known  # which 1.37 deprecated
    assert set(CONVENTIONS.values()) <= known
    assert len(set(CONVENTIONS.values())) == len(CONVENTIONS)
    assert set(OPERATIONS.values()) <= {v.value for v in GenAiOperationNameValues}


def test_the_pinned_conventions_are_those_that_are_named() -> None:
    """The schema that a span points to exists, and is that of the version in the table."""
    (batch,) = spans(dossier(trace()))
    url = batch["resourceSpans"][0]["schemaUrl"]
    assert url == batch["resourceSpans"][0]["scopeSpans"][0]["schemaUrl"]
    assert url in {schema.value for schema in Schemas}
    assert url.endswith(f"/{SEMCONV}")


@pytest.mark.parametrize("task", ["embed", "rerank", "classify", "predict"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_no_attribute_is_invented_under_anybody_elses_name(task: str, status: int) -> None:
    """Each is one of the conventions' or begins with ours."""
    found = values(only(trace(status=status), task=task)["attributes"])
    theirs = {name for name in found if not name.startswith("headgate.")}
    assert theirs <= known_attributes()


def test_a_trace_of_an_embedding_says_what_the_conventions_ask() -> None:
    """Operation, provider, who answered, and how many tokens."""
    span = only(trace())
    assert span["name"] == "embeddings"
    found = values(span["attributes"])
    assert {k: v for k, v in found.items() if k.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "headgate",
        "gen_ai.response.model": "docs@3",
        "gen_ai.usage.input_tokens": "11",
    }
    assert found["headgate.build"] == "sha256:2"
    assert found["headgate.items"] == "2"
    assert found["headgate.read_s"] == 0.001
    assert "error.type" not in found
    assert "status" not in span


def test_every_field_that_serve_writes_is_told() -> None:
    """By one name or the other; the arrival and the total are the span's own times."""
    values_of = {str: "x", int: 1, float: 0.5, datetime: datetime(2026, 1, 1, tzinfo=UTC)}
    log = TraceLog({"release": "docs@3"}, Metrics())
    log.record(Trace(**{f.name: values_of[f.type] for f in msgspec.structs.fields(Trace)}))
    (line,) = log.recent()
    assert set(CONVENTIONS) - {"endpoint", "operation", "provider", "failed"} <= set(line)
    found = values(only({**line, "status": 200})["attributes"])
    told = {CONVENTIONS.get(name, f"headgate.{name}") for name in line}
    assert told - set(found) == {"headgate.at", "headgate.total_s"}


def test_what_the_conventions_know_no_operation_for_has_nothing_of_theirs() -> None:
    """A classifier is no generative model."""
    found = values(only(trace(), task="classify")["attributes"])
    assert not [name for name in found if name.startswith("gen_ai.")]
    assert (found["headgate.release"], found["headgate.tokens"]) == ("docs@3", "11")


def test_a_request_that_was_refused_has_no_response() -> None:
    """No model answered it, and what was counted of it is no usage; it is no error of ours."""
    span = only(trace(status=429, tokens=0))
    found = values(span["attributes"])
    assert found["gen_ai.operation.name"] == "embeddings"
    assert "gen_ai.response.model" not in found
    assert "gen_ai.usage.input_tokens" not in found
    assert found["headgate.release"] == "docs@3"
    assert "error.type" not in found
    assert "status" not in span


@pytest.mark.parametrize("task", ["embed", "classify"])
def test_a_request_that_failed_is_an_error(task: str) -> None:
    """Of the server, which is whose span it is."""
    span = only(trace(status=503), task=task)
    assert span["status"] == {"code": 2}
    assert values(span["attributes"])["error.type"] == "503"


def test_a_span_lasts_from_arrival_to_the_last_byte() -> None:
    """To the microsecond that is on record, in nanoseconds of Unix time."""
    span = only(trace())
    assert span["startTimeUnixNano"] == "1767225600250001000"
    assert span["endTimeUnixNano"] == "1767225600262501000"


def test_each_request_has_an_id_of_its_own_and_keeps_it() -> None:
    """Two requests of one id that its caller gave are two."""
    first, again = only(trace()), only(trace())
    other = only(trace(at="2026-01-01T00:00:01Z"))
    assert first == again
    assert (first["traceId"], first["spanId"]) != (other["traceId"], other["spanId"])
    assert (len(first["traceId"]), len(first["spanId"])) == (32, 16)


def test_spans_are_what_opentelemetry_reads() -> None:
    """Into its own protobuf messages, where an unknown field is an error; values of every kind."""
    odd = trace(tools=[{"name": "search", "ok": True}], none=None, share=0.5)
    (batch,) = spans(dossier(odd))
    message = ParseDict(batch, TracesData())
    (span,) = message.resource_spans[0].scope_spans[0].spans
    read = {a.key: a.value for a in span.attributes}
    assert read["gen_ai.usage.input_tokens"].int_value == 11
    assert read["headgate.share"].double_value == 0.5
    (tool,) = read["headgate.tools"].array_value.values
    assert [(v.key, v.value.WhichOneof("value")) for v in tool.kvlist_value.values] == [
        ("name", "string_value"),
        ("ok", "bool_value"),
    ]
    assert read["headgate.none"].WhichOneof("value") is None
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert message.resource_spans[0].resource.attributes[0].key == "service.name"


def test_many_traces_go_a_thousand_a_line_and_none_is_read_ahead() -> None:
    """A server's log may be larger than memory."""
    read = 0

    def log() -> Iterable[dict[str, Any]]:
        nonlocal read
        for read in range(1, 2502):
            yield trace(request_id=str(read))

    lines = OTEL.lines(Dossier("docs", digest_bytes(b"v"), "embed", (), None, {}, log()), None)
    assert read == 0
    assert next(lines).count(b'"spanId"') == 1000
    assert read == 1000
    assert [line.count(b'"spanId"') for line in lines] == [1000, 501]
