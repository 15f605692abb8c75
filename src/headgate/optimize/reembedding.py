"""What the winner's index would cost: every item of it embedded anew, at the passages' lengths."""

from __future__ import annotations

from dataclasses import dataclass

from headgate.config import RetrievalSet
from headgate.optimize.job import CURVE_SIZES, MOST_LENGTHS, Job, spanning
from headgate.optimize.measure import CURVE_TOKENS, measure_curves
from headgate.optimize.recorder import Recorded
from headgate.optimize.served import served_codec
from headgate.optimize.stages import Certificate, Plans
from headgate.planning.reembedding import Reembedding, passage_s, reembedding

__all__ = ["IndexPrice", "price_index"]

_CURVE_BUDGET_S = 1.5


@dataclass(frozen=True, slots=True)
class IndexPrice:
    """A new index for the winner, beside what the winner saves."""

    price: Reembedding
    declared: bool
    """Whether the owner says how many items there are; else the passages of evaluate are meant."""
    run: Recorded
    """That measured the winner at the passages' lengths."""


def price_index(job: Job, plans: Plans, certificate: Certificate) -> IndexPrice | None:
    """None where there is no index, or where the current one stays: its vectors are the winner's.

    The saving is that of the replay: what a request took of the machine before and after.
    """
    split = job.inputs.evaluate
    if job.config.task != "embed" or not isinstance(split, RetrievalSet):
        return None
    build, plan = certificate.build, plans.chosen.choice.curve.plan
    if build.embeds_as(certificate.current.build):
        return None
    codec = served_codec(
        build, job.store.path_of, preprocess=job.config.preprocess, root=job.recorder.root
    )
    sample = codec.encode(split.passages[:MOST_LENGTHS], truncate=True)
    lengths = [e.length for e in sample]
    (measured,) = measure_curves(
        job.recorder,
        [(build, plan.instances)],
        job.behaviour,
        items=split.passages,
        sizes=CURVE_SIZES,
        lengths=spanning(lengths, build.max_tokens),
        budget_s=_CURVE_BUDGET_S,
    )
    item_s = passage_s(
        measured.curve,
        lengths,
        instances=plan.instances,
        sizes=CURVE_SIZES,
        max_padded_tokens=CURVE_TOKENS,
    )
    replay, declared = certificate.replay, job.config.data.index_items
    price = reembedding(
        items=declared or len(split.passages),
        item_s=item_s,
        before_s=replay.current.cpu_s_per_request / replay.cores,
        after_s=replay.candidate.cpu_s_per_request / replay.cores,
        rate_per_s=job.inputs.workload.rate_per_s,
    )
    return IndexPrice(price, declared is not None, measured.run)
