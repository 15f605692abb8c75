"""What a server watches: what the file says, or else what the release was promoted on."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.cli.watching import watch_of
from headgate.errors import ConfigError
from headgate.ledger import Store
from headgate.objects import (
    Action,
    Axis,
    Bound,
    Contract,
    ContractResult,
    Decision,
    Release,
    Run,
    Verdict,
    canonical,
)

from .conftest import TIMES, Ids

YAML = """\
endpoint: docs
owner: {team: search, escalate: "command:true"}
task: embed
model: {onnx: model.onnx, tokenizer: tokenizer.json}
data: {evaluate: queries.jsonl}
live:
  error_rate: {at_most: 1%, why: pages, on_breach: warn}
"""


def described(store: Store, file: Path | None = None) -> list[str]:
    watch = watch_of(store, "docs", file)
    return [] if watch is None else [contract.describe() for contract in watch.rule.contracts]


def promote_with_contracts(store: Store, ids: Ids) -> None:
    """The student, on a decision about an absolute and a relative promise on latency."""

    def result(bound: Bound, limit: float) -> ContractResult:
        contract = Contract(
            "latency_p95", Axis.LATENCY, bound, limit, "why", Action.ROLLBACK, "command:true", "it"
        )
        return ContractResult(contract, Verdict.PASS, 0.01, 0.01, 0.01, 9, "it is")

    results = (result(Bound.AT_MOST, 0.04), result(Bound.RATIO_AT_MOST, 1.0))
    decision = Decision(ids.student, ids.baseline, "holdout", results, Action.ACCEPT, "kept")
    z = {"decision": store.put_bytes(canonical(decision))}
    run = store.record_run(Run("gate.decide", {}, {}, "env", z, 0, **TIMES))
    store.promote(Release("docs", 1, ids.student, run.id), expected_generation=0)


def test_the_file_beside_the_store_says_what_is_watched(tmp_path: Path, ids: Ids) -> None:
    """And a file of another endpoint says nothing of this one."""
    for name in ("model.onnx", "tokenizer.json", "queries.jsonl"):
        (tmp_path / name).touch()
    file = tmp_path / "headgate.yaml"
    file.write_text(YAML)
    with Store.open(tmp_path / ".headgate") as store:
        assert described(store) == ["error_rate at most 0.01"]
        assert described(store, tmp_path) == described(store, file) == ["error_rate at most 0.01"]
        file.write_text(YAML.replace("docs", "others"))
        assert described(store) == []
        file.write_text(YAML.replace("error_rate", "eror_rate"))
        with pytest.raises(ConfigError, match="did you mean 'error_rate'"):
            described(store)


def test_without_a_file_the_decision_says_it(tmp_path: Path, ids: Ids) -> None:
    """Where a store is served far from where it was made: the absolute promises, as decided."""
    with Store.open(tmp_path / ".headgate") as store:
        assert described(store) == []
        promote_with_contracts(store, ids)
        assert described(store) == ["latency_p95 at most 0.04"]
