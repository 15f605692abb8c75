"""``headgate serve``: the current release over HTTP, and over gRPC where that is asked for."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.certified import certifier
from headgate.cli.checkpoint import signing
from headgate.cli.options import (
    AsJson,
    EndpointOption,
    FileOption,
    StoreOption,
    endpoint_in,
    open_store,
)
from headgate.cli.watching import watch_of

if TYPE_CHECKING:
    from headgate.ledger import Store
    from headgate.runtime import Deployment, Watch
    from headgate.runtime.loading import Loader
    from headgate.runtime.traces import Sink

__all__ = ["serve"]

_AGAIN_AFTER_S = 5.0
_AGAIN_AT_MOST_S = 300.0
"""Between two attempts to load what a rollback brought back."""
_MOST_NUMBERS = 64
"""So many fit a command that is read before it is pasted."""


def serve(
    file: FileOption = None,
    store: StoreOption = None,
    endpoint: EndpointOption = None,
    variant: Annotated[
        str | None, typer.Option(help="Serve the variant with this id, released or not.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            help="Speak gRPC too, at this port; 0 takes a free one. Needs headgate\\[grpc].",
            min=0,
            max=65535,
            show_default="no gRPC",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ask callers for an API key, which says whose call it is. Lines of DIGEST TENANT, "
            "as sha256sum writes: openssl rand -hex 24 | tr -d '\\n' > search; sha256sum search. "
            "Read again when it changes.",
            show_default="anybody may call",
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Where the endpoint's own functions are.", show_default="beside the store"
        ),
    ] = None,
    warm_s: Annotated[
        float, typer.Option(help="Seconds of warming at most, before requests are accepted.", min=0)
    ] = 20.0,
    drain_delay_s: Annotated[
        float,
        typer.Option(
            help="Seconds from SIGTERM on in which readiness is 503 and requests are still "
            "answered: what balancers need to hear of it. A second signal ends them.",
            min=0,
        ),
    ] = 0.0,
    traces: Annotated[
        bool, typer.Option(help="Keep a record of every request in the store.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Serve the current release, and the one after it once that is promoted.

    Answers /v1/embeddings, /rerank or /predict, and /v2, /metrics and /health; /openapi.json
    describes them. Over gRPC the Open Inference Protocol.
    """
    from headgate.cli.log import log_to_stderr
    from headgate.runtime.loading import Loader
    from headgate.server import Limits
    from headgate.server import serve as serve_deployment
    from headgate.server.key_file import KeyFile
    from headgate.server.serve import bind

    # What would end it is told before anything is loaded, which takes its time.
    bind(host, port).close()
    if grpc_port is not None:
        from headgate.server.grpc import installed_grpc

        installed_grpc()
        bind(host, grpc_port, "--grpc-port").close()
    api_keys = None if api_key_file is None else KeyFile(api_key_file)
    with (
        log_to_stderr(as_json=as_json),
        open_store(file, store) as opened,
        signing(opened) as sign,
        contextlib.ExitStack() as files,
    ):
        functions = root or opened.root.absolute().parent
        loader = Loader(opened, functions, warm_s, certifier(opened, functions))
        if variant is not None:
            version = str(opened.get(variant).body["version"])
            deployment = loader.load(0, version, released=False)
            follow = watch = None
        else:
            name = endpoint_in(opened, file, endpoint)
            first = opened.current(name)
            assert first is not None, "endpoint_in names endpoints with a release"
            kept = _Traces(opened, files, traces)
            deployment = loader.load(
                first.generation,
                first.variant,
                trace_sink=kept.sink(first.generation, first.variant),
            )
            follow = _Successors(loader, name, deployment, kept)
            watch = watch_of(opened, name, file, sign=sign)
        addresses: dict[str, str] = {}
        serve_deployment(
            deployment,
            host=host,
            port=port,
            limits=Limits(drain_delay_s=drain_delay_s),
            on_listening=lambda url: _announce(
                deployment,
                {"url": url, **addresses},
                watch,
                index=_index(opened, deployment),
                as_json=as_json,
                keyed=api_keys is not None,
            ),
            next_release=follow,
            on_release=lambda successor: _announce(
                successor, {}, watch, index=_index(opened, successor), as_json=as_json
            ),
            grpc_port=grpc_port,
            on_grpc=lambda address: addresses.update(grpc=address),
            api_keys=api_keys,
            watch=watch,
        )


@dataclass(frozen=True, slots=True)
class _Traces:
    """Where the traces of each release go."""

    store: Store
    files: contextlib.ExitStack
    """Ends what the server writes, when it ends."""
    kept: bool

    def sink(self, generation: int, version: str) -> Sink | None:
        from headgate.cli.traces import TraceFile

        if not self.kept:
            return None
        file = TraceFile(self.store, version, f"generation-{generation}")
        return self.files.enter_context(file).write


class _Successors:
    """The release after the one that is served, loaded once it is current."""

    def __init__(
        self,
        loader: Loader,
        endpoint: str,
        served: Deployment,
        traces: _Traces,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._endpoint = endpoint
        self._seen = served.generation
        self._tried = served.generation
        self._sink: Sink | None = None
        self._again_s, self._pause_s = math.inf, _AGAIN_AFTER_S
        self._clock = clock
        self._metrics = served.metrics
        self._traces = traces

    def __call__(self) -> Deployment | None:
        """A release that cannot be loaded is tried once, and the next promotion is another. One
        that a rollback brought back is tried again, ever more seldom: what answers meanwhile broke
        its promises."""
        release = self._loader.store.current(self._endpoint)
        if release is None or release.generation == self._seen:
            return None
        now_s, restored = self._clock(), "restores" in release.extra
        if release.generation != self._tried:
            self._tried, self._pause_s = release.generation, _AGAIN_AFTER_S
            self._sink = self._traces.sink(release.generation, release.variant)
        elif now_s < self._again_s:
            return None
        self._again_s = now_s + self._pause_s if restored else math.inf
        self._pause_s = min(2 * self._pause_s, _AGAIN_AT_MOST_S)
        deployment = self._loader.load(
            release.generation,
            release.variant,
            metrics=self._metrics,
            trace_sink=self._sink,
            hurry=restored,
        )
        self._seen = release.generation
        return deployment


def _index(store: Store, deployment: Deployment) -> tuple[str, str] | None:
    """Which build made the index that the release needs, and what is to be done about it where the
    release before needed another; None of a task without an index, and of what is not released."""
    from headgate.runtime.index import index_change, index_of, named_index

    if not deployment.released:
        return None
    _, release = store.history(deployment.endpoint)[deployment.generation]
    version = index_of(store, release)
    return None if version is None else (named_index(store, version), index_change(store, release))


def _announce(
    deployment: Deployment,
    addresses: dict[str, str],
    watch: Watch | None,
    *,
    index: tuple[str, str] | None,
    as_json: bool,
    keyed: bool = False,
) -> None:
    """``addresses``: ``url`` and, with gRPC, ``grpc``; none where another release answered there
    before. ``index``: see ``_index``."""
    if as_json:
        fields = {
            "release": deployment.release,
            "variant": deployment.endpoint_version,
            "name": deployment.variant.name,
            **({} if index is None else dict(zip(("index", "index_change"), index, strict=True))),
        }
        print(json.dumps({**addresses, **fields}), flush=True)
        return
    from headgate.cli.output import say, stdout, title
    from headgate.objects import short
    from headgate.report.words import with_units

    note = f"{deployment.variant.name}, variant {short(deployment.endpoint_version)}"
    if not addresses:
        stdout().print(title(f"{deployment.release} has taken over", note))
        if index is not None and index[1]:
            say(f"  {index[1]}")
        return
    places = addresses["url"]
    if "grpc" in addresses:
        places += f", gRPC at {addresses['grpc']}"
    stdout().print(title(f"{deployment.release} at {places}", note))
    if index is not None:
        say(f"  its queries need the index made by build {index[0]}")
    if watch is not None:
        promises = (with_units(c.promise) for c in watch.rule.contracts)
        say(f"  watched: {', '.join(promises)}")
    say(_example(deployment, addresses["url"], keyed=keyed))


def _example(deployment: Deployment, url: str, *, keyed: bool) -> str:
    """A command that asks it something; ``keyed`` where that takes an API key."""
    curl = "curl -H 'authorization: Bearer KEY'" if keyed else "curl"
    asked = _asked(deployment)
    if asked is None:
        return f"  {curl} {url}/v2/models/{deployment.endpoint}"
    path, body = asked
    return f"  {curl} {url}{path} -H 'content-type: application/json' -d '{json.dumps(body)}'"


def _asked(deployment: Deployment) -> tuple[str, object] | None:
    """A route and what may be posted to it; None where that has no short example."""
    import numpy as np

    from headgate.server.predict import gives_scores

    task, accepts = deployment.build.task, deployment.input
    if task == "embed":
        return "/v1/embeddings", {"model": deployment.endpoint, "input": "hello"}
    if task == "rerank":
        return "/rerank", {"query": "hello", "texts": ["hello yourself", "bye"]}
    if task == "classify" and not gives_scores(deployment.output):
        return None
    if accepts.dtype == "str":
        return "/predict", {"inputs": "hello"}
    if math.prod(accepts.shape) > _MOST_NUMBERS:
        return None
    return "/predict", {"inputs": np.zeros(accepts.shape, accepts.dtype).tolist()}
