"""Carries out what the watch decides: warn, roll back, retrain, escalate; and puts it on record.

All of it happens beside the requests, and what protects callers waits for nobody who is told: a
rollback has a thread of its own, messages have others, and the owner hears of what is under way
after two seconds at the latest. What cannot be written waits in the journal; what cannot be done,
or told, is tried again, ever more seldom, while it is owed. So little is kept for that as there are
promises: of several messages about one the last is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from headgate.errors import Refused
from headgate.ledger import WITHDRAW, Store, hold_release, utc_now
from headgate.objects import Action
from headgate.release import Breach, Recovery, Terms, Withdrawal, rollback_release
from headgate.runtime.escalation import NOBODY, Receipt, deliver
from headgate.runtime.journal import Journal
from headgate.runtime.metrics import Metrics
from headgate.runtime.retraining import Retraining

__all__ = ["UNDER_WAY", "Patience", "Responses", "Standing"]

_log = logging.getLogger("headgate.runtime")

T = TypeVar("T")
Id: TypeAlias = "asyncio.Future[str | None]"
"""Of an entry that is being written."""

UNDER_WAY = "under_way"
"""The outcome that is told of an action that has not ended."""
_TELLERS = 4
"""Messages on their way at a time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long things are waited for, in seconds."""

    pauses_s: Sequence[float] = (0.5, 1.0, 2.0, 4.0)
    """Between attempts to roll back or to tell; then the ``later`` ones follow."""
    later_act_s: float = 15.0
    later_tell_s: float = 300.0
    soon_s: float = 2.0
    """For an action to end before the owner is told that it is under way."""
    attempt_s: float = 30.0
    """For an attempt to tell, and for its turn."""
    written_s: float = 1.0
    """For an incident's entry to be written, so that the owner may be told its id."""
    takeover_s: float = 60.0
    """For the release that was rolled back to, to answer."""
    close_s: float = 6.0
    """For what has begun, when the server ends: an attempt to tell takes five."""


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
    """``done``, ``failed``, ``moot`` (its incident was closed before it could be done), or a reason
    code of what refused it."""
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
        patience: Patience | None = None,
    ) -> None:
        self.answering = -1
        """The generation that answers now."""
        self._store = store
        self._journal = journal
        self._metrics = metrics
        self._retraining = retraining
        self._patience = patience or Patience()
        self._incidents: dict[str, list[Id]] = {}
        """Promise -> its open incidents. What happens is about the last; servers that watch one
        endpoint, each for itself, may have left several."""
        self._telling: dict[str, Mapping[str, object]] = {}
        """Promise -> the last message about it."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended = asyncio.Event()
        self._actor = ThreadPoolExecutor(1, thread_name_prefix="act")
        self._tellers = ThreadPoolExecutor(_TELLERS, thread_name_prefix="tell")

    def adopt(self, promise: str, incidents: Sequence[str]) -> None:
        """Incidents that an earlier run of the server left open, oldest first."""
        self._incidents[promise] = [_written(incident) for incident in incidents]

    def breach(self, breach: Breach, standing: Standing, watch: Id) -> None:
        """Opens the incident (or goes on with it, ``again``) and begins the action."""
        contract = breach.contract
        self._metrics.breaches[contract.metric] += 1
        promise = contract.promise
        fields = {"event": "breach", "release": standing.name, "promise": promise}
        _log.error("%s: %s: %s", standing.name, promise, breach.because, extra={"fields": fields})
        found = _found(breach)
        if not breach.again:
            at = utc_now()
            incident = self._journal.write(
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
            self._incidents[promise] = [incident]
        self._begin(self._respond(breach, standing, self._incidents[promise][-1]))

    def resume(self, breach: Breach, standing: Standing) -> None:
        """Begins the action that an earlier run owes; its incident is adopted already."""
        promise = breach.contract.promise
        _log.warning("%s: %s: %s is owed still", standing.name, promise, breach.action)
        self._begin(self._respond(breach, standing, self._incidents[promise][-1]))

    def tell(self, breach: Breach, standing: Standing, outcome: str, said: str) -> None:
        """Tells the owner what an earlier run could not: of the action nothing is owed."""
        promise = breach.contract.promise
        incident = self._incidents[promise][-1]
        message = self._message(breach, standing, outcome=outcome, said=said)
        self._begin(self._tell(breach.contract.escalation, promise, message, incident))

    def recovery(self, recovery: Recovery, standing: Standing) -> None:
        """Closes the incident with its evidence, and tells whoever was told of the breach."""
        contract, promise = recovery.contract, recovery.contract.promise
        fields = {"event": "recovery", "release": standing.name, "promise": promise}
        _log.info("%s: %s: %s", standing.name, promise, recovery.because, extra={"fields": fields})
        at = utc_now()
        incidents = self._incidents.pop(promise)
        for incident in incidents:
            body = partial(_recovered, incident, recovery, standing, at)
            self._journal.write("recovery", body)
        if contract.on_breach is not Action.WARN:
            message = {
                "event": "recovery",
                **_about(standing),
                "promise": promise,
                "because": recovery.because,
                "at": at,
            }
            self._begin(self._tell(contract.escalation, promise, message, incidents[-1]))

    def withdraw(self, withdrawal: Withdrawal, standing: Standing) -> None:
        """Closes the incident without evidence, and says why. Nobody is called for it."""
        promise, because = withdrawal.promise, withdrawal.because
        fields = {"event": "withdrawal", "release": standing.name, "promise": promise}
        what = f"{promise}: withdrawn: {because}"
        _log.warning("%s: %s", standing.name, what, extra={"fields": fields})
        self._telling.pop(promise, None)
        for incident in self._incidents.pop(promise):
            self._record(incident, WITHDRAW, _Done("done", because, {"release": standing.entry}))

    async def close(self) -> None:
        """What has begun gets a few seconds; a command that retrains is ended."""
        self._ended.set()
        if self._retraining is not None:
            self._retraining.end()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience.close_s
        while self._tasks and (left_s := until_s - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left_s)
        if self._retraining is not None:
            self._retraining.kill()
        unfinished = list(self._tasks)
        for task in unfinished:
            task.cancel()
            self._metrics.watch_failures["lost"] += 1
        await asyncio.gather(*unfinished, return_exceptions=True)
        for pool in (self._actor, self._tellers):
            pool.shutdown(wait=False, cancel_futures=True)

    # One response

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._metrics.watch_failures["response"] += 1
            _log.error("a response went wrong", exc_info=error)

    async def _respond(self, breach: Breach, standing: Standing, incident: Id) -> None:
        action, promise, to = breach.action, breach.contract.promise, breach.contract.escalation
        if action is Action.WARN:
            self._record(incident, action, _Done("done", breach.because, {}))
            return
        if action is Action.ESCALATE:
            relapse = {"again": True, **_found(breach), "generation": standing.generation}
            message = self._message(breach, standing)
            await self._tell(to, promise, message, incident, relapse if breach.again else {})
            return
        acting = self._begin(self._act(breach, standing, incident))
        await asyncio.wait([acting], timeout=self._patience.soon_s)
        if not acting.done():
            message = self._message(breach, standing, outcome=UNDER_WAY)
            self._begin(self._tell(to, promise, message, incident))
            await asyncio.wait([acting])
        done = acting.result()
        if done.outcome == "moot":
            return  # whoever was told that it is broken has been told that it is over
        message = self._message(breach, standing, outcome=done.outcome, said=done.said)
        self._begin(self._tell(to, promise, message, incident))
        if action is Action.ROLLBACK and done.outcome == "done":
            await self._taken_over(standing)
            if self.answering <= standing.generation and not self._ended.is_set():
                said = f"{done.said}, and has not taken over: {standing.name} answers still"
                _log.error("%s", said)
                message = self._message(breach, standing, outcome="not_serving", said=said)
                await self._tell(to, promise, message, incident)

    async def _act(self, breach: Breach, standing: Standing, incident: Id) -> _Done:
        """Rolls back or retrains, whatever happens, and puts on record what came of it."""
        try:
            if breach.action is Action.ROLLBACK:
                done = await self._roll_back(breach, standing, incident)
            else:
                done = await self._retrain(standing)
        except Exception as error:
            self._metrics.watch_failures["response"] += 1
            _log.exception("%s went wrong", breach.action)
            done = _Done("failed", str(error), {})
        self._record(incident, breach.action, done)
        return done

    async def _roll_back(self, breach: Breach, standing: Standing, incident: Id) -> _Done:
        """What ``headgate rollback`` does, of this very generation: one that was made current
        meanwhile is not taken back for what another did."""
        promise, said = breach.contract.promise, ""
        note = f"{breach.contract.metric} was broken while serving"
        for pause_s in self._pauses_s(self._patience.later_act_s):
            try:
                return await self._on(self._actor, _rolled_back, self._store, standing, note)
            except Refused as error:
                return _Done(error.reason, error.what, {})
            except Exception as error:  # a disk or a lock: the next time it may be another matter
                said = str(error)
                self._metrics.watch_failures["rollback"] += 1
                _log.error("%s cannot be rolled back yet: %s", standing.name, said)
            await self._pause(pause_s)
            if self._ended.is_set():
                break
            if incident not in self._incidents.get(promise, ()):
                return _Done("moot", f"its incident is closed, and until then: {said}", {})
        return _Done("failed", said, {})

    async def _retrain(self, standing: Standing) -> _Done:
        if self._retraining is None:
            return _Done("no_command", "headgate.yaml declares no command under retrain", {})
        ended = await self._retraining.run(standing.endpoint, standing.variant)
        details = {"run": ended.run, "exit_status": ended.exit_status}
        return _Done(ended.outcome, ended.said, details)

    async def _taken_over(self, standing: Standing) -> None:
        """Waits until another release answers, for some time."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience.takeover_s
        while self.answering <= standing.generation and loop.time() < until_s:
            await self._pause(min(1.0, self._patience.takeover_s))
            if self._ended.is_set():
                return

    async def _tell(
        self,
        to: str,
        promise: str,
        message: Mapping[str, object],
        incident: Id,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Until the owner is reached, something later is to be said of this promise, or the server
        ends. The receipt, or that there is none after the first attempts, goes into the ledger."""
        self._telling[promise] = message
        details = {"event": message["event"], **(more or {})}
        if "outcome" in message:
            details["told"] = message["outcome"]
        await asyncio.wait([incident], timeout=self._patience.written_s)
        named = {**message, "incident": _known(incident)}
        soon = 1 + len(self._patience.pauses_s)
        for attempts, pause_s in enumerate(self._pauses_s(self._patience.later_tell_s), start=1):
            receipt = await self._attempt(to, named)
            over = receipt.reached or to == NOBODY
            if over or attempts == soon:
                self._record_receipt(receipt, attempts, incident, details)
            if not over:
                await self._pause(pause_s)
                over = self._ended.is_set() or self._telling.get(promise) is not message
                if over and attempts < soon:
                    self._record_receipt(receipt, attempts, incident, details)
            if over:
                break
        if self._telling.get(promise) is message:
            del self._telling[promise]

    async def _attempt(self, to: str, message: Mapping[str, object]) -> Receipt:
        """One, and what becomes of it in time: names are looked up for as long as that takes."""
        try:
            async with asyncio.timeout(self._patience.attempt_s):
                return await self._on(self._tellers, deliver, to, message)
        except TimeoutError:
            return Receipt(to, False, None, f"nothing came of it in {self._patience.attempt_s:g} s")

    def _record_receipt(
        self, receipt: Receipt, attempts: int, incident: Id, more: Mapping[str, object]
    ) -> None:
        outcome = "done" if receipt.reached else "failed"
        if not receipt.reached:
            _log.error("%s could not be reached: %s", receipt.to, receipt.because)
        details = {"to": receipt.to, "attempts": attempts, "status": receipt.status, **more}
        self._record(incident, Action.ESCALATE, _Done(outcome, receipt.because, details))

    def _record(self, incident: Id, action: str, done: _Done) -> None:
        self._metrics.responses[str(action), done.outcome] += 1
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
            },
        )

    def _message(self, breach: Breach, standing: Standing, **how: str) -> dict[str, object]:
        return {
            "event": "breach",
            **_about(standing),
            "promise": breach.contract.promise,
            "action": breach.action.value,
            **_found(breach),
            "at": utc_now(),
            **how,
        }

    def _pauses_s(self, later_s: float) -> Iterator[float]:
        return itertools.chain(self._patience.pauses_s, itertools.repeat(later_s))

    async def _pause(self, seconds: float) -> None:
        """Until then, or until the server ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    async def _on(self, pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)


def _about(standing: Standing) -> dict[str, object]:
    return {
        "endpoint": standing.endpoint,
        "release": standing.name,
        "release_entry": standing.entry,
        "decision": standing.decision,
    }


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


def _recovered(
    incident: Id, recovery: Recovery, standing: Standing, at: str
) -> Mapping[str, object]:
    return {
        "incident": _known(incident),
        "release": standing.entry,
        "generation": standing.generation,
        "at": at,
        "value": recovery.value,
        "n": recovery.n,
        "because": recovery.because,
    }


def _written(entry: str) -> Id:
    written: Id = asyncio.get_running_loop().create_future()
    written.set_result(entry)
    return written


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
