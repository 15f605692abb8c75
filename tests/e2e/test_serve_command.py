"""`headgate serve` and `headgate bench` as a user types them: real processes, a real socket."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tritonclient import grpc as triton

from headgate.ledger import Store, incidents
from headgate.objects import (
    Artifact,
    BatchingSpec,
    BatchInvariance,
    Build,
    CacheSpec,
    Release,
    Variant,
)
from headgate.runtime.receiver import Receiver
from headgate.runtime.servable import Servable
from headgate.workload import ServiceCurve
from tests.certificates import certify
from tests.e2e.endpoints import HEADGATE
from tests.models import tiny_embedder, tiny_tokenizer


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose generation 0 is a tiny embedder."""
    here = tmp_path_factory.mktemp("endpoint")
    with Store.open(here / ".headgate", create=True) as opened:
        model = opened.put_file(tiny_embedder(here / "model.onnx"))
        tokenizer = opened.put_file(tiny_tokenizer(here / "tokenizer.json"))
        build = Build(
            "tiny", "embed", "onnxruntime", "fp32", {"model.onnx": model}, tokenizer, 64, 1
        )
        variant = Variant("tiny", build.version, 1, BatchingSpec(8, 256), CacheSpec("lru", 10_000))
        curve = ServiceCurve(1e-4, 1e-4, 0.0, 0.0)
        content = Servable(
            "docs", "embed", variant, build, curve, BatchInvariance.EXACT, False, None, None
        ).content
        version = opened.put_bytes(content)
        artifact = Artifact("docs/variant", version, "variant", "json", "search", len(content))
        opened.register(artifact)
        opened.promote(Release("docs", 0, version, None), expected_generation=None)
        certify(opened, version, ["hello", "good bye"])
    return here / ".headgate"


@contextmanager
def served(store: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running server on a free port; ended afterwards whatever happened."""
    command = [*HEADGATE, "serve", "--store", str(store), "--port", "0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield announced(process)["url"], process
    finally:
        process.kill()
        process.communicate()


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """What a server says once it is there."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    said: dict[str, str] = json.loads(line)
    return said


def events(stderr: str) -> list[str]:
    """What it said while it ran."""
    return [json.loads(line)["event"] for line in stderr.splitlines()]


def embed(url: str, text: str) -> tuple[str, object]:
    """The release that answered, and its answer."""
    body = json.dumps({"model": "docs", "input": text}).encode()
    with urllib.request.urlopen(f"{url}/v1/embeddings", data=body, timeout=30) as answer:
        return answer.headers["x-headgate-release"], json.load(answer)["data"][0]["embedding"]


def test_the_current_release_is_served_and_its_traces_are_kept(store: Path) -> None:
    """SIGTERM ends it with exit code 0; every request is in a trace file that verifies."""
    with served(store) as (url, process):
        release, vector = embed(url, "hello")
        assert release == "docs@0"
        assert embed(url, "hello") == (release, vector)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
        assert (process.returncode, events(stderr)) == (0, ["loading", "draining", "drained"])
    with Store.open(store) as opened:
        *_, entry = [e for e in opened.entries("artifact") if e.body["kind"] == "traces"]
        traces = [json.loads(line) for line in opened.read(entry.body["version"]).splitlines()]
        assert opened.verify().ok
    assert [trace["source"] for trace in traces] == ["engine", "cache"]
    assert {trace["release"] for trace in traces} == {"docs@0"}
    assert list((store / "traces").iterdir()) == []


def test_a_server_on_other_kernels_certifies_what_it_serves_and_says_so(store: Path) -> None:
    """A variable that libraries choose kernels by stands for another machine. The second server
    there finds the certificate of the first."""
    elsewhere = {**os.environ, "MKL_CBWR": "COMPATIBLE"}
    command = [*HEADGATE, "serve", "--store", str(store), "--port", "0", "--json", "--no-traces"]
    for said in (["certifying", "loading"], ["loading"]):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=elsewhere
        ) as process:
            try:
                assert embed(announced(process)["url"], "hello")[0] == "docs@0"
                process.send_signal(signal.SIGTERM)
                _, stderr = process.communicate(timeout=30)
            finally:
                process.kill()
        assert (process.returncode, events(stderr)) == (0, [*said, "draining", "drained"])
    with Store.open(store) as opened:
        assert len(list(opened.entries("certificate"))) == 2
        assert opened.verify().ok


def test_what_a_server_does_is_said_in_lines(store: Path) -> None:
    """Without --json too, each with its time and level: what loads, before it does; a request that
    is none; what is answered before the end."""
    command = [*HEADGATE, "serve", "--store", str(store), "--port", "0", "--drain-delay-s", "0.001"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            loading = process.stderr.readline()
            host, _, port = process.stdout.readline().split()[2].rpartition(":")
            with socket.create_connection((host.removeprefix("http://"), int(port)), 30) as caller:
                caller.sendall(b"no request\r\n\r\n")
                assert caller.recv(12) == b"HTTP/1.1 400"
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=30)
            assert process.returncode == 0
        finally:
            process.kill()
    lines = [line for line in (loading + stderr).splitlines() if not line.startswith("  ")]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING) ", line) for line in lines)
    assert [line.split(" ", 1)[1] for line in lines] == [
        "INFO loading docs@0: tiny, instances: 1, engine: onnxruntime; warming takes 20 s at most",
        "WARNING Invalid HTTP request received.",
        "INFO leaving: readiness is 503; requests are answered for 0.001 s more",
        "INFO draining: 0 in flight are answered, for 30 s at most; new requests get a 503",
        "INFO drained: all that was accepted is answered",
    ]


def test_grpc_is_spoken_where_it_is_asked_for(store: Path) -> None:
    """By the process that answers over HTTP too, with the same numbers; SIGTERM ends it with 0."""
    command = [*HEADGATE, "serve", "--store", str(store), "--json", "--no-traces"]
    with subprocess.Popen(
        [*command, "--port", "0", "--grpc-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            addresses = announced(process)
            text = triton.InferInput("text", [1], "BYTES")
            text.set_data_from_numpy(np.array(["hello"], dtype=object))
            with triton.InferenceServerClient(addresses["grpc"]) as client:
                answer = client.infer("docs", [text]).as_numpy("embedding")
            _, vector = embed(addresses["url"], "hello")
            np.testing.assert_allclose(answer, [vector], atol=1e-6)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=30)
            assert (process.returncode, events(stderr)) == (0, ["loading", "draining", "drained"])
        finally:
            process.kill()


def test_a_key_opens_where_keys_are_asked_for(store: Path, tmp_path: Path) -> None:
    """Written down as the help says: what sha256sum prints is a line of the file."""
    key = secrets.token_hex(24)
    (tmp_path / "search").write_text(key, encoding="utf-8")
    with (tmp_path / "keys").open("w") as keys:
        subprocess.run(["sha256sum", "search"], cwd=tmp_path, stdout=keys, check=True)
    with served(store, "--no-traces", "--api-key-file", str(tmp_path / "keys")) as (url, _):
        models = urllib.request.Request(f"{url}/v1/models")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(models, timeout=30)
        models.add_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(models, timeout=30) as answer:
            assert answer.status == 200


def test_a_broken_file_of_keys_is_one_message(store: Path, tmp_path: Path) -> None:
    """Exit code 2, the line, and what to do; the key that was written there is not shown."""
    keys = tmp_path / "keys"
    keys.write_text("the-key-itself  search\n", encoding="utf-8")
    command = [*HEADGATE, "serve", "--store", str(store), "--api-key-file", str(keys)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"headgate: {keys}:1: the first word is no SHA-256 digest, 64 hexadecimal digits\n"
        "  what to do: write DIGEST TENANT; `sha256sum TENANT` prints that of a file TENANT that "
        "holds the key\n"
    )


def test_bench_measures_a_served_release(store: Path, tmp_path: Path) -> None:
    """Every request is accounted for; whether the load counts is the verdict's to say."""
    log = tmp_path / "log.jsonl"
    log.write_text(
        "".join(json.dumps({"at_s": i / 50, "text": f"text {i}"}) + "\n" for i in range(50)),
        encoding="utf-8",
    )
    with Store.open(store) as opened:
        current = opened.current("docs")
    assert current is not None
    with served(store, "--variant", current.variant) as (url, _):
        assert embed(url, "hello")[0] == "docs@unreleased", "it passes for no generation"
        command = [*HEADGATE, "bench", url, str(log), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    result = json.loads(done.stdout)
    assert done.returncode == (4 if result["verdict"] == "VOID" else 0), done.stderr
    assert (result["requests"], result["answered"]) == (50, 50)
    assert result["sources"] == {"engine": 50}


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_port_in_use_is_one_message(store: Path, option: str) -> None:
    """Exit code 1, the address and what to do, before anything is loaded; the store stays."""
    with Store.open(store) as opened:
        before = len(list(opened.entries()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [*HEADGATE, "serve", "--store", str(store), "--port", "0", option, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"headgate: 127.0.0.1:{port}: another process listens on this port\n"
        f"  what to do: end it, or choose another: {option} {port + 1}\n"
    )
    with Store.open(store) as opened:
        assert len(list(opened.entries())) == before


def test_a_broken_promise_reaches_its_owner(store: Path) -> None:
    """What headgate.yaml beside the store promises is watched; the owner's webhook hears of it, and
    the receipt is in the ledger when the server has ended."""
    file = store.parent / "headgate.yaml"
    evaluate = store.parent / "evaluate.jsonl"
    evaluate.write_text('{"id": "1", "text": "hello"}\n', encoding="utf-8")
    with Receiver() as owner:
        file.write_text(
            "endpoint: docs\n"
            f'owner: {{team: search, escalate: "{owner.escalation}"}}\n'
            "task: embed\n"
            "model: {onnx: model.onnx, tokenizer: tokenizer.json}\n"
            "data: {evaluate: evaluate.jsonl}\n"
            "live:\n"
            "  latency_p95: {at_most: 1ns, why: a test, on_breach: escalate, min_n: 5}\n",
            encoding="utf-8",
        )
        try:
            with served(store) as (url, process):
                until_s = time.monotonic() + 60
                while not owner.got and time.monotonic() < until_s:
                    embed(url, "hello")
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)
                assert process.returncode == 0
        finally:
            file.unlink()
    (told,) = owner.got
    assert (told["event"], told["endpoint"]) == ("breach", "docs")
    with Store.open(store) as opened:
        (incident,) = incidents(opened, "docs")
        assert [r.body["outcome"] for r in incident.responses] == ["done"]
        assert incident.opened.id == told["incident"]
        assert opened.verify().ok
