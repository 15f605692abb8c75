"""gRPC as callers meet it: Triton's own client, unmodified, against a server on a real socket."""

from __future__ import annotations

import asyncio
import gzip
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tritonclient import grpc as triton
from tritonclient.grpc import aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from headgate.dataplane import DataPlane
from headgate.objects import BatchingSpec, Build, CacheSpec, Variant
from headgate.runtime import Deployment
from headgate.server import Limits
from headgate.server.serve import bind, run
from headgate.workload import ServiceCurve
from tests.e2e.test_switch import successor
from tests.models import tiny_classifier
from tests.serving import Served, WordEngine, deployment, eventually, expected


def words(*texts: str) -> list[triton.InferInput]:
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    return [tensor.set_data_from_numpy(np.array(texts, dtype=object))]


@contextmanager
def client_of(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.grpc_address) as client:
        yield client


def ask(served: Served, *texts: str, **options: Any) -> list[list[float]]:
    with client_of(served) as client:
        answer = client.infer("words", words(*texts), **options)
        return list(answer.as_numpy("embedding").tolist())


def refusal(served: Served, request: Any, **options: Any) -> grpc.RpcError:
    """What gRPC's own stub raises for ``request``."""
    with grpc.insecure_channel(served.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request, timeout=30, **options)
        return refused.value


def details_of(error: grpc.RpcError, kind: Any) -> Any:
    """The message of this kind in the error's status, as gRPC's own reader finds it."""
    status = rpc_status.from_call(error)
    assert status is not None
    (packed,) = [d for d in status.details if d.Is(kind.DESCRIPTOR)]
    found = kind()
    packed.Unpack(found)
    return found


def texts_of(engine: WordEngine) -> set[int]:
    """The lengths of the words that were run."""
    return {int(length) for batch in engine.batches for length in batch.ravel()}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The tests' endpoint is ``words`` at generation 3."""
    with Served(deployment(cache_bytes=10_000), grpc=True) as running:
        yield running


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Four features in, three probabilities out, on ONNX Runtime."""
    root = tmp_path_factory.mktemp("classifier")
    tiny_classifier(root / "model")
    build = Build(
        name="tiny",
        task="classify",
        engine="onnxruntime",
        precision="fp32",
        files={"model.onnx": "model"},
        tokenizer=None,
        max_tokens=1,
        threads=1,
    )
    variant = Variant("tiny", build.version, 1, BatchingSpec(8, 8), CacheSpec(capacity_bytes=0))
    opened = Deployment.open(
        endpoint="tiny",
        generation=1,
        build=build,
        variant=variant,
        service=ServiceCurve(1e-3, 1e-5, 1e-6, 0.0),
        path_of=lambda version: root / version,
        warm_s=5.0,
    )
    with Served(opened, grpc=True) as running:
        yield running


def test_the_client_finds_the_model(served: Served) -> None:
    """Live, ready, and what the model takes and gives."""
    with client_of(served) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("words", "3")
        assert client.get_server_metadata().name == "headgate"
        model = client.get_model_metadata("words")
        assert list(model.versions) == ["3"]
        assert (model.inputs[0].datatype, list(model.outputs[0].shape)) == ("BYTES", [-1, 2])
        with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*version"):
            client.get_model_metadata("words", "2")
        with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
            client.get_model_config("words")


def test_texts_are_answered(served: Served) -> None:
    """As over REST; the text is not ASCII, so bytes are not characters."""
    texts = ["naïve façade", "b", "c d e"]
    with client_of(served) as client:
        answer = client.infer("words", words(*texts), "3", request_id="id-7")
    assert answer.get_response().id == "id-7"
    assert (answer.get_response().model_name, answer.get_response().model_version) == ("words", "3")
    assert answer.as_numpy("embedding").tolist() == [expected(t) for t in texts]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_long_text_in_many_items_is_answered(served: Served, compression: str | None) -> None:
    """Beyond one HTTP/2 frame, and compressed."""
    texts = [f"{'x' * (n % 9 + 1)} y" for n in range(2_000)]
    answers = ask(served, *texts, compression_algorithm=compression)
    assert answers == [expected(t) for t in texts]


def test_tensors_go_and_come_raw_or_typed(classifier: Served) -> None:
    """The same probabilities; they come as the values went."""
    rows = np.arange(8, dtype=np.float32).reshape(2, 4) / 8
    with client_of(classifier) as client:
        tensor = triton.InferInput("x", [2, 4], "FP32").set_data_from_numpy(rows)
        name = client.get_model_metadata("tiny").outputs[0].name
        raw = client.infer("tiny", [tensor]).as_numpy(name)
    assert raw.shape == (2, 3)
    assert raw.sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-6)
    request = service_pb2.ModelInferRequest(model_name="tiny")
    typed = request.inputs.add(name="x", datatype="FP32", shape=[2, 4])
    typed.contents.fp32_contents.extend(rows.ravel().tolist())
    with grpc.insecure_channel(classifier.grpc_address) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert not answer.raw_output_contents
    np.testing.assert_array_equal(answer.outputs[0].contents.fp32_contents, raw.ravel())


@pytest.mark.parametrize(
    ("changes", "values", "field"),
    [
        ({"name": "y"}, [0.0] * 4, "inputs[0].name"),
        ({"datatype": "FP64"}, [0.0] * 4, "inputs[0].datatype"),
        ({"shape": [1, 3]}, [0.0] * 3, "inputs[0].shape"),
        ({}, [0.0] * 3, "inputs[0].shape"),  # truncated
        ({}, [0.0, float("nan"), 0.0, 0.0], "inputs[0]"),
        ({}, [0.0, float("inf"), 0.0, 0.0], "inputs[0]"),
    ],
)
def test_a_bad_input_is_an_invalid_argument_that_names_the_field(
    classifier: Served, changes: dict[str, Any], values: list[float], field: str
) -> None:
    """In words, and in the status details that gRPC's clients read."""
    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1, 4], **changes})
    request.raw_input_contents.append(np.array(values, np.float32).tobytes())
    error = refusal(classifier, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = details_of(error, error_details_pb2.BadRequest).field_violations
    assert violation.field == field
    assert violation.description == error.details()


def test_a_message_that_is_none_is_an_invalid_argument(served: Served) -> None:
    """Not an error of the server."""
    with grpc.insecure_channel(served.grpc_address) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match="no ModelInferRequest") as refused:
            method(b"\xff\xff\xff", timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_error_that_quotes_the_caller_stays_small(served: Served) -> None:
    """Trailers have a bound of their own; a client would lose a longer error."""
    request = service_pb2.ModelInferRequest(model_name="ü" * 100_000)
    error = refusal(served, request)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(error, error_details_pb2.ErrorInfo).reason == "MODEL_NOT_FOUND"


def test_a_text_that_is_too_long_says_what_to_do(served: Served) -> None:
    """And with the metadata that it names, it is cut."""
    long = " ".join("x" * 17)
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*X-Headgate-Truncate"):
        ask(served, long)
    assert ask(served, long, headers={"x-headgate-truncate": "true"}) == [[16.0, 16.0]]
    assert ask(served, long, parameters={"truncate": True}) == [[16.0, 16.0]]


def test_a_message_above_the_limit_is_refused_packed_or_not() -> None:
    """By gRPC itself, before it is in memory."""
    with Served(limits=Limits(max_body_bytes=10_000), grpc=True) as small:
        assert ask(small, "a bc") == [expected("a bc")]
        for compression in (None, "gzip"):
            with pytest.raises(InferenceServerException, match=r"RESOURCE_EXHAUSTED.*larger"):
                ask(small, "x" * 20_000, compression_algorithm=compression)
        assert len(gzip.compress(b"x" * 20_000)) < 10_000


def test_every_answer_says_who_gave_it(served: Served) -> None:
    """Release, source and request id, as HTTP's headers; the trace has tenant and id."""
    request = service_pb2.ModelInferRequest(model_name="words")
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        b"who was it"
    )
    metadata = (("x-request-id", "mine"), ("x-headgate-tenant", "them"))
    with grpc.insecure_channel(served.grpc_address) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        told = [
            dict(infer.with_call(request, metadata=metadata)[1].trailing_metadata())
            for _ in range(2)
        ]
    assert [t["x-headgate-source"] for t in told] == ["engine", "cache"]
    assert {t["x-headgate-release"] for t in told} == {"words@3"}
    assert {t["x-request-id"] for t in told} == {"mine"}
    traces = [t for t in served.deployment.traces.recent() if t["request_id"] == "mine"]
    assert [(t["tenant"], t["status"], t["tokens"]) for t in traces] == [("them", 200, 3)] * 2


def test_a_bad_header_is_named(served: Served) -> None:
    """The same keys and the same bounds as over HTTP."""
    for key, value in (("x-request-timeout-ms", "soon"), ("x-headgate-priority", "10")):
        with pytest.raises(InferenceServerException, match=r"(?i)INVALID_ARGUMENT.*" + key):
            ask(served, "a", headers={key: value})


def test_what_waits_past_its_deadline_never_runs() -> None:
    """The client's own timeout, while another's call holds the engine."""
    engine = WordEngine()
    engine.open.clear()
    with Served(deployment(engine), grpc=True) as s, ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, s, "held")
        assert engine.entered.acquire(timeout=30)
        requests, asked = s.deployment.metrics.requests, []

        def counted() -> int:
            # Whose clock was first, the client's or the server's, decides what it counts as.
            return sum(n for (_, status, _), n in requests.items() if status in (499, 504))

        def too_late() -> bool:
            """Asked again where the deadline had passed before the server heard of it."""
            asked.append("unanswered")
            with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
                ask(s, asked[-1], client_timeout=0.5)
            return counted() > 0

        eventually(too_late, "the server never hears of it")
        eventually(lambda: s.deployment.live.in_flight == 1, "it still waits")
        engine.open.set()
        assert held.result(30) == [expected("held")]
        assert ask(s, "later") == [expected("later")]
    assert len("unanswered") not in texts_of(engine)
    assert 1 <= counted() <= len(asked)


@pytest.mark.parametrize(
    "options", [{"client_timeout": 5.0}, {"headers": {"x-request-timeout-ms": "5000"}}]
)
def test_a_deadline_that_cannot_be_kept_is_refused_at_once(options: dict[str, Any]) -> None:
    """By what is predicted, of either kind of deadline; the client hears the server's words."""
    d = deployment()
    slow = DataPlane.of(d.variant, ServiceCurve(10.0, 0.0, 0.0, 0.0), generation=3)
    with (
        Served(replace(d, plane=slow), grpc=True) as s,
        pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED.*could not be given"),
    ):
        ask(s, "a", **options)


def test_what_the_client_takes_back_never_runs() -> None:
    """A cancelled call leaves the queue, and others are answered."""
    engine = WordEngine()
    engine.open.clear()
    with (
        Served(deployment(engine), grpc=True) as s,
        ThreadPoolExecutor(1) as pool,
        client_of(s) as client,
    ):
        held = pool.submit(ask, s, "held")
        assert engine.entered.acquire(timeout=30)
        told: Future[object] = Future()
        call = client.async_infer(
            "words", words("unanswered"), lambda result, error: told.set_result(error)
        )
        eventually(lambda: s.deployment.live.in_flight == 2, "it was not admitted")
        call.cancel()
        assert "CANCELLED" in str(told.result(30))
        eventually(lambda: s.deployment.live.in_flight == 1, "it still waits")
        engine.open.set()
        assert held.result(30) == [expected("held")]
        assert ask(s, "later") == [expected("later")]
    assert len("unanswered") not in texts_of(engine)
    assert s.deployment.metrics.requests["grpc ModelInfer", 499, ""] == 1


def test_a_full_queue_is_resource_exhausted_with_the_wait() -> None:
    """In gRPC's RetryInfo, and in the trailer that its own retries heed."""
    engine = WordEngine()
    engine.open.clear()
    with (
        Served(deployment(engine, max_queue_requests=1), grpc=True) as s,
        ThreadPoolExecutor(2) as pool,
    ):
        admitted = [pool.submit(ask, s, "first")]
        assert engine.entered.acquire(timeout=30)
        admitted.append(pool.submit(ask, s, "second"))
        eventually(lambda: s.deployment.live.in_flight == 2, "nobody waits")
        request = service_pb2.ModelInferRequest(model_name="words")
        request.inputs.add(name="text", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(b"\x01\0\0\0a")
        error = refusal(s, request)
        engine.open.set()
        assert [a.result(30) for a in admitted] == [[expected("first")], [expected("second")]]
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details_of(error, error_details_pb2.ErrorInfo).reason == "QUEUE_FULL"
    delay = details_of(error, error_details_pb2.RetryInfo).retry_delay
    pushback = dict(error.trailing_metadata())["grpc-retry-pushback-ms"]
    assert delay.ToMilliseconds() == int(pushback) >= 1


def test_bodies_beyond_what_may_be_held_are_refused_whole() -> None:
    """Bytes count before they are parsed; what is too large for ever is no matter of waiting."""
    limits = Limits(max_held_bytes=100)
    with (
        Served(limits=limits, grpc=True) as s,
        pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*more than the server"),
    ):
        ask(s, "x" * 200)
    assert s.deployment.metrics.rejects["too_large"] == 1


def test_draining_is_unavailable_and_loses_nothing() -> None:
    """What was accepted is answered; what comes is refused, and readiness says so before."""
    engine = WordEngine()
    engine.open.clear()
    with (
        Served(deployment(engine), grpc=True) as s,
        ThreadPoolExecutor(1) as pool,
        client_of(s) as client,
    ):
        held = pool.submit(ask, s, "held")
        assert engine.entered.acquire(timeout=30)
        s.stop()
        eventually(lambda: not client.is_server_ready(), "it is still ready")
        assert client.is_server_live()
        assert not client.is_model_ready("words")
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*shutting down"):
            client.infer("words", words("late"))
        engine.open.set()
        assert held.result(30) == [expected("held")]
        assert s.drained()


def test_in_the_delay_before_draining_calls_are_answered() -> None:
    """Readiness alone is denied; a second signal ends the delay."""
    with Served(limits=Limits(drain_delay_s=3600), grpc=True) as s, client_of(s) as client:
        s.stop()
        eventually(lambda: not client.is_server_ready(), "it is still ready")
        assert not client.is_model_ready("words")
        assert ask(s, "answered") == [expected("answered")]
        s.stop()
        assert s.drained()


def test_what_cannot_be_answered_in_time_is_unavailable() -> None:
    """An engine that hangs while the server shuts down: its caller is told, not left."""
    engine = WordEngine()
    engine.open.clear()
    with (
        Served(deployment(engine), Limits(drain_timeout_s=0.05), grpc=True) as s,
        ThreadPoolExecutor(1) as pool,
    ):
        held = pool.submit(ask, s, "held")
        assert engine.entered.acquire(timeout=30)
        s.stop()
        with pytest.raises(InferenceServerException, match=r"UNAVAILABLE.*shutting down"):
            held.result(30)
        engine.open.set()
        assert not s.drained()


def test_the_next_release_takes_over_between_two_calls() -> None:
    """What the old one holds is answered by it, and it is freed; both speak at one address."""
    old, new = WordEngine(), WordEngine()
    first = deployment(old)
    offered = iter([successor(new, first)])
    begin = threading.Event()
    with (
        Served(
            first, next_release=lambda: next(offered, None) if begin.is_set() else None, grpc=True
        ) as s,
        ThreadPoolExecutor(1) as pool,
        client_of(s) as client,
    ):
        old.open.clear()
        held = pool.submit(ask, s, "held", model_version="3")
        assert old.entered.acquire(timeout=30)
        begin.set()
        eventually(
            lambda: list(client.get_model_metadata("words").versions) == ["4"], "nothing took over"
        )
        assert ask(s, "new", model_version="4") == [expected("new")]
        assert not old.closed
        old.open.set()
        assert held.result(30) == [expected("held")]
        eventually(lambda: old.closed, "the old engine was not freed")


def test_calls_over_grpc_and_http_meet_in_a_batch() -> None:
    """One queue behind both protocols."""
    engine = WordEngine()
    engine.open.clear()
    with Served(deployment(engine), grpc=True) as s, ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, s, "first")
        assert engine.entered.acquire(timeout=30)
        body = {"model": "words", "input": "over http"}
        http = pool.submit(httpx.post, f"{s.url}/v1/embeddings", json=body, timeout=30)
        rpc = pool.submit(ask, s, "over grpc")
        eventually(lambda: s.deployment.live.in_flight == 3, "they do not wait")
        engine.open.set()
        assert first.result(30) == [expected("first")]
        assert rpc.result(30) == [http.result(30).json()["data"][0]["embedding"]]
    assert any(len(batch) == 2 for batch in engine.batches)


def test_the_asyncio_client_gets_its_answers() -> None:
    """Many calls at once on one connection; the server shares its event loop here."""

    async def scenario() -> None:
        stop, listening = asyncio.Event(), asyncio.Event()
        addresses: list[str] = []
        serving = asyncio.create_task(
            run(
                deployment(),
                bind("127.0.0.1", 0),
                stop,
                on_listening=lambda _: listening.set(),
                grpc_address="127.0.0.1:0",
                on_grpc=addresses.append,
            )
        )
        async with asyncio.timeout(30):
            await listening.wait()
            async with triton_aio.InferenceServerClient(addresses[0]) as client:
                assert await client.is_server_ready()
                texts = [f"{'x' * n} y" for n in range(1, 50)]
                answers = await asyncio.gather(*(client.infer("words", words(t)) for t in texts))
            stop.set()
            assert await serving
        for text, answer in zip(texts, answers, strict=True):
            assert answer.as_numpy("embedding").tolist() == [expected(text)]

    asyncio.run(scenario())


SERVER = """
from headgate.server import serve
from tests.serving import deployment

serve(
    deployment(),
    port=0,
    grpc_port=0,
    on_grpc=lambda address: print(address, flush=True),
    on_listening=lambda url: print(url, flush=True),
)
"""


def test_sigterm_under_load_loses_no_accepted_call() -> None:
    """As served: uvloop, a process of its own, eight callers at full speed. What was sent is
    answered in full or refused as unavailable, and the process ends with 0 and says nothing."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            address = running.stdout.readline().strip()
            outcomes: list[str] = []
            going = threading.Barrier(9)
            callers = [
                threading.Thread(target=_call_until_refused, args=(address, outcomes, going))
                for _ in range(8)
            ]
            for caller in callers:
                caller.start()
            going.wait(30)
            running.send_signal(signal.SIGTERM)
            for caller in callers:
                caller.join(30)
            _, errors = running.communicate(timeout=30)
            assert (running.returncode, errors) == (0, "")
        finally:
            running.kill()
    assert outcomes.count("answered") >= 8
    assert set(outcomes) == {"answered", "refused"}


def _call_until_refused(address: str, outcomes: list[str], going: threading.Barrier) -> None:
    with triton.InferenceServerClient(address) as client:
        for number in range(100_000):
            try:
                answer = client.infer("words", words("a bc"), client_timeout=30)
            except InferenceServerException as error:
                unavailable = error.status() == "StatusCode.UNAVAILABLE"
                outcomes.append("refused" if unavailable else f"lost: {error}")
                return
            complete = answer.as_numpy("embedding").tolist() == [expected("a bc")]
            outcomes.append("answered" if complete else "lost: another answer")
            if number == 0:
                going.wait(30)
