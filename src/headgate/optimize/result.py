"""From what the stages found to the report: which number goes where, and where it comes from."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate import amounts
from headgate.distillation import Advice, Gain
from headgate.objects import (
    Action,
    Axis,
    Bound,
    Build,
    Contract,
    ContractResult,
    Release,
    Verdict,
    short,
)
from headgate.optimize.as_it_is import policies_of
from headgate.optimize.audit import Audited
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.comparisons import Comparisons
from headgate.optimize.expectations import expectations, learning
from headgate.optimize.forecasts import read_scorecard
from headgate.optimize.gate import lets_through
from headgate.optimize.holdout import Changed, changed_since_look, looks
from headgate.optimize.job import Job
from headgate.optimize.kept_index import KeptIndex
from headgate.optimize.load import Side
from headgate.optimize.luck import Luck, known_luck
from headgate.optimize.making import Maker
from headgate.optimize.measure import MeasuredCurve
from headgate.optimize.own_requests import OwnRequests
from headgate.optimize.pricing import Priced, Replayed
from headgate.optimize.reembedding import IndexPrice
from headgate.optimize.repeats import Repeats, repeats_of, without_cache
from headgate.optimize.searching import Searched
from headgate.optimize.stages import Baseline, Certificate, Plans, Tried, is_alone
from headgate.planning import BASELINE
from headgate.release import way_out
from headgate.report import (
    Candidate,
    ContractRow,
    Curve,
    Distribution,
    Figure,
    NewIndex,
    PowerRow,
    Prediction,
    Report,
    Saving,
    Share,
    Step,
    words,
)
from headgate.runtime.decisions import accepted_before
from headgate.theory.intervals import t_interval

__all__ = ["NO_CANDIDATE", "Findings", "build_report"]

NO_CANDIDATE = "no candidate"
"""What a decision is about where nothing is left to be judged."""

_OF_TIMES = (Axis.LATENCY, Axis.COST)
_RELATIVE = (Bound.NOT_BELOW_CURRENT_BY, Bound.NOT_ABOVE_CURRENT_BY)


@dataclass(frozen=True, slots=True)
class Findings:
    """What there is once a winner was planned and certified."""

    winner: Tried
    plans: Plans
    certificate: Certificate
    comparisons: Comparisons
    index: IndexPrice | None
    """None where there is no index, or where the current one stays."""
    gain: Gain | str | None
    """Of the teacher, where the winner is a student."""


def build_report(
    job: Job,
    baseline: Baseline,
    searched: Searched,
    *,
    current: Release | None,
    promoted: bool,
    findings: Findings | None,
    action: Action,
    because: str,
    decision: str,
    judged: str,
    audited: Audited,
) -> Report:
    """The whole report; ``findings`` is None where nothing was load-tested.

    ``current`` is so after the job; ``audited`` is what was found of the winner's evidence.
    """
    generation = current.generation if current is not None else None
    show, tried = _Show(job), searched.tried
    certificate = findings.certificate if findings is not None else None
    changed: tuple[Changed, ...] = ()
    if certificate is not None:
        decided = job.store.get(certificate.run.entry).seq
        changed = changed_since_look(job.store, certificate.rule, decided=decided)
    repeats = _repeats(job, findings) if findings is not None else None
    winner = findings.winner.name if findings is not None else "baseline"
    results = _without_times(tried)
    if certificate is not None and judged == winner:
        results = certificate.decision.results
    if baseline.build.foreign:  # it was judged itself
        winner = baseline.build.name
    late = certificate.late if certificate is not None and judged == winner else ()
    command, why = _next(
        job,
        action,
        results,
        decision,
        baseline=baseline.version,
        generation=generation,
        promoted=promoted,
        audited=not audited.stops,
        void=certificate.replay.void if certificate is not None else (),
        late=late,
        accepted=accepted_before(job.store, job.store.get(decision)) if late else "",
        fruitless=searched if judged == NO_CANDIDATE else None,
    )
    return Report(
        endpoint=job.config.endpoint,
        task=job.config.task,
        action=action.value,
        because=because,
        decision=decision,
        judged=judged,
        winner=winner,
        winner_id=certificate.version if certificate is not None else baseline.version,
        generation=generation,
        hardware={
            "cores": str(job.cores),
            "memory": amounts.size(job.profile.memory_bytes),
            "flags": " ".join(job.profile.flags),
            **{k: v for k, v in job.profile.libraries.items() if k in ("onnxruntime", "openvino")},
        },
        created_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        next_command=command,
        next_why=why,
        candidates=tuple(show.candidates(baseline, searched, findings)),
        search=_search(job, searched),
        contracts=tuple(show.contract(r, changed) for r in certificate.decision.results)
        if certificate
        else (),
        certified_on=certificate.split if certificate is not None else "",
        savings=tuple(show.savings(findings, repeats)) if findings else (),
        assumed_repeats=_assumed(repeats, findings) if findings else "",
        shares=tuple(show.shares(findings.comparisons, repeats)) if findings else (),
        predictions=tuple(show.predictions(findings, repeats)) if findings else (),
        expectations=tuple(expectations(job, baseline, tried)),
        learning=tuple(learning(job)),
        curves=tuple(show.curves(baseline, findings)),
        distributions=tuple(show.distributions(findings)) if findings else (),
        power=tuple(
            PowerRow(r.rule, r.n, r.assumed, r.power, r.required_n) for r in searched.power.rows
        ),
        breakdown=show.breakdown(findings, _lengths(baseline.build)) if findings else {},
        plan=_plan(findings, _lengths(baseline.build)) if findings else {},
        index=show.index(findings, repeats) if findings else None,
        steps=tuple(
            Step(r.name, r.entry, r.seconds, r.ended_at, r.reused) for r in job.recorder.runs
        ),
        notes=(*map(_of_change, changed), *_notes(job, baseline, tried, findings, audited)),
        void=certificate.replay.void if certificate is not None else (),
        currency=job.config.prices.currency,
        current_id=current.variant if current is not None else "",
        changed=tuple(c.change.key for c in changed),
    )


def _search(job: Job, searched: Searched) -> str:
    """What the search looked at, what that took, why it ended, and what stood in the way."""
    found, budget_s = searched.found, job.config.search.budget
    if searched.as_it_is is None:  # a server that is not ours
        return ""
    wholly = sum(t.quality is not None for t in searched.tried)
    took = amounts.seconds(found.spent_s)
    if searched.previewed_s:
        took += f", {amounts.seconds(searched.previewed_s)} of it for previews"
    said = [
        f"{wholly} of {len(searched.tried)} candidates were measured wholly"
        if searched.tried
        else "no candidate is named beside the model as it is",
        f"finding out took {took}",
    ]
    if budget_s is not None:
        said.append(_budget(budget_s, found.spent_s))
    said.append(f"it ended because {found.stopped}")
    if found.binding is not None:
        said.append(f"what stands in the way is {words.with_units(found.binding)}")
    return "; ".join(said)


def _budget(budget_s: float, spent_s: float) -> str:
    """What was allowed, and what it is no bound on."""
    beside = "measuring the baseline and certifying the winner are not part of it"
    over = ""
    if spent_s > budget_s:
        over = (
            ", which decides what is begun and cuts neither previews nor what is under way, nor "
            "pricing what is accepted and the model as it is"
        )
    return f"the budget was {amounts.seconds(budget_s)}{over}; {beside}"


class _Show:
    """Figures in this job's unit of cost: money where there is a price, machine seconds else."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._price = job.config.prices.device_second
        self.cost_metric = "cost_per_1k" if self._price else "device_s_per_1k"

    def cost(
        self, machine_s: float, entry: str, low: float | None = None, high: float | None = None
    ) -> Figure:
        """The cost of a thousand requests of ``machine_s`` each."""
        scale, unit = (1000 * self._price, "money_per_1k") if self._price else (1000.0, "s")

        def scaled(x: float | None) -> float | None:
            return None if x is None else x * scale

        return Figure(machine_s * scale, unit, entry, scaled(low), scaled(high))

    def candidates(
        self, baseline: Baseline, searched: Searched, findings: Findings | None
    ) -> list[Candidate]:
        relative = [
            c for c in self._job.contracts if c.axis is Axis.QUALITY and c.bound in _RELATIVE
        ]
        zero = {
            c.metric: Figure(0.0, self._unit(c), baseline.quality_run.entry, 0.0, 0.0)
            for c in relative
        }
        shown = self._speed(searched.speed, baseline.build)
        scores = [
            f"{name} {amounts.figure(_mean(values), self._absolute(name))}"
            for name, values in baseline.quality.scores.items()
        ]
        if baseline.build.foreign:
            scores.append(f"a lone request's p95 {amounts.seconds(shown['latency_p95'].value)}")
        known = f"as it is: {', '.join(scores)}" if scores else "as it is"
        rows = [
            Candidate(
                baseline.build.name,
                True,
                known + _under_other_policies(searched),
                "baseline",
                {**zero, **shown},
                baseline.invariance.invariance.value,
            )
        ]
        if findings is not None and findings.winner.name == BASELINE:
            rows.append(self._own_policies(findings))
        return [*rows, *map(self._candidate, searched.tried)]

    def _own_policies(self, f: Findings) -> Candidate:
        """The model as it is where it won: its answers are the baseline's, its times are not.

        What it costs stands with the savings: a load test has the server's CPU time, the other rows
        that of the engine alone.
        """
        certificate, replay = f.certificate, f.certificate.replay
        seen, why = {}, f"with {policies_of(f.plans.chosen.choice.variant)}"
        if not replay.void:
            p95_s = replay.candidate.quantile_s(0.95)
            seen = {"latency_p95": Figure(p95_s, "s", replay.run.entry)}
            why += "; its p95 is that of the load test, where the other rows are without load"
        return Candidate(
            f"{BASELINE}, own policies",
            True,
            why,
            certificate.decision.action.value,
            seen,
            certificate.invariance.invariance.value,
        )

    def _candidate(self, t: Tried) -> Candidate:
        seen = {} if t.speed is None or t.build is None else self._speed(t.speed, t.build)
        if t.decision is None or t.invariance is None or t.build is None:
            invariance = "" if t.invariance is None else t.invariance.invariance.value
            return Candidate(
                t.name, False, t.skipped, "skipped", seen, invariance, t.forecast.expected
            )
        assert t.decision_run is not None
        quality = {
            r.contract.metric: Figure(
                r.value,
                self._unit(r.contract),
                r.measurement or t.decision_run.entry,
                r.low,
                r.high,
            )
            for r in t.decision.results
            if r.contract.axis is Axis.QUALITY and r.value == r.value  # NaN: nothing to show
        }
        assert t.claim is not None
        faster, claim = t.claim.speedup, t.claim
        return Candidate(
            t.name,
            True,
            t.decision.because + (f"; not chosen: {t.skipped}" if t.skipped else ""),
            t.decision.action.value,
            {
                **quality,
                **self.kept(t.kept),
                **seen,
                "speedup": Figure(faster.value, "ratio", claim.entry, faster.low, faster.high),
            },
            t.invariance.invariance.value,
            t.forecast.expected,
            claim.slow.because if claim.slow is not None else "",
            ""
            if claim.escalated_share is None
            else _escalates(claim.escalated_share, len(self._job.inputs.workload.items)),
        )

    def _unit(self, c: Contract) -> str:
        """How values of a quality contract are shown."""
        if c.bound not in _RELATIVE:
            return self._absolute(c.metric)
        return "points" if self._absolute(c.metric) == "share" else "difference"

    def _absolute(self, metric: str) -> str:
        return "share" if self._job.unit(metric) == "fraction" else ""

    def _speed(self, speed: SpeedBlocks, build: Build) -> Mapping[str, Figure]:
        column = speed.names.index(build.name)
        latency = [
            row[column].metric("latency_p95", alone=True, price_per_s=0.0) for row in speed.blocks
        ]
        seconds = [
            row[column].metric("device_s_per_1k", alone=column == 0, price_per_s=0.0) / 1000
            for row in speed.blocks
        ]
        p95, cost = t_interval(latency), t_interval(seconds)
        entry = speed.run.entry
        figures = {"latency_p95": Figure(p95.value, "s", entry, max(p95.low, 0.0), p95.high)}
        if not build.foreign:  # seconds on the wire are not seconds of a machine
            figures[self.cost_metric] = self.cost(cost.value, entry, max(cost.low, 0.0), cost.high)
        return figures

    def contract(self, r: ContractResult, changed: Sequence[Changed] = ()) -> ContractRow:
        key = f"contracts.{r.contract.metric}"
        theirs = [c for c in changed if f"{c.change.key}.".startswith(f"{key}.")]
        figure = None
        if r.measurement is not None and r.value == r.value:
            figure = Figure(r.value, self._contract_unit(r.contract), r.measurement, r.low, r.high)
        return ContractRow(
            r.contract.describe(),
            r.contract.axis.value,
            r.verdict.value,
            r.because,
            figure,
            r.contract.rationale,
            ""
            if r.flips is None
            else f"{amounts.counted(r.flips.gained, 'answer')} won, {r.flips.lost:,} lost",
            {
                s.name: Figure(
                    s.value, self._contract_unit(r.contract), figure.entry, s.low, s.high
                )
                for s in r.slices
                if figure is not None and s.value == s.value
            },
            "; ".join(c.describe() for c in theirs),
        )

    def _contract_unit(self, c: Contract) -> str:
        """How values of any contract are shown; a ratio has no unit of its metric's."""
        if c.bound is Bound.ONE_OF:
            return "class"
        if c.bound is Bound.RATIO_AT_MOST:
            return "ratio"
        measures = {"s": "s", "money": "money_per_1k"}
        return measures.get(self._job.unit(c.metric)) or self._unit(c)

    def savings(self, f: Findings, repeats: Repeats | None) -> list[Saving]:
        c, assumed = f.comparisons, repeats is not None and repeats.assumed
        cached = _cached(f)
        pairs: list[tuple[str, str, tuple[Priced, ...], Priced, bool]] = [
            ("no repeats, cache off", "naive", (c.naive_unique,), c.winner_unique, False),
            ("no repeats, cache off", "tuned", c.tuned_unique, c.winner_unique, False),
            ("the workload, cache on", "naive", (c.naive_workload,), c.winner_workload, assumed),
        ]
        rows = []
        for workload, against, others, after, rests in pairs:
            before = min(others, key=lambda p: p.attributed_s)
            rows.append(
                Saving(
                    workload,
                    against,
                    "attributed",
                    self.cost(before.attributed_s, before.outcome.run.entry),
                    self.cost(after.attributed_s, after.outcome.run.entry),
                    rests,
                    cached,
                )
            )
            before = min(others, key=lambda p: p.provisioned_s)
            rows.append(
                Saving(
                    workload,
                    against,
                    "provisioned",
                    self.cost(before.provisioned_s, before.choice.run.entry),
                    self.cost(after.provisioned_s, after.choice.run.entry),
                    rests,
                    cached,
                )
            )
        replay = f.certificate.replay
        if replay.has_cpu_times:
            rows.append(
                Saving(
                    "the replay, measured",
                    "naive" if f.certificate.against == "baseline" else f.certificate.against,
                    "measured",
                    self.cost(replay.current.cpu_s_per_request / replay.cores, replay.run.entry),
                    self.cost(replay.candidate.cpu_s_per_request / replay.cores, replay.run.entry),
                    assumed,
                    cached,
                )
            )
        return rows

    def kept(self, kept: KeptIndex | None) -> Mapping[str, Figure]:
        """What is found in the index of current, against what current finds there."""
        figures: dict[str, Figure] = {}
        for metric, entry in (kept.measured if kept is not None else {}).items():
            body = self._job.store.get(entry).body
            figures[metric] = Figure(body["compared"], "points", entry, body["low"], body["high"])
        return figures

    def index(self, f: Findings, repeats: Repeats | None) -> NewIndex | None:
        if f.index is None:
            return None
        price, replay = f.index.price, f.certificate.replay
        run, currency = f.index.run.entry, self._job.config.prices.currency
        money = Figure(price.machine_s * self._price, currency, run) if self._price else None
        saved = replay.current.cpu_s_per_request - replay.candidate.cpu_s_per_request
        pays = math.isfinite(price.requests)
        return NewIndex(
            items=price.items,
            declared=f.index.declared,
            machine=Figure(price.machine_s, "s", run),
            cost=money,
            saved_per_1k=self.cost(saved / replay.cores, replay.run.entry),
            break_even_requests=price.requests if pays else None,
            break_even_days=price.days if pays else None,
            kept=self.kept(f.certificate.kept),
            assumed_repeats=repeats is not None and repeats.assumed,
        )

    def shares(self, c: Comparisons, repeats: Repeats | None) -> list[Share]:
        assumed = repeats is not None and repeats.assumed
        full = c.winner_workload.attributed_s
        return [
            Share(
                w.optimization,
                Figure(w.priced.attributed_s / full, "times", w.priced.outcome.run.entry),
                w.instead + "; the repeats are assumed" * (assumed and w.optimization == "caching"),
            )
            for w in c.without
        ]

    def predictions(self, f: Findings, repeats: Repeats | None) -> list[Prediction]:
        replay = f.certificate.replay
        assumed = repeats is not None and repeats.assumed
        rows: list[Prediction] = []
        for name, side, replayed in _replayed(f):
            rows += self._predicted(
                name, side, replayed, replay.run.entry, replay.cores, assumed=assumed
            )
        return rows

    def _predicted(
        self, name: str, side: Side, replayed: Replayed, entry: str, cores: int, *, assumed: bool
    ) -> list[Prediction]:
        outcome, made = replayed.outcome, replayed.outcome.run.entry
        rows = [
            Prediction(
                name,
                "p50",
                Figure(outcome.p50_s, "s", made),
                Figure(side.quantile_s(0.5), "s", entry),
            ),
            Prediction(
                name,
                "p95",
                Figure(outcome.p95_s, "s", made),
                Figure(side.quantile_s(0.95), "s", entry),
            ),
            Prediction(
                name,
                "CPU time of 1,000",
                self.cost(replayed.cpu_machine_s, made),
                self.cost(side.cpu_s_per_request / cores, entry),
            ),
        ]
        if outcome.hit_ratio:
            rows.append(
                Prediction(
                    name,
                    "hits",
                    Figure(outcome.hit_ratio, "share", made),
                    Figure(side.hit_share, "share", entry),
                    assumed=assumed,
                )
            )
        return rows

    def curves(self, baseline: Baseline, findings: Findings | None) -> list[Curve]:
        name = "the server, one connection" if baseline.build.foreign else "fp32, ONNX Runtime"
        rows = [(name, baseline.curve)]
        if findings is not None:
            plan = findings.plans.chosen.choice.curve.plan
            curve = next(c for c in findings.plans.offer.curves if c.plan == plan)
            rows.append((f"{findings.winner.name}, {plan.instances} x {plan.threads}", curve))
        return [_curve(name, measured, _lengths(baseline.build)) for name, measured in rows]

    def distributions(self, f: Findings) -> list[Distribution]:
        replay = f.certificate.replay
        rows = []
        for name, side, replayed in _replayed(f):
            rows.append(Distribution(name, replay.run.entry, "measured", side.quantiles))
            outcome = replayed.outcome
            rows.append(Distribution(name, outcome.run.entry, "predicted", outcome.quantiles))
        return rows

    def breakdown(self, f: Findings, lengths: str) -> Mapping[str, Mapping[str, Figure]]:
        c = f.comparisons
        named = {
            "naive": c.naive_workload,
            "tuned, no repeats": min(c.tuned_unique, key=lambda p: p.attributed_s),
            f"{f.winner.name}, no repeats": c.winner_unique,
            f.winner.name: c.winner_workload,
        }
        return {name: self._parts(priced, lengths) for name, priced in named.items()}

    def _parts(self, priced: Priced, lengths: str) -> Mapping[str, Figure]:
        """Of items without a length nothing is padded, and nothing tokenized."""
        entry, shell_s = priced.outcome.run.entry, priced.shell_s
        model_s = max(priced.attributed_s - shell_s, 0.0)
        shell = self.cost(min(shell_s, priced.attributed_s), entry)
        if not lengths:
            return {"model": self.cost(model_s, entry), "HTTP, cache": shell}
        padding_s = model_s * priced.outcome.padding_share
        return {
            f"model, {lengths} asked for": self.cost(model_s - padding_s, entry),
            "model, padding": self.cost(padding_s, entry),
            "HTTP, tokenizing, cache": shell,
        }


def _repeats(job: Job, f: Findings) -> Repeats | None:
    """Of the workload, where the winner has a cache."""
    replay, build = f.certificate.replay, f.certificate.build
    return repeats_of(job, build, replay.candidate, cached=_cached(f))


def _cached(f: Findings) -> bool:
    """Whether the winner has a cache."""
    return f.plans.chosen.choice.variant.cache.capacity_bytes > 0


def _assumed(repeats: Repeats | None, f: Findings) -> str:
    """That the repeats are, where they are, and what is left without them."""
    if repeats is None or not repeats.assumed:
        return ""
    return repeats.describe(*without_cache(f.comparisons))


def _escalates(share: float, requests: int) -> str:
    """How much of the workload a cascade asks its teacher about, and what that means at its ends.

    >>> _escalates(0.1, 400)
    'its teacher is asked about 40 of the 400 requests of the workload (10.0 %)'
    """
    asked = round(share * requests)
    said = (
        f"its teacher is asked about {asked:,} of the {requests:,} requests of the workload "
        f"({amounts.percent(share)})"
    )
    if asked == 0:
        return f"{said}: it answers all of them as its student would alone"
    return f"{said}: it answers none of them by its student" if asked == requests else said


def _under_other_policies(searched: Searched) -> str:
    """What became of the model as it is in the search, where there is more to say than its
    price."""
    own = searched.as_it_is
    if own is None:
        return ""
    if searched.plans is not None and searched.plans.offer.name == own.name:
        return f"; chosen, with {policies_of(searched.plans.chosen.choice.variant)}"
    return f"; not chosen under other policies: {own.skipped}" if own.skipped else ""


def _replayed(f: Findings) -> list[tuple[str, Side, Replayed]]:
    """What was replayed and simulated; a current release other than the baseline is not."""
    replay, c = f.certificate.replay, f.comparisons
    rows = [(f.winner.name, replay.candidate, c.candidate_replayed)]
    if f.certificate.against == "baseline":
        rows.insert(0, ("baseline", replay.current, c.current_replayed))
    return rows


def _lengths(build: Build) -> str:
    """What the lengths of its items count; empty where an item is a row of numbers."""
    if build.foreign:
        return "characters"
    return "" if build.tokenizer is None else "tokens"


def _curve(name: str, measured: MeasuredCurve, lengths: str) -> Curve:
    return Curve(
        name,
        measured.run.entry,
        tuple((p.size, p.longest, p.seconds) for p in measured.points),
        tuple(measured.curve.predict_s(p.size, p.longest) for p in measured.points),
        lengths,
    )


def _plan(f: Findings, lengths: str) -> Mapping[str, str]:
    choice, replay = f.plans.chosen.choice, f.certificate.replay
    batching, cache = choice.variant.batching, choice.variant.cache
    threads = choice.curve.plan.threads
    batches = f"at most {batching.max_requests} requests"
    if lengths:
        batches += f", {batching.max_padded_tokens} {lengths}"
    if batching.max_wait_s:
        batches += f"; held for company up to {amounts.seconds(batching.max_wait_s)} where it pays"
    instances = f"{choice.variant.instances}, threads each: {threads}"
    if choice.variant.lone_threads:
        instances += f"; one more of {choice.variant.lone_threads} for a request that is alone"
    return {
        "instances": instances,
        "batching": batches if batching.max_requests > 1 else "one at a time",
        "cache": f"{cache.policy}, {amounts.size(cache.capacity_bytes)}"
        if cache.capacity_bytes
        else "none",
        "highest rate within the p95 promise": f"{choice.max_rate_per_s:,.0f} requests/s a machine",
        "plans simulated": str(choice.trials),
        "memory of the whole server": f"{amounts.size(replay.candidate.memory_bytes)} when the "
        f"load test ended, with {amounts.counted(choice.variant.instances, 'instance')}"
        f"{' and a cache' if cache.capacity_bytes else ''} "
        f"(baseline {amounts.size(replay.current.memory_bytes)})",
    }


def _next(
    job: Job,
    action: Action,
    results: Sequence[ContractResult],
    entry: str,
    *,
    baseline: str,
    generation: int | None,
    promoted: bool,
    audited: bool,
    void: Sequence[str] = (),
    late: Sequence[str] = (),
    accepted: str = "",
    fruitless: Searched | None = None,
) -> tuple[str, str]:
    """What to type, and why. ``results`` are the certificate's or, where there is none, of a
    candidate that nothing but unclear times kept from one. ``void``: why the load test is.
    ``late``: what was measured by another rule; ``accepted``: as of ``way_out``.
    ``fruitless``: the search, where it left nothing to be judged: no numbers, but reasons."""
    file = shlex.quote(str(job.config.path))
    if action in (Action.ACCEPT, Action.WARN) and not job.source.build.foreign:
        if promoted:
            return f"headgate serve -f {file}", f"Generation {generation} is current. Serve it:"
        if not audited:
            return (
                f"headgate audit -f {file}",
                "The winner is accepted, but its evidence is not whole. What is missing:",
            )
        return (
            f"headgate optimize --promote {file}",
            "The winner is accepted but not current. Everything is kept; make it current:",
        )
    serves = {
        None: f" Nothing is current; `headgate serve -f {file} --variant {short(baseline)}` serves "
        "the baseline.",
        0: f" `headgate serve -f {file}` serves the baseline until then.",
    }.get(generation, f" Generation {generation} stays current.")
    if job.source.build.foreign:
        serves = ""
    if action is Action.INVALID and late:
        out = way_out(file, late=late, accepted=accepted)
        told = f"Nothing was promoted.{serves}"
        if out.put_back is None:
            return out.command, f"{told} {out.keep[0].upper()}{out.keep[1:]}:"
        return (
            # Either of them would only be refused again before a file was edited.
            f"headgate gate --power -f {file}",
            f"{told} Put back what was edited and type `{out.put_back}`; or {out.keep}: "
            f"`{out.command}`. How many rows promises need:",
        )
    unclear = (Verdict.UNKNOWN, Verdict.INVALID)
    times = [r for r in results if r.contract.axis in _OF_TIMES]
    open_ = action in (Action.UNKNOWN, Action.INVALID)  # harm that is shown stays so
    # Of a void load test the verdicts on times say nothing, those that it refused neither.
    if open_ and (void or any(r.verdict in unclear for r in times)):
        lasts = amounts.seconds(sum(r.seconds for r in job.recorder.runs if r.measures))
        told = words.void(void) if void else "The machine was too busy to tell."
        return (
            f"headgate optimize --fresh --promote {file}",
            f"{told}{serves} Take the times again (about {lasts}; the "
            "rest is reused) while nothing else runs on it; without --fresh the times of this run "
            "are reused too:",
        )
    if fruitless is not None:
        return (
            f"headgate show {short(fruitless.entry)} -f {file}",
            f"Nothing was promoted.{serves} {words.way_on(fruitless.found.binding)} Why each was "
            "left out:",
        )
    return (
        f"headgate show {short(entry)} -f {file}",
        f"Nothing was promoted.{serves} Look at the numbers behind the decision:",
    )


def _without_times(tried: Sequence[Tried]) -> Sequence[ContractResult]:
    """What was said of a candidate that unclear times alone kept from being accepted, if any."""
    for t in tried:
        results = t.decision.results if t.decision is not None else ()
        open_ = [r for r in results if not lets_through(r)]
        if open_ and all(
            r.verdict is Verdict.UNKNOWN and r.contract.axis in _OF_TIMES for r in open_
        ):
            return results
    return ()


def _notes(
    job: Job,
    baseline: Baseline,
    tried: Sequence[Tried],
    findings: Findings | None,
    audited: Audited,
) -> list[str]:
    foreign = baseline.build.foreign
    to = "" if foreign else "to promote, "
    notes = [f"{gap.key}: {gap.what}; {to}{gap.fix}" for gap in job.config.gaps]
    notes += [f"{stop}; {to}{stop.fix}" for stop in audited.stops]
    notes += [told.in_passing for told in audited.told]
    if foreign:
        notes.append(
            "The server is not ours: what is declared of it is believed, lengths are characters, "
            "it is measured anew by every run and may answer a replay otherwise. It is never "
            "promoted: what a release serves must be in the store."
        )
        others = [c.describe() for c in job.contracts if not is_alone(c)]
        if others:
            notes.append(f"Not judged, since they compare two builds: {'; '.join(others)}.")
    notes += [f"Forecasts of {score.describe()}." for score in read_scorecard(job.store)]
    if findings is None or findings.winner.name == BASELINE:
        notes += _left_open(job, tried)
    if not job.inputs.labelled:
        notes.append(_without_labels(job, foreign=foreign))
    if job.inputs.own_requests is not None:
        notes.append(_own_requests(job.inputs.own_requests))
    if "holdout" not in job.inputs.versions and not foreign:
        notes.append(
            "There is no holdout split: the winner was chosen and certified on the same, and who "
            "declares a contract may have seen what it judges."
        )
    if findings is not None:
        luck = known_luck(Maker.of(job), job.behaviour, findings.winner.name)
        notes += _of_luck(luck, calibrated=findings.winner.forecast.calibrated)
        if "holdout" in job.inputs.versions:
            used, most = looks(job, job.inputs.versions["holdout"])
            notes.append(
                f"The holdout was looked at {used} of {most} times; after that it takes new data."
            )
        gain = findings.gain
        if isinstance(gain, str):
            notes.append(f"What the student in it owes to its teacher is not known: {gain}")
        elif gain is not None:
            told = ": a student without one would do" * (gain.advice is Advice.DO_NOT_TRAIN)
            split = findings.certificate.split
            chosen_by = "" if split == "holdout" else ", which also chose it,"
            notes.append(
                f"{gain.metric} of the student in it, on the split "
                f"{split}{chosen_by}: {gain.reason}{told}."
            )
        if cheaper := _cheaper(findings.comparisons):
            notes.append(
                f"In virtual time {findings.winner.name} is cheaper with {', '.join(cheaper)}, by "
                "what a request uses; it was chosen by what machines cost that hold the latency "
                "contract."
            )
        binding = findings.plans.chosen.choice.binding
        if binding:
            notes.append(f"No plan is feasible: {binding}")
        repeats = _repeats(job, findings)
        if repeats is not None and repeats.in_log:
            notes.append(repeats.in_log)
        replayed = findings.certificate.replay
        notes.append(
            "latency_p95 of the contract is the mean of the blocks' p95; under predicted and "
            "measured it is that of all requests."
        )
        notes.append(
            _of_rates(
                replayed.current,
                replayed.candidate,
                share=job.config.replay.load,
                workload_per_s=job.inputs.workload.rate_per_s,
            )
        )
        notes += _of_length(job, replayed.current, replayed.candidate)
        if not replayed.has_cpu_times:
            notes.append(
                "The load test was too short for processors to count what both servers took: the "
                "savings are priced, none is measured."
            )
        notes.append(
            f"Load generator and server shared {amounts.counted(job.cores, 'core')}; read ratios "
            "before absolutes. Predictions know the CPU time of both and the time between engine "
            "calls, but not that threads wait for a core, so their tails are rather too short."
        )
    return notes


def _left_open(job: Job, tried: Sequence[Tried]) -> Iterator[str]:
    """What more measuring, or more data, may still find among those that are not decided."""
    file = shlex.quote(str(job.config.path))
    for t in tried:
        results = t.decision.results if t.decision is not None else ()
        open_ = [r for r in results if not lets_through(r)]
        if not open_ or any(r.verdict is not Verdict.UNKNOWN for r in open_):
            continue
        why = "; ".join(r.because for r in open_)
        if any(r.contract.axis not in _OF_TIMES for r in open_):
            told = f"more data may tell, and `headgate gate --power -f {file}` says how much"
        else:
            told = f"`headgate optimize --fresh {file}` takes the times again on a quiet machine"
        yield f"{t.name} was neither accepted nor refused ({words.with_units(why)}): {told}."


def _of_change(changed: Changed) -> str:
    return f"The rule was changed after a look at the holdout: {changed.describe()}."


def _of_rates(current: Side, winner: Side, *, share: float, workload_per_s: float) -> str:
    """Why the load test's rates are not the workload's."""
    rates = " and ".join(amounts.figure(s.rate_per_s, "per_s") for s in (current, winner))
    said = f"In the load test each side was loaded with {share:.2g} of what it can take, {rates}."
    most_per_s = winner.most_per_s
    if most_per_s is not None and most_per_s < winner.capacity_per_s:
        said += (
            f" The winner answers {amounts.figure(winner.capacity_per_s, 'per_s')} at most, and by "
            f"its plan keeps latency_p95 up to {amounts.figure(most_per_s, 'per_s')}: that is what "
            "it can take."
        )
    return (
        f"{said} The workload comes at {amounts.figure(workload_per_s, 'per_s')}: its requests and "
        "their rhythm were played at another speed, since what a request costs shows on a server "
        "that is busy."
    )


def _of_length(job: Job, current: Side, winner: Side) -> Iterator[str]:
    """That a side had less to answer than it was to answer for so many seconds."""
    asked_s = job.config.replay.seconds
    workload = "drawn workload" if job.config.workload.log is None else "workload's log"
    for name, side in (("current", current), ("winner", winner)):
        ran_s = sum(s.duration_s for s in side.segments)
        if ran_s < 0.9 * asked_s:
            yield (
                f"The {workload} lasted {amounts.seconds(ran_s)} of {amounts.seconds(asked_s)} "
                f"at the rate of the {name}, {side.rate_per_s:.0f} requests/s."
            )


def _without_labels(job: Job, *, foreign: bool) -> str:
    """By what quality is judged then: own metrics may know what is right from elsewhere in a row,
    such as its ``meta``."""
    judged = dict.fromkeys(c.metric for c in job.contracts if c.axis is Axis.QUALITY)
    own = [m for m in judged if m.removeprefix("worst_slice_") in job.own]
    if foreign:
        return "There are no labels: quality here is what your own metrics say."
    if not own:
        return "There are no labels: quality here is agreement with the current release."
    by_own = f"{', '.join(own)}, by what your own function reads of a row"
    if len(own) == len(judged):
        return f"No row has a label: quality here is {by_own}."
    return f"No row has a label: quality here is {by_own}, and agreement with the current release."


def _own_requests(own: OwnRequests) -> str:
    """What students learnt from, who allowed it, and what was left out."""
    chosen, allowed = own.chosen, own.permission
    left_out = ", ".join(
        f"{count:,} {why}"
        for count, why in (
            (chosen.judging, "are also in evaluate, holdout or calibrate"),
            (chosen.repeats, "repeat another"),
            (chosen.empty, "are empty to the model"),
        )
        if count
    )
    return (
        f"Students are trained on the workload's own inputs, allowed by {allowed.allowed_by} "
        f"({allowed.why}): {len(chosen.places):,} of {chosen.requests:,} requests"
        + (f"; {left_out}" if left_out else "")
        + f" (run {short(own.entry)})."
    )


def _of_luck(luck: Luck | None, *, calibrated: bool) -> list[str]:
    """How far another calibration of the winner could have come out otherwise."""
    if luck is not None:
        return [f"{luck.describe()}.", *(f"Of {luck.candidate}, {w}." for w in luck.warnings)]
    if not calibrated:
        return []
    return [
        "How much luck is in the winner's calibration was not looked at: `headgate preview "
        "--resamples 3` does."
    ]


def _cheaper(c: Comparisons) -> Sequence[str]:
    """What in place of one of its optimizations makes the winner cheaper."""
    full = c.winner_workload.attributed_s
    return [w.instead for w in c.without if w.priced.attributed_s < full]


def _mean(values: Sequence[float | None]) -> float:
    return sum(v or 0.0 for v in values) / max(len(values), 1)
