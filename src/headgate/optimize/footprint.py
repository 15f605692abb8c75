"""The memory of a process that serves one build: loads it, answers one large batch, tells its peak.

Runs in a process of its own (``python -m``), since a peak cannot be taken back: a line of JSON on
stdin says what to load, a line on stdout what it took. It is a server but for its socket: it has
loaded what one has, but for the server's own modules, which are above this layer and take 0.4 MiB
of more than a hundred, and nothing that one has not.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import httptools  # noqa: F401  # what a server has loaded is part of its memory
import rich.console
import rich.table  # noqa: F401
import typer  # noqa: F401
import uvicorn  # noqa: F401
import uvloop  # noqa: F401

import headgate.runtime.loading  # noqa: F401
from headgate.engines.peak import peak_bytes
from headgate.ledger import Store
from headgate.optimize.served import as_items, served_codec, served_engine
from headgate.runtime.servable import build_from_json

__all__ = ["LARGEST_TOKENS", "main"]

LARGEST_TOKENS = 512
"""Padded tokens of the batch: that of the batching that is planned with by default."""
_LARGEST_ITEMS = 32


def main() -> None:
    """Answers one question."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # an endpoint's own function may print
    asked = json.loads(sys.stdin.readline())
    build, root = build_from_json(asked["build"]), Path(asked["root"])
    before, after = (asked["behaviour"][step] for step in ("preprocess", "postprocess"))
    with Store.open(Path(asked["store"])) as store:
        codec = served_codec(build, store.path_of, preprocess=before, root=root)
        loaded = served_engine(build, store.path_of, postprocess=after, root=root)
        with contextlib.closing(loaded) as engine:
            encoded = codec.encode(as_items(asked["items"]), truncate=True)
            longest = max(encoded, key=lambda e: e.length)
            many = max(1, min(_LARGEST_ITEMS, LARGEST_TOKENS // longest.length))
            for _ in range(2):
                engine.run(codec.collate([longest] * many))
                engine.run(codec.collate([longest]))
    print(json.dumps({"peak_bytes": peak_bytes()}), file=answer, flush=True)


if __name__ == "__main__":
    main()
