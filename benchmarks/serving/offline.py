"""The ceiling: kernel and tokenizer offline, all texts sorted by length, best batch.

A process of its own: ``python -m benchmarks.serving.offline`` with a job as JSON on stdin. Also the
bare engine call, one text at a time, that a lone request is held against.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from headgate import engines
from headgate.ledger import Store
from headgate.optimize.answers import batches_by_length
from headgate.runtime.servable import build_from_json
from headgate.workload import Codec, Engine

PLANS = [(1, 2), (2, 1)]
BUDGETS = [256, 512, 1024, 2048]


def rate(codec: Codec, loaded: list[Engine], texts: list[str], budget: int) -> float:
    """Texts per second of one pass; the longest batches first, so that all engines end together."""
    start = time.perf_counter()
    encoded = codec.encode(texts)
    work = iter(batches_by_length([e.length for e in encoded], max_padded_tokens=budget))

    def drain(engine: Engine) -> None:
        for batch in work:  # next() of a list's iterator is atomic
            engine.run(codec.collate([encoded[i] for i in batch]))

    with ThreadPoolExecutor(len(loaded)) as pool:
        list(pool.map(drain, loaded))
    return len(texts) / (time.perf_counter() - start)


def lone_s(codec: Codec, engine: Engine, texts: list[str]) -> float:
    """The median engine call on one text."""
    seconds = []
    for item in codec.encode(texts):
        tensors = codec.collate([item])
        start = time.perf_counter()
        engine.run(tensors)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Runs the job on stdin: ``configs`` x ``passes`` after a first one, or ``lone``."""
    job: dict[str, Any] = json.load(sys.stdin)
    build = build_from_json(job["build"])
    texts = job["texts"]
    with Store.open(Path(job["store"])) as store:
        codec = engines.codec_for(build, store.path_of)
        if job.get("lone"):
            engine = engines.load(replace(build, threads=2), store.path_of)
            lone_s(codec, engine, texts[:50])
            print(json.dumps({"lone_s": lone_s(codec, engine, texts)}))
            return
        rows = []
        for instances, threads, budgets in job["configs"]:
            own = replace(build, threads=threads)
            loaded = [engines.load(own, store.path_of) for _ in range(instances)]
            for budget in budgets:
                for engine in loaded:  # every engine compiles every shape before it counts
                    if build.engine == "openvino":
                        rate(codec, [engine], texts, budget)
                if build.engine != "openvino":
                    rate(codec, loaded, texts[:100], budget)
                rates = [rate(codec, loaded, texts, budget) for _ in range(job["passes"])]
                rows.append([instances, threads, budget, rates])
            for engine in loaded:
                engine.close()
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
