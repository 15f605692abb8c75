"""The digest of the code that a transformation can reach."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import headgate.optimize
from headgate.optimize import code, recorder
from headgate.optimize.code import code_digest
from headgate.optimize.load.servers import SERVER_CODE

SHOWS = (["report"], ["cli"])
FILES = {
    "fakepkg/__init__.py": "",
    "fakepkg/work.py": "from fakepkg import near\nimport fakepkg.plain\nimport json\n",
    "fakepkg/near.py": "def late():\n    from fakepkg.deep.far import thing\n    return thing\n",
    "fakepkg/plain.py": "from fakepkg.shop import goods\n",
    "fakepkg/shop/__init__.py": "from fakepkg.shop.back import goods\n",
    "fakepkg/shop/back.py": "goods = 1\n",
    "fakepkg/deep/__init__.py": "",
    "fakepkg/deep/far.py": "raise RuntimeError('its text is read, and it is never run')\n",
    "fakepkg/apart.py": "Y = 1\n",
    "json/__init__.py": "",
}
DigestOf = Callable[[Mapping[str, str]], str]


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DigestOf]:
    """The digest of ``fakepkg.work`` where these files lie on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def forget() -> None:
        code_digest.cache_clear()
        code._source_of.cache_clear()
        code._read.cache_clear()
        importlib.invalidate_caches()

    def digest(files: Mapping[str, str]) -> str:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        forget()
        return code_digest("fakepkg.work")

    yield digest
    forget()


@pytest.mark.parametrize(
    "file",
    [
        "fakepkg/__init__.py",
        "fakepkg/work.py",
        "fakepkg/near.py",
        "fakepkg/plain.py",
        "fakepkg/shop/__init__.py",
        "fakepkg/shop/back.py",
        "fakepkg/deep/far.py",
    ],
)
def test_a_change_in_what_it_imports_changes_it(digest_of: DigestOf, file: str) -> None:
    """At the top, inside a function, through others, or through what a package takes it from."""
    before = digest_of(FILES)
    assert digest_of({**FILES, file: FILES[file] + "# changed\n"}) != before
    assert digest_of(FILES) == before


@pytest.mark.parametrize("file", ["fakepkg/apart.py", "fakepkg/new.py", "json/__init__.py"])
def test_a_change_elsewhere_does_not(digest_of: DigestOf, file: str) -> None:
    """What it never imports, or what lies outside the package: nothing is measured again."""
    before = digest_of(FILES)
    assert digest_of({**FILES, file: "# changed\n"}) == before


def test_of_modules_of_two_packages_what_either_imports_of_both_counts() -> None:
    """A benchmark and the product that it measures."""
    source = b"import benchmarks.convention\nfrom headgate.objects import digest\nimport json\n"
    assert list(code._imports(source, {"benchmarks", "headgate"})) == [
        "benchmarks.convention",
        "headgate.objects",
        "headgate.objects.digest",
    ]
    alone = code_digest("headgate.objects")
    assert code_digest("headgate.objects", "benchmarks.convention") != alone


def test_nothing_is_imported_to_read_it(digest_of: DigestOf) -> None:
    """Code that cannot be run here (a missing extra) has a digest all the same."""
    digest_of(FILES)
    assert not [name for name in sys.modules if name.startswith("fakepkg")]


def test_a_transformation_does_not_depend_on_others_beside_it() -> None:
    """The gate's decisions outlive a change in how load is measured; both know the recorder."""
    gate, load = (_reached(f"headgate.optimize.{name}") for name in ("gate", "load"))
    assert "headgate.optimize.recorder" in gate & load
    assert "headgate.release.gate" in gate
    assert not gate & {"headgate.optimize.load", "headgate.loadtest.run", "headgate.engines.load"}
    assert "headgate.loadtest.run" in load


def test_no_recorded_transformation_is_other_code_because_a_report_is_worded_otherwise() -> None:
    """Nor is a preview or a search: an update that only says or draws things otherwise neither
    trains a student again nor measures anything again. A preview and a search have words on record,
    and with them how amounts are written; nothing that is made or measured has."""
    for module in pkgutil.iter_modules(headgate.optimize.__path__, "headgate.optimize."):
        importlib.import_module(module.name)
    named = {
        name: (made.work.__module__, *made.also)
        for name, made in recorder._KNOWN.items()
        if made.work.__module__.startswith("headgate.")  # other tests register their own
    }
    assert {"distill.student", "measure.quality", "pilot.quality", "load.replay"} <= set(named)
    worded = {
        "preview": ("headgate.optimize.pilots", "headgate.optimize.student_forecasts"),
        "search": ("headgate.planning.joint", "headgate.optimize.searching"),
    }
    shown = {
        name: [m for m in sorted(_reached(*modules)) if m.split(".")[1:2] in SHOWS]
        for name, modules in (named | worded).items()
    }
    assert {name: modules for name, modules in shown.items() if modules} == {}
    amounts = {name for name, modules in named.items() if "headgate.amounts" in _reached(*modules)}
    assert amounts == set()


def test_a_load_test_is_other_code_where_what_serves_is() -> None:
    """It is a process of its own, of which nothing is imported here."""
    serving = {"runtime.loading", "runtime.deploy", "runtime.live", "server.serve", "server.app"}
    assert {f"headgate.{module}" for module in serving} <= _reached(*SERVER_CODE)


def _reached(*modules: str) -> set[str]:
    """The modules whose text is part of the digest."""
    found: set[str] = set()
    todo = [*modules]
    while todo:
        name = todo.pop()
        path = code._source_of(name)
        if path is not None and name not in found:
            found.add(name)
            todo.extend(code._read(path, frozenset({"headgate"}))[1])
    return found
