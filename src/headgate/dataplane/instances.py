"""What each instance does: nothing, a batch, a canary, or nothing any more.

::

    free ─ takes a batch, or proves itself on a canary ─ comes back ─ free
                              │
                           overdue ─ lost ─ replaced ─ free

An instance that is lost is never asked again: its slot waits for a successor. The lone instance,
where there is one, has the cores of all others: they wait while it runs.
"""

from __future__ import annotations

from headgate.dataplane.events import Probe
from headgate.scheduling import Watchdog, most_recently_freed
from headgate.workload import Batch

__all__ = ["Call", "Instances"]


class Call:
    """What an instance was given, and until when it may take."""

    __slots__ = ("give_up_s", "since_s", "until_s", "work")

    def __init__(
        self, work: Batch | Probe, since_s: float, until_s: float, give_up_s: float
    ) -> None:
        self.work = work
        self.since_s = since_s
        self.until_s = until_s  # as predicted
        self.give_up_s = give_up_s


class Instances:
    """The slots of one data plane, by index from 0. ``lone``: number ``count`` is one more."""

    def __init__(self, count: int, watchdog: Watchdog, *, lone: bool = False) -> None:
        self.count = count
        self.free: dict[int, float] = dict.fromkeys(range(count), 0.0)  # index -> free since
        self.running: dict[int, Call] = {}  # index -> a batch
        self.proving: dict[int, Call] = {}  # index -> a canary
        self._has_lone = lone
        self._lone_since_s = 0.0 if lone else None  # free since; None where it cannot be had
        self.lost: dict[int, bool] = {}  # index -> whether a successor may come soon
        self.sharing = count
        """Those that share the work: all but the lone one and the lost, and at least one, which
        will be back."""
        self._watchdog = watchdog
        self._probes = 0

    @property
    def none_to_come(self) -> bool:
        """All but the lone one are lost, and no successor is about to come."""
        lost = [soon for index, soon in self.lost.items() if index < self.count]
        return len(lost) == self.count and not any(lost)

    @property
    def lone_runs(self) -> bool:
        """The lone instance runs a batch."""
        return self.count in self.running

    @property
    def lone_is_free(self) -> bool:
        """The lone instance can be had, with the cores of all others."""
        return self._lone_since_s is not None and not self.running

    def in_service(self, now_s: float) -> list[int]:
        """Those that are neither lost nor overdue; the lone one beside others only, since it alone
        is given no work."""
        calls = {**self.running, **self.proving}
        serving = [
            index
            for index in range(self.count + self._has_lone)
            if index not in self.lost
            and (index not in calls or not self._watchdog.overdue(calls[index].give_up_s, now_s))
        ]
        return serving if serving and serving[0] < self.count else []

    def run(self, batch: Batch, now_s: float, predicted_s: float, *, lone: bool = False) -> int:
        """Gives the batch to a free instance, or to the lone one; which."""
        instance = self.count if lone else most_recently_freed(self.free)
        self._take(instance)
        self.running[instance] = self._call(batch, now_s, predicted_s)
        return instance

    def release(self, instance: int, batch: Batch, now_s: float) -> bool:
        """Its batch came back; False where it does not run this batch."""
        call = self.running.get(instance)
        if call is None or not isinstance(call.work, Batch) or call.work.id != batch.id:
            return False
        del self.running[instance]
        self._give_back(instance, now_s)
        return True

    def proved(self, probe: Probe) -> bool:
        """A canary came back; False where the instance is at no such canary."""
        call = self.proving.get(probe.instance)
        if call is None or call.work != probe:
            return False
        del self.proving[probe.instance]
        # A canary is no work: the next look sends another.
        self._give_back(probe.instance, call.since_s)
        return True

    def look(self, now_s: float, predicted_s: float) -> tuple[dict[int, Call], list[Probe]]:
        """Loses who is overdue, index -> its call, and lets who was free since the last look prove
        itself on a canary, which is predicted to take ``predicted_s``."""
        before_s = self._watchdog.look(now_s)
        given_up = {
            instance: call
            for calls in (self.running, self.proving)
            for instance, call in calls.items()
            if self._watchdog.overdue(call.give_up_s, now_s)
        }
        for instance in given_up:
            self.running.pop(instance, None)
            self.proving.pop(instance, None)
            self.lost[instance] = True
        self._count_sharing()
        probes = []
        free = [] if self.lone_runs else [*self.free.items()]
        if self._lone_since_s is not None and not self.running:
            free.append((self.count, self._lone_since_s))
        for instance in [i for i, since_s in free if since_s <= before_s]:
            self._probes += 1
            probe = Probe(self._probes, instance)
            self._take(instance)
            self.proving[instance] = self._call(probe, now_s, predicted_s)
            probes.append(probe)
        return given_up, probes

    def replaced(self, instance: int, now_s: float) -> bool:
        """A successor is there; False where none was needed."""
        if self.lost.pop(instance, None) is None:
            return False
        self._count_sharing()
        self._give_back(instance, now_s)
        return True

    def not_replaced(self, instance: int) -> bool:
        """No successor comes soon; False where none was needed."""
        if instance not in self.lost:
            return False
        self.lost[instance] = False
        return True

    def _count_sharing(self) -> None:
        self.sharing = max(1, self.count - sum(index < self.count for index in self.lost))

    def _take(self, instance: int) -> None:
        if instance == self.count:
            self._lone_since_s = None
        else:
            del self.free[instance]

    def _give_back(self, instance: int, since_s: float) -> None:
        if instance == self.count:
            self._lone_since_s = since_s
        else:
            self.free[instance] = since_s

    def _call(self, work: Batch | Probe, now_s: float, predicted_s: float) -> Call:
        give_up_s = self._watchdog.give_up_s(now_s, predicted_s)
        return Call(work, now_s, now_s + predicted_s, give_up_s)
