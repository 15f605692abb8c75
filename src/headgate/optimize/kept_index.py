"""An encoder's queries against the vectors that the current release made (DESIGN: encoder x index).

What the gate judges is a candidate whose index is rebuilt. Until it is, and wherever somebody keeps
the old one, its queries meet vectors of another encoder: asymmetric retrieval, which nothing
promises to work. It is measured from vectors that are on record, and embeds nothing again. By
default no contract is on it; one may name ``recall@10_kept_index`` or ``agreement@10_kept_index``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headgate.config import load_retrieval
from headgate.objects import Action, Axis, Bound, Contract, canonical, parse
from headgate.optimize.evidence import KEPT_INDEX, Scored, gather
from headgate.optimize.measure import VECTORS, Invariance
from headgate.optimize.quality import QualitySamples, score_retrieval
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.optimize.subset import split_vectors

__all__ = ["KeptIndex", "measure_kept_index"]


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """What a candidate finds in the index that current made."""

    scored: Scored
    measured: Mapping[str, str]
    """Metric -> the ledger entry of its measurement against current on its own index."""


@transformation("measure.kept_index")
def kept_index(call: Call) -> Mapping[str, Output]:
    """What the candidate's queries find among current's passages.

    Vectors of another dimension cannot be compared: then nothing is found.
    """
    call.progress(0.0, "queries against the kept index")
    data = load_retrieval(call.path("dataset"))
    ours, theirs = (np.load(call.path(side), allow_pickle=False) for side in ("ours", "theirs"))
    if ours.shape[1] == theirs.shape[1]:
        queries, _ = split_vectors(data, ours)
        _, passages = split_vectors(data, theirs)
        itself = range(len(passages)) if data.queries == data.passages else None
        samples = score_retrieval(data, queries, passages, itself=itself)
    else:
        samples = _nothing(data.query_ids, data.slices, labelled=data.labelled)
    return {"samples": Output(canonical(samples), "samples", "json QualitySamples")}


def _nothing(
    items: tuple[str, ...], slices: tuple[tuple[str, ...], ...], *, labelled: bool
) -> QualitySamples:
    scores = {"recall@10": (0.0,) * len(items)} if labelled else {}
    return QualitySamples(items, slices, scores, ((),) * len(items))


def measure_kept_index(
    recorder: Recorder,
    *,
    task: str,
    candidate: str,
    dataset: str,
    quality: tuple[Scored, Scored],
    invariance: Invariance,
) -> KeptIndex | None:
    """Of ``quality`` (candidate, current) on ``dataset``; None where the ``task`` has no index.

    ``candidate`` is the version of what is measured, a build or a variant.
    """
    if task != "embed":
        return None
    (_, ours), (_, theirs) = quality
    done = recorder.run(
        kept_index,
        u={
            "dataset": dataset,
            "ours": ours.outputs[VECTORS],
            "theirs": theirs.outputs[VECTORS],
        },
        c={},
    )
    body = parse(recorder.store.read(done.outputs["samples"]))
    scored = (QualitySamples.from_json(body), done)
    contracts = [_shown(name) for name in ("recall@10", "agreement@10")]
    evidence = gather(
        recorder,
        contracts,
        candidate=candidate,
        dataset=dataset,
        workload=dataset,
        quality=quality,
        kept=scored,
        invariance=invariance,
        speed=lambda metric: None,
        speed_run=done,
        own={},
    )
    measured = {
        c.metric: evidence.measurements[c.describe()]
        for c in contracts
        if c.describe() in evidence.measurements
    }
    return KeptIndex(scored, measured)


def _shown(metric: str) -> Contract:
    """What is compared, for a number that judges nobody."""
    return Contract(
        metric + KEPT_INDEX,
        Axis.QUALITY,
        Bound.NOT_BELOW_CURRENT_BY,
        0.0,
        rationale="shown, and judged by nobody",
        on_breach=Action.WARN,
        escalation="the owner",
        rollback_candidate="the index of the current release",
    )
