"""Registers the rules of a job before its first sample, and counts what a holdout has certified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headgate.config import LabelledSet, source_digest
from headgate.errors import Refused
from headgate.ledger import Store
from headgate.objects import Bound, jsonable, short
from headgate.optimize.evidence import SPEED
from headgate.optimize.inputs import Split
from headgate.optimize.job import Job
from headgate.release import CERTIFICATE, Rule, certificates
from headgate.workload import Pair

__all__ = ["CHOOSING_BLOCKS", "Rules", "in_force", "items_in", "register_rules", "use_holdout"]

CHOOSING_BLOCKS = 9
"""Interleaved blocks without load, by which candidates are chosen."""
_RULE, _USE = "rule", "holdout_use"


@dataclass(frozen=True, slots=True)
class Rules:
    """By what candidates are chosen, and by what the winner is certified."""

    choose: Rule
    certify: Rule


def register_rules(job: Job) -> Rules:
    """Both rules, in the ledger: call it before anything is measured.

    A rule that is the newest of its purpose already is not entered again; one that was left and
    returned to is.
    """
    tried = len(job.config.candidates)
    choose = _rule(job, "evaluate", job.inputs.evaluate, CHOOSING_BLOCKS, tried)
    held = job.inputs.holdout
    certify = (
        _rule(job, "holdout", held, job.config.replay.blocks, 1)
        if held is not None
        # Chosen and certified on the same data, the certificate is one verdict of several.
        else _rule(job, "evaluate", job.inputs.evaluate, job.config.replay.blocks, tried)
    )
    for purpose, rule in (("choose", choose), ("certify", certify)):
        newest = job.store.latest(_RULE, endpoint=rule.endpoint, purpose=purpose)
        if newest is None or newest.body["digest"] != rule.digest:
            body = {"purpose": purpose, "digest": rule.digest, **jsonable(rule)}
            job.store.append(_RULE, body)
    return Rules(choose, certify)


def _rule(job: Job, split: str, items: Split, blocks: int, tried: int) -> Rule:
    functions = {n: s.function for n, s in {**job.config.metrics, **job.config.safety}.items()}
    metrics = {c.metric: c.metric.removeprefix("worst_slice_") for c in job.contracts}
    return Rule(
        endpoint=job.config.endpoint,
        split=split,
        dataset=job.inputs.versions[split],
        contracts=job.contracts,
        metrics={
            name: source_digest(functions[base], job.config.root) if base in functions else ""
            for name, base in metrics.items()
        },
        planned_n={
            c.metric: blocks
            if c.metric.startswith(SPEED) and c.metric not in functions
            else items_in(items)
            for c in job.contracts
            if c.bound is not Bound.ONE_OF
        },
        seed=job.config.seed,
        tried=tried,
    )


def items_in(split: Split) -> int:
    """What a metric has one value of: rows, or the queries whose texts are ranked."""
    if not isinstance(split, LabelledSet):
        return len(split.query_ids)
    if split.inputs and isinstance(split.inputs[0], Pair):
        return len({pair.query for pair in split.inputs if isinstance(pair, Pair)})
    return len(split.inputs)


def in_force(store: Store, rule: Rule, sampled: Mapping[str, str]) -> dict[str, str | None]:
    """What was measured -> the digest of the certifying rule that stood when its run was recorded.

    ``sampled`` maps what was measured, in words, to the ledger entry of its run.
    """
    registered = [
        (e.seq, str(e.body["digest"]))
        for e in store.entries(_RULE)
        if e.body["endpoint"] == rule.endpoint and e.body["purpose"] == "certify"
    ]
    found: dict[str, str | None] = {}
    for what, entry in sampled.items():
        first = store.get(entry).seq
        found[what] = next((d for seq, d in reversed(registered) if seq < first), None)
    return found


def use_holdout(job: Job, rule: Rule, *, candidate: str, current: str) -> None:
    """Counts a certificate of the build ``candidate`` against ``current``, before it is measured.

    The same pair again on the same data tells nothing new and spends nothing. Raises ``Refused``
    (reason ``holdout_spent``) where the budget pays for no more.
    """
    budget = job.config.holdout_error_budget
    uses = [e.body for e in job.store.entries(_USE) if e.body["dataset"] == rule.dataset]
    if any((u["candidate"], u["current"]) == (candidate, current) for u in uses):
        return
    most = certificates(budget)
    if len(uses) >= most:
        raise Refused(
            f"the holdout {short(rule.dataset)} has certified {len(uses)} times, and its error "
            f"budget of {budget:.0%} pays for {most}: another certificate could not be trusted",
            where=f"{job.config.path}: data.holdout",
            reason="holdout_spent",
            fix="give new holdout data, which nothing was chosen by; a larger "
            "holdout_error_budget says that more errors are accepted",
        )
    body = {
        "endpoint": rule.endpoint,
        "dataset": rule.dataset,
        "candidate": candidate,
        "current": current,
        "use": len(uses) + 1,
        "spends": CERTIFICATE,
        "budget": budget,
    }
    job.store.append(_USE, body)
