"""What a report tells its reader to type next."""

from __future__ import annotations

import dataclasses
import html
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from headgate.objects import (
    Action,
    BatchingSpec,
    Bound,
    Build,
    CacheSpec,
    ContractResult,
    Variant,
    Verdict,
)
from headgate.optimize.audit import Audited, Notice
from headgate.optimize.blocks import BlockTimes
from headgate.optimize.comparisons import Comparisons
from headgate.optimize.holdout import Changed
from headgate.optimize.job import Job
from headgate.optimize.load import Side
from headgate.optimize.luck import Luck
from headgate.optimize.result import (
    Findings,
    _cheaper,
    _curve,
    _escalates,
    _left_open,
    _lengths,
    _next,
    _notes,
    _of_change,
    _of_length,
    _of_luck,
    _of_rates,
    _plan,
    _search,
    _Show,
    _under_other_policies,
    _without_labels,
    _without_times,
)
from headgate.optimize.searching import Searched
from headgate.optimize.stages import Baseline
from headgate.quantization.certificate import SpeedClaim
from headgate.quantization.speed import Speedup
from headgate.release import ANSWERS, LOAD, Change
from headgate.report import Report, print_report, render_html
from headgate.report.words import way_on

from .fakes import build, contract, curve, decision, invariance, priced, quality, speed, tried

HERE = Path("/srv/my models/headgate.yaml")
BASELINE = "sha256:" + "fedcba9876543210" * 4
ENTRY = "sha256:" + "0123456789abcdef" * 4


def judged(metric: str, verdict: Verdict) -> ContractResult:
    kept = contract(metric, Bound.AT_MOST, 1.0)
    return ContractResult(kept, verdict, 0.5, 0.4, 0.6, 9, "a test")


def ends_with(
    action: Action,
    results: tuple[ContractResult, ...],
    generation: int | None,
    engine: str = "onnxruntime",
    *,
    audited: bool = True,
    void: tuple[str, ...] = (),
    late: tuple[str, ...] = (),
    accepted: str = "",
    fruitless: object = None,
) -> tuple[str, str]:
    ran = [
        SimpleNamespace(seconds=s, measures=m)
        for s, m in ((100.0, True), (30.0, True), (60.0, False))
    ]
    job = SimpleNamespace(
        config=SimpleNamespace(path=HERE),
        recorder=SimpleNamespace(runs=ran),
        source=SimpleNamespace(build=build(engine=engine)),
    )
    return _next(
        cast("Job", job),
        action,
        results,
        ENTRY,
        baseline=BASELINE,
        generation=generation,
        promoted=generation is not None,
        audited=audited,
        void=void,
        late=late,
        accepted=accepted,
        fruitless=cast("Searched | None", fruitless),
    )


@pytest.mark.parametrize(
    ("action", "results", "generation", "expected"),
    [
        (Action.ACCEPT, (), 1, "headgate serve"),
        (Action.ACCEPT, (), None, "headgate optimize --promote"),
        (Action.ROLLBACK, (judged("latency_p95", Verdict.FAIL),), 0, "headgate show"),
        (
            Action.ROLLBACK,
            (judged("recall@10", Verdict.FAIL), judged("latency_p95", Verdict.UNKNOWN)),
            0,
            "headgate show",
        ),
        (Action.UNKNOWN, (judged("recall@10", Verdict.UNKNOWN),), 0, "headgate show"),
        (
            Action.UNKNOWN,
            (judged("latency_p95", Verdict.UNKNOWN),),
            0,
            "headgate optimize --fresh --promote",
        ),
        (
            Action.INVALID,
            (judged("cost_per_1k", Verdict.INVALID),),
            0,
            "headgate optimize --fresh --promote",
        ),
    ],
)
def test_every_outcome_ends_with_a_command_that_can_be_pasted(
    action: Action, results: tuple[ContractResult, ...], generation: int | None, expected: str
) -> None:
    """Noise is answered by measuring again, all else by looking; a blank in a path stays whole."""
    command, why = ends_with(action, results, generation)
    assert command.startswith(expected)
    assert str(HERE) in shlex.split(command)
    assert why.endswith(":")
    assert ENTRY not in command


@pytest.mark.parametrize(
    ("late", "accepted", "back"),
    [
        ((ANSWERS, LOAD), "", "headgate optimize --promote"),
        ((ANSWERS, LOAD), "c0ffee", "headgate optimize --promote"),
        ((ANSWERS,), "c0ffee", "headgate promote c0ffee -f"),
        ((ANSWERS,), "", "headgate optimize --fresh --promote"),
    ],
)
def test_after_an_edit_nothing_is_to_be_pasted_before_a_file_was_edited(
    late: tuple[str, ...], accepted: str, back: str
) -> None:
    """Answers cannot be unseen: the old rule or new rows come first, and a load test before them
    would spend a look for nothing. What is put back finds what it was decided by; times that were
    taken again under the other rule are not among that."""
    typed, why = ends_with(Action.INVALID, (), 0, late=late, accepted=accepted)
    assert typed == f"headgate gate --power -f '{HERE}'"
    assert f"Put back what was edited and type `{back} '{HERE}'`; or keep it, give new rows" in why
    assert f"take times again: `headgate optimize --fresh --promote '{HERE}'`" in why
    assert ends_with(Action.ROLLBACK, (), 0, late=late)[0].startswith("headgate show")


@pytest.mark.parametrize(
    ("accepted", "command", "says"),
    [
        ("", "headgate optimize --fresh --promote '{}'", "Take times again (one more look at the"),
        ("c0ffee", "headgate promote c0ffee -f '{}'", "Make current what this rule accepted"),
    ],
)
def test_where_the_rule_that_saw_the_answers_stands_nothing_is_to_be_put_back(
    accepted: str, command: str, says: str
) -> None:
    """Only the load test is another rule's. What this one accepted before counts; else times are
    taken again."""
    typed, why = ends_with(Action.INVALID, (), 0, late=(LOAD,), accepted=accepted)
    assert typed == command.format(HERE)
    assert says in why
    assert "ut back" not in why
    assert "new rows" not in why


def test_a_contract_that_was_changed_after_a_look_says_so_in_its_row() -> None:
    """And no other contract does."""
    prices = SimpleNamespace(device_second=0.0)
    config = SimpleNamespace(prices=prices)
    show = _Show(cast("Job", SimpleNamespace(config=config, unit=lambda metric: "s")))
    change = Change("contracts.latency_p95", "at most 0.1 s", "at most 0.2 s", looser=True)
    changed = [Changed(change, "2026-11-29T08:30:00.000Z", "2026-11-29T09:10:00.000Z")]
    row = show.contract(judged("latency_p95", Verdict.PASS), changed)
    assert row.changed == changed[0].describe()
    assert show.contract(judged("latency_p99", Verdict.PASS), changed).changed == ""
    report = Report(
        endpoint="docs", task="embed", action="accept", because="", decision=ENTRY, judged="x",
        winner="x", winner_id=ENTRY, generation=None, hardware={}, created_at="", next_command="",
        next_why="", contracts=(row,), notes=(_of_change(changed[0]),),
    )  # fmt: skip
    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    told = "was at most 100 ms, is at most 200 ms (looser); changed on 2026-11-29 09:10 UTC, and"
    for shown in (" ".join(out.getvalue().split()), render_html(report)):
        row_said, _, note = shown.partition("Before you believe it")
        assert told in row_said
        assert (
            f"The rule was changed after a look at the holdout: contracts.latency_p95 {told}"
            in note
        )


@pytest.mark.parametrize("binding", [None, "recall@10 at least 0.9"])
def test_where_nothing_is_left_the_search_says_why_and_the_report_what_to_do(
    binding: str | None,
) -> None:
    """The decision has no numbers then, and the baseline is no candidate of the gate's."""
    search = SimpleNamespace(entry=f"sha256:{'5ea5c4' * 8}", found=SimpleNamespace(binding=binding))
    command, why = ends_with(Action.UNKNOWN, (), 0, fruitless=search)
    assert command == "headgate show 5ea5c45ea5c4 -f '/srv/my models/headgate.yaml'"
    assert way_on(binding) in why
    assert (binding or "name other candidates") in why


@pytest.mark.parametrize("action", [Action.ACCEPT, Action.WARN])
def test_a_foreign_server_that_keeps_its_promises_is_not_to_be_promoted(action: Action) -> None:
    """There is nothing of it in the store; the numbers are all that there is to look at."""
    command, why = ends_with(action, (), None, engine="http")
    assert command.startswith("headgate show")
    assert why.startswith("Nothing was promoted.")


@pytest.mark.parametrize(
    ("generation", "serves"),
    [
        (
            None,
            "-f '/srv/my models/headgate.yaml' --variant fedcba987654` serves the baseline. Take",
        ),
        (0, "-f '/srv/my models/headgate.yaml'` serves the baseline until then. Take"),
        (3, "Generation 3 stays current. Take"),
    ],
)
def test_measuring_again_says_what_it_takes_and_what_is_served_until_then(
    generation: int | None, serves: str
) -> None:
    """Only what measures time is done again."""
    _, why = ends_with(Action.UNKNOWN, (judged("latency_p95", Verdict.UNKNOWN),), generation)
    assert serves in why
    assert "(about 2.17 min; the rest is reused)" in why
    assert "without --fresh the times of this run are reused" in why


@pytest.mark.parametrize(
    "results",
    [
        (judged("latency_p95", Verdict.UNKNOWN),),
        (judged("latency_p95", Verdict.FAIL),),
        (judged("recall@10", Verdict.PASS),),
    ],
)
def test_a_void_load_test_is_called_so_where_it_says_what_to_type(
    results: tuple[ContractResult, ...],
) -> None:
    """It is the generator that was late, and that says what is to be made quiet."""
    late = "on the current: requests left 0.7298 s late at p99, limit 0.013 s"
    command, why = ends_with(Action.INVALID, results, 0, void=(late, "and more"))
    assert command.startswith("headgate optimize --fresh --promote")
    worded = "on the current: requests left 730 ms late at p99, limit 13.0 ms; and more"
    assert why.startswith(f"The load test is void: {worded}. ")
    assert "too busy" not in why
    refused, _ = ends_with(Action.ROLLBACK, results, 0, void=(late,))
    assert refused.startswith("headgate show"), "harm that is shown stays so"


@pytest.mark.parametrize(
    ("quality", "time", "busy"),
    [
        (Verdict.PASS, Verdict.UNKNOWN, True),
        (Verdict.UNKNOWN, Verdict.UNKNOWN, False),
        (Verdict.FAIL, Verdict.UNKNOWN, False),
        (Verdict.PASS, Verdict.INVALID, False),
        (Verdict.PASS, Verdict.FAIL, False),
    ],
)
def test_a_candidate_that_noise_alone_kept_out_is_worth_measuring_again(
    quality: Verdict, time: Verdict, busy: bool
) -> None:
    """Already on the evaluate split; more of the same times tells nothing about quality."""
    results = (judged("recall@10", quality), judged("latency_p95", time))
    candidate = dataclasses.replace(
        tried("int8"), decision=dataclasses.replace(decision(Action.UNKNOWN), results=results)
    )
    found = _without_times([tried("skipped", None), candidate])
    assert tuple(found) == (results if busy else ())
    command, _ = ends_with(Action.UNKNOWN, tuple(found), None)
    assert command.startswith("headgate optimize --fresh --promote" if busy else "headgate show")


@pytest.mark.parametrize(
    ("quality", "time", "told"),
    [
        (
            Verdict.PASS,
            Verdict.UNKNOWN,
            "`headgate optimize --fresh '/srv/my models/headgate.yaml'",
        ),
        (Verdict.UNKNOWN, Verdict.PASS, "more data may tell, and `headgate gate --power -f '/srv/"),
        (Verdict.UNKNOWN, Verdict.UNKNOWN, "more data may tell"),
        (Verdict.FAIL, Verdict.UNKNOWN, None),
        (Verdict.PASS, Verdict.PASS, None),
    ],
)
def test_what_was_not_decided_of_a_candidate_says_what_would_decide_it(
    quality: Verdict, time: Verdict, told: str | None
) -> None:
    """Where the model as it is wins meanwhile, or nothing does; one that was refused stays so."""
    results = (judged("recall@10", quality), judged("latency_p95", time))
    candidate = dataclasses.replace(
        tried("int8"), decision=dataclasses.replace(decision(Action.UNKNOWN), results=results)
    )
    said = list(_left_open(job_with_notes(()), [tried("skipped", None), candidate]))
    assert len(said) == (told is not None)
    asked = job_with_notes(()), cast("Baseline", SimpleNamespace(build=build()))
    assert _notes(*asked, [candidate], None, Audited()) == said
    for line in said:
        assert line.startswith("int8 was neither accepted nor refused (a test")
        assert told is not None
        assert told in line


def test_a_command_in_a_note_is_printed_as_it_is_typed() -> None:
    """Numbers in the name of a directory are no times, whatever stands before them."""
    late = dataclasses.replace(
        judged("latency_p95", Verdict.UNKNOWN),
        because="latency_p95: current against itself differs by 0.02, more than 0.01",
    )
    candidate = dataclasses.replace(
        tried("int8"), decision=dataclasses.replace(decision(Action.UNKNOWN), results=(late,))
    )
    job = job_with_notes((), Path("/data/2026/5 s/headgate.yaml"))
    report = Report(
        endpoint="docs", task="embed", action="unknown", because="", decision=ENTRY, judged="int8",
        winner="baseline", winner_id=ENTRY, generation=0, hardware={}, created_at="",
        next_command="", next_why="", notes=tuple(_left_open(job, [candidate])),
    )  # fmt: skip
    out = io.StringIO()
    print_report(report, Console(file=out, width=400))
    for text in (out.getvalue(), html.unescape(render_html(report))):
        assert "differs by 20.0 ms, more than 10.0 ms)" in text
        assert "headgate optimize --fresh '/data/2026/5 s/headgate.yaml'" in text


def test_what_would_make_the_winner_cheaper_is_named() -> None:
    """Whoever reads a factor below 1 asks why it won."""
    full = SimpleNamespace(attributed_s=1.0)
    rows = [
        SimpleNamespace(instead=name, priced=SimpleNamespace(attributed_s=cost))
        for name, cost in (("bf16", 0.9), ("no cache", 1.6), ("fp32", 1.0))
    ]
    compared = SimpleNamespace(winner_workload=full, without=rows)
    assert _cheaper(cast("Comparisons", compared)) == ["bf16"]


@pytest.mark.parametrize(
    ("budget_s", "previewed_s", "binding", "spent"),
    [
        (None, 0.0, None, "12.0 s; it ended because everything was tried"),
        (
            60.0,
            5.0,
            "latency_p95 at most 0.01",
            "12.0 s, 5.00 s of it for previews; the budget was 60.0 s; measuring the baseline and "
            "certifying the winner are not part of it; it ended because everything was tried; what "
            "stands in the way is latency_p95 at most 10.0 ms",
        ),
        (
            1.0,
            0.0,
            None,
            "12.0 s; the budget was 1.00 s, which decides what is begun and cuts neither previews "
            "nor what is under way, nor pricing what is accepted and the model as it is; measuring "
            "the baseline and certifying the winner are not part of it; it ended because "
            "everything was tried",
        ),
    ],
)
def test_the_search_says_what_it_took_and_why_it_ended(
    budget_s: float | None, previewed_s: float, binding: str | None, spent: str
) -> None:
    """One sentence: how many were measured to the end; where no plan holds a promise, which one."""
    searched = SimpleNamespace(
        tried=[tried("int8", quality=quality({})), tried("bf16")],
        found=SimpleNamespace(spent_s=12.0, stopped="everything was tried", binding=binding),
        previewed_s=previewed_s,
    )
    searched.as_it_is = tried("fp32")
    job = SimpleNamespace(config=SimpleNamespace(search=SimpleNamespace(budget=budget_s)))
    assert _search(cast("Job", job), cast("Searched", searched)) == (
        f"1 of 2 candidates were measured wholly; finding out took {spent}"
    )
    searched.tried = []
    said = _search(cast("Job", job), cast("Searched", searched))
    assert said.startswith("no candidate is named beside the model as it is; finding out took 12.0")
    searched.as_it_is = None
    assert _search(cast("Job", job), cast("Searched", searched)) == "", "a server that is not ours"


@pytest.mark.parametrize(
    ("served", "batches", "parts"),
    [
        (
            build(),
            "at most 8 requests",
            ["model", "HTTP, cache"],
        ),
        (
            build(tokenizer="sha256:t"),
            "at most 8 requests, 512 tokens",
            ["model, tokens asked for", "model, padding", "HTTP, tokenizing, cache"],
        ),
        (
            build(engine="http"),
            "at most 8 requests, 512 characters",
            ["model, characters asked for", "model, padding", "HTTP, tokenizing, cache"],
        ),
    ],
)
def test_rows_of_numbers_have_no_tokens(served: Build, batches: str, parts: list[str]) -> None:
    """Nothing is said of tokens or padding where an item is a row of numbers."""
    at, cache = curve(), CacheSpec("lru", 1 << 20)
    offered = priced("int8", at, cache, BatchingSpec(8))
    side = SimpleNamespace(memory_bytes=300 << 20)
    findings = SimpleNamespace(
        plans=SimpleNamespace(chosen=offered),
        certificate=SimpleNamespace(replay=SimpleNamespace(candidate=side, current=side)),
    )
    lengths = _lengths(served)
    assert _plan(cast("Findings", findings), lengths)["batching"] == batches
    config = SimpleNamespace(prices=SimpleNamespace(device_second=0.0))
    show = _Show(cast("Job", SimpleNamespace(config=config)))
    assert [*show._parts(offered, lengths)] == parts
    assert _curve("fp32", at, lengths).lengths == lengths


def test_memory_says_of_what_it_is() -> None:
    """The whole server's is not that of one engine's process, which previews weigh."""
    offered = priced("int8", curve(), CacheSpec("lru", 1 << 20), BatchingSpec(8))
    now, new = (SimpleNamespace(memory_bytes=mib << 20) for mib in (293, 950))
    findings = SimpleNamespace(
        plans=SimpleNamespace(chosen=offered),
        certificate=SimpleNamespace(replay=SimpleNamespace(candidate=new, current=now)),
    )
    said = _plan(cast("Findings", findings), "tokens")["memory of the whole server"]
    assert said == (
        "950 MiB when the load test ended, with 1 instance and a cache (baseline 293 MiB)"
    )


def test_the_row_of_the_baseline_says_what_became_of_the_model_as_it_is() -> None:
    """It was chosen, and with what; or not, and why; where it was only dearer the search says
    so."""
    variant = Variant("fp32", "sha256:b", 1, BatchingSpec(1), CacheSpec("lru", 1 << 20))
    choice = SimpleNamespace(variant=variant)

    def said(skipped: str, offered: str | None) -> str:
        plans = SimpleNamespace(
            offer=SimpleNamespace(name=offered), chosen=SimpleNamespace(choice=choice)
        )
        searched = SimpleNamespace(
            as_it_is=tried("fp32", None) if skipped else tried("fp32"),
            plans=plans if offered else None,
        )
        return _under_other_policies(cast("Searched", searched))

    assert said("", "fp32") == "; chosen, with a cache"
    assert said("no reason", "bf16") == "; not chosen under other policies: no reason"
    assert said("no reason", None) == "; not chosen under other policies: no reason"
    assert said("", "bf16") == ""
    foreign = SimpleNamespace(as_it_is=None, plans=None)
    assert _under_other_policies(cast("Searched", foreign)) == ""


@pytest.mark.parametrize("void", [(), ("requests left late",)])
def test_where_the_model_as_it_is_wins_it_has_a_row_of_its_own(void: tuple[str, ...]) -> None:
    """With the p95 that was measured of it, unless that is void; the baseline's row stays."""
    job = SimpleNamespace(
        config=SimpleNamespace(prices=SimpleNamespace(device_second=0.0)), contracts=()
    )
    side = SimpleNamespace(quantile_s=lambda q: 0.02)
    replay = SimpleNamespace(candidate=side, void=void, run=SimpleNamespace(entry=ENTRY))
    variant = Variant("fp32", "sha256:b", 2, BatchingSpec(8), CacheSpec())
    findings = SimpleNamespace(
        winner=tried("fp32"),
        plans=SimpleNamespace(
            offer=SimpleNamespace(name="fp32"),
            chosen=SimpleNamespace(choice=SimpleNamespace(variant=variant)),
        ),
        certificate=SimpleNamespace(
            replay=replay, decision=decision(Action.ACCEPT), invariance=invariance()
        ),
    )
    baseline = SimpleNamespace(
        build=build("fp32"), quality=quality({}), invariance=invariance(), quality_run=None
    )
    searched = SimpleNamespace(
        tried=[], as_it_is=tried("fp32"), plans=findings.plans, speed=speed({"fp32": 1.0})
    )
    show = _Show(cast("Job", job))
    asked = cast("Baseline", baseline), cast("Searched", searched)
    before, own = show.candidates(*asked, cast("Findings", findings))
    assert (before.name, before.verdict) == ("fp32", "baseline")
    assert (own.name, own.verdict) == ("fp32, own policies", "accept")
    assert own.why.startswith("with batching and 2 instances")
    assert ("load test" in own.why) is not bool(void)
    values = {name: f.value for name, f in own.figures.items()}
    assert values == ({} if void else {"latency_p95": 0.02})
    findings.winner = tried("bf16")
    assert show.candidates(*asked, cast("Findings", findings)) == [before]


@pytest.mark.parametrize(("took_s", "factor"), [((0.02, 0.01), 2.0), ((0.02, 0.0), None)])
def test_what_took_no_time_that_a_processor_counts_is_not_called_cheaper(
    took_s: tuple[float, float], factor: float | None
) -> None:
    """A load test of tenths of a second; what was priced is compared all the same."""
    config = SimpleNamespace(prices=SimpleNamespace(device_second=0.0))
    found = priced("x", curve(), CacheSpec(), BatchingSpec())
    prices = ("naive_unique", "winner_unique", "naive_workload", "winner_workload")
    current, candidate = (SimpleNamespace(cpu_s_per_request=s) for s in took_s)
    replay = SimpleNamespace(
        current=current,
        candidate=candidate,
        cores=2,
        run=SimpleNamespace(entry=ENTRY),
        has_cpu_times=factor is not None,
    )
    findings = SimpleNamespace(
        comparisons=SimpleNamespace(tuned_unique=(found,), **dict.fromkeys(prices, found)),
        plans=SimpleNamespace(chosen=found),
        certificate=SimpleNamespace(replay=replay, against="baseline"),
    )
    rows = _Show(cast("Job", SimpleNamespace(config=config))).savings(
        cast("Findings", findings), None
    )
    assert [s.factor for s in rows if s.basis != "measured"] == [1.0] * 6
    assert [s.factor for s in rows if s.basis == "measured"] == ([factor] if factor else [])


def test_the_row_of_an_accepted_candidate_says_why_it_does_not_win() -> None:
    """Its verdict is the gate's; what it lost by is no promise."""
    slow = SpeedClaim(Speedup(1.0, 0.9, 1.1, 9, 1.0), 2, ENTRY, None)
    fields = {"invariance": invariance(), "claim": slow}
    show = _Show(
        cast(
            "Job",
            SimpleNamespace(config=SimpleNamespace(prices=SimpleNamespace(device_second=0.0))),
        )
    )
    lost = show._candidate(tried("bf16", **fields, skipped="it costs 1.05 times as much"))
    assert (lost.verdict, lost.why) == (
        "accept",
        "it says accept; not chosen: it costs 1.05 times as much",
    )
    assert show._candidate(tried("bf16", **fields)).why == "it says accept"


def test_no_interval_of_a_time_begins_below_zero() -> None:
    """One block in nine that was held up makes it wide; time is not negative."""
    quiet = speed({"fp32": 0.001}, alone_s=0.001)
    held_up = BlockTimes((0.09,) * 10, 0.09)
    blocks = dataclasses.replace(quiet, blocks=((held_up,), *quiet.blocks[1:]))
    prices = SimpleNamespace(device_second=0.0)
    job = SimpleNamespace(config=SimpleNamespace(prices=prices))
    shown = _Show(cast("Job", job))._speed(blocks, build("fp32"))
    assert {name: f.low for name, f in shown.items()} == {"latency_p95": 0, "device_s_per_1k": 0}


def test_a_winner_whose_evidence_is_not_whole_is_not_to_be_promoted_but_audited() -> None:
    """Typing --promote again would only be refused again."""
    command, why = ends_with(Action.ACCEPT, (), None, audited=False)
    assert command.startswith("headgate audit -f ")
    assert "its evidence is not whole" in why


def job_with_notes(scores: Sequence[object], path: Path = HERE) -> Job:
    """One of which nothing is to be noted but its forecasts' ``scores``."""
    job = SimpleNamespace(
        config=SimpleNamespace(gaps=(), path=path),
        inputs=SimpleNamespace(labelled=True, versions={"holdout": "sha256:h"}, own_requests=None),
        store=SimpleNamespace(entries=lambda kind: scores),
    )
    return cast("Job", job)


def test_what_was_found_of_the_evidence_is_among_the_notes() -> None:
    """What a promotion waits for, and what only its owner is told of."""
    scores: list[object] = []
    job = job_with_notes(scores)
    baseline = SimpleNamespace(build=build())
    stops = Notice(
        "docs/model", "sha256:m", "held_to", "it is held to nothing", "headgate optimize"
    )
    told = Notice("docs/train", "sha256:t", "stale", "it is 91 days old", "fetch newer data")
    audited = Audited((stops,), (told,))
    assert _notes(job, cast("Baseline", baseline), (), None, audited) == [
        "docs/model: held_to: it is held to nothing; to promote, headgate optimize",
        "docs/train: stale: it is 91 days old; it stops nobody: fetch newer data",
    ]
    missed = {
        "preview": "quantization",
        "about": "quality",
        "expected": {"value": 0.0, "low": -0.01, "high": 0.01},
        "truth": 0.02,
    }
    scores += [SimpleNamespace(body={**missed, "of": f"sha256:{k}"}) for k in range(5)]
    *_, said = _notes(job, cast("Baseline", baseline), (), None, Audited())
    whose = "Forecasts of schemes and small students"
    assert said.startswith(f"{whose}, quality: 0 of the last 5 intervals held")
    assert said.endswith("not to be trusted.")


def test_the_rate_of_a_load_test_is_explained_by_the_workloads() -> None:
    """Whoever declared 20 requests a second wonders at 1,543; who sees that a server answers more,
    at what its promise has to do with it."""
    current, fast, held = (
        cast("Side", SimpleNamespace(rate_per_s=rate, capacity_per_s=5 * rate, most_per_s=most))
        for rate, most in ((1543.2, None), (3660.0, 20000.0), (3660.0, 18000.0))
    )
    said = _of_rates(current, fast, share=0.2, workload_per_s=20.0)
    assert "with 0.2 of what it can take, 1,543/s and 3,660/s. The workload" in said
    assert "The workload comes at 20.0/s" in said
    said = _of_rates(current, held, share=0.2, workload_per_s=20.0)
    assert (
        "The winner answers 18,300/s at most, and by its plan keeps latency_p95 up to 18,000/s: "
        "that is what it can take. The workload comes at 20.0/s"
    ) in said


@pytest.mark.parametrize(
    ("log", "called"), [("access.jsonl", "The workload's log"), (None, "The drawn workload")]
)
def test_a_workload_that_ended_early_is_called_what_it_is(log: str | None, called: str) -> None:
    """Who has no log has none that was short; a side that had enough is not told of."""
    config = SimpleNamespace(
        replay=SimpleNamespace(seconds=10.0), workload=SimpleNamespace(log=log)
    )

    def side(duration_s: float) -> Side:
        parts = (SimpleNamespace(duration_s=duration_s / 2),) * 2
        return cast("Side", SimpleNamespace(segments=parts, rate_per_s=356.7))

    said = _of_length(cast("Job", SimpleNamespace(config=config)), side(9.5), side(5.6))
    assert [*said] == [
        f"{called} lasted 5.60 s of 10.0 s at the rate of the winner, 357 requests/s."
    ]


def test_a_winner_that_was_calibrated_says_how_much_luck_is_in_it_or_how_to_find_out() -> None:
    """One that was not calibrated says nothing."""
    found = Luck("int8_static", 150, 3, (), ("recall@10 varies",), ENTRY)
    described, warned = _of_luck(found, calibrated=True)
    assert described == f"{found.describe()}."
    assert warned == "Of int8_static, recall@10 varies."
    (asked,) = _of_luck(None, calibrated=True)
    assert "`headgate preview --resamples 3`" in asked
    assert _of_luck(None, calibrated=False) == []


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (
            0.0,
            "0 of the 400 requests of the workload (0.0 %): it answers all of them as its student",
        ),
        (0.0075, "3 of the 400 requests of the workload (0.8 %)"),
        (1.0, "400 of the 400 requests of the workload (100.0 %): it answers none of them by its"),
    ],
)
def test_a_cascade_says_how_often_its_teacher_is_asked(share: float, said: str) -> None:
    """Never and always are the ends at which it is no cascade; in the row of the candidate."""
    assert said in _escalates(share, 400)
    claim = SpeedClaim(Speedup(2.0, 1.9, 2.1, 9, 1.0), 2, ENTRY, None, share)
    config = SimpleNamespace(prices=SimpleNamespace(device_second=0.0))
    inputs = SimpleNamespace(workload=SimpleNamespace(items=("x",) * 400))
    show = _Show(cast("Job", SimpleNamespace(config=config, inputs=inputs)))
    row = show._candidate(tried("mlp_cascade", invariance=invariance(), claim=claim))
    assert row.escalates == _escalates(share, 400)
    alone = dataclasses.replace(claim, escalated_share=None)
    assert show._candidate(tried("mlp", invariance=invariance(), claim=alone)).escalates == ""


@pytest.mark.parametrize(
    ("metrics", "foreign", "said"),
    [
        (["agreement"], False, "There are no labels: quality here is agreement with the current"),
        (["off"], False, "quality here is off, by what your own function reads of a row."),
        (["off", "agreement"], False, "reads of a row, and agreement with the current release."),
        (["off"], True, "There are no labels: quality here is what your own metrics say."),
    ],
)
def test_a_metric_that_knows_what_is_right_is_not_called_agreement(
    metrics: list[str], foreign: bool, said: str
) -> None:
    """It may read the truth from elsewhere in a row."""
    promised = tuple(contract(m, Bound.AT_LEAST, 0.9) for m in metrics)
    job = SimpleNamespace(contracts=promised, own={"off": None})
    told = _without_labels(cast("Job", job), foreign=foreign)
    assert said in told
    assert ("agreement" in told) == ("agreement" in metrics)
