"""A new store, and values that are complete enough to be recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.ledger import Store
from headgate.objects import Artifact, Release, Run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".headgate"


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    with Store.open(root, create=True) as opened:
        yield opened


@pytest.fixture
def keep(store: Store) -> Callable[..., Artifact]:
    """Keep ``content`` in the store and register it as an artifact."""

    def keep_(content: bytes, name: str = "docs", **fields: object) -> Artifact:
        version = store.put_bytes(content)
        given = {"kind": "dataset", "schema": "bytes", "owner": "search", **fields}
        artifact = Artifact(id=name, version=version, size_bytes=len(content), **given)
        store.register(artifact)
        return artifact

    return keep_


@pytest.fixture
def release(store: Store) -> Callable[..., Release]:
    """A release of a variant that is in the store."""

    def release_(generation: int, variant: bytes = b"variant", **fields: object) -> Release:
        version = store.put_bytes(variant)
        return Release("docs-search", generation, version, **{"decision": None, **fields})

    return release_


@pytest.fixture
def run_of() -> Callable[..., Run]:
    """A finished run with the outputs ``z``."""

    def run_(u: dict[str, str], z: dict[str, str], **fields: object) -> Run:
        given = {
            "c": {"code": "sha256:c0de", "bits": 8}, "e": "sha256:e0", "seed": 7,
            "owner": "search", **fields,
        }  # fmt: skip
        times = {"started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:01:00Z"}
        return Run(transformation="quantize.static_int8", u=u, z=z, **given, **times)

    return run_
