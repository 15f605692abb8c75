"""One engine on one thread: takes batches, gives back events. Decides nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from headgate.dataplane.events import Failed, Finished, Run
from headgate.errors import EngineError
from headgate.runtime.answers import Carried
from headgate.runtime.output import rows
from headgate.workload import Codec, Encoded, Engine

__all__ = ["Done", "Instance", "Postprocess"]

Postprocess = Callable[[NDArray[np.generic]], object]
"""The caller's own: outputs of one batch in, as many outputs out."""

Done = Callable[[Finished | Failed, float, float], None]
"""Called on the event loop with the event and when the engine call started and ended."""


class Instance:
    """``run`` queues a batch for the thread; ``done`` is called on the loop when it is through."""

    def __init__(
        self,
        number: int,
        engine: Engine,
        codec: Codec,
        done: Done,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        postprocess: Postprocess | None,
        item_shape: tuple[int, ...] | None,
    ) -> None:
        self.number = number
        self.progressed_s = clock()
        """When this instance last gave a good answer."""
        self.canary_pending = False
        self._engine, self._codec, self._done = engine, codec, done
        self._loop, self._clock = loop, clock
        self._postprocess, self._item_shape = postprocess, item_shape
        self._jobs: SimpleQueue[Run | Encoded | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"engine-{number}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def run(self, job: Run) -> None:
        self._jobs.put(job)

    def probe(self, canary: Encoded) -> None:
        """Runs one item for the proof alone that this instance still makes progress."""
        if not self.canary_pending:
            self.canary_pending = True
            self._jobs.put(canary)

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread after what is queued, and frees the engine. A wedged one is left."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            self._engine.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, Encoded):
                self._probe(job)
                continue
            started_s = self._clock()
            event = self._compute(job)
            ended_s = self._clock()
            if isinstance(event, Finished):
                self.progressed_s = ended_s
                event = replace(event, duration_s=ended_s - started_s)
            try:
                self._loop.call_soon_threadsafe(self._done, event, started_s, ended_s)
            except RuntimeError:  # the loop is closed: nobody is left to answer
                return

    def _compute(self, job: Run) -> Finished | Failed:
        batch = job.batch
        try:
            payloads = [r.payload for r in batch.requests if isinstance(r, Carried)]
            values = self._infer(payloads)
        except BaseException as error:  # whatever it raises, the callers must hear of it
            if isinstance(error, EngineError):
                return Failed(batch, job.instance, error)
            wrapped = EngineError(f"{type(error).__name__}: {error}", where="engine")
            wrapped.__cause__ = error
            return Failed(batch, job.instance, wrapped)
        sizes = (v.nbytes for v in values if not isinstance(v, EngineError))
        return Finished(batch, job.instance, values, next(sizes, 0))

    def _infer(self, payloads: list[Encoded]) -> tuple[NDArray[np.generic] | EngineError, ...]:
        output = self._engine.run(self._codec.collate(payloads))
        if self._postprocess is not None:
            output = np.asarray(self._postprocess(output))
        return rows(output, len(payloads), self._item_shape)

    def _probe(self, canary: Encoded) -> None:
        try:
            (answer,) = self._infer([canary])
        except BaseException:  # as above: the thread must outlive whatever an engine raises
            return  # no progress: readiness sees the stale stamp
        finally:
            self.canary_pending = False
        if not isinstance(answer, EngineError):
            self.progressed_s = self._clock()
