"""A workload file as request bodies for the protocol that an endpoint speaks."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config import load_workload
from headgate.errors import InputError
from headgate.loadtest import embeddings_body, infer_body, read_requests

__all__ = ["requests_of"]


def requests_of(
    url: str, workload: Path, *, model: str | None
) -> tuple[str, NDArray[np.float64], list[bytes]]:
    """The URL to post to, the times, and one body a request.

    Texts are asked of ``/v1/embeddings``, numbers of ``/v2/models/MODEL/infer``; rows with a
    ``body`` are sent as they stand, to ``url`` itself. Raises ``InputError``.
    """
    parts = urllib.parse.urlsplit(url)
    if "://" not in url or not parts.netloc:
        raise InputError(
            "is not a URL", where=url, fix=f"write http://{url.rpartition('://')[2] or 'host:port'}"
        )
    bare = parts.path in ("", "/")
    if _has_bodies(workload):
        if bare:
            raise InputError(
                f"{url} names no path, and {workload} holds whole bodies",
                fix="give the URL with the path to post to",
            )
        at_s, bodies = read_requests(workload)
        return url, at_s, bodies
    log = load_workload(workload)
    root = f"{parts.scheme}://{parts.netloc}"
    if model is None:
        model = str(_asked(f"{root}/v1/models")["data"][0]["id"])
    if isinstance(log.items[0], str):
        target = f"{root}/v1/embeddings" if bare else url
        return target, log.at_s, [embeddings_body(str(i), model=model) for i in log.items]
    tensor = _asked(f"{root}/v2/models/{model}")["inputs"][0]
    target = f"{root}/v2/models/{model}/infer" if bare else url
    return target, log.at_s, [
        infer_body([item], name=tensor["name"], datatype=tensor["datatype"]) for item in log.items
    ]  # fmt: skip


def _has_bodies(workload: Path) -> bool:
    try:
        with workload.open("rb") as file:
            first = json.loads(file.readline())
    except (OSError, ValueError):
        return False  # the loader that reads it next says what is wrong
    return isinstance(first, dict) and ("body" in first or "body_base64" in first)


def _asked(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        what = f"the endpoint does not say what it serves: it answers {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        what = f"nothing answers there: {getattr(reason, 'strerror', None) or reason}".rstrip(".")
    except ValueError:
        what = "the endpoint does not say what it serves: its answer is not JSON"
    raise InputError(what, where=url, fix="check that it runs, the URL, and --model")
