"""/openapi.json and the routes that it is made of."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis

from headgate.server import App, Limits
from headgate.server.openapi import document
from tests.serving import Served, WordEngine, deployment

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def asks(task: str) -> Any:
    d = deployment()
    object.__setattr__(d.build, "task", task)
    return d


def published(client: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


@pytest.mark.parametrize("task", ["embed", "classify", "predict"])
def test_the_document_names_what_answers_and_nothing_else(task: str) -> None:
    """Every path that any endpoint has, by every method, is tried: what is named answers, and what
    is not named is 404 or 405."""
    paths = {route.path for t in ("embed", "classify") for route in App(asks(t), Limits()).routes}
    with Served(asks(task)) as s, httpx.Client(base_url=s.url) as client:
        named = {
            (method.upper(), path)
            for path, item in published(client)["paths"].items()
            for method in item
        }
        answered = {
            (method, path)
            for path in paths
            for method in METHODS
            if client.request(method, path).status_code not in (404, 405)
        }
    assert named == answered
    assert (("POST", "/v1/embeddings") in named) is (task == "embed")
    assert (("POST", "/predict") in named) is (task != "embed")


@pytest.mark.parametrize("task", ["embed", "classify", "predict"])
def test_every_example_is_answered(task: str) -> None:
    """What a reader tries first works, and the answer has the shape that is promised."""
    with Served(asks(task)) as s, httpx.Client(base_url=s.url) as client:
        document = published(client)
        tried = 0
        for path, item in document["paths"].items():
            if "post" in item:
                body = item["post"]["requestBody"]["content"]["application/json"]
                answer = client.post(path, json=body["example"])
                assert answer.status_code == 200
                given = item["post"]["responses"]["200"]["content"]["application/json"]
                valid(body["example"], body["schema"], document)
                valid(answer.json(), given["schema"], document)
                tried += 1
        assert tried == 3


def valid(value: object, schema: dict[str, Any], document: dict[str, Any]) -> None:
    schema = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_every_status_is_described_in_the_protocols_own_form() -> None:
    """Provoked, and held against what is published of it, with its headers."""
    engine = WordEngine()
    with (
        Served(deployment(engine), Limits(max_body_bytes=500, max_held_tokens=8)) as s,
        httpx.Client(base_url=s.url, timeout=20) as client,
    ):
        document = published(client)

        def ask(path: str, text: str, **headers: str) -> httpx.Response:
            tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
            bodies = {"/v1/embeddings": {"model": "words", "input": text}}
            body = bodies.get(path, {"inputs": [tensor]})
            return client.post(path, json=body, headers=headers)

        for path in ("/v1/embeddings", "/v2/models/words/infer"):
            told = [
                client.post(path, content=b"{"),
                client.get(path),
                ask(path, "a" * 500),
                ask(path, "a " * 17),
                ask(path, "poison"),
            ]
            engine.open.clear()
            told.append(ask(path, "late", **{"X-Request-Timeout-Ms": "30"}))
            engine.open.set()
            statuses = [answer.status_code for answer in told]
            assert statuses == [400, 405, 413, 422, 500, 504]
            for answer in told:
                reference = document["paths"][path]["post"]["responses"][str(answer.status_code)]
                described = document["components"]["responses"][reference["$ref"].split("/")[-1]]
                valid(answer.json(), described["content"]["application/json"]["schema"], document)
                assert all(name in answer.headers for name in described["headers"])


def test_the_bounds_are_the_servers_own() -> None:
    """Limits, names and shapes are those that requests are held against."""
    with (
        Served(deployment(), Limits(max_items=7)) as s,
        httpx.Client(base_url=s.url) as client,
    ):
        schemas = published(client)["components"]["schemas"]
    many = schemas["EmbeddingsBody"]["properties"]["input"]["anyOf"][1]
    assert (many["minItems"], many["maxItems"]) == (1, 7)
    assert schemas["EmbeddingsBody"]["additionalProperties"] is False
    assert schemas["EmbeddingsBody"]["properties"]["model"] == {"const": "words"}
    assert schemas["InputTensor"]["properties"]["shape"]["prefixItems"][0]["maximum"] == 7
    assert schemas["InputTensor"]["properties"]["datatype"] == {"const": "BYTES"}


def test_where_keys_are_asked_for_the_document_says_so() -> None:
    """For every operation whether it takes one; the key names the tenant, so no header does."""
    app = App(deployment(), Limits(), lambda headers: "search")
    described = document("words", "words@3", app.routes)
    schemathesis.openapi.from_dict(described).validate()
    scheme = described["components"]["securitySchemes"]["apiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    operations = {
        path: operation for path, item in described["paths"].items() for operation in item.values()
    }
    open_to_all = {path for path, operation in operations.items() if "security" not in operation}
    assert open_to_all == {
        "/health",
        "/metrics",
        "/openapi.json",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/words/ready",
        "/v2/models/words/versions/3/ready",
    }
    assert open_to_all == {p for p, o in operations.items() if "401" not in o["responses"]}
    read = {header["name"] for header in operations["/v1/embeddings"]["parameters"]}
    assert "X-Request-Timeout-Ms" in read
    assert "X-Headgate-Tenant" not in read


def test_where_no_keys_are_asked_for_none_are_described() -> None:
    """The document is as it was."""
    described = document("words", "words@3", App(deployment(), Limits()).routes)
    assert "securitySchemes" not in described["components"]
    embed = described["paths"]["/v1/embeddings"]["post"]
    assert "security" not in embed
    assert "401" not in embed["responses"]
    assert "X-Headgate-Tenant" in {header["name"] for header in embed["parameters"]}
