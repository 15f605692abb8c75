"""The caller's own functions: loaded from beside the yaml, identified by their source."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from headgate.config import (
    guarded,
    load_function,
    load_metric,
    source_digest,
    source_files,
)
from headgate.config.schema import MetricSpec
from headgate.errors import InputError
from headgate.objects import Direction


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with a module that has a helper and a package."""
    (tmp_path / "own.py").write_text(
        "import json\nimport helper\nfrom pkg import inner\n\n"
        "def score(item, output):\n    return helper.HALF * float(output[0])\n\n"
        "def far(item, output):\n    return 7.0\n\nvalue = 3\n"
    )
    (tmp_path / "helper.py").write_text("HALF = 0.5\n")
    (tmp_path / "unused.py").write_text("X = 1\n")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "inner.py").write_text("from . import deep\n")
    (tmp_path / "pkg" / "deep.py").write_text("Y = 1\n")
    return tmp_path


def test_a_function_is_called_with_its_helpers(root: Path) -> None:
    """It works as it would if Python ran in that directory."""
    assert load_function("own:score", root)({}, np.array([3.0])) == 1.5


@pytest.mark.parametrize("file", ["own.py", "helper.py", "pkg/inner.py", "pkg/deep.py"])
def test_the_version_changes_with_every_file_that_is_imported(root: Path, file: str) -> None:
    """A metric whose helper's helper changed is another metric."""
    before = source_digest("own:score", root)
    (root / file).write_text((root / file).read_text() + "# changed\n")
    assert source_digest("own:score", root) != before


def test_the_version_ignores_what_is_not_imported(root: Path) -> None:
    """A change of another file leaves it, and so does another place on disk."""
    before = source_digest("own:score", root)
    (root / "unused.py").write_text("X = 2\n")
    assert source_digest("own:score", root) == before
    assert load_function("own:score", root).version == before
    assert source_digest("own:far", root) != before


def test_two_endpoints_may_have_modules_of_one_name(root: Path, tmp_path: Path) -> None:
    """Nothing stays in sys.modules, on sys.path or on disk."""
    path_before = list(sys.path)
    load_function("own:score", root)
    other = tmp_path / "other"
    other.mkdir()
    (other / "own.py").write_text("def score(item, output):\n    return 0.25\n")
    assert load_function("own:score", other)({}, None) == 0.25
    assert not {"own", "helper", "pkg", "pkg.inner"} & set(sys.modules)
    assert sys.path == path_before
    assert list(root.rglob("*.pyc")) == []


def test_what_a_function_raises_is_placed_in_its_file(root: Path) -> None:
    """At the line of the caller's own file, however deep in a library it came from; how it was
    called is said as it was."""
    own = "import json\n\ndef f(*texts):\n    return json.loads('{')\n"
    (root / "own.py").write_text(own)
    for arguments, called in (((), "without an argument"), (("a",), "with the same argument")):
        with pytest.raises(InputError, match="JSONDecodeError") as caught:
            guarded(load_function("own:f", root))(*arguments)
        assert caught.value.where == "own:f (own.py:4)"
        assert caught.value.fix == f"call it yourself {called}, and correct it"


def test_a_function_that_cannot_be_called_so_has_no_line(root: Path) -> None:
    """It never began."""
    with pytest.raises(InputError, match="missing 2 required") as caught:
        guarded(load_function("own:score", root))()
    assert caught.value.where == "own:score"


BAD = {
    "no file": (
        "owm:score",
        "function_missing",
        "owm:score ({root}): there is no file owm.py\n"
        "  what to do: a function lives in a file beside headgate.yaml",
    ),
    "no function": (
        "own:scor",
        "function_missing",
        "own:scor: there is no function 'scor' in own.py\n  what to do: did you mean 'score'?",
    ),
    "not a function": (
        "own:value",
        "function_missing",
        "own:value: there is no function 'value' in own.py\n  what to do: known here: score, far",
    ),
    "broken": (
        "broken:f",
        "function_import",
        "broken:f ({root}/broken.py): importing it failed: ZeroDivisionError: division by zero\n"
        "  what to do: make `python -c 'import broken'` work in that directory",
    ),
    "exits": (
        "exits:f",
        "function_import",
        "exits:f ({root}/exits.py): importing it failed: SystemExit: 3\n"
        "  what to do: make `python -c 'import exits'` work in that directory",
    ),
    "not Python": (
        "wrong:f",
        "function_import",
        "{root}/wrong.py:2: this is not Python: expected ':'\n  what to do: correct that line",
    ),
    "shadows": (
        "shadow:f",
        "function_shadows",
        "{root}/types.py: types.py has the name of a module of Python's own\n"
        "  what to do: rename the file",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_loaded_is_named(case: str, root: Path) -> None:
    """One message for one mistake."""
    (root / "broken.py").write_text("1 / 0\n")
    (root / "exits.py").write_text("raise SystemExit(3)\n")
    (root / "wrong.py").write_text("\ndef f()\n")
    (root / "types.py").write_text("")
    (root / "shadow.py").write_text("import types\ndef f(): pass\n")
    spec, reason, message = BAD[case]
    with pytest.raises(InputError) as caught:
        load_function(spec, root)
    assert str(caught.value) == message.format(root=root)
    assert caught.value.reason == reason


def test_a_metric_outside_its_range_is_invalid(root: Path) -> None:
    """A declared range is a contract on the metric itself; NaN and text are outside every one."""
    good = load_metric("score", MetricSpec(function="own:score"), root)
    assert good.direction is Direction.HIGHER
    assert good({"id": "q1"}, np.array([1.0])) == 0.5
    for output in (np.array([4.0]), np.array([np.nan])):
        with pytest.raises(InputError) as caught:
            good({"id": "q1"}, output)
        assert caught.value.reason == "metric_invalid"
    wide = MetricSpec(function="own:far", direction="lower_is_better", range=(0.0, 10.0))
    assert load_metric("far", wide, root)({}, np.array([])) == 7.0


def test_the_files_of_a_function_are_those_that_its_version_is_of(root: Path) -> None:
    """All that it imports beside it, and nothing else that lies there."""
    (root / "unused.py").write_text("X = 2\n")
    names = sorted(path.relative_to(root).as_posix() for path in source_files("own:score", root))
    assert names == ["helper.py", "own.py", "pkg/__init__.py", "pkg/deep.py", "pkg/inner.py"]
