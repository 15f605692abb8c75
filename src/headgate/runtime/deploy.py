"""A release, loaded: engines warm, codec ready, the data plane made; live once it has a loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate import engines
from headgate.caching import request_key
from headgate.dataplane import DataPlane
from headgate.engines.cascade_engine import CascadeEngine
from headgate.engines.invariance import EPSILON, cosine_distance, largest_difference
from headgate.engines.signature import model_inputs
from headgate.errors import ConfigError, EngineError, InputError, RequestError
from headgate.objects import BatchingSpec, BatchInvariance, Build, Variant
from headgate.runtime.instance import Postprocess
from headgate.runtime.known_texts import KnownTexts
from headgate.runtime.live import LivePlane, Plane, Preprocess
from headgate.runtime.metrics import Metrics
from headgate.runtime.output import is_unit, rows
from headgate.runtime.traces import Sink, TraceLog
from headgate.runtime.warm import stretched, warm, warm_shapes
from headgate.workload import Codec, Encoded, Engine, Pair, ServiceTimeModel

__all__ = ["Deployment", "Tensor"]

_log = logging.getLogger("headgate.runtime")

_CANARY_TEXT = "headgate canary"
_KNOWN_TEXTS_BYTES = 16 * 2**20
"""Some 20,000 sentences."""
_REWARM_S = 5.0
"""A successor of an engine that hangs is warmed for so long at most: callers wait for it, and it
takes its time from the engines that serve. The cheapest shapes come first."""
_LOAD_TIMEOUT_S = 60.0
_LOAD_TIMES = 10.0
"""Loading a successor is given up after so many times what loading took at the start, and a minute
at least: it now shares the machine with those that serve."""
_OUTPUT_NAMES = {
    "embed": "embedding",
    "classify": "scores",
    "predict": "prediction",
    "rerank": "score",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor of the endpoint's interface, without the batch axis."""

    name: str
    dtype: str
    """A numpy dtype's name; ``str`` for texts."""
    shape: tuple[int, ...]
    """(2,) of ``str`` is a query and a text."""


@dataclass(eq=False, kw_only=True)
class Deployment:
    """One release of an endpoint, ready to be served by any protocol.

    ``open`` loads and warms it (seconds; blocking); ``start`` makes it live on the running event
    loop; ``close`` frees it. A new release is another deployment.
    """

    endpoint: str
    generation: int
    build: Build
    variant: Variant
    codec: Codec
    engines: Sequence[Engine]
    plane: Plane
    input: Tensor
    output: Tensor
    unit_vectors: bool = False
    """Answers are vectors of length 1: one that is not is no answer. So it is taken to be where the
    canary, cut to a token, and twice over are all answered so."""
    canary: Encoded
    """An input for which the engines are known to give an answer."""
    load_engine: Callable[[int], Engine]
    """By number, another engine like that of ``engines``, warm: for the place of one that hangs.
    Called on a thread of its own; raises what loading raises."""
    load_timeout_s: float = _LOAD_TIMEOUT_S
    labels: Sequence[str] = ()
    """A classifier's classes by name, in the order of its scores; empty where they have none."""
    truncate: bool = False
    """Texts that are too long are cut without being asked to."""
    preprocess: Preprocess | None = None
    postprocess: Postprocess | None = None
    endpoint_version: str = ""
    owner: str = ""
    released: bool = True
    """False for a variant that is served without having been made current."""
    trace_sink: Sink | None = None
    canary_interval_s: float = 1.0
    """Between two looks after the instances: see ``LivePlane.look``."""
    stale_after_s: float = 5.0
    """An instance that has given only bad answers for this long is not ready."""
    warmed_shapes: int = 0
    metrics: Metrics = field(default_factory=Metrics)
    clock: Callable[[], float] = time.monotonic
    """Never goes back, whatever becomes of the time of day. It may jump ahead, as after a pause of
    the machine: who should have been answered meanwhile is late."""
    _live: LivePlane | None = None
    _looking: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        if self.labels and self.output.shape != (len(self.labels),):
            raise ConfigError(
                f"{len(self.labels)} names of classes, and an answer has shape {self.output.shape}",
                where=f"{self.endpoint}: model.labels",
                fix="name each class once, in the order of the scores",
            )
        self._build_version = self.build.version  # a digest: not to be taken per request
        self.traces = TraceLog(self.ids, self.metrics, self.trace_sink)

    @classmethod
    def open(
        cls,
        *,
        endpoint: str,
        generation: int,
        build: Build,
        variant: Variant,
        service: ServiceTimeModel,
        lone_service: ServiceTimeModel | None = None,
        path_of: Callable[[str], Path],
        batch_invariance: BatchInvariance = BatchInvariance.EXACT,
        labels: Sequence[str] = (),
        truncate: bool = False,
        preprocess: Preprocess | None = None,
        postprocess: Postprocess | None = None,
        endpoint_version: str = "",
        owner: str = "",
        released: bool = True,
        trace_sink: Sink | None = None,
        warm_s: float = 20.0,
        metrics: Metrics | None = None,
    ) -> Deployment:
        """Loads the engines of ``variant``, the lone one too, and warms them within ``warm_s``.

        ``metrics``: those of the release before it, to be counted on.

        ``path_of``: artifact version -> file. ``service``: the build's service-time curve on this
        machine, ``lone_service`` that of its lone engine. Raises what loading raises,
        ``EngineError`` where the build cannot answer, and ``InputError`` where a server that is not
        ours answers for it.
        """
        if build.foreign:
            raise InputError(
                "a server that is not ours answers for it, and it has no model to serve",
                where=f"build {build.name}",
                reason="not_ours",
                fix="call that server, or give Headgate the model itself",
            )
        codec = engines.codec_for(build, path_of)
        if build.tokenizer is None:
            spec = model_inputs(build, path_of)[0]
            shape = tuple(d for d in spec.shape[1:] if d is not None)
            accepts = Tensor(spec.name, spec.dtype, shape)
            (sample,) = codec.encode([np.zeros(shape, dtype=spec.dtype)])
        elif build.task == "rerank":
            accepts = Tensor("pair", "str", (2,))
            (sample,) = codec.encode([Pair(_CANARY_TEXT, _CANARY_TEXT)], truncate=True)
        else:
            accepts = Tensor("text", "str", ())
            (sample,) = codec.encode([_CANARY_TEXT], truncate=True)
        roles = [(build.threads, variant.batching)] * variant.instances
        if variant.lone_threads:
            roles.append((variant.lone_threads, BatchingSpec(max_requests=1)))
        warm_each_s = warm_s / len(roles)
        cascades: list[CascadeEngine] = []  # also those that were replaced: a counter never falls

        def load(number: int, bound_s: float) -> tuple[Engine, int]:
            threads, batching = roles[number]
            engine = engines.load(replace(build, threads=threads), path_of)
            try:
                shapes = warm_shapes(build, batching, fixed=build.tokenizer is None)
                warmed = warm(engine, codec, sample, shapes, bound_s=bound_s, clock=time.monotonic)
                if isinstance(engine, CascadeEngine):
                    engine.escalated_items = 0
                    cascades.append(engine)
                return engine, warmed
            except BaseException:
                engine.close()
                raise

        loaded: list[Engine] = []
        began_s, warmed = time.monotonic(), 0
        try:
            for number in range(len(roles)):
                engine, shapes_run = load(number, warm_each_s)
                loaded.append(engine)
                warmed += shapes_run
            load_s = (time.monotonic() - began_s) / len(roles)
            lengths = (sample.length, 1, min(2 * sample.length, build.max_tokens))
            asked = [stretched(sample, length) for length in lengths]
            output = loaded[0].run(codec.collate(asked))
            if postprocess is not None:
                output = np.asarray(postprocess(output))
            answer, *others = rows(output, len(asked), None)
            if isinstance(answer, EngineError):
                raise answer
            if build.task == "rerank" and (answer.size != 1 or answer.dtype.kind != "f"):
                raise EngineError(
                    f"a pair gets {answer.dtype} {answer.shape}, and reranking takes one score",
                    where=f"model {build.name}",
                    reason="output_contract",
                    fix="export the cross-encoder so that its first output is one logit a pair",
                )
            name = _OUTPUT_NAMES.get(build.task, "output")
            if name == "scores" and answer.dtype.kind not in "f":
                name = "label"
            gives = Tensor(name, str(answer.dtype), answer.shape)
            plane = DataPlane.of(
                variant,
                service,
                lone_service=lone_service,
                generation=generation,
                batch_invariance=batch_invariance,
            )
            counted = metrics or Metrics()
            counted.escalated = (
                (lambda: sum(e.escalated_items for e in cascades)) if cascades else None
            )
            return cls(
                endpoint=endpoint,
                generation=generation,
                build=build,
                variant=variant,
                codec=codec,
                engines=loaded,
                plane=plane,
                input=accepts,
                output=gives,
                unit_vectors=build.task == "embed"
                and all(not isinstance(a, EngineError) and is_unit(a) for a in (answer, *others)),
                canary=sample,
                load_engine=lambda number: load(number, min(warm_each_s, _REWARM_S))[0],
                load_timeout_s=max(_LOAD_TIMEOUT_S, _LOAD_TIMES * load_s),
                labels=labels,
                truncate=truncate,
                preprocess=preprocess,
                postprocess=postprocess,
                endpoint_version=endpoint_version,
                owner=owner,
                released=released,
                trace_sink=trace_sink,
                warmed_shapes=warmed,
                metrics=counted,
            )
        except BaseException:
            for engine in loaded:
                engine.close()
            raise

    @property
    def release(self) -> str:
        """``endpoint@generation``: what callers are told that answered them."""
        return f"{self.endpoint}@{self.generation if self.released else 'unreleased'}"

    @property
    def ids(self) -> Mapping[str, str]:
        """The versions that every trace of this deployment names."""
        return {
            "release": self.release,
            "endpoint_version": self.endpoint_version,
            "build": self.build.version,
            "variant": self.variant.version,
        }

    @property
    def live(self) -> LivePlane:
        assert self._live is not None, "start() first"
        return self._live

    @property
    def started(self) -> bool:
        return self._live is not None

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome here."""
        return self.unready is None

    @property
    def unready(self) -> str | None:
        """Why new requests are not welcome; None where those who get them make progress.

        One that does is enough while others are being replaced, since these get no requests, and
        slower beats not at all: it shows in the metrics, and in the waits that admission predicts.
        One that still gets requests and fails them all is not made up for by another.
        """
        live = self._live
        if live is None:
            return "it has not been started"
        if self.beyond_repair:
            return "engines hang, and no more can be loaded: restart the server"
        if live.draining:
            return "it is shutting down"
        if not live.working(self.stale_after_s):
            reason = live.replacements.reason
            return "an engine makes no progress" + (f"; its successor: {reason}" if reason else "")
        return None

    @property
    def beyond_repair(self) -> bool:
        """Only another process helps: so many threads hang that no engine is loaded any more."""
        return self._live is not None and self._live.replacements.exhausted

    @property
    def _texts_come_again(self) -> bool:
        """A cache pays, and what comes is text."""
        return self.build.tokenizer is not None and self.variant.cache.capacity_bytes > 0

    def key(self, encoded: Encoded, tenant: str) -> bytes:
        """What identifies the item: under this build two equal keys have the same answer."""
        return request_key(
            tenant=tenant,
            build=self._build_version,
            parameters={},
            content=encoded.identity,
        )

    def encode_ids(self, rows: Sequence[object], *, truncate: bool) -> list[Encoded]:
        """Token ids that the caller made, special tokens included, as they are.

        Raises ``RequestError`` naming the item, ``TooLong``.
        """
        encode = getattr(self.codec, "encode_ids", None)
        if encode is None or self.preprocess is not None:
            raise RequestError("this endpoint takes no token ids", fix="send texts")
        encoded: list[Encoded] = encode(rows, truncate=truncate)
        return encoded

    def _same(self, a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
        """Whether two answers to an item count as one (docs/decisions/0004)."""
        differ = cosine_distance if self.build.task == "embed" else largest_difference
        return differ(a, b) <= EPSILON

    async def start(self) -> None:
        """Starts the engine threads, and looks after them, on the running event loop."""
        self._live = LivePlane(
            self.plane,
            self.engines,
            self.codec,
            canary=self.canary,
            load_engine=self.load_engine,
            load_timeout_s=self.load_timeout_s,
            clock=self.clock,
            preprocess=self.preprocess,
            postprocess=self.postprocess,
            item_shape=self.output.shape,
            unit=self.unit_vectors,
            metrics=self.metrics,
            same=self._same,
            known_texts=KnownTexts(_KNOWN_TEXTS_BYTES) if self._texts_come_again else None,
        )
        self.traces.start()
        self._looking = asyncio.get_running_loop().create_task(self._look(self._live))

    async def close(self) -> None:
        """Ends the threads, frees the engines and writes the last traces. Drain before."""
        if self._looking is not None:
            self._looking.cancel()
        await self.traces.close()
        if self._live is not None:
            await self._live.close()

    async def _look(self, live: LivePlane) -> None:
        while True:
            await asyncio.sleep(self.canary_interval_s)
            try:
                live.look()
            except Exception:  # whoever looks must be here for the next look
                _log.exception("%s could not be looked after", self.release)
