"""bench: from a workload file to requests, and from a result to words."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from headgate.cli.bench import _print, _segment, _summary
from headgate.cli.requests import requests_of
from headgate.errors import InputError, Undecided, UsageError
from headgate.loadtest import LoadResult
from tests.foreign import Answer, Foreign, certificate
from tests.serving import Served

from .conftest import Cli


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A log of four requests."""
    path = tmp_path / "w.jsonl"
    rows = [{"at_s": t, "text": f"t{t}"} for t in (0, 1, 2, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_texts_are_asked_of_the_embeddings_route(texts: Path) -> None:
    """A bare address gets the path; one that has a path keeps it."""
    target, at_s, bodies = requests_of("http://h:1/", texts, model="docs")
    assert target.url == "http://h:1/v1/embeddings"
    assert at_s.tolist() == [0, 1, 2, 3]
    assert json.loads(bodies[2])["input"] == "t2"
    assert requests_of("http://h:1/own", texts, model="docs")[0].url == "http://h:1/own"


def test_pairs_are_asked_of_the_rerank_route(tmp_path: Path) -> None:
    """Without a model's name, which nobody asks for there."""
    path = tmp_path / "w.jsonl"
    path.write_text('{"at_s": 0, "query": "q", "text": "a"}\n', encoding="utf-8")
    target, _, bodies = requests_of("http://h:1", path, model=None)
    assert target.url == "http://h:1/rerank"
    assert json.loads(bodies[0]) == {"query": "q", "texts": ["a"]}


def test_whole_bodies_are_sent_as_they_stand(tmp_path: Path) -> None:
    """To the URL that is given, which must name a path."""
    path = tmp_path / "raw.jsonl"
    path.write_text('{"at_s": 0.5, "body": {"q": [1,  2]}}\n', encoding="utf-8")
    target, at_s, bodies = requests_of("http://h:1/x", path, model=None)
    assert (target.url, at_s.tolist(), bodies) == ("http://h:1/x", [0.5], [b'{"q": [1,  2]}'])
    with pytest.raises(InputError, match="names no path"):
        requests_of("http://h:1", path, model=None)


def test_a_server_that_is_not_there_is_named(texts: Path) -> None:
    """Port 9 of this machine answers nobody; that is no fault of the command."""
    with pytest.raises(Undecided) as caught:
        requests_of("http://127.0.0.1:9", texts, model=None)
    assert caught.value.what == "nothing answers there: Connection refused"
    assert caught.value.where == "http://127.0.0.1:9/v1/models"


@pytest.mark.parametrize("url", ["h:8000", "h:8000/v1/embeddings", "127.0.0.1:8000", "://h:8000"])
def test_an_address_without_a_scheme_is_no_url(texts: Path, url: str) -> None:
    """What to write instead is what was written, as a URL."""
    with pytest.raises(InputError, match="is not a URL") as caught:
        requests_of(url, texts, model=None)
    assert caught.value.fix == f"write http://{url.removeprefix('://')}"


@pytest.mark.parametrize(
    ("path", "routes"),
    [
        ("", ["/v1/models", "/v1/embeddings"]),
        ("/team/", ["/team/v1/models", "/team/v1/embeddings"]),
        ("/team/v1", ["/team/v1/models", "/team/v1/embeddings"]),
        ("/team/v1/embeddings", ["/team/v1/models", "/team/v1/embeddings"]),
        ("/team/vectors?v=1", ["/team/v1/models", "/team/vectors?v=1"]),
    ],
)
def test_a_path_in_front_of_the_routes_is_kept(texts: Path, path: str, routes: list[str]) -> None:
    """A gateway serves many servers by their paths, and each says itself what it serves."""
    with Foreign() as foreign:
        target, _, bodies = requests_of(foreign.url + path, texts, model=None)
    asked = [a.path for a in foreign.asked]
    assert [*asked, target.url.removeprefix(foreign.url)] == routes
    assert json.loads(bodies[0])["model"] == "tiny"


@pytest.mark.parametrize("path", ["/team/", "/team/v2/models/sums/infer"])
def test_numbers_are_asked_of_the_model_that_takes_them(tmp_path: Path, path: str) -> None:
    """In the tensor that its metadata describes; a route may name the model itself."""
    log = tmp_path / "numbers.jsonl"
    log.write_text('{"at_s": 0, "input": [1, 2]}\n{"at_s": 1, "input": [3, 4]}\n')
    model = "sums" if path == "/team/" else None
    with Foreign() as foreign:
        target, _, bodies = requests_of(foreign.url + path, log, model=model)
    assert [a.path for a in foreign.asked] == ["/team/v2/models/sums"]
    assert target.url == f"{foreign.url}/team/v2/models/sums/infer"
    (sent,) = json.loads(bodies[1])["inputs"]
    assert sent == {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [3, 4]}


NONSENSE = {
    "no models": ({"data": []}, "it lists no model"),
    "a list": ([], "it does not answer as the protocol says: Expected `object`, got `array`"),
    "a model without a name": (
        {"data": [{}]},
        "it does not answer as the protocol says: Object missing required field `id` - at "
        "`$.data[0]`",
    ),
    "a page": (b"<html>", "it does not answer as the protocol says: JSON is malformed: invalid "
               "character (byte 0)"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "what"), NONSENSE.values(), ids=NONSENSE)
def test_a_server_that_says_nonsense_of_itself_is_named(
    cli: Cli, texts: Path, body: object, what: str
) -> None:
    """Nothing was measured, and Headgate is not to blame: exit code 4."""
    with Foreign(lambda asked: Answer(body)) as foreign:
        said = cli("bench", foreign.url, str(texts), "--json")
    assert said.code == 4
    error = json.loads(said.out)["error"]
    assert (error["what"], error["where"]) == (what, f"{foreign.url}/v1/models")
    assert error["fix"] == "check that it runs, the URL, and --model"


def test_headers_reach_the_questions_and_the_load(
    cli: Cli, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the environment holds in the place of its name; nothing of it is printed."""
    monkeypatch.setenv("TOKEN", "s3cret")
    header = ("--header", "Authorization: Bearer ${TOKEN}", "--header", "x-team: ${TOKEN}")
    with Foreign() as foreign:
        said = cli("bench", foreign.url, str(texts), "--seconds", "0.5", *header)
    assert "1 200" in said.out
    assert [a.path for a in foreign.asked] == ["/v1/models", "/v1/embeddings"]
    for asked in foreign.asked:
        assert asked.headers["authorization"] == "Bearer s3cret"
        assert asked.headers["x-team"] == "s3cret"
    assert "s3cret" not in said.out + said.err


@pytest.mark.parametrize("header", ["Authorization", "Authorization:", ": x", "Two Words: x"])
def test_what_is_no_header_is_a_usage_error(cli: Cli, texts: Path, header: str) -> None:
    """Before anything is sent."""
    said = cli("bench", "http://h:1", str(texts), "--model", "m", "--header", header)
    assert said.code == 2


def test_an_environment_without_the_name_is_a_usage_error(cli: Cli, texts: Path) -> None:
    """No request leaves without its key."""
    said = cli("bench", "http://h:1", str(texts), "--model", "m", "--header", "a: ${NO_SUCH_NAME}")
    assert said.code == 2
    assert "the environment has no NO_SUCH_NAME" in said.err


def test_https_is_spoken(
    cli: Cli, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the questions and by the load, to a server whose certificate is trusted."""
    identity = certificate(tmp_path / "identity.pem")
    with Foreign(identity=identity) as foreign:
        said = cli("bench", foreign.url, str(texts))
        assert said.code == 4
        assert "self-signed certificate" in said.err
        monkeypatch.setenv("SSL_CERT_FILE", str(identity))
        said = cli("bench", foreign.url, str(texts), "--rate", "50", "--seconds", "1", "--json")
    summary = json.loads(said.out)
    assert set(summary["statuses"]) == {"200"}
    assert summary["answered"] == summary["requests"] > 20


def test_seconds_cut_the_log_and_a_rate_replaces_its_times(texts: Path) -> None:
    """Both leave the order of the items as it is."""
    cut = _segment("http://h:1", texts, rate=None, seconds=1.5, model="m", seed=0)
    assert cut.at_s.tolist() == [0, 1]
    fast = _segment("http://h:1", texts, rate=100.0, seconds=2.0, model="m", seed=0)
    assert 150 < len(fast.bodies) < 250
    assert fast.bodies[4] == fast.bodies[0]
    assert fast.at_s[-1] < 2.0
    for rate, seconds in ((0.0, None), (None, 0.0)):
        with pytest.raises(UsageError):
            _segment("http://h:1", texts, rate=rate, seconds=seconds, model="m", seed=0)


def result(lag_s: float) -> LoadResult:
    """100 requests, one of which timed out; all left ``lag_s`` late."""
    at_s = np.arange(100) / 10
    latencies = np.full(100, 0.010)
    statuses = np.full(100, 200, dtype=np.int16)
    latencies[7], statuses[7] = np.inf, -1
    fields = dict.fromkeys(LoadResult.__dataclass_fields__, 0)
    return LoadResult(
        **{
            **fields,
            "scheduled_s": at_s,
            "sent_s": at_s + lag_s,
            "latencies_s": latencies,
            "statuses": statuses,
            "sources": ("cache",) * 40 + ("engine",) * 60,
            "duration_s": 10.0,
        }  # type: ignore[arg-type]  # what is not said is 0
    )


def test_a_result_is_shown_with_failures_as_infinitely_slow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failure in a hundred is beyond p99, and no answer is left out."""
    monkeypatch.setenv("COLUMNS", "80")
    _print(result(0.0), "http://h:1/v1/embeddings")
    out = capsys.readouterr().out
    assert "failed       1, counted as infinitely slow" in out
    assert "statuses     99 200, 1 timed out" in out
    assert "sources      60 engine, 40 cache" in out
    assert "latency p99  10.0 ms" in out
    assert out.rstrip().endswith("The load was what was asked for: the numbers count.")


def test_a_load_that_nobody_answered_is_not_called_good(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead port keeps to the schedule too."""
    monkeypatch.setenv("COLUMNS", "80")
    dead = replace(
        result(0.0),
        latencies_s=np.full(100, np.inf),
        statuses=np.full(100, -2, dtype=np.int16),
    )
    _print(dead, "http://h:1/v1/embeddings")
    out = capsys.readouterr().out
    assert "statuses     100 connection lost" in out
    assert "VOID: nothing was answered (100 connection lost)." in out
    assert out.rstrip().endswith("is served, its path, and --model.")
    assert _summary(dead)["verdict"] == "VOID"


def test_a_dead_port_is_void_whether_the_model_is_named_or_not(cli: Cli, texts: Path) -> None:
    """Naming the model skips the question that finds it out; the exit code is 4 either way."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    asked = cli("bench", url, str(texts), "--seconds", "0.5")
    assert asked.code == 4
    assert "nothing answers there: Connection refused" in asked.err
    said = cli("bench", url, str(texts), "--model", "m", "--seconds", "0.5")
    assert said.code == 4
    assert "VOID: nothing was answered (1 connection lost)." in said.out


@pytest.mark.parametrize(("path", "model"), [("/wrong", "words"), ("", "no-such-model")])
def test_a_wrong_path_or_model_is_void(cli: Cli, texts: Path, path: str, model: str) -> None:
    """A server that refuses every request was not measured; its status is named."""
    with Served() as s:
        said = cli("bench", s.url + path, str(texts), "--model", model, "--seconds", "0.5")
    assert said.code == 4
    assert "VOID: nothing was answered (1 404)." in said.out


def test_a_server_that_only_fails_is_void(cli: Cli, texts: Path) -> None:
    """500 for every request, in the JSON as well."""

    class Failing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        said = cli("bench", url, str(texts), "--model", "m", "--seconds", "0.5", "--json")
        server.shutdown()
        thread.join()
    summary = json.loads(said.out)
    assert (said.code, summary["verdict"], summary["statuses"]) == (4, "VOID", {"500": 1})


def test_a_late_generator_is_void() -> None:
    """The verdict is on the load, whatever the server did."""
    summary = _summary(result(0.005))
    assert summary["verdict"] == "VOID"
    assert _summary(result(0.0))["verdict"] == "valid"
