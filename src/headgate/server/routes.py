"""What a server answers to, said once: requests are routed by it, and /openapi.json is made of it.

A protocol describes its operations with the structs that parse and encode; the application binds
them to paths and handlers. There is no second list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from headgate.server.http import Exchange, HttpError, Reply

__all__ = [
    "INFERENCE",
    "LONGEST_TIMEOUT_MS",
    "REQUEST_HEADERS",
    "REQUEST_ID",
    "TENANT",
    "ErrorForm",
    "Header",
    "Identify",
    "Operation",
    "Route",
    "Schema",
]

Schema = Mapping[str, Any]
"""A JSON Schema of the dialect 2020-12, or some keywords of one."""

Identify = Callable[[Mapping[bytes, bytes]], str]
"""Whose call it is, by its headers. Raises ``HttpError`` 401 where they do not say."""

INFERENCE = (400, 404, 408, 413, 415, 422, 429, 500, 503, 504)
"""What a request for answers may be told instead of them."""
LONGEST_TIMEOUT_MS = 86_400_000
"""A day: what is asked to wait longer is meant otherwise."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a request that is read; none has to be sent."""

    name: str
    schema: Schema
    description: str


REQUEST_ID = Header(
    "X-Request-Id",
    {"type": "string"},
    "Comes back with the answer and stands in traces, if it is 1 to 128 visible ASCII characters.",
)
TENANT = Header(
    "X-Headgate-Tenant",
    {"type": "string"},
    "For whom it is asked: tenants share the device fairly, and no cached answers.",
)
REQUEST_HEADERS = (
    REQUEST_ID,
    Header(
        "X-Request-Timeout-Ms",
        {"type": "integer", "minimum": 1, "maximum": LONGEST_TIMEOUT_MS},
        "The deadline, from the request's arrival. What cannot be answered by then is refused.",
    ),
    TENANT,
    Header(
        "X-Headgate-Priority",
        {"type": "integer", "minimum": 0, "maximum": 9},
        "Orders the requests of one tenant among themselves; 0 where it is missing.",
    ),
    Header(
        "Cache-Control",
        {"type": "string"},
        "`no-cache` or `no-store` has it computed, and not kept for others.",
    ),
    Header(
        "X-Headgate-Truncate",
        {"type": "string", "enum": ["true", "false"]},
        "`true` cuts a text that is longer than the model takes, instead of refusing it.",
    ),
)
"""Of every request for answers."""


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """A protocol's own way to say what went wrong."""

    reply: Callable[[HttpError], Reply]
    body: type[msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route is for, as its callers see it."""

    summary: str
    errors: ErrorForm
    statuses: tuple[int, ...] = ()
    """Besides 200, and 404 and 405 for what is no route."""
    asks: type[msgspec.Struct] | None = None
    """The body, JSON."""
    gives: tuple[object, ...] = ()
    """One of these types, as JSON; where there is none, ``media``."""
    media: str = "application/json"
    bounds: Mapping[type[msgspec.Struct], Mapping[str, Schema]] = field(default_factory=dict)
    """Struct -> field -> what this deployment demands of it beyond its type."""
    headers: tuple[Header, ...] = ()
    """Besides ``REQUEST_HEADERS``."""
    binary: str | None = None
    """Media type of binary data that may follow the JSON, in both directions."""
    example: object = None
    """A body that is answered with 200."""
    keyed: bool = False
    """Whether an API key is asked for, which says whose call it is."""


@dataclass(frozen=True, slots=True)
class Route:
    """``method path`` is answered by ``handler``."""

    method: str
    path: str
    handler: Callable[[Exchange], Awaitable[Reply]]
    operation: Operation
    fits: bool = True
    """Whether this deployment's task is what the operation is for; it is not there otherwise."""
    open: bool = False
    """Whether it is answered without an API key where others are not: probes have none."""

    def keyed(self, identify: Identify) -> Route:
        """The route for those whom ``identify`` knows; it is asked before the body is read."""
        if self.open:
            return self
        handler, operation = self.handler, self.operation

        async def identified(exchange: Exchange) -> Reply:
            exchange.tenant = identify(exchange.headers)
            return await handler(exchange)

        statuses = (*operation.statuses, 401)
        return replace(
            self, handler=identified, operation=replace(operation, statuses=statuses, keyed=True)
        )
