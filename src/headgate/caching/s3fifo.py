"""S3-FIFO, by bytes: three queues, so that what is asked for once leaves quickly.

Yang, Zhang, Qiu, Yue and Vinayak, "FIFO queues are all you need for cache eviction", SOSP 2023.
"""

from __future__ import annotations

from collections import OrderedDict

from headgate.caching.policy import ENTRY_OVERHEAD_BYTES, charge_bytes

__all__ = ["S3FIFO"]

SMALL_SHARE = 0.1
"""Share of the budget for the small queue, the paper's value."""
MAX_FREQUENCY = 3
"""Uses are counted to three: two bits, as in the paper."""


class _Entry:
    __slots__ = ("charge", "frequency", "value")

    def __init__(self, value: object, charge: int) -> None:
        self.value = value
        self.charge = charge
        self.frequency = 0


class S3FIFO:
    """A small queue in front of a main one, and a ghost queue that remembers keys alone.

    ::

        new ──> small (10 %) ──used twice──> main ──unused──> gone
                   └─ else ──> ghost (keys)    └─used──> back to its head
        new and remembered by the ghost ──> main

    One change from the paper, where sizes are counted in objects: ghosts are charged what they
    cost (key and bookkeeping), inside the same byte budget. There are never more ghosts than
    entries.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._small: OrderedDict[bytes, _Entry] = OrderedDict()  # oldest first, all three
        self._main: OrderedDict[bytes, _Entry] = OrderedDict()
        self._ghost: OrderedDict[bytes, None] = OrderedDict()
        self._small_bytes = 0

    def get(self, key: bytes, now_s: float) -> object | None:
        """The value, or None; a use only raises a counter, nothing moves."""
        entry = self._small.get(key) or self._main.get(key)
        if entry is None:
            return None
        if entry.frequency < MAX_FREQUENCY:
            entry.frequency += 1
        return entry.value

    def put(self, key: bytes, value: object, size_bytes: int, now_s: float) -> bool:
        """Keeps ``value``; False where it is larger than the whole budget."""
        to_main = key in self._ghost or key in self._main
        self.discard(key)
        charge = charge_bytes(key, size_bytes)
        if charge > self.capacity_bytes:
            return False
        while self.used_bytes + charge > self.capacity_bytes:
            self._evict()
        if to_main:
            self._main[key] = _Entry(value, charge)
        else:
            self._small[key] = _Entry(value, charge)
            self._small_bytes += charge
        self.used_bytes += charge
        return True

    def discard(self, key: bytes) -> None:
        """Forgets the key, if it is there, and its ghost."""
        if key in self._ghost:
            del self._ghost[key]
            self.used_bytes -= _ghost_charge(key)
        entry = self._small.pop(key, None)
        if entry is not None:
            self._small_bytes -= entry.charge
        else:
            entry = self._main.pop(key, None)
        if entry is not None:
            self.used_bytes -= entry.charge
        self._trim_ghosts()

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def __contains__(self, key: bytes) -> bool:
        return key in self._small or key in self._main

    def _evict(self) -> None:
        """One step; terminates because it moves, ages or removes an entry each time."""
        if self._small and (
            self._small_bytes > SMALL_SHARE * self.capacity_bytes or not self._main
        ):
            key, entry = self._small.popitem(last=False)
            self._small_bytes -= entry.charge
            if entry.frequency > 1:
                entry.frequency = 0
                self._main[key] = entry
            else:
                self._ghost[key] = None
                self.used_bytes += _ghost_charge(key) - entry.charge
        else:
            key, entry = self._main.popitem(last=False)
            if entry.frequency > 0:
                entry.frequency -= 1
                self._main[key] = entry
            else:
                self.used_bytes -= entry.charge
        self._trim_ghosts()

    def _trim_ghosts(self) -> None:
        while len(self._ghost) > len(self):
            key, _ = self._ghost.popitem(last=False)
            self.used_bytes -= _ghost_charge(key)


def _ghost_charge(key: bytes) -> int:
    return len(key) + ENTRY_OVERHEAD_BYTES // 2
