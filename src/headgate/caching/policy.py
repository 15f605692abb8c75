"""What every cache policy offers, and how many bytes an entry is charged.

Knows nothing of tenants, generations or models: that is the fence's work (``caching.fence``).
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["ENTRY_OVERHEAD_BYTES", "CachePolicy", "charge_bytes"]

ENTRY_OVERHEAD_BYTES = 320
"""What CPython 3.11 spends on one entry beyond key and value bytes: two object headers, the
entry, its fence and a slot of an ordered dict. Held against tracemalloc by a test."""


def charge_bytes(key: bytes, size_bytes: int) -> int:
    """Bytes that an entry is charged: its key, its value and the bookkeeping around them.

    >>> charge_bytes(b"k" * 32, 1536) - ENTRY_OVERHEAD_BYTES
    1568
    """
    return len(key) + size_bytes + ENTRY_OVERHEAD_BYTES


class CachePolicy(Protocol):
    """Keeps values under a byte budget and decides which to give up.

    Invariant: ``used_bytes <= capacity_bytes`` after every call. ``None`` is not a value: it is
    what a miss returns.
    """

    @property
    def capacity_bytes(self) -> int:
        """The budget: keys, values and bookkeeping together."""
        ...

    @property
    def used_bytes(self) -> int:
        """What is charged now."""
        ...

    def get(self, key: bytes, now_s: float) -> object | None:
        """The value, or None; counts as a use of the entry."""
        ...

    def put(self, key: bytes, value: object, size_bytes: int, now_s: float) -> bool:
        """Keeps ``value`` of ``size_bytes``, giving up others for it.

        An entry larger than the whole budget is refused (False), and so is whatever stood under
        its key before: an old value is never left where a new one was meant to be.
        """
        ...

    def discard(self, key: bytes) -> None:
        """Forgets the key, if it is there."""
        ...

    def __len__(self) -> int:
        """Number of values kept."""
        ...

    def __contains__(self, key: bytes) -> bool:
        """Whether the key is kept; not a use of it."""
        ...
