"""Markdown as tests look at it: fences, code in sentences, tables, links."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Page", "command_lines", "pages"]

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """One file of the documentation."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path, path.read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        """Relative to the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def prose(self) -> str:
        """All but the fences."""
        return _FENCE.sub("", self.text)

    def fences(self, *kinds: str) -> list[str]:
        """The content of the fences that say one of these behind their ticks."""
        found = _FENCE.findall(self.text)
        return [textwrap.dedent(body) for _, kind, body in found if kind in kinds]

    @property
    def spans(self) -> list[str]:
        """Code within the prose."""
        return _SPAN.findall(self.prose)

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """What a link may have behind its ``#``, as code hosts make it of headings."""
        headings = _HEADING.findall(self.prose)
        return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}

    def table(self, first: str) -> list[list[str]]:
        """The rows of the table whose first column is called ``first``, as cells."""
        _, _, below = self.text.partition(f"\n| {first} |")
        assert below, f"{self.name} has no table that begins with {first!r}"
        rows = below.partition("\n\n")[0].splitlines()[2:]
        return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]

    def named(self, first: str, column: int = 0) -> set[str]:
        """The code spans of one column of that table."""
        return {span for row in self.table(first) for span in _SPAN.findall(row[column])}


def pages() -> list[Page]:
    """README.md and the guides."""
    return [Page.read(p) for p in (ROOT / "README.md", *sorted(ROOT.glob("docs/guides/*.md")))]


def command_lines(shell: str) -> Iterator[list[str]]:
    """The programs that lines of shell start, also within ``$(...)``, as words: without what they
    are redirected to, and without variables."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in lexer:
            if set(word) <= set(";|&()"):
                yield from _program(words)
                words = []
            elif set(word) <= set("<>"):
                redirected = True
            elif redirected:
                redirected = False
            else:
                words.append(word)
        yield from _program(words)


def _program(words: list[str]) -> Iterator[list[str]]:
    for word in words:
        for inner in re.findall(r"\$\((.*)\)", word):
            yield from command_lines(inner)
    while words and re.match(r"[A-Za-z_]+=", words[0]):
        words = words[1:]
    if words:
        yield words
