"""``headgate serve``: the current release over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0)] = 8000,
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
    """Serve the current release: /v1/embeddings, /v2, /metrics, /health."""
    from headgate.cli.traces import TraceFile
    from headgate.server import serve as serve_deployment

    with open_store(file, store) as opened:
        generation, version = _chosen(opened, endpoint, variant)
        keeps = traces and variant is None
        with TraceFile(opened, version, f"generation-{generation}") as trace_file:
            deployment = _deployment(
                opened,
                version,
                generation=generation,
                root=root or opened.root.absolute().parent,
                sink=trace_file.write if keeps else None,
                warm_s=warm_s,
            )
            serve_deployment(
                deployment,
                host=host,
                port=port,
                on_listening=lambda url: _announce(deployment, version, url, as_json=as_json),
            )


def _chosen(store: Store, endpoint: str | None, variant: str | None) -> tuple[int, str]:
    """Generation and artifact version; a variant that was not released has generation 0."""
    if variant is not None:
        return 0, str(store.get(variant).body["version"])
    release = store.current(endpoint_in(store, endpoint))
    assert release is not None, "endpoint_in names endpoints with a release"
    return release.generation, release.variant


def _deployment(
    store: Store, version: str, *, generation: int, root: Path, sink: Any, warm_s: float
) -> Deployment:
    """Loads and warms the variant. Raises what reading and loading raise."""
    from headgate.runtime import Deployment
    from headgate.runtime.servable import Servable

    servable = Servable.load(store, version)
    artifact = store.artifact(version)
    preprocess, postprocess = _own_functions(servable, root)
    return Deployment.open(
        endpoint=servable.endpoint,
        generation=generation,
        build=servable.build,
        variant=servable.variant,
        service=servable.curve,
        path_of=store.path_of,
        batch_invariance=servable.batch_invariance,
        truncate=servable.truncate,
        preprocess=preprocess,
        postprocess=postprocess,
        endpoint_version=version,
        owner=artifact.owner if artifact is not None else "",
        trace_sink=sink,
        warm_s=warm_s,
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


def _announce(deployment: Deployment, version: str, url: str, *, as_json: bool) -> None:
    if as_json:
        fields = {
            "url": url,
            "release": deployment.release,
            "variant": version,
            "name": deployment.variant.name,
        }
        print(json.dumps(fields), flush=True)
        return
    from headgate.cli.output import say, stdout, title
    from headgate.objects import short

    note = f"{deployment.variant.name}, variant {short(version)}"
    stdout().print(title(f"{deployment.release} at {url}", note))
    say(_example(deployment, url))


def _example(deployment: Deployment, url: str) -> str:
    """A command that asks it something."""
    if deployment.build.task != "embed":
        return f"  curl {url}/v2/models/{deployment.endpoint}"
    body = json.dumps({"model": deployment.endpoint, "input": "hello"})
    return f"  curl {url}/v1/embeddings -H 'content-type: application/json' -d '{body}'"
