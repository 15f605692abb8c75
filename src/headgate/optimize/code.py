"""The digest of the code that a transformation can reach: part of ``c`` in ``z = T(u; c, e)``."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

from headgate.objects import digest, digest_bytes

__all__ = ["code_digest"]


@cache
def code_digest(*modules: str) -> str:
    """Digest of the source of ``modules`` and of everything that they import inside their packages.

    Follows the imports in the text, those inside functions too, so nothing needs to be loaded.
    Packages on the way count by what is named in them, not by what they re-export: importing
    ``headgate.objects`` counts all of ``headgate.objects``.
    """
    roots = frozenset(name.partition(".")[0] for name in modules)
    sources: dict[str, str] = {}
    todo = [*modules]
    while todo:
        name = todo.pop()
        path = _source_of(name)
        if name in sources or path is None:
            continue
        sources[name], imported = _read(path, roots)
        todo.extend(imported)
    return digest(sources)


@cache
def _read(path: Path, roots: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """The digest of a source and what it imports. Once a process: transformations share nearly all
    that they can reach, and parsing is what takes the time."""
    source = path.read_bytes()
    return digest_bytes(source), tuple(_imports(source, roots))


def _imports(source: bytes, roots: Set[str]) -> Iterator[str]:
    """Names imported inside the packages; ``from a import b`` may mean the module ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] in roots)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in roots:
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


@cache
def _source_of(module: str) -> Path | None:
    """The file of ``module``; None where it is a name inside one, as ``a.b`` for a function b of a.

    Found by path: asking the import system for ``a.b`` would run ``a``.
    """
    root, *inner = module.split(".")
    spec = importlib.util.find_spec(root)
    assert spec is not None
    assert spec.origin is not None, f"{root} is a package with an __init__.py"
    path = Path(spec.origin).parent.joinpath(*inner)
    for candidate in (path / "__init__.py", path.with_name(path.name + ".py")):
        if candidate.is_file():
            return candidate
    return None
