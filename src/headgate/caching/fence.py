"""The fence: an answer may not outlive the release, or leave the tenant, that it was made for.

Keys already contain tenant and build. The fence does not rely on it: each entry carries the
generation and the tenant, and both are compared at lookup *and* at insert, so that an answer
which an old engine finishes after a promotion is refused.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate.caching.lru import LRU
from headgate.caching.policy import CachePolicy
from headgate.caching.s3fifo import S3FIFO
from headgate.errors import ConfigError
from headgate.objects import CacheSpec

__all__ = ["POLICIES", "GenerationCache", "make_policy"]

POLICIES: dict[str, type[LRU] | type[S3FIFO]] = {"lru": LRU, "s3fifo": S3FIFO}
"""Name in ``CacheSpec.policy`` -> policy."""


def make_policy(spec: CacheSpec) -> CachePolicy:
    """The policy that ``spec`` names. Raises ``ConfigError`` for an unknown one."""
    if spec.policy not in POLICIES:
        raise ConfigError(
            f"unknown cache policy {spec.policy!r}",
            where="cache.policy",
            fix=f"write one of {', '.join(sorted(POLICIES))}",
        )
    return POLICIES[spec.policy](spec.capacity_bytes)


class _Entry(NamedTuple):
    generation: int
    tenant: str
    value: object


class GenerationCache:
    """A cache policy behind a fence. Shared by the data planes of successive releases.

    >>> cache = GenerationCache(LRU(10_000), generation=1)
    >>> cache.insert(b"k", "new", 10, tenant="a", generation=1, now_s=0.0)
    True
    >>> cache.lookup(b"k", tenant="a", generation=1, now_s=1.0)
    'new'
    >>> cache.fence(2)  # promotion: what generation 1 still finishes is refused
    >>> cache.lookup(b"k", tenant="a", generation=2, now_s=2.0)
    >>> cache.insert(b"k", "old", 10, tenant="a", generation=1, now_s=3.0)
    False
    """

    def __init__(self, policy: CachePolicy, *, generation: int) -> None:
        self._policy = policy
        self._generation = generation

    @property
    def generation(self) -> int:
        """The generation whose answers may be given."""
        return self._generation

    @property
    def used_bytes(self) -> int:
        return self._policy.used_bytes

    @property
    def capacity_bytes(self) -> int:
        return self._policy.capacity_bytes

    def __len__(self) -> int:
        return len(self._policy)

    def fence(self, generation: int) -> None:
        """Makes ``generation``, a later one, the one that is served.

        Entries of those before it stay until they are evicted and are never found again: a
        rollback is a generation of its own (``release.promotion``). Raises ``ValueError`` for an
        earlier generation, which would bring back what was fenced off.
        """
        if generation < self._generation:
            raise ValueError(f"generation {generation} is before {self._generation}")
        self._generation = generation

    def lookup(self, key: bytes, *, tenant: str, generation: int, now_s: float) -> object | None:
        """The answer to ``key`` under ``generation`` for ``tenant``, or None."""
        if generation != self._generation:
            return None
        entry = self._policy.get(key, now_s)
        if entry is None:
            return None
        assert isinstance(entry, _Entry)
        if entry.generation != generation or entry.tenant != tenant:
            return None
        return entry.value

    def insert(
        self,
        key: bytes,
        value: object,
        size_bytes: int,
        *,
        tenant: str,
        generation: int,
        now_s: float,
    ) -> bool:
        """Keeps an answer; False if it is of another generation or larger than the cache."""
        if generation != self._generation:
            return False
        return self._policy.put(key, _Entry(generation, tenant, value), size_bytes, now_s)
