"""``optimize``: the whole job, from headgate.yaml to a decision, a report and the next command."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from headgate.config import load_config
from headgate.distillation import Gain
from headgate.errors import Fault, Refused, Undecided
from headgate.ledger import Store, hold_release
from headgate.objects import Action, Release
from headgate.optimize.as_it_is import policies_of
from headgate.optimize.audit import Audited, audit_promotion
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.certificate import certify_builds
from headgate.optimize.comparisons import compare
from headgate.optimize.gain import gain_of_teacher
from headgate.optimize.gate import judge_candidate
from headgate.optimize.job import Job, open_job
from headgate.optimize.making import CANNOT_BE_MADE
from headgate.optimize.preview import preview
from headgate.optimize.progress import Progress, Silent
from headgate.optimize.recorder import clean_scratch
from headgate.optimize.reembedding import price_index
from headgate.optimize.result import NO_CANDIDATE, Findings, build_report
from headgate.optimize.rules import register_rules
from headgate.optimize.scoring import hold_to_forecasts, weighed
from headgate.optimize.searching import Searched, search_candidates
from headgate.optimize.stages import (
    Baseline,
    certify,
    judge_server,
    measure_baseline,
)
from headgate.planning import BASELINE
from headgate.release import Rule, next_release
from headgate.report import Report, as_json, render_html
from headgate.runtime.index import with_index
from headgate.runtime.target import prove_target

__all__ = ["OptimizeResult", "exit_code_of", "optimize"]


@dataclass(frozen=True, slots=True)
class OptimizeResult:
    """What the job came to."""

    action: Action
    report: Report
    paths: tuple[Path, ...]
    """report.html and report.json."""
    refused: bool = False
    """A promotion was asked for and accepted by the gate, and something else stops it: a gap of
    headgate.yaml or of the evidence."""

    @property
    def exit_code(self) -> int:
        return Refused.exit_code if self.refused else exit_code_of(self.action)

    @property
    def next_command(self) -> str:
        return self.report.next_command


def exit_code_of(action: Action) -> int:
    """0 accept or warn; 3 an outcome that stops; 4 unknown or invalid."""
    if action in (Action.ACCEPT, Action.WARN):
        return 0
    undecided = action in (Action.UNKNOWN, Action.INVALID)
    return Undecided.exit_code if undecided else Refused.exit_code


def optimize(
    config_path: Path,
    *,
    store_root: Path | None = None,
    promote: bool = False,
    progress: Progress | None = None,
    report_dir: Path | None = None,
    fresh: bool = False,
) -> OptimizeResult:
    """Finds the cheapest way to serve the endpoint that keeps its promises, and proves it.

    ``store_root`` defaults to ``.headgate`` beside the file, ``report_dir`` to its directory.
    ``fresh`` takes measurements of time again. Raises ``HeadgateError``; whatever was finished
    until then is kept and reused by the next call.
    """
    config = load_config(config_path)
    directory = report_dir if report_dir is not None else config.root
    _write(directory, ".headgate-report", "").unlink()  # said now, and not after all the work
    root = store_root if store_root is not None else config.root / ".headgate"
    with Store.open(root, create=True) as store, store.lock(f"optimize-{config.endpoint}"):
        clean_scratch(store, config.endpoint)
        job = open_job(config, store, progress or Silent(), fresh=fresh)
        rules = register_rules(job)
        baseline = measure_baseline(job)
        before = job.recorder.asked
        outlook = preview(job, baseline)
        previewed_s = job.recorder.seconds_since(before)
        searched = search_candidates(job, rules, baseline, outlook, previewed_s=previewed_s)
        if searched.winner is not None:
            tried = weighed(job, searched.tried, searched.winner.name)
            searched = replace(searched, tried=tried)
        hold_to_forecasts(job, baseline, searched.tried)
        findings = None
        if searched.winner is not None and searched.plans is not None:
            plans = searched.plans
            certificate = certify(job, rules.certify, baseline, plans)
            comparisons = compare(job, baseline, plans, certificate)
            index = price_index(job, plans, certificate)
            gain = _gain(job, rules.certify, searched.winner.name)
            findings = Findings(searched.winner, plans, certificate, comparisons, index, gain)
        certify_builds(
            job,
            baseline,
            searched.tried,
            (findings.winner, findings.certificate) if findings is not None else None,
        )
        if baseline.build.foreign:
            action, because, decision, judged = _measured(
                job, rules.choose, baseline, searched.speed
            )
        else:
            action, because, decision, judged = _outcome(
                job, rules.choose, baseline, searched, findings
            )
        audited = _audited(job, findings)
        waits = audited.stops or config.gaps or baseline.build.foreign
        may_promote = promote and not waits
        current = _promote(job, baseline, findings, promote=may_promote)
        report = build_report(
            job,
            baseline,
            searched,
            current=current,
            promoted=may_promote,
            findings=findings,
            action=action,
            because=because,
            decision=decision,
            judged=judged,
            audited=audited,
        )
    files = {
        "report.html": render_html(report),
        "report.json": json.dumps(as_json(report), indent=1, ensure_ascii=False) + "\n",
    }
    paths = tuple(_write(directory, name, text) for name, text in files.items())
    accepted = action in (Action.ACCEPT, Action.WARN)
    refused = promote and accepted and not (may_promote or baseline.build.foreign)
    return OptimizeResult(action, report, paths, refused)


def _gain(job: Job, rule: Rule, winner: str) -> Gain | str | None:
    """What the winner owes to its teacher, or why that is not known, which ends nothing."""
    try:
        return gain_of_teacher(job, rule, winner)
    except CANNOT_BE_MADE as error:
        return error.what.splitlines()[0]


def _outcome(
    job: Job, rule: Rule, baseline: Baseline, searched: Searched, findings: Findings | None
) -> tuple[Action, str, str, str]:
    """Action, reason and ledger entry of the job, and the name of what it judged.

    The certificate's decision. Where there is none, a candidate's that was not accepted; else the
    decision that nothing is known of one. Not knowing goes before a refusal, that of the model as
    it is too: more data may still find something.
    """
    judged = [
        (t.decision, t.decision_run.entry, t.name)
        for t in searched.tried
        if t.decision is not None and t.decision_run is not None and not t.accepted
    ]
    judged.sort(key=lambda found: exit_code_of(found[0].action) != Undecided.exit_code)
    beside = [f"{t.name}: {t.skipped}" for t in searched.tried if t.accepted and t.skipped]
    if findings is not None:
        certified = _certified(findings)
        action, because, _, name = certified
        refused = exit_code_of(action) == Refused.exit_code
        undecided = judged and exit_code_of(judged[0][0].action) == Undecided.exit_code
        if not (name == BASELINE and refused and undecided):
            return certified
        beside.append(because)
    if not judged:
        return _no_candidate(job, rule, baseline, searched)
    decision, entry, name = judged[0]
    binding = searched.found.binding
    stands = f"; what stands in the way is {binding}" if binding else ""
    some = any(t.accepted for t in searched.tried)
    because = f"no candidate {'wins' if some else 'is accepted'}{stands}; "
    because += "; ".join([f"{name}: {decision.because}", *beside])
    return decision.action, because, entry, name


def _certified(findings: Findings) -> tuple[Action, str, str, str]:
    """The same of what was load-tested."""
    decision, name = findings.certificate.decision, findings.winner.name
    because = decision.because
    if name == BASELINE:  # a name that says nothing of what it won by
        policies = policies_of(findings.plans.chosen.choice.variant)
        because = f"the model as it is, with {policies}: {because}"
    return decision.action, because, findings.certificate.run.entry, name


def _no_candidate(
    job: Job, rule: Rule, baseline: Baseline, searched: Searched
) -> tuple[Action, str, str, str]:
    """The same where none was refused and none won, with what became of each."""
    itself = baseline.build.version
    decision, run = judge_candidate(
        job.recorder,
        candidate=itself,
        current=itself,
        rule=rule,
        samples={},
        measurements={},
        detail=NO_CANDIDATE,
    )
    own = [searched.as_it_is] if searched.as_it_is is not None else []
    left_out = "; ".join(f"{t.name}: {t.skipped}" for t in (*searched.tried, *own) if t.skipped)
    binding = searched.found.binding
    because = "no candidate is left" + (f" ({left_out})" if left_out else "")
    because += f"; what stands in the way is {binding}" if binding else ""
    return decision.action, because, run.entry, NO_CANDIDATE


def _measured(
    job: Job, rule: Rule, baseline: Baseline, speed: SpeedBlocks
) -> tuple[Action, str, str, str]:
    """The same of a server that is not ours: there is no candidate, and it is judged alone."""
    decision, run = judge_server(job, rule, baseline, speed)
    because = f"no candidate can be made of a server that is not ours; alone: {decision.because}"
    return decision.action, because, run.entry, baseline.build.name


def _audited(job: Job, findings: Findings | None) -> Audited:
    """What is found of the evidence of an accepted winner."""
    if findings is None or not findings.certificate.decision.accepted:
        return Audited()
    certificate = findings.certificate
    return audit_promotion(
        job.store, certificate.run.entry, certificate.decision, now=datetime.now(UTC)
    )


def _promote(
    job: Job, baseline: Baseline, findings: Findings | None, *, promote: bool
) -> Release | None:
    """Makes the winner current if it is accepted; what is then current, if anything.

    The first promotion makes the baseline generation 0, so that there is always something to roll
    back to.
    """
    endpoint, store = job.config.endpoint, job.store
    current = store.current(endpoint)
    if not promote:
        return current
    if current is None:
        current = Release(
            endpoint,
            0,
            baseline.version,
            None,
            "the unoptimized baseline",
            extra=with_index(store, baseline.version, None),
        )
        hold_release(store, current, expected_generation=None)
    certificate = findings.certificate if findings is not None else None
    if (
        certificate is None
        or not certificate.decision.accepted
        or current.variant == certificate.version
    ):
        return current
    release = next_release(
        current,
        certificate.decision,
        endpoint=endpoint,
        variant=certificate.version,
        expected_generation=current.generation,
        decision_entry=certificate.run.entry,
        target_proof=prove_target(store, current.variant, job.config.root),
        note=certificate.decision.because,
        extra=with_index(store, certificate.version, current),
    )
    hold_release(store, release, expected_generation=current.generation)
    return release


def _write(directory: Path, name: str, text: str) -> Path:
    """The file, whole or not at all. Raises ``Fault``."""
    path, unfinished = directory / name, directory / f".{name}-{os.getpid()}"
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise Fault(
            f"the report cannot be written: {error.strerror}",
            where=str(directory),
            reason="report_unwritable",
            fix="name another directory with --report",
        ) from None
    return path
