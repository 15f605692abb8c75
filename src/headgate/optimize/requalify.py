"""Whether a build is, on this machine, what was judged on another (DESIGN: precision x machine).

It answers the golden set, and its answers must be those that were recorded; how much they depend on
their batch is measured here, because that follows from the kernels that run. Both are measurements
with entries of their own. Nothing is promoted here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headgate.errors import EngineError, Undecided
from headgate.ledger import Store
from headgate.objects import (
    BatchInvariance,
    Bound,
    Decision,
    Direction,
    HardwareProfile,
    Measurement,
    Verdict,
    canonical,
    digest_bytes,
    parse,
)
from headgate.optimize.evidence import keep_measurement
from headgate.optimize.golden import LIMIT_S, Agreement, agreement, behaviour_of, golden_answers
from headgate.optimize.measure import measure_invariance
from headgate.optimize.progress import Progress
from headgate.optimize.recorder import Recorded, Recorder
from headgate.optimize.served import as_items
from headgate.runtime.servable import Servable
from headgate.theory.intervals import Interval, wilson_interval

__all__ = ["REQUALIFICATION", "Requalified", "recorder_on", "requalify"]

REQUALIFICATION = "requalification"
"""The kind of entry that says what came of it."""

_TIMES = 8
"""The batches that tell how much an answer depends on its neighbours take so many times as long as
the golden set alone, at most."""


@dataclass(frozen=True, slots=True)
class Requalified:
    """What came of it."""

    verdict: Verdict
    """Pass, fail, or unknown where it took too long."""
    because: str
    items: int = 0
    same: int = 0
    largest_difference: float = 0.0
    """In the unit of the rule (docs/decisions/0004)."""
    batch_invariance: str = ""
    """The class here; empty where it was not measured."""
    largest_in_company: float = 0.0
    """The largest difference that the class was seen by."""
    measurements: tuple[str, ...] = ()
    """Their entries."""


def recorder_on(
    machine: HardwareProfile,
    store: Store,
    *,
    endpoint: str,
    owner: str,
    seed: int,
    root: Path,
    progress: Progress,
) -> Recorder:
    """A recorder on ``machine``, which is registered, for what was judged on another."""
    profile = canonical(machine.environment)
    recorder = Recorder(
        store=store,
        endpoint=endpoint,
        owner=owner,
        environment=digest_bytes(profile),
        seed=seed,
        root=root,
        on_start=progress.start,
        on_progress=progress.update,
    )
    recorder.register(
        "environment", store.put_bytes(profile), kind="environment", schema="json profile"
    )
    return recorder


def requalify(
    recorder: Recorder,
    servable: Servable,
    variant: str,
    decision: Decision | None,
    *,
    items: str,
    recorded: Sequence[object],
) -> Requalified:
    """Whether ``servable``, the artifact ``variant``, may serve here what ``decision`` accepted;
    None of a baseline, which nobody judged.

    ``items`` is the version of the golden set, ``recorded`` the answers of the machine that judged.
    """
    if not recorded:
        return Requalified(Verdict.UNKNOWN, "its golden set is empty, which shows nothing")
    began_s = time.monotonic()
    try:
        answered = golden_answers(recorder, servable.build, behaviour_of(servable), items)
        took_s = time.monotonic() - began_s
        if took_s * (1 + _TIMES) > LIMIT_S:
            what = f"the golden set took {took_s:.0f} s, and all must fit {LIMIT_S:g} s"
            return Requalified(Verdict.UNKNOWN, what)
        measured = measure_invariance(
            recorder,
            servable.build,
            behaviour_of(servable),
            items=as_items(parse(recorder.store.read(items))),
            lone_threads=servable.variant.lone_threads,
        )
    except Undecided as error:
        return Requalified(Verdict.UNKNOWN, error.what)
    except EngineError as error:
        return Requalified(Verdict.FAIL, f"it does not run here: {error.what}")
    here = parse(recorder.store.read(answered.outputs["answers"]))
    found = agreement(servable.build, recorded, here)
    share = wilson_interval(found.same, found.items)
    kept = float(measured.invariance in _allowed(servable, decision))
    entries = (
        _measure(recorder, variant, items, "golden_agreement", "fraction", share, answered),
        _measure(
            recorder,
            variant,
            items,
            "batch_invariance",
            "class",
            Interval(kept, kept, kept, measured.items),
            measured.run,
        ),
    )
    verdict, because = _verdict(servable, decision, found, measured.invariance)
    return Requalified(
        verdict,
        because,
        found.items,
        found.same,
        found.largest,
        measured.invariance.value,
        measured.max_difference,
        entries,
    )


def _verdict(
    servable: Servable, decision: Decision | None, found: Agreement, invariance: BatchInvariance
) -> tuple[Verdict, str]:
    if found.same < found.items:
        return Verdict.FAIL, (
            f"{found.items - found.same} of {found.items} answers are others than were judged; "
            f"the largest difference is {found.largest:.3g}"
        )
    if invariance not in _allowed(servable, decision):
        return Verdict.FAIL, (
            f"its batch invariance is {invariance.value} here, and "
            f"{servable.batch_invariance.value} was judged"
        )
    return Verdict.PASS, (
        f"all {found.items} answers are the same (largest difference {found.largest:.3g}), and "
        f"its batch invariance is {invariance.value}"
    )


def _allowed(servable: Servable, decision: Decision | None) -> frozenset[BatchInvariance]:
    """The classes that every contract on them allows. Who caches and mixes tenants trusts the class
    that the variant states, so one that was not dependent may not be."""
    allowed = frozenset(BatchInvariance)
    if servable.batch_invariance is not BatchInvariance.DEPENDENT:
        allowed -= {BatchInvariance.DEPENDENT}
    for result in decision.results if decision is not None else ():
        contract = result.contract
        if contract.metric == "batch_invariance" and contract.bound is Bound.ONE_OF:
            allowed &= frozenset(map(BatchInvariance, contract.allowed))
    return allowed


def _measure(
    recorder: Recorder,
    variant: str,
    items: str,
    metric: str,
    unit: str,
    found: Interval,
    run: Recorded,
) -> str:
    return keep_measurement(
        recorder.store,
        Measurement(
            metric=metric,
            unit=unit,
            value=found.value,
            statistic="value",
            compared=found.value,
            low=found.low,
            high=found.high,
            n=found.n,
            direction=Direction.HIGHER,
            artifact=variant,
            dataset=items,
            run=run.entry,
            seed=recorder.seed,
            samples=next(iter(run.outputs.values())),
            attempted=found.n,
            scored=found.n,
        ),
    )
