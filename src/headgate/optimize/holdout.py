"""What a use of a holdout is, and how many there were: here, and nowhere else.

A certificate on a holdout is decided by answers to it and by a load test beside them. A **use** is
a job that takes any of these samples, for whatever certificate on that version of the data. It is
counted before the first of them and never given back: whoever takes times again (`--fresh`), plans
another variant, changes the code or the machine, or starts again after an interruption has one
more chance that the answer pleases. A certificate whose samples are all on record is the same one
read again: it costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headgate.errors import Refused
from headgate.ledger import Entry, Store
from headgate.objects import short
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorder
from headgate.optimize.rules import RULE, rule_of_entry
from headgate.release import CERTIFICATE, Change, Rule, certificates

__all__ = ["Changed", "changed_since_look", "looks", "spending"]

_USE = "holdout_use"
_ON_RECORD_ELSEWHERE = ("candidates", "the code of ")
"""What may change between two looks and promises nothing: each candidate costs a look."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A part of the rule that is not what it was when the holdout was first looked at."""

    change: Change
    looked_at: str
    since: str
    """Both UTC, ISO 8601: of the first look, and from when on it was as the decision has it; empty
    where that is not on record."""

    def describe(self) -> str:
        """In words.

        >>> change = Change("contracts.accuracy", "at least 0.9", "at least 0.8", looser=True)
        >>> Changed(change, "2026-11-29T08:30:00.000Z", "2026-11-29T09:10:00.000Z").describe()
        'contracts.accuracy was at least 0.9, is at least 0.8 (looser); changed on 2026-11-29 \
09:10 UTC, and the holdout was first looked at on 2026-11-29 08:30 UTC'
        """
        looked_at = _minute(self.looked_at)
        when = (
            f"on {_minute(self.since)}, and the holdout was first looked at on {looked_at}"
            if self.since
            else f"after the first look at the holdout, which was on {looked_at}"
        )
        return f"{self.change.describe()}; changed {when}"


def _minute(utc: str) -> str:
    return f"{utc[:16].replace('T', ' ')} UTC"


def changed_since_look(store: Store, rule: Rule, *, decided: int) -> tuple[Changed, ...]:
    """What promises otherwise in ``rule``, or is measured otherwise by it, than when its holdout
    was first looked at. Nothing where nobody has, or where the rule of then is not in the store.

    ``decided`` is the ``seq`` of the run that decided by it: what was registered later, this rule
    again too, says nothing of when it was changed.
    """
    looks = (e for e in store.entries(_USE) if _about(e, rule) and e.seq < decided)
    first = next(looks, None)
    if first is None:
        return ()
    rules = [e for e in store.entries(RULE) if _about(e, rule) and e.body["purpose"] == "certify"]
    then = next((e for e in rules if e.body["digest"] == first.body["rule"]), None)
    if then is None:
        return ()
    later = [e for e in rules if first.seq < e.seq < decided]
    apart = [(e, {c.key for c in rule_of_entry(e).changes(rule)}) for e in later]
    return tuple(
        Changed(c, first.recorded_at, _since(c.key, apart))
        for c in rule_of_entry(then).changes(rule)
        if not c.key.startswith(_ON_RECORD_ELSEWHERE)
    )


def _about(entry: Entry, rule: Rule) -> bool:
    body = entry.body
    return (body["endpoint"], body["dataset"]) == (rule.endpoint, rule.dataset)


def _since(key: str, apart: Sequence[tuple[Entry, set[str]]]) -> str:
    """When the last run of rules began in which ``key`` is as it was decided by, if any did."""
    since = ""
    for entry, differs in apart:
        since = "" if key in differs else since or entry.recorded_at
    return since


def looks(job: Job, dataset: str) -> tuple[int, int]:
    """How often the data were looked at, and how often they may be.

    The budget is what was declared before the first use: a larger one afterwards says only that
    the answers did not please.
    """
    uses = [e.body for e in job.store.entries(_USE) if e.body["dataset"] == dataset]
    budget = min([job.config.holdout_error_budget, *(u["budget"] for u in uses)])
    return len(uses), certificates(budget)


def spending(job: Job, rule: Rule, *, candidate: str, current: str) -> Recorder:
    """The job's recorder for the samples of a certificate of ``candidate`` against ``current``.

    Before it executes anything for the first time it counts a use, if the job has none yet, or
    raises ``Refused`` (reason ``holdout_spent``) where the budget pays for no more.
    """
    recorder = job.recorder

    def on_start(name: str, detail: str) -> None:
        if rule.dataset not in job.looked_at:
            _count(job, rule, candidate=candidate, current=current)
            job.looked_at.add(rule.dataset)
        recorder.on_start(name, detail)

    return replace(recorder, on_start=on_start)


def _count(job: Job, rule: Rule, *, candidate: str, current: str) -> None:
    # Two endpoints may certify on the same data.
    with job.store.lock(f"holdout-{short(rule.dataset)}"):
        used, most = looks(job, rule.dataset)
        if used >= most:
            raise Refused(
                f"the holdout {short(rule.dataset)} was looked at {used} times, and its error "
                f"budget pays for {most}: another certificate could not be trusted",
                where=f"{job.config.path}: data.holdout",
                reason="holdout_spent",
                fix="give new holdout data, which nothing was chosen by; how often they may be "
                "looked at is holdout_error_budget, as it is declared before their first use",
            )
        body = {
            "endpoint": rule.endpoint,
            "dataset": rule.dataset,
            "rule": rule.digest,
            "candidate": candidate,
            "current": current,
            "use": used + 1,
            "spends": CERTIFICATE,
            "budget": job.config.holdout_error_budget,
        }
        job.store.append(_USE, body)
