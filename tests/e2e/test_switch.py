"""A release takes over from another in a running server, and no request is lost."""

from __future__ import annotations

import json
import logging
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from headgate.errors import EngineError
from headgate.ledger import Store
from headgate.objects import (
    Artifact,
    BatchingSpec,
    BatchInvariance,
    Build,
    CacheSpec,
    Release,
    Variant,
)
from headgate.runtime import Deployment
from headgate.runtime.servable import Servable
from headgate.workload import ServiceCurve
from tests.certificates import certify
from tests.models import tiny_embedder, tiny_tokenizer
from tests.serving import Served, WordEngine, deployment, eventually, expected


def ask(url: str, text: str, client: httpx.Client | None = None) -> tuple[int, str, object]:
    """Status, the release that answered, and its answer."""
    body = {"model": "words", "input": text}
    post = (client or httpx).post
    reply = post(f"{url}/v1/embeddings", json=body, timeout=30)
    answer = reply.json()["data"][0]["embedding"] if reply.status_code == 200 else reply.text
    return reply.status_code, reply.headers["x-headgate-release"], answer


def successor(engine: WordEngine, before: Deployment) -> Deployment:
    """``words@4``, which counts on in the metrics of ``words@3``."""
    return replace(deployment(engine), generation=4, metrics=before.metrics)


def current(url: str) -> str:
    """The release that would answer now."""
    return str(httpx.get(f"{url}/v1/models", timeout=30).headers["x-headgate-release"])


def test_each_release_finishes_what_it_began() -> None:
    """The old one holds a request when the new one takes over: both answer, the old one is freed,
    and the metrics count both."""
    old, new = WordEngine(), WordEngine()
    first = deployment(old)
    coming: queue.SimpleQueue[Deployment] = queue.SimpleQueue()
    with (
        Served(first, next_release=lambda: None if coming.empty() else coming.get()) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        old.open.clear()
        held = pool.submit(ask, server.url, "held by the old one")
        assert old.entered.acquire(timeout=30)
        coming.put(successor(new, first))
        eventually(lambda: current(server.url) == "words@4", "nothing took over")
        assert not old.closed
        old.open.set()
        assert held.result() == (200, "words@3", expected("held by the old one"))
        eventually(lambda: old.closed, "the old engine was not freed")
        assert ask(server.url, "the new one") == (200, "words@4", expected("the new one"))
        assert httpx.get(f"{server.url}/v2/models/words/versions/4").status_code == 200
        assert httpx.get(f"{server.url}/v2/models/words/versions/3").status_code == 404
        counted = httpx.get(f"{server.url}/metrics").text
    labels = 'route="/v1/embeddings",source="engine",status="200"'
    assert f"headgate_requests_total{{{labels}}} 2.0" in counted
    assert 'headgate_takeovers_total{outcome="done"} 1.0' in counted
    (info,) = (line for line in counted.splitlines() if line.startswith("headgate_release_info{"))
    assert 'release="words@4"' in info
    assert new.closed


def test_following_goes_on_where_nobody_can_be_told() -> None:
    """A closed pipe fails the announcement of one release, and not the next release."""
    first = deployment(WordEngine())
    coming = [
        replace(deployment(WordEngine()), generation=g, metrics=first.metrics) for g in (4, 5)
    ]

    def announce(_: Deployment) -> None:
        raise BrokenPipeError

    with Served(
        first, next_release=lambda: coming.pop(0) if coming else None, on_release=announce
    ) as server:
        eventually(lambda: current(server.url) == "words@5", "the second release took over")


def test_stopping_waits_for_a_release_that_retires() -> None:
    """SIGTERM right after the switch: what the old release holds is answered all the same."""
    old, new = WordEngine(), WordEngine()
    first = deployment(old)
    offered = iter([successor(new, first)])
    begin = threading.Event()
    with (
        Served(first, next_release=lambda: next(offered, None) if begin.is_set() else None) as s,
        ThreadPoolExecutor(1) as pool,
    ):
        old.open.clear()
        held = pool.submit(ask, s.url, "held")
        assert old.entered.acquire(timeout=30)
        begin.set()
        eventually(lambda: current(s.url) == "words@4", "nothing took over")
        s.stop()
        old.open.set()
        assert held.result() == (200, "words@3", expected("held"))
        assert s.drained()
    assert old.closed
    assert new.closed


def test_a_release_that_cannot_be_loaded_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is said once in the log, with the reason, and the old one goes on."""
    tries = iter([EngineError("truncated", where="model.onnx")])

    def load() -> Deployment | None:
        for error in tries:
            raise error
        return None

    with caplog.at_level(logging.ERROR, "headgate.server"), Served(next_release=load) as server:
        eventually(lambda: caplog.records, "nothing was logged")
        assert ask(server.url, "still here")[:2] == (200, "words@3")
    (record,) = caplog.records
    assert "words@3 goes on; its successor: model.onnx: truncated" in record.getMessage()
    assert not record.exc_info


@pytest.fixture
def endpoint(tmp_path: Path) -> tuple[Path, list[str]]:
    """A store with two variants of a tiny embedder, the first of them current."""
    root = tmp_path / ".headgate"
    versions = []
    with Store.open(root, create=True) as store:
        model = store.put_file(tiny_embedder(tmp_path / "model.onnx"))
        tokenizer = store.put_file(tiny_tokenizer(tmp_path / "tokenizer.json"))
        build = Build(
            "tiny", "embed", "onnxruntime", "fp32", {"model.onnx": model}, tokenizer, 64, 1
        )
        for size in (1, 8):
            spec = BatchingSpec(size, 256)
            variant = Variant(f"by {size}", build.version, 1, spec, CacheSpec("lru", 10_000))
            curve = ServiceCurve(1e-4, 1e-4, 0.0, 0.0)
            content = Servable(
                "words", "embed", variant, build, curve, BatchInvariance.EXACT, False, None, None
            ).content
            version = store.put_bytes(content)
            store.register(
                Artifact(f"words/by-{size}", version, "variant", "json", "search", len(content))
            )
            versions.append(version)
        store.promote(Release("words", 0, versions[0], None), expected_generation=None)
        certify(store, versions[0], ["a text", "another"])  # both serve the same build
    return root, versions


def test_promote_and_rollback_reach_a_running_server_under_load(
    endpoint: tuple[Path, list[str]],
) -> None:
    """Four callers ask without a pause while generation 1 is promoted and taken back by 2: every
    request is answered, by one generation after the other."""
    root, (first, second) = endpoint
    command = [sys.executable, "-m", "headgate", "serve", "--store", str(root), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--json", "--warm-s", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        ended = threading.Event()
        seen: list[Counter[tuple[int, str]]] = [Counter() for _ in range(4)]

        def load(which: int) -> None:
            with httpx.Client() as client:
                n = 0
                while not ended.is_set():
                    n += 1
                    status, release, _ = ask(url, f"text {which} {n}", client)
                    seen[which][status, release] += 1

        with ThreadPoolExecutor(4) as pool, Store.open(root) as store:
            asking = [pool.submit(load, which) for which in range(4)]
            try:
                for generation, version in ((0, first), (1, second), (2, first)):
                    if generation:
                        release = Release("words", generation, version, None)
                        store.promote(release, expected_generation=generation - 1)
                        told = json.loads(process.stdout.readline())
                        assert told["release"] == f"words@{generation}"
                        assert told["variant"] == version
                    key = (200, f"words@{generation}")
                    eventually(lambda key=key: all(s[key] for s in seen), f"nobody met {key}")
            finally:
                ended.set()
            for each in asking:
                each.result()
        assert {key for s in seen for key in s} == {(200, f"words@{g}") for g in range(3)}
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 0
        events = [json.loads(line)["event"] for line in stderr.splitlines()]
        assert events == ["loading"] * 3 + ["draining", "drained"]
    finally:
        process.kill()
        process.communicate()
    with Store.open(root) as store:
        kept = [e for e in store.entries("artifact") if e.body["kind"] == "traces"]
        assert len(kept) == 3
        assert store.verify().ok
