"""A server that is not ours as an engine: what it says right, and every way to say it wrong."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from headgate import engines
from headgate.engines.http_client import Connection
from headgate.engines.http_engine import SERVER_FILE, ForeignServer, HttpEngine
from headgate.engines.invariance import batch_invariance
from headgate.errors import ConfigError, EngineError, InputError, RequestError, TooLong
from headgate.objects import BatchInvariance, Build, canonical
from tests.foreign import Answer, Answering, Asked, Foreign, certificate, embeddings, honest, vector
from tests.serving import Served, expected

TEXTS = ["open a file", "ὦ λῷστε", "read 🦉 it", "a"]
UNDECLARED = dict.fromkeys(("model_digest", "tokenizer_digest", "server", "precision"))


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    with Foreign() as server:
        yield server


def contact(
    url: str, protocol: str = "openai", name: str | None = None, **headers: str
) -> ForeignServer:
    return ForeignServer.contact(
        url=url, protocol=protocol, name=name, headers=headers, declared=UNDECLARED
    )


def ask(server: ForeignServer, items: list[object]) -> np.ndarray:
    codec = server.codec()
    with closing(HttpEngine(server)) as engine:
        return np.asarray(engine.run(codec.collate(codec.encode(items))))


def test_texts_come_back_as_vectors_in_their_own_order(foreign: Foreign) -> None:
    """Any script arrives whole, and rows go by their index, not by how they are listed."""
    answer = ask(contact(foreign.url), list(TEXTS))
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer, [vector(t) for t in TEXTS])
    assert foreign.asked[-1].body == {"model": "tiny", "input": TEXTS, "encoding_format": "float"}


def test_a_name_that_is_given_is_not_asked_for(foreign: Foreign) -> None:
    """Some gateways list no models."""
    assert contact(foreign.url, name="mine").name == "mine"
    assert foreign.asked == []


def test_a_server_that_lists_no_models_is_asked_to_be_named(foreign: Foreign) -> None:
    """TEI has no such route; the message says what to write."""
    foreign.answer = lambda asked: Answer(b"", status=404)
    with pytest.raises(EngineError, match="404 Not Found") as caught:
        contact(foreign.url)
    assert "`name:` under model" in str(caught.value.fix)


def test_a_path_in_front_of_the_routes_is_kept(foreign: Foreign) -> None:
    """A gateway serves many servers by their paths."""
    ask(contact(foreign.url + "/team/a/"), ["x"])
    assert [a.path for a in foreign.asked] == ["/team/a/v1/models", "/team/a/v1/embeddings"]


def test_v2_takes_the_tensor_that_its_metadata_describes(foreign: Foreign) -> None:
    """Numbers in the model's own shape, summed there."""
    server = contact(foreign.url, "v2", "sums")
    np.testing.assert_array_equal(ask(server, [[1, 2], [3, 4.5]]), [[3], [7.5]])
    (sent,) = foreign.asked[-1].body["inputs"]
    assert sent == {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4.5]}
    with pytest.raises(RequestError, match="expected shape"):
        server.codec().encode([[1, 2, 3]])


def test_v2_takes_texts_one_a_row(foreign: Foreign) -> None:
    """An input of shape [-1, 1], as Triton's are, is sent as such."""
    answer = ask(contact(foreign.url, "v2", "texts"), list(TEXTS))
    np.testing.assert_array_equal(answer, [vector(t) for t in TEXTS])
    assert foreign.asked[-1].body["inputs"][0]["shape"] == [4, 1]


def test_a_build_of_it_loads_like_any_other(foreign: Foreign, tmp_path: Path) -> None:
    """What is known of it is its only file, and comes back from the store as it was."""
    server = contact(foreign.url, "v2", "sums")
    (tmp_path / "s").write_bytes(canonical(server))
    assert ForeignServer.read(tmp_path / "s") == server
    build = Build("server", "predict", "http", "undeclared", {SERVER_FILE: "s"}, None, 1, 1)
    codec = engines.codec_for(build, lambda v: tmp_path / v)
    with closing(engines.load(build, lambda v: tmp_path / v)) as engine:
        answer = engine.run(codec.collate(codec.encode([[1, 2]])))
    assert answer.tolist() == [[3.0]]
    with pytest.raises(ConfigError, match="no engine 'http'"):
        engines.load(dataclasses.replace(build, files={}), lambda v: tmp_path / v)


def test_headgate_itself_is_one_of_them() -> None:
    """Our own server by its URL, over both protocols."""
    texts = ["open a file", "read"]
    with Served() as s:
        for protocol in ("openai", "v2"):
            server = contact(s.url, protocol, "words")
            np.testing.assert_array_equal(ask(server, list(texts)), [expected(t) for t in texts])


@pytest.mark.parametrize(
    "header",
    [
        ("X-Headgate-Source", "cache"),
        ("X-Headgate-Source", "twin"),
        ("Age", "7"),
        ("X-Cache", "HIT"),
    ],
)
def test_an_answer_of_before_is_no_measurement(header: tuple[str, str]) -> None:
    """It is asked for a fresh one; what says that it answered from a cache all the same is told."""

    def cached(asked: Asked) -> Answer:
        return dataclasses.replace(honest(asked), headers=(header,))

    with Foreign(cached) as server:
        known = contact(server.url)
        with pytest.raises(EngineError, match="from a cache") as told:
            ask(known, ["a"])
    assert told.value.reason == "cached"
    assert server.asked[-1].headers["cache-control"] == "no-store"


def test_its_batch_invariance_is_measured_as_any_engines_is() -> None:
    """A server whose answers depend on the batch is found out, an honest one is exact."""

    def loud(asked: Asked) -> Answer:
        if not asked.path.endswith("/v1/embeddings"):
            return honest(asked)
        body = embeddings(asked.body["input"])
        for row in body["data"]:
            row["embedding"][0] += 0.1 * len(body["data"])
        return Answer(body)

    items = [f"text {'x' * k}" for k in range(1, 12)]
    for answer, kind in ((honest, BatchInvariance.EXACT), (loud, BatchInvariance.DEPENDENT)):
        with Foreign(answer) as foreign:
            server = contact(foreign.url)
            with closing(HttpEngine(server)) as engine:
                rng = np.random.default_rng(0)
                report = batch_invariance(engine, server.codec(), items, rng=rng, sizes=(4,))
        assert report.invariance is kind


def spoilt(change: Callable[[dict[str, object]], object]) -> Answering:
    """Honest but for what it answers to three texts."""

    def answer(asked: Asked) -> Answer:
        if not asked.path.endswith("/v1/embeddings"):
            return honest(asked)
        body = embeddings(asked.body["input"])
        changed = change(body)
        return changed if isinstance(changed, Answer) else Answer(changed)

    return answer


def rows(body: dict[str, object], *indices: int) -> dict[str, object]:
    return {"data": [{"index": i, "embedding": [1.0, 2.0]} for i in indices]}


MISBEHAVIOURS = {
    "500 with its own words": (
        spoilt(lambda b: Answer({"error": {"message": "CUDA out of\nmemory"}}, status=500)),
        "refused",
        "it answers 500 Internal Server Error: CUDA out of memory",
    ),
    "422 in TEI's form": (
        spoilt(lambda b: Answer({"error": "too long", "error_type": "Validation"}, status=422)),
        "refused",
        "it answers 422 Unprocessable Entity: too long",
    ),
    "404 in FastAPI's form": (
        spoilt(lambda b: Answer({"detail": "Not Found"}, status=404)),
        "refused",
        "it answers 404 Not Found: Not Found",
    ),
    "503 of a proxy": (
        spoilt(lambda b: Answer(b"<h1>down</h1>", status=503)),
        "refused",
        "it answers 503 Service Unavailable: <h1>down</h1>",
    ),
    "a redirect": (
        spoilt(lambda b: Answer(b"", status=301, headers=(("location", "https://elsewhere/"),))),
        "refused",
        "it answers 301 Moved Permanently: it is at https://elsewhere/",
    ),
    "too few rows": (
        spoilt(lambda b: rows(b, 0, 1)),
        "wrong_shape",
        "3 texts were sent, and the answer has 2 embeddings, of index 0, 1",
    ),
    "a row twice": (
        spoilt(lambda b: rows(b, 0, 1, 1)),
        "wrong_shape",
        "3 texts were sent, and the answer has 3 embeddings, of index 0, 1, 1",
    ),
    "indices from 1": (
        spoilt(lambda b: rows(b, 1, 2, 3)),
        "wrong_shape",
        "3 texts were sent, and the answer has 3 embeddings, of index 1, 2, 3",
    ),
    "rows of different lengths": (
        spoilt(lambda b: {"data": [{"index": i, "embedding": [1.0] * (i + 1)} for i in range(3)]}),
        "wrong_shape",
        "embeddings of 1, 2, 3 numbers",
    ),
    "NaN as Python writes it": (
        spoilt(lambda b: {"data": [{"index": i, "embedding": [float("nan")]} for i in range(3)]}),
        "not_finite",
        "it answers NaN or infinity",
    ),
    "a number beyond float32": (
        spoilt(
            lambda b: {"data": [{"index": i, "embedding": [10.0 ** (30 * i)]} for i in range(3)]}
        ),
        "not_finite",
        "it answers NaN or infinity, in row 2 of 3",
    ),
    "null": (
        spoilt(lambda b: {"data": [{"index": 0, "embedding": [None]}]}),
        "malformed",
        "it does not answer as the protocol says: Expected `float`, got `null` - at "
        "`$.data[0].embedding[0]`",
    ),
    "another protocol": (
        spoilt(lambda b: [[1.0, 2.0]]),
        "malformed",
        "it does not answer as the protocol says: Expected `object`, got `array`",
    ),
    "half of its JSON": (
        spoilt(lambda b: Answer(json.dumps(b).encode()[:40])),
        "malformed",
        "it does not answer as the protocol says: Input data was truncated",
    ),
    "half of its bytes": (
        spoilt(lambda b: Answer(b, promised=10_000)),
        "malformed",
        "what answers is cut off, or is not HTTP: IncompleteRead",
    ),
}


@pytest.mark.parametrize(("answer", "reason", "what"), MISBEHAVIOURS.values(), ids=MISBEHAVIOURS)
def test_a_server_that_misbehaves_is_an_engine_error(
    answer: Answering, reason: str, what: str
) -> None:
    """It names the URL, the reason and the server's own words, and the engine works on."""
    with Foreign(answer) as foreign:
        server = contact(foreign.url)
        codec = server.codec()
        batch = codec.collate(codec.encode(["a", "b", "c"]))
        with closing(HttpEngine(server)) as engine:
            with pytest.raises(EngineError) as caught:
                engine.run(batch)
            foreign.answer = honest
            assert engine.run(batch).shape == (3, 3)
    assert (caught.value.reason, caught.value.what) == (reason, what)
    assert caught.value.where == f"{foreign.url}/v1/embeddings"


V2_MISBEHAVIOURS = {
    "no outputs": ({"outputs": []}, "wrong_shape"),
    "another number of rows": ({"outputs": [{"shape": [1, 1], "data": [1.0]}]}, "wrong_shape"),
    "a shape that the data do not fill": (
        {"outputs": [{"shape": [2, 2], "data": [1.0, 2.0]}]},
        "wrong_shape",
    ),
    "rows of different lengths": (
        {"outputs": [{"shape": [2, 1], "data": [[1.0], [1.0, 2.0]]}]},
        "wrong_shape",
    ),
    "words": ({"outputs": [{"shape": [2], "data": ["cat", "dog"]}]}, "wrong_shape"),
    "beyond float32": ({"outputs": [{"shape": [2], "data": [1.0, 1e300]}]}, "not_finite"),
    "binary data": ({"outputs": [{"shape": [2, 1]}]}, "malformed"),
}


@pytest.mark.parametrize(("body", "reason"), V2_MISBEHAVIOURS.values(), ids=V2_MISBEHAVIOURS)
def test_a_v2_server_that_misbehaves_is_an_engine_error(body: object, reason: str) -> None:
    """The same, of tensors."""

    def answer(asked: Asked) -> Answer:
        return Answer(body) if asked.path.endswith("/infer") else honest(asked)

    with Foreign(answer) as foreign, pytest.raises(EngineError) as caught:
        ask(contact(foreign.url, "v2", "sums"), [[1, 2], [3, 4]])
    assert caught.value.reason == reason
    assert caught.value.where == f"{foreign.url}/v2/models/sums/infer"


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [{"name": n, "datatype": "FP32", "shape": [-1, 2]} for n in "ab"],
        [{"name": "x", "datatype": "BOOL", "shape": [-1, 2]}],
        [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}],
        [{"name": "x", "datatype": "BYTES", "shape": [-1, 2]}],
    ],
)
def test_an_input_that_no_item_fills_is_refused_at_once(inputs: list[object]) -> None:
    """Before anything is measured."""
    with (
        Foreign(lambda asked: Answer({"inputs": inputs})) as foreign,
        pytest.raises((EngineError, InputError)),
    ):
        contact(foreign.url, "v2", "odd")


def test_nobody_there_is_unreachable() -> None:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(EngineError, match="nothing answers there: Connection refused") as caught:
        ask(contact(url, name="m"), ["a"])
    assert caught.value.reason == "unreachable"


def test_a_server_that_never_answers_is_given_up_on() -> None:
    """The job does not wait for ever."""
    never = threading.Event()

    def slow(asked: Asked) -> Answer:
        never.wait(30)
        return honest(asked)

    with Foreign(slow) as foreign:
        with pytest.raises(EngineError, match=r"no answer within 0\.2 s") as caught:
            Connection(foreign.url, {}, timeout_s=0.2).get("/v1/models", bytes)
        never.set()
    assert caught.value.reason == "timed_out"


def test_a_server_that_answers_byte_by_byte_is_given_up_on() -> None:
    """Every byte comes in time, and the request as a whole does not."""
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while not over.wait(0.01):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = Connection(url, {}, timeout_s=0.3)
        with pytest.raises(EngineError) as caught:
            server.get("/", bytes)
        over.set()
        thread.join(10)
    assert caught.value.reason == "timed_out"


def test_an_answer_without_end_is_cut_off() -> None:
    """It does not fill the memory."""
    with Foreign(lambda asked: Answer(b"x" * 5000)) as foreign:
        server = Connection(foreign.url, {}, max_answer_bytes=4000)
        with pytest.raises(EngineError, match="longer than 4000 bytes") as caught:
            server.get("/", bytes)
    assert caught.value.reason == "too_large"


def test_one_connection_is_kept_and_opened_again_once() -> None:
    """Three requests go over one; where the server closed it meanwhile, the next goes over
    another."""
    with Foreign() as foreign, closing(Connection(foreign.url, {})) as server:
        for _ in range(3):
            server.get("/v1/models", bytes)
        assert foreign.connections == 1
        foreign.answer = lambda asked: Answer({}, hang_up=True)
        server.get("/", bytes)
        foreign.answer = honest
        server.get("/v1/models", bytes)
        assert foreign.connections == 2


def test_headers_come_from_the_environment(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored has the name; the server gets the value."""
    monkeypatch.setenv("TEI_TOKEN", "s3cret-value")
    server = contact(foreign.url, Authorization="Bearer ${TEI_TOKEN}")
    ask(server, ["a"])
    assert {a.headers["authorization"] for a in foreign.asked} == {"Bearer s3cret-value"}
    assert b"s3cret-value" not in canonical(server)
    monkeypatch.delenv("TEI_TOKEN")
    with pytest.raises(ConfigError, match="the environment has no TEI_TOKEN"):
        HttpEngine(server)


def test_a_secret_that_the_server_repeats_is_struck_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are on record, and a record keeps no secret."""
    monkeypatch.setenv("TEI_TOKEN", "s3cret-value")

    def refuse(asked: Asked) -> Answer:
        return Answer({"error": {"message": f"bad key {asked.headers['authorization'][7:]}"}}, 401)

    with Foreign(refuse) as foreign, pytest.raises(EngineError) as caught:
        contact(foreign.url, Authorization="Bearer ${TEI_TOKEN}")
    assert caught.value.what == "it answers 401 Unauthorized: bad key ***"


def test_a_header_of_two_lines_is_refused_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be two headers."""
    monkeypatch.setenv("TEI_TOKEN", "s3cret\r\nx: y")
    with pytest.raises(ConfigError, match="one line") as caught:
        Connection("http://h:1", {"Authorization": "${TEI_TOKEN}"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["h:8000", "ftp://h", "http://", "http://h:99999", "http://h:x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="is not a URL"):
        Connection(url, {})


def test_a_url_with_a_password_is_refused_without_it() -> None:
    with pytest.raises(InputError, match="would be on record") as caught:
        Connection("http://me:s3cret@h:1", {})
    assert "s3cret" not in str(caught.value)


def test_https_wants_a_certificate_that_it_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's is refused by name; SSL_CERT_FILE says whom to trust."""
    identity = certificate(tmp_path / "identity.pem")
    with Foreign(identity=identity) as foreign:
        with pytest.raises(EngineError, match="self-signed certificate") as caught:
            contact(foreign.url)
        assert caught.value.reason == "unreachable"
        monkeypatch.setenv("SSL_CERT_FILE", str(identity))
        np.testing.assert_array_equal(ask(contact(foreign.url), ["ab c"]), [vector("ab c")])


def test_a_batch_of_something_else_and_a_closed_engine_are_engine_errors(foreign: Foreign) -> None:
    """close() may be repeated."""
    engine = HttpEngine(contact(foreign.url))
    with pytest.raises(EngineError, match="none of its inputs"):
        engine.run({"input_ids": np.zeros((1, 2), np.int64)})
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="after close"):
        engine.run({})


def test_texts_are_bounded_and_unicode(foreign: Foreign) -> None:
    """By their index; asked to truncate, the codec cuts by characters."""
    codec = contact(foreign.url).codec()
    with pytest.raises(TooLong, match="65537 characters") as caught:
        codec.encode(["a", "b" * 65_537])
    assert caught.value.where == "item 1"
    assert codec.encode(["b" * 65_537], truncate=True)[0].length == 65_536
    for bad in ("a\ud800", "", 3):
        with pytest.raises(RequestError) as refused:
            codec.encode(["a", bad])
        assert refused.value.where == "item 1"
