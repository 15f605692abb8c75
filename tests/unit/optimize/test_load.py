"""A replay's schedule, and that the simulator predicts the very requests that are replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.caching import request_key
from headgate.config import load_workload
from headgate.engines import codec_for
from headgate.ledger import Store
from headgate.objects import Build, canonical
from headgate.optimize.load import Replay, SegmentTimes, Side, _Schedule, _Server
from headgate.optimize.plan import _requests
from headgate.optimize.recorder import Call
from headgate.workload import Request
from tests.models import tiny_classifier

from .fakes import RUN

TENSOR = {"name": "x", "datatype": "FP32"}
SERVER = _Server("http://127.0.0.1:1", psutil.Process())


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Build]]:
    """A classifier in a store of this module's own."""
    here = tmp_path_factory.mktemp("replay")
    with Store.open(here / ".headgate", create=True) as store:
        files = {"model.onnx": store.put_file(tiny_classifier(here / "model.onnx"))}
        yield store, Build("fp32", "classify", "onnxruntime", "fp32", files, None, 1, 1)


def call_of(store: Store, gaps_s: list[float], **config: object) -> Call:
    """A call on a workload with these gaps; item k holds k four times."""
    rows = [
        canonical({"at_s": float(at), "input": [float(k)] * 4})
        for k, at in enumerate(np.cumsum([0.0, *gaps_s]))
    ]
    workload = store.put_bytes(b"\n".join(rows) + b"\n")
    c = {"task": "classify", "endpoint": "digits", "input": TENSOR, **config}
    here = Path()
    return Call({"workload": workload}, c, 0, store, here, here, here, lambda share, detail: None)


def schedule(call: Call, start: int, rate_per_s: float) -> _Schedule:
    log = load_workload(call.path("workload"))
    return _Schedule(SERVER, log.at_s, log.items, start, rate_per_s, call)


def item(body: bytes) -> int:
    """Which item of the workload a request's body holds."""
    (tensor,) = json.loads(body)["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("x", "FP32", [1, 4])
    return int(tensor["data"][0])


gaps = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=12).filter(any)


@given(gaps, st.integers(0, 40), st.sampled_from([0.5, 1.0, 7.0]), st.integers(1, 4))
def test_segments_cut_the_workload_into_consecutive_pieces(
    endpoint: tuple[Store, Build],
    gaps_s: list[float],
    start: int,
    rate_per_s: float,
    pieces: int,
) -> None:
    """Each begins at 0, lasts as long as it may, and goes on where the last one ended, round and
    round; gaps are the workload's own, sped up to the rate."""
    call = call_of(endpoint[0], gaps_s)
    plan = schedule(call, start, rate_per_s)
    n = len(gaps_s) + 1
    stretch = (len(gaps_s) / sum(gaps_s)) / rate_per_s
    wrapped = np.array([0.0, *gaps_s]) * stretch
    assert plan.first == plan.last == min(start, n // 2)
    seconds = 2.5 / rate_per_s
    i = plan.first
    for _ in range(pieces):
        segment = plan.next(seconds)
        size = len(segment.bodies)
        assert [item(b) for b in segment.bodies] == [(i + k) % n for k in range(size)]
        assert segment.at_s[0] == 0.0
        assert np.allclose(np.diff(segment.at_s), [wrapped[(i + k) % n] for k in range(1, size)])
        i += size
        assert segment.at_s[-1] <= seconds < segment.at_s[-1] + wrapped[i % n] + 1e-9
        assert plan.last == i


@given(gaps, st.integers(0, 40), st.integers(1, 4))
def test_the_simulator_predicts_the_requests_that_are_replayed(
    endpoint: tuple[Store, Build], gaps_s: list[float], start: int, pieces: int
) -> None:
    """The same items in the same order with the same gaps, beyond the workload's end too; what
    came before warms caches in both."""
    store, build = endpoint
    call = call_of(store, gaps_s)
    plan = schedule(call, start, 1.0)
    segments = [plan.next(2.5) for _ in range(pieces)]
    simulated = _requests(call, build, first=0, last=plan.last)
    codec = codec_for(build, store.path_of)

    items = codec.encode([np.full(4, float(k)) for k in range(len(gaps_s) + 1)])
    keys = [
        request_key(tenant="", build="", parameters={}, content=e.content.tobytes()) for e in items
    ]
    counted: list[Request] = simulated[plan.first :]
    replayed = [item(b) for s in segments for b in s.bodies]
    assert [r.key for r in counted] == [keys[k] for k in replayed]
    stretch = len(gaps_s) / sum(gaps_s)
    at_s = np.array([r.arrived_at_s for r in counted])
    begin = 0
    for segment in segments:
        end = begin + len(segment.bodies)
        assert np.allclose(np.diff(at_s[begin:end]) * stretch, np.diff(segment.at_s))
        begin = end


def test_a_noise_segment_is_the_same_requests_each_time(endpoint: tuple[Store, Build]) -> None:
    """And it takes nothing from what is replayed."""
    plan = schedule(call_of(endpoint[0], [1.0] * 9), 3, 1.0)
    first, second = plan.aside(2.5), plan.aside(2.5)
    assert [item(b) for b in first.bodies] == [item(b) for b in second.bodies] == [3, 4, 5]
    assert np.array_equal(first.at_s, second.at_s)
    assert plan.last == plan.first == 3


def test_texts_are_asked_as_texts(tmp_path: Path) -> None:
    """An embedder through the OpenAI API, a text classifier through V2, in its own encoding."""
    with Store.open(tmp_path / ".headgate", create=True) as store:
        rows = [canonical({"at_s": k, "text": f"text {k}"}) for k in range(2)]
        u = {"workload": store.put_bytes(b"\n".join(rows) + b"\n")}
        call = replace(call_of(store, [1.0], input=None), u=u)
        (tensor,) = json.loads(schedule(call, 0, 1.0).next(0.5).bodies[0])["inputs"]
        assert (tensor["datatype"], tensor["data"]) == ("BYTES", ["text 0"])
        embed = replace(call, c={"task": "embed", "endpoint": "docs", "input": None})
        body = json.loads(schedule(embed, 0, 1.0).next(0.5).bodies[0])
        assert (body["model"], body["input"]) == ("docs", "text 0")


def times(p95_s: float, requests: int = 10, cpu_s: float = 2.0) -> SegmentTimes:
    return SegmentTimes(requests, 0, 1.0, p95_s / 2, p95_s, 2 * p95_s, p95_s / 3, 0.5, cpu_s)


def side(*segments: SegmentTimes, void: tuple[str, ...] = ()) -> Side:
    quantiles = ((0.5, 1.0), (0.95, 2.0), (0.999, 3.0))
    return Side(100.0, 70.0, 5, 25, segments, quantiles, 1 << 20, void)


REPLAY = Replay(
    current=side(times(4.0), times(8.0, requests=30)),
    candidate=side(times(1.0, cpu_s=1.0), times(2.0, cpu_s=0.5), void=("late",)),
    aa_before=(times(4.1), times(4.2)),
    aa_after=(times(4.3), times(4.4)),
    cores=2,
    run=RUN,
)


@pytest.mark.parametrize(
    ("metric", "candidate", "current"),
    [
        ("latency_p50", (0.5, 1.0), (2.0, 4.0)),
        ("latency_p95", (1.0, 2.0), (4.0, 8.0)),
        ("latency_p99", (2.0, 4.0), (8.0, 16.0)),
        ("device_s_per_1k", (50.0, 25.0), (100.0, 100 / 3)),
        ("cost_per_1k", (5.0, 2.5), (10.0, 10 / 3)),
    ],
)
def test_segments_become_blocks_side_by_side(
    metric: str, candidate: tuple[float, ...], current: tuple[float, ...]
) -> None:
    """Latency as it was; CPU seconds of both cores as machine seconds, or money, per thousand."""
    blocks = REPLAY.samples(metric, price_per_s=0.1)
    assert blocks is not None
    assert blocks.candidate == pytest.approx(candidate)
    assert blocks.current == pytest.approx(current)
    before = {"latency_p95": (4.1, 4.2)}.get(metric)
    assert before is None or blocks.aa_before == (before,)
    assert (blocks.unit == "money") == metric.startswith("cost")


def test_load_measures_neither_quality_nor_safety() -> None:
    """There is nothing to judge them on."""
    assert REPLAY.samples("agreement", price_per_s=0.1) is None


def test_a_side_is_the_sum_of_its_segments() -> None:
    """Requests weigh alike, whichever segment they were in."""
    assert REPLAY.current.requests == 40
    assert REPLAY.current.cpu_s_per_request == pytest.approx(4.0 / 40)
    assert REPLAY.current.hit_share == pytest.approx(0.5)
    assert [REPLAY.current.quantile_s(q) for q in (0.5, 0.6, 0.95)] == [1.0, 2.0, 2.0]


def test_what_voids_one_side_voids_the_replay() -> None:
    """Every reason is kept."""
    assert REPLAY.void == ("late",)
    other = replace(REPLAY, current=side(times(1.0), void=("slow",)))
    assert other.void == ("slow", "late")
