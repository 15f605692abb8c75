"""A server as callers meet it: OpenAI's own client, hostile callers, SIGTERM to a real process."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from headgate.objects import BatchingSpec, Build, CacheSpec, Variant
from headgate.runtime import Deployment
from headgate.workload import ServiceCurve
from tests.models import tiny_embedder, tiny_tokenizer
from tests.serving import Served, WordEngine, deployment, server_process


def tiny(root: Path) -> Deployment:
    """The tiny embedder on ONNX Runtime with two instances and a cache."""
    tiny_embedder(root / "model")
    tiny_tokenizer(root / "tokenizer")
    build = Build(
        name="tiny",
        task="embed",
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": "model"},
        tokenizer="tokenizer",
        max_tokens=32,
        threads=1,
    )
    batching = BatchingSpec(max_requests=8, max_padded_tokens=256)
    variant = Variant("tiny", build.version, 2, batching, CacheSpec(capacity_bytes=1_000_000))
    return Deployment.open(
        endpoint="tiny",
        generation=1,
        build=build,
        variant=variant,
        service=ServiceCurve(1e-3, 1e-5, 1e-6, 0.0),
        path_of=lambda version: root / version,
        owner="search",
        warm_s=5.0,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tiny(tmp_path_factory.mktemp("tiny"))) as running:
        yield running


@contextmanager
def client_of(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_openais_client_gets_embeddings(served: Served) -> None:
    """One text, many, and token ids; base64 (its default) and float are the same vectors."""
    with client_of(served) as client:
        many = client.embeddings.create(model="tiny", input=["alpha", "beta"])
        alone = client.embeddings.create(model="tiny", input="beta", encoding_format="float")
        # [CLS] and [SEP] are 2 and 3; the letters follow from 4
        ids = client.embeddings.create(model="tiny", input=[[2, 4, 3]])
        letter = client.embeddings.create(model="tiny", input="a")
    assert [len(d.embedding) for d in many.data] == [8, 8]
    assert [d.index for d in many.data] == [0, 1]
    assert alone.data[0].embedding == pytest.approx(many.data[1].embedding, abs=1e-6)
    assert ids.data[0].embedding == pytest.approx(letter.data[0].embedding, abs=1e-6)
    assert many.usage.prompt_tokens == many.usage.total_tokens == len("alphabeta") + 4


def test_openais_client_lists_models(served: Served) -> None:
    """The endpoint is the model."""
    with client_of(served) as client:
        assert [m.id for m in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "search"


def test_openais_client_understands_errors(served: Served) -> None:
    """Its own exception types, with param and code filled."""
    with client_of(served) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.embeddings.create(model="other", input="a")
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.UnprocessableEntityError) as long:
            client.embeddings.create(model="tiny", input="a" * 33)
        assert long.value.code == "too_long"
        cut = client.embeddings.create(model="tiny", input="a" * 33, extra_body={"truncate": True})
        assert cut.usage.prompt_tokens == 32
        with pytest.raises(openai.BadRequestError) as empty:
            client.embeddings.create(model="tiny", input=[])
        assert empty.value.param == "input"
        with pytest.raises(openai.BadRequestError, match="token ids"):
            client.embeddings.create(model="tiny", input=[[99_999]])


def test_openais_client_retries_when_told_to() -> None:
    """A 429 with Retry-After is retried by the client as it stands, and then answered."""
    engine = WordEngine()
    engine.open.clear()
    d = deployment(engine, max_queue_requests=1)
    with (
        Served(d) as s,
        openai.OpenAI(base_url=f"{s.url}/v1", api_key="any", max_retries=10_000) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        texts = ["one", "two", "three"]
        asked = [pool.submit(client.embeddings.create, model="words", input=t) for t in texts]
        with httpx.Client(base_url=s.url) as scraper:
            while 'reason="queue_full"' not in scraper.get("/metrics").text:
                pass
        engine.open.set()
        assert [a.result().data[0].embedding[0] for a in asked] == [3.0, 3.0, 5.0]


def test_many_callers_each_get_their_own_answer(served: Served) -> None:
    """Concurrent callers with cache, twins and batches between them: nothing is mixed up."""
    texts = [f"text{i % 40}" for i in range(400)]
    with httpx.Client(base_url=served.url, timeout=30) as client:

        def ask(text: str) -> np.ndarray:
            answer = client.post("/v1/embeddings", json={"model": "tiny", "input": text})
            return np.array(answer.json()["data"][0]["embedding"])

        alone = {text: ask(text) for text in sorted(set(texts))}
        with ThreadPoolExecutor(16) as pool:
            for text, vector in zip(texts, pool.map(ask, texts), strict=True):
                np.testing.assert_allclose(vector, alone[text], atol=1e-6)


def test_callers_who_send_half_or_nothing_disturb_nobody(served: Served) -> None:
    """Half a head, half a body, garbage, and two hundred idle connections: others are served."""
    address = httpx.URL(served.url)
    half = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"
    connections = []
    try:
        for sent in [b"POST /v1/emb", half, b"\x16\x03\x01\x00", *[b""] * 200]:
            connection = socket.create_connection((address.host, address.port or 80), timeout=20)
            connections.append(connection)
            connection.sendall(sent)
        with client_of(served) as client:
            assert client.embeddings.create(model="tiny", input="still here").data
    finally:
        for connection in connections:
            connection.close()


SERVER = """
import sys
from headgate.server import serve
from tests.serving import WordEngine, deployment

engine = WordEngine()
engine.open.clear()
serve(deployment(engine), port=int(sys.argv[1]), on_listening=lambda url: print(url, flush=True))
"""


def test_sigterm_ends_an_idle_server_with_exit_code_0() -> None:
    """Drained at once: nothing was in flight."""
    with server_process(SERVER, "0") as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        assert httpx.get(f"{url}/health").status_code == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_a_port_in_use_is_one_clear_message() -> None:
    """Busy, with the address, and nothing is half started."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        server_process(SERVER, str(taken.getsockname()[1])) as second,
    ):
        _, errors = second.communicate(timeout=30)
        assert second.returncode != 0
        assert "another process listens on this port" in errors
