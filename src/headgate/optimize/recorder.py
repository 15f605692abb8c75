"""Runs transformations and remembers them: resume, reuse, replay and evidence are one mechanism.

A transformation is a function ``(Call) -> outputs`` under a name. ``Recorder.run`` executes it
unless the ledger already holds that very run with all of its outputs (docs/decisions/0001);
``Recorder.replay`` executes a recorded one again. What fails is recorded too, under the key that
its run would have had. Knows nothing of what transformations do.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from headgate.errors import EngineError, HeadgateError, InputError, Refused
from headgate.ledger import Entry, Store, hold, hold_run
from headgate.objects import Artifact, Kind, Run, digest, digest_bytes, jsonable, short
from headgate.optimize.code import code_digest

__all__ = [
    "Asked",
    "Call",
    "Compared",
    "Executed",
    "Failed",
    "Made",
    "Output",
    "Recorded",
    "Recorder",
    "Replayed",
    "Transformation",
    "clean_scratch",
    "scratch",
    "seconds_of",
    "transformation",
    "transformation_named",
]


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a transformation: bytes or a file, and what they look like."""

    content: bytes | Path
    kind: Kind
    schema: str


@dataclass(frozen=True, slots=True)
class Call:
    """What a transformation is given: its inputs and configuration, and nothing else."""

    u: Mapping[str, str]
    """Inputs: name -> artifact version."""
    c: Mapping[str, Any]
    """Configuration, as plain JSON types."""
    seed: int
    store: Store
    """To read inputs from; transformations never write to it."""
    root: Path
    """The endpoint's directory, where the user's own functions live."""
    work_dir: Path
    """An empty directory that is removed afterwards."""
    resume_dir: Path
    """A directory of this very run's own: what a killed execution left is still there."""
    progress: Callable[[float, str], None]
    """Told the share done (0 to 1) and what is going on."""
    went_on_after: Callable[[float], None] = lambda seconds: None
    """Told the seconds that a killed execution had taken by what this one went on from."""

    def path(self, name: str) -> Path:
        """The file of the input ``name``."""
        return self.store.path_of(self.u[name])


Work = Callable[[Call], Mapping[str, Output]]


@dataclass(frozen=True, slots=True)
class Transformation:
    """``T`` of ``z = T(u; c, e)``."""

    name: str
    work: Work
    measures: bool
    """Time or memory: executed again it gives other numbers, and replay says how different."""
    also: tuple[str, ...] = ()
    """Modules that run in processes of its own."""

    @property
    def code(self) -> str:
        """Digest of the source that decides what comes out."""
        return code_digest(self.work.__module__, *self.also)


_KNOWN: dict[str, Transformation] = {}
_FAILURES = {"EngineError": EngineError, "InputError": InputError}
_PASSING = ("function_failed",)
"""Reasons that may be gone by the next run, though no digest tells: a user's function reads what
it likes. A missing extra is an error of its own and passes too."""


def transformation(
    name: str, *, measures: bool = False, also: tuple[str, ...] = ()
) -> Callable[[Work], Transformation]:
    """Registers a function under ``name``, so that a recorded run can be replayed by its name.

    ``also`` names modules that it runs without importing them, in processes of their own.
    """

    def register(work: Work) -> Transformation:
        assert name not in _KNOWN, f"two transformations are called {name}"
        _KNOWN[name] = Transformation(name, work, measures, also)
        return _KNOWN[name]

    return register


def transformation_named(name: str) -> Transformation | None:
    """The one that was registered under ``name``, by a module that is imported; None where there is
    none: a store may have been written by another version."""
    return _KNOWN.get(name)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished run: its ledger entry and the versions of its outputs."""

    name: str
    entry: str
    outputs: Mapping[str, str]
    reused: bool
    seconds: float
    """Of its execution, those before a kill among them."""
    ended_at: str
    earlier_s: float = 0.0
    """Of ``seconds``, those before a kill."""

    @property
    def measures(self) -> bool:
        """Whether it measured time or memory, so that ``fresh`` executes it again."""
        return _KNOWN[self.name].measures


@dataclass(frozen=True, slots=True)
class Failed:
    """What was executed and came to nothing, now or before, but for the time that it took."""

    entry: str
    """Of the ledger; the key of the run where a failure is not kept."""
    seconds: float
    ended_at: str
    earlier_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What ``Recorder.run`` is asked for, but for what is foreign."""

    what: Transformation
    u: Mapping[str, str]
    c: Mapping[str, object]
    detail: str = ""
    """For people; no part of the run's identity."""


@dataclass(frozen=True, slots=True)
class Made:
    """An output whose content is in the store."""

    version: str
    kind: Kind
    schema: str


@dataclass(frozen=True, slots=True)
class Executed:
    """What an execution came to, before any entry says so."""

    outputs: Mapping[str, Made]
    started_at: str
    ended_at: str
    earlier_s: float = 0.0
    """What it went on from had taken before it was killed."""


Execute = Callable[[Transformation, Mapping[str, str], Mapping[str, Any]], Executed]
"""Executes a transformation on ``u`` under the whole of its configuration."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The digests of one output; None on the side that does not have it."""

    recorded: str | None
    again: str | None

    @property
    def same(self) -> bool:
        return self.recorded == self.again


@dataclass(frozen=True, slots=True)
class Replayed:
    """A run executed again: what came out then, and now."""

    transformation: str
    entry: str
    outputs: Mapping[str, Compared]
    measures: bool
    foreign: bool
    """A server that is not ours answered, and was asked again."""
    environment_differs: bool
    code_differs: bool

    @property
    def identical(self) -> bool:
        return all(output.same for output in self.outputs.values())


@dataclass
class Recorder:
    """Executes transformations for one endpoint, against one store, in one environment."""

    store: Store
    endpoint: str
    owner: str
    environment: str
    """Digest of ``e``."""
    seed: int
    root: Path
    fresh_measurements: bool = False
    """Take every measurement again, once, even where it is recorded; try again what failed."""
    failures_stand: bool = False
    """What failed in an earlier run fails again at once, in the same environment."""
    on_start: Callable[[str, str], None] = lambda name, detail: None
    """Told of every execution before ``run`` begins it; what this raises, nothing is executed of.
    Of what was begun elsewhere (``execute`` of ``run``) it is told when that is asked for; what
    this raises, nothing is recorded of then."""
    on_progress: Callable[[float, str], None] = lambda share, detail: None
    runs: list[Recorded] = field(default_factory=list)
    """Everything that was asked for, in order, executed or reused."""
    failures: list[Failed] = field(default_factory=list)
    """And what came of it was nothing."""

    @property
    def asked(self) -> frozenset[str]:
        """Entries of all runs and failures so far."""
        return frozenset(each.entry for each in self._all)

    def seconds_since(self, before: Set[str]) -> float:
        """``seconds_of`` all that was asked for, but for the entries ``before``."""
        return seconds_of(each for each in self._all if each.entry not in before)

    @property
    def _all(self) -> list[Recorded | Failed]:
        return [*self.runs, *self.failures]

    def run(
        self,
        what: Transformation,
        *,
        u: Mapping[str, str],
        c: Mapping[str, object],
        foreign: bool = False,
        detail: str = "",
        execute: Execute | None = None,
    ) -> Recorded:
        """The outputs of ``what`` on ``u`` under ``c``; executes it if need be.

        ``foreign``: it asks a server that is not ours, which no digest holds to what it was, so a
        run that is recorded of an earlier job stands for nothing; the configuration says so.
        ``detail`` is for people and no part of the run's identity. ``execute`` stands in for
        ``Recorder.execute``: it knows of what was begun before it is asked for. Raises whatever the
        work raises; no run is recorded then, but what an engine or an input is to blame for is, as
        a ``failure``.
        """
        config = self._config(what, c)
        if foreign:
            config["foreign"] = True
        recorded = self._standing(what, u, config)
        if recorded is None:
            key = self._key(what, u, config)
            if (failure := self._failure(key)) is not None:
                self._fail_again(failure)
            self.on_start(what.name, detail)
            started = datetime.now(UTC)
            try:
                executed = (execute or self.execute)(what, u, config)
            except (EngineError, InputError) as error:
                ended = datetime.now(UTC)
                took = Failed(key, (ended - started).total_seconds(), _text(ended))
                self.failures.append(self._record_failure(took, what, u, error))
                raise
            recorded = self._record(what, u, config, executed)
        self.runs.append(recorded)
        return recorded

    def missing(self, asked: Asked) -> Mapping[str, Any] | None:
        """The configuration that it would be executed under; None where what is recorded stands,
        a failure too."""
        config = self._config(asked.what, asked.c)
        stands = self._standing(asked.what, asked.u, config)
        failed = self._failure(self._key(asked.what, asked.u, config))
        return config if stands is None and failed is None else None

    def execute(
        self, what: Transformation, u: Mapping[str, str], config: Mapping[str, Any]
    ) -> Executed:
        """Does the work and keeps its outputs in the store; records nothing."""
        started = datetime.now(UTC)
        earlier_s: list[float] = []
        with scratch(self.store, self.endpoint) as work_dir:
            resume_dir = self._resume_dir(what, u, config)
            call = self._call(u, config, work_dir, resume_dir)
            outputs = what.work(replace(call, went_on_after=earlier_s.append))
            ended = datetime.now(UTC)
            made = {n: Made(self._put(o), o.kind, o.schema) for n, o in outputs.items()}
        return Executed(made, _text(started), _text(ended), math.fsum(earlier_s))

    def _config(self, what: Transformation, c: Mapping[str, object]) -> dict[str, Any]:
        return {**jsonable(c), "code": what.code}

    def _standing(
        self, what: Transformation, u: Mapping[str, str], config: Mapping[str, object]
    ) -> Recorded | None:
        """The run that is recorded, unless it has to be taken again in this job."""
        recorded = self._find(what, u, config)
        if recorded is None:
            return None
        stale = "foreign" in config or (self.fresh_measurements and what.measures)
        taken_now = recorded.entry in {r.entry for r in self.runs}
        return None if stale and not taken_now else recorded

    def _find(
        self, what: Transformation, u: Mapping[str, str], config: Mapping[str, object]
    ) -> Recorded | None:
        found = self.store.find_run(
            transformation=what.name, u=u, c=config, e=self.environment, seed=self.seed
        )
        if found is None:
            return None
        entry, run = found
        return _recorded(run, entry, reused=True)

    def _key(self, what: Transformation, u: Mapping[str, str], config: Mapping[str, object]) -> str:
        """As the store's for a run of the same ``T(u; c, e)`` and seed."""
        return digest(
            {
                "transformation": what.name,
                "u": u,
                "c": config,
                "e": self.environment,
                "seed": self.seed,
            }
        )

    def _record_failure(
        self, took: Failed, what: Transformation, u: Mapping[str, str], error: HeadgateError
    ) -> Failed:
        """``took``, which names the run's key, under the failure's entry: the one that is there
        where it says the same; as it is where nothing is kept."""
        if type(error).__name__ not in _FAILURES or error.reason in _PASSING:
            return took
        key = took.entry
        body = {
            "key": key,
            "endpoint": self.endpoint,
            "transformation": what.name,
            "u": dict(u),
            "e": self.environment,
            "error": type(error).__name__,
            "reason": error.reason,
            "what": error.what,
            "where": error.where,
            "fix": error.fix,
        }
        known = self.store.latest("failure", key=key)
        if known is None or not body.items() <= known.body.items():
            times = {"seconds": took.seconds, "ended_at": took.ended_at}
            known = self.store.append("failure", {**body, **times})
        return replace(took, entry=known.id)

    def _failure(self, key: str) -> Entry | None:
        """What the run with this ``key`` came to, where that is not tried again."""
        if not self.failures_stand or self.fresh_measurements:
            return None
        return self.store.latest("failure", key=key)

    def _fail_again(self, known: Entry) -> NoReturn:
        body = known.body
        self.failures.append(Failed(known.id, body["seconds"], body["ended_at"]))
        raise _FAILURES[body["error"]](
            f"{body['what'].splitlines()[0]}; so it was before (failure {short(known.id)}), and "
            "--fresh tries again",
            where=body["where"],
            fix=body["fix"],
            reason=body["reason"],
        )

    def _record(
        self,
        what: Transformation,
        u: Mapping[str, str],
        config: Mapping[str, Any],
        executed: Executed,
    ) -> Recorded:
        z = {name: made.version for name, made in executed.outputs.items()}
        run = Run(
            transformation=what.name,
            u=dict(u),
            c=config,
            e=self.environment,
            z=z,
            seed=self.seed,
            started_at=executed.started_at,
            ended_at=executed.ended_at,
            owner=self.owner,
            earlier_s=executed.earlier_s,
        )
        entry = hold_run(self.store, run)
        shutil.rmtree(self._resume_dir(what, u, config), ignore_errors=True)
        for name, made in executed.outputs.items():
            self.register(
                f"{what.name}/{name}",
                made.version,
                kind=made.kind,
                schema=made.schema,
                lineage=tuple(u.values()),
                made_by=entry.id,
            )
        return _recorded(run, entry, reused=False)

    def _resume_dir(
        self, what: Transformation, u: Mapping[str, str], config: Mapping[str, Any]
    ) -> Path:
        key = digest({"T": what.name, "u": u, "c": config, "e": self.environment})
        return _work(self.store, self.endpoint) / f"resume-{short(key)}"

    def replay(self, entry: Entry) -> Replayed:
        """Executes a recorded run again and compares the outputs; records nothing.

        A model that came out otherwise is kept, so that it can be asked; no entry names it, and
        `headgate gc` takes it away.
        """
        what = transformation_named(str(entry.body.get("transformation")))
        if entry.kind != "run" or what is None:
            raise Refused(
                f"{short(entry.id)} is not a run that this version can execute",
                fix="give the id of a run or of a decision",
                reason="not_replayable",
            )
        u, c, z = entry.body["u"], entry.body["c"], entry.body["z"]
        with scratch(self.store, ".replay") as work_dir:
            outputs = what.work(self._call(u, c, work_dir, work_dir / "again"))
            again = {name: _version(output) for name, output in outputs.items()}
            for name, output in outputs.items():
                if output.kind == "model" and again[name] != z.get(name):
                    self._put(output)
        return Replayed(
            transformation=what.name,
            entry=entry.id,
            outputs={
                name: Compared(z.get(name), again.get(name)) for name in sorted(z.keys() | again)
            },
            measures=what.measures,
            foreign="foreign" in c,
            environment_differs=entry.body["e"] != self.environment,
            code_differs=c.get("code") != what.code,
        )

    def register(
        self,
        name: str,
        version: str,
        *,
        kind: Kind,
        schema: str,
        lineage: tuple[str, ...] = (),
        made_by: str | None = None,
    ) -> str:
        """Registers an artifact of this endpoint under its kind's standard; its ledger entry."""
        artifact = Artifact(
            id=f"{self.endpoint}/{name}",
            version=version,
            kind=kind,
            schema=schema,
            owner=self.owner,
            size_bytes=self.store.path_of(version).stat().st_size,
            lineage=lineage,
            made_by=made_by,
        )
        return hold(self.store, artifact).id

    def _call(
        self, u: Mapping[str, str], c: Mapping[str, Any], work_dir: Path, resume_dir: Path
    ) -> Call:
        return Call(
            u,
            c,
            self.seed,
            self.store,
            self.root,
            work_dir,
            resume_dir,
            lambda share, detail: self.on_progress(share, detail),
        )

    def _put(self, output: Output) -> str:
        if isinstance(output.content, bytes):
            return self.store.put_bytes(output.content)
        return self.store.put_file(output.content)


def _work(store: Store, owner: str) -> Path:
    return store.root / "work" / owner


def clean_scratch(store: Store, owner: str) -> None:
    """Removes what a killed process of ``owner`` left, but for what it can be resumed from.

    Call it only where no other job of the same owner runs.
    """
    for path in _work(store, owner).glob("tmp*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def scratch(store: Store, owner: str) -> Iterator[Path]:
    """An empty directory inside the store, removed afterwards: nothing is written beside it."""
    parent = _work(store, owner)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)


def _version(output: Output) -> str:
    content = output.content
    return digest_bytes(content if isinstance(content, bytes) else content.read_bytes())


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(runs: Iterable[Recorded | Failed]) -> float:
    """The seconds during which this machine worked for ``runs``: what a budget is spent in.

    Time on the clock, of all its cores: what was executed side by side, here and in helpers, counts
    once. So does what was asked for several times; what is reused counts as when it was executed,
    what failed until it did, and what went on after a kill with what had been done before that.
    """
    each = {run.entry: run for run in runs}.values()
    spent_s = math.fsum(run.earlier_s for run in each)
    until_s = -math.inf
    for began_s, end_s in sorted(map(_span_s, each)):
        spent_s += max(0.0, end_s - max(began_s, until_s))
        until_s = max(until_s, end_s)
    return spent_s


def _span_s(run: Recorded | Failed) -> tuple[float, float]:
    """From when to when it was executed, the last time, on the clock."""
    end_s = _moment(run.ended_at).timestamp()
    return end_s - (run.seconds - run.earlier_s), end_s


def _recorded(run: Run, entry: Entry, *, reused: bool) -> Recorded:
    own_s = (_moment(run.ended_at) - _moment(run.started_at)).total_seconds()
    seconds = own_s + run.earlier_s
    name, z = run.transformation, run.z
    return Recorded(name, entry.id, z, reused, seconds, run.ended_at, run.earlier_s)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
