"""What the whole job comes to: the winner, the limit of its plan, exit codes, promotion."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.errors import Fault
from headgate.ledger import Store
from headgate.objects import (
    Action,
    BatchingSpec,
    Bound,
    CacheSpec,
    Contract,
    Decision,
    Release,
    Variant,
)
from headgate.optimize import main
from headgate.optimize.blocks import BlockTimes
from headgate.optimize.job import Job
from headgate.optimize.main import OptimizeResult, exit_code_of
from headgate.optimize.result import Findings
from headgate.optimize.searching import Searched
from headgate.optimize.stages import Baseline, Tried, p95_limit_s
from headgate.release import Rule
from headgate.report import Report

from .fakes import RUN, build, contract, decision, speed, tried

LOADED_S = 2.0 + 2.0 / 0.6 * math.log(0.7 / 0.05)
"""p95 of a server that takes 2 s for each request, at 0.7 of its capacity: E[W] = rho S / 0.6."""
AT_MOST, ABOVE, RATIO = Bound.AT_MOST, Bound.NOT_ABOVE_CURRENT_BY, Bound.RATIO_AT_MOST


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (Action.ACCEPT, 0),
        (Action.WARN, 0),
        (Action.ROLLBACK, 3),
        (Action.RETRAIN, 3),
        (Action.ESCALATE, 3),
        (Action.UNKNOWN, 4),
        (Action.INVALID, 4),
    ],
)
def test_every_action_has_its_exit_code(action: Action, code: int) -> None:
    """0 goes on, 3 stops, 4 does not know."""
    assert exit_code_of(action) == code


def test_a_promotion_that_is_refused_ends_with_3_though_the_gate_accepts() -> None:
    """As `promote` would; without --promote the same finding is a note."""
    report = cast("Report", None)
    assert OptimizeResult(Action.ACCEPT, report, (), refused=True).exit_code == 3
    assert OptimizeResult(Action.ACCEPT, report, ()).exit_code == 0


@pytest.mark.parametrize(
    ("contracts", "limit_s"),
    [
        ([contract("latency_p95", AT_MOST, 0.04)], 0.04),
        ([contract("latency_p95", AT_MOST, 0.04), contract("latency_p95", AT_MOST, 0.03)], 0.03),
        ([contract("latency_p95", ABOVE, 0.5)], LOADED_S + 0.5),
        ([contract("latency_p95", RATIO, 1.0)], LOADED_S),
        ([contract("latency_p95", RATIO, 0.5)], LOADED_S / 2),
        (
            [contract("latency_p95", AT_MOST, 9.0), contract("latency_p95", RATIO, 0.5)],
            LOADED_S / 2,
        ),
        ([contract("latency_p95", AT_MOST, 9.0), contract("latency_p95", ABOVE, 1.0)], 9.0),
        ([contract("latency_p99", AT_MOST, 0.01)], 20.0),
        ([contract("latency_p99", RATIO, 0.5)], 20.0),
        ([], 20.0),
    ],
)
def test_the_plan_keeps_the_tightest_promise_on_p95(
    contracts: list[Contract], limit_s: float
) -> None:
    """Absolute, or through a baseline of 2 s under load; without one, ten times the baseline."""
    times = speed({"fp32": 1.0}, alone_s=2.0)
    assert p95_limit_s(contracts, times, load=0.7) == pytest.approx(limit_s)


def test_the_loaded_baseline_waits_as_the_formula_of_its_queue_says() -> None:
    """Exponential services at 0.7 of capacity: p95 of the stay is ln(20) / 0.3 of a service.

    And an idle server has the p95 of a lone request.
    """
    n = 4000
    services = tuple(-math.log(1 - (k + 0.5) / n) for k in range(n))
    times = replace(speed({"fp32": 1.0}), blocks=((BlockTimes(services, 1.0),),))
    assert times.loaded_p95_s(0.7) == pytest.approx(math.log(20) / 0.3, rel=0.03)
    assert times.loaded_p95_s(0.01) == times.baseline_p95_s


def outcome(
    tries: list[Tried],
    findings: object = None,
    binding: str | None = None,
    own: Tried | None = None,
) -> tuple[Action, str, str, str]:
    job, baseline = SimpleNamespace(recorder=None), SimpleNamespace(build=build())
    searched = SimpleNamespace(tried=tries, found=SimpleNamespace(binding=binding), as_it_is=own)
    return main._outcome(
        cast("Job", job),
        cast("Rule", None),
        cast("Baseline", baseline),
        cast("Searched", searched),
        cast("Findings | None", findings),
    )


def findings(store: Store, action: Action) -> object:
    """A certified winner in the store, and the decision about it."""
    version = store.put_bytes(b"the winner")
    current = store.put_bytes(b"the baseline")
    judged = Decision(version, current, "holdout", (), action, f"it says {action.value}")
    run = replace(RUN, entry=store.append("run", {"decided": action.value}).id)
    return SimpleNamespace(
        winner=SimpleNamespace(name="bf16"),
        certificate=SimpleNamespace(decision=judged, version=version, run=run),
    )


def test_the_jobs_decision_is_that_of_the_certificate(store: Store) -> None:
    """Not that of the split which chose the winner."""
    action, because, entry, about = outcome([tried("bf16")], findings(store, Action.ROLLBACK))
    assert (action, because, about) == (Action.ROLLBACK, "it says rollback", "bf16")
    assert store.get(entry).body == {"decided": "rollback"}


def of_itself(store: Store, action: Action) -> object:
    """The same of the model as it is, with policies of its own."""
    variant = Variant("fp32", "sha256:b", 2, BatchingSpec(8), CacheSpec("lru", 1 << 20))
    chosen = SimpleNamespace(choice=SimpleNamespace(variant=variant))
    return SimpleNamespace(
        winner=SimpleNamespace(name="fp32"),
        plans=SimpleNamespace(chosen=chosen),
        certificate=findings(store, action).certificate,  # type: ignore[attr-defined]
    )


def test_of_the_model_as_it_is_the_decision_says_by_what_it_won(store: Store) -> None:
    """Its name says nothing of that."""
    _, because, _, about = outcome([tried("bf16")], of_itself(store, Action.ACCEPT))
    assert about == "fp32"
    assert because == "the model as it is, with batching, 2 instances and a cache: it says accept"


@pytest.mark.parametrize(
    ("certified", "beside", "code"),
    [
        (Action.ROLLBACK, [Action.ROLLBACK, Action.UNKNOWN], 4),
        (Action.ROLLBACK, [Action.INVALID], 4),
        (Action.ROLLBACK, [Action.ROLLBACK, Action.ACCEPT], 3),
        (Action.UNKNOWN, [Action.INVALID], 4),
        (Action.ACCEPT, [Action.UNKNOWN], 0),
        (Action.WARN, [Action.UNKNOWN], 0),
    ],
)
def test_a_refusal_of_the_model_as_it_is_hides_no_candidate_that_is_not_decided(
    store: Store, certified: Action, beside: list[Action], code: int
) -> None:
    """More data may still find the candidate good; what became of the model is said beside it."""
    tries = [tried(f"c{i}", action) for i, action in enumerate(beside)]
    action, because, _, about = outcome(tries, of_itself(store, certified))
    assert exit_code_of(action) == code
    own = f"the model as it is, with batching, 2 instances and a cache: it says {certified.value}"
    open_ = certified is Action.ROLLBACK and code == 4
    assert about == (f"c{len(beside) - 1}" if open_ else "fp32")
    assert because.endswith(own)
    assert (because == own) is not open_


def test_a_candidates_refusal_under_load_is_the_jobs_though_others_are_not_decided(
    store: Store,
) -> None:
    """It was the best of them, and was accepted before."""
    tries = [tried("bf16"), tried("student3", Action.UNKNOWN)]
    action, _, _, about = outcome(tries, findings(store, Action.ROLLBACK))
    assert (action, about) == (Action.ROLLBACK, "bf16")


def test_without_a_winner_the_job_accepts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that kept its promises and gains nothing is left out like any other, and says
    why; nothing is there to promote."""
    unknown = decision(Action.UNKNOWN)
    monkeypatch.setattr(main, "judge_candidate", lambda *_, **__: (unknown, RUN))
    bf16 = tried("bf16", skipped="it costs 1.05 times as much")
    own = tried("fp32", None)
    action, because, _, about = outcome([bf16], own=own)
    assert (action, about) == (Action.UNKNOWN, "no candidate")
    assert because == ("no candidate is left (bf16: it costs 1.05 times as much; fp32: no reason)")
    _, because, _, _ = outcome([bf16], own=own, binding="latency_p95 at most 0.01")
    assert because.endswith("no reason); what stands in the way is latency_p95 at most 0.01")
    action, because, _, about = outcome([bf16, tried("student3", Action.ROLLBACK)], own=own)
    assert (action, about) == (Action.ROLLBACK, "student3")
    assert because == (
        "no candidate wins; student3: it says rollback; bf16: it costs 1.05 times as much"
    )


def test_without_a_winner_not_knowing_goes_before_a_refusal() -> None:
    """More data may still find something; a refusal will stay one."""
    tries = [
        tried("bf16", Action.ROLLBACK),
        tried("student3", None),
        tried("int8_static", Action.UNKNOWN),
    ]
    action, because, entry, about = outcome(tries)
    assert (action, entry, about) == (Action.UNKNOWN, RUN.entry, "int8_static")
    assert because == "no candidate is accepted; int8_static: it says unknown"
    _, because, _, _ = outcome(tries, binding="recall@10 at least 0.9")
    assert because == (
        "no candidate is accepted; what stands in the way is recall@10 at least 0.9; "
        "int8_static: it says unknown"
    )


@pytest.fixture(autouse=True)
def targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is current is made up, and taken to be usable; it makes no vectors."""
    monkeypatch.setattr(main, "prove_target", lambda store, version, root: f"proof of {version}")
    monkeypatch.setattr(main, "with_index", lambda store, version, current: {})


def promoted(store: Store, found: object, *, promote: bool = True) -> int | None:
    job = SimpleNamespace(config=SimpleNamespace(endpoint="docs", root=store.root), store=store)
    baseline = SimpleNamespace(version=store.put_bytes(b"the baseline"))
    current = main._promote(
        cast("Job", job),
        cast("Baseline", baseline),
        cast("Findings | None", found),
        promote=promote,
    )
    if current is None:
        return None
    held = store.current("docs")
    assert held is not None
    assert (held.generation, held.variant) == (current.generation, current.variant)
    return current.generation


def test_an_accepted_winner_becomes_generation_1_over_the_baseline(store: Store) -> None:
    """There is always something to roll back to; asked again, nothing is added."""
    found = findings(store, Action.ACCEPT)
    assert promoted(store, found) == 1
    assert promoted(store, found) == 1
    releases = [release for _, release in store.history("docs")]
    assert [r.variant for r in releases] == [
        store.put_bytes(b"the baseline"),
        store.put_bytes(b"the winner"),
    ]
    assert store.get(str(releases[1].decision)).body == {"decided": "accept"}


@pytest.mark.parametrize("action", [Action.ROLLBACK, Action.UNKNOWN, Action.INVALID])
def test_what_is_not_accepted_is_not_promoted(store: Store, action: Action) -> None:
    """The baseline is generation 0, and stays."""
    assert promoted(store, findings(store, action)) == 0
    assert len(store.history("docs")) == 1


def test_nothing_is_released_unless_it_is_asked_for(store: Store) -> None:
    """Without --promote there is no release, or the one that was there before."""
    found = findings(store, Action.ACCEPT)
    assert promoted(store, found, promote=False) is None
    store.promote(Release("docs", 0, store.put_bytes(b"mine"), None), expected_generation=None)
    assert promoted(store, found, promote=False) == 0


def test_a_report_that_cannot_be_written_is_a_fault_that_names_the_place(tmp_path: Path) -> None:
    """And nothing of it stays behind."""
    with pytest.raises(Fault) as caught:
        main._write(tmp_path / "nowhere", "report.json", "{}")
    assert caught.value.where == str(tmp_path / "nowhere")
    assert caught.value.fix == "name another directory with --report"
    (tmp_path / "report.json").mkdir()  # a directory cannot be replaced by a file
    with pytest.raises(Fault):
        main._write(tmp_path, "report.json", "{}")
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
