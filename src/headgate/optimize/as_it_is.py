"""The model as it is, under policies of its own: the one entrant that nobody has to name.

Its build is the baseline's, so whatever is to be known of it was measured before the search began.
What batching, instances and a cache save without any loss is priced where no accepted candidate is
cheaper beyond doubt, and costs nothing where one is.
"""

from __future__ import annotations

from headgate.objects import Axis, Variant, Verdict
from headgate.optimize.evidence import gather
from headgate.optimize.forecasts import Forecast
from headgate.optimize.job import Job
from headgate.optimize.pricing import Priced
from headgate.optimize.stages import Baseline, Tried
from headgate.planning import BASELINE, Cost, Entrant
from headgate.planning.joint import EQUAL
from headgate.release import judge

__all__ = ["as_it_is", "entrant_as_it_is", "gains_nothing", "policies_of"]

_ANSWERS = (Axis.QUALITY, Axis.SAFETY)
_KEPT = (Verdict.PASS, Verdict.WARN)


def as_it_is(job: Job, baseline: Baseline) -> Tried:
    """What there is of it, or why it does not take part.

    It does where the baseline's own answers are shown to keep every promise about answers: what is
    relative to current it then keeps by being the same, if there are items enough to show that. Of
    times nothing is said, since policies decide those: a plan, and the load test.

    Each promise is judged at its own level, and the error of choosing is not shared with it
    (``most_judged``): nothing was chosen by its answers, they are those that all others are held
    against.
    """
    own = (baseline.quality, baseline.quality_run)
    about_answers = [c for c in job.contracts if c.axis in _ANSWERS]
    evidence = gather(
        job.recorder,
        about_answers,
        candidate=baseline.build.version,
        dataset=job.inputs.versions["evaluate"],
        workload=job.inputs.versions["workload"],
        quality=(own, own),
        kept=own,  # the index of current is its own
        invariance=baseline.invariance,
        speed=lambda metric: None,
        speed_run=baseline.quality_run,
        own=job.own,
    )
    results = [judge(c, evidence.samples.get(c.metric)) for c in about_answers]
    return Tried(
        BASELINE,
        Forecast(BASELINE, "", "", (), ""),  # nothing is forecast of what was measured
        build=baseline.build,
        quality=baseline.quality,
        quality_run=baseline.quality_run,
        invariance=baseline.invariance,
        skipped=next((r.because for r in results if r.verdict not in _KEPT), ""),
    )


def entrant_as_it_is(own: Tried) -> Entrant:
    """It is the unit that all costs are in, and nothing is left to find out but plans."""
    return Entrant(Cost(0.0), ruled_out=own.skipped, accepted=not own.skipped)


def gains_nothing(priced: Priced, naive: Priced) -> str:
    """Why ``priced``, of any build, is not worth a load test beside what stays without one:
    ``naive``, the baseline as it is served. Empty where it is cheaper by more than a percent."""
    if EQUAL * priced.provisioned_s < naive.provisioned_s:
        return ""
    times = priced.provisioned_s / naive.provisioned_s
    return (
        f"under the policies that were tried it costs {times:.2f} times as much as the baseline "
        "as it is served"
    )


def policies_of(variant: Variant) -> str:
    """What the model as it is is served with, in words.

    >>> from headgate.objects import BatchingSpec, CacheSpec
    >>> policies_of(Variant("fp32", "sha256:b", 2, BatchingSpec(8), CacheSpec("lru", 1 << 20)))
    'batching, 2 instances and a cache'
    >>> policies_of(Variant("fp32", "sha256:b", 1, BatchingSpec(1), CacheSpec()))
    'requests one at a time and no cache'
    """
    said = [
        *["batching"] * (variant.batching.max_requests > 1),
        *[f"{variant.instances} instances"] * (variant.instances > 1),
        *["a cache"] * (variant.cache.capacity_bytes > 0),
    ]
    if not said:
        return "requests one at a time and no cache"
    *others, last = said
    return f"{', '.join(others)} and {last}" if others else last
