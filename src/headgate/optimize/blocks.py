"""Compares the speed of builds side by side: interleaved blocks, with A/A blocks around them.

In every block each build answers the same items, alone and in batches, in an order that rotates
from block to block, so that a machine that slows down slows all of them. The baseline also runs
against itself before and after: what differs there is noise.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.config import Item
from headgate.objects import Build, Direction, canonical, parse
from headgate.optimize.answers import Answerer, batches_by_length
from headgate.optimize.evidence import SPEED
from headgate.optimize.measure import Behaviour, build_inputs, open_answerer
from headgate.optimize.recorder import Call, Output, Recorded, Recorder, transformation
from headgate.optimize.served import as_items, as_json
from headgate.quantization.speed import Speedup, speed_up
from headgate.release import Blocks
from headgate.runtime.servable import build_from_json
from headgate.theory.quantile import quantile
from headgate.theory.queueing import mg1_mean_wait_s
from headgate.workload import Encoded

__all__ = ["BlockTimes", "SpeedBlocks", "measure_beside", "measure_blocks"]

_LEAST_PASS_S = 0.03
_MOST_REPEATS = 50
_MEMORY_SHARE = 0.25
"""Of the machine's memory, for the files of builds that are loaded at a time; an engine takes up to
twice its file (docs/decisions/0042), and the rest of the job is there too."""
_QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}


@dataclass(frozen=True, slots=True)
class BlockTimes:
    """One build in one block."""

    latencies_s: tuple[float, ...]
    """Each item alone, nothing padded."""
    batched_s: float
    """As many items, in batches of like length."""

    @property
    def per_item_s(self) -> float:
        """In batches; a pass that is short takes its items several times."""
        return self.batched_s / len(self.latencies_s)

    def metric(self, name: str, *, alone: bool, price_per_s: float) -> float:
        """A latency quantile in seconds, or the cost of a thousand items, served alone or not."""
        if name in _QUANTILES:
            return quantile(self.latencies_s, _QUANTILES[name])
        if name == "latency_mean":
            return sum(self.latencies_s) / len(self.latencies_s)
        alone_s = sum(self.latencies_s) / len(self.latencies_s)
        per_1k = (alone_s if alone else self.per_item_s) * 1000
        return per_1k * price_per_s if name.startswith("cost_per_") else per_1k


@dataclass(frozen=True, slots=True)
class SpeedBlocks:
    """All blocks of all builds; the first build is the baseline, one item at a time."""

    names: tuple[str, ...]
    blocks: tuple[tuple[BlockTimes, ...], ...]
    """[block][build]"""
    aa_before: tuple[BlockTimes, BlockTimes]
    aa_after: tuple[BlockTimes, BlockTimes]
    run: Recorded

    @property
    def baseline_p95_s(self) -> float:
        """p95 of the baseline for lone requests, over all blocks."""
        return quantile(self._lone_s, 0.95)

    def loaded_p95_s(self, load: float) -> float:
        """p95 of the baseline at ``load`` (0 to 1) of its capacity, as a replay would see it.

        One server, Poisson arrivals, the measured service times: their mean, and the 0.95 quantile
        of a wait with ``P(W > t) = load exp(-load t / E[W])``, ``E[W]`` by Pollaczek and Khinchine.
        Exact for exponential service times, else Kingman's heavy-traffic approximation (1961).
        """
        mean_s = statistics.fmean(self._lone_s)
        squared_cv = statistics.pvariance(self._lone_s, mean_s) / mean_s**2
        wait_s = mg1_mean_wait_s(load / mean_s, mean_s, squared_cv)
        return max(self.baseline_p95_s, mean_s + wait_s / load * math.log(load / 0.05))

    @property
    def _lone_s(self) -> list[float]:
        return [s for row in self.blocks for s in row[0].latencies_s]

    @property
    def baseline_item_s(self) -> float:
        """What the baseline takes for an item in batches, the median over all blocks."""
        return statistics.median(row[0].per_item_s for row in self.blocks)

    def per_item_s(self, name: str, *, asked_more: float = 0.0) -> list[tuple[float, float]]:
        """What the baseline and the build ``name`` take for an item in batches, block by block.

        ``asked_more``: of so many items for each that was timed the baseline is asked too, one at a
        time, as a cascade's teacher is by callers whose items escalate more often than these. Below
        0 of so many fewer: each takes what it takes the baseline in batches, at most all there is.
        """
        column = self.names.index(name)
        found = []
        for row in self.blocks:
            baseline_s, own_s = row[0].per_item_s, row[column].per_item_s
            alone_s = statistics.fmean(row[0].latencies_s)
            asked_s = alone_s if asked_more > 0 else min(baseline_s, own_s)
            found.append((baseline_s, own_s + asked_more * asked_s))
        return found

    def speedup(self, name: str, *, asked_more: float = 0.0) -> Speedup:
        """Of the build ``name`` over the baseline, both in the same batches; ``asked_more`` as of
        ``per_item_s``."""
        pairs = self.per_item_s(name, asked_more=asked_more)
        return speed_up(
            [baseline_s for baseline_s, _ in pairs],
            [own_s for _, own_s in pairs],
            same=[(a.per_item_s, b.per_item_s) for a, b in (self.aa_before, self.aa_after)],
        )

    def samples(self, candidate: str, metric: str, *, price_per_s: float) -> Blocks | None:
        """The candidate against the baseline, as the gate takes it; None where it is no metric of
        speed."""
        if not metric.startswith(SPEED):
            return None
        column = self.names.index(candidate)

        def of(times: BlockTimes, *, alone: bool) -> float:
            return times.metric(metric, alone=alone, price_per_s=price_per_s)

        def pair(both: tuple[BlockTimes, BlockTimes]) -> tuple[float, float]:
            return of(both[0], alone=True), of(both[1], alone=True)

        return Blocks(
            metric=metric,
            unit="s" if metric.startswith(("latency", "device")) else "money",
            direction=Direction.LOWER,
            candidate=tuple(of(row[column], alone=column == 0) for row in self.blocks),
            current=tuple(of(row[0], alone=True) for row in self.blocks),
            aa_before=(pair(self.aa_before),),
            aa_after=(pair(self.aa_after),),
        )


@transformation("measure.blocks", measures=True)
def blocks(call: Call) -> Mapping[str, Output]:
    """Interleaved blocks of every build in ``c``."""
    builds = [build_from_json(b) for b in call.c["builds"]]
    items = as_items(parse(call.store.read(call.u["items"])))
    behaviour = Behaviour(**call.c["behaviour"])
    answerers = [open_answerer(b, behaviour, call.store.path_of, call.root) for b in builds]
    encoded = [a.encode(items) for a in answerers]
    n_blocks = int(call.c["blocks"])
    # Every shape is compiled before the clock counts, and it shows how long a pass takes.
    repeats = [_repeats(a, rows) for a, rows in zip(answerers, encoded, strict=True)]

    def timed(j: int) -> BlockTimes:
        return _time(answerers[j], encoded[j], repeats[j])

    before = [timed(0) for _ in range(2)]
    table: list[list[BlockTimes]] = []
    for i in range(n_blocks):
        call.progress(i / n_blocks, f"block {i + 1} of {n_blocks}")
        row: dict[int, BlockTimes] = {}
        for k in range(len(builds)):
            j = (i + k) % len(builds)
            row[j] = timed(j)
        table.append([row[j] for j in range(len(builds))])
    after = [timed(0) for _ in range(2)]
    for answerer in answerers:
        answerer.close()
    body = {"blocks": table, "aa_before": before, "aa_after": after}
    return {"times": Output(canonical(body), "samples", "json {blocks, aa_before, aa_after}")}


def _repeats(answerer: Answerer, encoded: Sequence[Encoded]) -> int:
    """How often the items are repeated for one pass to last long enough to be timed."""
    _time(answerer, encoded, 1)
    batched_s = _batched_s(answerer, encoded, 1)
    return min(max(1, round(_LEAST_PASS_S / batched_s)), _MOST_REPEATS)


def _time(answerer: Answerer, encoded: Sequence[Encoded], repeats: int) -> BlockTimes:
    latencies = []
    for _ in range(repeats):
        for e in encoded:
            start = time.perf_counter()
            answerer.run([e])
            latencies.append(time.perf_counter() - start)
    return BlockTimes(tuple(latencies), _batched_s(answerer, encoded, repeats))


def _batched_s(answerer: Answerer, encoded: Sequence[Encoded], repeats: int) -> float:
    batches = batches_by_length([e.length for e in encoded], max_padded_tokens=512, max_items=32)
    start = time.perf_counter()
    for _ in range(repeats):
        for batch in batches:
            answerer.run([encoded[i] for i in batch])
    return time.perf_counter() - start


def measure_blocks(
    recorder: Recorder,
    builds: Sequence[Build],
    behaviour: Behaviour,
    *,
    items: Sequence[Item],
    n_blocks: int,
    n_items: int = 48,
) -> SpeedBlocks:
    """Times ``builds`` (the baseline first) on ``n_items`` drawn from ``items``."""
    rng = np.random.default_rng(recorder.seed)
    chosen = [items[i] for i in sorted(rng.choice(len(items), min(n_items, len(items)), False))]
    version = recorder.store.put_bytes(canonical(as_json(chosen)))
    recorder.register("blocks/items", version, kind="dataset", schema="json [item]")
    u = {"items": version}
    for build in builds:
        u |= {f"{build.name}/{k}": v for k, v in build_inputs(build).items()}
    done = recorder.run(
        blocks,
        u=u,
        c={"builds": list(builds), "behaviour": behaviour, "blocks": n_blocks},
        foreign=any(build.foreign for build in builds),
        detail=f"{len(builds)} builds, {n_blocks} interleaved blocks",
    )
    body = parse(recorder.store.read(done.outputs["times"]))

    def times(row: Mapping[str, object]) -> BlockTimes:
        return BlockTimes(tuple(row["latencies_s"]), float(row["batched_s"]))  # type: ignore[arg-type]

    def pair(rows: Sequence[Mapping[str, object]]) -> tuple[BlockTimes, BlockTimes]:
        first, second = rows
        return times(first), times(second)

    return SpeedBlocks(
        names=tuple(b.name for b in builds),
        blocks=tuple(tuple(times(b) for b in row) for row in body["blocks"]),
        aa_before=pair(body["aa_before"]),
        aa_after=pair(body["aa_after"]),
        run=done,
    )


def measure_beside(
    recorder: Recorder,
    baseline: Build,
    others: Sequence[Build],
    behaviour: Behaviour,
    *,
    items: Sequence[Item],
    n_blocks: int,
    memory_bytes: int,
) -> Mapping[str, SpeedBlocks]:
    """Each of ``others`` beside the baseline, as many at a time as a machine's memory holds.

    Name -> the blocks that it is in; of the baseline, the first. Those that were not measured at
    the same time are compared by what they take over the baseline, which runs beside all of them.
    """

    def size(build: Build) -> int:
        return sum(recorder.store.path_of(v).stat().st_size for v in build.files.values())

    room = _MEMORY_SHARE * memory_bytes - size(baseline)
    found: dict[str, SpeedBlocks] = {}
    for group in _groups(others, [size(b) for b in others], room):
        speed = measure_blocks(
            recorder, [baseline, *group], behaviour, items=items, n_blocks=n_blocks
        )
        found |= {name: speed for name in speed.names if name not in found}
    return found


def _groups(builds: Sequence[Build], sizes: Sequence[int], room: float) -> list[list[Build]]:
    """In their order, as many together as there is ``room`` for; one at least."""
    groups: list[list[Build]] = [[]]
    taken = 0
    for build, size in zip(builds, sizes, strict=True):
        if groups[-1] and taken + size > room:
            groups.append([])
            taken = 0
        groups[-1].append(build)
        taken += size
    return groups
