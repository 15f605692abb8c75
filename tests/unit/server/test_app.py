"""The application over real sockets: routes, statuses, headers, disconnects, draining."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from headgate.server import Limits
from tests.serving import Served, WordEngine, deployment, expected


def embed(client: httpx.Client, text: object, **more: object) -> httpx.Response:
    headers = more.pop("headers", {})
    body = {"model": "words", "input": text, **more}
    return client.post("/v1/embeddings", json=body, headers=headers)  # type: ignore[arg-type]


def raw(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 80), timeout=20)


def post(path: str, body: bytes, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        size,
        body,
    )


def test_every_answer_says_who_gave_it() -> None:
    """Release, source and request id; the caller's own id comes back."""
    with Served(deployment(cache_bytes=10_000)) as s, httpx.Client(base_url=s.url) as client:
        first, again = (
            embed(client, "a bc"),
            embed(client, "a bc", headers={"x-request-id": "mine"}),
        )
        assert first.json()["data"][0]["embedding"] == expected("a bc")
        assert first.headers["x-headgate-release"] == "words@3"
        assert first.headers["x-headgate-source"] == "engine"
        assert again.headers["x-headgate-source"] == "cache"
        assert again.headers["x-request-id"] == "mine"
        anew = embed(client, "a bc", headers={"cache-control": "max-age=0, No-Store"})
        assert anew.headers["x-headgate-source"] == "engine"
        assert first.headers["x-request-id"]
        missing = client.get("/nope")
        assert missing.headers["x-headgate-release"] == "words@3"
        assert "x-headgate-source" not in missing.headers


def test_a_request_id_that_could_break_headers_is_replaced() -> None:
    """Only visible ASCII comes back."""
    with Served() as s, httpx.Client(base_url=s.url) as client:
        answer = embed(client, "a", headers={"x-request-id": "a b"})
        assert answer.headers["x-request-id"] != "a b"


@pytest.mark.parametrize("path", ["/v2/models/words", "/v2/models/words/versions/3"])
def test_the_open_inference_protocol_answers(path: str) -> None:
    """Metadata, readiness and inference, with and without a version."""
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a bc", "d"]}
    with Served() as s, httpx.Client(base_url=s.url) as client:
        assert client.get(path).json()["inputs"][0]["name"] == "text"
        assert client.get(f"{path}/ready").status_code == 200
        answer = client.post(f"{path}/infer", json={"inputs": [tensor]})
        assert answer.json()["outputs"][0]["data"] == [*expected("a bc"), *expected("d")]
        assert answer.headers["x-headgate-source"] == "engine"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/models/words", 200),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/words/versions/2", 404),
        ("GET", "/v1/embeddings", 405),
        ("DELETE", "/v2/models/words/infer", 405),
        ("GET", "/favicon.ico", 404),
    ],
)
def test_routes(method: str, path: str, status: int) -> None:
    """Known paths answer, unknown ones are 404, wrong methods 405 with Allow."""
    with Served() as s, httpx.Client(base_url=s.url) as client:
        answer = client.request(method, path)
        assert answer.status_code == status
        if status == 405:
            assert answer.headers["allow"] == ("POST" if path != "/v1/models" else "GET")
        if status >= 400:
            told = answer.json()["error"]
            assert isinstance(told, str if path.startswith("/v2") else dict)


def test_bad_requests_get_their_statuses() -> None:
    """400, 404, 413 and 422, each with the field or the fix in its message."""
    limits = Limits(max_body_bytes=2_000)
    with Served(limits=limits) as s, httpx.Client(base_url=s.url) as client:
        assert client.post("/v1/embeddings", content=b"{").status_code == 400
        assert embed(client, None).json()["error"]["param"] == "input"
        assert embed(client, "a", dimensions=3).json()["error"]["param"] == "dimensions"
        other = client.post("/v1/embeddings", json={"model": "other", "input": "a"})
        assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")
        assert embed(client, [1, 2]).status_code == 400  # this codec takes no token ids
        assert embed(client, "a" * 2_000).status_code == 413
        late = embed(client, "a", headers={"x-request-timeout-ms": "soon"})
        assert late.json()["error"]["param"] == "X-Request-Timeout-Ms"
        endless = embed(client, "a", headers={"x-request-timeout-ms": "9" * 5000})
        assert endless.json()["error"]["param"] == "X-Request-Timeout-Ms"
        first = embed(client, "a", headers={"x-headgate-priority": "10"})
        assert first.json()["error"]["param"] == "X-Headgate-Priority"
        assert embed(client, "a", headers={"x-headgate-priority": "9"}).status_code == 200
        long = embed(client, "a " * 17)
        assert long.status_code == 422
        assert "truncate" in long.json()["error"]["message"]
        assert embed(client, "a " * 17, truncate=True).json()["usage"]["prompt_tokens"] == 16
        header = embed(client, "a " * 17, headers={"x-headgate-truncate": "true"})
        assert header.status_code == 200
        vague = embed(client, "a", headers={"x-headgate-truncate": "yes"})
        assert vague.json()["error"]["param"] == "X-Headgate-Truncate"
        packed = embed(client, "a", headers={"content-encoding": "gzip"})
        assert (packed.status_code, packed.json()["error"]["param"]) == (415, "Content-Encoding")


def test_truncation_is_a_parameter_of_the_open_inference_protocol() -> None:
    """As the message of what is too long says."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a " * 17]}
    with Served() as s, httpx.Client(base_url=s.url) as client:
        told = [
            client.post("/v2/models/words/infer", json={"inputs": [tensor], "parameters": given})
            for given in ({}, {"truncate": False}, {"truncate": True}, {"truncate": 1})
        ]
    assert [answer.status_code for answer in told] == [422, 422, 200, 400]
    assert "parameters" in told[0].json()["error"]


def test_a_body_in_pieces_is_bounded_too() -> None:
    """Chunked encoding declares no length: pieces are counted."""
    with Served(limits=Limits(max_body_bytes=100)) as s, httpx.Client(base_url=s.url) as client:
        small = json.dumps({"model": "words", "input": "a"}).encode()
        pieces = [small[:10], small[10:]]
        assert client.post("/v1/embeddings", content=iter(pieces)).status_code == 200
        with raw(s.url) as connection:
            head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            connection.sendall(head + b"40\r\n" + b"x" * 64 + b"\r\n40\r\n" + b"x" * 64 + b"\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_never_ends_is_given_up() -> None:
    """408 after the body's own timeout; the server holds nothing for it."""
    with Served(limits=Limits(body_timeout_s=0.05)) as s, raw(s.url) as connection:
        connection.sendall(post("/v1/embeddings", b"{", length=50))
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_an_engine_error_is_a_500_of_its_request_alone() -> None:
    """And the server goes on."""
    with Served() as s, httpx.Client(base_url=s.url) as client:
        assert embed(client, "poison").status_code == 500
        assert embed(client, "fine").status_code == 200
        assert (
            'headgate_requests_total{route="/v1/embeddings",source="",status="500"} 1.0'
            in client.get("/metrics").text
        )


def test_an_endpoint_that_does_not_embed_says_where_to_go() -> None:
    """/v1/embeddings of a classifier is a 404 that names the path."""
    d = deployment()
    object.__setattr__(d.build, "task", "classify")
    with Served(d) as s, httpx.Client(base_url=s.url) as client:
        answer = embed(client, "a")
        assert answer.status_code == 404
        assert "/v2/models/words/infer" in answer.json()["error"]["message"]


def test_a_full_queue_is_a_429_with_retry_after() -> None:
    """Refused at once, while one is on the engine and one fills the queue."""
    engine = WordEngine()
    engine.open.clear()
    d = deployment(engine, max_queue_requests=1)
    with Served(d) as s, httpx.Client(base_url=s.url, timeout=20) as client:
        with ThreadPoolExecutor(2) as pool:
            admitted = [pool.submit(embed, client, "first")]
            engine.entered.acquire()
            admitted.append(pool.submit(embed, client, "second"))
            _until_metric(s.url, "headgate_in_flight_items 2.0")
            refused = embed(client, "third")
            engine.open.set()
            assert [a.result().status_code for a in admitted] == [200, 200]
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 1
        assert refused.json()["error"]["code"] == "queue_full"


def test_a_missed_deadline_is_a_504() -> None:
    """The header's milliseconds count from the request's arrival."""
    engine = WordEngine()
    engine.open.clear()
    with Served(deployment(engine)) as s, httpx.Client(base_url=s.url, timeout=20) as client:
        answer = embed(client, "a", headers={"x-request-timeout-ms": "50"})
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "deadline"


@pytest.mark.parametrize("padding", [0, 700_000])
def test_who_hangs_up_is_not_computed_for(padding: int) -> None:
    """A disconnect takes queued work back: the engine never sees it. It is heard after a body that
    came in many pieces, too."""
    engine = WordEngine()
    engine.open.clear()
    body = json.dumps({"model": "words", "input": ["gone", "gone too"]}).encode()
    body = b" " * padding + body
    with Served(deployment(engine)) as s, httpx.Client(base_url=s.url, timeout=20) as client:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(embed, client, "running")
            engine.entered.acquire()
            with raw(s.url) as connection:
                connection.sendall(post("/v1/embeddings", body))
                _until_metric(s.url, "headgate_in_flight_items 3.0")
            _until_metric(s.url, "headgate_in_flight_items 1.0")
            engine.open.set()
            assert running.result().status_code == 200
        assert embed(client, "after").status_code == 200
        assert engine.rows_run == 2
        scraped = client.get("/metrics").text
        assert "headgate_cancelled_total 1.0" in scraped
        assert (
            'headgate_requests_total{route="/v1/embeddings",source="",status="499"} 1.0' in scraped
        )
        assert 499 in [record["status"] for record in s.deployment.traces.recent()]


def _until_metric(url: str, line: str) -> None:
    """Scrapes until the line is there."""
    with httpx.Client(base_url=url) as client:
        for _ in range(10_000):
            if line in client.get("/metrics").text:
                return
    raise AssertionError(f"{line} never came")


def test_draining_answers_what_was_accepted_and_refuses_the_rest() -> None:
    """Readiness and new requests are 503 at once; the end comes after the last answer."""
    engine = WordEngine()
    engine.open.clear()
    with Served(deployment(engine)) as s, httpx.Client(base_url=s.url, timeout=20) as client:
        with ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(embed, client, "a bc")
            engine.entered.acquire()
            s.stop()
            while client.get("/health").status_code == 200:
                pass
            assert client.get("/health").status_code == 503
            assert client.get("/v2/models/words/ready").status_code == 503
            assert client.get("/v2/health/live").status_code == 200
            refused = embed(client, "b")
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            engine.open.set()
            assert accepted.result().json()["data"][0]["embedding"] == expected("a bc")
        assert s.drained()


def test_in_the_delay_before_draining_only_readiness_is_denied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Balancers go on sending until they have heard: it is answered, on new connections too, and
    callers who keep theirs are asked to connect again. A second signal ends the delay; then what
    was accepted is answered, and nobody listens."""
    caplog.set_level("INFO", "headgate.server")
    engine = WordEngine()
    with Served(deployment(engine), Limits(drain_delay_s=3600)) as s, ThreadPoolExecutor(1) as pool:
        s.stop()
        while httpx.get(f"{s.url}/health").status_code == 200:
            pass
        assert httpx.get(f"{s.url}/v2/models/words/ready").status_code == 503
        with httpx.Client(base_url=s.url, timeout=20) as client:
            answered = embed(client, "a bc")
            assert answered.json()["data"][0]["embedding"] == expected("a bc")
            assert answered.headers["connection"] == "close"
            engine.open.clear()
            held = pool.submit(embed, client, "held")
            assert engine.entered.acquire(timeout=20)
            assert engine.entered.acquire(timeout=20)
            s.stop()
            while "draining" not in caplog.text:
                pass
            assert embed(client, "late").status_code == 503
            engine.open.set()
            assert held.result().status_code == 200
        assert s.drained()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{s.url}/health")


def test_the_delay_before_draining_ends() -> None:
    """By itself."""
    with Served(limits=Limits(drain_delay_s=0.001)) as s:
        s.stop()
        assert s.drained()


def test_draining_says_how_many_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """At once, and in the end that all is answered; in words, and in fields for machines."""
    engine = WordEngine()
    engine.open.clear()
    caplog.set_level("INFO", "headgate.server")
    with Served(deployment(engine)) as s, httpx.Client(base_url=s.url, timeout=20) as client:
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(embed, client, "held")
            assert engine.entered.acquire(timeout=20)
            s.stop()
            while "1 in flight are answered" not in caplog.text:
                pass
            engine.open.set()
            assert held.result().status_code == 200
        assert s.drained()
    told = [vars(r)["fields"] for r in caplog.records if r.name == "headgate.server"]
    assert told == [
        {"event": "draining", "in_flight": 1, "drain_timeout_s": 30.0},
        {"event": "drained", "unanswered": 0},
    ]


def test_what_cannot_be_drained_is_not_hidden(caplog: pytest.LogCaptureFixture) -> None:
    """An engine that hangs: the end comes after the limit, and says that it is not clean."""
    engine = WordEngine()
    engine.open.clear()
    d = deployment(engine)
    with Served(d, Limits(drain_timeout_s=0.05)) as s, raw(s.url) as connection:
        body = json.dumps({"model": "words", "input": "a"}).encode()
        connection.sendall(post("/v1/embeddings", body))
        engine.entered.acquire()
        s.stop()
        for instance in d.live.instances:  # or closing would wait for it
            instance.close = lambda: None  # type: ignore[method-assign, assignment, misc]
        assert not s.drained()
    assert "given up: 1 in flight, unanswered after 0.05 s" in caplog.messages


def test_the_phases_of_a_trace_add_up() -> None:
    """read + encode + queue + engine + respond is the whole."""
    with Served() as s, httpx.Client(base_url=s.url) as client:
        embed(client, ["a b", "c"], headers={"x-headgate-tenant": "blue"})
        client.get("/health")  # on the same connection: by then the trace is there
        (record,) = s.deployment.traces.recent()
        phases = [record[f"{p}_s"] for p in ("read", "encode", "queue", "engine", "respond")]
        assert all(isinstance(p, float) and p >= 0 for p in phases)
        assert sum(phases) == pytest.approx(record["total_s"])  # type: ignore[arg-type]
        shown = ("release", "tenant", "items", "tokens", "batch_size", "source", "status")
        assert [record[k] for k in shown] == ["words@3", "blue", 2, 3, 2, "engine", 200]
        assert record["device_s"] == record["engine_s"]  # both items of a batch of two


def test_who_was_not_computed_for_has_no_device_time() -> None:
    """Nor is there a batch to divide by."""
    with Served() as s, httpx.Client(base_url=s.url) as client:
        assert embed(client, 7).status_code == 400
        client.get("/health")
        (record,) = s.deployment.traces.recent()
        assert (record["status"], record["batch_size"], record["device_s"]) == (400, 0, 0.0)


def test_what_is_held_for_other_calls_refuses_the_next_and_is_given_back() -> None:
    """By bytes while bodies come, by tokens while answers are waited for; a call above the bound
    itself is told that asking again is no use."""
    engine = WordEngine()
    limits = Limits(max_held_bytes=400, max_held_tokens=6)
    with (
        Served(deployment(engine), limits) as s,
        httpx.Client(base_url=s.url, timeout=20) as client,
    ):
        large = embed(client, "a" * 400)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
        assert embed(client, "seven words are one more than six").status_code == 413
        engine.open.clear()
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(embed, client, "four of six tokens")
            engine.entered.acquire()
            refused = embed(client, "and three more")
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "tokens_full")
            assert int(refused.headers["retry-after-ms"]) >= 1
            engine.open.set()
            assert held.result().status_code == 200
        assert embed(client, "and three more").status_code == 200
