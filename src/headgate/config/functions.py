"""The caller's own code, ``module:function``, identified by what its source says.

The module is a file beside headgate.yaml. Its version is the digest of that file and of every file
beside it that it imports, found by reading imports, not by running them; so a metric whose helper
changed is another metric. Libraries are not part of it: they are part of the environment.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.config.schema import MetricSpec, nearest
from headgate.errors import InputError
from headgate.objects import Direction, digest, digest_bytes

__all__ = [
    "OwnMetric",
    "UserFunction",
    "guarded",
    "load_function",
    "load_metric",
    "source_digest",
    "source_files",
]


_ADDRESS = re.compile(r"(?: at)? ?\b0x[0-9A-Fa-f]{6,}\b")
_MOST_SAID = 200
"""Characters of an exception of the caller's that are kept."""


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A function of the caller's. Calling it calls theirs; nothing is checked or caught."""

    spec: str
    function: Callable[..., Any]
    version: str
    """Digest of the function's name, its source file and of what that imports beside it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def guarded(function: UserFunction) -> Callable[..., Any]:
    """``function``, whose exceptions become ``InputError`` (reason ``function_failed``).

    What a caller's own code raises is theirs to mend, and no fault of Headgate.
    """

    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:  # the caller's code may raise anything
            raise InputError(
                f"it raised {type(error).__name__}: {error}",
                where=f"{function.spec}{_place(error)}",
                reason="function_failed",
                fix=f"call it yourself {'with the same' if args else 'without an'} argument, and "
                "correct it",
            ) from error

    return call


def _place(error: Exception, ours: int = 2) -> str:
    """`` (FILE:LINE)``: where the caller's own file was when it raised; empty where it was not.
    ``ours``: frames of this file above it."""
    frames = traceback.extract_tb(error.__traceback__)[ours:]
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def _brief(said: str) -> str:
    """Of what the caller's own code says, what is the same in every run and short enough to keep:
    the first line, without addresses of objects."""
    line = _ADDRESS.sub("", said.strip().partition("\n")[0]).rstrip()
    return line if len(line) <= _MOST_SAID else line[: _MOST_SAID - 1] + "…"


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """``function(item, output) -> float`` for one item, with its direction and range.

    ``item`` is the row of the data file as a dict, ``output`` the model's output for it.
    """

    name: str
    function: UserFunction
    direction: Direction
    low: float
    high: float

    def __call__(self, item: dict[str, object], output: NDArray[np.generic]) -> float:
        """The value of one item. Raises ``InputError`` (reason ``metric_invalid``) where it is
        not a number within the declared range; whatever the function raises passes through."""
        value = self.function(item, output)
        returned = f"a {type(value).__name__}, no number,"
        if isinstance(value, bool | np.bool_ | int | float | np.number):
            number = float(value)
            if math.isfinite(number) and self.low <= number <= self.high:
                return number
            returned = repr(number)
        raise InputError(
            f"the metric returned {returned} for item {item.get('id')!r}; "
            f"its range is [{self.low:g}, {self.high:g}]",
            where=self.function.spec,
            reason="metric_invalid",
            fix=f"return a float in that range, or declare another under {self.name}: range",
        )

    def attempt(self, item: dict[str, object], output: NDArray[np.generic]) -> float | str:
        """The value of one item; in words what went wrong where it has none."""
        try:
            return self(item, output)
        except InputError as error:
            if error.reason == "metric_invalid":
                return error.what
            return self._raised(item, error)
        except Exception as error:  # the caller's code may raise anything
            return self._raised(item, error)

    @staticmethod
    def _raised(item: Mapping[str, object], error: Exception) -> str:
        said = _brief(str(error)) or "without a word"
        where = _place(error, ours=3)
        which = f"item {item['id']!r}" if "id" in item else f"query {item.get('query')!r}"
        return f"it raised {type(error).__name__}: {said}{where} for {which}"


def load_metric(name: str, spec: MetricSpec, root: Path) -> OwnMetric:
    """The metric that ``spec`` declares. Raises as ``load_function``."""
    low, high = spec.range
    return OwnMetric(name, load_function(spec.function, root), Direction(spec.direction), low, high)


def load_function(spec: str, root: Path) -> UserFunction:
    """Imports ``module:function`` from the directory ``root``.

    The module is imported afresh and leaves no trace in ``sys.modules`` or on disk, so that two
    endpoints may both have a ``metrics.py``. Imports from ``root`` belong at the top of its files.

    Raises ``InputError``: ``function_missing`` where there is no such file or function,
    ``function_import`` where importing it fails, ``function_shadows`` where a file beside it has
    the name of a standard module.
    """
    module_name, _, name = spec.partition(":")
    sources = _sources(module_name, root, spec)
    version = digest({"spec": spec, "files": _digests(sources, root)})
    with _importing(root, {part.partition(".")[0] for part in sources}):
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # the caller's code may raise anything
            raise InputError(
                f"importing it failed: {type(error).__name__}: {error}",
                where=f"{spec} ({sources[module_name]})",
                reason="function_import",
                fix="make `python -c 'import " + module_name + "'` work in that directory",
            ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise InputError(
            f"there is no function {name!r} in {sources[module_name].name}",
            where=spec,
            reason="function_missing",
            fix=nearest(name, known) if known else f"define {name} there",
        )
    return UserFunction(spec, function, version)


def source_digest(spec: str, root: Path) -> str:
    """The version that ``load_function`` would give, without importing or running anything."""
    sources = _sources(spec.partition(":")[0], root, spec)
    return digest({"spec": spec, "files": _digests(sources, root)})


def source_files(spec: str, root: Path) -> tuple[Path, ...]:
    """The file of ``module:function`` and every file beside it that it imports, in ``root``."""
    return tuple(_sources(spec.partition(":")[0], root, spec).values())


def _digests(sources: Mapping[str, Path], root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): digest_bytes(path.read_bytes())
        for path in sources.values()
    }


def _sources(module: str, root: Path, spec: str) -> dict[str, Path]:
    """``module`` and all that it imports within ``root``: module name -> file."""
    start = _file_of(module, root)
    if start is None:
        raise InputError(
            f"there is no file {module.replace('.', '/')}.py",
            where=f"{spec} ({root})",
            reason="function_missing",
            fix="a function lives in a file beside headgate.yaml",
        )
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if path is None or name in found:
            continue
        if name.partition(".")[0] in sys.stdlib_module_names:
            raise InputError(
                f"{path.name} has the name of a module of Python's own",
                where=str(path),
                reason="function_shadows",
                fix="rename the file",
            )
        found[name] = path
        waiting += _parents(name)
        waiting += _imports(name, path)
    return found


def _file_of(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for candidate in (base / "__init__.py", base.with_name(base.name + ".py")):
        if candidate.is_file():
            return candidate
    return None


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _imports(module: str, path: Path) -> list[str]:
    """The names that the file may import, anywhere in it; most are not in ``root``."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise InputError(
            f"this is not Python: {getattr(error, 'msg', error)}",
            where=f"{path}{line}",
            reason="function_import",
            fix="correct that line",
        ) from None
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, node.module or ""] if node.level else [node.module or ""])
            base = base.strip(".")
            names += [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
    return names


@contextlib.contextmanager
def _importing(root: Path, names: set[str]) -> Iterator[None]:
    """``root`` first on the path, modules called ``names`` out of the way, then all as before."""

    def ours() -> list[str]:
        return [key for key in sys.modules if key.partition(".")[0] in names]

    before = {key: sys.modules.pop(key) for key in ours()}
    write_bytecode = sys.dont_write_bytecode
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True  # nothing is written beside the caller's files
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(root))
        sys.dont_write_bytecode = write_bytecode
        for key in ours():
            del sys.modules[key]
        sys.modules.update(before)
