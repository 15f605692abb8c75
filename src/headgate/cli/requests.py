"""A workload file as request bodies for the protocol that an endpoint speaks."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.config import load_workload
from headgate.engines.http_client import Connection, header_values, split_url
from headgate.engines.protocols import datatype_of, input_in, model_in
from headgate.errors import EngineError, InputError, Undecided
from headgate.loadtest import Target, embeddings_body, infer_body, read_requests, rerank_body
from headgate.workload import Pair

__all__ = ["requests_of"]

_ASKED_S = 10.0
_INFER = re.compile(r"(?P<base>.*)/v2/models/(?P<model>[^/]+)(/versions/[^/]+)?/infer")


def requests_of(
    url: str, workload: Path, *, model: str | None, headers: Mapping[str, str] | None = None
) -> tuple[Target, NDArray[np.float64], list[bytes]]:
    """Where to post to, the times, and one body a request.

    Texts are asked of ``/v1/embeddings``, pairs of ``/rerank``, numbers of
    ``/v2/models/MODEL/infer``; rows with a ``body`` are sent as they stand, to ``url`` itself.
    ``headers`` as they are written, with ``${NAME}`` from the environment. Raises ``InputError``,
    and ``Undecided`` where the server does not say what has to be known of it: that is no fault of
    the command, and nothing was measured.
    """
    place = _Place.of(url)
    values = header_values(headers or {})
    if _has_bodies(workload):
        if place.route is None:
            raise InputError(
                f"{url} names no path, and {workload} holds whole bodies",
                fix="give the URL with the path to post to",
            )
        at_s, bodies = read_requests(workload)
        return Target(url, values), at_s, bodies
    log = load_workload(workload)
    pairs = [item for item in log.items if isinstance(item, Pair)]
    if pairs:  # and nothing else: a file has items of one kind
        bodies = [rerank_body(pair.query, [pair.text]) for pair in pairs]
        return Target(place.route or f"{place.base}/rerank", values), log.at_s, bodies
    model = model or place.model
    try:
        with contextlib.closing(
            Connection(place.base, headers or {}, timeout_s=_ASKED_S)
        ) as server:
            model = model or server.get("/v1/models", model_in)
            if isinstance(log.items[0], str):
                route = "/v1/embeddings"
                bodies = [embeddings_body(str(i), model=model) for i in log.items]
            else:
                about = f"/v2/models/{urllib.parse.quote(model, safe='')}"
                route = f"{about}/infer"
                tensor = server.get(about, input_in)
                datatype = datatype_of(tensor.dtype)
                bodies = [
                    infer_body([item], name=tensor.name, datatype=datatype) for item in log.items
                ]
    except EngineError as error:
        raise Undecided(
            error.what,
            where=error.where or place.base,
            reason=error.reason,
            fix="check that it runs, the URL, and --model",
        ) from None
    return Target(place.route or place.base + route, values), log.at_s, bodies


@dataclass(frozen=True, slots=True)
class _Place:
    """A URL as somebody types it: where routes begin, and the route to post to if it names one."""

    base: str
    route: str | None
    model: str | None

    @classmethod
    def of(cls, url: str) -> _Place:
        """What ends in ``/``, ``/v1`` or the host is a base; any other URL is itself a route.

        >>> _Place.of("https://gateway/team/v1")
        _Place(base='https://gateway/team', route=None, model=None)
        >>> _Place.of("http://h:1/team/v2/models/iris/infer").base
        'http://h:1/team'
        """
        parts = split_url(url)
        origin, path = f"{parts.scheme}://{parts.netloc}", parts.path
        if not parts.query and (path.endswith(("/", "/v1")) or not path):
            return cls(origin + path.rstrip("/").removesuffix("/v1"), None, None)
        if infer := _INFER.fullmatch(path):
            return cls(origin + infer["base"], url, urllib.parse.unquote(infer["model"]))
        before = path.removesuffix("/v1/embeddings")
        if before == path:
            before = path.rpartition("/")[0]
        return cls(origin + before, url, None)


def _has_bodies(workload: Path) -> bool:
    try:
        with workload.open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        return False  # the loader that reads it next says what is wrong
    return isinstance(first, dict) and ("body" in first or "body_base64" in first)
