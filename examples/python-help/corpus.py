"""Semantic search over Python's own documentation, as installed on this machine.

Reads the standard library's source with ``ast`` (nothing is imported or downloaded) and writes the
data of the endpoint python-help: labelled pairs to evaluate and to certify on, other text to train
and calibrate on, and two workloads. The same Python gives the same bytes. Every rule is a constant
or a function here, and is written to ``statement.json`` with the counts that it led to.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
import sysconfig
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headgate.errors import InputError
from headgate.workload.arrivals import (
    MarkovModulatedPoisson,
    draw_items,
    ideal_hit_ratio,
    index_of_dispersion,
    solve_zipf_exponent,
)

__all__ = ["prepare"]

MIN_QUERY_WORDS = 3
MAX_QUERY_WORDS = 40
MIN_PASSAGE_WORDS = 8
MAX_PASSAGE_WORDS = 96
MAX_PIECES = 160
"""Runs of letters or digits, and single signs: keeps every text below the model's 256 tokens."""

SAME_PASSAGE = 0.7
"""Share of the shorter passage's word triples that the other one contains."""
SAME_QUERY = 0.7
"""Jaccard similarity of the word triples of two queries."""
MIN_TRIPLES = 4
"""Below this, shared triples are chance ('return true if'): other text must then be equal."""

MIN_PAIRS = 1250
MAX_PAIRS = 1400
CALIBRATION_TEXTS = 400
MIN_FAMILY = 100

REQUESTS = 20_000
UNIQUE_REQUESTS = 8_000
HIT_RATIO = 0.45
ONE_TIME_SHARE = 0.44
REPEATED_ITEMS = 3_000
TITLE_SHARE = 0.1
ARRIVALS = MarkovModulatedPoisson.of_mean(
    50.0, burst_factor=4.0, calm_dwell_s=8.0, burst_dwell_s=2.0
)
SEED = 20_311

# Upper bounds, in words, of a short and of a medium query: terciles on Python 3.11.
SHORT_WORDS, MEDIUM_WORDS = 6, 10

FAMILIES = {
    "concurrency": "_threading_local asynchat asyncio asyncore concurrent contextvars "
    "multiprocessing queue sched selectors signal socketserver threading",
    "data": "_collections_abc _pydecimal _strptime _weakrefset base64 bisect calendar collections "
    "copy copyreg crypt dataclasses datetime dbm decimal enum fractions graphlib hashlib heapq "
    "hmac numbers operator pickle pickletools random reprlib secrets shelve sqlite3 statistics "
    "struct types uuid weakref zoneinfo",
    "development": "cProfile distutils doctest lib2to3 logging profile pstats pyclbr timeit trace "
    "traceback tracemalloc unittest warnings",
    "interface": "aifc argparse bdb chunk cmd code codeop colorsys curses getopt getpass idlelib "
    "optparse pdb pydoc rlcompleter sndhdr sunau tkinter turtle turtledemo wave webbrowser",
    "language": "__future__ _py_abc abc ast compileall contextlib ctypes dis functools imp "
    "importlib inspect keyword linecache modulefinder opcode pkgutil py_compile runpy symtable "
    "tabnanny token tokenize typing zipimport",
    "mail": "email imaplib mailbox mailcap mimetypes nntplib poplib quopri smtpd smtplib uu",
    "net": "cgi cgitb ftplib http ipaddress netrc socket ssl telnetlib urllib wsgiref xdrlib "
    "xmlrpc",
    "system": "_aix_support _bootsubprocess _compression _distutils_system_mod _osx_support _pyio "
    "_sitebuiltins bz2 ensurepip filecmp fileinput fnmatch genericpath glob gzip io lzma "
    "nturl2path ntpath os pathlib pipes platform posixpath pty shutil site sitecustomize stat "
    "subprocess sysconfig tarfile tempfile tty venv zipapp zipfile",
    "text": "_markupbase codecs configparser csv difflib encodings gettext html json locale "
    "plistlib pprint re shlex string stringprep textwrap tomllib xml",
}
_FAMILY = {module: family for family, modules in FAMILIES.items() for module in modules.split()}

_TESTS = frozenset({"test", "tests", "idle_test"})
_FOREIGN = frozenset({"site-packages", "dist-packages"})
_ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|resp|incl|approx)|\b[A-Za-z])\.$")
_COMMENT = re.compile(r"^[ \t]*#[ \t]+(\S.*)$")


@dataclass(frozen=True, slots=True)
class Documented:
    """A docstring and where it stands; ``title`` is the qualified name, as a reader would ask."""

    title: str
    text: str
    test: bool

    @property
    def family(self) -> str:
        return _FAMILY.get(self.title.split(".")[0], "other")


@dataclass(frozen=True, slots=True)
class Pair:
    """The first sentence of a docstring, and the rest of it, which answers it."""

    title: str
    query: str
    passage: str
    family: str

    @property
    def digest(self) -> bytes:
        return digest(self.query)


# --- text ---------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits: what two texts are compared by."""
    return re.findall(r"[^\W_]+", text.lower())


def normalise(text: str) -> str:
    return " ".join(words(text))


def digest(text: str) -> bytes:
    """Decides splits and order: depends on the text alone, never on the process or the machine."""
    return hashlib.blake2b(normalise(text).encode(), digest_size=8).digest()


def triples(text: str) -> frozenset[str]:
    """Runs of three words; the whole text where it has fewer."""
    w = words(text)
    return frozenset(" ".join(w[i : i + 3]) for i in range(max(1, len(w) - 2)))


def pieces(text: str) -> int:
    """Runs of letters or digits, and single signs: what a BERT tokenizer splits further, if any."""
    return len(re.findall(r"[^\W_]+|[^\w\s]|_", text))


def sentences(text: str) -> list[str]:
    """Sentences end at ``.``, ``!`` or ``?`` before a blank, or where a paragraph ends."""
    found = []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        start = 0
        flat = " ".join(paragraph.split())
        for end in re.finditer(r"[.!?][\"')\]]*(?=\s)", flat):
            if not _ABBREVIATED.search(flat[start : end.end()]):
                found.append(flat[start : end.end()])
                start = end.end() + 1
        found.append(flat[start:])
    return [s for s in found if s]


def shorten(parts: Sequence[str]) -> str:
    """As many whole sentences as fit; a single one that does not fit is cut between words."""
    kept: list[str] = []
    for part in parts:
        longer = " ".join([*kept, part])
        if len(longer.split()) > MAX_PASSAGE_WORDS or pieces(longer) > MAX_PIECES:
            break
        kept.append(part)
    if kept or not parts:
        return " ".join(kept)
    cut = parts[0].split()[:MAX_PASSAGE_WORDS]
    while cut and pieces(" ".join(cut)) > MAX_PIECES:
        cut.pop()
    return " ".join(cut)


# --- sources ------------------------------------------------------------------------------------


def sources(root: Path) -> Iterator[tuple[str, bool, bytes]]:
    """(module, is it a test, source) of every file of the standard library, in order of its path."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _FOREIGN.isdisjoint(parts) and parts[0] != "pydoc_data":
            module = ".".join(parts).removesuffix(".__init__")
            yield module, not _TESTS.isdisjoint(parts), path.read_bytes()


def parse(source: bytes) -> ast.Module | None:
    """None where the file is not Python of this version: some tests are broken on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError):
            return None


def documented(tree: ast.Module, module: str, test: bool) -> Iterator[Documented]:
    """Modules, classes and functions, outside in, with their docstrings ('' where there is none)."""
    waiting: list[tuple[ast.AST, str]] = [(tree, module)]
    for node, title in waiting:
        text = ast.get_docstring(node) or ""  # type: ignore[arg-type]  # only such nodes wait
        yield Documented(title, text.encode("utf-8", "replace").decode(), test)
        waiting += [
            (child, f"{title}.{child.name}")
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]


def comments(source: bytes) -> Iterator[str]:
    """Blocks of whole-line comments."""
    block: list[str] = []
    for line in source.decode("utf-8", "replace").splitlines():
        match = _COMMENT.match(line)
        if match:
            block.append(match[1])
        elif block:
            yield "\n".join(block)
            block = []


def help_topics(root: Path) -> dict[str, str]:
    """Python's help topics: a dictionary of literals, read and not run."""
    path = root / "pydoc_data" / "topics.py"
    tree = parse(path.read_bytes()) if path.is_file() else None
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return dict(ast.literal_eval(node.value))
    return {}


# --- rules --------------------------------------------------------------------------------------


class Held:
    """The texts seen so far, found again by the word triples that they share."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._where: defaultdict[str, list[int]] = defaultdict(list)
        self._equal: set[str] = set()

    def add(self, text: str) -> None:
        found = triples(text)
        for triple in found:
            self._where[triple].append(len(self._sizes))
        self._sizes.append(len(found))
        self._equal.add(normalise(text))

    def equal(self, text: str) -> bool:
        return normalise(text) in self._equal

    def _shared(self, found: frozenset[str]) -> Counter[int]:
        return Counter(i for triple in found for i in self._where.get(triple, ()))

    def jaccard(self, text: str) -> float:
        """The largest |A and B| / |A or B| with a text seen before."""
        found = triples(text)
        shared = self._shared(found).items()
        return max((n / (len(found) + self._sizes[i] - n) for i, n in shared), default=0.0)

    def overlap(self, text: str) -> float:
        """The largest |A and B| / min(|A|, |B|) with a text seen before."""
        found = triples(text)
        shared = self._shared(found).items()
        return max((n / min(len(found), self._sizes[i]) for i, n in shared), default=0.0)

    def contains(self, text: str) -> float:
        """The largest share of this text's triples that one text seen before has."""
        found = triples(text)
        return max(self._shared(found).values(), default=0) / len(found)


@dataclass(slots=True)
class Pairs:
    """The pairs that the rules keep, and how many each rule dropped."""

    kept: list[Pair] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    _titles: set[str] = field(default_factory=set)
    _queries: Held = field(default_factory=Held)
    _passages: Held = field(default_factory=Held)

    def offer(self, doc: Documented) -> bool:
        """True where the docstring became a pair or repeats one: its text is then used up."""
        parts = sentences(doc.text)
        if len(parts) < 2:
            self.rejected["one sentence only"] += bool(parts)
            return False
        query, passage = parts[0], shorten(parts[1:])
        if len(words(query)) < MIN_QUERY_WORDS or len(query.split()) > MAX_QUERY_WORDS:
            self.rejected["query too short or too long"] += 1
            return False
        if len(passage.split()) < MIN_PASSAGE_WORDS:
            self.rejected["passage too short"] += 1
            return False
        rule = self._repeats(query, passage)
        if doc.title in self._titles:
            rule = "name defined before"
        if rule:
            self.rejected[rule] += 1
            return True
        self._titles.add(doc.title)
        self._queries.add(query)
        self._passages.add(passage)
        self.kept.append(Pair(doc.title, query, passage, doc.family))
        return True

    def _repeats(self, query: str, passage: str) -> str | None:
        if f" {normalise(query)} " in f" {normalise(passage)} ":
            return "passage repeats its query"
        if self._queries.equal(query) or self._queries.jaccard(query) >= SAME_QUERY:
            return "query asked before"
        if self._passages.equal(passage) or self._passages.overlap(passage) >= SAME_PASSAGE:
            return "passage seen before"
        return None


def is_prose(text: str) -> bool:
    """A sentence that someone could ask: starts with a capital, mostly letters, five words."""
    letters = sum(c.isalpha() or c == " " for c in text)
    return len(words(text)) >= 5 and text[0].isupper() and letters >= 0.85 * len(text)


def is_public(title: str) -> bool:
    return "." in title and not any(part.startswith("_") for part in title.split("."))


# --- files --------------------------------------------------------------------------------------


def split_rows(pairs: Sequence[Pair], families: frozenset[str]) -> Iterator[dict[str, object]]:
    """The passages of a split, which are its index, and then its queries."""
    for pair in pairs:
        yield {"id": f"p/{pair.title}", "passage": pair.passage}
    for pair in pairs:
        n = len(pair.query.split())
        length = "short" if n <= SHORT_WORDS else "medium" if n <= MEDIUM_WORDS else "long"
        family = pair.family if pair.family in families else "other"
        slices = [f"length:{length}"]
        if family in families:
            slices.append(f"family:{family}")
        yield {
            "id": f"q/{pair.title}",
            "query": pair.query,
            "relevant": [f"p/{pair.title}"],
            "slices": slices,
        }


def text_rows(prefix: str, texts: Iterable[str]) -> Iterator[dict[str, object]]:
    return ({"id": f"{prefix}{i}", "text": text} for i, text in enumerate(texts))


def log_rows(arrivals_s: Iterable[float], texts: Iterable[str]) -> Iterator[dict[str, object]]:
    for at_s, text in zip(arrivals_s, texts, strict=True):
        yield {"at_s": round(at_s, 6), "text": text}


def write_rows(path: Path, rows: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def unique(texts: Iterable[str]) -> list[str]:
    """One text of each normalised form, in the order of their digests."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(normalise(text), text)
    first.pop("", None)
    return sorted(first.values(), key=lambda text: (digest(text), text))


# --- the whole ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Material:
    """What the standard library says, before anything is split."""

    pairs: Pairs = field(default_factory=Pairs)
    texts: list[str] = field(default_factory=list)
    """Whole texts of a passage's length."""
    queries: list[str] = field(default_factory=list)
    """First sentences and other sentences."""
    titles: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Sentences of comments."""

    def read(self, root: Path) -> None:
        for module, test, source in sources(root):
            tree = parse(source)
            if tree is None:
                continue
            for doc in documented(tree, module, test):
                if not test and is_public(doc.title):
                    self.titles.append(doc.title)
                if test or not self.pairs.offer(doc):
                    parts = sentences(doc.text)
                    self.queries += parts[:1]
                    self.add(parts)
            if not test:
                for block in comments(source):
                    self.remarks += filter(is_prose, sentences(block))
        for title, text in sorted(help_topics(root).items()):
            self.titles.append(title)
            for paragraph in re.split(r"\n[ \t]*\n", text):
                self.add(sentences(paragraph))

    def add(self, parts: Sequence[str]) -> None:
        self.queries += filter(is_prose, parts)
        if len(parts) > 1:
            self.texts.append(shorten(parts))


def split(pairs: Iterable[Pair]) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Evaluate, holdout and what is left over, in the order of the queries' digests.

    Raises ``InputError`` where the first two would be too small to decide anything.
    """
    ordered = sorted(pairs, key=lambda pair: (pair.digest, pair.title))
    size = min(MAX_PAIRS, len(ordered) // 2)
    if size < MIN_PAIRS:
        raise InputError(
            f"its documentation gives {size} labelled pairs to evaluate on, and as many to hold "
            f"out; {MIN_PAIRS} of each are needed to see a loss of 2 points",
            where=f"Python {platform.python_version()}: {sysconfig.get_paths()['stdlib']}",
            fix="use a Python 3.11 with its whole standard library and its docstrings",
        )
    return ordered[:size], ordered[size : 2 * size], ordered[2 * size :]


def families(*splits: Sequence[Pair]) -> frozenset[str]:
    """Those with enough queries in each split to be judged. The rest merge into 'other', which
    is subject to the same rule: below it, its queries are in no family."""
    counts = [Counter(pair.family for pair in part) for part in splits]
    large = {f for f in FAMILIES if all(c[f] >= MIN_FAMILY for c in counts)}
    if all(sum(n for f, n in c.items() if f not in large) >= MIN_FAMILY for c in counts):
        large.add("other")
    return frozenset(large)


class HeldOut:
    """What training, calibration and load must not contain: the held-out pairs' text."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._near, self._sentences = Held(), Held()
        for pair in pairs:
            self._near.add(pair.query)
            self._near.add(pair.passage)
            for sentence in sentences(pair.passage):
                self._sentences.add(sentence)

    def __contains__(self, text: str) -> bool:
        if self._near.equal(text) or self._sentences.equal(text):
            return True
        return len(triples(text)) >= MIN_TRIPLES and self._near.contains(text) >= SAME_PASSAGE


def queries_to_ask(material: Material, held_out: HeldOut) -> list[str]:
    """Distinct queries for the workloads: a share of titles, then sentences, comments last."""
    needed = REPEATED_ITEMS + round(ONE_TIME_SHARE * REQUESTS)
    titles = unique(material.titles)[: round(TITLE_SHARE * needed)]
    asked: dict[str, str] = {}
    said = [t for t in unique(material.queries) if len(words(t)) >= MIN_QUERY_WORDS]
    for text in (*titles, *said, *unique(material.remarks)):
        if len(text.split()) <= MAX_QUERY_WORDS and text not in held_out:
            asked.setdefault(normalise(text), text)
    found = list(asked.values())[:needed]
    if len(found) < needed:
        raise InputError(
            f"its documentation gives {len(found)} distinct queries; the workload needs {needed}",
            where=f"Python {platform.python_version()}: {sysconfig.get_paths()['stdlib']}",
            fix="use a Python 3.11 with its whole standard library and its docstrings",
        )
    return unique(found)


def prepare(out_dir: Path) -> None:
    """Writes the data of the endpoint into ``out_dir``, which exists.

    Raises ``InputError`` where this Python carries too little documentation.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    material = Material()
    material.read(root)
    evaluate, holdout, left = split(material.pairs.kept)
    for pair in left:
        material.queries.append(pair.query)
        material.texts.append(pair.passage)
    held_out = HeldOut([*evaluate, *holdout])
    sliced = families(evaluate, holdout)
    write_rows(out_dir / "evaluate.jsonl", split_rows(evaluate, sliced))
    write_rows(out_dir / "holdout.jsonl", split_rows(holdout, sliced))

    other = [*material.texts, *material.queries, *material.remarks]
    texts = [t for t in unique(shorten([t]) for t in other) if t not in held_out]
    calibrate, train = texts[:CALIBRATION_TEXTS], texts[CALIBRATION_TEXTS:]
    write_rows(out_dir / "calibrate.jsonl", text_rows("c", calibrate))
    write_rows(out_dir / "train.jsonl", text_rows("t", train))

    asked = queries_to_ask(material, held_out)
    rng = np.random.default_rng(SEED)
    exponent = solve_zipf_exponent(
        REPEATED_ITEMS, REQUESTS, HIT_RATIO, one_time_share=ONE_TIME_SHARE
    )
    items = draw_items(REQUESTS, REPEATED_ITEMS, exponent, rng, one_time_share=ONE_TIME_SHARE)
    arrivals_s = ARRIVALS.arrivals(REQUESTS, rng)
    write_rows(out_dir / "workload.jsonl", log_rows(arrivals_s, (asked[i] for i in items)))
    unique_s = ARRIVALS.arrivals(UNIQUE_REQUESTS, rng)
    write_rows(out_dir / "workload_unique.jsonl", log_rows(unique_s, asked[:UNIQUE_REQUESTS]))
