"""A candidate's queries among the vectors of the release that it would follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate.config import load_retrieval
from headgate.objects import Bound, Build, Direction
from headgate.optimize.evidence import sampled
from headgate.optimize.kept_index import KeptIndex, measure_kept_index
from headgate.optimize.measure import VECTORS, Behaviour, measure_quality, npy
from headgate.optimize.quality import score_retrieval
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.optimize.subset import split_vectors
from headgate.release import judge
from tests.e2e.endpoints import write_rows
from tests.models import tiny_embedder, tiny_tokenizer

from .fakes import contract, invariance

N, DIMENSIONS = 40, 16
PASSAGES = [{"id": f"p{k}", "passage": f"about {k}"} for k in range(N)]
ASKED = [{"id": f"q{k}", "query": f"what is {k}", "relevant": [f"p{k}"]} for k in range(N)]


@transformation("test.embedded")
def embedded(call: Call) -> dict[str, Output]:
    """Stands for ``measure.quality``."""
    vectors = np.load(call.path("vectors"), allow_pickle=False)
    samples = call.store.read(call.u["samples"])
    return {
        "samples": Output(samples, "samples", "json"),
        VECTORS: Output(npy(vectors), "samples", "npy"),
    }


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32)
    return scaled


def kept(
    recorder: Recorder,
    root: Path,
    ours: NDArray[np.float32],
    theirs: NDArray[np.float32],
    rows: list[dict[str, object]] | None = None,
) -> KeptIndex:
    """Both embedded passages above queries; measured as the job does."""
    store = recorder.store
    path = write_rows(root / "evaluate.jsonl", rows or [*PASSAGES, *ASKED])
    data, dataset = load_retrieval(path), store.put_file(path)
    recorder.register("evaluate", dataset, kind="dataset", schema="jsonl")
    scored = []
    for vectors in (ours, theirs):
        samples = score_retrieval(data, *split_vectors(data, vectors))
        u = {
            "vectors": store.put_bytes(npy(vectors)),
            "samples": store.put_bytes(json.dumps(samples.to_json()).encode()),
        }
        scored.append((samples, recorder.run(embedded, u=u, c={})))
    found = measure_kept_index(
        recorder,
        task="embed",
        candidate="sha256:candidate",
        dataset=dataset,
        quality=(scored[0], scored[1]),
        invariance=invariance(),
    )
    assert found is not None
    return found


@pytest.fixture
def theirs() -> NDArray[np.float32]:
    """Queries beside the passages that answer them."""
    passages = unit(np.random.default_rng(0).normal(size=(N, DIMENSIONS)))
    return np.concatenate([passages, passages])


def mean(found: KeptIndex, metric: str = "recall@10") -> float:
    return float(np.mean(found.scored[0].scores[metric]))


def test_the_same_encoder_finds_what_it_found(
    recorder: Recorder, tmp_path: Path, theirs: NDArray[np.float32]
) -> None:
    """And both metrics are on record against current on its own index."""
    found = kept(recorder, tmp_path, theirs, theirs)
    assert mean(found) == 1.0
    bodies = {m: recorder.store.get(entry).body for m, entry in found.measured.items()}
    assert set(bodies) == {"recall@10_kept_index", "agreement@10_kept_index"}
    for metric, body in bodies.items():
        assert (body["compared"], body["value"], body["artifact"]) == (0, 1, "sha256:candidate")
        assert body["direction"] == Direction.HIGHER
        assert body["run"] == found.scored[1].entry, metric


def test_an_index_of_its_own_is_no_promise_about_the_kept_one(
    recorder: Recorder, tmp_path: Path, theirs: NDArray[np.float32]
) -> None:
    """The same space, turned: each encoder is perfect alone, and the pair finds next to nothing."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(DIMENSIONS, DIMENSIONS)))
    found = kept(recorder, tmp_path, (theirs @ turn).astype(np.float32), theirs)
    assert mean(found) < 0.5
    body = recorder.store.get(found.measured["recall@10_kept_index"]).body
    assert body["current"] == 1
    assert body["compared"] == pytest.approx(mean(found) - 1)
    assert body["low"] < body["compared"] < body["high"]


def test_vectors_of_another_dimension_find_nothing(
    recorder: Recorder, tmp_path: Path, theirs: NDArray[np.float32]
) -> None:
    """That is known, and no error."""
    found = kept(recorder, tmp_path, unit(theirs[:, :4].astype(np.float64)), theirs)
    assert mean(found) == 0.0
    assert set(found.scored[0].answers) == {()}


def test_without_labels_it_is_agreement(recorder: Recorder, tmp_path: Path) -> None:
    """Every text is its own passage, and does not find itself."""
    rows: list[dict[str, object]] = [{"id": f"t{k}", "text": f"text {k}"} for k in range(N)]
    vectors = unit(np.random.default_rng(0).normal(size=(N, DIMENSIONS)))
    both = np.concatenate([vectors, vectors])
    found = kept(recorder, tmp_path, both, both, rows)
    assert list(found.measured) == ["agreement@10_kept_index"]
    assert all(k not in answer for k, answer in enumerate(found.scored[0].answers))


def test_a_contract_may_name_it(
    recorder: Recorder, tmp_path: Path, theirs: NDArray[np.float32]
) -> None:
    """Then it is judged as any other: by what the kept index gives, not by what a new one would."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(DIMENSIONS, DIMENSIONS)))
    found = kept(recorder, tmp_path, (theirs @ turn).astype(np.float32), theirs)
    alone = found.scored  # stands for both sides: only their labels matter here
    promise = contract("recall@10_kept_index", Bound.AT_LEAST, 0.9)
    scored = sampled("recall@10_kept_index", (alone, alone), found.scored, {})
    assert scored is not None
    assert judge(promise, scored[0]).verdict == "fail"
    assert scored[1] == found.scored[1]
    assert sampled("recall@10_kept_index", (alone, alone), None, {}) is None


def test_an_encoders_vectors_are_kept_beside_its_samples(
    recorder: Recorder, tmp_path: Path
) -> None:
    """Passages above queries, as the served model makes them."""
    store = recorder.store
    model = store.put_file(tiny_embedder(tmp_path / "model.onnx"))
    tokenizer = store.put_file(tiny_tokenizer(tmp_path / "tokenizer.json"))
    build = Build("fp32", "embed", "onnxruntime", "fp32", {"model.onnx": model}, tokenizer, 32, 1)
    rows = [*PASSAGES[:3], *ASKED[:2]]
    dataset = store.put_file(write_rows(tmp_path / "rows.jsonl", rows))
    behaviour = Behaviour("embed", False, None, None, {})
    samples, done = measure_quality(recorder, build, behaviour, dataset=dataset, split="evaluate")
    vectors = np.load(store.path_of(done.outputs[VECTORS]), allow_pickle=False)
    assert vectors.shape == (2 + 3, 8)
    data = load_retrieval(store.path_of(dataset))
    again = score_retrieval(data, *split_vectors(data, vectors))
    assert again.answers == samples.answers
