"""A drill: a release that is slow and wrong is forced current, and has to be taken back.

Everything is real but the place: a copy of the store beside it, a server on a free port of this
machine, its own callers and its own receiver instead of the owner's. Nobody who is served, and
nobody on call, notices. What came of it is kept in the store as evidence.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from headgate.config import Item, load_workload
from headgate.engines.protocols import datatype_of, infer_body, rerank_body
from headgate.ledger import WITHDRAW, Incident, Store, copy_store, incidents
from headgate.objects import Action, Artifact, Axis, Bound, CacheSpec, Contract, Release, digest
from headgate.release import WatchRule
from headgate.runtime import Deployment, Watch
from headgate.runtime.loading import Loader
from headgate.runtime.receiver import Receiver
from headgate.runtime.servable import Servable
from headgate.server.serve import bind, run
from headgate.workload import Pair

__all__ = ["DrillReport", "Step", "drill"]

_SCRATCH = "drill-"
_WITHIN_S = 60.0
_LOOK_S = 0.05
_SECOND_S = 0.1
"""What a drill's watch takes for a second. That a promise of 5 % is kept again takes a hundred of
them, and a drill shows that the chain holds, not how steady the traffic is."""
_WARM_S = 1.0
_CALLERS = 8
_PAUSE_S = 0.04
"""Of a caller between two requests: a drill wants traffic, not load."""
_MIN_N = 20
_SLOWEST_S = 1.0
_DIFFERENT = 1_000
"""Things that callers ask for."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that had to happen, and how long after the bad release began to serve it did."""

    what: str
    after_s: float | None
    """None where it never did."""


@dataclass(frozen=True, slots=True)
class DrillReport:
    """How the drill went."""

    endpoint: str
    release: str
    """The release that was to return."""
    promise: str
    """The one that was found broken first; empty where none was."""
    because: str
    steps: tuple[Step, ...]
    still_broken: tuple[str, ...]
    """Promises that the release which returned was not shown to keep by then: the stricter one is,
    the more traffic that takes, and a drill ends with the first."""
    verified: bool
    """The ledger of the copy verifies afterwards."""
    seconds: float

    @property
    def passed(self) -> bool:
        return self.verified and all(step.after_s is not None for step in self.steps)


class _SlowAndWrong:
    """Stands behind the model: keeps callers waiting, and spoils every other answer.

    The first call is the one that loading looks at: a release that failed it would never serve.
    """

    def __init__(self, slow_s: float) -> None:
        self._slow_s = slow_s
        self._called = False
        self._answers = itertools.count()

    def __call__(self, outputs: NDArray[np.generic]) -> object:
        if not self._called:
            self._called = True
            return outputs
        time.sleep(self._slow_s)
        spoilt = np.array(outputs, dtype=np.float64)
        for i in range(len(spoilt)):
            if next(self._answers) % 2:
                spoilt[i] = np.nan
        return spoilt


def drill(
    store: Store,
    endpoint: str,
    *,
    root: Path,
    contracts: Sequence[Contract],
    on_step: Callable[[Step], None] = lambda step: None,
) -> DrillReport:
    """Holds the drill with the current release of ``endpoint`` and the promises that are watched.

    ``root`` is where the endpoint's own functions are. Raises ``Busy`` where a drill is held with
    this store already, and what loading raises.
    """
    began_s = time.monotonic()
    with contextlib.ExitStack() as held:
        held.enter_context(store.lock("the drill of this store"))
        for left in store.root.glob(f"{_SCRATCH}*"):  # by one that was killed: whoever lives locks
            shutil.rmtree(left, ignore_errors=True)
        scratch = held.enter_context(tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=store.root))
        copied = Path(scratch) / ".headgate"
        copy_store(store, copied)
        copy = held.enter_context(Store.open(copied))
        receiver = held.enter_context(Receiver())
        current = copy.current(endpoint)
        assert current is not None, "whoever asks for a drill has looked for a release"
        forced = current.generation + 1
        rule = WatchRule(_promises(contracts, receiver.escalation), min_n=_MIN_N)
        spoilt = _SlowAndWrong(_slower_than(rule.contracts))
        variant = _bad_variant(copy, current, spoilt)
        note = "a drill: slow and wrong on purpose"
        copy.promote(
            Release(endpoint, forced, variant, None, note),
            expected_generation=current.generation,
        )
        _close_incidents(copy, endpoint)
        loader = Loader(copy, root, _WARM_S)
        bad = loader.load(forced, variant, postprocess=spoilt)
        server = _Server(copy, loader, bad, rule)
        with server.serving() as url, _callers(url, bad, _items(copy, endpoint)):
            signals: tuple[tuple[str, Callable[[], object]], ...] = (
                ("a broken promise is shown", lambda: _found(copy, endpoint, forced)),
                ("it is rolled back", lambda: _generation(copy, endpoint) > forced),
                ("the owner is told", lambda: receiver.got),
                ("the release before it answers", lambda: server.took_over),
                (
                    "it is shown to keep what was broken",
                    lambda: any(i.recovery is not None for i in _found(copy, endpoint, forced)),
                ),
            )
            steps = tuple(_steps(signals, on_step))
            found = _found(copy, endpoint, forced)
        verified = copy.verify().ok
    opened = found[0].opened.body if found else {}
    report = DrillReport(
        endpoint=endpoint,
        release=f"{endpoint}@{current.generation}",
        promise=str(opened.get("promise", "")),
        because=str(opened.get("because", "")),
        steps=steps,
        still_broken=tuple(str(i.opened.body["promise"]) for i in found if i.open),
        verified=verified,
        seconds=time.monotonic() - began_s,
    )
    history = store.history(endpoint)
    entry = next(entry for entry, release in history if release.generation == current.generation)
    store.append("drill", {"release": entry.id, "passed": report.passed, "report": report})
    return report


def _promises(contracts: Sequence[Contract], escalation: str) -> tuple[Contract, ...]:
    """Those that are watched, told to nobody but the drill; and that answers are answers."""
    valid = Contract(
        "invalid_rate",
        Axis.SAFETY,
        Bound.AT_MOST,
        0.05,
        "an answer that is none is worse than a refusal",
        Action.ROLLBACK,
        escalation,
        "previous generation",
    )
    own = (replace(contract, escalation=escalation) for contract in contracts)
    return (*(c for c in own if c.promise != valid.promise), valid)


def _slower_than(contracts: Sequence[Contract]) -> float:
    """Seconds that break the promises on latency, where there are any."""
    limits = [c.limit for c in contracts if c.metric.startswith("latency_")]
    return min(1.5 * max(limits, default=0.1), _SLOWEST_S)


def _bad_variant(copy: Store, current: Release, spoilt: _SlowAndWrong) -> str:
    """What is served now, with what spoils it behind; its version in the copy."""
    servable = Servable.load(copy, current.variant)
    spec = f"{type(spoilt).__module__}:{type(spoilt).__name__}"
    build = replace(servable.build, name="drill", postprocess=digest(spec))
    variant = replace(servable.variant, name="drill", build=build.version, cache=CacheSpec())
    bad = replace(servable, build=build, variant=variant, postprocess=spec)
    version = copy.put_bytes(bad.content)
    made_from = copy.artifact(current.variant)
    copy.register(
        Artifact(
            id=f"{current.endpoint}/variant/drill",
            version=version,
            kind="variant",
            schema="json Servable",
            owner=made_from.owner if made_from is not None else "a drill",
            size_bytes=len(bad.content),
            lineage=(current.variant,),
        )
    )
    return version


def _close_incidents(copy: Store, endpoint: str) -> None:
    """What is broken in production is none of the drill's: it begins with nothing open."""
    for incident in incidents(copy, endpoint):
        if incident.open:
            closed = {"action": WITHDRAW, "outcome": "done", "said": "a drill begins"}
            copy.append("response", {"incident": incident.opened.id, **closed})


def _found(copy: Store, endpoint: str, generation: int) -> list[Incident]:
    """The incidents of the bad release."""
    all_of_them = incidents(copy, endpoint)
    return [i for i in all_of_them if i.opened.body["generation"] == generation]


def _generation(copy: Store, endpoint: str) -> int:
    release = copy.current(endpoint)
    assert release is not None
    return release.generation


def _items(copy: Store, endpoint: str) -> Sequence[Item]:
    """What callers ask for; none where no workload is on record."""
    workload = copy.artifact(f"{endpoint}/workload")
    return load_workload(copy.path_of(workload.version)).items if workload is not None else ()


def _steps(
    signals: Sequence[tuple[str, Callable[[], object]]], on_step: Callable[[Step], None]
) -> Iterator[Step]:
    """Each signal in turn, and how long from now it took to come."""
    began_s = time.monotonic()
    until_s = began_s + _WITHIN_S
    for what, met in signals:
        while not (seen := met()) and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        step = Step(what, round(time.monotonic() - began_s, 2) if seen else None)
        on_step(step)
        yield step


class _Server:
    """The server of a drill, on a loop in a thread of its own."""

    def __init__(self, copy: Store, loader: Loader, first: Deployment, rule: WatchRule) -> None:
        self.took_over: list[int] = []
        self._copy = copy
        self._loader = loader
        self._first = first
        self._watch = Watch(copy, rule, interval_s=_SECOND_S)
        self._seen = first.generation

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Its URL, while it serves."""
        listening = threading.Event()
        urls: list[str] = []
        failed: list[BaseException] = []
        loop, stop = asyncio.new_event_loop(), asyncio.Event()

        def listen(url: str) -> None:
            urls.append(url)
            listening.set()

        def serve() -> None:
            try:
                loop.run_until_complete(
                    run(
                        self._first,
                        bind("127.0.0.1", 0),
                        stop,
                        on_listening=listen,
                        next_release=self._next,
                        on_release=lambda d: self.took_over.append(d.generation),
                        poll_s=0.2,
                        watch=self._watch,
                    )
                )
            except BaseException as error:
                failed.append(error)
            finally:
                listening.set()
                loop.close()

        thread = threading.Thread(target=serve, name="drill")
        thread.start()
        listening.wait()
        try:
            if failed:
                raise failed[0]
            yield urls[0]
        finally:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(stop.set)
            thread.join()

    def _next(self) -> Deployment | None:
        release = self._copy.current(self._first.endpoint)
        if release is None or release.generation == self._seen:
            return None
        self._seen = release.generation
        return self._loader.load(release.generation, release.variant, metrics=self._first.metrics)


@contextlib.contextmanager
def _callers(url: str, deployment: Deployment, items: Sequence[Item]) -> Iterator[None]:
    """A few callers, each of whom asks one thing after the other."""
    asked = itertools.cycle(_bodies(deployment, items))
    ended, turn = threading.Event(), threading.Lock()
    address = urlsplit(url).netloc

    def call() -> None:
        connection = http.client.HTTPConnection(address, timeout=30)
        while not ended.wait(_PAUSE_S):
            with turn:
                path, body = next(asked)
            try:
                connection.request("POST", path, body, {"content-type": "application/json"})
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request connects anew
        connection.close()

    threads = [threading.Thread(target=call, name="caller") for _ in range(_CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _bodies(deployment: Deployment, items: Sequence[Item]) -> list[tuple[str, bytes]]:
    accepts = deployment.input
    path = f"/v2/models/{deployment.endpoint}/infer"
    if not items:
        items = _made_up(deployment)

    def body(item: Item) -> tuple[str, bytes]:
        if isinstance(item, Pair):
            return "/rerank", rerank_body(item.query, [item.text])
        value: object = item if isinstance(item, str) else item.tolist()
        return path, infer_body([value], name=accepts.name, datatype=datatype_of(accepts.dtype))

    return [body(item) for item in items[:_DIFFERENT]]


def _made_up(deployment: Deployment) -> Sequence[Item]:
    if deployment.build.task == "rerank":
        return (Pair("a drill", "a drill is held"),)
    if deployment.input.dtype == "str":
        return tuple(f"a drill, question {i}" for i in range(50))
    return (np.zeros(deployment.input.shape, dtype=deployment.input.dtype),)
