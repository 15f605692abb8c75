"""Labels without a labeller: a docstring's first sentence asks, the rest of it answers.

Holds the rules by which a docstring becomes a pair, and those by which two texts are too alike to
stand on both sides of an evaluation. Knows nothing of files or of how the pairs are split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from reading import Documented, cut, normalise, pieces, sentences, words

__all__ = ["FAMILIES", "RULES", "HeldOut", "Pair", "Pairs", "fits_query", "shorten"]

MIN_QUERY_WORDS, MAX_QUERY_WORDS, MAX_QUERY_PIECES = 3, 40, 64
MIN_PASSAGE_WORDS, MAX_PASSAGE_WORDS, MAX_PASSAGE_PIECES = 8, 64, 120
SAME_QUERY = 0.7  # Jaccard similarity of two queries' word triples
SAME_PASSAGE = 0.7  # share of the shorter text's word triples that the other one has too
MIN_TRIPLES = 4  # with fewer, sharing them is chance ("return true if"): only equality counts

RULES = {
    "pair": "query: first sentence of a docstring; passage: the sentences after it that fit into "
    f"{MAX_PASSAGE_WORDS} words and {MAX_PASSAGE_PIECES} pieces (runs of letters or digits, signs)",
    "query_too_short": f"under {MIN_QUERY_WORDS} words",
    "query_too_long": f"over {MAX_QUERY_WORDS} words or {MAX_QUERY_PIECES} pieces",
    "passage_too_short": f"under {MIN_PASSAGE_WORDS} words",
    "name_repeated": "the same qualified name was defined before",
    "query_within_passage": "the query's words stand in a row in its own passage",
    "query_repeated": f"equal to a query before it, or Jaccard of word triples >= {SAME_QUERY}",
    "passage_repeated": "equal to a passage before it, or share of the shorter one's word triples "
    f">= {SAME_PASSAGE}",
    "held_out": "other text is left out where it equals a held-out query, passage or sentence of "
    f"one, or has {MIN_TRIPLES} word triples or more of which one such text has {SAME_PASSAGE}",
}

FAMILIES = {
    "development": "bdb cProfile distutils doctest logging pdb profile pstats pyclbr pydoc timeit "
    "trace traceback tracemalloc unittest warnings",
    "internet": "asynchat asyncore cgi cgitb email ftplib http imaplib ipaddress mailbox mailcap "
    "mimetypes netrc nntplib poplib quopri smtpd smtplib socket socketserver ssl telnetlib urllib "
    "uu wsgiref xdrlib xmlrpc",
    "language": "__future__ _collections_abc _py_abc _pydecimal _strptime _weakrefset abc ast "
    "base64 bisect calendar code codeop collections compileall contextlib copy copyreg crypt "
    "ctypes dataclasses datetime dbm decimal dis enum fractions functools graphlib hashlib heapq "
    "hmac imp importlib inspect keyword lib2to3 linecache modulefinder numbers opcode operator "
    "pickle pickletools pkgutil py_compile random reprlib runpy secrets shelve sqlite3 statistics "
    "struct symtable tabnanny token tokenize types typing uuid weakref zipimport zoneinfo",
    "presentation": "_markupbase aifc argparse chunk cmd codecs colorsys configparser csv curses "
    "difflib encodings getopt getpass gettext html idlelib json locale optparse plistlib pprint "
    "re rlcompleter shlex sndhdr string stringprep sunau textwrap tkinter tomllib turtle "
    "turtledemo wave webbrowser xml",
    "system": "_aix_support _bootsubprocess _compression _distutils_system_mod _osx_support _pyio "
    "_sitebuiltins _threading_local asyncio bz2 concurrent contextvars ensurepip filecmp "
    "fileinput fnmatch genericpath glob gzip io lzma multiprocessing nturl2path ntpath os pathlib "
    "pipes platform posixpath pty queue sched selectors shutil signal site sitecustomize stat "
    "subprocess sysconfig tarfile tempfile threading tty venv zipapp zipfile",
}
"""Modules by what they are for. Few and large, so that each can show a loss of 6 points."""

_FAMILY_OF = {module: family for family, names in FAMILIES.items() for module in names.split()}


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, the one passage that answers it, and the qualified name of what both describe."""

    title: str
    query: str
    passage: str

    @property
    def family(self) -> str:
        """By top-level module; 'other' where no family names it."""
        return _FAMILY_OF.get(self.title.partition(".")[0], "other")


def fits_query(text: str) -> bool:
    """Neither too short nor too long to be asked."""
    return (
        len(words(text)) >= MIN_QUERY_WORDS
        and len(text.split()) <= MAX_QUERY_WORDS
        and pieces(text) <= MAX_QUERY_PIECES
    )


def shorten(parts: list[str]) -> str:
    """Sentences, as many as a passage takes."""
    return cut(parts, most_words=MAX_PASSAGE_WORDS, most_pieces=MAX_PASSAGE_PIECES)


def triples(text: str) -> frozenset[str]:
    """Runs of three words; the whole text where it has fewer.

    >>> sorted(triples("Close the file now"))
    ['close the file', 'the file now']
    """
    w = words(text)
    return frozenset(" ".join(w[i : i + 3]) for i in range(max(1, len(w) - 2)))


class Seen:
    """Texts seen so far, found again by the word triples that they share with another."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        self._equal: set[str] = set()

    def __contains__(self, text: str) -> bool:
        return normalise(text) in self._equal

    def add(self, text: str) -> None:
        found = triples(text)
        for triple in found:
            self._places[triple].append(len(self._sizes))
        self._sizes.append(len(found))
        self._equal.add(normalise(text))

    def _alike(self, text: str) -> Iterable[tuple[int, int, int]]:
        """For each text that shares a triple: triples of this one, of that one, and of both."""
        found = triples(text)
        both = Counter(i for triple in found for i in self._places.get(triple, ()))
        return ((len(found), self._sizes[i], n) for i, n in both.items())

    def jaccard(self, text: str) -> float:
        """Largest |A and B| / |A or B| with a text seen."""
        return max((n / (a + b - n) for a, b, n in self._alike(text)), default=0.0)

    def overlap(self, text: str) -> float:
        """Largest |A and B| / min(|A|, |B|) with a text seen."""
        return max((n / min(a, b) for a, b, n in self._alike(text)), default=0.0)

    def coverage(self, text: str) -> float:
        """Largest |A and B| / |A|: how much of this text one text seen contains."""
        return max((n / a for a, _, n in self._alike(text)), default=0.0)


@dataclass(slots=True)
class Pairs:
    """The pairs that the rules keep, and how many docstrings each rule turned away."""

    kept: list[Pair] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    _titles: set[str] = field(default_factory=set)
    _queries: Seen = field(default_factory=Seen)
    _passages: Seen = field(default_factory=Seen)

    def offer(self, doc: Documented) -> bool:
        """False where the docstring makes no pair and its sentences are free for other uses.

        One that repeats another pair is dropped and not free: it would give that pair away.
        """
        parts = sentences(doc.text)
        if len(parts) < 2:
            self.dropped["one_sentence"] += len(parts)
            return False
        pair = Pair(doc.title, parts[0], shorten(parts[1:]))
        unfit = self._unfit(pair)
        repeated = None if unfit else self._repeated(pair)
        if unfit or repeated:
            self.dropped[unfit or repeated or ""] += 1
            return not unfit
        self._titles.add(pair.title)
        self._queries.add(pair.query)
        self._passages.add(pair.passage)
        self.kept.append(pair)
        return True

    def _unfit(self, pair: Pair) -> str | None:
        if not fits_query(pair.query):
            short = len(words(pair.query)) < MIN_QUERY_WORDS
            return "query_too_short" if short else "query_too_long"
        return "passage_too_short" if len(pair.passage.split()) < MIN_PASSAGE_WORDS else None

    def _repeated(self, pair: Pair) -> str | None:
        query, passage = pair.query, pair.passage
        if pair.title in self._titles:
            return "name_repeated"
        if f" {normalise(query)} " in f" {normalise(passage)} ":
            return "query_within_passage"
        if query in self._queries or self._queries.jaccard(query) >= SAME_QUERY:
            return "query_repeated"
        if passage in self._passages or self._passages.overlap(passage) >= SAME_PASSAGE:
            return "passage_repeated"
        return None


class HeldOut:
    """What is kept from training, calibration and load: the text of these pairs."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._texts = Seen()
        self._sentences: set[str] = set()
        for pair in pairs:
            self._texts.add(pair.query)
            self._texts.add(pair.passage)
            self._sentences.update(normalise(s) for s in sentences(pair.passage))

    def __contains__(self, text: str) -> bool:
        if text in self._texts or normalise(text) in self._sentences:
            return True
        return len(triples(text)) >= MIN_TRIPLES and self._texts.coverage(text) >= SAME_PASSAGE
