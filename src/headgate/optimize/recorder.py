"""Runs transformations and remembers them: resume, reuse and evidence are one mechanism.

``Recorder.run`` executes ``z = T(u; c, e)`` unless the ledger already holds that very run with all
of its outputs (docs/decisions/0001). Knows nothing of what the transformations do.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from headgate.ledger import Store
from headgate.objects import Artifact, Run, digest, digest_bytes

__all__ = ["Output", "Recorded", "Recorder", "code_digest", "now_text"]


def now_text() -> str:
    """The present as the ledger writes it: UTC, ISO 8601, seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a transformation: bytes or a file, and what they look like."""

    content: bytes | Path
    kind: str
    schema: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished run: its ledger entry and the versions of its outputs."""

    entry: str
    outputs: Mapping[str, str]
    reused: bool
    seconds: float


@cache
def code_digest(*modules: str) -> str:
    """Digest of the source of ``modules`` and of all that they import inside the package.

    Comments count: the digest is of what a reader would read.
    """
    seen: dict[str, str] = {}
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        source = Path(spec.origin).read_bytes()
        seen[name] = digest_bytes(source)
        todo.extend(_imports_inside(source, name, is_package=bool(spec.submodule_search_locations)))
    return digest(seen)


def _imports_inside(source: bytes, module: str, *, is_package: bool) -> Iterable[str]:
    root = module.partition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.partition(".")[0] == root)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.partition(".")[0] != root:
                continue
            yield node.module
            for alias in node.names:
                child = f"{node.module}.{alias.name}"
                if importlib.util.find_spec(node.module) and _is_module(child):
                    yield child


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@dataclass(frozen=True)
class Recorder:
    """Executes transformations for one endpoint, against one store, in one environment."""

    store: Store
    endpoint: str
    owner: str
    environment: str
    """Digest of ``e``."""
    seed: int
    on_run: Callable[[str, bool], None] = lambda name, reused: None
    """Told the name of each transformation before it runs, and whether it is reused."""

    def run(
        self,
        transformation: str,
        *,
        u: Mapping[str, str],
        c: Mapping[str, object],
        code: tuple[str, ...],
        work: Callable[[], Mapping[str, Output]],
        fresh: bool = False,
    ) -> Recorded:
        """The outputs of ``transformation`` on ``u`` under ``c``; executes ``work`` if need be.

        ``code`` names the modules whose source decides the result. Raises whatever ``work`` raises;
        nothing is recorded then.
        """
        config = {**c, "code": code_digest(*code)}
        if not fresh:
            found = self.store.find_run(
                transformation=transformation, u=u, c=config, e=self.environment, seed=self.seed
            )
            if found is not None:
                entry, run = found
                self.on_run(transformation, True)
                return Recorded(entry.id, run.z, True, _seconds_between(run))
        self.on_run(transformation, False)
        started = datetime.now(UTC)
        outputs = work()
        ended = datetime.now(UTC)
        z = {name: self._put(output) for name, output in outputs.items()}
        run = Run(
            transformation=transformation,
            u=dict(u),
            c=config,
            e=self.environment,
            z=z,
            seed=self.seed,
            started_at=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            ended_at=ended.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        )
        entry = self.store.record_run(run)
        for name, output in outputs.items():
            self.register(
                f"{transformation}/{name}",
                z[name],
                kind=output.kind,
                schema=output.schema,
                lineage=tuple(u.values()),
                made_by=entry.id,
            )
        return Recorded(entry.id, z, False, (ended - started).total_seconds())

    def register(
        self,
        name: str,
        version: str,
        *,
        kind: str,
        schema: str,
        lineage: tuple[str, ...] = (),
        made_by: str | None = None,
    ) -> str:
        """Registers an artifact of this endpoint; returns its ledger entry."""
        artifact = Artifact(
            id=f"{self.endpoint}/{name}",
            version=version,
            kind=kind,
            schema=schema,
            owner=self.owner,
            size_bytes=self.store.path_of(version).stat().st_size,
            lineage=lineage,
            made_by=made_by,
        )
        return self.store.register(artifact).id

    def _put(self, output: Output) -> str:
        if isinstance(output.content, bytes):
            return self.store.put_bytes(output.content)
        return self.store.put_file(output.content)


def _seconds_between(run: Run) -> float:
    start, end = (
        datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (run.started_at, run.ended_at)
    )
    return (end - start).total_seconds()
