"""Least recently used, by bytes."""

from __future__ import annotations

from collections import OrderedDict

from headgate.caching.policy import charge_bytes

__all__ = ["LRU"]


class LRU:
    """Gives up what has not been asked for the longest.

    >>> cache = LRU(capacity_bytes=2 * charge_bytes(b"a", 100))
    >>> cache.put(b"a", "A", 100, 0.0), cache.put(b"b", "B", 100, 1.0), cache.get(b"a", 2.0)
    (True, True, 'A')
    >>> cache.put(b"c", "C", 100, 3.0), cache.get(b"b", 4.0)
    (True, None)
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._entries: OrderedDict[bytes, tuple[object, int]] = OrderedDict()  # oldest use first

    def get(self, key: bytes, now_s: float) -> object | None:
        """The value, or None; the entry becomes the most recent."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: bytes, value: object, size_bytes: int, now_s: float) -> bool:
        """Keeps ``value``; False where it is larger than the whole budget."""
        self.discard(key)
        charge = charge_bytes(key, size_bytes)
        if charge > self.capacity_bytes:
            return False
        while self.used_bytes + charge > self.capacity_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.used_bytes -= freed
        self._entries[key] = (value, charge)
        self.used_bytes += charge
        return True

    def discard(self, key: bytes) -> None:
        """Forgets the key, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used_bytes -= entry[1]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries
