"""An engine that hangs in a server on a real socket: told, counted, replaced, nothing else lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from headgate.workload import Tensors
from tests.serving import Served, WordEngine, deployment, eventually, expected

HANGS_AFTER_S = 3.0
"""What is healthy answers within milliseconds, and has this long on a busy machine. More than the
two seconds that the watchdog takes a pause of the whole machine for, however long that is."""


def embed(url: str, text: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/embeddings", json={"model": "words", "input": text}, timeout=60)


def infer(url: str, text: str) -> httpx.Response:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    return httpx.post(f"{url}/v2/models/words/infer", json={"inputs": [tensor]}, timeout=60)


def scraped(url: str) -> str:
    return httpx.get(f"{url}/metrics", timeout=60).text


WEDGE = "thirteenchars"


class Wedging(WordEngine):
    """Its call blocks on ``open`` from the moment in which it sees a word of thirteen letters."""

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        if (tensors["ids"] == len(WEDGE)).any():
            self.open.clear()
        return super().run(tensors)

    @property
    def hangs(self) -> bool:
        return not self.open.is_set()


def times_run(*engines: WordEngine) -> int:
    """How often engines saw the word."""
    return sum(int((batch == len(WEDGE)).sum()) for e in engines for batch in e.batches)


@pytest.mark.parametrize("ask", [embed, infer])
def test_a_wedged_engine_costs_its_own_callers_an_answer_and_nobody_else(
    ask: Callable[[str, str], httpx.Response],
) -> None:
    """One of two hangs: its caller gets a 500 that says so, others are answered before, meanwhile
    and after, the server stays ready, and two engines serve again."""
    engines = Wedging(), Wedging()
    successor = WordEngine()
    d = deployment(
        *engines,
        successors=[successor],
        hangs_after_s=HANGS_AFTER_S,
        canary_interval_s=0.05,
    )
    with Served(d) as server, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(ask, server.url, WEDGE)
        eventually(lambda: any(e.hangs for e in engines), "nothing hangs")
        meanwhile = 0
        while not hanging.done():
            assert embed(server.url, f"number {meanwhile}").status_code == 200
            assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
            meanwhile += 1
        told = hanging.result()
        assert told.status_code == 500
        assert "did not come back" in told.text
        assert told.headers["x-should-retry"] == "false"
        if ask is embed:
            assert told.json()["error"]["code"] == "engine_hung"
        assert meanwhile >= 1
        eventually(
            lambda: "headgate_instances_in_service 2.0" in scraped(server.url), "not replaced"
        )
        metrics = scraped(server.url)
        assert 'headgate_engine_failures_total{reason="engine_hung"} 1.0' in metrics
        assert 'headgate_engine_replacements_total{outcome="loaded"} 1.0' in metrics
        assert ask(server.url, "fine again").status_code == 200
        server.stop()
        assert server.drained()
    assert successor.closed
    assert times_run(*engines, successor) == 1, "nobody ran it again"


def test_what_was_accepted_is_answered_by_the_successor() -> None:
    """The only engine hangs, one caller on it and twelve behind: one is told, twelve are answered,
    and readiness says how it stands. OpenAI's own client asks once, and not again."""
    wedging, successor = Wedging(), WordEngine()
    d = deployment(
        wedging, successors=[successor], hangs_after_s=HANGS_AFTER_S, canary_interval_s=0.05
    )
    with Served(d) as server, ThreadPoolExecutor(13) as pool:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=60)
        hanging = pool.submit(client.embeddings.create, model="words", input=WEDGE)
        eventually(lambda: wedging.hangs, "nothing hangs")
        texts = [f"text {'x' * i}" for i in range(12)]
        waiting = [pool.submit(embed, server.url, text) for text in texts]
        with pytest.raises(openai.InternalServerError, match="did not come back"):
            hanging.result()
        for text, reply in zip(texts, waiting, strict=True):
            assert reply.result().json()["data"][0]["embedding"] == expected(text)
        assert httpx.get(f"{server.url}/health", timeout=60).status_code == 200
        assert times_run(wedging, successor) == 1
        client.close()


def test_a_server_without_an_engine_is_not_ready_and_says_why() -> None:
    """No successor can be loaded: 503 at once for whoever asks, and for whoever asks how it is; the
    process lives, since loading is tried again. SIGTERM ends it, cleanly."""
    wedged = WordEngine()
    wedged.open.clear()
    d = deployment(wedged, hangs_after_s=HANGS_AFTER_S, canary_interval_s=0.05)
    with Served(d) as server:
        # Nobody asks: the canary is what hangs.
        ready = f"{server.url}/v2/health/ready"
        eventually(lambda: "no successor is left" in httpx.get(ready, timeout=60).text, "ready")
        assert httpx.get(ready, timeout=60).status_code == 503
        assert httpx.get(f"{server.url}/v2/health/live", timeout=60).status_code == 200
        refused = embed(server.url, "anything")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_engine")
        server.stop()
        assert server.drained()


def test_a_server_that_can_load_no_more_is_not_alive() -> None:
    """An orchestrator restarts what fails its liveness, and that is what helps now."""
    d = deployment()
    with Served(d) as server:
        live = f"{server.url}/v2/health/live"
        assert httpx.get(live, timeout=60).status_code == 200
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(d.live.replacements), "exhausted", True)
            told = httpx.get(live, timeout=60)
            assert (told.status_code, "restart the server" in told.text) == (503, True)
            assert httpx.get(f"{server.url}/health", timeout=60).status_code == 503


def test_sigterm_with_an_engine_that_hangs_ends_when_everybody_was_told() -> None:
    """Well before the drain's own limit."""
    wedging = Wedging()
    d = deployment(wedging, hangs_after_s=HANGS_AFTER_S, canary_interval_s=0.05)
    with Served(d) as server, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(embed, server.url, WEDGE)
        eventually(lambda: wedging.hangs, "nothing hangs")
        server.stop()
        assert hanging.result().status_code == 500
        assert server.drained()


def test_a_release_retires_though_its_engine_hangs() -> None:
    """The next one takes over meanwhile; the caller of the old one is told, and SIGTERM waits for
    nothing else."""
    wedging, new = Wedging(), WordEngine()
    first = deployment(wedging, hangs_after_s=HANGS_AFTER_S, canary_interval_s=0.05)
    second = replace(deployment(new), generation=4, metrics=first.metrics)
    begin, offered = threading.Event(), iter([second])
    with (
        Served(first, next_release=lambda: next(offered, None) if begin.is_set() else None) as s,
        ThreadPoolExecutor(1) as pool,
    ):
        hanging = pool.submit(embed, s.url, WEDGE)
        eventually(lambda: wedging.hangs, "nothing hangs")
        begin.set()
        eventually(
            lambda: embed(s.url, "a").headers["x-headgate-release"] == "words@4", "no switch"
        )
        told = hanging.result()
        assert (told.status_code, told.headers["x-headgate-release"]) == (500, "words@3")
        assert embed(s.url, "fine").status_code == 200
        s.stop()
        assert s.drained()
        assert not wedging.closed
    assert new.closed
