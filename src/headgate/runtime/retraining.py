"""Runs the owner's command that makes a new candidate, beside a server, and records the run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headgate.engines.probe import read_profile
from headgate.errors import HeadgateError
from headgate.ledger import Store, hold, hold_run, utc_now
from headgate.objects import Artifact, Run, canonical, digest

__all__ = ["Retrain", "Retrained", "Retraining"]


@dataclass(frozen=True, slots=True)
class Retrain:
    """The command under ``retrain``, and the directory of the file that has it."""

    command: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Retrained:
    """How it ended."""

    outcome: str
    """``done``, ``failed``, or ``running_already``: one at a time."""
    said: str
    exit_status: int | None = None
    run: str | None = None
    """The run's ledger entry, with the output; None where it could not be written."""


class Retraining:
    """``run`` the command on the event loop; ``end`` it where the server ends."""

    def __init__(self, store: Store, retrain: Retrain) -> None:
        self._store = store
        self._retrain = retrain
        self._process: asyncio.subprocess.Process | None = None
        self._one = asyncio.Lock()
        self._ending = False

    async def run(self, endpoint: str, variant: str) -> Retrained:
        """Takes as long as the command does."""
        if self._one.locked():
            return Retrained("running_already", "the command runs already")
        async with self._one:
            with tempfile.TemporaryDirectory() as directory:
                return await self._run(endpoint, variant, Path(directory) / "output.log")

    def end(self) -> None:
        """Asks the command, and what it started, to end; none is begun any more."""
        self._ending = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends what did not when it was asked to."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(self._process.pid, number)

    async def _run(self, endpoint: str, variant: str, output: Path) -> Retrained:
        argv, started_at = shlex.split(self._retrain.command), utc_now()
        try:
            with output.open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    cwd=self._retrain.directory,
                    start_new_session=True,
                )
            if self._ending:  # while it was begun
                self.end()
            status = await self._process.wait()
        except OSError as error:
            return Retrained("failed", f"{argv[0]}: {error.strerror}")
        finally:
            self._process = None
        said = f"{self._retrain.command} ended with exit status {status}"
        run = None
        try:
            run = await asyncio.to_thread(self._record, endpoint, variant, output, started_at)
        except (HeadgateError, OSError) as error:
            said += f"; its run is not on record: {error}"
        return Retrained("done" if status == 0 else "failed", said, status, run)

    def _record(self, endpoint: str, variant: str, output: Path, started_at: str) -> str:
        """The run's entry; what it printed is its output."""
        command = self._retrain.command
        served = self._store.artifact(variant)
        owner = served.owner if served is not None else "unknown"
        environment = canonical(read_profile().environment)
        machine = Artifact(
            id=f"{endpoint}/environment",
            version=self._store.put_bytes(environment),
            kind="environment",
            schema="json profile",
            owner=owner,
            size_bytes=len(environment),
        )
        hold(self._store, machine)
        version = self._store.put_file(output)
        run = Run(
            transformation="retrain",
            u={"variant": variant},
            c={"command": command, "code": digest(command)},
            e=machine.version,
            z={"output": version},
            seed=0,
            started_at=started_at,
            ended_at=utc_now(),
            owner=owner,
        )
        entry = hold_run(self._store, run).id
        printed = Artifact(
            id=f"{endpoint}/retrain/output",
            version=version,
            kind="log",
            schema="text",
            owner=owner,
            size_bytes=output.stat().st_size,
            lineage=(variant,),
            made_by=entry,
        )
        hold(self._store, printed)
        return entry
