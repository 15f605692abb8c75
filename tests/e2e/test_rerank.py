"""A cross-encoder as its callers meet it: TEI's and Cohere's requests, and Cohere's own client."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cohere
import httpx
import pytest
from tokenizers import Tokenizer, processors

from headgate.dataplane.events import Action, Arrived, Event
from headgate.errors import EngineError
from headgate.objects import BatchingSpec, Build, CacheSpec, Variant
from headgate.runtime import Deployment, Tensor
from headgate.server import Limits
from headgate.workload import ServiceCurve
from tests.models import tiny_cross_encoder, tiny_tokenizer
from tests.serving import Served, deployment

TEXTS = ["alpha", "b", "gamma ray", "delta", "a much longer text", "alpha"]


def tiny(root: Path, *, cache_bytes: int = 0, scores: int = 1) -> Deployment:
    """The tiny cross-encoder on ONNX Runtime, one instance that batches."""
    tiny_cross_encoder(root / "model", scores=scores)
    if not (root / "tokenizer").exists():
        tiny_tokenizer(root / "tokenizer")
    build = Build(
        name="tiny",
        task="rerank",
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": "model"},
        tokenizer="tokenizer",
        max_tokens=32,
        threads=1,
    )
    return Deployment.open(
        endpoint="tiny",
        generation=1,
        build=build,
        variant=Variant(
            "tiny",
            build.version,
            1,
            BatchingSpec(max_requests=8, max_padded_tokens=256),
            CacheSpec(capacity_bytes=cache_bytes),
        ),
        service=ServiceCurve(1e-3, 1e-5, 1e-6, 0.0),
        path_of=lambda version: root / version,
        warm_s=5.0,
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tiny(tmp_path_factory.mktemp("tiny"))) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30) as opened:
        yield opened


def ask(client: httpx.Client, query: str, texts: list[str], **more: object) -> list[float]:
    """Logits in the order of the texts."""
    body = {"query": query, "texts": texts, "raw_scores": True, **more}
    ranks = client.post("/rerank", json=body).raise_for_status().json()
    assert [rank["score"] for rank in ranks] == sorted((r["score"] for r in ranks), reverse=True)
    return [rank["score"] for rank in sorted(ranks, key=lambda rank: rank["index"])]


def test_tei_and_cohere_give_the_same_scores_in_the_same_order(client: httpx.Client) -> None:
    """Sigmoids of the logits, and twins in their own order."""
    logits = ask(client, "alpha ray", TEXTS)
    order = sorted(range(len(TEXTS)), key=lambda i: -logits[i])
    assert logits[0] == pytest.approx(logits[5], abs=1e-6)
    wanted = [1 / (1 + math.exp(-logits[i])) for i in order]
    tei = client.post("/rerank", json={"query": "alpha ray", "texts": TEXTS}).json()
    assert [rank["score"] for rank in tei] == pytest.approx(wanted, abs=1e-6)
    for version in ("v1", "v2"):
        body = {"query": "alpha ray", "documents": TEXTS, "top_n": 3, "model": "tiny"}
        answer = client.post(f"/{version}/rerank", json=body, headers={"x-request-id": "mine"})
        results = answer.json()["results"]
        assert [r["relevance_score"] for r in results] == pytest.approx(wanted[:3], abs=1e-6)
        assert answer.json()["id"] == answer.headers["x-request-id"] == "mine"
        assert answer.headers["x-headgate-source"] == "engine"


def test_coheres_client_reranks(served: Served) -> None:
    """Unmodified, of both versions."""
    with httpx.Client() as http:
        options: dict[str, Any] = {"api_key": "any", "base_url": served.url, "httpx_client": http}
        old = cohere.Client(**options).rerank(
            model="tiny", query="alpha", documents=TEXTS, top_n=2, return_documents=True
        )
        new = cohere.ClientV2(**options).rerank(
            model="tiny", query="alpha", documents=TEXTS, max_tokens_per_doc=5
        )
    assert len(old.results) == 2
    assert all(r.document and r.document.text == TEXTS[r.index] for r in old.results)
    scores = [r.relevance_score for r in new.results]
    assert scores == sorted(scores, reverse=True)
    assert sorted(r.index for r in new.results) == list(range(6))
    assert new.id
    # [CLS], alpha, [SEP], the text's first five, [SEP]
    lengths = [8 + min(len(text.replace(" ", "")), 5) for text in TEXTS]
    assert input_tokens(new) == sum(lengths)


def test_coheres_client_understands_errors(served: Served) -> None:
    """Its own exception types; a long document is cut and no error."""
    with httpx.Client() as http:
        client = cohere.ClientV2(api_key="any", base_url=served.url, httpx_client=http)
        with pytest.raises(cohere.NotFoundError, match="there is no model 'other'"):
            client.rerank(model="other", query="a", documents=["b"])
        with pytest.raises(cohere.BadRequestError, match="documents: it is empty"):
            client.rerank(model="tiny", query="a", documents=[])
        assert input_tokens(client.rerank(model="tiny", query="a", documents=["b" * 100])) == 32


def input_tokens(answer: cohere.V2RerankResponse) -> float | None:
    assert answer.meta is not None
    assert answer.meta.tokens is not None
    return answer.meta.tokens.input_tokens


def test_a_long_text_is_refused_by_index_or_cut_where_that_is_asked(client: httpx.Client) -> None:
    """422 in TEI's form; cut on either side the answer is another."""
    texts = ["short", "b" * 20 + "a" * 20]
    answer = client.post("/rerank", json={"query": "q", "texts": texts})
    assert answer.status_code == 422
    assert answer.json()["error_type"] == "Validation"
    assert answer.json()["error"].startswith("item 1: 44 tokens, and the model takes 32")
    right = ask(client, "q", texts, truncate=True)
    left = ask(client, "q", texts, truncate=True, truncation_direction="left")
    assert right[1] != pytest.approx(left[1], abs=1e-4)
    # 32 tokens less [CLS], q and two [SEP] leave 28
    assert ask(client, "q", [texts[1][:28]]) == pytest.approx([right[1]], abs=1e-6)


def test_a_score_does_not_depend_on_who_shares_the_batch(client: httpx.Client) -> None:
    """Alone, among pairs of other lengths, and among other callers' pairs."""
    rng = random.Random(7)
    texts = ["x" * rng.randint(1, 20) + "abc"[i % 3] for i in range(60)]
    alone = [ask(client, "query", [text])[0] for text in texts]
    assert len({round(score, 4) for score in alone}) > 20
    assert ask(client, "query", texts) == pytest.approx(alone, abs=1e-5)
    with ThreadPoolExecutor(12) as pool:
        parts = [texts[i : i + 5] for i in range(0, 60, 5)]
        together = pool.map(lambda part: ask(client, "query", part), parts)
        assert [score for part in together for score in part] == pytest.approx(alone, abs=1e-5)


def test_an_answer_of_the_cache_is_never_that_of_another_split(tmp_path: Path) -> None:
    """With a template that puts nothing between the two, the ids of these pairs are the same."""
    whole = Tokenizer.from_file(str(tiny_tokenizer(tmp_path / "tokenizer")))
    whole.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A $B:1", special_tokens=[]
    )
    whole.save(str(tmp_path / "tokenizer"))
    with (
        Served(tiny(tmp_path, cache_bytes=1_000_000)) as s,
        httpx.Client(base_url=s.url) as client,
    ):
        first, other = ask(client, "a", ["b c"]), ask(client, "a b", ["c"])
        assert first != pytest.approx(other, abs=1e-4)
        again = client.post("/rerank", json={"query": "a", "texts": ["b c"], "raw_scores": True})
        assert again.headers["x-headgate-source"] == "cache"
        assert [rank["score"] for rank in again.json()] == first


def test_all_documents_of_a_call_arrive_together(tmp_path: Path) -> None:
    """One event of the data plane, which lets in all of them or none."""
    deployed, arrivals = tiny(tmp_path), []
    plane = deployed.plane

    class Watched:
        in_flight = property(lambda self: plane.in_flight)
        stats = plane.stats

        def predicted_wait_s(self, now_s: float) -> float:
            return plane.predicted_wait_s(now_s)

        def handle_all(self, events: Iterable[Event], now_s: float) -> list[Action]:
            seen = list(events)
            arrivals.extend(len(e.requests) for e in seen if isinstance(e, Arrived))
            return plane.handle_all(seen, now_s)

    deployed.plane = Watched()
    with Served(deployed) as s, httpx.Client(base_url=s.url) as client:
        assert len(ask(client, "q", TEXTS)) == len(TEXTS)
    assert arrivals == [len(TEXTS)]


def test_pairs_go_through_the_open_inference_protocol_too(client: httpx.Client) -> None:
    """BYTES of shape [n, 2]: a query and a text each; the output is the logit."""
    metadata = client.get("/v2/models/tiny").json()
    assert metadata["inputs"] == [{"name": "pair", "datatype": "BYTES", "shape": [-1, 2]}]
    assert metadata["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1, 1]}]
    tensor = {
        "name": "pair",
        "shape": [2, 2],
        "datatype": "BYTES",
        "data": [["q", "alpha"], ["other", "b"]],
    }
    answer = client.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).json()
    wanted = [*ask(client, "q", ["alpha"]), *ask(client, "other", ["b"])]
    assert answer["outputs"][0]["data"] == pytest.approx(wanted, abs=1e-6)
    alone = {**tensor, "shape": [4], "data": ["q", "alpha", "other", "b"]}
    assert client.post("/v2/models/tiny/infer", json={"inputs": [alone]}).status_code == 400


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_an_endpoint_that_does_not_rerank_says_where_to_go(path: str) -> None:
    """404 in the caller's own form."""
    with Served() as s, httpx.Client(base_url=s.url) as client:
        answer = client.post(path, json={"query": "q", "texts": ["a"]})
        assert answer.status_code == 404
        told = answer.json()["error" if path == "/rerank" else "message"]
        assert told == "words's task is embed; use /v1/embeddings or /v2/models/words/infer"


def test_more_documents_than_one_request_may_hold_are_refused() -> None:
    """By the server's own limit, before anything is tokenized."""
    d = deployment()
    object.__setattr__(d.build, "task", "rerank")
    with Served(d, Limits(max_items=2)) as s, httpx.Client(base_url=s.url) as client:
        answer = client.post("/rerank", json={"query": "q", "texts": ["a", "b", "c"]})
        assert answer.json()["error"] == "texts: 3 items; at most 2 go in one request"


def test_a_cross_encoder_describes_itself(tmp_path: Path) -> None:
    """Two texts in, one score out; a model with more scores is not deployed."""
    d = tiny(tmp_path)
    assert (d.input, d.output) == (Tensor("pair", "str", (2,)), Tensor("score", "float32", (1,)))
    with pytest.raises(EngineError, match="one logit a pair"):
        tiny(tmp_path, scores=2)
