"""Executions begun before they are asked for: in this process and in helpers, side by side.

A helper is a process of ours (``helper.py``) that executes what it is told and keeps the outputs in
the store; nothing is recorded before it is asked for here, so the ledger is the same whoever did
the work. A helper can only save time: what it does not finish, for whatever reason, is done here,
and an error is raised where it would be without helpers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from headgate.objects import digest
from headgate.optimize.child import end_with_parent
from headgate.optimize.recorder import Asked, Executed, Made, Recorder, Transformation

__all__ = ["Ahead", "Task"]


@dataclass(frozen=True, slots=True)
class Task:
    """One execution: ``what`` on ``u`` under the whole of its configuration."""

    what: Transformation
    u: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def key(self) -> str:
        return digest({"T": self.what.name, "u": self.u, "c": self.config})


class Ahead:
    """Executes what it is told to ``begin``, for ``execute`` to be asked for it.

    Whoever asks for what is not done works on the next himself meanwhile, so ``helpers`` processes
    occupy one core more than that. They are started where there is work for them, and ended when
    this is closed.
    """

    def __init__(self, recorder: Recorder, *, helpers: int) -> None:
        self._recorder = recorder
        self._most = helpers
        self._waiting: SimpleQueue[Task | None] = SimpleQueue()
        """None tells a helper's thread that there will be no more."""
        self._results: dict[str, Future[Executed | None]] = {}
        self._helpers: list[_Helper] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._take() is not None:
            pass
        for helper in self._helpers:
            self._waiting.put(None)
            helper.end()
        for thread in self._threads:
            thread.join()

    def begin(self, asked: Iterable[Asked]) -> None:
        """Has executed what is ``asked`` and not recorded, in this order.

        ``Recorder.on_start`` is told of each only once it is asked for.
        """
        configs = [(each, self._recorder.missing(each)) for each in asked]
        tasks = [Task(a.what, a.u, config) for a, config in configs if config is not None]
        new = {task.key: task for task in tasks if task.key not in self._results}
        self._results |= {key: Future() for key in new}
        for task in new.values():
            self._waiting.put(task)
        # From this thread, since a helper ends with the one that starts it.
        while len(self._helpers) < min(self._most, len(new) - 1):
            try:
                helper = _Helper(self._recorder)
            except OSError:  # no memory or no process to be had
                self._most = 0
                return
            self._helpers.append(helper)
            self._threads.append(threading.Thread(target=self._serve, args=(helper,), daemon=True))
            self._threads[-1].start()

    def execute(
        self, what: Transformation, u: Mapping[str, str], config: Mapping[str, Any]
    ) -> Executed:
        """As ``Recorder.execute``, for what was begun. Raises what the work raises."""
        result = self._results[Task(what, u, config).key]
        while not result.done() and (other := self._take()) is not None:
            self._do(other)
        return result.result() or self._recorder.execute(what, u, config)

    def _do(self, task: Task) -> None:
        result = self._results[task.key]
        try:
            result.set_result(self._recorder.execute(task.what, task.u, task.config))
        except Exception as error:  # raised when this one is asked for
            result.set_exception(error)

    def _serve(self, helper: _Helper) -> None:
        """Hands tasks to a helper until there will be no more, or until it fails."""
        while (task := self._waiting.get()) is not None:
            executed = helper.execute(task)
            self._results[task.key].set_result(executed)
            if executed is None:
                return

    def _take(self) -> Task | None:
        try:
            return self._waiting.get_nowait()
        except Empty:
            return None


class _Helper:
    """One helper process, spoken to in lines of JSON."""

    def __init__(self, recorder: Recorder) -> None:
        # Not in the terminal's group of processes: on Ctrl-C this one ends it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headgate.optimize.helper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self._place = {
            "store": str(recorder.store.root.absolute()),
            "endpoint": recorder.endpoint,
            "owner": recorder.owner,
            "environment": recorder.environment,
            "seed": recorder.seed,
            "root": str(recorder.root.absolute()),
        }

    def execute(self, task: Task) -> Executed | None:
        """What came out; None where nothing did."""
        asked = {
            "place": self._place,
            "module": task.what.work.__module__,
            "name": task.what.name,
            "u": dict(task.u),
            "config": task.config,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            said = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):  # it has ended, or was cut short
            return None
        made = {name: Made(**fields) for name, fields in said["outputs"].items()}
        return Executed(made, said["started_at"], said["ended_at"])

    def end(self) -> None:
        """Nothing that it was asked for is wanted any more."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was never flushed
                pipe.close()
