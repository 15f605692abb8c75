"""A webhook of this machine's own, for drills and tests: keeps what it is sent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any

__all__ = ["Receiver"]


class Receiver:
    """Listens on a free port of 127.0.0.1 while it is entered; ``got`` are the bodies, as JSON.

    The first ``refusals`` calls are answered with 503 and not kept.
    """

    def __init__(self, refusals: int = 0) -> None:
        self.got: list[dict[str, Any]] = []
        self._refusals = refusals
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def escalation(self) -> str:
        """What a contract says under ``escalate`` to have it told here."""
        return f"webhook:http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self.send_response(receiver._take(body))
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """A drill's output is its report."""

        return Handler

    def _take(self, body: bytes) -> int:
        """The status that it is answered with."""
        if self._refusals:
            self._refusals -= 1
            return 503
        self.got.append(json.loads(body))
        return 204
