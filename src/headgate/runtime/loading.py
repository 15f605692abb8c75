"""A release of the store, loaded and warm: what a server serves, first or next."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.config import load_function
from headgate.errors import Refused
from headgate.ledger import Store
from headgate.runtime.deploy import Deployment
from headgate.runtime.instance import Postprocess
from headgate.runtime.metrics import Metrics
from headgate.runtime.servable import Servable
from headgate.runtime.traces import Sink

__all__ = ["Loader", "own_functions"]

_HURRIED_WARM_S = 5.0
_log = logging.getLogger("headgate.server")


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads and warms variants of one store; the endpoint's own functions are in ``root``."""

    store: Store
    root: Path
    warm_s: float
    certify: Callable[[Servable, str], None] = lambda servable, version: None
    """Told of a variant, and of its artifact version, before it is loaded; what this raises is
    raised, and nothing is loaded."""

    def load(
        self,
        generation: int,
        version: str,
        *,
        released: bool = True,
        metrics: Metrics | None = None,
        trace_sink: Sink | None = None,
        hurry: bool = False,
        postprocess: Postprocess | None = None,
    ) -> Deployment:
        """The variant as ``generation``. Raises what reading and loading raise.

        ``hurry``: it takes over from one that breaks its promises, and shapes that are seldom can
        be warmed by those who ask. ``postprocess`` stands in for the endpoint's own.
        """
        servable = Servable.load(self.store, version)
        self.certify(servable, version)
        warm_s = min(self.warm_s, _HURRIED_WARM_S) if hurry else self.warm_s
        _say_what_loads(servable, generation if released else "unreleased", warm_s)
        artifact = self.store.artifact(version)
        before, after = own_functions(servable, self.root, postprocess)
        return Deployment.open(
            endpoint=servable.endpoint,
            generation=generation,
            build=servable.build,
            variant=servable.variant,
            service=servable.curve,
            lone_service=servable.lone_curve,
            path_of=self.store.path_of,
            batch_invariance=servable.batch_invariance,
            labels=servable.labels,
            truncate=servable.truncate,
            preprocess=before,
            postprocess=after,
            endpoint_version=version,
            owner=artifact.owner if artifact is not None else "",
            released=released,
            trace_sink=trace_sink,
            warm_s=warm_s,
            metrics=metrics,
        )


def _say_what_loads(servable: Servable, generation: int | str, warm_s: float) -> None:
    release = f"{servable.endpoint}@{generation}"
    variant, engine = servable.variant, servable.build.engine
    _log.info(
        "loading %s: %s, instances: %d, engine: %s; warming takes %g s at most",
        release,
        variant.name,
        variant.instances,
        engine,
        warm_s,
        extra={
            "fields": {
                "event": "loading",
                "release": release,
                "name": variant.name,
                "instances": variant.instances,
                "engine": engine,
                "warm_s": warm_s,
            }
        },
    )


def own_functions(
    servable: Servable, root: Path, postprocess: Postprocess | None = None
) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    """The endpoint's own steps, before the model and (unless ``postprocess`` stands in for it)
    behind it. Refused where their source is not what was judged."""
    found: dict[str, Callable[[Any], Any] | None] = {"postprocess": postprocess}
    for role in ("preprocess", "postprocess"):
        spec, judged = getattr(servable, role), getattr(servable.build, role)
        if found.get(role) is not None:
            continue
        function = None if spec is None else load_function(spec, root)
        if function is not None and function.version != judged:
            raise Refused(
                f"{spec} is not the source that this release was judged with",
                where=f"{root}: {role}",
                reason="function_changed",
                fix="bring the recorded source back, or optimize again",
            )
        found[role] = function
    return found["preprocess"], found["postprocess"]
