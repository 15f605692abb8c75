"""The model as it is, under policies of its own: the one entrant that nobody has to name.

Its build is the baseline's, so whatever is to be known of it was measured before the search began.
What batching, instances and a cache save is priced where no accepted candidate is cheaper beyond
doubt, and costs nothing where one is.
"""

from __future__ import annotations

import math

from headgate.objects import Axis, Variant
from headgate.optimize.entrants import POLICY_MARGIN
from headgate.optimize.evidence import gather
from headgate.optimize.forecasts import Forecast
from headgate.optimize.gate import lets_through
from headgate.optimize.job import Job
from headgate.optimize.kept_index import KeptIndex
from headgate.optimize.pricing import Priced
from headgate.optimize.stages import Baseline, Tried, most_allowed
from headgate.planning import BASELINE, Cost, Entrant
from headgate.planning.joint import EQUAL
from headgate.release import Rule, judge
from headgate.runtime.servable import Servable

__all__ = [
    "as_it_is",
    "breaks_cost",
    "entrant_as_it_is",
    "gains_nothing",
    "policies_of",
    "replaces_another",
]

_ANSWERS = (Axis.QUALITY, Axis.SAFETY)
_COSTS = ("cost_per_1k", "device_s_per_1k")


def as_it_is(job: Job, baseline: Baseline, certify: Rule) -> Tried:
    """What there is of it, or why it does not take part.

    It does where the baseline's own answers are shown to keep every promise about answers: what is
    relative to current it then keeps by answering as it does now, up to rounding, if there are
    items enough to show that. Answers that depend on their batch may be others in other batches;
    where promises allow that, the holdout decides. Of times nothing is said, since policies decide
    those: a plan, and the load test.

    Each promise is judged at the level of ``certify``. Nothing was chosen by these answers, they
    are those that all others are held against; but what the certificate cannot pass on the same
    data need not be handed to it.
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
    level = certify.pass_level
    results = [judge(c, evidence.samples.get(c.metric), level=level) for c in about_answers]
    return Tried(
        BASELINE,
        Forecast(BASELINE, "", "", (), ""),  # nothing is forecast of what was measured
        build=baseline.build,
        quality=baseline.quality,
        quality_run=baseline.quality_run,
        invariance=baseline.invariance,
        kept=KeptIndex(own, {}),
        skipped=next((r.because for r in results if not lets_through(r)), ""),
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


def replaces_another(job: Job, baseline: Baseline) -> str:
    """Why the baseline's build cannot win over what is current, where that is another one.

    It is held against current then, and a price says only what it saves beside the baseline.
    """
    release = job.store.current(job.config.endpoint)
    if release is None or release.variant == baseline.version:
        return ""
    build = Servable.load(job.store, release.variant).build
    if (build.engine, build.files) == (baseline.build.engine, baseline.build.files):
        return ""
    return (
        "a release of another build is current, and what is cheaper than the baseline may be "
        "dearer than that"
    )


def breaks_cost(priced: Priced, naive: Priced, job: Job) -> str:
    """The promise about cost that the model as it is would break by more than a plan may be wrong,
    in place of the baseline as it is served. Candidates were judged by theirs in blocks; of it
    nothing else says so before the load test."""
    for c in job.contracts:
        if c.metric not in _COSTS:
            continue
        money = job.config.prices.device_second if c.metric == "cost_per_1k" else 1.0
        ours, theirs = (1000 * money * p.attributed_s for p in (priced, naive))
        most = most_allowed(c, theirs)
        if most is not None and ours > most * math.exp(POLICY_MARGIN):
            times = priced.attributed_s / naive.attributed_s
            return (
                f"{c.describe()}: under the policies that were tried it costs {times:.2f} times as "
                "much as now"
            )
    return ""


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
