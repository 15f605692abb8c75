"""report.html: one self-contained page, plots inline, no script, no link that leaves it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html import escape

from headgate import amounts
from headgate.objects import short
from headgate.report import foresight, plots, words
from headgate.report.canvas import NARROW_INCHES, WIDE_INCHES
from headgate.report.model import Candidate, ContractRow, Figure, Report, Saving

__all__ = ["render_html"]

_CSS = """
:root { --ink:#1c2733; --muted:#66788a; --line:#e3e8ee; --accent:#0b7285; --soft:#f6f8fa; }
* { box-sizing: border-box }
body { margin:0; color:var(--ink); background:#fff;
  font:15px/1.55 Inter,"Helvetica Neue",Helvetica,Arial,"DejaVu Sans",sans-serif }
main { max-width:980px; margin:0 auto; padding:44px 28px 80px }
h1 { font-size:27px; line-height:1.25; margin:2px 0 8px; letter-spacing:-.01em }
h2 { font-size:18px; margin:46px 0 6px }
p { margin:6px 0 12px; max-width:72ch }
.lead { color:var(--muted) }
.eyebrow { color:var(--muted); font-size:13px }
.badge { display:inline-block; padding:2px 11px; border-radius:999px; font-weight:600;
  font-size:13px; color:#fff; background:var(--muted); vertical-align:3px }
.accept,.pass { background:#2b8a3e } .warn { background:#e67700 }
.rollback,.fail,.invalid,.escalate { background:#c92a2a } .unknown,.retrain { background:#5f3dc4 }
.baseline,.skipped { background:#98a4b1 }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(165px,1fr)); gap:12px;
  margin:22px 0 8px }
.card { border:1px solid var(--line); border-radius:10px; padding:14px 16px }
.card b { display:block; font-size:26px; letter-spacing:-.02em; line-height:1.25 }
.card span { color:var(--muted); font-size:13px }
.card i { display:block; font-style:normal; font-weight:600; font-size:12px; color:var(--accent) }
.card.muted { border-style:dashed; background:var(--soft) }
.card.muted b, .card.muted i { color:var(--muted) }
.card.muted b { font-weight:500 }
.scroll { overflow-x:auto; padding-bottom:2px;
  background:linear-gradient(90deg,#fff 40%,transparent) 0 0/48px 100% no-repeat local,
    linear-gradient(270deg,#fff 40%,transparent) 100% 0/48px 100% no-repeat local,
    linear-gradient(90deg,#1c273326,transparent) 0 0/14px 100% no-repeat scroll,
    linear-gradient(270deg,#1c273326,transparent) 100% 0/14px 100% no-repeat scroll }
.scroll::-webkit-scrollbar { height:8px }
.scroll::-webkit-scrollbar-thumb { background:#b8c2cc; border-radius:4px }
table { border-collapse:collapse; width:100%; font-size:13.5px; margin:8px 0 4px }
th { text-align:left; font-weight:600; color:var(--muted); border-bottom:1px solid #cfd7df;
  padding:6px 14px 6px 0; vertical-align:bottom }
td { border-bottom:1px solid var(--line); padding:7px 14px 7px 0; vertical-align:top }
td.n, th.n { text-align:right; font-variant-numeric:tabular-nums } td.n { white-space:nowrap }
td small { color:var(--muted); display:block } td.n small { white-space:normal }
td small span { white-space:nowrap }
code { font:12.5px/1.5 ui-monospace,"SF Mono",Menlo,"DejaVu Sans Mono",monospace }
.ref { color:var(--muted); font-size:11.5px }
pre { background:var(--soft); border:1px solid var(--line); border-radius:8px; padding:12px 14px;
  overflow-x:auto; margin:8px 0 }
figure { margin:10px 0 4px }
figure svg { width:100%; height:auto; max-width:820px } svg.narrow { display:none }
figcaption { color:var(--muted); font-size:13px; max-width:80ch }
.reasons { font-size:13.5px } .reasons small { color:var(--muted); display:block }
ul { padding-left:20px; max-width:76ch } li { margin:4px 0 }
@media (max-width:600px) { main { padding:24px 16px 60px }
  svg.wide { display:none } svg.narrow { display:block }
  pre { white-space:pre-wrap; overflow-wrap:anywhere }
  .fold thead { display:none } .fold > tbody > tr { display:block; padding:9px 0;
    border-bottom:1px solid #cfd7df }
  .fold > tbody > tr > td { display:flex; gap:14px; border:0; padding:2px 0; text-align:right;
    justify-content:space-between; white-space:normal; overflow-wrap:anywhere }
  .fold > tbody > tr > td::before { content:attr(data-of); color:var(--muted); flex:none;
    max-width:45%; text-align:left }
  .fold > tbody > tr > td:first-child { font-weight:600 } .fold td small { font-weight:400 }
  .fold > tbody > tr > td:first-child::before { content:none }
  .fold > tbody > tr > td:first-child, .fold > tbody > tr > td.prose { display:block;
    text-align:left }
  .fold > tbody > tr > td.prose::before { margin-right:.8em } }
@media print { main { padding:0 } .scroll { overflow:visible }
  h2 { break-after:avoid } figure, table { break-inside:avoid } }
"""


def render_html(report: Report) -> str:
    """The whole page as text."""
    sections = [
        _head(report),
        _savings(report),
        _index(report),
        _candidates(report),
        _expectations(report),
        _contracts(report),
        _load(report),
        _costs(report),
        _curves(report),
        _power(report),
        _steps(report),
        _notes(report),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.endpoint)}: {escape(report.action)}</title>\n"
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(s for s in sections if s)
        + "\n</main>\n</body>\n</html>\n"
    )


_PAIRS = (("", False), ("", False))
"""The head of a table of names and values."""
_CODE = re.compile("`([^`]+)`")


def _prose(text: str) -> str:
    """Somebody's words as they are, but for what stands in backticks: that is set as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _said(text: str) -> str:
    """What the job says: as prose, and its times as durations."""
    return _prose(words.with_units(text))


def _badge(word: str) -> str:
    return f'<span class="badge {escape(word)}">{escape(word)}</span>'


_PROSE = ("because", "assumed")
"""Columns of sentences."""
_RELATIVE = ("points", "difference")
"""Units of what is compared with the baseline."""


def _ref(entry: str) -> str:
    return f'<span class="ref" title="{escape(entry)}"><code>{escape(short(entry))}</code></span>'


def _figure(f: Figure | None, currency: str) -> str:
    """A figure with its interval, its ledger entry in the tooltip."""
    if f is None:
        return words.NOTHING
    text = escape(amounts.figure(f.value, f.unit, currency))
    if f.low is not None and f.high is not None:
        low, high = (escape(amounts.figure(v, f.unit, currency)) for v in (f.low, f.high))
        text += f"<small><span>{low}</span> … <span>{high}</span></small>"
    return f'<span title="ledger entry {escape(f.entry)}">{text}</span>'


_NARROW = 4
"""Columns that a phone has room for."""


def _table(head: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> str:
    """``head``: (title, is a number); cells are HTML already.

    Of many columns some would be out of sight on a phone: there each cell is a line of its row,
    with the title of its column.
    """
    fold = len(head) > _NARROW
    top = "".join(f"<th{' class=n' if n else ''}>{escape(t)}</th>" for t, n in head)
    opened = [f"<td{_look(t, n)}{_of(t) if fold else ''}>" for t, n in head]
    body = "".join(
        f"<tr>{''.join(f'{td}{cell}</td>' for td, cell in zip(opened, row, strict=True))}</tr>\n"
        for row in rows
    )
    return (
        f"<div class=scroll><table{' class=fold' if fold else ''}><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _look(title: str, number: bool) -> str:
    if number:
        return " class=n"
    return " class=prose" if title in _PROSE else ""


def _of(title: str) -> str:
    return f' data-of="{escape(title)}"'


def _plot(drawn: Callable[[float], str], caption: str) -> str:
    """Drawn twice, of which the page shows the one that fits the screen: none is cut, and none has
    letters that are too small to be read."""
    svgs = "".join(
        drawn(width).replace("<svg", f'<svg class="{name}"', 1)
        for name, width in (("wide", WIDE_INCHES), ("narrow", NARROW_INCHES))
    )
    return f"<figure>{svgs}<figcaption>{escape(caption)}</figcaption></figure>"


def _head(r: Report) -> str:
    facts = " · ".join(f"{escape(k)} {escape(v)}" for k, v in r.hardware.items())
    cards = "".join(
        _card(r, s) for basis in ("measured", "attributed") for s in r.savings if s.basis == basis
    )
    return (
        f'<div class="eyebrow">Headgate · {escape(r.endpoint)} · {escape(r.created_at)}</div>\n'
        f"<h1>{escape(r.headline)} {_badge(r.action)}</h1>\n"
        f"<p>{_said(r.because)}</p>\n"
        + (f"<p><b>{escape(r.warning)}</b></p>\n" if r.warning else "")
        + f'<p class="lead">{"<br>".join(map(escape, r.subject))}<br>{facts}</p>\n'
        f'<div class="cards">{cards}</div>\n'
        f"<p>{_said(r.next_why)}</p><pre><code>{escape(r.next_command)}</code></pre>"
    )


def _card(r: Report, s: Saving) -> str:
    """One factor: how it is known first, and whether anyone vouches for it."""
    known = (r.by_load or "measured") if s.basis == "measured" else "in virtual time"
    state, look = ("", "card") if r.certified else (", not certified", "card muted")
    workload = s.shown.removesuffix(", measured")
    return (
        f'<div class="{look}"><i>{known}{state}</i><b>{amounts.times(s.factor)}</b>'
        f"<span>cheaper than the {escape(s.against)} baseline, {escape(workload)}</span></div>"
    )


def _priced(title: str, figures: Iterable[Figure | None], currency: str) -> str:
    """A column's title, with the currency that its cells leave out."""
    money = any(f is not None and f.unit == "money_per_1k" for f in figures)
    return f"{title}, {currency}" if money else title


def _savings(r: Report) -> str:
    if not r.savings:
        return ""
    rows = [
        (
            escape(s.shown),
            escape(s.against),
            escape(r.basis(s)),
            _figure(s.baseline_cost_per_1k, ""),
            _figure(s.winner_cost_per_1k, ""),
            f"<b>{amounts.times(s.factor)}</b>",
        )
        for s in r.savings
    ]
    head = [
        ("workload", False),
        ("against", False),
        ("cost", False),
        (_priced("baseline / 1k", (s.baseline_cost_per_1k for s in r.savings), r.currency), True),
        (_priced("winner / 1k", (s.winner_cost_per_1k for s in r.savings), r.currency), True),
        ("cheaper", True),
    ]
    text = (
        f"<h2>{'What is saved' if r.certified else 'What would be saved, not certified'}</h2>"
        "<p class=lead>Measured is the replay on this machine; the others are the same server in "
        "virtual time. Attributed cost counts the device seconds that the "
        "requests used; provisioned cost counts the machines that hold the latency contract, idle "
        "or not. Naive is fp32, one request at a time, nothing padded; tuned is fp32 with the best "
        "engine, batch and threads.</p>" + _table(head, rows)
    )
    if r.assumed_repeats:
        text += f"<p>{_said(r.assumed_repeats)}</p>"
    if r.shares:
        text += _plot(
            lambda width: plots.shares(r.shares, width=width),
            "Leave one out: the winner's cost without each optimization, everything else as it is. "
            "The factors need not multiply to the whole: optimizations share what they save.",
        )
    return text


def _index(r: Report) -> str:
    if r.index is None:
        return ""
    rows = [(escape(label), escape(text)) for label, text in r.index.lines(r.currency)]
    return (
        "<h2>The index that the winner needs</h2><p class=lead>A vector of one encoder says "
        "nothing to another, so the winner was judged with an index of its own. Kept index: its "
        "queries against the vectors of the current release, as points against that release."
        f" {_ref(r.index.machine.entry)}</p>" + _table(_PAIRS, rows)
    )


def _candidates(r: Report) -> str:
    if not r.candidates:
        return ""
    metrics = r.compared
    head = [
        ("candidate", False),
        ("verdict", False),
        *(
            (
                _priced(words.title(m), (c.figures.get(m) for c in r.candidates), r.currency),
                True,
            )
            for m in metrics
        ),
        ("batch invariance", False),
    ]
    rows = [
        (
            f"<b>{escape(c.name)}</b>",
            _badge(c.verdict),
            *(_figure(c.figures.get(m), "") for m in metrics),
            escape(c.batch_invariance.replace("_", " ")) or words.NOTHING,
        )
        for c in r.candidates
    ]
    reasons = "".join(
        f"<li><b>{escape(c.name)}</b>: "
        + _said(c.why or "no reason was recorded")
        + (f"<small>expected: {_said(c.forecast)}</small>" if c.forecast else "")
        + (f"<small>{_said(c.escalates)}</small>" if c.escalates else "")
        + (f"<small>not faster: {_said(c.not_faster)}</small>" if c.not_faster else "")
        + "</li>"
        for c in r.candidates
    )
    lead = f"<p class=lead>The search: {_said(r.search)}.</p>" if r.search else ""
    text = "<h2>What was tried</h2>" + lead + _table(head, rows)
    if r.two_bases:
        text += f"<p class=lead>{words.IN_BATCHES}</p>"
    text += f"<ul class=reasons>{reasons}</ul>"
    first = next(
        (
            m
            for m in metrics
            if any(c.figures[m].unit in _RELATIVE for c in r.candidates if m in c.figures)
        ),
        None,
    )
    if first and "cost_per_1k" in metrics:
        text += _plot(
            lambda width: plots.quality_against_cost(
                _as_certified(r),
                quality=first,
                cost="cost_per_1k",
                limit=_allowed(r, first),
                currency=r.currency,
                width=width,
            ),
            "Each build on the evaluation split, paired item by item with the baseline; bars are "
            "one-sided 95 % bounds to each side. Filled: may be promoted.",
        )
    return text


def _expectations(r: Report) -> str:
    text = ""
    if r.expectations:
        met = [e for e in r.expectations if e.held is not None]
        held = sum(e.held is True for e in met)
        told = f" {held} of {len(met)} intervals hold what was then measured." if met else ""
        text += (
            "<h2>What was expected</h2><p class=lead>Said from pilots, before anything was made "
            "for real. A row without a point was not measured: the candidate was left out, or "
            f"nothing measures it yet.{told}</p>"
        )
        text += _plot(
            lambda width: foresight.expectations(r.expectations, width=width),
            "Losses are against the baseline: above 0 is worse. The bar is the interval, its tick "
            "the forecast; where a point lies outside, the preview was wrong.",
        )
    if r.learning:
        text += _plot(
            lambda width: foresight.learning(r.learning, width=width),
            "How students learnt: the loss of each step's batch, smoothed; as points, the loss "
            "on texts that were held back.",
        )
    return text


def _as_certified(r: Report) -> Sequence[Candidate]:
    """The winner with its last verdict: what was accepted on one split may not be under load."""
    return [
        replace(c, verdict=r.action) if c.name == r.judged and c.verdict != "baseline" else c
        for c in r.candidates
    ]


def _allowed(r: Report, metric: str) -> float | None:
    """The difference to the current that the contract allows; None where there is none."""
    for sign, side in ((-1, "below"), (1, "above")):
        for row in r.contracts:
            if row.rule.startswith(f"{metric} not {side} current by "):
                return sign * float(row.rule.rsplit(" ", 1)[1])
    return None


def _contracts(r: Report) -> str:
    if not r.contracts:
        return ""
    rows = [
        (
            f"{_said(c.rule)}<small>{_prose(c.why)}</small>",
            escape(c.axis),
            _badge(c.verdict),
            _figure(c.figure, r.currency)
            if c.figure and c.figure.unit != "class"
            else words.NOTHING,
            _said(c.because)
            + (f"<small>{escape(c.flips)}</small>" if c.flips else "")
            + (f"<small>{_said(c.changed)}</small>" if c.changed else "")
            + _slices(c, r.currency),
            _ref(c.figure.entry) if c.figure else words.NOTHING,
        )
        for c in r.contracts
    ]
    head = [
        ("contract", False),
        ("axis", False),
        ("verdict", False),
        ("measured", True),
        ("because", False),
        ("entry", False),
    ]
    return (
        "<h2>The winner against its contracts</h2><p class=lead>Judged on the "
        f"{escape(r.certified_on)} split and under real load.</p>" + _table(head, rows)
    )


def _slices(c: ContractRow, currency: str) -> str:
    if not c.slices:
        return ""
    rows = [(escape(name), _figure(figure, currency)) for name, figure in c.slices.items()]
    table = _table([("slice", False), ("measured", True)], rows)
    return f"<details><summary>{len(rows)} slices, not judged</summary>{table}</details>"


def _load(r: Report) -> str:
    if not r.distributions and not r.predictions:
        return ""
    limit = next(
        (
            float(c.rule.rsplit(" ", 1)[1])
            for c in r.contracts
            if c.rule.startswith("latency_p95 at most ")
        ),
        None,
    )
    title = ", ".join(filter(None, ("Under load, predicted and measured", r.by_load)))
    text = f"<h2>{title}</h2>"
    if r.distributions:
        text += _plot(
            lambda width: plots.latency_distributions(r.distributions, limit_s=limit, width=width),
            "Open-loop replay of the workload through the server, in alternating segments, faster "
            "or slower than it comes: each variant is loaded with the same share of what it can "
            "take. Dashed is what the simulator said of the same requests, with the same policies "
            "in virtual time.",
        )
    if r.predictions:
        text += _plot(
            lambda width: plots.predicted_against_measured(r.predictions, width=width),
            "Every prediction that can be held against a measurement.",
        )
    return text


def _costs(r: Report) -> str:
    if not r.breakdown:
        return ""
    plan = _table(_PAIRS, [(escape(k), escape(v)) for k, v in r.plan.items()]) if r.plan else ""
    return (
        "<h2>Where the money goes</h2>"
        + _plot(
            lambda width: plots.cost_breakdown(r.breakdown, currency=r.currency, width=width),
            "Device time by what it was spent on.",
        )
        + plan
    )


def _curves(r: Report) -> str:
    if not r.curves:
        return ""
    return "<h2>Service time</h2>" + _plot(
        lambda width: plots.service_curves(r.curves, width=width),
        "Dots: measured medians, interleaved. Lines: the fitted curve that the scheduler and the "
        "simulator use.",
    )


def _power(r: Report) -> str:
    if not r.power:
        return ""
    rows = [
        (
            _said(p.rule),
            amounts.count(p.n),
            escape(p.assumed),
            amounts.percent(p.power),
            words.NOTHING if p.required_n is None else amounts.count(p.required_n),
        )
        for p in r.power
    ]
    head = [
        ("contract", False),
        ("n", True),
        ("assumed", False),
        ("power", True),
        ("n needed", True),
    ]
    return (
        "<h2>What these contracts can tell</h2><p class=lead>Computed before anything was judged: "
        "the chance that a candidate without any true loss keeps each of them, and the n that each "
        "needs for its share of keeping all in 80 %: where n is at least that, the data suffice. "
        "Of slices both are of the smallest, the others being larger in proportion, and the power "
        "is that of keeping all of them.</p>" + _table(head, rows)
    )


def _steps(r: Report) -> str:
    if not r.steps:
        return ""
    rows = [
        (escape(s.name), "reused" if s.reused else "ran", amounts.seconds(s.seconds), _ref(s.entry))
        for s in r.steps
    ]
    head = [("transformation", False), ("", False), ("took", True), ("entry", False)]
    return "<h2>What was done</h2>" + _table(head, rows)


def _notes(r: Report) -> str:
    if not r.caveats:
        return ""
    items = "".join(f"<li>{_said(n)}</li>" for n in r.caveats)
    return f"<h2>Before you believe it</h2><ul>{items}</ul>"
