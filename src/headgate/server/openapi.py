"""``GET /openapi.json``: the routes of a deployment as an OpenAPI 3.1 document.

Bodies are the structs that parse and encode them, through msgspec; what this deployment demands
beyond their types stands beside it. https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from headgate.server.routes import (
    REQUEST_HEADERS,
    REQUEST_ID,
    TENANT,
    ErrorForm,
    Header,
    Operation,
    Route,
)

__all__ = ["document"]

_JSON = "application/json"
_STATUSES = {
    200: "The answer.",
    400: "The request is malformed; the message names the field.",
    401: "The API key is missing, not known, or not that of the tenant who is named.",
    404: "There is no such path or model.",
    405: "The path takes another method, which Allow names.",
    408: "The body did not arrive in time.",
    413: "The body, or all that the request would hold, is more than the server takes.",
    415: "The body is compressed.",
    422: "A text is longer than the model takes, and truncation was not asked for.",
    429: "The server is full; Retry-After says when to try again.",
    500: "The model failed on this input, or the server did.",
    503: "The server is not ready, or is shutting down.",
    504: "The answer could not be given before the deadline.",
}
_ABOUT = """\
What is not named here is answered with 404, another method than those named with 405 and Allow. \
GET also answers HEAD."""
_TEXT = {"type": "string"}
_HEADERS = {
    "X-Headgate-Release": (_TEXT, "endpoint@generation: which release answered."),
    "X-Request-Id": (_TEXT, "The request's own id, or one that the server made."),
    "X-Headgate-Source": (
        {"enum": ["engine", "twin", "cache"]},
        "Where the slowest of the answers came from; a twin is an equal item in flight.",
    ),
    "WWW-Authenticate": ({"const": "Bearer"}, "How the API key is sent."),
    "Allow": (_TEXT, "The methods that the path takes."),
    "Retry-After": ({"type": "integer", "minimum": 1}, "Seconds."),
    "Retry-After-Ms": ({"type": "integer", "minimum": 1}, "Milliseconds."),
}
_KEY = {"type": "http", "scheme": "bearer", "description": "The API key of a tenant."}
_ALWAYS = ("X-Headgate-Release", "X-Request-Id")
_WITH = {401: ("WWW-Authenticate",), 405: ("Allow",), 429: ("Retry-After", "Retry-After-Ms")}


def document(title: str, version: str, routes: Sequence[Route]) -> dict[str, Any]:
    """The document, as JSON-able values."""
    schemas = _Schemas(routes)
    responses = {
        f"{form.body.__name__}-{status}": _error(form, status, schemas)
        for form, status in dict.fromkeys(
            (route.operation.errors, status)
            for route in routes
            for status in _refusals(route.operation)
        )
    }
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    keyed = any(route.operation.keyed for route in routes)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": responses,
            "headers": {
                name: {"schema": schema, "description": what, "required": name in _ALWAYS}
                for name, (schema, what) in _HEADERS.items()
            },
            **({"securitySchemes": {"apiKey": _KEY}} if keyed else {}),
        },
    }


class _Schemas:
    """The schemas of all types that the routes name, with what the deployment demands."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._types: list[object] = []
        for operation in (route.operation for route in routes):
            asked = (operation.asks,) if operation.asks is not None else ()
            for named in (*asked, *operation.gives, operation.errors.body):
                if named not in self._types:
                    self._types.append(named)
        self._found, self.components = msgspec.json.schema_components(
            self._types, ref_template="#/components/schemas/{name}"
        )
        for operation in (route.operation for route in routes):
            for struct, fields in operation.bounds.items():
                properties = self.components[struct.__name__]["properties"]
                for name, bound in fields.items():
                    properties[name] = _bounded(properties[name], bound)

    def of(self, *types: object) -> dict[str, Any]:
        """A reference to the schema, or to any of several."""
        found = [self._found[self._types.index(named)] for named in types]
        return found[0] if len(found) == 1 else {"anyOf": found}


def _bounded(schema: dict[str, Any], bound: Any) -> dict[str, Any]:
    """``bound`` beside the type; in its place where it says itself what may come."""
    if {"anyOf", "const", "enum"} & bound.keys():
        schema = {k: v for k, v in schema.items() if k == "default"}
    return {**schema, **bound}


def _refusals(operation: Operation) -> tuple[int, ...]:
    return tuple(sorted({*operation.statuses, 404, 405}))


def _error(form: ErrorForm, status: int, schemas: _Schemas) -> dict[str, Any]:
    return {
        "description": _STATUSES[status],
        "headers": _headers(*_ALWAYS, *_WITH.get(status, ())),
        "content": {_JSON: {"schema": schemas.of(form.body)}},
    }


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation = route.operation
    found: dict[str, Any] = {
        "operationId": route.method.lower() + re.sub(r"\W+", "_", route.path),
        "summary": operation.summary,
        "parameters": [_parameter(header) for header in _read(operation)],
        "responses": {
            "200": _answer(operation, schemas),
            **{
                str(status): {
                    "$ref": f"#/components/responses/{operation.errors.body.__name__}-{status}"
                }
                for status in _refusals(operation)
            },
        },
    }
    if operation.keyed:
        found["security"] = [{"apiKey": []}]
    if operation.asks is not None:
        content = {_JSON: {"schema": schemas.of(operation.asks), "example": operation.example}}
        found["requestBody"] = {"required": True, "content": content | _binary(operation)}
    return found


def _read(operation: Operation) -> tuple[Header, ...]:
    if operation.asks is None:
        return (REQUEST_ID,)
    headers = (*REQUEST_HEADERS, *operation.headers)
    return tuple(h for h in headers if h is not TENANT) if operation.keyed else headers


def _parameter(header: Header) -> dict[str, Any]:
    return {
        "name": header.name,
        "in": "header",
        "description": header.description,
        "schema": header.schema,
    }


def _answer(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    schema = schemas.of(*operation.gives) if operation.gives else {}
    source = ("X-Headgate-Source",) if operation.asks is not None else ()
    return {
        "description": _STATUSES[200],
        "headers": _headers(*_ALWAYS, *source),
        "content": {operation.media: {"schema": schema}} | _binary(operation),
    }


def _binary(operation: Operation) -> dict[str, Any]:
    return {operation.binary: {}} if operation.binary is not None else {}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
