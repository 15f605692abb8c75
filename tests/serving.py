"""What serving tests share: engines to hold, to fail or to lie, and a server on a real socket."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import uvloop
from numpy.typing import NDArray

from headgate.dataplane import DataPlane
from headgate.errors import EngineError, RequestError, TooLong
from headgate.objects import BatchingSpec, Build, CacheSpec, Variant
from headgate.runtime import Deployment, Tensor, Watch
from headgate.scheduling import Watchdog
from headgate.server import Limits
from headgate.server.key_file import KeyFile
from headgate.server.serve import NextRelease, bind, run
from headgate.workload import Encoded, ServiceCurve, Tensors

__all__ = [
    "POISON",
    "Served",
    "WordCodec",
    "WordEngine",
    "deployment",
    "eventually",
    "expected",
    "server_process",
    "until",
]

POISON = 666
MAX_TOKENS = 16
SPEC = BatchingSpec(max_requests=8, max_padded_tokens=128)


class WordCodec:
    """One token a word: its length. The word ``poison`` is one that engines fail on."""

    def encode(self, items: Sequence[object], *, truncate: bool = False) -> list[Encoded]:
        encoded = []
        for i, item in enumerate(items):
            if not isinstance(item, str):
                raise RequestError("it is no text", where=f"item {i}")
            ids = [POISON if w == "poison" else len(w) for w in item.split()] or [0]
            if len(ids) > MAX_TOKENS and not truncate:
                raise TooLong(f"{len(ids)} tokens, and the model takes 16", where=f"item {i}")
            ids = ids[:MAX_TOKENS]
            encoded.append(Encoded(len(ids), np.array(ids, dtype=np.int64)))
        return encoded

    def collate(self, encoded: Sequence[Encoded]) -> Tensors:
        ids = np.zeros((len(encoded), max(e.length for e in encoded)), dtype=np.int64)
        for row, e in enumerate(encoded):
            ids[row, : e.length] = e.content
        return {"ids": ids}


def expected(text: str) -> list[float]:
    """What ``WordEngine`` answers: number of letters, number of words."""
    return [float(sum(map(len, text.split()))), float(len(text.split()))]


class WordEngine:
    """Answers each row alone. Can be held until released, and can be made to misbehave."""

    def __init__(self, change: Callable[[NDArray[np.float32]], object] | None = None) -> None:
        self.batches: list[NDArray[np.generic]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.closed = False
        self._change = change

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        ids = tensors["ids"]
        self.batches.append(ids)
        self.entered.release()
        assert self.open.wait(30)
        if (ids == POISON).any():
            raise EngineError("poison")
        out = np.stack([ids.sum(axis=1), (ids > 0).sum(axis=1)], axis=1).astype(np.float32)
        return out if self._change is None else np.asarray(self._change(out))

    def close(self) -> None:
        self.closed = True

    @property
    def rows_run(self) -> int:
        return sum(len(b) for b in self.batches)


def deployment(
    *engines: WordEngine,
    batching: BatchingSpec = SPEC,
    cache_bytes: int = 0,
    max_queue_requests: int = 1024,
    max_predicted_wait_s: float = 10.0,
    hangs_after_s: float = math.inf,
    canary_interval_s: float = 1e6,
    successors: Sequence[WordEngine] = (),
    **options: object,
) -> Deployment:
    """``words@3`` on the given engines (one that behaves by default).

    An engine call hangs after ``hangs_after_s``, by default never: a test that holds an engine may
    take its time. No canary comes by default either, so that an engine runs what a test asks and
    nothing else, however long that takes. ``successors`` are loaded one after the other, and then
    no more can be.
    """
    build = Build(
        name="words",
        task="embed",
        engine="fake",
        precision="fp32",
        files={},
        tokenizer="sha256:words",
        max_tokens=MAX_TOKENS,
        threads=1,
    )
    engines = engines or (WordEngine(),)
    variant = Variant(
        "words",
        build.version,
        len(engines),
        batching,
        CacheSpec(capacity_bytes=cache_bytes),
        max_queue_requests,
        max_predicted_wait_s,
    )
    codec = WordCodec()
    coming = iter(successors)

    def load(number: int) -> WordEngine:
        for engine in coming:
            return engine
        raise EngineError("no successor is left", where="model.onnx")

    return Deployment(
        endpoint="words",
        generation=3,
        build=build,
        variant=variant,
        codec=codec,
        engines=engines,
        # Batching must pay, or the batcher does not batch: the call costs much, the item little.
        plane=DataPlane.of(
            variant,
            ServiceCurve(1e-3, 1e-5, 1e-6, 0.0),
            generation=3,
            watchdog=Watchdog(at_least_s=hangs_after_s),
        ),
        input=Tensor("text", "str", ()),
        output=Tensor("embedding", "float32", (2,)),
        canary=codec.encode(["a canary"])[0],
        load_engine=load,
        canary_interval_s=canary_interval_s,
        **options,  # type: ignore[arg-type]  # a test's own keywords
    )


@contextmanager
def server_process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``script``, which may import from here; killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def eventually(met: Callable[[], object], what: str) -> None:
    """Waits for ``met()``, a minute at least; ``what`` is said where it never comes about."""
    for _ in range(6000):
        if met():
            return
        time.sleep(0.01)
    pytest.fail(what)


async def until(met: Callable[[], bool]) -> None:
    """Waits for ``met()``, a minute at least."""
    for _ in range(60_000):
        if met():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came about")


class Served:
    """A deployment served on a free port of this machine, on a loop in a thread of its own."""

    def __init__(
        self,
        deployed: Deployment | None = None,
        limits: Limits | None = None,
        next_release: NextRelease | None = None,
        on_release: Callable[[Deployment], None] | None = None,
        *,
        grpc: bool = False,
        api_keys: Path | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.deployment = deployed or deployment()
        self._watch = watch
        self._grpc = grpc
        self._api_keys = None if api_keys is None else KeyFile(api_keys)
        self.grpc_address = ""
        self._limits = limits
        self._next_release = next_release
        self._on_release = on_release
        self._listening: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._drained: Future[bool] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def serving() -> bool:
            stop, loop = asyncio.Event(), asyncio.get_running_loop()
            listening = self._listening
            return await run(
                self.deployment,
                bind("127.0.0.1", 0),
                stop,
                self._limits,
                lambda url: listening.set_result((url, loop, stop)),
                self._next_release,
                self._on_release,
                poll_s=0.01,
                grpc_address="127.0.0.1:0" if self._grpc else None,
                on_grpc=self._spoken_at,
                api_keys=self._api_keys,
                watch=self._watch,
            )

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self._drained.set_result(runner.run(serving()))
        except BaseException as error:
            for waiting in (self._listening, self._drained):
                if not waiting.done():
                    waiting.set_exception(error)

    def _spoken_at(self, address: str) -> None:
        self.grpc_address = address

    def __enter__(self) -> Self:
        self._thread.start()
        self.url, self._loop, self._stop = self._listening.result(20)
        return self

    def stop(self) -> None:
        """What SIGTERM does; returns at once."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def drained(self) -> bool:
        """Waits for the end; whether everything that was accepted was answered."""
        return self._drained.result(30)

    def __exit__(self, *_: object) -> None:
        for engine in self.deployment.engines:
            if isinstance(engine, WordEngine):
                engine.open.set()
        if not self._drained.done():
            self.stop()
        self.drained()
        self._thread.join(20)
