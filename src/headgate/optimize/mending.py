"""Mends an ``int8_static`` that breaks a promise of quality: a few layers stay out of int8.

Runs what ``quantization.repair`` asks for: each set of layers is made, answers the evaluation data,
and is held to the gate's own bounds. Everything is recorded, so a killed search goes on where it
was. Costs nothing where there is nothing to mend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headgate.objects import Build, Contract
from headgate.optimize.blocks import measure_blocks
from headgate.optimize.evidence import Scored, gather, paired
from headgate.optimize.gate import lets_through
from headgate.optimize.job import Job
from headgate.optimize.making import Maker, make_build
from headgate.optimize.making.quantized import layers_of, quantized
from headgate.optimize.measure import Invariance, measure_quality
from headgate.quantization import BF16, FP32_OPENVINO, INT8_MIXED, INT8_STATIC, Layer, Scheme
from headgate.quantization.repair import LEAST_KEPT, Repair, Trial, Why
from headgate.quantization.speed import Speedup
from headgate.release import Rule, judge

__all__ = ["Mended", "Mixing", "Reference", "mend"]

_KEPT_IN = (BF16, FP32_OPENVINO)
"""What layers may be kept in, the cheaper first."""
_BLOCKS = (5, 15)
"""Interleaved blocks to show that a speed is above a limit: more where few do not show it."""
_WHY = {
    Why.MET: "nothing more in it is worth dropping",
    Why.BUDGET: "all trials are used",
    Why.SPEED: "what would have to be left out costs more than a fifth of the speed-up",
    Why.NO_FASTER: "int8_static is no faster here than what layers would be kept in, which keeps "
    "all that was promised",
    Why.NOTHING_HELPS: "what is lost is not lost in its layers",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """What a build is held against: the baseline, as it was measured."""

    build: Build
    quality: Scored
    invariance: Invariance


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of it."""

    build: Build | None
    """None where nothing was to be mended, or could be."""
    needed: bool
    because: str
    trials: tuple[Trial, ...] = ()


def mend(job: Job, rule: Rule, reference: Reference, maker: Maker) -> Mended:
    """``int8_mixed`` of the endpoint's model, where ``int8_static`` breaks a promise of quality.

    ``rule`` is the one that chooses. A search chooses among its trials by the data that judge them,
    so without a holdout to certify what it found there is none. Raises as ``make_build`` does.
    """
    plain = make_build(INT8_STATIC.name, maker)
    if _holds(job, rule, reference, plain):
        return Mended(None, False, f"{plain.name} keeps what was promised of quality")
    if job.inputs.holdout is None:
        because = "not mended: what is found by trying on data needs others, data: holdout"
        return Mended(None, True, because)
    mixing = Mixing.of(job, rule, reference, maker)
    if mixing is None:
        because = "not mended: not even fp32 on the same engine is shown to keep what was promised"
        return Mended(None, True, because)
    search = mixing.search(layers_of(maker, maker.source.build, INT8_MIXED))
    mixing.follow(search)
    return _found(search, mixing)


@dataclass(frozen=True, slots=True)
class Mixing:
    """Carries out what a search asks for: some layers in ``kept_in``, all others in int8."""

    job: Job
    rule: Rule
    reference: Reference
    maker: Maker
    kept_in: Scheme

    @classmethod
    def of(cls, job: Job, rule: Rule, reference: Reference, maker: Maker) -> Mixing | None:
        """None where nothing that a layer could be kept in is shown to keep the promises."""
        kept_in = _kept_in(job, rule, reference, maker)
        return None if kept_in is None else cls(job, rule, reference, maker, kept_in)

    def search(self, layers: Sequence[Layer]) -> Repair:
        """Told how much faster int8 is than what layers are kept in."""
        than = make_build(self.kept_in.name, self.maker)
        return Repair(
            layers, speedup=_times_faster(self.job, self._plain, than=than, limit=1.0).value
        )

    def follow(self, search: Repair) -> None:
        """Until it asks no more; the speed of what it would end with is measured."""
        while (keep := search.ask()) is not None:
            search.tell(keep, met=self.holds(keep))
            best = search.best
            if search.ask() is None and best is not None and best.speed_kept is None:
                build, least = self.build(best.keep), LEAST_KEPT
                share = _times_faster(self.job, build, than=self._plain, limit=least)
                search.tell(best.keep, met=True, speed_kept=share)

    def holds(self, keep: Sequence[str]) -> bool:
        """Whether the build with ``keep`` left out of int8 is shown to keep the promises."""
        return _holds(self.job, self.rule, self.reference, self.build(keep))

    def build(self, keep: Sequence[str]) -> Build:
        return _mixed(self.maker, keep, self.kept_in)

    @property
    def _plain(self) -> Build:
        return make_build(INT8_STATIC.name, self.maker)


def _kept_in(job: Job, rule: Rule, reference: Reference, maker: Maker) -> Scheme | None:
    """What layers are kept in: the first that this CPU computes in, and in which alone the promises
    are shown to be kept. None where there is none: then no layer could help, only more data."""
    possible = [scheme for scheme in _KEPT_IN if scheme.runs_with(maker.profile.flags)]
    holding = (s for s in possible if _holds(job, rule, reference, make_build(s.name, maker)))
    return next(holding, None)


def _found(search: Repair, mixing: Mixing) -> Mended:
    why, tried = search.why, len(search.trials)
    assert why is not None
    best = search.best
    if best is None:
        because = f"not mended in {tried} trials: {_WHY[why]}"
        return Mended(None, True, because, search.trials)
    kept = best.speed_kept
    share = f"{kept.value:.0%} of the speed of int8_static" if kept is not None else "its speed"
    because = (
        f"the best of {tried} trials on evaluate leaves {', '.join(best.keep)} in "
        f"{mixing.kept_in.compute} and keeps {share}; {_WHY[why]}"
    )
    return Mended(mixing.build(best.keep), True, because, search.trials)


def _mixed(maker: Maker, keep: Sequence[str], kept_in: Scheme) -> Build:
    scheme = replace(INT8_MIXED, keep=tuple(keep), compute=kept_in.compute)
    return quantized(maker, maker.source.build, scheme, name=scheme.name)


def _holds(job: Job, rule: Rule, reference: Reference, build: Build) -> bool:
    """Whether it is shown to keep every promise of quality, on the evaluation data, by the bounds
    that the gate will pass it by. No decision: one is made of all that is promised, or of nothing.
    """
    job.register_build(build)
    dataset = job.inputs.versions["evaluate"]
    ours = measure_quality(job.recorder, build, job.behaviour, dataset=dataset, split="evaluate")
    contracts = tuple(c for c in job.contracts if _is_quality(job, c, ours, reference.quality))
    evidence = gather(
        job.recorder,
        contracts,
        candidate=build.version,
        dataset=dataset,
        workload=job.inputs.versions["workload"],
        quality=(ours, reference.quality),
        invariance=reference.invariance,
        speed=lambda metric: None,
        speed_run=ours[1],
        own=job.own,
    )
    results = [judge(c, evidence.samples[c.metric], level=rule.pass_level) for c in contracts]
    return all(map(lets_through, results))


def _is_quality(job: Job, contract: Contract, ours: Scored, theirs: Scored) -> bool:
    metric = contract.metric.removeprefix("worst_slice_")
    return paired(metric, ours[0], theirs[0], job.own) is not None


def _times_faster(job: Job, build: Build, *, than: Build, limit: float) -> Speedup:
    """Time of ``than`` over that of ``build``, for the same batches.

    What few blocks show to be above ``limit`` is so. What they do not, or show to be below it, is
    measured once more in many: a burst of others' work is longer than a few blocks.
    """
    for n in _BLOCKS:
        blocks = measure_blocks(
            job.recorder, [than, build], job.behaviour, items=job.queries, n_blocks=n
        )
        found = blocks.speedup(build.name)
        if found.low > limit:
            break
    return found
