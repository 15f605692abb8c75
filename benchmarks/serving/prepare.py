"""Takes the model, the tokenizer, int8 and texts from the quickstart's store (which it only reads)
and makes a store with one endpoint for each of our settings."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.serving.bench import Bench
from headgate import engines
from headgate.engines.measure import Timed, sample_batches, service_times
from headgate.ledger import Store
from headgate.objects import (
    Artifact,
    BatchingSpec,
    BatchInvariance,
    Build,
    CacheSpec,
    Release,
    Variant,
)
from headgate.runtime.servable import Servable, build_from_json
from headgate.workload import ServiceCurve

__all__ = ["CHECK_TEXT", "OURS", "prepare"]

CHECK_TEXT = "Every server must answer this as the model does."

# Endpoint -> build, instances, threads each, items and padded tokens of a batch.
OURS = {
    "fp32-2x1-512": ("fp32", 2, 1, 32, 512),
    "fp32-2x1-1024": ("fp32", 2, 1, 32, 1024),
    "fp32-1x2-512": ("fp32", 1, 2, 32, 512),
    "int8-2x1-1024": ("int8_static", 2, 1, 32, 1024),
    "int8-2x1-2048": ("int8_static", 2, 1, 64, 2048),
}
_NOOP_CURVE = ServiceCurve(2e-5, 1e-7, 0.0, 0.0)


def prepare(bench: Bench, source: Path) -> None:
    """Writes ``store/`` and its raw data from the quickstart's store, unless they are there."""
    if bench.read("prepare") is None:
        shutil.rmtree(bench.store, ignore_errors=True)
        bench.write("prepare", _prepared(bench, source.absolute()))


def _prepared(bench: Bench, source: Path) -> dict[str, Any]:
    """The files, texts, curves and endpoints."""
    with Store.open(source) as old, Store.open(bench.store, create=True) as new:
        builds = {name: _build(old, name) for name in ("fp32", "int8_static")}
        for build in builds.values():
            for version in (*build.files.values(), build.tokenizer):
                new.put_file(old.path_of(version))
        texts = _texts(old, bench.lengths.n_texts)
        curves: dict[tuple[str, int, int], ServiceCurve] = {}
        for endpoint, (name, instances, threads, items, tokens) in OURS.items():
            build = replace(builds[name], threads=threads)
            whole = replace(build, threads=instances * threads)
            for each, n in ((build, instances), (whole, 1)):
                key = (name, n, each.threads)
                if key not in curves:
                    curves[key] = _curve(new, each, n, texts)
            batching = BatchingSpec(items, tokens)
            lone = curves[name, 1, whole.threads] if instances > 1 else None
            curve = curves[name, instances, threads]
            _release(new, endpoint, build, instances, batching, curve, lone)
        _noop(new, bench.out)
        fp32 = builds["fp32"]
        assert fp32.tokenizer is not None
        codec = engines.codec_for(fp32, new.path_of)
        return {
            "model": str(new.path_of(fp32.files["model.onnx"])),
            "tokenizer": str(new.path_of(fp32.tokenizer)),
            "max_tokens": fp32.max_tokens,
            "builds": {n: json.loads(b.content) | {"name": n} for n, b in builds.items()},
            "texts": texts,
            "check": _answer(new, fp32, CHECK_TEXT),
            "tokens": [e.length for e in codec.encode(texts)],
        }


def _answer(store: Store, build: Build, text: str) -> list[float]:
    codec = engines.codec_for(build, store.path_of)
    engine = engines.load(build, store.path_of)
    (row,) = engine.run(codec.collate(codec.encode([text])))
    engine.close()
    return [float(x) for x in row]


def _build(store: Store, name: str) -> Build:
    found = [e for e in store.entries("artifact") if str(e.body["id"]).endswith(f"/build/{name}")]
    if not found:
        raise SystemExit(f"{store.root} has no build {name}; run `make quickstart` first")
    body = json.loads(store.read(found[-1].body["version"]))
    return build_from_json({"name": name, **body})


def _texts(store: Store, n: int) -> list[str]:
    """As many queries as passages of the evaluation split, shuffled: 5 to 150 tokens."""
    found = [e for e in store.entries("artifact") if str(e.body["id"]).endswith("/evaluate.jsonl")]
    rows = [json.loads(line) for line in store.read(found[-1].body["version"]).splitlines()]
    queries = list(dict.fromkeys(r["query"] for r in rows if "query" in r))[: n // 2]
    passages = list(dict.fromkeys(r["passage"] for r in rows if "passage" in r))[: n - n // 2]
    texts = [*queries, *passages]
    return [texts[i] for i in np.random.default_rng(1).permutation(len(texts))]


def _curve(store: Store, build: Build, instances: int, texts: list[str]) -> ServiceCurve:
    codec = engines.codec_for(build, store.path_of)
    sample = codec.encode(texts[:64])
    loaded = [engines.load(build, store.path_of) for _ in range(instances)]
    timed = Timed(loaded, sample_batches(codec, sample, np.random.default_rng(0)))
    (times,) = service_times(
        [timed],
        sizes=(1, 4, 16),
        lengths=(8, 16, 32, 64),
        clock=time.perf_counter,
        cpu_clock=time.process_time,
        max_padded_tokens=512,
        budget_s=3.0,
    )
    for engine in loaded:
        engine.close()
    return ServiceCurve.fit(times.points, length_multiple=build.pad_to_multiple)


def _release(
    store: Store,
    endpoint: str,
    build: Build,
    instances: int,
    batching: BatchingSpec,
    curve: ServiceCurve,
    lone: ServiceCurve | None = None,
) -> None:
    """``lone``: the curve of one engine of all threads, for a request that is alone."""
    threads = instances * build.threads if lone is not None else 0
    variant = Variant(
        endpoint, build.version, instances, batching, CacheSpec(), lone_threads=threads
    )
    exact = BatchInvariance.EXACT
    servable = Servable(endpoint, build.task, variant, build, curve, exact, True, None, None, lone)
    version = store.put_bytes(servable.content)
    store.register(
        Artifact(
            f"{endpoint}/variant",
            version,
            "variant",
            "json Servable",
            "benchmarks",
            len(servable.content),
        )
    )
    current = store.current(endpoint)
    if current is None:
        store.promote(Release(endpoint, 0, version, None), expected_generation=None)
    elif current.variant != version:
        raise SystemExit(f"{endpoint} changed; remove {store.root} and prepare again")


def _noop(store: Store, out: Path) -> None:
    """An ONNX graph that gives back its input, served as any other model."""
    row = ["n", 1]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "noop",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, row)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, row)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = out / "noop.onnx"
    onnx.save(model, str(path))
    files = {"model.onnx": store.put_file(path)}
    build = Build("noop", "predict", "onnxruntime", "fp32", files, None, 1, 1)
    _release(store, "noop", build, 1, BatchingSpec(64, 64), _NOOP_CURVE)
