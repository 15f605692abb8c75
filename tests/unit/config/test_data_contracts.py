"""What headgate.yaml promises of data, and what is refused of it at load."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config import load_config
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
        (f"evaluate: {{{DRIFT}}}", "contract_without_reference", "no reference"),
        (f"evaluate: {{reference: evaluate, {DRIFT}}}", "file_missing", "no file 'evaluate'"),
        (f"evaluate: {{reference: gone.jsonl, {DRIFT}}}", "file_missing", "no file 'gone.jsonl'"),
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
