"""A small endpoint on disk, which each test spoils in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.config import EndpointConfig, load_config

GOOD = """\
endpoint: docs-search
owner: {team: search, escalate: "webhook:https://oncall.example/search"}
task: embed
model: {onnx: model.onnx, tokenizer: tokenizer.json}
workload: {log: access.jsonl}
data: {evaluate: queries.jsonl}
prices: {device_second: 2e-5}
contracts:
  recall@10: {not_below_current_by: 1%, why: goal 7, on_breach: rollback}
  batch_invariance: {one_of: [exact, within_epsilon], why: no strangers, on_breach: rollback}
  latency_p95: {at_most: 40ms, why: 100 ms page, on_breach: rollback}
  cost_per_1k: {at_most: 0.002, why: budget line 7, on_breach: warn}
"""

Load = Callable[[str], EndpointConfig]


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The endpoint's directory, made current, so that messages name files as a user does."""
    for name in ("model.onnx", "tokenizer.json", "access.jsonl", "queries.jsonl"):
        (tmp_path / name).write_bytes(b"{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(endpoint: Path) -> Load:
    """Writes the text as headgate.yaml and loads it."""

    def write_and_load(text: str) -> EndpointConfig:
        path = Path("headgate.yaml")
        path.write_text(text, encoding="utf-8")
        return load_config(path)

    return write_and_load


def spoilt(old: str, new: str) -> str:
    """The good file with one thing changed."""
    assert GOOD.count(old) == 1, f"{old!r} is not in the file once"
    return GOOD.replace(old, new)
