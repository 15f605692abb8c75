"""The report shows what it is given, in every form, and nothing else."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import re
from html import escape
from xml.etree import ElementTree

import pytest
from rich.console import Console

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
    as_json,
    html,
    plots,
    print_report,
    render_html,
)

ENTRY = "sha256:" + "ab" * 32


def figure(value: float, unit: str, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value, unit, ENTRY, low, high)


def full_report() -> Report:
    """A report with every section; the numbers are made up and only shown."""
    cost = "money_per_1k"
    rows = [
        ("fp32", "baseline", 0.0, 0.0, 0.0, 0.0801, 0.0071),
        ("bf16", "accept", -0.0007, -0.004, 0.0026, 0.0412, 0.0049),
        ("int8-dynamic", "rollback", -0.0051, -0.0112, 0.001, 0.037, 0.0044),
        ("int8-static", "accept", -0.0031, -0.0077, 0.0015, 0.0169, 0.0032),
        ("student3-int8", "accept", -0.0089, -0.0168, -0.001, 0.0091, 0.0019),
    ]
    candidates = tuple(
        Candidate(
            name,
            True,
            "cheapest that keeps every promise" if i == 4 else "",
            verdict,
            {
                "recall@10": figure(q, "points", low, high),
                "latency_p95": figure(p95, "s"),
                "cost_per_1k": figure(c, cost, c * 0.97, c * 1.04),
                "speedup": figure(0.0801 / c, "ratio", 0.078 / c, 0.082 / c),
            },
            batch_invariance="within_epsilon",
            forecast="1.9x, 22 MiB" if i else "",
        )
        for i, (name, verdict, q, low, high, c, p95) in enumerate(rows)
    )
    points = tuple((n, t, 1e-3 + 1e-4 * n * t) for n in (1, 4, 16) for t in (8, 32, 128))
    quantiles = tuple((i / 100, 0.002 * 1.05**i) for i in range(1, 100))
    return Report(
        endpoint="python-help", task="embed", action="accept",
        because="recall@10 loses 0.9 points (at most 1.7), 2 allowed; every other promise is kept.",
        decision=ENTRY, judged="student3-int8", winner="student3-int8", winner_id=ENTRY,
        generation=1, current_id=ENTRY,
        hardware={"cores": "2", "flags": "avx512_vnni avx512_bf16"},
        created_at="2026-11-24T14:00:00Z",
        next_command="headgate serve -f headgate.yaml", next_why="It is current. Serve it:",
        candidates=(*candidates, Candidate("gptq", False, "no int4 kernel here", "skipped")),
        contracts=(
            ContractRow("recall@10 not below current by 0.02", "quality", "pass",
                        "lost 0.9 points, at most 1.7", figure(-0.009, "points"), "2026 goal"),
            ContractRow("latency_p95 at most 0.04", "latency", "pass", "p95 is 12 ms",
                        figure(0.012, "s"), "page budget"),
        ),
        savings=(
            Saving("no repeats, cache off", "naive", "attributed", figure(0.08, cost),
                   figure(0.0091, cost)),
            Saving("Zipf, cache on", "naive", "attributed", figure(0.08, cost),
                   figure(0.005, cost)),
            Saving("the replay, measured", "naive", "measured", figure(0.08, cost),
                   figure(0.02, cost)),
        ),
        shares=(Share("batching", figure(1.7, "times"), "one at a time"),
                Share("caching", figure(1.8, "times"), "no cache")),
        predictions=(Prediction("student3-int8", "p95", figure(0.011, "s"), figure(0.0124, "s")),
                     Prediction("fp32", "p95", figure(0.031, "s"), figure(0.028, "s"))),
        curves=(Curve("fp32", ENTRY, points, tuple(s for _, _, s in points), "tokens"),
                Curve("student3-int8", ENTRY, points, tuple(s / 4 for _, _, s in points),
                      "tokens")),
        distributions=(Distribution("fp32", ENTRY, "measured", quantiles),
                       Distribution("student3-int8", ENTRY, "measured",
                                    tuple((q, t / 5) for q, t in quantiles)),
                       Distribution("student3-int8", ENTRY, "predicted",
                                    tuple((q, t / 6) for q, t in quantiles))),
        power=(PowerRow("recall@10 not below current by 0.02", 1300, "4 % discordant", 0.97, 620),),
        breakdown={"fp32": {"tokens": figure(0.07, cost), "padding": figure(0.01, cost)},
                   "student3-int8": {"tokens": figure(0.006, cost)}},
        plan={"instances": "2 of 1 thread", "cache": "64 MiB, LRU"},
        steps=(Step("export", ENTRY, 9.3, "2026-11-28T08:34:17.630Z", reused=False),),
        notes=("Measured on two cores that other programs share.",),
    )  # fmt: skip


def test_the_page_is_self_contained() -> None:
    """No script, no reference to anything outside the page."""
    page = render_html(full_report())
    assert "<script" not in page
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith("#") for link in links)


def test_every_plot_is_well_formed_svg() -> None:
    """All six plots are drawn, for a wide and for a narrow screen, and each parses as XML."""
    svgs = re.findall(r"<svg.*?</svg>", render_html(full_report()), re.S)
    assert [svg.count('class="wide"') for svg in svgs] == [1, 0] * 6
    for svg in svgs:
        ElementTree.fromstring(svg.replace("xlink:href", "href"))


def test_the_same_report_gives_the_same_page() -> None:
    """Nothing random or dated gets into the page."""
    assert render_html(full_report()) == render_html(full_report())


def test_text_from_outside_is_escaped() -> None:
    """A candidate's reason cannot inject markup."""
    report = full_report()
    evil = Candidate("<b>x</b>", False, "<script>alert(1)</script>", "skipped")
    page = render_html(
        Report(**{f: getattr(report, f) for f in report.__slots__ if f != "candidates"},
               candidates=(evil,))
    )  # fmt: skip
    assert "<script>" not in page


def test_what_stands_in_backticks_is_set_as_code() -> None:
    """Whoever says it: no backtick is left on the page, and what is in them is escaped."""
    report = dataclasses.replace(
        full_report(),
        because="`a` is at fault",
        next_why="`headgate serve -f <file>` serves the baseline.",
        search="it ended because of `budget`",
        notes=("`headgate preview` says",),
        candidates=(Candidate("x", False, "see `y`", "skipped", forecast="`z`", not_faster="`f`"),),
    )
    page = render_html(report)
    assert "`" not in page
    assert "<code>headgate serve -f &lt;file&gt;</code> serves the baseline." in page
    for word in ("a", "budget", "headgate preview", "y", "z", "f"):
        assert f"<code>{word}</code>" in page


def test_times_in_sentences_are_durations_everywhere() -> None:
    """Of candidates, the search and the notes: 50 µs and no power of ten."""
    late = "5e-05 s late"
    report = dataclasses.replace(
        full_report(),
        because=late,
        search=late,
        notes=(late,),
        candidates=(Candidate("x", False, late, "skipped", not_faster=late),),
    )
    for text in (render_html(report), terminal(report)):
        assert "5e-05" not in text
        assert text.count("50.0 µs late") == 5


def test_a_cell_of_which_nothing_is_known_has_a_dash() -> None:
    """The batch column as any other: gptq was never made."""
    report = full_report()
    dashes = ["–"] * (len(report.compared) + 1)
    assert " ".join(["gptq skipped", *dashes, "Cost is"]) in terminal(report)
    (cells,) = re.findall(r"<tr><td[^>]*><b>gptq</b></td>(.*?)</tr>", render_html(report))
    assert cells.count(">–</td>") == len(dashes)


@pytest.mark.parametrize(
    ("name", "metrics", "columns"),
    [
        ("mlp", {"error": "difference"}, ["error", "device time per 1k", "speedup"]),
        ("mlp", {"error": "difference", "agreement": "share"},
         ["error", "agreement", "device time per 1k", "speedup"]),
        ("m" * 28, {"error": "difference", "agreement": "share"}, ["error", "device time per 1k"]),
        ("m" * 28, {"agreement": "share"}, ["agreement", "device time per 1k"]),
        ("m" * 50, {"error": "difference"}, ["error"]),
        ("mlp", {"mrr@10": "points"}, ["mrr@10", "device time per 1k", "speedup"]),
        ("mlp", {"mrr@10": "points", "recall@10": "points", "worst_slice_recall@10": "points"},
         ["recall@10", "device time per 1k", "speedup"]),
    ],
)  # fmt: skip
def test_a_narrow_terminal_shows_the_quality_that_is_judged_by(
    name: str, metrics: dict[str, str], columns: list[str]
) -> None:
    """A metric of one's own in its own unit, as any that is built in; it goes last of all."""
    others = {
        "latency_p95": figure(0.004, "s"),
        "device_s_per_1k": figure(4.0, "s"),
        "speedup": figure(3.0, "ratio"),
    }
    seen = {metric: figure(0.0125, unit) for metric, unit in metrics.items()}
    report = dataclasses.replace(
        full_report(), candidates=(Candidate(name, True, "", "accept", {**seen, **others}),)
    )
    out = io.StringIO()
    print_report(report, Console(file=out, width=80))
    _, _, table = out.getvalue().partition("What was tried")
    head, row = table.splitlines()[1:3]
    assert re.split(r"  +", head.strip()) == ["tried", "verdict", *columns, "batch"]
    shown = {"difference": "+0.0125", "share": "1.2 %", "points": "+1.2 %"}
    assert f" {shown[metrics[columns[0]]]} " in row


def test_where_columns_are_folded_each_cell_says_what_it_is_of() -> None:
    """On a phone a row of many columns is a list; no column is out of sight."""
    page = render_html(full_report())
    tables = re.findall(r"<table( class=fold)?>(.*?)</table>", page, re.S)
    assert {bool(folds) for folds, _ in tables} == {True, False}
    for folds, table in tables:
        titles = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", table)
        assert bool(folds) is (len(titles) > 4)
        for row in re.findall(r"<tr>(<td.*?)</tr>", table, re.S) if folds else ():
            assert re.findall(r'<td[^>]* data-of="(.*?)">', row) == titles


def test_json_names_the_ledger_entry_of_every_figure() -> None:
    """Wherever there is a value, there is an entry."""
    body = json.loads(json.dumps(as_json(full_report())))

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if "value" in node:
                assert node["entry"].startswith("sha256:")
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(body)
    assert body["savings"][0]["factor"] == pytest.approx(0.08 / 0.0091)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_report_fits_its_width(width: int) -> None:
    """No line is wider than the terminal, and the next command stands whole on its line."""
    out = io.StringIO()
    print_report(full_report(), Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    assert any(line.strip() == "headgate serve -f headgate.yaml" for line in lines)


@pytest.mark.parametrize(
    ("requests", "days", "pays"),
    [(21_788.0, 0.5, "21,788 requests, 720 min at the workload's rate"),
     (None, None, "never: nothing is saved")],
)  # fmt: skip
def test_the_price_of_a_new_index_stands_beside_the_saving(
    requests: float | None, days: float | None, pays: str
) -> None:
    """What it takes and costs, what it saves, when that has paid, and what the kept index would
    lose; where a second has no price, its seconds."""
    index = NewIndex(
        items=1_200_000,
        declared=requests is not None,
        machine=figure(24_000.0, "s"),
        cost=figure(0.48, "USD"),
        saved_per_1k=figure(0.02, "money_per_1k"),
        break_even_requests=requests,
        break_even_days=days,
        kept={"recall@10_kept_index": figure(-0.12, "points", -0.15, -0.09)},
    )
    report = dataclasses.replace(full_report(), index=index)
    console = Console(width=100, file=io.StringIO(), record=True)
    print_report(report, console)
    said, page = console.export_text(), render_html(report)
    for text in (
        "400 min of the machine, 0.480 USD",
        "0.0200 USD per 1,000 requests",
        pays,
        "−12.0 % (−15.0 % … −9.0 %)",
        "recall@10 kept index",
    ):
        assert text in said
        assert escape(text) in page
    assert ("index_items" in said) is (requests is None)
    assert json.loads(json.dumps(as_json(report)))["index"]["break_even_requests"] == requests
    unpriced = dataclasses.replace(index, cost=None)
    assert dict(unpriced.lines("USD"))["embedding them anew"] == "400 min of the machine"
    assert "The index that the winner needs" not in render_html(full_report())


def test_what_is_no_faster_is_told_why_everywhere() -> None:
    """In words on the terminal and on the page, and in a field of its own."""
    report = full_report()
    slow = dataclasses.replace(report.candidates[2], not_faster="this CPU has none of avx_vnni")
    report = dataclasses.replace(report, candidates=(slow,))
    console = Console(width=100, file=io.StringIO(), record=True)
    print_report(report, console)
    assert "int8-dynamic is not faster: this CPU has none of avx_vnni" in console.export_text()
    assert "not faster: this CPU has none of avx_vnni" in render_html(report)
    body = json.loads(json.dumps(as_json(report)))
    assert body["candidates"][0]["not_faster"] == "this CPU has none of avx_vnni"
    assert "not faster" not in render_html(full_report())


def test_what_is_compared_on_two_bases_says_what_each_is_of() -> None:
    """The cost of the baseline is one at a time; what others cost, their speed-up, and how much
    dearer one is predicted to be are of batches. Where nothing of that is there no word is
    needed."""
    report = full_report()
    baseline, *others = report.candidates
    told = "predicted to cost so many times as much, are of both in batches"

    def says(*candidates: Candidate) -> bool:
        shown = dataclasses.replace(report, candidates=candidates)
        on_page, on_terminal = told in render_html(shown), told in terminal(shown)
        assert on_page == on_terminal
        return on_page

    bare = Candidate("x", False, "", "skipped")
    assert says(baseline, *others)
    for metric in ("cost_per_1k", "speedup"):
        figures = {metric: others[0].figures[metric]}
        assert says(baseline, dataclasses.replace(bare, figures=figures))
    dearer = "predicted to cost 1.95 times as much as int8_static"
    assert says(baseline, dataclasses.replace(bare, why=dearer))
    assert not says(dataclasses.replace(baseline, figures={}), bare)


def test_how_much_a_cascade_escalates_stands_with_it() -> None:
    """On the page and on a terminal."""
    told = "its teacher is asked about 0 of the 400 requests"
    report = full_report()
    first, *others = report.candidates
    cascade = dataclasses.replace(first, escalates=told)
    shown = dataclasses.replace(report, candidates=(cascade, *others))
    assert told in render_html(shown)
    assert f"{first.name}: {told}" in terminal(shown)


CURRENT = "sha256:" + "2b" * 32
HEADS = {
    "promoted": ({}, ["generation 1 · decision abababababab · variant abababababab"]),
    "not accepted": (
        {"action": "unknown", "generation": 0, "current_id": CURRENT},
        ["current: generation 0, baseline 2b2b2b2b2b2b",
         "judged: variant abababababab, decision abababababab"],
    ),
    "accepted over a release, and not promoted": (
        {"generation": 3, "current_id": CURRENT},
        ["current: generation 3, variant 2b2b2b2b2b2b",
         "judged: variant abababababab, decision abababababab"],
    ),
    "nothing was promoted": (
        {"generation": None, "current_id": ""},
        ["nothing is current yet", "judged: variant abababababab, decision abababababab"],
    ),
    "refused before any load test": (
        {"action": "rollback", "generation": 0, "current_id": CURRENT, "judged": "bf16",
         "winner": "baseline", "winner_id": CURRENT},
        ["current: generation 0, baseline 2b2b2b2b2b2b", "judged: bf16, decision abababababab"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "lines"), HEADS.values(), ids=HEADS)
def test_the_head_says_what_is_current_apart_from_what_was_judged(
    fields: dict[str, object], lines: list[str]
) -> None:
    """No generation stands beside a variant that is another's."""
    report = dataclasses.replace(full_report(), **fields)
    out = io.StringIO()
    print_report(report, Console(file=out, width=80))
    head, _, _ = out.getvalue().partition("\nWhat was tried")
    assert [line.rstrip() for line in head.rstrip("\n").splitlines()[-len(lines) :]] == lines
    assert f'<p class="lead">{"<br>".join(lines)}<br>' in render_html(report)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("replay.load", "contracts.recall@10"), "Promises were changed after a look"),
        (("replay.load",), "How promises are measured was changed after a look"),
    ],
)
def test_what_was_changed_after_a_look_is_said_at_the_head(
    changed: tuple[str, ...], said: str
) -> None:
    """An ACCEPT of what was promised late is not read alone; what was not changed is not told."""
    line = f'{said} at the holdout: see "Before you believe it".'
    report = dataclasses.replace(full_report(), changed=changed)
    assert line in terminal(report).partition("What was tried")[0]
    assert f"<b>{escape(line)}</b>" in render_html(report).partition("<h2>")[0]
    for text in (terminal(full_report()), render_html(full_report())):
        assert "after a look" not in text


def test_an_empty_report_still_says_what_to_do() -> None:
    """With every section empty there is still a decision and a next command."""
    r = full_report()
    bare = Report(**{f: getattr(r, f) for f in (
        "endpoint", "task", "action", "because", "decision", "judged", "winner", "winner_id",
        "generation", "hardware", "created_at", "next_command", "next_why")})  # fmt: skip
    assert "headgate serve" in render_html(bare)


def cards(report: Report) -> list[str]:
    """The cards at the top of the page, as HTML."""
    return re.findall(r'<div class="card.*?</div>', render_html(report), re.S)


def terminal(report: Report) -> str:
    """The terminal report, with lines joined."""
    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    return " ".join(out.getvalue().split())


@pytest.mark.parametrize("action", ["accept", "warn"])
def test_a_certified_saving_says_how_it_is_known(action: str) -> None:
    """The measured factor comes first and is labelled, the others are in virtual time."""
    first, *others = cards(dataclasses.replace(full_report(), action=action))
    assert "<i>measured</i><b>4.0x</b>" in first
    assert len(others) == 2
    assert all("<i>in virtual time</i>" in card for card in others)


@pytest.mark.parametrize("action", ["unknown", "rollback", "invalid"])
def test_no_saving_is_promised_without_a_certificate(action: str) -> None:
    """Where the decision is not accept or warn, every card and both headings say so."""
    report = dataclasses.replace(full_report(), action=action)
    assert all("muted" in card and "not certified" in card for card in cards(report))
    assert "<h2>What would be saved, not certified</h2>" in render_html(report)
    assert "What would be saved, not certified" in terminal(report)


def test_latencies_of_contracts_are_durations() -> None:
    """The rule, its reason and the figure read in ms; a ratio of latencies has no unit."""
    reason = "latency_p95 = 0.08566 is somewhere in 0.071 to 0.12, on which side of 0.1; n = 9"
    ratio = "latency_p95 candidate / current = 0.4 (95 % bound 0.45) keeps 0.5; n = 9"
    report = dataclasses.replace(
        full_report(),
        contracts=(
            ContractRow("latency_p95 at most 0.1", "latency", "unknown", reason,
                        figure(0.08566, "s", 0.071, 0.12), ""),
            ContractRow("latency_p95 ratio to current at most 0.5", "latency", "pass", ratio,
                        figure(0.4, "ratio"), ""),
        ),
    )  # fmt: skip
    for text in (render_html(report), terminal(report)):
        assert "latency_p95 at most 100 ms" in text
        assert "85.7 ms is somewhere in 71.0 ms to 120 ms, on which side of 100 ms; n = 9" in text
        assert ratio in text
        assert "latency_p95 ratio to current at most 0.5" in text


def test_the_currency_stands_once_in_the_head_of_its_column() -> None:
    """Cells of money are numbers only."""
    tables = "".join(re.findall(r"<table.*?</table>", render_html(full_report()), re.S))
    assert "cost per 1k, USD</th>" in tables
    assert not re.search(r"<td[^>]*>[^/]*USD", tables)


def test_without_a_price_no_currency_is_named() -> None:
    """What is shown then is the machine's time."""
    whole = full_report()
    assert "What is saved (USD / 1k requests" in terminal(whole)
    spent = figure(0.08, "s")
    timed = dataclasses.replace(
        whole,
        candidates=(),
        savings=tuple(
            dataclasses.replace(s, baseline_cost_per_1k=spent, winner_cost_per_1k=spent)
            for s in whole.savings
        ),
        breakdown={"fp32": {"tokens": spent}},
    )
    assert "What is saved (time of the machine / 1k requests" in terminal(timed)
    assert "USD" not in terminal(timed) + render_html(timed)


def test_a_prediction_far_off_is_called_out_everywhere() -> None:
    """Beyond 50 % a sentence is added to what must be known before believing; below, none."""
    far = Prediction("int8", "p95", figure(0.6, "s"), figure(0.012, "s"))
    near = Prediction("int8", "p50", figure(0.014, "s"), figure(0.01, "s"))
    report = dataclasses.replace(full_report(), predictions=(far, near))
    said = (
        "int8's p95 was predicted 4,900 % off what was measured: trust the measured row of the "
        "savings, not the others."
    )
    assert report.caveats == (*report.notes, said)
    body = as_json(report)
    assert isinstance(body, dict)
    assert body["notes"] == list(report.caveats)
    assert said in terminal(report)
    assert escape(said) in render_html(report)
    priced = dataclasses.replace(
        report, savings=tuple(s for s in report.savings if s.basis != "measured")
    )
    assert priced.caveats[-1].endswith("off what was measured: the savings are not to be trusted.")


def test_a_void_load_test_is_nowhere_what_to_trust() -> None:
    """Its factor is called void wherever it stands, with the reason and what to do first."""
    far = Prediction("int8", "p95", figure(0.6, "s"), figure(0.012, "s"))
    late = "on the candidate: requests left 40.00 ms late at p99, limit 1.00 ms"
    report = dataclasses.replace(full_report(), action="invalid", predictions=(far,), void=(late,))
    first, *others = cards(report)
    assert "<i>by a load test that is void, not certified</i><b>4.0x</b>" in first
    assert not any("void" in card for card in others)
    said, *notes = report.caveats
    assert said.startswith(f"The load test is void: {late}. Nothing that it measured is to be ")
    assert "headgate" not in said, "the next command says what to type"
    assert [row["basis"] for row in as_json(report)["savings"]] == [
        "attributed", "attributed", "void",
    ]  # fmt: skip
    assert tuple(notes) == report.notes, "what is far off a void measurement may be right"
    for text in (terminal(report), " ".join(render_html(report).split())):
        assert "redicted and measured, by a load test that is void" in text
        assert "trust the measured row" not in text
    assert "the replay, measured naive void " in terminal(report)
    assert ">void</td>" in render_html(report)


def test_an_outlier_leaves_the_other_predictions_readable() -> None:
    """An error beyond 100 % is clipped, its number written; the axis stays within ±115 %."""
    rows = [
        Prediction("int8", "p95", figure(0.6, "s"), figure(0.012, "s")),
        Prediction("int8", "p50", figure(math.inf, "s"), figure(0.012, "s")),
        Prediction("int8", "cost", figure(0.9, "s"), figure(1.0, "s")),
    ]
    svg = plots.predicted_against_measured(rows)
    assert "+4,900 %" in svg
    assert "+∞ %" in svg
    ticks = {t.replace("−", "-") for t in re.findall(r">(−?\d+)</text>", svg)}
    assert max(abs(int(t)) for t in ticks) <= 100


def test_log_axes_are_labelled_with_plain_numbers() -> None:
    """No power of ten stands beside a plain number, in a curve of less than a decade either."""
    points = tuple((n, 8, 0.009 + 0.006 * n) for n in (1, 2, 4, 8))
    svg = plots.service_curves(
        [Curve("fp32", ENTRY, points, tuple(s for *_, s in points), "tokens")]
    )
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"20", "50"} <= set(texts)
    assert "×" not in svg
    assert "<tspan" not in svg


def test_answers_that_flipped_and_slices_stand_beside_a_contract() -> None:
    """An average of nothing hides ten answers won and ten lost; a slice hides behind the whole."""
    row = ContractRow(
        "recall@10 not below current by 0.02", "quality", "pass", "no difference",
        figure(0.0, "points"), "2026 goal", "10 answers won, 10 lost",
        {"family:system": figure(-0.05, "points", -0.09, -0.01)},
    )  # fmt: skip
    report = dataclasses.replace(full_report(), contracts=(row,))
    page = render_html(report)
    for text in (page, " ".join(terminal(report).split())):
        assert "10 answers won, 10 lost" in text
    assert "1 slices, not judged" in page
    assert "family:system" in page
    (told,) = as_json(report)["contracts"]
    assert told["slices"]["family:system"]["value"] == -0.05


def test_names_of_points_that_lie_together_do_not_touch() -> None:
    """Eight candidates at nearly one cost and one quality, each with its name to be read."""
    drawn = [
        Candidate(
            f"candidate{k}",
            True,
            "",
            "accept",
            {
                "recall@10": figure(0.0, "points", -0.01, 0.01),
                "cost_per_1k": figure(1e-5 * (1 + k % 4 / 50), "money_per_1k"),
            },
        )
        for k in range(8)
    ]
    svg = plots.quality_against_cost(
        drawn, quality="recall@10", cost="cost_per_1k", limit=-0.02, currency="USD"
    )
    texts = re.findall(
        r'text-anchor: (start|end)[^>]*? x="([\d.]+)" y="([\d.]+)"[^>]*>candidate\d<', svg
    )
    assert len(texts) == 8
    width, height = 0.5 * 9.5 * len("candidate0"), 9.5
    corners = [(float(x) - (width if a == "end" else 0), float(y)) for a, x, y in texts]
    for (x, y), (other_x, other_y) in itertools.combinations(corners, 2):
        assert abs(x - other_x) >= width or abs(y - other_y) >= height


def test_what_is_assumed_of_repeats_stands_with_the_savings_everywhere() -> None:
    """Below their table on a terminal and on the page, and as a field of its own."""
    told = "The repeats are assumed, not your callers'."
    report = dataclasses.replace(full_report(), assumed_repeats=told)
    after = terminal(report).partition("What is saved")[2]
    assert told in after.partition("What each optimization brings")[0]
    page = render_html(report).partition("<h2>What is saved")[2]
    assert escape(told) in page.partition("<h2>")[0]
    assert as_json(report)["assumed_repeats"] == told  # type: ignore[index]
    assert "assumed" not in terminal(full_report())


def texts_of(svg: str) -> list[str]:
    """All that is written in a drawing."""
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return ["".join(t.itertext()) for t in root.iter() if t.tag.endswith("}text")]


def compared(*costs: float, unit: str = "difference") -> list[Candidate]:
    """Builds of these costs, each half of a unit worse by an error of one's own."""
    return [
        Candidate(
            f"c{k}", True, "", "accept",
            {"error": figure(0.5, unit, 0.4, 0.6), "cost_per_1k": figure(c, "money_per_1k")},
        )
        for k, c in enumerate(costs)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ((0.01, 0.08), "USD"),
        ((2e-7, 5e-6), "millionths of a USD"),
        ((3e-8,), "billionths of a USD"),
    ],
)
def test_no_tick_of_a_cost_reads_zero(costs: tuple[float, ...], said: str) -> None:
    """A log axis has none; a small cost is so many millionths."""
    svg = plots.quality_against_cost(
        compared(*costs), quality="error", cost="cost_per_1k", limit=None, currency="USD"
    )
    texts = texts_of(svg)
    assert f"cost of 1,000 requests, {said} (log)" in texts
    assert "0" not in texts
    assert len({t for t in texts if re.fullmatch(r"[\d.]+", t)}) > 1


def test_a_bar_of_small_costs_has_no_power_of_ten_at_the_end_of_its_axis() -> None:
    """Numbers at the bars are in the unit of the axis."""
    svg = plots.cost_breakdown({"fp32": {"model": figure(8.58e-6, "money_per_1k")}}, currency="USD")
    texts = texts_of(svg)
    assert "8.58" in texts
    assert "cost of 1,000 requests, millionths of a USD" in texts
    assert not [t for t in texts if "1e" in t or "×" in t]
    in_time = plots.cost_breakdown({"fp32": {"model": figure(0.0858, "s")}}, currency="USD")
    assert {"85.8", "cost of 1,000 requests, ms of the machine"} <= set(texts_of(in_time))


def test_what_was_predicted_and_never_came_has_no_point() -> None:
    """Twenty hits of a hundred, and none: no share of nothing is an error of 0 %."""
    rows = [Prediction("fp32", "hits", figure(0.2, "share"), figure(0.0, "share"))]
    assert rows[0].relative_error is None
    point = Prediction("fp32", "p95", figure(0.031, "s"), figure(0.028, "s"))
    both, alone = (
        plots.predicted_against_measured(each).count("<use") for each in ([*rows, point], [point])
    )
    assert "20.0 % / 0.0 %" in plots.predicted_against_measured(rows)
    assert both - alone == 1, "the tick of its line, and no point"
    report = dataclasses.replace(full_report(), predictions=tuple(rows))
    assert "hits 20.0 % 0.0 % –" in terminal(report)
    assert as_json(report)["predictions"][0]["relative_error"] is None
    assert not any("hits" in caveat for caveat in report.caveats)


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        ("error not above current by 0.9", 0.9),
        ("error not below current by 0.9", -0.9),
        ("latency_p95 at most 0.04", None),
    ],
)
def test_the_margin_is_on_the_side_that_is_worse(rule: str, limit: float | None) -> None:
    """More of an error is worse, more of a recall is better."""
    row = dataclasses.replace(full_report().contracts[0], rule=rule)
    report = dataclasses.replace(full_report(), contracts=(row,))
    assert html._allowed(report, "error") == limit


@pytest.mark.parametrize(("action", "filled"), [("accept", 4), ("unknown", 3), ("rollback", 3)])
def test_a_winner_that_the_load_test_did_not_accept_is_not_drawn_as_accepted(
    action: str, filled: int
) -> None:
    """The search accepted it on one split; the verdict that counts is the last. The baseline has
    none."""
    report = dataclasses.replace(full_report(), action=action)
    verdicts = [c.verdict for c in html._as_certified(report)]
    assert verdicts[4] == action
    assert verdicts[0] == "baseline"
    assert [c.verdict for c in html._as_certified(report)].count("accept") == filled - 1


def test_no_legend_lies_over_a_curve() -> None:
    """It stands below the axes: its letters are lower than the label of the axis."""
    report = full_report()
    svg = plots.latency_distributions(report.distributions, limit_s=0.04)
    at = {
        text: float(y)
        for y, text in re.findall(r'<text[^>]*? y="([\d.]+)"[^>]*>([^<]*)</text>', svg)
    }
    placed = {
        text: float(y)
        for y, text in re.findall(
            r'<text[^>]*?transform="translate\([\d.]+ ([\d.]+)\)"[^>]*>([^<]*)</text>', svg
        )
    } | at
    assert placed["fp32, measured"] > placed["latency from the scheduled time, ms (log)"]


def test_a_phone_is_shown_drawings_that_are_made_for_it() -> None:
    """Not the wide ones, cut off or too small: those are hidden where these are shown."""
    page = render_html(full_report())
    narrow = re.findall(r'<svg class="narrow"[^>]*? width="([\d.]+)pt"', page)
    assert len(narrow) == 6
    assert {float(w) for w in narrow} == {4.4 * 72}
    phone = page.split("@media (max-width:600px)")[1].split("@media")[0]
    assert "svg.wide { display:none } svg.narrow { display:block }" in phone
    assert "svg.narrow { display:none }" in page.split("@media")[0]
    ids = [set(re.findall(r' id="((?:p|m)[0-9a-f]{10})"', svg))
           for svg in re.findall(r"<svg.*?</svg>", page, re.S)]  # fmt: skip
    for wide, small in zip(ids[::2], ids[1::2], strict=True):
        assert not wide & small
