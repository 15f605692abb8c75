"""What Python says about itself: docstrings, help topics, comments and names, read from source.

Nothing is imported and nothing is run: source is parsed with ``ast``. Knows nothing of pairs,
splits or files to write.
"""

from __future__ import annotations

import ast
import gc
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Documented", "Library", "normalise", "pieces", "read", "sentences", "words"]

_TESTS = frozenset({"idle_test", "test", "tests"})
_MOST_TEST_DOCSTRINGS = 1000
"""Files of tests are many and say little: after so many docstrings the rest is not read."""
_FOREIGN = frozenset({"dist-packages", "site-packages"})
_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s)")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|resp|incl|approx)|\b[A-Za-z])\.$")
_COMMENT = re.compile(r"[ \t]*#[ \t]+(\S.*)")


@dataclass(frozen=True, slots=True)
class Documented:
    """A docstring ('' where there is none) and its owner's qualified name, such as os.path.join."""

    title: str
    text: str

    @property
    def public(self) -> bool:
        """Something in a module that a reader may look up by its name."""
        parts = self.title.split(".")
        return len(parts) > 1 and not any(part.startswith("_") for part in parts)


@dataclass(frozen=True, slots=True)
class Library:
    """A standard library's words, in the order of its files."""

    documented: list[Documented] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    """The first docstrings of the ``test`` packages; a distribution may leave these out."""
    topics: dict[str, str] = field(default_factory=dict)
    """Title and text of what ``help('...')`` shows."""
    remarks: list[str] = field(default_factory=list)
    """Sentences of comments."""


def read(root: Path) -> Library:
    """Everything under the standard library's directory ``root``, and some of its tests."""
    library = Library()
    for path in sorted(_sources(root)):
        parts = path.relative_to(root).with_suffix("").parts
        of_tests = not _TESTS.isdisjoint(parts)
        if of_tests and len(library.tests) >= _MOST_TEST_DOCSTRINGS:
            continue
        source = path.read_bytes()
        tree = _parse(source)
        if parts == ("pydoc_data", "topics"):
            library.topics.update(sorted(_topics(tree)))
        elif of_tests:
            library.tests.extend(d.text for d in _documented(tree, "test") if d.text)
        else:
            module = ".".join(parts).removesuffix(".__init__")
            library.documented.extend(_documented(tree, module))
            for block in _comments(source):
                library.remarks.extend(s for s in sentences(block) if is_prose(s))
    return library


def _sources(root: Path) -> Iterator[Path]:
    """The library's own files; what is installed beside them is not even looked at."""
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if name not in _FOREIGN]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def _parse(source: bytes) -> ast.Module:
    collects = gc.isenabled()
    gc.disable()  # a tree has no cycles, and walking it takes a quarter of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError):  # some test files are broken on purpose
        return ast.Module(body=[], type_ignores=[])
    finally:
        if collects:
            gc.enable()


def _documented(tree: ast.Module, module: str) -> Iterator[Documented]:
    """The module, its classes and functions, and theirs; a function's own functions are inside."""
    waiting: list[tuple[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, str]]
    waiting = [(tree, module)]
    for node, title in waiting:
        text = ast.get_docstring(node) or ""
        yield Documented(title, text.encode("utf-8", "replace").decode())  # no lone surrogates
        waiting += [
            (child, f"{title}.{child.name}")
            for child in node.body
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]


def _topics(tree: ast.Module) -> Iterable[tuple[str, str]]:
    """The module is one dictionary of literals."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return dict(ast.literal_eval(node.value)).items()
    return ()


def _comments(source: bytes) -> Iterator[str]:
    """Blocks of consecutive lines that are a comment and nothing else."""
    block: list[str] = []
    for line in [*source.decode("utf-8", "replace").splitlines(), ""]:
        match = _COMMENT.match(line)
        if match:
            block.append(match[1])
        elif block:
            yield "\n".join(block)
            block = []


def sentences(text: str) -> list[str]:
    """They end at ``.``, ``!`` or ``?`` before a blank, and where a paragraph ends.

    >>> sentences("Open a file, e.g. a log. It must exist!\\n\\nSee also: close()")
    ['Open a file, e.g. a log.', 'It must exist!', 'See also: close()']
    """
    found = []
    for paragraph in _PARAGRAPH.split(text):
        flat = " ".join(paragraph.split())
        start = 0
        for end in _SENTENCE_END.finditer(flat):
            if not _ABBREVIATION.search(flat, start, end.end()):
                found.append(flat[start : end.end()])
                start = end.end() + 1
        found.append(flat[start:])
    return [sentence for sentence in found if sentence]


def paragraphs(text: str) -> list[str]:
    """Parts of a text between empty lines."""
    return _PARAGRAPH.split(text)


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits: what two texts are compared by.

    >>> words("Return os.path_sep, 'as is'.")
    ['return', 'os', 'path', 'sep', 'as', 'is']
    """
    return re.findall(r"[^\W_]+", text.lower())


def normalise(text: str) -> str:
    """Texts that are equal after this are the same item."""
    return " ".join(words(text))


def pieces(text: str) -> int:
    """Runs of letters or digits and single signs: the least that a BERT tokenizer makes of it.

    >>> pieces("f(x_1)")
    6
    """
    return len(re.findall(r"[^\W_]+|[^\w\s]|_", text))


def is_prose(sentence: str) -> bool:
    """Five words or more, a capital first, at least 85 % letters and blanks: not a piece of code.

    >>> is_prose("The pool keeps idle workers."), is_prose("if n > 0: return self._pool[n - 1]")
    (True, False)
    """
    letters = sum(c.isalpha() or c == " " for c in sentence)
    return len(words(sentence)) >= 5 and sentence[0].isupper() and letters >= 0.85 * len(sentence)


def cut(parts: Sequence[str], *, most_words: int, most_pieces: int) -> str:
    """As many whole sentences as fit; a first one that does not fit is cut between two words.

    >>> cut(["One two three.", "Four."], most_words=3, most_pieces=9)
    'One two three.'
    """

    def fits(text: str) -> bool:
        return len(text.split()) <= most_words and pieces(text) <= most_pieces

    kept = ""
    for part in parts:
        longer = f"{kept} {part}".strip()
        if not fits(longer):
            break
        kept = longer
    if kept or not parts:
        return kept
    first = parts[0].split()[:most_words]
    while first and not fits(" ".join(first)):
        first.pop()
    return " ".join(first)
