"""The corpus of the quickstart, prepared for real from the Python that runs these tests."""

from __future__ import annotations

import doctest
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headgate.config.data import check_overlap, load_retrieval, load_texts, load_workload
from headgate.config.functions import load_function
from headgate.errors import InputError

EXAMPLE = Path(__file__).parents[3] / "examples" / "python-help"
NAMES = ("corpus", "pairing", "reading")

Modules = dict[str, ModuleType]


@pytest.fixture(scope="module")
def modules() -> Iterator[Modules]:
    """The example's modules, imported as its files see each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
        patch.setattr(sys, "dont_write_bytecode", True)
        yield {name: importlib.import_module(name) for name in NAMES}
        for name in NAMES:
            del sys.modules[name]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``prepare: corpus:prepare`` writes, called as Headgate calls it."""
    out_dir = tmp_path_factory.mktemp("prepared")
    load_function("corpus:prepare", EXAMPLE)(out_dir)
    return out_dir


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def texts_of(path: Path) -> list[str]:
    return [row.get("text") or row.get("query") or row["passage"] for row in rows(path)]


@pytest.mark.parametrize("name", ["evaluate", "holdout"])
def test_a_split_has_enough_pairs_and_is_its_own_index(prepared: Path, name: str) -> None:
    """1,250 labelled queries or more, each answered by one passage of the same file."""
    split = load_retrieval(prepared / f"{name}.jsonl")
    assert split.relevant is not None
    assert len(split.queries) >= 1250
    assert sorted(split.relevant) == [(i,) for i in range(len(split.passages))]


@pytest.mark.parametrize("name", ["evaluate", "holdout"])
def test_every_slice_is_large_enough_to_be_judged(prepared: Path, name: str) -> None:
    """At least 100 queries in each, of two dimensions; every query has a length."""
    found = [row["slices"] for row in rows(prepared / f"{name}.jsonl") if "query" in row]
    counts = Counter(s for slices in found for s in slices)
    assert min(counts.values()) >= 100
    assert {s.partition(":")[0] for s in counts} == {"family", "length"}
    assert sum(n for s, n in counts.items() if s.startswith("length:")) == len(found)


def test_no_item_is_in_two_splits(prepared: Path, modules: Modules) -> None:
    """By Headgate's own check, and by the words alone, which is stricter."""
    names = ("evaluate", "holdout", "train", "calibrate")
    splits = {name: texts_of(prepared / f"{name}.jsonl") for name in names}
    check_overlap(splits)
    normalise = modules["reading"].normalise
    seen = [{normalise(text) for text in split} for split in splits.values()]
    assert sum(map(len, seen)) == len(set[str]().union(*seen))


def test_no_query_of_the_workloads_gives_a_label_away(prepared: Path, modules: Modules) -> None:
    """None of evaluate or holdout is asked, neither a query nor a passage nor a part of one."""
    reading = modules["reading"]
    held_out = [t for n in ("evaluate", "holdout") for t in texts_of(prepared / f"{n}.jsonl")]
    known = {reading.normalise(s) for t in held_out for s in [t, *reading.sentences(t)]}
    for name in ("workload", "workload_unique"):
        asked = {reading.normalise(text) for text in texts_of(prepared / f"{name}.jsonl")}
        assert asked.isdisjoint(known)


def test_the_workload_is_popular_and_timed(prepared: Path) -> None:
    """20,000 queries of which an infinite cache answers 45 %, five points more or less."""
    log = load_workload(prepared / "workload.jsonl")
    assert len(log.items) == 20_000
    assert 1 - len(set(log.items)) / len(log.items) == pytest.approx(0.45, abs=0.05)


def test_the_second_workload_never_repeats(prepared: Path, modules: Modules) -> None:
    """No query twice, however it is written."""
    log = load_workload(prepared / "workload_unique.jsonl")
    normalise = modules["reading"].normalise
    assert len({normalise(item) for item in log.items}) == len(log.items) == 8000


def test_there_is_text_to_learn_from(prepared: Path) -> None:
    """Both files load, and hold what the example promises."""
    assert len(load_texts(prepared / "train.jsonl")) >= 10_000
    assert len(load_texts(prepared / "calibrate.jsonl")) == 400


def test_every_text_fits_the_model(prepared: Path, modules: Modules) -> None:
    """No text has more than 128 pieces, which leaves 256 tokens ample room for split words."""
    pieces = modules["reading"].pieces
    for path in prepared.glob("*.jsonl"):
        assert max(map(pieces, texts_of(path))) <= 128


def test_the_statement_counts_what_was_written(prepared: Path) -> None:
    """The numbers that a report may quote are those of the files."""
    statement = json.loads((prepared / "statement.json").read_text("utf-8"))
    for name in ("evaluate", "holdout"):
        assert statement["pairs"][name] == len(rows(prepared / f"{name}.jsonl")) / 2
    for name in ("train", "calibrate"):
        assert statement["texts"][name] == len(rows(prepared / f"{name}.jsonl"))
    asked = texts_of(prepared / "workload.jsonl")
    assert statement["workload"]["ideal_hit_ratio"] == round(1 - len(set(asked)) / len(asked), 6)
    assert set(statement["pairs_dropped"]) <= {*statement["rules"], "one_sentence"}


@pytest.mark.slow
def test_the_same_python_writes_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    """Another process, with other string hashes, writes files that are equal to the last bit."""
    code = "import pathlib, sys, corpus; corpus.prepare(pathlib.Path(sys.argv[1]))"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    env = {**os.environ, "PYTHONPATH": str(EXAMPLE), "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-B", "-c", code, str(tmp_path)], env=env, check=True)

    def digests(folder: Path) -> dict[str, str]:
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}

    assert digests(tmp_path) == digests(prepared)


def test_a_python_without_documentation_is_refused(
    modules: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many pairs there were and how many it takes, and writes nothing."""
    monkeypatch.setattr(modules["corpus"], "read", lambda root: modules["reading"].Library())
    with pytest.raises(InputError, match=r"gives 0 labelled pairs.*1250") as refused:
        modules["corpus"].prepare(tmp_path)
    assert refused.value.reason == "too_little_documentation"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["pairing", "reading"])
def test_the_examples_in_docstrings_hold(modules: Modules, name: str) -> None:
    """The example's own documentation runs."""
    result = doctest.testmod(modules[name])
    assert result.attempted
    assert not result.failed


ASKED = "Open the named file and lock it for writing."
ANSWER = "The lock is advisory, and another process may still read what is there."


def offer(modules: Modules, *docs: tuple[str, str]) -> tuple[list[bool], Any]:
    pairs = modules["pairing"].Pairs()
    return [pairs.offer(modules["reading"].Documented(*doc)) for doc in docs], pairs


def test_a_docstring_becomes_a_pair(modules: Modules) -> None:
    """The first sentence asks, the rest answers, and the module decides the family."""
    used, pairs = offer(modules, ("shutil.lock", f"{ASKED}\n\n{ANSWER}"))
    assert used == [True]
    (pair,) = pairs.kept
    assert (pair.query, pair.passage, pair.family) == (ASKED, ANSWER, "system")


@pytest.mark.parametrize(
    ("docstring", "rule"),
    [
        (ASKED, "one_sentence"),
        (f"Lock it. {ANSWER}", "query_too_short"),
        (f"{ASKED} It is advisory.", "passage_too_short"),
        (f"{'Very ' * 40}{ASKED} {ANSWER}", "query_too_long"),
    ],
)
def test_what_is_no_pair_is_free_for_other_uses(
    modules: Modules, docstring: str, rule: str
) -> None:
    """Too short, too long or one sentence only: counted, and told apart from a repetition."""
    used, pairs = offer(modules, ("a.b", docstring))
    assert used == [False]
    assert pairs.dropped == {rule: 1}


@pytest.mark.parametrize(
    ("title", "docstring", "rule"),
    [
        ("a.b", "Count the files of a user. Files that several of them share count once.",
         "name_repeated"),
        ("c.d", f"{ASKED[:-1]} only. Closing it frees the lock unless another holds it.",
         "query_repeated"),
        ("c.d", f"Lock a file until it is closed. Note: {ANSWER.lower()}", "passage_repeated"),
        ("c.d", "Find a free port. To find a free port, the system is asked for port zero.",
         "query_within_passage"),
    ],
)  # fmt: skip
def test_a_repetition_is_dropped_and_not_free(
    modules: Modules, title: str, docstring: str, rule: str
) -> None:
    """It would give the first pair away, or make its label ambiguous."""
    used, pairs = offer(modules, ("a.b", f"{ASKED} {ANSWER}"), (title, docstring))
    assert used == [True, True]
    assert len(pairs.kept) == 1
    assert pairs.dropped == {rule: 1}


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (ASKED.upper(), True),
        (f"Hint: {ANSWER}", True),
        ("It may fail.", True),
        ("The lock is", False),
        ("The lock is held until the last descriptor of the process is closed.", False),
    ],
)
def test_held_out_text_is_recognised_in_other_words_and_places(
    modules: Modules, text: str, held: bool
) -> None:
    """Equal, part of, or mostly the same words; three common words alone are chance."""
    pairing = modules["pairing"]
    pair = pairing.Pair("a.b", ASKED, f"{ANSWER} It may fail.")
    assert (text in pairing.HeldOut([pair])) is held


def test_a_library_is_read_without_being_run(modules: Modules, tmp_path: Path) -> None:
    """Foreign packages are skipped, tests kept apart, broken files survive, topics are literals."""
    files = {
        "mod.py": '"""A module."""\n# Workers wait here until they are told.\nraise SystemExit\n',
        "pack/__init__.py": 'class C:\n    def m(self):\n        """Does it."""\n',
        "test/test_mod.py": '"""Checks it."""\n',
        "test/bad.py": "def (:\n",
        "site-packages/other.py": '"""Not ours."""\n',
        "pydoc_data/topics.py": "topics = {'with': 'The \"with\" statement'}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    library = modules["reading"].read(tmp_path)
    assert {d.title: d.text for d in library.documented} == {
        "mod": "A module.",
        "pack": "",
        "pack.C": "",
        "pack.C.m": "Does it.",
    }
    assert library.tests == ["Checks it."]
    assert library.topics == {"with": 'The "with" statement'}
    assert library.remarks == ["Workers wait here until they are told."]
