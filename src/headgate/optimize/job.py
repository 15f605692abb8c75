"""What the stages of the main job share: the endpoint, its inputs, its model, this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.config import (
    EndpointConfig,
    Item,
    LabelledSet,
    guarded,
    load_function,
    metric_kind,
)
from headgate.engines import codec_for
from headgate.engines.check import check_onnx
from headgate.engines.probe import read_profile
from headgate.errors import ConfigError, InputError
from headgate.ledger import Store
from headgate.objects import (
    CASCADE,
    Build,
    Contract,
    Direction,
    HardwareProfile,
    Kind,
    Variant,
    canonical,
    digest,
)
from headgate.optimize.accept import Acceptance, classes_of
from headgate.optimize.cascades import (
    ESCALATED,
    asked_escalations,
    composed,
    escalated_items,
    measured_parts,
)
from headgate.optimize.evidence import OwnRange
from headgate.optimize.inputs import Inputs, read_inputs, register_inputs
from headgate.optimize.measure import (
    Behaviour,
    Invariance,
    MeasuredCurve,
    measure_curves,
    open_answerer,
)
from headgate.optimize.models import Source, check_source, import_model
from headgate.optimize.progress import Progress
from headgate.optimize.recorder import Recorder
from headgate.optimize.served import served_codec
from headgate.release import deciles
from headgate.runtime.servable import Servable
from headgate.theory.quantile import quantile

__all__ = ["CURVE_SIZES", "MOST_LENGTHS", "Job", "open_job", "spanning"]

_TERMS = ("prices", "contracts", "data_contracts")
CURVE_SIZES = (1, 4, 8, 16, 32)
_CURVE_BUDGET_S = 1.5
MOST_LENGTHS = 2000
_MOST_ENGINES = 16
"""Loaded at a time to be measured in turn; a machine of many cores would not hold all."""


@dataclass
class Job:
    """What the stages share. Filled from left to right as they go."""

    config: EndpointConfig
    store: Store
    recorder: Recorder
    profile: HardwareProfile
    progress: Progress
    inputs: Inputs
    source: Source
    behaviour: Behaviour
    contracts: tuple[Contract, ...]
    lengths: tuple[int, ...]
    """Token lengths that service curves are measured at."""
    evaluated_lengths: tuple[tuple[int, float], ...]
    """``release.deciles`` of the evaluation data; empty where items have a fixed shape."""
    value_bytes: int
    """Size of one answer, as a cache is charged for it."""
    looked_at: set[str] = field(default_factory=set)
    """Versions of holdouts that a use of this job was counted for."""

    @property
    def cores(self) -> int:
        return self.profile.effective_cores

    @property
    def own(self) -> Mapping[str, OwnRange]:
        specs = {**self.config.metrics, **self.config.safety}
        return {n: OwnRange(Direction(s.direction), *s.range) for n, s in specs.items()}

    def unit(self, metric: str) -> str:
        """``fraction``, ``number``, ``s``, ``money`` or ``class``: how a metric's values read."""
        base = metric.removeprefix("worst_slice_")
        if base in self.own:
            return self.own[base].unit
        return metric_kind(metric, self.config.task, {}).unit

    @property
    def queries(self) -> Sequence[Item]:
        """What callers send: the workload's items."""
        return self.inputs.workload.items

    def curves(self, groups: Sequence[Sequence[tuple[Build, int]]]) -> list[list[MeasuredCurve]]:
        """Service-time curves of builds, each with so many instances side by side.

        Those of a group are measured in turn, and all groups together where the machine can hold
        as many engines. That of a cascade is composed of its parts'.
        """
        plans = [plan for group in groups for plan in group]
        if sum(n * len(measured_parts(build)) for build, n in plans) <= _MOST_ENGINES:
            measured = iter(self._in_turn(plans))
            return [[next(measured) for _ in group] for group in groups]
        return [self._in_turn(group) for group in groups]

    def _in_turn(self, plans: Sequence[tuple[Build, int]]) -> list[MeasuredCurve]:
        measured = iter(
            measure_curves(
                self.recorder,
                [(part, n) for build, n in plans for part in measured_parts(build)],
                self.behaviour,
                items=self.queries,
                sizes=CURVE_SIZES,
                lengths=self.lengths,
                budget_s=_CURVE_BUDGET_S,
            )
        )
        return [
            composed(next(measured), next(measured), float(self.escalated(build).mean()))
            if build.engine == CASCADE
            else next(measured)
            for build, _ in plans
        ]

    def escalated(self, cascade: Build) -> NDArray[np.bool_]:
        """Which of the workload's requests its teacher answers."""
        asked = asked_escalations(
            cascade,
            workload=self.inputs.versions["workload"],
            preprocess=self.config.preprocess,
        )
        done = self.recorder.run(asked.what, u=asked.u, c=asked.c, detail=asked.detail)
        return escalated_items(self.store.read(done.outputs[ESCALATED]))

    def register_build(self, build: Build) -> None:
        """The build as an artifact: what measurements and decisions of it name."""
        self._keep("build", build.name, build.content, "json Build", _files_of(build))

    def _keep(
        self, kind: Kind, name: str, content: bytes, schema: str, lineage: tuple[str, ...] = ()
    ) -> str:
        """Stores and registers ``KIND/NAME``; its version."""
        version = self.store.put_bytes(content)
        self.recorder.register(f"{kind}/{name}", version, kind=kind, schema=schema, lineage=lineage)
        return version

    def servable(
        self,
        build: Build,
        variant: Variant,
        curve: MeasuredCurve,
        invariance: Invariance,
        *,
        lone_curve: MeasuredCurve | None = None,
        plan: Sequence[str] = (),
    ) -> tuple[Servable, str]:
        """The variant as an artifact: what a release names.

        It comes from its build, its policies, its prices, its promises, and the ``plan`` that
        found it.
        """
        value = Servable(
            endpoint=self.config.endpoint,
            task=self.config.task,
            variant=variant,
            build=build,
            curve=curve.curve,
            batch_invariance=invariance.invariance,
            truncate=self.config.model.truncate,
            preprocess=self.config.preprocess,
            postprocess=self.config.postprocess,
            lone_curve=lone_curve.curve if lone_curve is not None else None,
            labels=self.source.labels,
            lengths=self.evaluated_lengths,
        )
        version = self.store.put_bytes(value.content)
        self.recorder.register(
            f"variant/{variant.name}",
            version,
            kind="variant",
            schema="json Servable",
            lineage=(
                self._keep("build", build.name, build.content, "json Build", _files_of(build)),
                *(
                    self._keep(
                        "policy",
                        f"{variant.name}/{name}",
                        canonical(spec),
                        f"json {type(spec).__name__}",
                    )
                    for name, spec in (("batching", variant.batching), ("cache", variant.cache))
                ),
                *(self.inputs.versions[role] for role in _TERMS if role in self.inputs.versions),
                *plan,
            ),
            made_by=curve.run.entry,
        )
        return value, version


def open_job(config: EndpointConfig, store: Store, progress: Progress, *, fresh: bool) -> Job:
    """Registers inputs and model; everything that follows works on the result."""
    progress.start("read", "the endpoint, its data and this machine")
    profile = read_profile()
    recorder = Recorder(
        store=store,
        endpoint=config.endpoint,
        owner=config.owner.team,
        environment=digest(profile.environment),
        seed=config.seed,
        root=config.root,
        fresh_measurements=fresh,
        on_start=progress.start,
        on_progress=progress.update,
    )
    behaviour = Behaviour.of(config)
    # Bad input is refused before the store absorbs any of it, and before anything is made that
    # takes long. Only the inputs of an estimator are unknown until it is fitted and converted.
    codec = check_source(config) if config.model.sklearn is None else None
    preprocess = (
        guarded(load_function(config.preprocess, config.root)) if config.preprocess else None
    )
    with read_inputs(config, recorder) as given:
        converted = None
        if codec is None:
            converted = import_model(config, recorder, threads=profile.effective_cores)
            codec = codec_for(converted.build, store.path_of)
        classes = _classes(config, converted, store)
        _check_names(config, classes)
        acceptance = Acceptance(codec, preprocess, config.model.truncate, classes)
        inputs = register_inputs(config, recorder, given, acceptance)
    environment = store.put_bytes(canonical(profile.environment))
    recorder.register("environment", environment, kind="environment", schema="json profile")
    described = store.put_file(config.path)
    recorder.register("headgate.yaml", described, kind="config", schema="headgate.yaml")
    source = converted or import_model(config, recorder, threads=profile.effective_cores)
    return Job(
        config=config,
        store=store,
        recorder=recorder,
        profile=profile,
        progress=progress,
        inputs=inputs,
        source=source,
        behaviour=behaviour,
        contracts=config.contracts_for(labelled=inputs.labelled),
        lengths=_lengths(source.build, behaviour, inputs, recorder),
        evaluated_lengths=_evaluated_lengths(source.build, behaviour, inputs, recorder),
        value_bytes=_value_bytes(source.build, behaviour, inputs, recorder),
    )


def _classes(config: EndpointConfig, converted: Source | None, store: Store) -> int | None:
    """How many classes a label may name; None where the task or the model does not say, or where
    the endpoint's own ``postprocess`` makes something else of the scores."""
    if config.task != "classify" or config.postprocess is not None:
        return None
    if converted is not None:
        return classes_of(check_onnx(store.path_of(converted.build.files["model.onnx"])).outputs)
    if config.model.onnx is not None:
        return classes_of(check_onnx(config.resolve(config.model.onnx)).outputs)
    return None


def _check_names(config: EndpointConfig, classes: int | None) -> None:
    names = config.model.labels
    if names is not None and classes is not None and len(names) != classes:
        raise ConfigError(
            f"names {len(names)} classes; the model has {classes}",
            where=f"{config.path}: model.labels",
            fix="name each class once, in the order of the scores",
        )


def _files_of(build: Build) -> tuple[str, ...]:
    return (*build.files.values(), *((build.tokenizer,) if build.tokenizer else ()))


def _lengths(
    build: Build, behaviour: Behaviour, inputs: Inputs, recorder: Recorder
) -> tuple[int, ...]:
    """Lengths that span the workload's; 1 where items have a fixed shape."""
    codec = served_codec(
        build, recorder.store.path_of, preprocess=behaviour.preprocess, root=recorder.root
    )
    items = inputs.workload.items[:MOST_LENGTHS]
    return spanning([e.length for e in codec.encode(items, truncate=True)], build.max_tokens)


def spanning(lengths: Sequence[int], most: int) -> tuple[int, ...]:
    """Eighths of tokens from the shortest of ``lengths`` to the longest, ``most`` at most.

    >>> spanning([3, 9, 9, 40], most=32)
    (8, 16, 32)
    """
    spread = {quantile(lengths, q) for q in (0.05, 0.5, 0.95, 1.0)}
    return tuple(sorted({min(-(-int(n) // 8) * 8, most) for n in spread}))


def _evaluated_lengths(
    build: Build, behaviour: Behaviour, inputs: Inputs, recorder: Recorder
) -> tuple[tuple[int, float], ...]:
    if build.tokenizer is None:
        return ()
    codec = served_codec(
        build, recorder.store.path_of, preprocess=behaviour.preprocess, root=recorder.root
    )
    split = inputs.evaluate
    items = split.inputs if isinstance(split, LabelledSet) else split.queries
    return deciles([e.length for e in codec.encode(items[:MOST_LENGTHS], truncate=True)])


def _value_bytes(build: Build, behaviour: Behaviour, inputs: Inputs, recorder: Recorder) -> int:
    """Bytes of one answer, from one answer."""
    opened = open_answerer(build, behaviour, recorder.store.path_of, recorder.root)
    with contextlib.closing(opened) as answerer:
        output = answerer.run(answerer.codec.encode(inputs.workload.items[:1], truncate=True))
    if output.dtype.kind not in "biuf":
        raise InputError(
            f"the model answers {output[0]!r}, which is no number",
            where=f"model {build.name}",
            reason="output_not_numbers",
            fix="let its first output be class indices, scores or vectors; train on label indices",
        )
    return int(output[0].nbytes)
