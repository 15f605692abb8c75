"""What a use of a holdout is, and how many there were: here, and nowhere else.

A certificate on a holdout is decided by answers to it and by a load test beside them. A **use** is
a job that takes any of these samples, for whatever certificate on that version of the data. It is
counted before the first of them and never given back: whoever takes times again (`--fresh`), plans
another variant, changes the code or the machine, or starts again after an interruption has one
more chance that the answer pleases. A certificate whose samples are all on record is the same one
read again: it costs nothing.
"""

from __future__ import annotations

from dataclasses import replace

from headgate.errors import Refused
from headgate.objects import short
from headgate.optimize.job import Job
from headgate.optimize.recorder import Recorder
from headgate.release import CERTIFICATE, Rule, certificates

__all__ = ["looks", "spending"]

_USE = "holdout_use"


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
