"""What serves: builds, policies as values, and variants.

A *build* computes answers, so quality, certificates and cache keys belong to it. A *variant* is
one way to serve a build (instances, batching, cache), so latency and cost belong to it: a change
of policy leaves the build's evidence valid.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headgate.errors import ConfigError
from headgate.objects.digest import canonical, digest, digest_bytes

__all__ = ["BatchInvariance", "BatchingSpec", "Build", "CacheSpec", "Variant"]


class BatchInvariance(enum.StrEnum):
    """How much an answer depends on its neighbours in the batch. Measured, never assumed."""

    EXACT = "exact"
    EPSILON = "within_epsilon"
    DEPENDENT = "dependent"
    """Neither cached nor batched together across tenants."""


@dataclass(frozen=True, slots=True)
class Build:
    """Model, tokenizer, preprocessing, precision, engine with its options, intra-op threads."""

    name: str
    """For people: ``fp32``, ``int8-static``, ``student3-int8``."""
    task: str
    engine: str
    """onnxruntime, openvino, http for a server that is not ours, or cascade (``objects.cascade``)
    for two builds that answer as one."""
    precision: str
    files: Mapping[str, str]
    """File name -> artifact version: ``model.onnx``, or ``model.xml`` and ``model.bin``; of a
    foreign server ``server.json``, what is known of it."""
    tokenizer: str | None
    """Artifact version of tokenizer.json; None where items are tensors."""
    max_tokens: int
    """The longest input that the model takes; 1 where items have a fixed shape. Of a foreign server
    the longest text that it is sent, in characters."""
    threads: int
    pad_to_multiple: int = 1
    """Lengths are padded up to a multiple of this: engines that compile for each shape want few."""
    preprocess: str | None = None
    """Digest of the caller's own preprocessing source, if any."""
    postprocess: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}", where=self.name)

    @property
    def foreign(self) -> bool:
        """A server that is not ours answers, and no digest says that it is still the same one."""
        return self.engine == "http"

    def embeds_as(self, other: Build) -> bool:
        """Whether its vectors are those of ``other``: all that decides them is the same.

        Threads split sums otherwise, which moves a vector by rounding alone.
        """
        return replace(self, name="", threads=1) == replace(other, name="", threads=1)

    @property
    def content(self) -> bytes:
        """The canonical bytes of all of it but the name."""
        return canonical({f: getattr(self, f) for f in self.__slots__ if f != "name"})

    @property
    def version(self) -> str:
        """The digest of ``content``."""
        return digest_bytes(self.content)


@dataclass(frozen=True, slots=True)
class BatchingSpec:
    """Parameters of the token-budget batcher; (1, any) is no batching."""

    max_requests: int = 1
    max_padded_tokens: int = 512
    max_wait_s: float = 0.0
    """How long a free instance may be held for company, counted from the oldest's arrival and
    only while the curve says that company pays; 0 is work-conserving."""


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """``capacity_bytes`` 0 is no cache."""

    policy: str = "lru"
    capacity_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """A build x instances x batching x cache."""

    name: str
    build: str
    """Build version."""
    instances: int
    batching: BatchingSpec
    cache: CacheSpec
    max_queue_requests: int = 1024
    max_predicted_wait_s: float = 10.0
    lone_threads: int = 0
    """Intra-op threads of one more engine, for a request that has the machine to itself; or 0."""

    @property
    def version(self) -> str:
        """Digest of all of it but the name."""
        return digest({f: getattr(self, f) for f in self.__slots__ if f != "name"})
