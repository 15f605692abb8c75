"""Registers the rules of a job before its first sample, and says which was in force when."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headgate.config import EndpointConfig, LabelledSet, source_digest
from headgate.errors import InputError
from headgate.ledger import Entry, Store
from headgate.objects import Bound, digest, jsonable
from headgate.optimize.evidence import SPEED
from headgate.optimize.inputs import Split
from headgate.planning import most_judged
from headgate.release import ANSWERS, LOAD, Rule, rule_from_json
from headgate.workload import Pair

if TYPE_CHECKING:
    from headgate.optimize.job import Job

__all__ = [
    "CHOOSING_BLOCKS",
    "RULE",
    "Rules",
    "as_declared",
    "in_force",
    "items_in",
    "judged_at_most",
    "register_rules",
    "rule_of_entry",
    "rules_named",
]

CHOOSING_BLOCKS = 9
"""Interleaved blocks without load, by which candidates are chosen."""
RULE = "rule"
"""Kind of the entries of rules."""


@dataclass(frozen=True, slots=True)
class Rules:
    """By what candidates are chosen, and by what the winner is certified."""

    choose: Rule
    certify: Rule


def register_rules(job: Job) -> Rules:
    """Both rules, in the ledger: call it before anything is measured.

    A rule that is the newest of its purpose already is not entered again; one that was left and
    returned to is, and one whose contracts stand in another order: ``in_force`` knows it again.
    """
    held = job.inputs.holdout
    tried = judged_at_most(job.config.candidates, sealed=held is not None)
    choose = _rule(job, "evaluate", job.inputs.evaluate, CHOOSING_BLOCKS, tried)
    certify = (
        _rule(job, "holdout", held, job.config.replay.blocks, 1)
        if held is not None
        # Chosen and certified on the same data, the certificate is one verdict of several.
        else _rule(job, "evaluate", job.inputs.evaluate, job.config.replay.blocks, tried)
    )
    for purpose, rule in (("choose", choose), ("certify", certify)):
        newest = job.store.latest(RULE, endpoint=rule.endpoint, purpose=purpose)
        if newest is None or newest.body["digest"] != rule.digest:
            body = {"purpose": purpose, "digest": rule.digest, **jsonable(rule)}
            job.store.append(RULE, body)
    return Rules(choose, certify)


def judged_at_most(named: Sequence[str], *, sealed: bool) -> int:
    """Candidates that share the error of choosing where these are named; one at least.

    ``sealed``: there is a holdout, so that what is found by trying may be one of them.
    """
    return max(most_judged(named) if sealed else len(named), 1)


def _rule(job: Job, split: str, items: Split, blocks: int, tried: int) -> Rule:
    own = {**job.config.metrics, **job.config.safety}
    rule = Rule(
        endpoint=job.config.endpoint,
        split=split,
        dataset=job.inputs.versions[split],
        contracts=job.contracts,
        metrics={},
        planned_n={
            c.metric: blocks
            if c.metric.startswith(SPEED) and c.metric not in own
            else items_in(items)
            for c in job.contracts
            if c.bound is not Bound.ONE_OF
        },
        seed=job.config.seed,
        tried=tried,
        workload=job.inputs.versions["workload"],
    )
    return as_declared(rule, job.config)


def as_declared(rule: Rule, config: EndpointConfig) -> Rule:
    """``rule`` with all that ``config`` alone decides, as it stands there now.

    What stays is what else it is about: its data, their planned n, and its level. Contracts that
    are not declared stay too: their defaults depend on the data.
    """
    own = {**config.metrics, **config.safety}
    contracts = config.contracts or rule.contracts
    measured = {c.metric: c.metric.removeprefix("worst_slice_") for c in contracts}
    steps = {"preprocess": config.preprocess, "postprocess": config.postprocess}

    def source(function: str) -> str:
        return source_digest(function, config.root)

    return replace(
        rule,
        contracts=contracts,
        metrics={
            # Its direction and its range move a verdict as its code does.
            name: digest({"declared": own[base].model_dump(), "source": source(own[base].function)})
            if base in own
            else ""
            for name, base in measured.items()
        },
        seed=config.seed,
        replay=config.replay.model_dump(),
        prices=digest(config.prices.model_dump()),
        functions={name: source(step) for name, step in steps.items() if step is not None},
        candidates=config.candidates,
    )


def items_in(split: Split) -> int:
    """What a metric has one value of: rows, or the queries whose texts are ranked."""
    if not isinstance(split, LabelledSet):
        return len(split.query_ids)
    if split.inputs and isinstance(split.inputs[0], Pair):
        return len({pair.query for pair in split.inputs if isinstance(pair, Pair)})
    return len(split.inputs)


def in_force(store: Store, rule: Rule, *, answers: str, load: str) -> Mapping[str, str | None]:
    """What was measured -> the digest of the certifying rule that stood when it was first seen.

    ``answers`` and ``load`` are the entries of their runs. Times can be taken again, so a load is
    seen with its own run; answers cannot, so those of the build count from its first run on the
    same data, whatever was changed about the run since.
    """
    registered = [
        (e.seq, rule.digest if _is(e, rule) else str(e.body["digest"]))
        for e in store.entries(RULE)
        if e.body["endpoint"] == rule.endpoint and e.body["purpose"] == "certify"
    ]
    seen = {
        ANSWERS: _first_answers(store, store.get(answers)).seq,
        LOAD: store.get(load).seq,
    }
    return {
        what: next((d for seq, d in reversed(registered) if seq < first), None)
        for what, first in seen.items()
    }


def _is(entry: Entry, rule: Rule) -> bool:
    """Whether the entry is of this rule, in whatever order its contracts stood."""
    if entry.body["digest"] == rule.digest:
        return True
    with contextlib.suppress(InputError):  # of another version, whose rules had other parts
        return not rule_of_entry(entry).differs_in(rule)
    return False


def rules_named(store: Store, digests: Iterable[str | None]) -> Mapping[str, Rule]:
    """Digest -> the rule, of those that are on record."""
    wanted = {d for d in digests if d is not None}
    return {
        str(e.body["digest"]): rule_of_entry(e)
        for e in store.entries(RULE)
        if e.body["digest"] in wanted
    }


def rule_of_entry(entry: Entry) -> Rule:
    """The rule that an entry of ``register_rules`` holds."""
    return rule_from_json({k: v for k, v in entry.body.items() if k not in ("purpose", "digest")})


def _first_answers(store: Store, run: Entry) -> Entry:
    """The first run of the same build on the same data."""

    def of(entry: Entry) -> tuple[object, ...]:
        body = entry.body
        return body["transformation"], body["u"].get("dataset"), body["c"].get("build")

    return next(e for e in store.entries("run") if of(e) == of(run))
