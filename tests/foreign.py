"""A server that is not ours: hand-written, on a real socket, honest until it is told otherwise."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

__all__ = ["Answer", "Asked", "Foreign", "certificate", "embeddings", "honest", "infer", "vector"]


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any


@dataclass(frozen=True)
class Answer:
    """What goes back. ``promised``: a content-length that is not the body's; ``hang_up``: the
    connection is closed after it, though nothing says so beforehand."""

    body: object
    status: int = 200
    promised: int | None = None
    hang_up: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Answering = Callable[[Asked], Answer]


def vector(text: str) -> list[float]:
    """An embedding that a test can work out: characters, words, and the first character."""
    return [float(len(text)), float(len(text.split())), float(ord(text[0]))]


def embeddings(texts: Sequence[str]) -> dict[str, Any]:
    """As OpenAI answers; the last text comes first, which ``index`` tells."""
    rows = [
        {"object": "embedding", "index": i, "embedding": vector(t)} for i, t in enumerate(texts)
    ]
    return {"object": "list", "model": "m", "data": rows[::-1]}


def infer(asked: Asked) -> dict[str, Any]:
    """As a V2 server of the model ``sums`` answers: the sum of each row, or a text's vector."""
    tensor = asked.body["inputs"][0]
    n = tensor["shape"][0]
    if tensor["datatype"] == "BYTES":
        data = [x for text in tensor["data"] for x in vector(text)]
        return {"outputs": [{"name": "y", "shape": [n, 3], "datatype": "FP32", "data": data}]}
    width = len(tensor["data"]) // n
    sums = [sum(tensor["data"][i * width : (i + 1) * width]) for i in range(n)]
    return {"outputs": [{"name": "y", "shape": [n, 1], "datatype": "FP32", "data": sums}]}


def honest(asked: Asked) -> Answer:
    """Both protocols, behind any path prefix."""
    if asked.path.endswith("/v1/models"):
        return Answer({"object": "list", "data": [{"id": "tiny", "object": "model"}]})
    if asked.path.endswith("/v1/embeddings"):
        return Answer(embeddings(asked.body["input"]))
    if asked.path.endswith("/v2/models/sums"):
        spec = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
        return Answer({"name": "sums", "inputs": [spec], "outputs": []})
    if asked.path.endswith("/v2/models/texts"):
        spec = {"name": "text", "datatype": "BYTES", "shape": [-1, 1]}
        return Answer({"name": "texts", "inputs": [spec], "outputs": []})
    if asked.path.endswith("/infer"):
        return Answer(infer(asked))
    return Answer({"error": f"there is nothing at {asked.path}"}, status=404)


class Foreign:
    """Serves ``answer`` on a free port of this machine; ``asked`` is what came, in order.

    ``identity``: a certificate and its key, in one file; the server then speaks TLS.
    """

    def __init__(self, answer: Answering = honest, identity: Path | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                asked = Asked(self.command, self.path, headers, json.loads(raw) if raw else None)
                outer.asked.append(asked)
                answer = outer.answer(asked)
                self.send_response(answer.status)
                length = len(answer.raw) if answer.promised is None else answer.promised
                self.send_header("content-length", str(length))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.raw)
                if answer.hang_up or length != len(answer.raw):
                    self.close_connection = True

            do_GET = do_POST  # noqa: N815 - the name that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # a caller who hangs up is no news here

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(20)
        self._server.server_close()


def certificate(path: Path) -> Path:
    """A certificate of 127.0.0.1 that vouches for itself, and its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
