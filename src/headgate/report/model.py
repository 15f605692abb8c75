"""What a report says: plain values, each figure with the ledger entry that it comes from.

The main job fills these, ``terminal``, ``html`` and ``as_json`` show them. Knows nothing of how
anything was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate import amounts
from headgate.objects import jsonable, short
from headgate.report import words
from headgate.theory.intervals import Range

__all__ = [
    "Candidate",
    "ContractRow",
    "Curve",
    "Distribution",
    "Expectation",
    "Figure",
    "Learning",
    "NewIndex",
    "PowerRow",
    "Prediction",
    "Report",
    "Saving",
    "Share",
    "Step",
    "as_json",
]

_IN_BATCHES = ("cost_per_1k", "device_s_per_1k", "speedup")
_PREDICTED = "predicted to cost"
"""In the words of the search (``planning.joint``)."""
FAR_OFF = 0.5
"""Relative error from which on a prediction is called out."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, its interval where it has one, its unit, and the ledger entry it comes from."""

    value: float
    unit: str
    entry: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One build that was considered."""

    name: str
    tried: bool
    why: str
    """Why it was tried or skipped, or what stopped it."""
    verdict: str
    """accept, warn, rollback, unknown, invalid, baseline, or skipped."""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """Metric -> figure: quality difference, p95, cost, and ``speedup`` over the baseline."""
    batch_invariance: str = ""
    forecast: str = ""
    """What the preview expected, in words."""
    not_faster: str = ""
    """Why, where no speed-up over the baseline is shown."""
    escalates: str = ""
    """How much of the workload a cascade asks its teacher about; empty of all else."""


@dataclass(frozen=True, slots=True)
class ContractRow:
    """One contract of the winner, on the split that certifies it."""

    rule: str
    axis: str
    verdict: str
    because: str
    figure: Figure | None
    why: str
    """The rationale."""
    flips: str = ""
    """How many answers the winner has won and lost, which an average does not say."""
    slices: Mapping[str, Figure] = field(default_factory=dict)
    """Slice -> what is compared there; shown, and judged by nobody."""
    changed: str = ""
    """What it was when the holdout was first looked at, where it was something else."""


_ASSUMED = {
    "the workload, cache on": "assumed repeats, cached",
    "the replay, measured": "assumed repeats, replay",
}
"""What a workload is called where its repeats are assumed."""
_UNCACHED = {"the workload, cache on": "the workload, no cache"}
"""What it is called where the winner has no cache."""


@dataclass(frozen=True, slots=True)
class Saving:
    """How many times cheaper the winner is, on which workload and against what."""

    workload: str
    against: str
    basis: str
    """attributed (device seconds) or provisioned (instances that hold the p95 contract)."""
    baseline_cost_per_1k: Figure
    winner_cost_per_1k: Figure
    assumed: bool = False
    """It rests on repeats of requests that nobody logged."""
    cached: bool = True
    """The winner has a cache."""

    @property
    def shown(self) -> str:
        """The workload in words for people; ``workload`` is the same whatever is assumed, and
        whether or not there is a cache."""
        names = _ASSUMED if self.assumed else {} if self.cached else _UNCACHED
        return names.get(self.workload, self.workload)

    @property
    def factor(self) -> float:
        return self.baseline_cost_per_1k.value / self.winner_cost_per_1k.value


@dataclass(frozen=True, slots=True)
class Share:
    """One optimization, by leaving it out: how many times dearer the winner is without it."""

    optimization: str
    factor_without: Figure
    detail: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted beside measured, for one variant and one quantity."""

    variant: str
    quantity: str
    predicted: Figure
    measured: Figure
    assumed: bool = False
    """It rests on repeats of requests that nobody logged."""

    @property
    def shown(self) -> str:
        """The quantity in words for people; ``quantity`` is the same whatever is assumed."""
        return f"{self.quantity}, assumed" if self.assumed else self.quantity

    @property
    def relative_error(self) -> float | None:
        """None where nothing was measured to be a part of: something was predicted, and 0 came."""
        if not self.measured.value:
            return None if self.predicted.value else 0.0
        return self.predicted.value / self.measured.value - 1


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a preview said of one quantity of a candidate, and what was then measured of it."""

    candidate: str
    quantity: str
    forecast: Figure
    """With its 90 % interval."""
    measured: Figure | None
    """None of a candidate that was skipped, and of what nothing measures."""
    limit: float | None = None
    """Of the contract, in the forecast's unit; None where there is none on this."""

    @property
    def interval(self) -> tuple[float, float]:
        """The forecast itself at an end that it leaves open."""
        f = self.forecast
        return (f.value if f.low is None else f.low, f.value if f.high is None else f.high)

    @property
    def held(self) -> bool | None:
        """Whether the interval holds what was measured; None where nothing was."""
        if self.measured is None:
            return None
        return Range(self.forecast.value, *self.interval).holds(self.measured.value)


@dataclass(frozen=True, slots=True)
class Learning:
    """How a student learnt."""

    name: str
    entry: str
    losses: tuple[float, ...]
    """Of each step, on its own batch."""
    held_back: tuple[tuple[int, float], ...]
    """(steps done, loss on the texts that were held back)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A service-time curve: measured points and the fit."""

    name: str
    entry: str
    points: tuple[tuple[int, int, float], ...]
    """(batch size, length of its items, seconds), measured medians."""
    fitted: tuple[float, ...]
    """The fit at the same points, seconds."""
    lengths: str
    """What a length counts: tokens or characters; empty where items have none."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Latencies of one variant under load, as quantiles in seconds."""

    name: str
    entry: str
    kind: str
    """measured or predicted."""
    quantiles: tuple[tuple[float, float], ...]
    """(share, seconds), ascending."""


@dataclass(frozen=True, slots=True)
class PowerRow:
    """What a contract can tell at this n."""

    rule: str
    n: int
    assumed: str
    power: float
    required_n: int | None
    """For this contract's share of 80 % for all; None where no n suffices."""


@dataclass(frozen=True, slots=True)
class NewIndex:
    """What the winner asks of an index that another encoder made."""

    items: int
    declared: bool
    """Whether the owner says how many there are; else the passages of evaluate are counted."""
    machine: Figure
    """Seconds of the whole machine that embedding all of them takes."""
    cost: Figure | None
    """The same as money; None where a second has no price."""
    saved_per_1k: Figure
    """What a thousand requests cost less than before, by the replay."""
    break_even_requests: float | None
    """After so many it has paid for itself; None where nothing is saved."""
    break_even_days: float | None
    """So long they take at the workload's rate."""
    kept: Mapping[str, Figure]
    """Metric -> what queries of the winner lose in the index of the current release."""
    assumed_repeats: bool = False
    """Whether a cache saves a part of it, by repeats that are nobody's."""

    def lines(self, currency: str) -> tuple[tuple[str, str], ...]:
        """What is said, and of what, for people."""
        source = "declared" if self.declared else "the passages of evaluate; see data: index_items"
        price = f"{amounts.seconds(self.machine.value)} of the machine"
        if self.cost is not None:
            price += f", {amounts.figure(self.cost.value, self.cost.unit, currency)}"
        told = ", whose repeats are assumed" if self.assumed_repeats else ""
        saved = amounts.figure(self.saved_per_1k.value, self.saved_per_1k.unit, currency)
        saves, pays = f"{saved} per 1,000 requests, by the replay{told}", "never: nothing is saved"
        if self.break_even_requests is not None and self.break_even_days is not None:
            pays = (
                f"{amounts.count(self.break_even_requests)} requests, "
                f"{amounts.seconds(self.break_even_days * 86_400)} at the workload's rate"
            )
        return (
            ("items", f"{amounts.count(self.items)} ({source})"),
            ("embedding them anew", price),
            ("the winner saves", saves),
            ("which pays after", pays),
            *(
                (f"{metric.replace('_', ' ')}", _bounded(figure, currency))
                for metric, figure in self.kept.items()
            ),
        )


def _bounded(f: Figure, currency: str) -> str:
    text = amounts.figure(f.value, f.unit, currency)
    if f.low is None or f.high is None:
        return text
    low, high = (amounts.figure(v, f.unit, currency) for v in (f.low, f.high))
    return f"{text} ({low} … {high})"


@dataclass(frozen=True, slots=True)
class Step:
    """One transformation of the job; some are executed side by side."""

    name: str
    entry: str
    seconds: float
    ended_at: str
    reused: bool


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is shown of one run of the main job."""

    endpoint: str
    task: str
    action: str
    because: str
    decision: str
    """Ledger entry of the decision."""
    judged: str
    """What the decision is about: the winner, or the best of what was refused."""
    winner: str
    """Variant name; the baseline's where nothing was better."""
    winner_id: str
    generation: int | None
    """The current generation after the job; None before any promotion."""
    hardware: Mapping[str, str]
    created_at: str
    next_command: str
    next_why: str
    candidates: tuple[Candidate, ...] = ()
    search: str = ""
    """What was looked at, what that took, why it ended and what stood in the way, in a sentence."""
    contracts: tuple[ContractRow, ...] = ()
    certified_on: str = ""
    """The split on which the contracts were judged."""
    savings: tuple[Saving, ...] = ()
    assumed_repeats: str = ""
    """What was assumed of repeats, where a cache saves by them and no log has them; a sentence."""
    shares: tuple[Share, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    learning: tuple[Learning, ...] = ()
    curves: tuple[Curve, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    power: tuple[PowerRow, ...] = ()
    breakdown: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    """Variant -> part of the cost -> figure (money per thousand requests)."""
    plan: Mapping[str, str] = field(default_factory=dict)
    """What the winner runs with: instances, threads, budget, cache."""
    index: NewIndex | None = None
    """None where there is no index, or where the current one stays."""
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader must know before believing any of it."""
    void: tuple[str, ...] = ()
    """Why the load test is void, so that nothing that it measured counts; empty where it does."""
    currency: str = "USD"
    current_id: str = ""
    """The variant of ``generation``; empty before any promotion."""
    changed: tuple[str, ...] = ()
    """Keys of headgate.yaml that promise otherwise, or say otherwise how that is measured, than
    when the holdout was first looked at."""

    @property
    def headline(self) -> str:
        """The winner, or what stays because there is none."""
        if self.judged == self.winner:
            return self.winner
        if self.generation is None:
            return "no winner"
        return "the current release stays" if self.generation else "the baseline stays"

    @property
    def subject(self) -> tuple[str, ...]:
        """Lines for the eye: where the endpoint is, and the ids that belong to the headline. What
        was judged has a line of its own unless it is what is current."""
        variant, decision = f"variant {short(self.winner_id)}", f"decision {short(self.decision)}"
        judged = variant if self.judged == self.winner else self.judged
        if self.generation is None:
            return ("nothing is current yet", f"judged: {judged}, {decision}")
        at = f"generation {self.generation}"
        if judged == variant and self.winner_id == self.current_id:
            return (f"{at} · {decision} · {variant}",)
        current = f"{'variant' if self.generation else 'baseline'} {short(self.current_id)}"
        return (f"current: {at}, {current}", f"judged: {judged}, {decision}")

    @property
    def warning(self) -> str:
        """That what is promised was changed after a look at the holdout, for the head; or empty."""
        if not self.changed:
            return ""
        promises = any(key.startswith("contracts.") for key in self.changed)
        return (
            f"{'Promises were' if promises else 'How promises are measured was'} changed after a "
            'look at the holdout: see "Before you believe it".'
        )

    @property
    def certified(self) -> bool:
        """Whether the winner kept its contracts; without that nothing that is saved is promised."""
        return self.action in ("accept", "warn")

    def basis(self, saving: Saving) -> str:
        """As it is shown: what a void load test measured is no measurement."""
        return "void" if self.void and saving.basis == "measured" else saving.basis

    @property
    def by_load(self) -> str:
        """By what kind of load test all was measured that stands under load; empty where it
        counts."""
        return "by a load test that is void" if self.void else ""

    @property
    def caveats(self) -> tuple[str, ...]:
        """That the load test is void, the notes, and every prediction that was far off what was
        then measured."""
        if self.void:
            return (
                f"{words.void(self.void)} Nothing that it measured is to be believed, the savings "
                "that it shows neither: times are to be taken again while nothing else runs on the "
                "machine.",
                *self.notes,
            )
        errors = ((p, p.relative_error) for p in self.predictions)
        far = ((p, abs(e)) for p, e in errors if e is not None and abs(e) > FAR_OFF)
        measured = any(s.basis == "measured" for s in self.savings)
        trust = (
            "trust the measured row of the savings, not the others"
            if measured
            else "the savings are not to be trusted"
        )
        return (
            *self.notes,
            *(
                f"{p.variant}'s {p.shown} was predicted "
                f"{amounts.percent(error, digits=0)} off what was measured: {trust}."
                for p, error in far
            ),
        )

    @property
    def compared(self) -> list[str]:
        """The metrics of all candidates; what is found in the kept index stands with the index."""
        names = dict.fromkeys(m for c in self.candidates for m in c.figures)
        return [name for name in names if not name.endswith("_kept_index")]

    @property
    def two_bases(self) -> bool:
        """Whether costs stand there beside what is compared with the baseline in batches: another
        build's cost or its speed-up, or how much dearer one is predicted to be."""
        return any(
            _PREDICTED in c.why
            or (c.verdict != "baseline" and any(m in c.figures for m in _IN_BATCHES))
            for c in self.candidates
        )


def as_json(report: Report) -> object:
    """The report as plain JSON types, factors, errors and caveats (as notes) included, with the
    basis of each saving as it is shown."""
    body = jsonable(report)
    assert isinstance(body, dict)
    body["notes"] = list(report.caveats)
    for row, saving in zip(body["savings"], report.savings, strict=True):
        row["basis"], row["factor"] = report.basis(saving), saving.factor
    for row, prediction in zip(body["predictions"], report.predictions, strict=True):
        row["relative_error"] = prediction.relative_error
    return body
