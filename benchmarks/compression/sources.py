"""Which code made what a benchmark keeps."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from headgate.objects import digest, digest_bytes

__all__ = ["code_digest", "source_digest"]


def source_digest(*modules: str) -> str:
    """Digest of the source of ``modules``; of these alone, not of what they import."""
    return digest({module: digest_bytes(source) for module, source in _sources(modules)})


def code_digest(*modules: str) -> str:
    """As ``source_digest``, but for comments, docstrings and how it is laid out."""
    return digest({module: _without_words(source) for module, source in _sources(modules)})


def _sources(modules: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for module in modules:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        yield module, Path(spec.origin).read_bytes()


def _without_words(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]  # it has one
    return digest_bytes(ast.dump(tree).encode())


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
