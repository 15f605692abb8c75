"""Carries out what the watch decides: warn, roll back, retrain, escalate; and puts it on record.

All of it happens beside the requests: what blocks runs on threads, what cannot be written waits in
the journal, and what fails is counted, told to the owner and tried no more than a few times.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from headgate.errors import Refused
from headgate.ledger import Store, hold_release, utc_now
from headgate.objects import Action
from headgate.release import Breach, Recovery, Terms, rollback_release
from headgate.runtime.escalation import PAUSES_S, escalate
from headgate.runtime.journal import Journal
from headgate.runtime.metrics import Metrics
from headgate.runtime.retraining import Retraining

__all__ = ["Responses", "Standing"]

_TRIES = 3
_log = logging.getLogger("headgate.runtime")

Id: TypeAlias = "asyncio.Future[str | None]"
"""Of an entry that is being written."""
_WRITTEN_S = 1.0
"""For an incident's entry to be written, so that the owner may be told its id."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The release that answers, as the ledger knows it."""

    endpoint: str
    generation: int
    variant: str
    entry: str
    """Of the release."""
    decision: str | None
    made_at_s: float
    """When what is served was made, in seconds since 1970."""
    terms: Terms
    restored: bool = False
    """A rollback brought it back."""

    @property
    def name(self) -> str:
        return f"{self.endpoint}@{self.generation}"


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of an action."""

    outcome: str
    """``done``, ``failed``, or a reason code of what refused it."""
    said: str
    details: Mapping[str, object]


class Responses:
    """Tasks that carry out breaches and recoveries. Use it on one event loop; ``close`` it."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        metrics: Metrics,
        *,
        retraining: Retraining | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._store = store
        self._journal = journal
        self._metrics = metrics
        self._retraining = retraining
        self._pauses_s = pauses_s
        self._incidents: dict[str, Id] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = threading.Event()

    def adopt(self, promise: str, incident: str) -> None:
        """An incident that an earlier run of the server left open."""
        self._incidents[promise] = asyncio.get_running_loop().create_future()
        self._incidents[promise].set_result(incident)

    def breach(self, breach: Breach, standing: Standing, watch: Id) -> None:
        """Opens the incident (or goes on with it, ``again``) and begins the action."""
        contract = breach.contract
        self._metrics.breaches[contract.metric] += 1
        promise = contract.describe()
        fields = {"event": "breach", "release": standing.name, "promise": promise}
        _log.error("%s: %s: %s", standing.name, promise, breach.because, extra={"fields": fields})
        found = _found(breach)
        if not breach.again:
            at = utc_now()
            self._incidents[promise] = self._journal.write(
                "incident",
                lambda: {
                    "endpoint": standing.endpoint,
                    "generation": standing.generation,
                    "release": standing.entry,
                    "variant": standing.variant,
                    "decision": standing.decision,
                    "watch": _known(watch),
                    "promise": promise,
                    "contract": contract,
                    "at": at,
                    **found,
                },
            )
        self._begin(self._respond(breach, standing, self._incidents[promise], found))

    def resume(self, breach: Breach, standing: Standing) -> None:
        """Begins the action that an earlier run owes; its incident is adopted already."""
        promise = breach.contract.describe()
        _log.warning("%s: %s: %s is owed still", standing.name, promise, breach.action)
        self._begin(self._respond(breach, standing, self._incidents[promise], _found(breach)))

    def recovery(self, recovery: Recovery, standing: Standing) -> None:
        """Closes the incident with its evidence, and tells whoever was told of the breach."""
        promise = recovery.contract.describe()
        incident = self._incidents.pop(promise)
        fields = {"event": "recovery", "release": standing.name, "promise": promise}
        _log.info("%s: %s: %s", standing.name, promise, recovery.because, extra={"fields": fields})
        at = utc_now()
        self._journal.write(
            "recovery",
            lambda: {
                "incident": _known(incident),
                "release": standing.entry,
                "generation": standing.generation,
                "at": at,
                "value": recovery.value,
                "n": recovery.n,
                "because": recovery.because,
            },
        )
        if recovery.contract.on_breach is not Action.WARN:
            told = {"event": "recovery", "because": recovery.because, "at": at}
            message = self._message(standing, promise, told)
            self._begin(self._tell(recovery.contract.escalation, message, incident))

    async def close(self) -> None:
        """What has begun gets a few seconds; a command that retrains is ended."""
        self._ended.set()
        if self._retraining is not None:
            self._retraining.end()
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=5.0)
            for task in unfinished:
                task.cancel()
                self._metrics.watch_failures["lost"] += 1

    # One response

    def _begin(self, response: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await response
            except Exception:
                self._metrics.watch_failures["response"] += 1
                _log.exception("a response went wrong")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respond(
        self, breach: Breach, standing: Standing, incident: Id, found: Mapping[str, object]
    ) -> None:
        contract, action = breach.contract, breach.action
        message = {"event": "breach", "action": action.value, **found, "at": utc_now()}
        told = self._message(standing, contract.describe(), message)
        if action is Action.RETRAIN:
            # That takes its time: the owner hears of it before.
            await self._tell(contract.escalation, told, incident)
            await self._record(incident, action, await self._retrain(standing), {})
            return
        relapse = (
            {"again": True, **found, "generation": standing.generation} if breach.again else {}
        )
        if action is Action.ESCALATE:
            await self._tell(contract.escalation, told, incident, **relapse)
            return
        done = (
            await self._roll_back(standing, contract.metric)
            if action is Action.ROLLBACK
            else _Done("done", breach.because, {})
        )
        await self._record(incident, action, done, relapse)
        if action is not Action.WARN:
            await self._tell(
                contract.escalation, {**told, "outcome": done.outcome, "said": done.said}, incident
            )

    async def _record(
        self, incident: Id, action: Action, done: _Done, more: Mapping[str, object]
    ) -> None:
        self._metrics.responses[action.value, done.outcome] += 1
        at = utc_now()
        self._journal.write(
            "response",
            lambda: {
                "incident": _known(incident),
                "action": action,
                "outcome": done.outcome,
                "said": done.said,
                "at": at,
                **done.details,
                **more,
            },
        )

    def _message(
        self, standing: Standing, promise: str, more: Mapping[str, object]
    ) -> dict[str, object]:
        return {
            "endpoint": standing.endpoint,
            "release": standing.name,
            "release_entry": standing.entry,
            "decision": standing.decision,
            "promise": promise,
            **more,
        }

    async def _tell(
        self, to: str, message: Mapping[str, object], incident: Id, **more: object
    ) -> None:
        """The receipt, or that there is none, goes into the ledger."""
        await asyncio.wait([incident], timeout=_WRITTEN_S)
        message = {**message, "incident": _known(incident)}
        receipt = await asyncio.to_thread(
            escalate, to, message, pauses_s=self._pauses_s, wait=self._ended.wait
        )
        details = {"to": receipt.to, "attempts": receipt.attempts, "status": receipt.status}
        done = _Done("done" if receipt.reached else "failed", receipt.because, details)
        if not receipt.reached:
            _log.error("%s could not be reached: %s", to, receipt.because)
        await self._record(incident, Action.ESCALATE, done, {"event": message["event"], **more})

    async def _roll_back(self, standing: Standing, metric: str) -> _Done:
        """What ``headgate rollback`` does, of this very generation: one that was made current
        meanwhile is not taken back for what another did."""
        note = f"{metric} was broken while serving"
        return await self._tried(lambda: _rolled_back(self._store, standing, note))

    async def _tried(self, action: Callable[[], _Done]) -> _Done:
        said = ""
        for pause_s in (*self._pauses_s[: _TRIES - 1], None):
            try:
                return await asyncio.to_thread(action)
            except Refused as error:
                return _Done(error.reason, error.what, {})
            except Exception as error:  # a disk or a lock: the next time it may be another matter
                said = str(error)
                self._metrics.watch_failures["rollback"] += 1
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        return _Done("failed", said, {})

    async def _retrain(self, standing: Standing) -> _Done:
        if self._retraining is None:
            return _Done("no_command", "headgate.yaml declares no command under retrain", {})
        ended = await self._retraining.run(standing.endpoint, standing.variant)
        details = {"run": ended.run, "exit_status": ended.exit_status}
        return _Done(ended.outcome, ended.said, details)


def _found(breach: Breach) -> dict[str, object]:
    """What was seen, as it goes on record."""
    return {
        "value": breach.value,
        "low": breach.low,
        "n": breach.n,
        "since_s": breach.since_s,
        "requests": list(breach.requests),
        "because": breach.because,
    }


def _known(entry: Id) -> str | None:
    """The id, where it is known by now; an entry that comes before another's in the journal is."""
    return entry.result() if entry.done() else None


def _rolled_back(store: Store, standing: Standing, note: str) -> _Done:
    history = [release for _, release in store.history(standing.endpoint)]
    release = rollback_release(history, expected_generation=standing.generation, note=note)
    entry = hold_release(store, release, expected_generation=standing.generation)
    said = f"{release.endpoint} is at generation {release.generation}, which restores "
    said += f"generation {release.extra['restores']}"
    return _Done("done", said, {"release": entry.id, "generation": release.generation})
