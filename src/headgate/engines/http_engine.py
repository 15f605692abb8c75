"""A server that is not ours, as an engine: what is known of it, and a batch as one request to it.

Its model is elsewhere and may be exchanged at any time, so nothing here tells whether it is still
the same one; ``declared`` is what its owner says. docs/decisions/0019-a-server-that-is-not-ours.md
"""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.engines.codec import CharacterCodec, TensorCodec
from headgate.engines.http_client import Connection
from headgate.engines.protocols import (
    datatype_of,
    embeddings_body,
    embeddings_in,
    infer_body,
    input_in,
    model_in,
    output_in,
)
from headgate.errors import EngineError, InputError
from headgate.quantization.facts import TensorSpec
from headgate.workload import Codec, Tensors

__all__ = ["MAX_CHARACTERS", "SERVER_FILE", "ForeignServer", "HttpEngine"]

SERVER_FILE = "server.json"
"""The only file of a foreign build."""
MAX_CHARACTERS = 65_536
"""Of one text; how many of them count is the server's business."""


@dataclass(frozen=True, slots=True)
class ForeignServer:
    """What is known of a server that is not ours; no secret is in it."""

    url: str
    """Scheme, host, port, and the path in front of every route."""
    protocol: str
    """``openai`` (/v1/embeddings) or ``v2`` (/v2/models/NAME/infer)."""
    name: str
    """What the server calls the model."""
    headers: Mapping[str, str]
    """As written: ``${NAME}`` is read from the environment when a connection is made."""
    declared: Mapping[str, str | None]
    """What its owner says of what is served; None where nothing is said."""
    input: TensorSpec
    """What it takes; dtype ``str`` for texts."""

    @property
    def takes_text(self) -> bool:
        return self.input.dtype == "str"

    @classmethod
    def contact(
        cls,
        *,
        url: str,
        protocol: str,
        name: str | None,
        headers: Mapping[str, str],
        declared: Mapping[str, str | None],
    ) -> ForeignServer:
        """Asks the server what is not given: the model's name, and for V2 its input.

        Raises ``EngineError`` where it cannot be asked, ``InputError`` where it takes something
        that no item is.
        """
        with contextlib.closing(Connection(url, headers)) as server:
            name = name or _first_model(server)
            spec = TensorSpec("input", "str", (None,))
            if protocol == "v2":
                spec = server.get(_v2_route(name), input_in)
        found = cls(url, protocol, name, dict(headers), dict(declared), spec)
        found.codec()
        return found

    @classmethod
    def read(cls, path: Path) -> ForeignServer:
        """The one that was stored as ``canonical`` bytes."""
        body: dict[str, Any] = json.loads(path.read_bytes())
        spec = body["input"]
        return cls(**{**body, "input": TensorSpec(**{**spec, "shape": tuple(spec["shape"])})})

    def codec(self) -> Codec:
        """How its items become tensors. Raises ``InputError`` for an input that no item fills."""
        if not self.takes_text:
            return TensorCodec([self.input])
        if any(d not in (1, None) for d in self.input.shape[1:]):
            raise InputError(
                f"takes {self.input.shape} texts for an item",
                where=f"{self.url}: {self.name}: {self.input.name}",
                fix="measure a model that takes one text an item",
            )
        return CharacterCodec(max_characters=MAX_CHARACTERS)


class HttpEngine:
    """A foreign server over one kept-alive connection; ``run`` by one thread at a time."""

    def __init__(self, server: ForeignServer) -> None:
        self._server = server
        self._connection: Connection | None = Connection(server.url, server.headers)

    def run(self, tensors: Tensors) -> NDArray[np.generic]:
        """The server's answers, first axis as in the input. Raises ``EngineError``, its ``reason``
        one of those of ``Connection.post``, ``wrong_shape`` or ``not_finite``."""
        server = self._server
        if self._connection is None:
            raise EngineError("run after close", where=server.url)
        items = self._items(tensors)
        if server.protocol == "v2":
            route, read = f"{_v2_route(server.name)}/infer", output_in
            datatype = datatype_of(server.input.dtype)
            body = infer_body(items, name=server.input.name, datatype=datatype)
        else:
            route, read = "/v1/embeddings", embeddings_in
            body = embeddings_body(items, model=server.name, encoding_format="float")
        return self._connection.post(route, body, lambda answer: read(answer, len(items)))

    def close(self) -> None:
        """Closes the connection; harmless when repeated."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _items(self, tensors: Tensors) -> Any:
        """The batch as the body takes it: a list of texts, each in a list of its own where the
        server's input has a second axis, or an array."""
        spec = self._server.input
        try:
            if not self._server.takes_text:
                return tensors[spec.name]
            texts = CharacterCodec.texts_of(tensors)
        except (KeyError, ValueError, TypeError) as error:
            raise EngineError(
                f"a batch that is none of its inputs: {error!r}", where=self._server.url
            ) from None
        return [[text] for text in texts] if len(spec.shape) > 1 else texts


def _first_model(server: Connection) -> str:
    try:
        return server.get("/v1/models", model_in)
    except EngineError as error:
        if error.reason != "refused":
            raise
        raise EngineError(
            error.what,
            where=error.where,
            reason=error.reason,
            fix="write what it calls the model, `name:` under model; some servers list none",
        ) from None


def _v2_route(name: str) -> str:
    return f"/v2/models/{urllib.parse.quote(name, safe='')}"
