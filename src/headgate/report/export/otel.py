"""Traces of served requests as OpenTelemetry spans: OTLP in JSON, one ``TracesData`` a line
(https://opentelemetry.io/docs/specs/otel/protocol/file-exporter).

``CONVENTIONS`` is the one place that knows names of the semantic conventions. What of a trace is
just what an attribute means goes by that name; everything else keeps its own, under ``headgate.``,
and nothing is invented under ``gen_ai.``.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from headgate.report.export.dossier import Dossier

__all__ = ["CONVENTIONS", "OPERATIONS", "SEMCONV", "spans"]

SEMCONV = "1.41.1"
"""The last version of the semantic conventions that holds ``gen_ai.*``: 1.42 moved them to a
project of their own, which has released nothing yet."""

CONVENTIONS: Mapping[str, str] = {
    "endpoint": "service.name",
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "release": "gen_ai.response.model",
    "tokens": "gen_ai.usage.input_tokens",
    "failed": "error.type",
}
"""What of a trace is what in the semantic conventions."""

OPERATIONS: Mapping[str, str] = {"embed": "embeddings"}
"""Task -> value of ``gen_ai.operation.name``. The conventions know no reranking, no classifying and
no predicting of numbers: spans of these have nothing under ``gen_ai.``."""

_OF_ANSWERS = ("release", "tokens")
"""What a request that was not answered has no response to say of."""
_OF_GENERATIVE_AI = tuple(n for n, theirs in CONVENTIONS.items() if theirs.startswith("gen_ai."))
_TIMES = ("at", "total_s")
"""What becomes the span's own start and end."""
_SCHEMA_URL = f"https://opentelemetry.io/schemas/{SEMCONV}"
_SERVER, _ERROR = 2, 2
"""``SpanKind`` and ``StatusCode`` of opentelemetry-proto."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_A_LINE = 1000
"""Spans."""

Json = dict[str, Any]


def spans(dossier: Dossier) -> Iterator[Json]:
    """A span for each trace, in their order, up to 1,000 in one ``TracesData``."""
    traces = iter(dossier.traces)
    while some := list(itertools.islice(traces, _A_LINE)):
        yield {
            "resourceSpans": [
                {
                    "schemaUrl": _SCHEMA_URL,
                    "resource": {"attributes": _attributes({"endpoint": dossier.endpoint}, ())},
                    "scopeSpans": [
                        {
                            "schemaUrl": _SCHEMA_URL,
                            "scope": {"name": "headgate"},
                            "spans": [_span(trace, dossier.task) for trace in some],
                        }
                    ],
                }
            ]
        }


def _span(trace: Mapping[str, Any], task: str) -> Json:
    said = {name: value for name, value in trace.items() if name not in _TIMES}
    status = int(trace["status"])
    own: tuple[str, ...] = () if status == 200 else _OF_ANSWERS
    operation = OPERATIONS.get(task)
    if operation is None:
        own = _OF_GENERATIVE_AI
    else:
        said |= {"operation": operation, "provider": "headgate"}
    broken = status >= 500  # what a caller did wrong is no error of the server's span
    if broken:
        said["failed"] = str(status)
    start_ns = (datetime.fromisoformat(trace["at"]) - _EPOCH) // timedelta(microseconds=1) * 1000
    # No caller's trace context is on record: each request is the root of a trace of its own.
    id_ = hashlib.sha256(f"{trace['request_id']} {trace['at']}".encode()).hexdigest()
    return {
        "traceId": id_[:32],
        "spanId": id_[32:48],
        "name": operation or task,
        "kind": _SERVER,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + round(trace["total_s"] * 1e9)),
        "attributes": _attributes(said, own),
        **({"status": {"code": _ERROR}} if broken else {}),
    }


def _attributes(said: Mapping[str, Any], own: tuple[str, ...]) -> list[Json]:
    """By the names of the conventions, but for those that keep their ``own``."""
    return [
        {
            "key": f"headgate.{name}"
            if name in own or name not in CONVENTIONS
            else CONVENTIONS[name],
            "value": _value(value),
        }
        for name, value in said.items()
    ]


def _value(value: Any) -> Json:
    """An ``AnyValue``; OTLP writes whole numbers as text."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(v) for v in value]}}
        case Mapping():
            pairs = [{"key": k, "value": _value(v)} for k, v in value.items()]
            return {"kvlistValue": {"values": pairs}}
        case None:
            return {}
        case _:
            return {"stringValue": str(value)}
