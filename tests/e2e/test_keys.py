"""A server that asks for API keys, as its callers meet it: OpenAI's, Cohere's and Triton's clients,
unmodified, over real sockets."""

from __future__ import annotations

import hashlib
import http.client
import queue
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cohere
import httpx
import numpy as np
import openai
import pytest
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException

from headgate.runtime import Deployment
from headgate.server import App, Limits
from tests.e2e.test_switch import successor
from tests.serving import Served, WordEngine, deployment, eventually, expected

RED, BLUE = "the-key-of-search", "the-key-of-docs"
KEYS = {RED: "search", BLUE: "docs"}
PROBED = {
    "/health",
    "/metrics",
    "/openapi.json",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/words/ready",
    "/v2/models/words/versions/3/ready",
}


def write(path: Path, keys: dict[str, str]) -> Path:
    lines = (f"{hashlib.sha256(key.encode()).hexdigest()}  {who}\n" for key, who in keys.items())
    path.write_text("".join(lines), encoding="utf-8")
    return path


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **more}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("secret") / "keys", KEYS)


@pytest.fixture(scope="module")
def served(key_file: Path) -> Iterator[Served]:
    """The tests' endpoint is ``words`` at generation 3."""
    with Served(deployment(cache_bytes=10_000), grpc=True, api_keys=key_file) as running:
        yield running


def embed(url: str, text: str, headers: dict[str, str]) -> httpx.Response:
    body = {"model": "words", "input": text}
    return httpx.post(f"{url}/v1/embeddings", json=body, headers=headers, timeout=30)


def for_task(task: str) -> Deployment:
    given = deployment()
    object.__setattr__(given.build, "task", task)
    return given


@pytest.mark.parametrize("task", ["embed", "classify", "rerank"])
def test_nothing_but_what_is_probed_is_answered_without_a_key(task: str, key_file: Path) -> None:
    """Every route, by a caller without a key and by one with a wrong one; each in its own form."""
    routes = App(for_task(task), Limits()).routes
    with Served(for_task(task), api_keys=key_file) as s, httpx.Client(base_url=s.url) as client:
        for route in routes:
            for headers in ({}, bearer("wrong")):
                answer = client.request(route.method, route.path, headers=headers)
                if route.path in PROBED:
                    assert answer.status_code == 200
                    continue
                assert answer.status_code == 401, route.path
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "API key" in answer.text
                form = route.operation.errors.body.__struct_fields__
                assert tuple(answer.json()) == form
        assert client.head("/health").status_code == 200
        assert client.head("/v1/models").status_code == 401


def test_openais_client_calls_by_its_key(served: Served) -> None:
    """A wrong key is its own error, with OpenAI's code."""
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=RED, max_retries=0) as client:
        answer = client.embeddings.create(model="words", input="a bc", encoding_format="float")
        assert answer.data[0].embedding == expected("a bc")
        assert [model.id for model in client.models.list()] == ["words"]
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError, match="not known") as refused,
    ):
        client.embeddings.create(model="words", input="a bc")
    assert refused.value.code == "invalid_api_key"


def test_coheres_client_understands_that_its_key_is_wrong(key_file: Path) -> None:
    """By its own exception."""
    with Served(for_task("rerank"), api_keys=key_file) as s, httpx.Client() as client:
        caller = cohere.ClientV2(api_key="wrong", base_url=s.url, httpx_client=client)
        with pytest.raises(cohere.UnauthorizedError, match="not known"):
            caller.rerank(model="words", query="q", documents=["a"])


def test_tritons_client_calls_by_its_key(served: Served) -> None:
    """Over HTTP; without one it can still ask whether the server is there."""
    text = triton_http.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["a bc"], dtype=object))
    with triton_http.InferenceServerClient(served.url.removeprefix("http://")) as client:
        answer = client.infer("words", [text], headers=bearer(BLUE))
        np.testing.assert_array_equal(answer.as_numpy("embedding"), [expected("a bc")])
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("words")
        for headers in (None, bearer("wrong")):
            with pytest.raises(InferenceServerException, match="API key") as refused:
                client.infer("words", [text], headers=headers)
            assert refused.value.status() == "401"
            with pytest.raises(InferenceServerException, match="API key"):
                client.get_model_metadata("words", headers=headers)


def test_tritons_client_calls_by_its_key_over_grpc(served: Served) -> None:
    """As metadata; the tenant's header is refused there too."""
    text = triton_grpc.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["a bc"], dtype=object))
    with triton_grpc.InferenceServerClient(served.grpc_address) as client:
        mine = bearer(BLUE, **{"x-request-id": "mine"})
        answer = client.infer("words", [text], headers=mine)
        np.testing.assert_array_equal(answer.as_numpy("embedding"), [expected("a bc")])
        (trace,) = [t for t in served.deployment.traces.recent() if t["request_id"] == "mine"]
        assert trace["tenant"] == "docs"
        assert client.get_model_metadata("words", headers=bearer(BLUE)).name == "words"
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("words")
        other = bearer(BLUE, **{"x-headgate-tenant": "search"})
        for headers in (None, bearer("wrong"), other):
            with pytest.raises(InferenceServerException, match="API key") as refused:
                client.infer("words", [text], headers=headers)
            assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
            for about in (client.get_server_metadata, client.get_model_metadata):
                named = () if about == client.get_server_metadata else ("words",)
                with pytest.raises(InferenceServerException, match="API key"):
                    about(*named, headers=headers)


def test_the_tenant_is_the_keys(served: Served) -> None:
    """In the trace and in the cache: no tenant gets an answer that another's question made, and
    none may pass for another."""
    assert embed(served.url, "whose", bearer(RED)).headers["x-headgate-source"] == "engine"
    assert embed(served.url, "whose", bearer(BLUE)).headers["x-headgate-source"] == "engine"
    named = bearer(RED, **{"x-headgate-tenant": "search"})
    assert embed(served.url, "whose", named).headers["x-headgate-source"] == "cache"
    passing = embed(served.url, "whose", bearer(RED, **{"x-headgate-tenant": "docs"}))
    assert (passing.status_code, passing.json()["error"]["code"]) == (401, "invalid_api_key")

    def tenants() -> list[object]:
        return [t["tenant"] for t in served.deployment.traces.recent()[-4:]]

    # A trace is written once its answer is on the way.
    eventually(lambda: tenants() == ["search", "docs", "search", ""], "another tenant is on record")


def test_it_is_told_before_a_body_has_come(served: Served) -> None:
    """A stranger is not waited for: the head alone is refused. What comes of the body after all is
    not taken for the next request."""
    url = httpx.URL(served.url)
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    with socket.create_connection((url.host, url.port or 80), timeout=30) as stranger:
        stranger.sendall(head)
        assert received(stranger)[0] == 401
        stranger.sendall(b"x" * 100_000 + b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert received(stranger) == (200, b'{"live":true}')


def received(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    with http.client.HTTPResponse(connection) as answer:
        answer.begin()
        return answer.status, answer.read()


def status(url: str, key: str) -> int:
    return httpx.get(f"{url}/v1/models", headers=bearer(key), timeout=30).status_code


def test_a_key_is_revoked_and_another_given_while_it_serves(tmp_path: Path) -> None:
    """What was accepted by the old key is answered; another tenant's goes on."""
    engine, path = WordEngine(), write(tmp_path / "keys", KEYS)
    with Served(deployment(engine), api_keys=path) as s, ThreadPoolExecutor(1) as pool:
        assert (status(s.url, RED), status(s.url, BLUE), status(s.url, "new")) == (200, 200, 401)
        engine.open.clear()
        held = pool.submit(embed, s.url, "held", bearer(RED))
        assert engine.entered.acquire(timeout=30)
        write(path, {BLUE: "docs", "new": "search"})
        eventually(lambda: status(s.url, RED) == 401, "the key still opens")
        assert (status(s.url, BLUE), status(s.url, "new")) == (200, 200)
        engine.open.set()
        assert held.result().status_code == 200
        assert embed(s.url, "again", bearer(RED)).status_code == 401


def test_a_broken_file_locks_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The keys that were go on, and the log says why, until it is whole again."""
    path = write(tmp_path / "keys", KEYS)
    with Served(api_keys=path) as s:
        path.write_text("what is this", encoding="utf-8")
        eventually(lambda: "stay as they were" in caplog.text, "it was not noticed")
        assert f"{path}:1: 3 words" in caplog.text
        assert (status(s.url, RED), status(s.url, BLUE)) == (200, 200)
        write(path, {RED: "search"})
        eventually(lambda: status(s.url, BLUE) == 401, "the key still opens")
        assert status(s.url, RED) == 200


def test_the_next_release_asks_for_keys_too(key_file: Path) -> None:
    """Over both protocols."""
    first, second = WordEngine(), WordEngine()
    before = deployment(first)
    coming: queue.SimpleQueue[Deployment] = queue.SimpleQueue()
    with Served(
        before,
        next_release=lambda: None if coming.empty() else coming.get(),
        grpc=True,
        api_keys=key_file,
    ) as s:
        coming.put(successor(second, before))
        eventually(lambda: first.closed, "nothing took over")
        assert embed(s.url, "a", {}).status_code == 401
        assert embed(s.url, "a", bearer(RED)).headers["x-headgate-release"] == "words@4"
        with (
            triton_grpc.InferenceServerClient(s.grpc_address) as client,
            pytest.raises(InferenceServerException, match="API key"),
        ):
            client.get_model_metadata("words")


def test_without_keys_none_is_looked_at() -> None:
    """A client that must send something sends anything, and the header names the tenant."""
    with Served() as s:
        headers = bearer("anything", **{"x-headgate-tenant": "search"})
        assert embed(s.url, "a bc", headers).status_code == 200
        traces = s.deployment.traces
        eventually(lambda: [t["tenant"] for t in traces.recent()] == ["search"], "it is not named")
