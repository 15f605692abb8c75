"""Measures one build: quality per item, batch invariance, service-time curve, memory.

Every measurement is a transformation, so it is recorded, reused and can be replayed. Comparing
builds with each other is ``blocks``'s and ``gate``'s work.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config import EndpointConfig, Item, OwnMetric, load_function, load_metric
from headgate.config.schema import MetricSpec
from headgate.engines.invariance import (
    EPSILON,
    batch_invariance,
    cosine_distance,
    largest_difference,
)
from headgate.engines.measure import Timed, sample_batches, service_times
from headgate.engines.outputs import batch_scaled
from headgate.objects import BatchInvariance, Build, canonical, parse
from headgate.optimize.answers import MAX_ITEMS, Answerer
from headgate.optimize.inputs import load_split
from headgate.optimize.quality import QualitySamples, evaluate
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.optimize.served import as_items, as_json, served_codec, served_engine
from headgate.runtime.servable import build_from_json
from headgate.scheduling import InstancePlan
from headgate.workload import CurvePoint, ServiceCurve

__all__ = [
    "CURVE_TOKENS",
    "VECTORS",
    "Behaviour",
    "Invariance",
    "MeasuredCurve",
    "build_inputs",
    "measure_curves",
    "measure_invariance",
    "measure_quality",
    "npy",
    "open_answerer",
    "own_metrics",
    "slower",
]

VECTORS = "vectors.npy"
"""The output of ``measure.quality`` that holds all that a build answered: float32 (items, ...); of
retrieval the passages, then the queries unless they are the same texts."""
_SAMPLE_ITEMS = 64
CURVE_TOKENS = 512
"""Larger batches are on the fitted line, and cost more to measure than they tell."""


_FOREIGN_ITEMS = 32
"""In one request to a server that is not ours: TEI refuses more, unless it was told otherwise."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What of an endpoint's configuration decides its answers, beside the build."""

    task: str
    truncate: bool
    preprocess: str | None
    postprocess: str | None
    metrics: Mapping[str, Mapping[str, object]]
    """Own metric -> its specification, with ``source``: the digest of its code."""

    @classmethod
    def of(cls, config: EndpointConfig) -> Behaviour:
        own = {**config.metrics, **config.safety}
        return cls(
            config.task,
            config.model.truncate,
            config.preprocess,
            config.postprocess,
            {
                name: {
                    **spec.model_dump(),
                    "source": load_function(spec.function, config.root).version,
                }
                for name, spec in own.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Invariance:
    """The batch-invariance class of a build, and what it was seen on."""

    invariance: BatchInvariance
    max_difference: float
    items: int
    run: Recorded


@dataclass(frozen=True, slots=True)
class MeasuredCurve:
    """Measured medians and their fit, for one build under one instance plan."""

    plan: InstancePlan
    curve: ServiceCurve
    points: tuple[CurvePoint, ...]
    cores_used: float
    """Mean number of cores that one call of one instance computes on."""
    run: Recorded
    parts: tuple[ServiceCurve, ServiceCurve] | None = None
    """Of a cascade: its student's curve and its teacher's, from which ``curve`` is composed."""

    def with_shell(
        self, cpu_s_per_request: float, *, cores: int, hits_per_miss: float = 0.0
    ) -> MeasuredCurve:
        """The curve with the CPU time of the shell in it, since both use the same cores.

        An instance that has ``1/instances`` of the machine loses ``instances/cores`` of every CPU
        second spent beside it; each request that runs also carries its share of those that hit.
        """
        share = self.plan.instances / cores
        return self.slower_by(cpu_s_per_request * (1 + hits_per_miss) * share)

    def slower_by(self, item_s: float) -> MeasuredCurve:
        """The curve of calls that take ``item_s`` more for every request in them."""
        parts = self.parts
        if parts is not None:
            parts = slower(parts[0], item_s), parts[1]
        return replace(self, curve=slower(self.curve, item_s), parts=parts)

    @property
    def takes(self) -> object:
        """What a call takes, as a plan is told it: see ``optimize.plan.times_of``."""
        if self.parts is None:
            return self.curve
        return {"student": self.parts[0], "teacher": self.parts[1]}


def slower(curve: ServiceCurve, item_s: float) -> ServiceCurve:
    """``curve``, every request in a call taking so much more."""
    return replace(curve, item_s=curve.item_s + item_s)


def build_inputs(build: Build, **others: str) -> dict[str, str]:
    """``u`` of a measurement of ``build``: its files, its tokenizer, and ``others``."""
    tokenizer = {"tokenizer.json": build.tokenizer} if build.tokenizer is not None else {}
    return {**build.files, **tokenizer, **others}


def open_answerer(
    build: Build,
    behaviour: Behaviour,
    path_of: Callable[[str], Path],
    root: Path,
    *,
    instances: int = 1,
) -> Answerer:
    """The build loaded from the store, with the user's own functions around it."""
    first, *beside = (
        served_engine(build, path_of, postprocess=behaviour.postprocess, root=root)
        for _ in range(instances)
    )
    codec = served_codec(build, path_of, preprocess=behaviour.preprocess, root=root)
    return Answerer(
        first,
        codec,
        truncate=behaviour.truncate,
        beside=beside,
        max_items=_FOREIGN_ITEMS if build.foreign else MAX_ITEMS,
    )


def own_metrics(specified: Mapping[str, Mapping[str, object]], root: Path) -> list[OwnMetric]:
    """The endpoint's own metrics, of ``Behaviour.metrics``, loaded."""
    return [
        load_metric(
            name,
            MetricSpec.model_validate({k: v for k, v in spec.items() if k != "source"}),
            root,
        )
        for name, spec in specified.items()
    ]


@transformation("measure.quality")
def quality(call: Call) -> Mapping[str, Output]:
    """Per-item scores of a build on a split, and all that it answered."""
    build, behaviour = build_from_json(call.c["build"]), Behaviour(**call.c["behaviour"])
    call.progress(0.0, build.name)
    split = load_split(behaviour.task, call.path("dataset"))
    own = own_metrics(behaviour.metrics, call.root)
    opened = open_answerer(
        build, behaviour, call.store.path_of, call.root, instances=call.c["instances"]
    )
    kept: list[NDArray[np.generic]] = []
    with contextlib.closing(opened) as answerer:
        samples = evaluate(answerer, split, task=behaviour.task, metrics=own, keep=kept.append)
    vectors = npy(np.concatenate(kept).astype(np.float32))
    return {
        "samples": Output(canonical(samples), "samples", "json QualitySamples"),
        VECTORS: Output(vectors, "samples", "npy float32 (items, ...)"),
    }


@transformation("measure.batch_invariance")
def invariance(call: Call) -> Mapping[str, Output]:
    """Answers alone against answers in random company, and against those of the lone engine."""
    build, behaviour = build_from_json(call.c["build"]), Behaviour(**call.c["behaviour"])
    call.progress(0.0, build.name)
    items = as_items(parse(call.store.read(call.u["items"])))
    threads = call.c.get("lone_threads", 0)  # older records have none
    with contextlib.ExitStack() as opened:

        def answerer_of(which: Build) -> Answerer:
            loaded = open_answerer(which, behaviour, call.store.path_of, call.root)
            return opened.enter_context(contextlib.closing(loaded))

        answerer = answerer_of(build)
        report = batch_invariance(
            answerer.engine,
            answerer.codec,
            items,
            rng=np.random.default_rng(call.seed),
            epsilon=call.c["epsilon"],
            difference=cosine_distance if build.task == "embed" else largest_difference,
            sizes=(8, 32),
            lone=answerer_of(replace(build, threads=threads)).engine if threads else None,
        )
    if batch_scaled(build, call.store.path_of):
        report = replace(report, invariance=BatchInvariance.DEPENDENT, by_construction=True)
    return {"report": Output(canonical(report), "samples", "json InvarianceReport")}


@transformation("measure.service_curves", measures=True)
def service_curves(call: Call) -> Mapping[str, Output]:
    """Medians of engine calls over batch size and length, builds in turn, instances together."""
    own, path_of = call.c["own"], call.store.path_of
    items = as_items(parse(call.store.read(call.u["items"])))
    with contextlib.ExitStack() as engines:
        timed = []
        for plan in call.c["plans"]:
            build = build_from_json(plan["build"])
            codec = served_codec(build, path_of, preprocess=own["preprocess"], root=call.root)
            instances = [
                engines.enter_context(
                    contextlib.closing(
                        served_engine(
                            build, path_of, postprocess=own["postprocess"], root=call.root
                        )
                    )
                )
                for _ in range(plan["instances"])
            ]
            sample = codec.encode(items, truncate=True)
            make = sample_batches(codec, sample, np.random.default_rng(call.seed))
            timed.append(Timed(instances, make))
        times = service_times(
            timed,
            sizes=call.c["sizes"],
            lengths=call.c["lengths"],
            clock=time.perf_counter,
            cpu_clock=time.process_time,
            max_padded_tokens=int(call.c["max_padded_tokens"]),
            budget_s=float(call.c["budget_s"]),
        )
    return {"times": Output(canonical(times), "samples", "json [Times], one a plan")}


def measure_quality(
    recorder: Recorder,
    build: Build,
    behaviour: Behaviour,
    *,
    dataset: str,
    split: str,
    instances: int = 1,
) -> tuple[QualitySamples, Recorded]:
    """The per-item results of ``build`` on the data set with version ``dataset``."""
    done = recorder.run(
        quality,
        u=build_inputs(build, dataset=dataset),
        c={"build": build, "behaviour": behaviour, "instances": instances},
        foreign=build.foreign,
        detail=f"{build.name} on {split}",
    )
    return QualitySamples.from_json(_json(recorder, done, "samples")), done


def measure_invariance(
    recorder: Recorder,
    build: Build,
    behaviour: Behaviour,
    *,
    items: Sequence[Item],
    lone_threads: int = 0,
) -> Invariance:
    """The batch-invariance class of ``build`` on up to 64 of ``items``.

    ``lone_threads``: what answers a lone request is the same on so many threads.
    """
    done = recorder.run(
        invariance,
        u=build_inputs(build, items=_sample(recorder, items)),
        c={
            "build": build,
            "behaviour": behaviour,
            "epsilon": EPSILON,
            "lone_threads": lone_threads,
        },
        foreign=build.foreign,
        detail=build.name,
    )
    body = _json(recorder, done, "report")
    return Invariance(
        BatchInvariance(body["invariance"]),
        body["max_difference"],
        body["items"],
        done,
    )


def measure_curves(
    recorder: Recorder,
    plans: Sequence[tuple[Build, int]],
    behaviour: Behaviour,
    *,
    items: Sequence[Item],
    sizes: Sequence[int],
    lengths: Sequence[int],
    budget_s: float,
) -> list[MeasuredCurve]:
    """The service-time curves of some builds, each with so many instances side by side.

    They are measured in turn, so that they may be compared. ``budget_s`` is for each.
    """
    files = {
        f"{i}/{name}": version
        for i, (build, _) in enumerate(plans)
        for name, version in build_inputs(build).items()
    }
    done = recorder.run(
        service_curves,
        u={**files, "items": _sample(recorder, items)},
        c={
            "plans": [{"build": build, "instances": instances} for build, instances in plans],
            "own": {"preprocess": behaviour.preprocess, "postprocess": behaviour.postprocess},
            "sizes": list(sizes),
            "lengths": list(lengths),
            "max_padded_tokens": CURVE_TOKENS,
            "budget_s": budget_s * len(plans),
        },
        foreign=any(build.foreign for build, _ in plans),
        detail=", ".join(f"{b.name} {n} x {b.threads}" for b, n in plans),
    )
    measured = []
    for (build, instances), times in zip(plans, _json(recorder, done, "times"), strict=True):
        points = tuple(CurvePoint(**p) for p in times["points"])
        curve = ServiceCurve.fit(points, length_multiple=build.pad_to_multiple)
        plan = InstancePlan(build.threads, instances)
        measured.append(MeasuredCurve(plan, curve, points, times["cores_used"], done))
    return measured


def npy(values: NDArray[np.generic]) -> bytes:
    """As a file of numpy's own format, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _sample(recorder: Recorder, items: Sequence[Item]) -> str:
    """The first of ``items`` as an artifact."""
    version = recorder.store.put_bytes(canonical(as_json(items[:_SAMPLE_ITEMS])))
    recorder.register("measure/items", version, kind="dataset", schema="json [item]")
    return version


def _json(recorder: Recorder, done: Recorded, name: str) -> Any:
    return parse(recorder.store.read(done.outputs[name]))
