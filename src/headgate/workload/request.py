"""One item on its way through the data plane, and the batches that such items form."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Batch", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One item to be answered. Carries sizes and identities, never the payload itself."""

    id: int
    key: bytes
    """Two requests with equal keys have the same answer under one build: canonical input digest.
    Empty: it is computed for this request alone, neither shared nor kept."""
    tokens: int
    """Length along the padded axis; 1 where items have a fixed shape."""
    arrived_at_s: float
    tenant: str = ""
    deadline_s: float | None = None
    """Absolute, on the clock of ``arrived_at_s``."""
    group: str = ""
    """Compatibility key: only requests of one group may share a batch."""
    priority: int = 0
    """Among the requests of one tenant: each level halves the time that it is content to wait."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that run together, padded to the longest of them.

    >>> b = Batch(0, (Request(1, b"a", 10, 0.0), Request(2, b"b", 6, 0.0)))
    >>> b.tokens, b.padded_tokens, b.padding_share
    (16, 20, 0.2)
    """

    id: int
    requests: tuple[Request, ...]
    size: int = field(init=False, compare=False)
    longest: int = field(init=False, compare=False)
    tokens: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        lengths = [r.tokens for r in self.requests]  # asked for more than once of every batch
        object.__setattr__(self, "size", len(lengths))
        object.__setattr__(self, "longest", max(lengths))
        object.__setattr__(self, "tokens", sum(lengths))

    @property
    def padded_tokens(self) -> int:
        return self.size * self.longest

    @property
    def padding_share(self) -> float:
        """Share of the padded tokens that is padding, 0 to 1."""
        return 1.0 - self.tokens / self.padded_tokens
