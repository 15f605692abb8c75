"""The published document against the server that it describes, by schemathesis: bodies and headers
drawn from its schemas, and such as break them. No fault of the server, and nothing undescribed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import jsonschema
import pytest
import schemathesis

from headgate.objects import BatchingSpec, Build, CacheSpec, Variant
from headgate.runtime import Deployment
from headgate.workload import ServiceCurve
from tests.models import tiny_classifier, tiny_cross_encoder, tiny_embedder, tiny_tokenizer
from tests.serving import Served

CONFIG = Path(__file__).with_name("schemathesis.toml")


def served(
    root: Path, task: str, *, tokenizer: str | None = None, api_keys: Path | None = None
) -> Served:
    """A tiny model of ``task`` on ONNX Runtime."""
    build = Build(
        name="tiny",
        task=task,
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": "model"},
        tokenizer=tokenizer,
        max_tokens=32,
        threads=1,
    )
    batching = BatchingSpec(max_requests=8, max_padded_tokens=256)
    return Served(
        Deployment.open(
            endpoint="tiny",
            generation=1,
            build=build,
            variant=Variant("tiny", build.version, 1, batching, CacheSpec()),
            service=ServiceCurve(1e-3, 1e-5, 1e-6, 0.0),
            path_of=lambda version: root / version,
            labels=("cat", "dog", "eel") if task == "classify" else (),
            warm_s=1.0,
        ),
        api_keys=api_keys,
    )


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("embedder")
    tiny_embedder(root / "model")
    tiny_tokenizer(root / "tokenizer")
    with served(root, "embed", tokenizer="tokenizer") as running:
        yield running


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("classifier")
    tiny_classifier(root / "model")
    with served(root, "classify") as running:
        yield running


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("reranker")
    tiny_cross_encoder(root / "model")
    tiny_tokenizer(root / "tokenizer")
    with served(root, "rerank", tokenizer="tokenizer") as running:
        yield running


def keyed(root: Path) -> Served:
    """A classifier that answers to the key ``red``."""
    tiny_classifier(root / "model")
    digest = hashlib.sha256(b"red").hexdigest()
    (root / "keys").write_text(f"{digest}  search\n", encoding="utf-8")
    return served(root, "classify", api_keys=root / "keys")


@pytest.mark.parametrize("task", ["embedder", "classifier", "reranker"])
def test_the_document_is_openapi_3_1(task: str, request: pytest.FixtureRequest) -> None:
    """By the specification's own meta-schema, and what is in it by that of JSON Schema."""
    running: Served = request.getfixturevalue(task)
    document = httpx.get(f"{running.url}/openapi.json").json()
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def run_schemathesis(url: str, directory: Path, *options: str, timeout_s: float = 200) -> None:
    """``directory``: for its cache, which begins empty, or one run would depend on the last."""
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", CONFIG]
    command += ["run", f"{url}/openapi.json", "--continue-on-failure", *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_embedder_does_what_its_document_says(embedder: Served, tmp_path: Path) -> None:
    """Nothing that is drawn is a fault, or is answered in a way that is not described."""
    run_schemathesis(embedder.url, tmp_path)


def test_a_classifier_does_what_its_document_says(classifier: Served, tmp_path: Path) -> None:
    """Numbers in, labels out."""
    run_schemathesis(classifier.url, tmp_path)


def test_a_reranker_does_what_its_document_says(reranker: Served, tmp_path: Path) -> None:
    """As TEI's callers ask, and as Cohere's do."""
    run_schemathesis(reranker.url, tmp_path)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("task", ["embedder", "classifier", "reranker"])
def test_of_many_more_requests_none_is_a_fault(
    task: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The same, of three hundred that are drawn for each operation."""
    running: Served = request.getfixturevalue(task)
    run_schemathesis(running.url, tmp_path, "--max-examples", "300", timeout_s=1500)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_with_keys_none_of_many_more_requests_is_a_fault(tmp_path: Path) -> None:
    """Nor is one answered that has no key."""
    with keyed(tmp_path) as running:
        many = ("--header", "Authorization: Bearer red", "--max-examples", "300")
        run_schemathesis(running.url, tmp_path, *many, timeout_s=1500)


def test_a_server_that_asks_for_keys_does_what_its_document_says(tmp_path: Path) -> None:
    """With a key all is as without; schemathesis sees for itself that nothing is, without one."""
    with keyed(tmp_path) as running:
        few = ("--phases", "examples,fuzzing", "--max-examples", "5")
        run_schemathesis(running.url, tmp_path, "--header", "Authorization: Bearer red", *few)
