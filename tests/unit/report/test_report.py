"""The report shows what it is given, in every form, and nothing else."""

from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from headgate.report import (
    Candidate,
    ContractRow,
    Curve,
    Distribution,
    Figure,
    PowerRow,
    Prediction,
    Report,
    Saving,
    Share,
    Step,
    as_json,
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
        decision=ENTRY, winner="student3-int8", winner_id=ENTRY, generation=1,
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
        ),
        shares=(Share("batching", figure(1.7, "times"), "one at a time"),
                Share("caching", figure(1.8, "times"), "no cache")),
        predictions=(Prediction("student3-int8", "p95", figure(0.011, "s"), figure(0.0124, "s")),
                     Prediction("fp32", "p95", figure(0.031, "s"), figure(0.028, "s"))),
        curves=(Curve("fp32", ENTRY, points, tuple(s for _, _, s in points)),
                Curve("student3-int8", ENTRY, points, tuple(s / 4 for _, _, s in points))),
        distributions=(Distribution("fp32", ENTRY, "measured", quantiles),
                       Distribution("student3-int8", ENTRY, "measured",
                                    tuple((q, t / 5) for q, t in quantiles)),
                       Distribution("student3-int8", ENTRY, "predicted",
                                    tuple((q, t / 6) for q, t in quantiles))),
        power=(PowerRow("recall@10 not below current by 0.02", 1300, "4 % discordant", 0.97, 620),),
        breakdown={"fp32": {"tokens": figure(0.07, cost), "padding": figure(0.01, cost)},
                   "student3-int8": {"tokens": figure(0.006, cost)}},
        plan={"instances": "2 of 1 thread", "cache": "64 MiB, LRU"},
        steps=(Step("export", ENTRY, 9.3, reused=False),),
        notes=("Measured on two cores that other programs share.",),
    )  # fmt: skip


def test_the_page_is_self_contained() -> None:
    """No script, no reference to anything outside the page."""
    page = render_html(full_report())
    assert "<script" not in page
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith("#") for link in links)


def test_every_plot_is_well_formed_svg() -> None:
    """All six plots are drawn, and each parses as XML."""
    svgs = re.findall(r"<svg.*?</svg>", render_html(full_report()), re.S)
    assert len(svgs) == 6
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


def test_an_empty_report_still_says_what_to_do() -> None:
    """With every section empty there is still a decision and a next command."""
    r = full_report()
    bare = Report(**{f: getattr(r, f) for f in (
        "endpoint", "task", "action", "because", "decision", "winner", "winner_id", "generation",
        "hardware", "created_at", "next_command", "next_why")})  # fmt: skip
    assert "headgate serve" in render_html(bare)
