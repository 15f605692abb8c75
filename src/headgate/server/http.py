"""The little HTTP that the protocols share: reading a body within limits, replies, errors.

Knows nothing of embeddings or tensors.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeVar

import msgspec

from headgate.server.call import Call

__all__ = [
    "CLOSE",
    "CONNECTION",
    "Exchange",
    "HttpError",
    "Limits",
    "Receive",
    "Reply",
    "Scope",
    "Send",
    "decoded",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")


CONNECTION = "headgate.connection"
"""Among a request's ASGI extensions: the ``Heard`` that it came by."""


class Heard(Protocol):
    """A connection that calls ``hung_up``, where that is set, once its caller is gone."""

    hung_up: Callable[[], None] | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask of the server."""

    max_body_bytes: int = 8 * 2**20
    max_items: int = 2048
    """Items of one request, as OpenAI's own limit."""
    max_held_bytes: int = 64 * 2**20
    """Of all bodies that are not tokenized yet."""
    max_held_tokens: int = 2**20
    """Of all requests that are not answered yet."""
    body_timeout_s: float = 30.0
    """For a body to come whole; a caller that stops halfway holds nothing for long."""
    idle_timeout_s: float = 75.0
    """For the next head to come whole, and for an answer to be read. Longer than what pools of
    clients and proxies keep a connection for, so that they close first."""
    drain_timeout_s: float = 30.0
    """From SIGTERM to giving up on what is still unanswered."""


class HttpError(Exception):
    """A request that gets another status than 200. ``param`` names the field at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers

    @classmethod
    def invalid(cls, param: str, message: str) -> HttpError:
        """400: the field ``param`` is wrong."""
        return cls(400, f"{param}: {message}", code="invalid_value", param=param)

    @classmethod
    def busy(cls, reason: str, message: str, retry_after_s: float | None) -> HttpError:
        """429; ``Retry-After`` in whole seconds, and in milliseconds for clients that read that."""
        wait_s = max(retry_after_s or 0.0, 0.001)
        return cls(
            429,
            f"{message}; try again in {wait_s:.3g} s",
            code=reason,
            headers=(
                (b"retry-after", b"%d" % math.ceil(wait_s)),
                (b"retry-after-ms", b"%d" % math.ceil(wait_s * 1e3)),
            ),
        )


@dataclass(slots=True)
class Reply:
    """What goes out. ``source`` is set where an inference answered."""

    body: bytes
    status: int = 200
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    source: str = ""


@dataclass(slots=True, kw_only=True)
class Exchange(Call):
    """A call over HTTP."""

    method: str
    path: str
    receive: Receive
    limits: Limits
    connection: Heard
    gone: bool = False
    """The caller hung up."""
    given_up: HttpError | None = None
    """What the caller is told, where its task was cancelled for it."""
    task: asyncio.Task[object] | None = field(default=None)

    def hang_up(self) -> None:
        """Its caller did: ends its task."""
        self.gone = True
        assert self.task is not None
        self.task.cancel()

    def give_up(self, error: HttpError) -> None:
        """Ends its task; the caller gets ``error``."""
        self.given_up = error
        assert self.task is not None
        self.task.cancel()

    async def body(self, hold: Callable[[int], None]) -> bytes:
        """The whole body; ``hold`` is told the bytes of every piece, and raises to refuse it.

        Raises ``HttpError`` 413, and 415 for one that is compressed; a caller who hangs up is
        cancelled. Waits as long as it takes.
        """
        encoding = self.headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            raise HttpError(
                415,
                f"Content-Encoding: {encoding.decode('latin-1')} is not understood; send the body "
                "as it is",
                code="unsupported_encoding",
                param="Content-Encoding",
                headers=CLOSE,
            )
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limits.max_body_bytes:
            self._too_large()
        message = await self.receive()
        if not message.get("more_body") and message["type"] == "http.request":
            body: bytes = message["body"]  # nearly always: it came in one piece
            if len(body) > self.limits.max_body_bytes:
                self._too_large()
            hold(len(body))
            return body
        return await self._pieces(message, hold)

    async def _pieces(self, message: Message, hold: Callable[[int], None]) -> bytes:
        pieces, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                self.gone = True
                raise asyncio.CancelledError
            piece = message.get("body", b"")
            size += len(piece)
            if size > self.limits.max_body_bytes:
                self._too_large()
            hold(len(piece))
            pieces.append(piece)
            if not message.get("more_body"):
                return b"".join(pieces)
            message = await self.receive()

    def _too_large(self) -> NoReturn:
        raise HttpError(
            413,
            f"the body is larger than {self.limits.max_body_bytes} bytes",
            code="body_too_large",
            headers=CLOSE,
        )


CLOSE = ((b"connection", b"close"),)
"""For answers after which no further request can be told from the rest of the last."""


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """``body`` as the decoder's type. Raises ``HttpError`` 400 that names the field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        field_name = path.rstrip("`").removeprefix("$.").removeprefix("$")
        missing = message.partition("missing required field `")[2].rstrip("`")
        unknown = message.partition("contains unknown field `")[2].rstrip("`")
        field_name = ".".join(part for part in (field_name, missing, unknown) if part)
        raise HttpError(
            400,
            f"{field_name}: {message}" if field_name else message,
            code="invalid_value",
            param=field_name or None,
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpError(400, f"the body is not valid JSON: {error}", code="invalid_json") from None
