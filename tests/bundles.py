"""A release that could be exported: a tiny embedder, judged by the real gate, in a real ledger."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headgate.config import source_digest
from headgate.engines.probe import read_profile
from headgate.ledger import Store
from headgate.ledger.archive import Member, packed
from headgate.ledger.dsse import Envelope
from headgate.ledger.signing import SigningKey
from headgate.objects import (
    Action,
    Axis,
    BatchingSpec,
    Bound,
    Build,
    CacheSpec,
    Contract,
    Decision,
    Direction,
    Kind,
    Parts,
    Release,
    Variant,
    canonical,
    cascade_of,
    digest_bytes,
)
from headgate.optimize.exporting import pack
from headgate.optimize.gate import judge_candidate
from headgate.optimize.measure import Behaviour, measure_invariance
from headgate.optimize.recorder import Recorder
from headgate.release import Blocks, ClassLabel, PairedItems, Rule, Samples
from headgate.runtime.servable import Servable
from headgate.workload import ServiceCurve
from tests.models import tiny_embedder, tiny_tokenizer

__all__ = ["KEY", "TEXTS", "Origin", "forged", "members_of"]

KEY = SigningKey.generate()
TEXTS = [f"text {k}" for k in range(12)]
OWN = "def upper(item):\n    return item.strip()\n"


def contract(metric: str, axis: Axis, bound: Bound, limit: float, *allowed: str) -> Contract:
    return Contract(
        metric, axis, bound, limit, "a test", Action.ROLLBACK, "command:true", "previous", allowed
    )


CONTRACTS = (
    contract("accuracy", Axis.QUALITY, Bound.AT_LEAST, 0.9),
    contract("batch_invariance", Axis.SAFETY, Bound.ONE_OF, 0.0, "exact", "within_epsilon"),
    contract("latency_p95", Axis.LATENCY, Bound.AT_MOST, 1.0),
    contract("cost_per_1k", Axis.COST, Bound.RATIO_AT_MOST, 1.0),
)
WATCHED = (contract("latency_p95", Axis.LATENCY, Bound.AT_MOST, 0.5),)


def samples(correct: float = 1.0) -> dict[str, Samples]:
    """Everything that the contracts want, without noise."""
    n = 400
    values = tuple(float(k < correct * n) for k in range(n))

    def blocks(metric: str, ours: float) -> Blocks:
        aa = ((1.0, 1.0),)
        return Blocks(metric, "s", Direction.LOWER, (ours,) * 9, (1.0,) * 9, aa, aa)

    items = tuple(f"i{k}" for k in range(n))
    return {
        "accuracy": PairedItems("accuracy", Direction.HIGHER, items, values, (1.0,) * n),
        "batch_invariance": ClassLabel("batch_invariance", "within_epsilon", 12),
        "latency_p95": blocks("latency_p95", 0.5),
        "cost_per_1k": blocks("cost_per_1k", 0.25),
    }


@dataclass
class Origin:
    """The store in ``root``, where releases are decided; ``own``: with a step before the model;
    ``cascade``: each variant is one, of the model and another before it."""

    root: Path
    own: bool = False
    cascade: bool = False

    def __post_init__(self) -> None:
        if self.own:
            (self.root / "own.py").write_text(OWN, encoding="utf-8")
        with self.store(create=True) as store:
            recorder = self.recorder(store)
            profile = store.put_bytes(canonical(read_profile().environment))
            recorder.register("environment", profile, kind="environment", schema="json profile")
            self.baseline = self.variant(store, "baseline", seed=0)
            store.promote(Release("docs", 0, self.baseline, None), expected_generation=None)

    def store(self, *, create: bool = False) -> Store:
        return Store.open(self.root / ".headgate", create=create)

    def recorder(self, store: Store) -> Recorder:
        environment = digest_bytes(canonical(read_profile().environment))
        return Recorder(store, "docs", "search", environment, 0, self.root)

    def variant(self, store: Store, name: str, *, seed: int) -> str:
        """A variant whose model has weights of its own, with all that an optimized one has."""
        recorder = self.recorder(store)
        files = {}
        made: list[tuple[Kind, str, Path]] = [
            ("model", "model.onnx", tiny_embedder(self.root / "model.onnx", seed=seed)),
            ("tokenizer", "tokenizer.json", tiny_tokenizer(self.root / "tokenizer.json")),
        ]
        if self.cascade:
            student = tiny_embedder(self.root / "student.onnx", seed=100 + seed)
            made.append(("model", "student.onnx", student))
        for kind, file, path in made:
            files[file] = store.put_file(path)
            path.unlink()
            recorder.register(f"{path.stem}/{name}", files[file], kind=kind, schema=file)
        before = "own:upper" if self.own else None
        source = source_digest(before, self.root) if before else None
        build = Build(
            name, "embed", "onnxruntime", "fp32", {"model.onnx": files["model.onnx"]},
            files["tokenizer.json"], 12, 1, preprocess=source,
        )  # fmt: skip
        if self.cascade:
            first = replace(build, files={"model.onnx": files["student.onnx"]})
            build = cascade_of(name, Parts(first, build, 0.1))
        behaviour = Behaviour("embed", False, before, None, {})
        found = measure_invariance(recorder, build, behaviour, items=TEXTS)
        lineage = (*files.values(),)
        made_build = store.put_bytes(build.content)
        recorder.register(
            f"build/{name}", made_build, kind="build", schema="json Build", lineage=lineage
        )
        variant = Variant(name, build.version, 1, BatchingSpec(8, 256), CacheSpec("lru", 10_000))
        curve = ServiceCurve(1e-4, 1e-4, 0.0, 0.0)
        content = Servable(
            "docs", "embed", variant, build, curve, found.invariance, False, before, None
        ).content
        version = store.put_bytes(content)
        recorder.register(
            f"variant/{name}", version, kind="variant", schema="json Servable",
            lineage=(made_build,), made_by=found.run.entry,
        )  # fmt: skip
        return version

    def decide(
        self, store: Store, candidate: str, current: str, *, correct: float = 1.0
    ) -> tuple[str, Decision]:
        rule = Rule("docs", "holdout", "sha256:data", CONTRACTS, {}, {}, seed=0)
        decision, run = judge_candidate(
            self.recorder(store),
            candidate=candidate,
            current=current,
            rule=rule,
            samples=samples(correct),
            measurements={},
        )
        return run.entry, decision

    def release(self, name: str = "candidate", *, seed: int = 1) -> str:
        """Makes a variant, decides and promotes it; the decision's entry."""
        with self.store() as store:
            current = store.current("docs")
            assert current is not None
            version = self.variant(store, name, seed=seed)
            entry, _ = self.decide(store, version, current.variant)
            generation = current.generation
            store.promote(
                Release("docs", generation + 1, version, entry), expected_generation=generation
            )
        return entry

    def export(self, entry: str, path: Path, *, key: SigningKey = KEY) -> Path:
        """The bundle of the decision with this entry, at ``path``."""
        with self.store() as store:
            made = pack(
                store, store.get(entry), key=key, root=self.root, watched=WATCHED,
                price_per_s=0.00002, now=datetime.now(UTC),
            )  # fmt: skip
            path.write_bytes(b"".join(made.chunks))
        return path


def members_of(bundle: Path) -> dict[str, bytes]:
    """Name -> content, as any tar reads it."""
    with tarfile.open(bundle) as archive:
        found = {}
        for info in archive:
            content = archive.extractfile(info)
            assert content is not None
            found[info.name] = content.read()
    return found


def forged(
    bundle: Path,
    change: Callable[[dict[str, Any]], object],
    *,
    key: SigningKey = KEY,
    replaced: Mapping[str, bytes] | None = None,
) -> Path:
    """The bundle with its list changed and signed again by whoever holds the key; ``replaced`` are
    contents, by name, that are not what they were, or, empty, not there."""
    found = members_of(bundle)
    envelope = Envelope.parse(found.pop("bundle.json"))
    listed = json.loads(envelope.payload)
    change(listed)
    written = bytes(Envelope.signed(key, envelope.payload_type, canonical(listed)))
    parts = bundle.parent / "parts"
    parts.mkdir(exist_ok=True)
    members = []
    kept = {name: content for name, content in {**found, **(replaced or {})}.items() if content}
    for i, (name, content) in enumerate(kept.items()):
        (parts / str(i)).write_bytes(content)
        members.append((Member(name, len(content), digest_bytes(content)), parts / str(i)))
    made = bundle.with_name("forged")
    made.write_bytes(b"".join(packed(("bundle.json", written), members)))
    return made
