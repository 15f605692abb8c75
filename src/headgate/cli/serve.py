"""``headgate serve``: the current release over HTTP, and over gRPC where that is asked for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate.cli.options import (
    AsJson,
    EndpointOption,
    FileOption,
    StoreOption,
    endpoint_in,
    open_store,
)

if TYPE_CHECKING:
    from headgate.ledger import Store
    from headgate.runtime import Deployment
    from headgate.runtime.metrics import Metrics
    from headgate.runtime.servable import Servable

__all__ = ["serve"]


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
    traces: Annotated[
        bool, typer.Option(help="Keep a record of every request in the store.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Serve the current release, and the one after it once that is promoted.

    Answers /v1/embeddings, /rerank or /predict, and /v2, /metrics and /health; /openapi.json
    describes them. Over gRPC the Open Inference Protocol.
    """
    from headgate.server import serve as serve_deployment
    from headgate.server.key_file import KeyFile

    if grpc_port is not None:
        from headgate.server.grpc import installed_grpc

        installed_grpc()  # before anything is loaded
    api_keys = None if api_key_file is None else KeyFile(api_key_file)
    with open_store(file, store) as opened, contextlib.ExitStack() as files:
        loader = _Loader(opened, root or opened.root.absolute().parent, warm_s, files)
        if variant is not None:
            version = str(opened.get(variant).body["version"])
            deployment = loader.load(0, version, released=False, traced=False)
            follow = None
        else:
            name = endpoint_in(opened, endpoint)
            first = opened.current(name)
            assert first is not None, "endpoint_in names endpoints with a release"
            deployment = loader.load(first.generation, first.variant, traced=traces)
            follow = _Successors(loader, name, deployment, traced=traces)
        addresses: dict[str, str] = {}
        serve_deployment(
            deployment,
            host=host,
            port=port,
            on_listening=lambda url: _announce(
                deployment, {"url": url, **addresses}, as_json=as_json, keyed=api_keys is not None
            ),
            next_release=follow,
            on_release=lambda successor: _announce(successor, {}, as_json=as_json),
            grpc_port=grpc_port,
            on_grpc=lambda address: addresses.update(grpc=address),
            api_keys=api_keys,
        )


@dataclass(frozen=True, slots=True)
class _Loader:
    """Loads and warms variants of one store."""

    store: Store
    root: Path
    warm_s: float
    files: contextlib.ExitStack
    """Ends what the server writes, when it ends."""

    def load(
        self,
        generation: int,
        version: str,
        *,
        traced: bool,
        released: bool = True,
        metrics: Metrics | None = None,
    ) -> Deployment:
        """Raises what reading and loading raise."""
        from headgate.cli.traces import TraceFile
        from headgate.runtime import Deployment
        from headgate.runtime.servable import Servable

        servable = Servable.load(self.store, version)
        artifact = self.store.artifact(version)
        preprocess, postprocess = _own_functions(servable, self.root)
        sink = None
        if traced:
            file = TraceFile(self.store, version, f"generation-{generation}")
            sink = self.files.enter_context(file).write
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
            preprocess=preprocess,
            postprocess=postprocess,
            endpoint_version=version,
            owner=artifact.owner if artifact is not None else "",
            released=released,
            trace_sink=sink,
            warm_s=self.warm_s,
            metrics=metrics,
        )


class _Successors:
    """The release after the one that is served, loaded once it is current."""

    def __init__(self, loader: _Loader, endpoint: str, served: Deployment, *, traced: bool) -> None:
        self._loader = loader
        self._endpoint = endpoint
        self._seen = served.generation
        self._metrics = served.metrics
        self._traced = traced

    def __call__(self) -> Deployment | None:
        """A release that cannot be loaded is tried once; the next promotion is another."""
        release = self._loader.store.current(self._endpoint)
        if release is None or release.generation == self._seen:
            return None
        self._seen = release.generation
        return self._loader.load(
            release.generation, release.variant, traced=self._traced, metrics=self._metrics
        )


def _own_functions(
    servable: Servable, root: Path
) -> tuple[Callable[[object], object] | None, Callable[[Any], object] | None]:
    """The endpoint's own steps. Refused where their source is not what was judged."""
    from headgate.config import load_function
    from headgate.errors import Refused

    found = []
    for role in ("preprocess", "postprocess"):
        spec, judged = getattr(servable, role), getattr(servable.build, role)
        function = None if spec is None else load_function(spec, root)
        if function is not None and function.version != judged:
            raise Refused(
                f"{spec} is not the source that this release was judged with",
                where=f"{root}: {role}",
                reason="function_changed",
                fix="bring the recorded source back, or optimize again",
            )
        found.append(function)
    before, after = found
    return before, after


def _announce(
    deployment: Deployment, addresses: dict[str, str], *, as_json: bool, keyed: bool = False
) -> None:
    """``addresses``: ``url`` and, with gRPC, ``grpc``; none where another release answered there
    before."""
    if as_json:
        fields = {
            "release": deployment.release,
            "variant": deployment.endpoint_version,
            "name": deployment.variant.name,
        }
        print(json.dumps({**addresses, **fields}), flush=True)
        return
    from headgate.cli.output import say, stdout, title
    from headgate.objects import short

    note = f"{deployment.variant.name}, variant {short(deployment.endpoint_version)}"
    if not addresses:
        stdout().print(title(f"{deployment.release} has taken over", note))
        return
    places = addresses["url"]
    if "grpc" in addresses:
        places += f", gRPC at {addresses['grpc']}"
    stdout().print(title(f"{deployment.release} at {places}", note))
    say(_example(deployment, addresses["url"], keyed=keyed))


def _example(deployment: Deployment, url: str, *, keyed: bool) -> str:
    """A command that asks it something; ``keyed`` where that takes an API key."""
    curl = "curl -H 'authorization: Bearer KEY'" if keyed else "curl"
    asked = {
        "embed": ("/v1/embeddings", {"model": deployment.endpoint, "input": "hello"}),
        "rerank": ("/rerank", {"query": "hello", "texts": ["hello yourself", "bye"]}),
    }.get(deployment.build.task)
    if asked is None:
        return f"  {curl} {url}/v2/models/{deployment.endpoint}"
    path, body = asked
    return f"  {curl} {url}{path} -H 'content-type: application/json' -d '{json.dumps(body)}'"
