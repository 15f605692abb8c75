"""Requests to a server that is not ours: one kept-alive connection, bounded in time and in bytes.

Knows nothing of what bodies mean. Follows no redirect, so that a header's value reaches the server
that was named and no other.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import string
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from headgate.errors import ConfigError, EngineError, InputError

__all__ = ["Connection", "header_values", "split_url"]

T = TypeVar("T")
_TIMEOUT_S = 60.0
_MAX_ANSWER_BYTES = 64 * 2**20
_MAX_SAID = 300
_CHUNK_BYTES = 65_536


def split_url(url: str) -> urllib.parse.SplitResult:
    """The parts of an http or https URL. Raises ``InputError``, also for one with a password.

    >>> split_url("https://gateway.example/team/v1").path
    '/team/v1'
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urllib.parse.SplitResult("", "", "", "", ""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        after = url.rpartition("://")[2] or "host:port"
        raise InputError("is not a URL", where=url, reason="not_a_url", fix=f"write http://{after}")
    if parts.username is not None:
        raise InputError(
            "holds a name or a password, which would be on record",
            where=f"{parts.scheme}://...@{parts.hostname}",
            reason="secret_in_url",
            fix="give it as a header, with ${NAME} for the secret",
        )
    return parts


def header_values(headers: Mapping[str, str]) -> dict[str, str]:
    """``headers`` with every ``${NAME}`` from the environment. Raises ``ConfigError``; no message
    holds a value."""
    values = {}
    for name, written in headers.items():
        try:
            value = string.Template(written).substitute(os.environ)
        except KeyError as error:
            raise ConfigError(
                f"the environment has no {error.args[0]}",
                where=f"header {name}",
                reason="environment",
                fix=f"export {error.args[0]}=...",
            ) from None
        except ValueError:
            raise ConfigError(
                "a $ begins no name", where=f"header {name}", fix="write ${NAME}, or $$ for a $"
            ) from None
        token = name.replace("-", "").replace("_", "")
        if not (token.isascii() and token.isalnum() and value.isascii() and value.isprintable()):
            raise ConfigError(
                "is not printable ASCII on one line", where=f"header {name}", fix="correct it"
            )
        values[name] = value
    return values


class Connection:
    """A kept-alive connection to one server; used by one thread at a time.

    ``url``: scheme, host, port and the path in front of every route. ``timeout_s`` is for a request
    as a whole, from connecting to the answer's last byte.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float = _TIMEOUT_S,
        max_answer_bytes: int = _MAX_ANSWER_BYTES,
    ) -> None:
        parts = split_url(url)
        assert parts.hostname is not None, "split_url refuses a URL without a host"
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.rstrip("/")
        self._headers = header_values(headers)
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port)

    def get(self, route: str, read: Callable[[bytes], T]) -> T:
        """What ``read`` makes of the body of a 200. Raises as ``post`` does."""
        return self._ask("GET", route, None, read)

    def post(self, route: str, body: bytes, read: Callable[[bytes], T]) -> T:
        """What ``read`` makes of the body of a 200.

        Raises ``EngineError`` that names the URL: ``unreachable``, ``timed_out``, ``refused`` (any
        other status), ``malformed`` (no HTTP, or cut off), ``too_large``, ``cached`` (it says that
        nothing was computed), or as ``read`` does.
        """
        return self._ask("POST", route, body, read)

    def close(self) -> None:
        """Harmless when repeated; the next request connects again."""
        self._connection.close()

    def _ask(self, method: str, route: str, body: bytes | None, read: Callable[[bytes], T]) -> T:
        where = f"{self._root}{self._prefix}{route}"
        ends_s = time.monotonic() + self._timeout_s
        try:
            status, content, moved_to = self._exchange(method, route, body, ends_s)
        except TimeoutError:
            self.close()
            raise EngineError(
                f"no answer within {self._timeout_s:g} s",
                where=where,
                reason="timed_out",
                fix="check that it runs and is not overloaded",
            ) from None
        except OSError as error:
            self.close()
            said = getattr(error, "verify_message", None) or error.strerror or str(error)
            raise EngineError(
                f"nothing answers there: {said}".rstrip("."),
                where=where,
                reason="unreachable",
                fix="check that it runs, and the URL; SSL_CERT_FILE names certificates to trust",
            ) from None
        except http.client.HTTPException as error:
            self.close()
            raise EngineError(
                f"what answers is cut off, or is not HTTP: {type(error).__name__}",
                where=where,
                reason="malformed",
                fix="check the port, and what stands between here and there",
            ) from None
        if status == 200:
            try:
                return read(content)
            except EngineError as error:
                raise EngineError(
                    error.what, where=where, reason=error.reason, fix=error.fix
                ) from None
        said = f": {self._said(content)}" if content else ""
        if moved_to:
            said = f": it is at {moved_to}"
        raise EngineError(
            f"it answers {status} {http.client.responses.get(status, '')}".rstrip() + said,
            where=where,
            reason="refused",
            fix="check the URL, the model's name and the headers; the server's log may say more",
        )

    def _exchange(
        self, method: str, route: str, body: bytes | None, ends_s: float
    ) -> tuple[int, bytes, str | None]:
        headers = {**self._headers, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
            headers["Cache-Control"] = "no-store"  # an answer of before measures nothing
        while True:
            kept = self._connection.sock is not None
            try:
                sock = self._connected(ends_s)
                self._connection.request(method, self._prefix + route, body, headers)
                answer = self._connection.getresponse()
                break
            except ConnectionError:
                self.close()
                if not kept:  # one that was idle may have been closed meanwhile, a new one not
                    raise
        with contextlib.closing(answer):
            content = b"".join(self._chunks(answer, sock, ends_s))
        if body is not None and _from_cache(answer.headers):
            raise EngineError(
                "its answer is from a cache, and says nothing of the model",
                where=self._root + self._prefix + route,
                reason="cached",
                fix="give the URL of what is behind the cache, or turn the cache off",
            )
        if answer.length:  # bytes that were promised and did not come
            raise http.client.IncompleteRead(b"", answer.length)
        return answer.status, content, answer.headers.get("Location")

    def _connected(self, ends_s: float) -> socket.socket:
        self._connection.timeout = _left_s(ends_s)
        if self._connection.sock is None:
            self._connection.connect()
        sock: socket.socket = self._connection.sock
        sock.settimeout(_left_s(ends_s))
        return sock

    def _chunks(
        self, answer: http.client.HTTPResponse, sock: socket.socket, ends_s: float
    ) -> Iterable[bytes]:
        size = 0
        while True:
            sock.settimeout(_left_s(ends_s))
            chunk = answer.read1(_CHUNK_BYTES)
            if not chunk:
                return
            size += len(chunk)
            if size > self._max_answer_bytes:
                self.close()
                raise EngineError(
                    f"its answer is longer than {self._max_answer_bytes} bytes",
                    where=self._root,
                    reason="too_large",
                )
            yield chunk

    def _said(self, content: bytes) -> str:
        """The server's own words in one line, without what our headers hold."""
        said = " ".join(_message(content).split())
        for value in self._headers.values():
            for secret in (value, value.rpartition(" ")[2]):
                said = said.replace(secret, "***") if secret else said
        return said[:_MAX_SAID]


def _from_cache(headers: http.client.HTTPMessage) -> bool:
    """Whether a cache on the way says that it answered: ours, one of RFC 9111, or a proxy's."""
    return (
        headers.get("X-Headgate-Source") in ("cache", "twin")
        or headers.get("Age", "0") != "0"
        or headers.get("X-Cache", "").lower().startswith("hit")
    )


def _left_s(ends_s: float) -> float:
    """What is left of a request's time. Raises ``TimeoutError`` where nothing is."""
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _message(content: bytes) -> str:
    """The message of an error body: OpenAI's, TEI's, V2's, FastAPI's, or the text as it is."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return content[: 4 * _MAX_SAID].decode(errors="replace")
    while isinstance(body, dict):
        body = next((body[k] for k in ("error", "message", "detail") if k in body), str(body))
    return str(body)
