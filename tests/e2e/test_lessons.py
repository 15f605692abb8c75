"""The lessons run, show what they are committed with, and hold everything that a lesson must."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from headgate.cli.app import app
from headgate.objects import FAILURE_QUESTIONS, Action, Verdict

COST = r"\mathrm{cost}(y) = c_{in}\,n_{in} + c_{out}\,n_{out} + c_{gpu}\,T"
LESSONS = Path(__file__).parents[2] / "docs" / "lessons"
FORMULAS = {
    "batching": COST,
    "caching": r"\rho = \frac{\lambda}{\mu},\quad 0 \le \rho < 1",
    "quantization-preview": r"L = \lambda\, W",
    "distillation-preview": r"p_{95} = \inf\,\{\,t : F_T(t) \ge 0.95\,\}",
    "hardware-aware-scheduling": COST,
}
"""Lesson -> the formula that rules its optimization."""
STEPS = ("# 1 calculate", "# 2 compare", "# 3 log", "# 4 act")
MOST_BYTES = 200_000
"""A rendered page of more is not shown by code hosts."""

_INSPECT = """
import json as _json
from headgate.objects import ProductionObject as _Object
_found = [v for v in list(globals().values()) if isinstance(v, _Object)]
print(_json.dumps({
    "objects": [{"identifier": o.identifier, "version": o.version, "metric": callable(o.metric),
                 "why": o.contract.rationale, "owner": o.owner.team,
                 "failure_note": o.failure_note is not None} for o in _found],
    "verdict": result.verdict, "action": result.action, "audited": audited, "due": dict(due),
}))
"""


def _read(name: str) -> NotebookNode:
    return nbformat.read(LESSONS / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def _prose(notebook: NotebookNode) -> str:
    return "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def _printed(cell: NotebookNode) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def _execute(notebook: NotebookNode, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs all cells in a kernel of this environment, far from the repository."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(directory / variable.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(directory)}},
    )
    client.execute()


@pytest.mark.parametrize("name", FORMULAS)
def test_a_lesson_runs_and_shows_what_it_is_committed_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executed anew, every cell prints the committed words; nothing warns, and a plot is drawn.

    It ends with a whole production object, a verdict in the ledger that could be audited, and an
    action that follows from the verdict.
    """
    committed, executed = _read(name), _read(name)
    executed.cells.append(nbformat.v4.new_code_cell(_INSPECT))
    _execute(executed, tmp_path, monkeypatch)

    code = [c for c in executed.cells if c.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []
    assert any("image/png" in o.get("data", {}) for o in outputs)
    for before, after in zip(committed.cells, executed.cells, strict=False):
        if before.cell_type == "code":
            assert _printed(after) == _printed(before), before.id

    end: dict[str, Any] = json.loads(_printed(code[-1]))
    (found,) = end["objects"]
    assert re.fullmatch(r"docs-search/[a-z0-9-]+", found["identifier"])
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found["version"])
    assert all(found[part] for part in ("metric", "why", "owner", "failure_note"))
    assert end["audited"] is True
    assert (end["verdict"] == Verdict.PASS) == (end["action"] == Action.ACCEPT)
    assert set(end["due"]) <= {q.name for q in FAILURE_QUESTIONS}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_lesson_has_all_its_parts(name: str) -> None:
    """Formula, plot, object, failure note, five questions, four steps, and real commands."""
    notebook = _read(name)
    prose = _prose(notebook)
    source = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    assert FORMULAS[name] in prose
    for part in ("ProductionObject(", "Contract(", "Owner(", "FailureNote(", "Store.open(", "plt."):
        assert part in source, part
    assert all(f'"{question.name}": ' in source for question in FAILURE_QUESTIONS)
    places = [source.find(step) for step in STEPS]
    assert -1 not in places
    assert places == sorted(places)
    commands = {
        command.callback.__name__ for command in app.registered_commands if command.callback
    }
    last = notebook.cells[-1]
    assert last.cell_type == "markdown"
    assert re.search(r"`headgate \w+", last.source)
    assert set(re.findall(r"`headgate (\w+)", prose)) <= commands


@pytest.mark.parametrize("name", FORMULAS)
def test_a_lesson_can_be_committed(name: str) -> None:
    """Valid, of format 4.5, small, run from top to bottom, and naming no place or time."""
    path = LESSONS / f"{name}.ipynb"
    notebook = _read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert path.stat().st_size < MOST_BYTES
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert not any(o.output_type == "error" for c in code for o in c.outputs)
    said = "\n".join([c.source for c in notebook.cells] + [_printed(c) for c in code])
    assert not re.search(r"(?<![\w.])/(home|root|tmp|usr|work|Users)/", said)


def test_every_lesson_is_listed_and_tested() -> None:
    """The lessons' README links each notebook, and no notebook goes untested."""
    notebooks = sorted(path.stem for path in LESSONS.glob("*.ipynb"))
    assert notebooks == sorted(FORMULAS)
    readme = (LESSONS / "README.md").read_text(encoding="utf-8")
    linked = cast("list[str]", re.findall(r"\]\(([\w-]+)\.ipynb\)", readme))
    assert sorted(linked) == notebooks
