"""Feeds the watch over the current release, once a second and off the request path.

Requests are not touched: what they left in the traces' ring and in the counters is taken up, the
pure ``release.Watcher`` decides, and ``Responses`` carries out. Where looking fails, or the ledger
cannot be read, that is counted and serving goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from headgate.errors import HeadgateError
from headgate.ledger import Entry, Incident, Store, incidents
from headgate.objects import Action, Contract
from headgate.release import (
    Age,
    Breach,
    Recovery,
    Second,
    Terms,
    TookOver,
    Watcher,
    WatchRule,
    Withdrawal,
)
from headgate.runtime.deploy import Deployment
from headgate.runtime.escalation import NOBODY
from headgate.runtime.journal import Journal
from headgate.runtime.metrics import Metrics
from headgate.runtime.responses import UNDER_WAY, Responses, Standing
from headgate.runtime.retraining import Retrain, Retraining
from headgate.runtime.servable import Servable

__all__ = ["Watch"]

_INTERVAL_S = 1.0
_log = logging.getLogger("headgate.runtime")


class Watch:
    """``run`` it beside a server; ``close`` it when that ends.

    ``price_per_s`` is that of the whole machine, which has so many ``cores``.
    ``sign`` is called on a thread, after what goes on record.
    """

    def __init__(
        self,
        store: Store,
        rule: WatchRule,
        *,
        price_per_s: float = 0.0,
        cores: int = 1,
        retrain: Retrain | None = None,
        sign: Callable[[], object] | None = None,
        interval_s: float = _INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.rule = rule
        self._store = store
        self._price_per_s = price_per_s
        self._cores = cores
        self._retrain = retrain
        self._sign = sign
        self._interval_s = interval_s
        self._clock, self._wall = clock, wall
        self._age = Age()
        self._watcher = Watcher(rule)
        self._deployment: Deployment | None = None
        self._standing: Standing | None = None
        self._registered: asyncio.Future[str | None] | None = None
        self._counted = (0, 0, 0)
        self._journal: Journal | None = None
        self._responses: Responses | None = None

    @property
    def watched(self) -> tuple[Contract, ...]:
        """What is watched of the release that answers now."""
        return self._watcher.watched

    async def run(self, current: Callable[[], Deployment]) -> None:
        """Watches whatever is ``current``, until it is cancelled."""
        while True:
            deployment = current()
            try:
                if deployment is not self._deployment:
                    await self._begin(deployment)
                else:
                    self.look()
            except Exception as error:
                deployment.metrics.watch_failures["look"] += 1
                unexpected = not isinstance(error, HeadgateError)
                _log.error("%s is not watched: %s", deployment.release, error, exc_info=unexpected)
            await asyncio.sleep(self._interval_s)

    async def close(self) -> None:
        """What has begun is finished and written, within seconds."""
        if self._responses is not None:
            await self._responses.close()
        if self._journal is not None:
            await self._journal.close()

    def look(self) -> None:
        """What happened since the last look, and what follows from it."""
        deployment, standing = self._deployment, self._standing
        assert deployment is not None
        assert standing is not None
        requests = deployment.traces.unseen()
        before, self._counted = self._counted, _counted(deployment)
        invalid, checked, wrong = (n - m for n, m in zip(self._counted, before, strict=True))
        now_s = self._clock()
        second = Second(
            requests=requests,
            valid_answers=sum(r.items for r in requests if r.source == "engine"),
            invalid_answers=invalid,
            hits_checked=checked,
            wrong_hits=wrong,
            age_s=self._age.of(standing.made_at_s, wall_s=self._wall(), now_s=now_s),
        )
        self._respond(self._watcher.handle(second, now_s), standing)

    def _respond(self, said: Sequence[Breach | Recovery | Withdrawal], standing: Standing) -> None:
        assert self._responses is not None
        for one in said:
            if isinstance(one, Breach):
                assert self._registered is not None
                self._responses.breach(one, standing, self._registered)
            elif isinstance(one, Recovery):
                self._responses.recovery(one, standing)
            else:
                self._responses.withdraw(one, standing)

    async def _begin(self, deployment: Deployment) -> None:
        """Another release answers: its rule goes on record before its first request is seen."""
        standing = await asyncio.to_thread(self._stands, deployment)
        left_open: Mapping[str, Sequence[Incident]] = {}
        if self._journal is None:
            left_open = await asyncio.to_thread(_left_open, self._store, standing.endpoint)
            self._set_up(deployment.metrics, left_open)
        assert self._journal is not None
        assert self._responses is not None
        took_over = TookOver(standing.generation, standing.terms, standing.restored)
        withdrawn = self._watcher.handle(took_over, self._clock())
        body = {
            "endpoint": standing.endpoint,
            "generation": standing.generation,
            "release": standing.entry,
            "variant": standing.variant,
            "decision": standing.decision,
            "terms": standing.terms,
            "rule": self.rule,
            "watched": [contract.promise for contract in self.watched],
        }
        for contract in self.rule.contracts:
            if contract not in self.watched:
                what = contract.promise
                _log.warning("%s: %s cannot be seen, and is not watched", standing.name, what)
        self._registered = self._journal.write("watch", lambda: body)
        deployment.traces.unseen()
        self._counted = _counted(deployment)
        for contract in self.watched:
            deployment.metrics.breaches[contract.metric] += 0  # named before the first
        self._deployment, self._standing = deployment, standing
        self._responses.answering = standing.generation
        self._respond(withdrawn, standing)
        self._make_up(left_open, standing)

    def _make_up(self, left_open: Mapping[str, Sequence[Incident]], standing: Standing) -> None:
        """Carries out what an earlier run has not: the process died in between, or the disk was
        full, or nobody was reached. An action is owed while the release concerned still answers;
        that the owner hears of it, as long as the incident is open."""
        assert self._responses is not None
        for contract in self.rule.contracts:
            found = left_open.get(contract.promise)
            if not found or contract.promise not in self._watcher.open:
                continue  # nothing is open, or it has just been withdrawn
            incident, body = found[-1], found[-1].opened.body
            action = self._watcher.action_of(contract)
            if body["generation"] == standing.generation and not _is_done(incident, action):
                self._responses.resume(_breach(incident, contract, action), standing)
            elif contract.on_breach is not Action.WARN and not _is_told(incident):
                broke_it = replace(
                    standing,
                    generation=body["generation"],
                    entry=body["release"],
                    decision=body.get("decision"),
                )
                breach = _breach(incident, contract, contract.on_breach)
                self._responses.tell(breach, broke_it, *_what_came_of_it(incident))

    def _set_up(self, metrics: Metrics, left_open: Mapping[str, Sequence[Incident]]) -> None:
        """With the incidents that an earlier run of the server left open, by promise."""
        retraining = None if self._retrain is None else Retraining(self._store, self._retrain)
        self._journal = Journal(self._store, metrics, sign=self._sign)
        self._responses = Responses(self._store, self._journal, metrics, retraining=retraining)
        for promise, found in left_open.items():
            self._responses.adopt(promise, [incident.opened.id for incident in found])
        broken_by = {p: int(found[-1].opened.body["generation"]) for p, found in left_open.items()}
        self._watcher = Watcher(self.rule, broken_by)
        metrics.open_incidents = lambda: len(self._watcher.open)

    def _stands(self, deployment: Deployment) -> Standing:
        """What the ledger knows of a release; reads files, on a thread."""
        history = self._store.history(deployment.endpoint)
        releases = {release.generation: (entry, release) for entry, release in history}
        entry, release = releases[deployment.generation]
        artifacts = self._store.entries("artifact")
        made = next((e for e in artifacts if e.body["version"] == release.variant), entry)
        return Standing(
            endpoint=release.endpoint,
            generation=release.generation,
            variant=release.variant,
            entry=entry.id,
            decision=release.decision,
            made_at_s=datetime.fromisoformat(made.recorded_at).timestamp(),
            terms=Terms(
                price_per_s=self._price_per_s,
                machine_share=min(1.0, deployment.build.threads / self._cores),
                lengths=Servable.load(self._store, release.variant).lengths,
                cached=deployment.variant.cache.capacity_bytes > 0,
            ),
            restored="restores" in release.extra,
        )


def _left_open(store: Store, endpoint: str) -> dict[str, list[Incident]]:
    """Promise -> the incidents about it that are open, oldest first: servers of one endpoint may
    have left one each."""
    found: dict[str, list[Incident]] = {}
    for incident in incidents(store, endpoint):
        if incident.open:
            found.setdefault(incident.opened.body["promise"], []).append(incident)
    return found


def _is_done(incident: Incident, action: Action) -> bool:
    """It was carried out, or something refused it for good."""
    if action is Action.ESCALATE:
        return _is_told(incident)
    return any(
        response.body["outcome"] != "failed" or _has_run(response)
        for response in incident.responses
        if response.body["action"] == action.value
    )


def _has_run(response: Entry) -> bool:
    """A command ended by itself; one that was ended with the server is owed."""
    status = response.body.get("exit_status")
    return status is not None and status >= 0


def _is_told(incident: Incident) -> bool:
    """How it ended, or there is nobody who could be."""
    return any(
        response.body["outcome"] == "done" or response.body.get("to") == NOBODY
        for response in incident.responses
        if response.body["action"] == Action.ESCALATE.value
        and response.body.get("told") != UNDER_WAY
    )


def _what_came_of_it(incident: Incident) -> tuple[str, str]:
    """Of its action: the outcome, and what was said."""
    for response in reversed(incident.responses):
        if response.body["action"] != Action.ESCALATE.value:
            return response.body["outcome"], response.body["said"]
    return "unknown", "the server ended before it was on record; see `headgate history`"


def _breach(incident: Incident, contract: Contract, action: Action) -> Breach:
    """As it was told when ``incident`` was opened."""
    body = incident.opened.body
    return Breach(
        contract=contract,
        generation=body["generation"],
        action=action,
        again=False,
        value=body["value"],
        low=body["low"],
        n=body["n"],
        since_s=body["since_s"],
        requests=tuple(body["requests"]),
        because=body["because"],
    )


def _counted(deployment: Deployment) -> tuple[int, int, int]:
    """Invalid answers, checked hits and wrong hits of a release until now."""
    live = deployment.live
    return live.invalid_answers, live.hits_checked, live.wrong_hits
