"""What headgate.yaml promises of data, and what is refused of it at load."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config import TrainingPermission, load_config
from headgate.errors import UsageError
from headgate.objects import Action, Bound

from .conftest import GOOD, Load

AGE = "age: {at_most: 30d, why: the release moves, on_breach: warn}"
DRIFT = "drift: {at_most: 0.2, why: int8 saw these, on_breach: escalate}"


def declared(text: str) -> str:
    return f"{GOOD}data_contracts:\n  {text}\n"


def test_data_is_promised_like_anything_else(load: Load) -> None:
    """Seconds and shares, a why, an action, the owner's escalation, and what returns."""
    config = load(
        declared(f'evaluate: {{as_of: "2026-11-01", reference: workload, {AGE}, {DRIFT}}}')
    )
    promised = config.data_contracts["evaluate"]
    assert (promised.as_of, promised.reference) == ("2026-11-01", "workload")
    age, drift = promised.contracts
    assert (age.metric, age.bound, age.limit) == ("age", Bound.AT_MOST, 30 * 86_400)
    assert (age.on_breach, age.rationale) == (Action.WARN, "the release moves")
    assert (drift.metric, drift.limit, drift.min_n) == ("drift", 0.2, 200)
    assert drift.escalation == "webhook:https://oncall.example/search"
    assert drift.rollback_candidate == "previous generation"
    assert not config.gaps


def test_a_file_may_be_the_reference(load: Load, endpoint: Path) -> None:
    """What was asked last quarter, in the same form."""
    (endpoint / "last_quarter.jsonl").touch()
    config = load(declared(f"workload: {{reference: last_quarter.jsonl, {DRIFT}}}"))
    assert config.data_contracts["workload"].reference == "last_quarter.jsonl"


def test_a_day_needs_no_quotes(load: Load) -> None:
    """YAML 1.2 has no dates, and neither has this file."""
    config = load(declared(f"evaluate: {{as_of: 2026-11-01, {AGE}}}"))
    assert config.data_contracts["evaluate"].as_of == "2026-11-01"


@pytest.mark.parametrize(
    ("text", "reason", "what"),
    [
        ("evaluate: {age: {at_most: 30d, on_breach: warn}}", "missing_key", "age.why"),
        ("evaluate: {age: {at_most: 30d, why: x}}", "missing_key", "age.on_breach"),
        (f"evaluate: {{{AGE.replace('at_most: 30d, ', '')}}}", "contract_without_bound", "age"),
        (f"evaluate: {{{AGE.replace('30d', '30 apples')}}}", "config", "unit that does not fit"),
        (
            f"evaluate: {{{AGE.replace('at_most: 30d', 'ratio_to_current_at_most: 1')}}}",
            "wrong_bound",
            "no current release",
        ),
        (f"evaluate: {{{AGE.replace('30d', '0s')}}}", "never_decides", "leaves no room"),
        (f"evaluate: {{reference: workload, {DRIFT.replace('0.2', '0')}}}", "never_decides", "ro"),
        (f"evaluate: {{{DRIFT}}}", "contract_without_reference", "no reference"),
        (f"evaluate: {{reference: evaluate, {DRIFT}}}", "file_missing", "no file 'evaluate'"),
        (f"evaluate: {{reference: gone.jsonl, {DRIFT}}}", "file_missing", "no file 'gone.jsonl'"),
        (f"evaluate: {{reference: ., {DRIFT}}}", "wrong_file", "'.' is a directory, and a file"),
        ("evaluate: {as_of: 2026-11-01}", "contract_without_bound", "promises nothing"),
        (f"evaluate: {{as_of: last week, {AGE}}}", "wrong_value", "'last week' is no day"),
        (f"holdout: {{{AGE}}}", "unknown_key", "no data named 'holdout'"),
        (f"evaluate: {{freshness: 3, {AGE}}}", "unknown_key", "freshness"),
    ],
)
def test_a_promise_that_cannot_be_kept_or_told_is_refused_at_load(
    load: Load, text: str, reason: str, what: str
) -> None:
    """With the place, what is wrong, and what to write instead."""
    with pytest.raises(UsageError, match=r"headgate\.yaml") as refused:
        load(declared(text))
    assert (refused.value.reason, refused.value.exit_code) == (reason, 2)
    assert what in str(refused.value)
    assert refused.value.fix


def test_without_the_section_nothing_is_promised(load: Load, endpoint: Path) -> None:
    """The stated defaults of each kind of object hold all the same, as warnings."""
    load(GOOD)
    assert not load_config(Path("headgate.yaml")).data_contracts


ALLOWED = "training: {allowed_by: privacy office, why: terms of 2026}"
LEARNS = GOOD.replace("queries.jsonl}", "queries.jsonl, train: workload}")


def test_the_workloads_own_requests_are_learnt_from_where_somebody_allowed_it(load: Load) -> None:
    """A word in place of a file; the permission alone is a promise."""
    config = load(f"{LEARNS}data_contracts:\n  workload: {{{ALLOWED}}}\n")
    assert config.data.learns_from_workload
    assert config.data.given == {"evaluate": "queries.jsonl"}
    promised = config.data_contracts["workload"]
    assert promised.contracts == ()
    assert promised.training == TrainingPermission("privacy office", "terms of 2026")


def test_a_permission_that_nobody_asks_for_trains_nothing(load: Load) -> None:
    """And a file that is called so is named by its path."""
    config = load(declared(f"workload: {{{ALLOWED}}}"))
    assert not config.data.learns_from_workload
    Path("workload").write_text("{}\n", encoding="utf-8")
    assert load(LEARNS.replace("train: workload", "train: ./workload")).data.given["train"]


@pytest.mark.parametrize(
    ("text", "reason", "what"),
    [
        (LEARNS, "not_allowed", "nobody has allowed to learn from what callers ask"),
        (f"{LEARNS}data_contracts: {{workload: {{{AGE}}}}}\n", "not_allowed", "nobody has"),
        (
            f"{LEARNS}data_contracts: {{workload: {{training: {{allowed_by: x}}}}}}\n",
            "missing_key",
            "training.why",
        ),
        (
            LEARNS.replace("log: access.jsonl", "rate_per_s: 20"),
            "no_log",
            "what a rate draws is what judges",
        ),
        (
            LEARNS.replace("task: embed", "task: rerank").replace("recall@10", "ndcg@10"),
            "wrong_value",
            "no student is made of a model for rerank",
        ),
        (
            f"{GOOD}data_contracts: {{evaluate: {{{ALLOWED}}}}}\n",
            "wrong_value",
            "who allowed to learn from evaluate",
        ),
    ],
)
def test_without_a_permission_or_a_log_nothing_is_learnt_from_requests(
    load: Load, text: str, reason: str, what: str
) -> None:
    """The line, what is missing, and what to write."""
    with pytest.raises(UsageError, match=r"headgate\.yaml:\d+: data") as refused:
        load(text)
    assert (refused.value.reason, refused.value.exit_code) == (reason, 2)
    assert what in str(refused.value)
    assert refused.value.fix
