"""Small measurements of a candidate before it is paid for: what a preview is made of.

A pilot makes the scheme, with little calibration data where all would take too long, answers a
stratified part of the evaluation split, runs a few blocks beside the baseline, and weighs a process
that serves it. Each is a transformation like all others, so that it is recorded and reused: a pilot
that is the real build is not made again. What the figures mean is for
``headgate.quantization.preview`` to say.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from headgate.config import RetrievalSet
from headgate.engines.probe import available_memory_bytes
from headgate.errors import EngineError
from headgate.objects import Action, Bound, Build, Contract, canonical, jsonable, parse
from headgate.optimize.admission import admit
from headgate.optimize.blocks import SpeedBlocks, measure_beside
from headgate.optimize.child import Children
from headgate.optimize.evidence import paired
from headgate.optimize.forecasts import bytes_of
from headgate.optimize.inputs import load_split
from headgate.optimize.job import Job
from headgate.optimize.making import CANNOT_BE_MADE, Maker, make_build
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.measure import (
    Behaviour,
    build_inputs,
    measure_quality,
    open_answerer,
    own_metrics,
)
from headgate.optimize.quality import QualitySamples, evaluate, score_retrieval
from headgate.optimize.recorder import (
    Asked,
    Call,
    Execute,
    Executed,
    Output,
    Recorded,
    transformation,
)
from headgate.optimize.rules import judged_at_most
from headgate.optimize.served import as_json
from headgate.optimize.subset import (
    Drawn,
    closeness,
    moved_like_others,
    needed_passages,
    part_of,
    split_vectors,
)
from headgate.planning import CANDIDATES
from headgate.quantization.preview import QualityPilot, Side
from headgate.release import CERTIFICATE, PairedItems, share_of
from headgate.release.estimate import MAX_ERRORED_SHARE, Counted, counted
from headgate.runtime.servable import build_from_json
from headgate.theory.strata import Stratum, drawn

__all__ = [
    "PilotBuild",
    "PilotQuality",
    "Unscored",
    "invalid_metrics",
    "make_pilots",
    "pilot_blocks",
    "pilot_memories",
    "pilot_memory",
    "pilot_quality",
    "quality_pilots",
    "weighed_at_once",
]

_LEAST_ITEMS = 200
"""At a discordance of 4 % their interval is some three points wide."""
_PASSAGES_PER_QUERY = 2
_BLOCKS = 4
_MEMORY_ITEMS = 64
_MEMORY_TIMEOUT_S = 120
_WEIGHS = (sys.executable, "-m", "headgate.optimize.footprint")
_TIMES_ITS_FILES = 4
"""Bytes of memory that a process is expected to take at most, for each of its files' bytes: 3.3 is
the most that was seen (docs/decisions/0042)."""
_PROCESS_BYTES = 320 << 20
"""And beside these: 91 MiB are taken before anything is loaded, and an engine has its own."""
_SIDES = {
    Bound.NOT_BELOW_CURRENT_BY: Side.LOSS,
    Bound.NOT_ABOVE_CURRENT_BY: Side.LOSS,
    Bound.AT_LEAST: Side.AT_LEAST,
    Bound.AT_MOST: Side.AT_MOST,
}


@dataclass(frozen=True, slots=True)
class PilotBuild:
    """A candidate, made small; or why it could not be."""

    name: str
    build: Build | None
    """Under the candidate's name where it is the very build that ``optimize`` makes."""
    seconds: float
    """Of making it."""
    few: bool
    """Calibrated on fewer items than that."""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class PilotQuality:
    """Per-item results of a pilot's items, and which they were."""

    drawn: Drawn
    samples: QualitySamples
    run: Recorded

    @property
    def whole(self) -> bool:
        """Whether these are all items there are."""
        return len(self.drawn.items) == sum(size for size, _ in self.drawn.strata)


@dataclass(frozen=True, slots=True)
class Unscored:
    """Items of which a metric says nothing, as a contract on it counts them."""

    own: int
    """In what the pilot's own build answered."""
    answered: int
    """By that; all ``items`` where the pilot is whole."""
    stand_for: float
    """Of all items, how many these are that do not count among ``current``; about, unless the pilot
    is whole."""
    current: int
    """Of all items, in the baseline's answers; 0 where the contract does not look at these."""
    items: int

    @property
    def of_all(self) -> float:
        """Of all ``items``, without a value on either side."""
        return self.current + self.stand_for

    @property
    def too_many(self) -> bool:
        """Whether the gate would find the measurement invalid."""
        return self.of_all > MAX_ERRORED_SHARE * self.items


@transformation("pilot.quality")
def answers(call: Call) -> Mapping[str, Output]:
    """Per-item scores of a build on part of a split: the items that tell most, and a few others."""
    build, behaviour = build_from_json(call.c["build"]), Behaviour(**call.c["behaviour"])
    call.progress(0.0, build.name)
    data = load_split(behaviour.task, call.path("dataset"))
    vectors = np.load(call.path("vectors"), allow_pickle=False)
    rng = np.random.default_rng(call.seed)
    near = closeness(data, vectors, behaviour.task)
    which = Drawn(tuple(drawn(near, int(call.c["n"]), int(call.c["items"]), rng)))
    part = part_of(data, which.items, behaviour.task)
    own = own_metrics(behaviour.metrics, call.root)
    opened = open_answerer(build, behaviour, call.store.path_of, call.root)
    with contextlib.closing(opened) as answerer:
        if isinstance(data, RetrievalSet):
            assert isinstance(part, RetrievalSet)
            most = _PASSAGES_PER_QUERY * len(which.items)
            known = needed_passages(data, vectors, which.items, most)
            again = answerer.answer([data.passages[p] for p in known]).astype(np.float32)
            _, passages = split_vectors(data, vectors)
            samples = score_retrieval(
                part,
                answerer.answer(part.queries),
                moved_like_others(passages, known, again),
                itself=which.items if data.queries == data.passages else None,
                metrics=own,
            )
        else:
            samples = evaluate(answerer, part, task=behaviour.task, metrics=own)
    body = {"strata": which.strata, "samples": samples}
    return {"answers": Output(canonical(jsonable(body)), "samples", "json {strata, samples}")}


@transformation("pilot.memory", measures=True, also=("headgate.optimize.footprint",))
def memory(call: Call) -> Mapping[str, Output]:
    """The peak of a process that loads a build and answers a large batch."""
    return _weighed(call, Children())


def _weighed(call: Call, children: Children) -> Mapping[str, Output]:
    call.progress(0.0, str(call.c["build"]["name"]))
    asked = {
        "store": str(call.store.root),
        "root": str(call.root),
        "build": call.c["build"],
        "behaviour": call.c["behaviour"],
        "items": parse(call.store.read(call.u["items"])),
    }
    try:
        peak = children.run(_WEIGHS, json.dumps(asked) + "\n", timeout_s=_MEMORY_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:  # the first: no process to be had
        complaint = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        said = str(complaint or error).strip().splitlines()
        raise EngineError(
            f"a process that serves it ends: {said[-1] if said else 'it said nothing'}",
            where=str(call.c["build"]["name"]),
        ) from error
    return {"peak": Output(peak.encode(), "samples", "json {peak_bytes}")}


def make_pilots(job: Job, names: Sequence[str], *, calibrate: int) -> list[PilotBuild]:
    """Each candidate, calibrated on so many items. What cannot be made says why."""
    maker = Maker.of(job, failures_stand=True)
    return [_made(maker, job, name, calibrate) for name in names]


def _made(maker: Maker, job: Job, name: str, calibrate: int) -> PilotBuild:
    candidate, before = CANDIDATES[name], len(maker.recorder.runs)
    whole = job.inputs.calibrate[:CALIBRATION_ITEMS]
    given = whole[:calibrate]
    few = candidate.scheme.needs_calibration and len(given) < len(whole)
    try:
        for role in candidate.learns_from:
            admit(job.recorder, role, job.inputs.versions, now=datetime.now(UTC))
        build = make_build(name, maker, calibrate=given)
    except CANNOT_BE_MADE as error:
        return PilotBuild(name, None, 0.0, few, error.what.splitlines()[0])
    seconds = sum(run.seconds for run in maker.recorder.runs[before:])
    if few:
        build = replace(build, name=f"{name}, calibrated on {len(given)}")
    return PilotBuild(name, build, seconds, few)


def pilot_quality(job: Job, build: Build, *, vectors: str, items: int, most: int) -> PilotQuality:
    """``build`` on some of the ``items`` of the evaluation split; ``vectors`` are what the baseline
    answered to all. ``most``: how many it may look at, where that is more than the least.

    Where it may look at all of them it is the whole evaluation, which is not done again.
    """
    n = max(_LEAST_ITEMS, most)
    dataset = job.inputs.versions["evaluate"]
    if n >= items:
        samples, done = measure_quality(
            job.recorder, build, job.behaviour, dataset=dataset, split="evaluate"
        )
        return PilotQuality(Drawn(((items, tuple(range(items))),)), samples, done)
    done = job.recorder.run(
        answers,
        u=build_inputs(build, dataset=dataset, vectors=vectors),
        c={"build": build, "behaviour": job.behaviour, "n": n, "items": items},
        detail=build.name,
    )
    body = parse(job.store.read(done.outputs["answers"]))
    which = Drawn(tuple((size, tuple(indices)) for size, indices in body["strata"]))
    return PilotQuality(which, QualitySamples.from_json(body["samples"]), done)


def pilot_blocks(job: Job, baseline: Build, builds: Sequence[Build]) -> Mapping[str, SpeedBlocks]:
    """Each beside the baseline in a few interleaved blocks of the items that ``optimize`` times
    candidates on.

    Fewer items would make batches of other shapes, and an engine that compiles for each shape is
    another one then.
    """
    return measure_beside(
        job.recorder,
        baseline,
        builds,
        job.behaviour,
        items=job.queries,
        n_blocks=_BLOCKS,
        memory_bytes=job.profile.memory_bytes,
    )


def pilot_memory(job: Job, build: Build) -> tuple[int, Recorded]:
    """Bytes at the peak of a process that serves ``build``."""
    asked = _weighing(job, build)
    done = job.recorder.run(asked.what, u=asked.u, c=asked.c, detail=asked.detail)
    return _peak(job, done), done


def pilot_memories(job: Job, builds: Mapping[str, Build]) -> Mapping[str, int]:
    """The same of each of ``builds``, but for those whose process fails.

    What an engine keeps beside a file, and for how long, follows from no rule that would hold for
    the next version. Two are weighed at a time where the machine has room: neither is in the peak
    of the other, and no time is measured. Each is recorded in its turn, by this thread, and where
    this raises those that are being weighed are ended.
    """
    asked = {name: _weighing(job, build) for name, build in builds.items()}
    largest_bytes = max((bytes_of(job.store, build) for build in builds.values()), default=0)
    at_once = weighed_at_once(job.cores, largest_bytes, available_memory_bytes())
    # Who shows progress is told by one thread alone.
    silent = replace(job.recorder, on_progress=lambda share, detail: None)
    children = Children()
    weighing = replace(memory, work=lambda call: _weighed(call, children))
    peaks: dict[str, int] = {}
    pool = ThreadPoolExecutor(at_once)
    try:
        begun = {
            name: pool.submit(silent.execute, weighing, a.u, config)
            for name, a in asked.items()
            if (config := job.recorder.missing(a)) is not None
        }
        for name, a in asked.items():
            execute = _result_of(begun[name]) if name in begun else None
            with contextlib.suppress(EngineError):
                done = job.recorder.run(a.what, u=a.u, c=a.c, detail=a.detail, execute=execute)
                peaks[name] = _peak(job, done)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.end()
        pool.shutdown()
    return peaks


def weighed_at_once(cores: int, file_bytes: int, available_bytes: int) -> int:
    """How many builds, 1 or 2; all files of the largest have ``file_bytes``."""
    each_bytes = _TIMES_ITS_FILES * file_bytes + _PROCESS_BYTES
    return 2 if cores > 1 and 2 * each_bytes <= available_bytes else 1


def _result_of(begun: Future[Executed]) -> Execute:
    return lambda what, u, config: begun.result()


def _weighing(job: Job, build: Build) -> Asked:
    items = as_json(job.queries[:_MEMORY_ITEMS])
    version = job.store.put_bytes(canonical(items))
    job.recorder.register("pilot.memory/items", version, kind="dataset", schema="json [item]")
    c = {"build": build, "behaviour": job.behaviour}
    return Asked(memory, build_inputs(build, items=version), c, build.name)


def _peak(job: Job, done: Recorded) -> int:
    return int(parse(job.store.read(done.outputs["peak"]))["peak_bytes"])


def quality_pilots(
    job: Job, pilot: PilotQuality, baseline: QualitySamples
) -> tuple[QualityPilot, ...]:
    """The pilot's values as each quality contract looks at them, stratum by stratum.

    What errored counts as the gate counts it. Left out are slices, of which a pilot has too few
    items each, and what the gate would call invalid (``invalid_metrics``).
    """
    found = []
    chosen_among = judged_at_most(job.config.candidates, sealed=job.inputs.holdout is not None)
    for contract, side, items in _judged(job, pilot, baseline):
        # Of a single item no spread is known: the whole evaluation will say.
        if len(items.items) < 2 or _unscored(contract, items, pilot.drawn, baseline).too_many:
            continue
        width = items.value_range[1] - items.value_range[0]
        found.append(
            QualityPilot(
                contract.metric,
                side,
                contract.limit,
                width,
                _strata(contract, side, counted(contract, items), pilot.drawn),
                stops=contract.on_breach is not Action.WARN,
                bounds=(-width, width) if side is Side.LOSS else items.value_range,
                alpha=CERTIFICATE / chosen_among,
                power=share_of(len(job.contracts)),
            )
        )
    return tuple(found)


def invalid_metrics(
    job: Job, pilot: PilotQuality, baseline: QualitySamples
) -> Mapping[str, Unscored]:
    """Metrics of which the gate would find the measurement invalid, as far as the pilot tells."""
    return {
        contract.metric: unscored
        for contract, _, items in _judged(job, pilot, baseline)
        if (unscored := _unscored(contract, items, pilot.drawn, baseline)).too_many
    }


def _judged(
    job: Job, pilot: PilotQuality, baseline: QualitySamples
) -> Iterator[tuple[Contract, Side, PairedItems]]:
    """Each contract on values of single items, with those of the pilot's."""
    rows = _rows(baseline, pilot.drawn)
    for contract in job.contracts:
        side = _SIDES.get(contract.bound)
        items = paired(contract.metric, pilot.samples, rows, job.own)
        if side is not None and items is not None:
            yield contract, side, items


def _unscored(
    contract: Contract, items: PairedItems, which: Drawn, baseline: QualitySamples
) -> Unscored:
    """Of all items: of the baseline's all are known, of the pilot's the drawn ones stand for their
    stratum."""
    relative = contract.bound.needs_current
    current = baseline.scores.get(contract.metric, ()) if relative else ()
    own = [value is None for value in items.candidate]
    alone = [
        lost and (not relative or value is not None)
        for lost, value in zip(own, items.current, strict=True)
    ]
    return Unscored(
        own=sum(own),
        answered=len(own),
        stand_for=sum(
            size * sum(alone[at]) / max(len(alone[at]), 1) for size, at in _places(which)
        ),
        current=sum(value is None for value in current),
        items=sum(size for size, _ in which.strata),
    )


def _strata(contract: Contract, side: Side, values: Counted, which: Drawn) -> tuple[Stratum, ...]:
    sign = 1.0 if contract.bound is Bound.NOT_BELOW_CURRENT_BY else -1.0
    strata = []
    for size, at in _places(which):
        of = values.candidate[at]
        if side is Side.LOSS:
            of = tuple(sign * (b - a) for a, b in zip(of, values.current[at], strict=True))
        strata.append(Stratum(size, of))
    return tuple(s for s in strata if s.values)


def _places(which: Drawn) -> Iterator[tuple[int, slice]]:
    """Of each stratum its size, and where its items are among the drawn."""
    at = 0
    for size, indices in which.strata:
        yield size, slice(at, at + len(indices))
        at += len(indices)


def _rows(samples: QualitySamples, which: Drawn) -> QualitySamples:
    """Those of the pilot's items, in its order."""
    at = which.items
    return replace(
        samples,
        items=tuple(samples.items[i] for i in at),
        slices=tuple(samples.slices[i] for i in at),
        scores={m: tuple(values[i] for i in at) for m, values in samples.scores.items()},
        answers=tuple(samples.answers[i] for i in at),
    )
