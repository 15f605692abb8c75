"""A Merkle tree that grows at its right edge: hashing, roots and proofs as RFC 6962 has them.

``leaf = SHA-256(0x00 || data)``, ``node = SHA-256(0x01 || left || right)``; the left subtree of n
leaves is the largest full one with fewer than n. A full subtree never changes once it is full, so
its hash is kept when its last leaf is added, and every root and proof takes O(log n) of those.
Proofs: RFC 9162, 2.1.3 and 2.1.4. Knows nothing of what the leaves are or where hashes are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "EMPTY_ROOT",
    "Edge",
    "Subtree",
    "consistency_proof",
    "inclusion_proof",
    "is_consistent",
    "is_included",
    "leaf_hash",
    "peaks",
    "root_of",
]

EMPTY_ROOT = hashlib.sha256().digest()
"""The root of no leaves."""

Subtree: TypeAlias = Callable[[int, int], bytes]
"""(level, index) -> hash of the full subtree of the 2^level leaves from ``index * 2^level``; a leaf
has level 0."""


def leaf_hash(data: bytes) -> bytes:
    """The 32 bytes that stand for ``data``."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def peaks(size: int) -> Iterator[tuple[int, int]]:
    """(level, index) of the full subtrees that ``size`` leaves consist of, largest first.

    >>> list(peaks(6))
    [(2, 0), (1, 2)]
    """
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            yield level, (size >> level) - 1


@dataclass(slots=True)
class Edge:
    """The right edge of a tree: all that is needed to go on growing it."""

    size: int
    """Leaves so far."""
    hashes: list[bytes]
    """Of ``peaks(size)``."""

    def add(self, leaf: bytes) -> bytes:
        """Add the hash of a leaf; the hashes of the subtrees of 2, 4, 8 ... leaves that it fills,
        joined, so that ``hashes[32 * (level - 1):][:32]`` is that of ``level``."""
        filled = []
        self.hashes.append(leaf)
        self.size += 1
        for _ in range((self.size & -self.size).bit_length() - 1):
            right, left = self.hashes.pop(), self.hashes.pop()
            self.hashes.append(_node_hash(left, right))
            filled.append(self.hashes[-1])
        return b"".join(filled)

    def root(self) -> bytes:
        """The root of the leaves so far."""
        return _folded(self.hashes)


def _folded(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = _node_hash(left, root)
    return root


def root_of(size: int, subtree: Subtree) -> bytes:
    """The root of the first ``size`` leaves."""
    return _folded([subtree(*peak) for peak in peaks(size)])


def _root_between(low: int, high: int, subtree: Subtree) -> bytes:
    """The root of the leaves [low, high), one side of some node of the tree."""
    return _folded([subtree(level, (low >> level) + index) for level, index in peaks(high - low)])


def _split(size: int) -> int:
    """The largest power of two below ``size`` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """What shows that leaf ``index`` (from 0) is among the first ``size``; nearest first."""
    assert 0 <= index < size
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_root_between(middle, high, subtree))
            high = middle
        else:
            path.append(_root_between(low, middle, subtree))
            low = middle
    return path[::-1]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows that ``leaf`` (a hash) is number ``index`` of the tree."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = _node_hash(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = _node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def consistency_proof(old: int, size: int, subtree: Subtree) -> list[bytes]:
    """What shows that the first ``old`` of ``size`` leaves have not changed since."""
    assert 0 < old <= size
    low, high, path, whole = 0, size, [], True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_root_between(middle, high, subtree))
            high = middle
        else:
            path.append(_root_between(low, middle, subtree))
            low, whole = middle, False
    if not whole:
        path.append(_root_between(low, high, subtree))
    return path[::-1]


def is_consistent(
    old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether ``proof`` shows that the tree of ``size`` leaves begins with that of ``old``."""
    if not 0 < old <= size:
        return False
    if old == size:
        return not proof and old_root == root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    found_old = found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            found_old = _node_hash(sibling, found_old)
            found = _node_hash(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = _node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found_old == old_root and found == root
