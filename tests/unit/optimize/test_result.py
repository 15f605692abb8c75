"""What a report tells its reader to type next."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.objects import Action, Bound, ContractResult, Verdict
from headgate.optimize.audit import Audited, Notice
from headgate.optimize.blocks import BlockTimes
from headgate.optimize.comparisons import Comparisons
from headgate.optimize.job import Job
from headgate.optimize.result import (
    _cheaper,
    _next,
    _notes,
    _search,
    _Show,
    _without_times,
)
from headgate.optimize.searching import Searched
from headgate.optimize.stages import Baseline

from .fakes import build, contract, decision, quality, speed, tried

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
    )


@pytest.mark.parametrize(
    ("action", "results", "generation", "expected"),
    [
        (Action.ACCEPT, (), 1, "headgate serve"),
        (Action.ACCEPT, (), None, "headgate optimize --promote"),
        (Action.ROLLBACK, (judged("latency_p95", Verdict.FAIL),), 0, "headgate show"),
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
    ("budget_s", "spent"), [(None, "in 12.0 s; "), (60.0, "in 12.0 s of 60.0 s; ")]
)
def test_the_search_says_what_it_took_why_it_ended_and_what_was_close(
    budget_s: float | None, spent: str
) -> None:
    """One sentence: how many were measured to the end, and what the others would have cost."""
    rows = [("int8", 1.0), ("bf16", 1.5), ("bf16", 1.2), ("student3", math.inf)]
    priced = [SimpleNamespace(name=name, provisioned_s=cost) for name, cost in rows]
    searched = SimpleNamespace(
        tried=[tried("int8", quality=quality({})), tried("bf16")],
        found=SimpleNamespace(spent_s=12.0, stopped="everything was tried"),
        plans=SimpleNamespace(chosen=priced[0], considered=priced),
    )
    job = SimpleNamespace(config=SimpleNamespace(search=SimpleNamespace(budget=budget_s)))
    assert _search(cast("Job", job), cast("Searched", searched)) == (
        f"1 of 2 candidates were measured wholly, {spent}the search ended: everything was tried; "
        "on the workload bf16 costs 1.20 times as much"
    )


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


def test_what_was_found_of_the_evidence_is_among_the_notes() -> None:
    """What a promotion waits for, and what only its owner is told of."""
    job = SimpleNamespace(
        config=SimpleNamespace(gaps=()),
        inputs=SimpleNamespace(labelled=True, versions={"holdout": "sha256:h"}, own_requests=None),
        store=SimpleNamespace(entries=lambda kind: scores),
    )
    scores: list[object] = []
    baseline = SimpleNamespace(build=build())
    stops = Notice(
        "docs/model", "sha256:m", "held_to", "it is held to nothing", "headgate optimize"
    )
    told = Notice("docs/train", "sha256:t", "stale", "it is 91 days old", "fetch newer data")
    audited = Audited((stops,), (told,))
    assert _notes(cast("Job", job), cast("Baseline", baseline), (), None, audited) == [
        "docs/model: held_to: it is held to nothing; to promote, headgate optimize",
        "docs/train: stale: it is 91 days old; it stops nobody: fetch newer data",
    ]
    missed = {
        "preview": "quantization",
        "about": "quality",
        "expected": {"value": 0.0, "low": -0.01, "high": 0.01},
        "truth": 0.02,
    }
    scores += [SimpleNamespace(body=missed)] * 5
    *_, said = _notes(cast("Job", job), cast("Baseline", baseline), (), None, Audited())
    assert said.startswith("Forecasts of quantization, quality: 0 of the last 5 intervals held")
    assert said.endswith("not to be trusted.")
