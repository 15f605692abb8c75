"""Where decisions are calculated again: other hash seeds, and locales that are really in force.

Python leaves numbers alone until a program calls ``setlocale``, and a locale that is not installed
changes nothing: a test that only sets ``LC_ALL`` cannot fail. So the process calls it, as an
application around us may, and a locale with a decimal comma is made for it, whatever is installed.
"""

from __future__ import annotations

import locale
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMMA", "PLACES", "Place", "enter", "make_comma"]

COMMA = "comma"
"""A locale of our own: ``1,5`` and ``1.000``."""


@dataclass(frozen=True, slots=True)
class Place:
    """A process of its own under another hash seed and locale."""

    hash_seed: int
    locale: str

    def environment(self, locales: Path) -> Mapping[str, str]:
        """``locales`` is where ``make_comma`` put its locale."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))},
            "PYTHONHASHSEED": str(self.hash_seed),
            # Without these two, Python takes C for UTF-8.
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONUTF8": "0",
            **({"LOCPATH": str(locales)} if self.locale == COMMA else {}),
            "LC_NUMERIC" if self.locale == COMMA else "LC_ALL": self.locale,
        }


PLACES = (Place(1, "C"), Place(4242, "C.UTF-8"), Place(77, COMMA))


def enter() -> str:
    """Puts the locale of the environment in force, and says how it writes 1234.5.

    Raises ``locale.Error`` where it does not exist.
    """
    locale.setlocale(locale.LC_ALL, "")
    return f"{1234.5:n}"


def make_comma(directory: Path) -> None:
    """Writes ``COMMA`` into ``directory``, as glibc's ``localedef`` compiles ``LC_NUMERIC``.

    A magic number, how many values, where each begins; then the values: decimal point, separator
    of thousands, grouping, the first two as wide characters, and the character set.
    """
    values = (b",\0", b".\0", b"\3\3\0", struct.pack("=I", ord(",")), struct.pack("=I", ord(".")),
              b"UTF-8\0")  # fmt: skip
    offsets, content = [], b""
    begin = 4 * (2 + len(values))
    for value in values:
        if len(value) == 4:  # a word lies at a multiple of its size
            content += b"\0" * (-(begin + len(content)) % 4)
        offsets.append(begin + len(content))
        content += value
    header = struct.pack(f"={2 + len(values)}I", 0x20031114, len(values), *offsets)
    (directory / COMMA).mkdir(parents=True)
    (directory / COMMA / "LC_NUMERIC").write_bytes(header + content)
