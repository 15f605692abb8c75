"""YAML as plain values, with the line of every key.

YAML 1.2's core rules: ``no`` and ``2026-10-01`` are text, ``2e-5`` is a number. Duplicate keys,
tags and documents that contain themselves are refused. Knows nothing of what the keys mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from headgate.errors import ConfigError, InputError

__all__ = ["Document", "KeyPath", "read_document"]

KeyPath: TypeAlias = tuple[str | int, ...]

_MAX_NODES = 50_000
"""Aliases multiply: a few lines can stand for billions of values."""


_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's core schema instead of 1.1's surprises."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - pyyaml's own protocol


for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )


@dataclass(frozen=True, slots=True)
class Document:
    """``value`` as dicts, lists and scalars; ``lines`` maps each key path to its line, from 1."""

    path: Path
    value: Any
    lines: dict[KeyPath, int]

    def where(self, loc: KeyPath) -> str:
        """``file:line: key.path`` of ``loc``, or of what is nearest above it.

        Parts of ``loc`` that the document does not have (a key that is missing, an index that a
        validator added) name no line; a missing key is still named.
        """
        path: list[str | int] = []
        value = self.value
        names: list[str] = []
        for part in loc:
            if isinstance(value, dict) and part in value:
                value = value[part]
                path.append(part)
                names.append(str(part))
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part]
                path.append(part)
                names[-1] += f"[{part}]"
            elif isinstance(value, dict) and isinstance(part, str):
                names.append(part)
                break
        line = self.lines.get(tuple(path))
        at = f"{self.path}:{line}" if line is not None and path else str(self.path)
        return f"{at}: {'.'.join(names)}" if names else at


def read_document(path: Path) -> Document:
    """Reads ``path``. Raises ``InputError`` where it cannot be read, ``ConfigError`` where it
    cannot be understood."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(
            "there is no such file",
            where=str(path),
            reason="file_missing",
            fix="check the path, or let `headgate init DIR` write one",
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte {error.start} is not UTF-8", where=str(path), fix="save the file as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(path), reason="file_unreadable"
        ) from None
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(
            f"this is not YAML: {getattr(error, 'problem', None) or error}",
            where=f"{path}:{mark.line + 1}" if mark else str(path),
            reason="not_yaml",
            fix="check the indentation, quotes and brackets on that line",
        ) from None
    lines: dict[KeyPath, int] = {}
    value = None if node is None else _Builder(path, lines).build(node, (), ())
    return Document(path, value, lines)


class _Builder:
    def __init__(self, path: Path, lines: dict[KeyPath, int]) -> None:
        self._path = path
        self._lines = lines
        self._nodes = 0

    def build(self, node: yaml.Node, key: KeyPath, inside: tuple[int, ...]) -> Any:
        self._nodes += 1
        if id(node) in inside or self._nodes > _MAX_NODES:
            raise self._error(node, "an alias makes the document endless", "write it out")
        inside = (*inside, id(node))
        self._lines.setdefault(key, node.start_mark.line + 1)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            raise self._error(node, f"the tag {node.tag!r} is not read", "write a plain value")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key, inside)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*key, i), inside) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, key: KeyPath, inside: tuple[int, ...]) -> Any:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be text", "write a plain key")
            name = str(key_node.value)
            if name in result:
                first = self._lines[(*key, name)]
                raise self._error(
                    key_node,
                    f"the key {name!r} stands here and on line {first}",
                    "keep one of them",
                )
            self._lines[(*key, name)] = key_node.start_mark.line + 1
            result[name] = self.build(value_node, (*key, name), inside)
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        text = str(node.value)
        try:
            if kind == "str":
                return text
            if kind == "int":
                return int(text)
            if kind == "float":
                return float(text)
        except ValueError:
            raise self._error(
                node, f"{text!r} is not a number", "quote it, or correct it"
            ) from None
        if kind == "bool":
            return text == "true"
        if kind == "null":
            return None
        raise self._error(node, f"the tag {node.tag!r} is not read", "write a plain value")

    def _error(self, node: yaml.Node, what: str, fix: str) -> ConfigError:
        return ConfigError(
            what, where=f"{self._path}:{node.start_mark.line + 1}", reason="not_yaml", fix=fix
        )
