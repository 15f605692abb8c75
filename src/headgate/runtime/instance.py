"""One engine on one thread: takes batches, gives back events. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headgate.dataplane.events import Failed, Finished, Probe, Proved, Run
from headgate.errors import EngineError
from headgate.runtime.answers import Carried
from headgate.runtime.output import rows
from headgate.workload import Codec, Encoded, Engine

__all__ = ["Answered", "Done", "Instance", "Postprocess"]

_log = logging.getLogger("headgate.runtime")

Postprocess = Callable[[NDArray[np.generic]], object]
"""The caller's own: outputs of one batch in, as many outputs out."""

Done: TypeAlias = "Callable[[Instance, Finished | Failed | Proved, float, float], None]"
"""Called on the event loop with the event and when the engine call started and ended."""

Answered: TypeAlias = "Callable[[NDArray[np.generic] | EngineError], None]"
"""Called on the event loop with what an item was answered that an instance proved itself on."""


class Instance:
    """``run`` queues a batch for the thread; ``done`` is called on the loop when it is through.

    The thread calls ``load`` first, and closes the engine at its end: nobody does it under its
    feet. All but its work happens on the event loop.
    """

    def __init__(
        self,
        number: int,
        load: Callable[[], Engine],
        codec: Codec,
        done: Done,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        postprocess: Postprocess | None,
        item_shape: tuple[int, ...] | None,
        unit: bool = False,
    ) -> None:
        self.number = number
        self.loaded: asyncio.Future[None] = loop.create_future()
        """Done once the engine is there; or what loading raised."""
        self.busy = False
        """A batch is on the engine."""
        self.abandoned = False
        """What it still says counts no more."""
        self.failing_since_s: float | None = None
        """When it last gave a bad answer and no good one since; None where the last was good."""
        self._load, self._codec, self._done = load, codec, done
        self._loop, self._clock = loop, clock
        self._postprocess, self._item_shape, self._unit = postprocess, item_shape, unit
        self._jobs: SimpleQueue[Run | tuple[Probe, Encoded, Answered | None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._live, name=f"engine-{number}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def run(self, job: Run) -> None:
        self.busy = True
        self._jobs.put(job)

    def probe(self, probe: Probe, item: Encoded, answered: Answered | None = None) -> None:
        """Runs one item for the proof that this instance still makes progress, and for what is
        answered, where somebody wants to know."""
        self._jobs.put((probe, item, answered))

    def abandon(self) -> None:
        """Leaves the thread to itself: should it ever come back, it closes its engine and ends."""
        self.abandoned = True
        self.busy = False
        self._jobs.put(None)

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread after what is queued, and frees the engine. A wedged one is left."""
        self._jobs.put(None)
        self._thread.join(timeout_s)

    def _live(self) -> None:
        try:
            engine = self._load()
        except BaseException as error:  # whatever it raises, the one who waits must hear of it
            self._tell(self._set_loaded, _as_engine_error(error, "loading"))
            return
        self._tell(self._set_loaded, None)
        try:
            self._work(engine)
        finally:
            try:
                engine.close()
            except Exception:
                _log.exception("engine %d could not be closed", self.number)

    def _work(self, engine: Engine) -> None:
        while (job := self._jobs.get()) is not None:
            started_s = self._clock()
            event: Finished | Failed | Proved
            if isinstance(job, Run):
                event = self._compute(engine, job)
                good = isinstance(event, Finished)
            else:
                probe, item, answered = job
                answer = self._answer(engine, item)
                event, good = Proved(probe), not isinstance(answer, EngineError)
                if answered is not None:
                    self._tell(answered, answer)
            ended_s = self._clock()
            if isinstance(event, Finished):
                event = replace(event, duration_s=ended_s - started_s)
            self._tell(self._report, event, good, started_s, ended_s)

    def _compute(self, engine: Engine, job: Run) -> Finished | Failed:
        batch = job.batch
        try:
            payloads = [r.payload for r in batch.requests if isinstance(r, Carried)]
            values = self._infer(engine, payloads)
        except BaseException as error:  # whatever it raises, the callers must hear of it
            return Failed(batch, job.instance, _as_engine_error(error, "engine"))
        sizes = (v.nbytes for v in values if not isinstance(v, EngineError))
        return Finished(batch, job.instance, values, next(sizes, 0))

    def _infer(
        self, engine: Engine, payloads: list[Encoded]
    ) -> tuple[NDArray[np.generic] | EngineError, ...]:
        output = engine.run(self._codec.collate(payloads))
        if self._postprocess is not None:
            output = np.asarray(self._postprocess(output))
        return rows(output, len(payloads), self._item_shape, unit=self._unit)

    def _answer(self, engine: Engine, item: Encoded) -> NDArray[np.generic] | EngineError:
        try:
            (answer,) = self._infer(engine, [item])
        except BaseException as error:  # as above: the thread must outlive whatever it raises
            return _as_engine_error(error, "engine")  # readiness sees for how long this goes on
        return answer

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear of it
            self._loop.call_soon_threadsafe(callback, *args)

    # On the event loop

    def _set_loaded(self, error: EngineError | None) -> None:
        if self.loaded.done():
            return  # whoever waited has given up
        if error is None:
            self.loaded.set_result(None)
        else:
            self.loaded.set_exception(error)

    def _report(
        self, event: Finished | Failed | Proved, good: bool, started_s: float, ended_s: float
    ) -> None:
        if not isinstance(event, Proved):
            self.busy = False
        if good:
            self.failing_since_s = None
        elif self.failing_since_s is None:
            self.failing_since_s = ended_s
        self._done(self, event, started_s, ended_s)


def _as_engine_error(error: BaseException, where: str) -> EngineError:
    if isinstance(error, EngineError):
        return error
    wrapped = EngineError(f"{type(error).__name__}: {error}", where=where)
    wrapped.__cause__ = error
    return wrapped
