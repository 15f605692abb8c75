"""A replay names the endpoint's own functions that are not what they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from headgate.config import source_digest
from headgate.optimize.own import edited_functions

FILES = {
    "own.py": "import helper\n\ndef exact(item, output):\n    return helper.one()\n",
    "helper.py": "def one():\n    return 1.0\n",
    "steps.py": "def clean(item):\n    return item\n",
    "prepare.py": "def main(directory):\n    pass\n",
}


@pytest.fixture
def c(tmp_path: Path) -> Mapping[str, object]:
    """As runs are configured: a metric with its source, steps whose digests are in the builds."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    clean = source_digest("steps:clean", tmp_path)
    exact = {"function": "own:exact", "source": source_digest("own:exact", tmp_path)}
    return {
        "behaviour": {"preprocess": "steps:clean", "postprocess": None, "metrics": {"m": exact}},
        "builds": [{"name": "fp32", "preprocess": clean}, {"name": "int8", "preprocess": clean}],
        "function": "prepare:main",
        "source": source_digest("prepare:main", tmp_path),
    }


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("own.py", ("own:exact",)),
        ("helper.py", ("own:exact",)),
        ("steps.py", ("steps:clean",)),
        ("prepare.py", ("prepare:main",)),
    ],
)
def test_a_function_is_named_once_its_source_or_a_helper_is_edited(
    tmp_path: Path, c: Mapping[str, object], file: str, named: tuple[str, ...]
) -> None:
    """Whether it is a metric, a step or what prepares the data; or is gone."""
    assert edited_functions(c, tmp_path) == ()
    (tmp_path / file).write_text(FILES[file] + "# edited\n", encoding="utf-8")
    assert edited_functions(c, tmp_path) == named
    (tmp_path / file).unlink()
    assert edited_functions(c, tmp_path) == named
