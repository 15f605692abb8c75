"""init, doctor and schema: what a new user meets first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.config import load_config
from headgate.objects import Axis, Bound

from .conftest import Cli


@pytest.mark.parametrize("task", ["embed", "classify", "predict", "rerank"])
def test_what_init_writes_is_valid_once_its_files_are_there(cli: Cli, task: str) -> None:
    """All four axes have a contract, so nothing stops a promotion; no price is needed."""
    assert cli("init", "Docs Search", "--task", task).code == 0
    for name in ("model.onnx", "tokenizer.json", "evaluate.jsonl", "metrics.py"):
        Path("Docs Search", name).touch()
    config = load_config(Path("Docs Search"))
    assert config.endpoint == "docs-search"
    assert config.task == task
    assert config.gaps == ()
    assert {c.axis for c in config.contracts} == set(Axis)


def test_a_predictors_file_begins_with_a_metric_of_ones_own(cli: Cli) -> None:
    """With a range and a margin, and no class anywhere: its labels are true values."""
    assert cli("init", "demo", "--task", "predict").code == 0
    for name in ("model.onnx", "evaluate.jsonl", "metrics.py"):
        Path("demo", name).touch()
    config = load_config(Path("demo"))
    (metric,) = config.metrics.values()
    assert metric.range == (0, 100)
    (promise,) = (c for c in config.contracts if c.axis is Axis.QUALITY)
    assert (promise.metric, promise.bound) == ("error", Bound.NOT_ABOVE_CURRENT_BY)
    text = Path("demo", "headgate.yaml").read_text(encoding="utf-8")
    assert '"label": 21.5' in text
    assert "accuracy" not in text
    assert "class" not in text


def test_init_says_what_to_do_next(cli: Cli) -> None:
    """It writes one file, asks nothing, and names the next command."""
    said = cli("init", "demo")
    assert said.out == (
        "demo/headgate.yaml is written.\n"
        "Put your files beside it, as it says, then type:\n"
        "  headgate optimize demo/headgate.yaml"
    )
    assert [p.name for p in Path("demo").iterdir()] == ["headgate.yaml"]


def test_init_never_overwrites(cli: Cli) -> None:
    """An endpoint's file is somebody's work."""
    Path("headgate.yaml").write_text("mine", encoding="utf-8")
    said = cli("init", ".")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "headgate: headgate.yaml: is there already, and nothing is written over it\n"
        "  what to do: name another directory, or remove the file\n"
    )
    assert Path("headgate.yaml").read_text(encoding="utf-8") == "mine"


def test_init_of_an_unknown_task_writes_nothing(cli: Cli) -> None:
    """The nearest task is named."""
    said = cli("init", "demo", "--task", "clasify")
    assert said.code == 2
    assert said.err == (
        "headgate: --task: there is no task 'clasify'\n  what to do: did you mean 'classify'?\n"
    )
    assert not Path("demo").exists()


def test_doctor_shows_the_profile_that_runs_are_recorded_with(cli: Cli) -> None:
    """The same facts as a table and as JSON."""
    said = cli("doctor", "--json")
    facts = json.loads(said.out)
    assert said.code == 0
    assert facts["profile"]["effective_cores"] >= 1
    assert facts["environment"].startswith("sha256:")
    table = cli("doctor").out
    assert f"effective cores  {facts['profile']['effective_cores']}" in table
    assert facts["environment"].removeprefix("sha256:")[:12] in table


def test_doctor_says_how_to_get_what_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages, what they bring, and the command: what is there is not called missing."""
    from headgate.engines.probe import MissingPart

    command = "pip install 'headgate[sklearn]'"
    part = MissingPart("sklearn", ("skl2onnx",), "scikit-learn models", command)
    monkeypatch.setattr("headgate.engines.probe.missing_extras", lambda: [part])
    assert cli("doctor").out.endswith(
        f"What is missing\nskl2onnx  scikit-learn models\n          {command}"
    )


def test_schema_is_json(cli: Cli) -> None:
    """What an editor reads."""
    assert json.loads(cli("schema").out)["title"] == "headgate.yaml"
