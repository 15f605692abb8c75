"""A call: what all protocols know of a request while they answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Call"]


@dataclass(slots=True, kw_only=True)
class Call:
    """One request being answered, and the stamps of its phases on the deployment's clock."""

    headers: Mapping[bytes, bytes]
    """Of HTTP, or gRPC's metadata; names in lower case."""
    request_id: str
    started_s: float
    read_s: float = 0.0
    """When the body was read and decoded."""
    encoded_s: float = 0.0
    tokens: int = 0
    items: int = 0
    batch_size: int = 0
    engine_start_s: float | None = None
    engine_end_s: float | None = None
    tenant: str = ""
    reservation: int = 0
    """Of ``Reservations``: what is held for it."""
