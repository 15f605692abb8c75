"""Runs command lines in this process, on a small store with two generations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from headgate.cli.app import run
from headgate.ledger import Store, hold, hold_release, hold_run, utc_now
from headgate.objects import (
    Action,
    Artifact,
    BatchingSpec,
    BatchInvariance,
    Build,
    CacheSpec,
    Decision,
    Release,
    Run,
    Variant,
    canonical,
)
from headgate.release import Rule
from headgate.runtime.servable import Servable
from headgate.workload import ServiceCurve

NOW = utc_now()
TIMES = {"started_at": NOW, "ended_at": NOW}


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture(autouse=True)
def targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variants of the sample store have no models: what is current is taken to be usable, and
    what is promoted to be certified here."""
    monkeypatch.setattr(
        "headgate.runtime.target.prove_target", lambda store, version, root: "a proof"
    )
    monkeypatch.setattr(
        "headgate.optimize.recertify.require_certificate", lambda store, variant, root, told: None
    )


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line at 80 columns in an empty current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("HEADGATE_DEBUG", raising=False)

    def call(*arguments: str) -> Said:
        code = run(arguments)
        out, err = capsys.readouterr()
        return Said(code, "\n".join(line.rstrip() for line in out.splitlines()), err)

    return call


@dataclass(frozen=True)
class Ids:
    """What is in the sample store."""

    baseline: str
    student: str
    accepted: str
    refused: str
    model: str


def servable(name: str) -> Servable:
    """A variant that could be served, were its model there."""
    build = Build(name, "embed", "onnxruntime", "fp32", {"model.onnx": "m"}, "t", 256, 1)
    variant = Variant(name, build.version, 1, BatchingSpec(), CacheSpec())
    curve = ServiceCurve(0.001, 0.001, 0.0, 0.0)
    return Servable(
        "docs", "embed", variant, build, curve, BatchInvariance.EXACT, False, None, None
    )


@pytest.fixture
def ids(tmp_path: Path) -> Ids:
    """A store with a baseline as generation 0, and two decisions about a student."""
    with Store.open(tmp_path / ".headgate", create=True) as store:
        model = keep(store, "model", b"the model", "onnx", "docs/model")
        versions = {}
        for name in ("baseline", "student"):
            content = servable(name).content
            version = store.put_bytes(content)
            made = hold_run(
                store,
                Run(
                    f"make.{name}", {"model": model}, {"code": "sha256:c0de", "layers": 3},
                    environment(store), {"out": version}, 0, **TIMES, owner="search",
                ),
            )  # fmt: skip
            keep(
                store, "variant", content, "json Servable", f"docs/variant/{name}",
                lineage=(model,), made_by=made.id,
            )  # fmt: skip
            versions[name] = version
        runs = {
            action: decide(store, versions, action) for action in (Action.ROLLBACK, Action.ACCEPT)
        }
        first = Release("docs", 0, versions["baseline"], None)
        hold_release(store, first, expected_generation=None)
    return Ids(
        versions["baseline"], versions["student"], runs[Action.ACCEPT], runs[Action.ROLLBACK], model
    )


def keep(store: Store, kind: str, content: bytes, schema: str, name: str, **fields: object) -> str:
    """The version of what was stored and registered under its kind's standard."""
    version = store.put_bytes(content)
    hold(store, Artifact(name, version, kind, schema, "search", len(content), **fields))
    return version


def environment(store: Store) -> str:
    return keep(store, "environment", b'{"python":"3.11"}', "json profile", "docs/environment")


def decide(store: Store, versions: dict[str, str], action: Action, because: str = "") -> str:
    """The entry of a decision about the student against the baseline, all of it registered."""
    for version in versions.values():
        if store.artifact(version) is None:
            keep(
                store, "variant", store.read(version), "json Servable", "docs/variant/other",
                lineage=(versions["baseline"],),
            )  # fmt: skip
    because = because or f"it says {action}"
    decision = Decision(versions["student"], versions["baseline"], "holdout", (), action, because)
    lineage = (versions["student"], versions["baseline"])
    rule = Rule("docs", "holdout", "sha256:data", (), {}, {}, seed=0)
    case = keep(
        store, "samples", canonical({"action": action, "rule": rule}), "json case of the gate",
        "docs/case", lineage=lineage,
    )  # fmt: skip
    z = {"decision": store.put_bytes(canonical(decision))}
    u, c = {"case": case}, {"code": "sha256:c0de"}
    made = Run("gate.decide", u, c, environment(store), z, 0, **TIMES, owner="search")
    run = hold_run(store, made)
    keep(
        store, "decision", canonical(decision), "json Decision", "docs/decision",
        lineage=(case,), made_by=run.id,
    )  # fmt: skip
    return run.id
