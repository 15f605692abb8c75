"""Feeds the watch over the current release, once a second and off the request path.

Requests are not touched: what they left in the traces' ring and in the counters is taken up, the
pure ``release.Watcher`` decides, and ``Responses`` carries out. Where looking fails, or the ledger
cannot be read, that is counted and serving goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from headgate.errors import HeadgateError
from headgate.ledger import Incident, Store, incidents
from headgate.objects import Action, Contract
from headgate.release import Breach, Second, Terms, TookOver, Watcher, WatchRule
from headgate.runtime.deploy import Deployment
from headgate.runtime.journal import Journal
from headgate.runtime.metrics import Metrics
from headgate.runtime.responses import Responses, Standing
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
        assert self._responses is not None
        requests = deployment.traces.unseen()
        before, self._counted = self._counted, _counted(deployment)
        invalid, checked, wrong = (n - m for n, m in zip(self._counted, before, strict=True))
        second = Second(
            requests=requests,
            valid_answers=sum(r.items for r in requests if r.source == "engine"),
            invalid_answers=invalid,
            hits_checked=checked,
            wrong_hits=wrong,
            age_s=self._wall() - standing.made_at_s,
        )
        for said in self._watcher.handle(second, self._clock()):
            if isinstance(said, Breach):
                assert self._registered is not None
                self._responses.breach(said, standing, self._registered)
            else:
                self._responses.recovery(said, standing)

    async def _begin(self, deployment: Deployment) -> None:
        """Another release answers: its rule goes on record before its first request is seen."""
        standing = await asyncio.to_thread(self._stands, deployment)
        left_open: Mapping[str, Incident] = {}
        if self._journal is None:
            left_open = await asyncio.to_thread(_left_open, self._store, standing.endpoint)
            self._set_up(deployment.metrics, left_open)
        assert self._journal is not None
        took_over = TookOver(standing.generation, standing.terms, standing.restored)
        self._watcher.handle(took_over, self._clock())
        body = {
            "endpoint": standing.endpoint,
            "generation": standing.generation,
            "release": standing.entry,
            "variant": standing.variant,
            "decision": standing.decision,
            "terms": standing.terms,
            "rule": self.rule,
            "watched": [contract.describe() for contract in self.watched],
        }
        for contract in self.rule.contracts:
            if contract not in self.watched:
                what = contract.describe()
                _log.warning("%s: %s cannot be seen, and is not watched", standing.name, what)
        self._registered = self._journal.write("watch", lambda: body)
        deployment.traces.unseen()
        self._counted = _counted(deployment)
        for contract in self.watched:
            deployment.metrics.breaches[contract.metric] += 0  # named before the first
        self._deployment, self._standing = deployment, standing
        self._make_up(left_open, standing)

    def _make_up(self, left_open: Mapping[str, Incident], standing: Standing) -> None:
        """Carries out what an earlier run has not, where the release concerned still answers:
        the process died in between, or the disk was full."""
        assert self._responses is not None
        for contract in self.rule.contracts:
            incident = left_open.get(contract.describe())
            if incident is None or incident.opened.body["generation"] != standing.generation:
                continue
            action = self._watcher.action_of(contract)
            if not _is_done(incident, action):
                self._responses.resume(_breach(incident, contract, action), standing)

    def _set_up(self, metrics: Metrics, left_open: Mapping[str, Incident]) -> None:
        """With the incidents that an earlier run of the server left open, by promise."""
        retraining = None if self._retrain is None else Retraining(self._store, self._retrain)
        self._journal = Journal(self._store, metrics, sign=self._sign)
        self._responses = Responses(self._store, self._journal, metrics, retraining=retraining)
        for promise, incident in left_open.items():
            self._responses.adopt(promise, incident.opened.id)
        broken_by = {promise: int(i.opened.body["generation"]) for promise, i in left_open.items()}
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
            ),
            restored="restores" in release.extra,
        )


def _left_open(store: Store, endpoint: str) -> dict[str, Incident]:
    """Promise -> the incident about it that is open."""
    found = incidents(store, endpoint)
    return {i.opened.body["promise"]: i for i in found if i.recovery is None}


def _is_done(incident: Incident, action: Action) -> bool:
    """A response says so; who was told of a rollback that failed has not been helped."""
    return any(
        response.body["action"] == action.value and response.body["outcome"] == "done"
        for response in incident.responses
    )


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
