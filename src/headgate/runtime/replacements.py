"""Successors for instances that hang: loaded off the event loop, as often as it takes.

A thread that hangs in a library cannot be ended. It is left behind with its engine, whose memory it
keeps, and perhaps a core. So few may be left behind: what comes then is for whoever can end the
process and start another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from headgate.dataplane.events import NotReplaced, Replaced
from headgate.errors import EngineError, HeadgateError
from headgate.runtime.instance import Instance
from headgate.runtime.metrics import Metrics

__all__ = ["Replacements"]

_MOST_LEFT_BEHIND = 4
"""Each keeps a model in memory: beside one or two that serve, four more are what a machine may have
room for. And what hangs engine after engine is no accident that another engine would mend."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
"""Loading that fails is tried again after 1, 2, 4 ... seconds, and then once a minute."""
_log = logging.getLogger("headgate.runtime")


class Replacements:
    """Puts a successor in the place of every instance that is ``lost``.

    ``instances``, by number, is changed in place. ``make`` begins to load a successor on a thread
    of its own; within ``load_timeout_s`` it is there or given up. ``told`` is for the data plane.
    """

    def __init__(
        self,
        instances: list[Instance],
        make: Callable[[int], Instance],
        told: Callable[[Replaced | NotReplaced], None],
        metrics: Metrics,
        *,
        load_timeout_s: float,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self._reasons: dict[int, str] = {}  # instance -> why its successor could not be loaded
        self._instances = instances
        self._make = make
        self._told = told
        self._metrics = metrics
        self._load_timeout_s = load_timeout_s
        self._first_pause_s = first_pause_s
        self._left_behind: list[Instance] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def lost(self, number: int) -> None:
        """Instance ``number`` hangs."""
        self._leave_behind(self._instances[number])
        _log.error("engine %d hangs: its callers were told, a successor is loaded", number)
        task = asyncio.get_running_loop().create_task(self._replace(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def reason(self) -> str | None:
        """Why a successor could not be loaded; None where none is wanting for that."""
        return next(iter(self._reasons.values()), None)

    @property
    def exhausted(self) -> bool:
        """So many threads hang that no more may be left behind, and a successor is needed."""
        return bool(self._tasks) and self._too_many()

    def close(self) -> None:
        """Loads nothing more."""
        for task in self._tasks:
            task.cancel()

    async def _replace(self, number: int) -> None:
        pause_s = self._first_pause_s
        while True:
            try:
                successor = await self._load(number)
                break
            except Exception as error:
                self._reasons[number] = str(error).splitlines()[0]
                self._metrics.replacements["failed"] += 1
                unexpected = not isinstance(error, HeadgateError)
                _log.error("engine %d has no successor yet: %s", number, error, exc_info=unexpected)
                self._told(NotReplaced(number))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._reasons.pop(number, None)
        self._metrics.replacements["loaded"] += 1
        _log.warning("engine %d has a successor", number)
        self._instances[number] = successor
        self._told(Replaced(number))

    async def _load(self, number: int) -> Instance:
        if self._too_many():
            raise EngineError(
                f"{len(self._left_behind)} engine calls hang, and no more may be left behind",
                reason="engines_left_behind",
                fix="restart the server, and look for an input that they have in common",
            )
        successor = self._make(number)
        try:
            await asyncio.wait_for(successor.loaded, self._load_timeout_s)
        except TimeoutError:
            self._leave_behind(successor)
            raise EngineError(
                f"it was not loaded within {self._load_timeout_s:g} s", where="loading"
            ) from None
        except asyncio.CancelledError:
            self._leave_behind(successor)
            raise
        return successor

    def _leave_behind(self, instance: Instance) -> None:
        instance.abandon()
        self._left_behind.append(instance)

    def _too_many(self) -> bool:
        self._left_behind = [i for i in self._left_behind if i.alive]  # some do come back
        return len(self._left_behind) > _MOST_LEFT_BEHIND
