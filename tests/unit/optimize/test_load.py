"""What a replay sends, that the simulator is given the very same, and what is made of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headgate.caching import request_key
from headgate.engines import codec_for
from headgate.errors import Fault
from headgate.ledger import Store
from headgate.loadtest import LoadResult, Segment, Target
from headgate.objects import BatchingSpec, Build, CacheSpec, Variant, canonical, jsonable, parse
from headgate.optimize.load import Replay, SegmentTimes, Side
from headgate.optimize.load import replay as load_replay
from headgate.optimize.load.outcome import replay_from_json
from headgate.optimize.load.probe import Saturated
from headgate.optimize.load.replay import _pieces, _takes_per_s
from headgate.optimize.load.schedule import Schedule
from headgate.optimize.load.servers import Server, Starting, body_of, ready, target_of
from headgate.optimize.plan import _requests, _workload, plan_simulate
from headgate.optimize.recorder import Call
from headgate.workload import Pair, ServiceCurve
from tests.models import tiny_classifier

from .fakes import RUN

ONE = np.array([0.01])
RESULT = LoadResult(
    *(ONE, ONE, ONE, ONE, np.array([200], np.int16), ("engine",)),
    *(1.0, 0.1, 0.5, 1, 0, 0),
)
TENSOR = {"name": "x", "datatype": "FP32"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Build]]:
    """A classifier in a store of this module's own."""
    here = tmp_path_factory.mktemp("replay")
    with Store.open(here / ".headgate", create=True) as store:
        files = {"model.onnx": store.put_file(tiny_classifier(here / "model.onnx"))}
        yield store, Build("fp32", "classify", "onnxruntime", "fp32", files, None, 1, 1)


def call_of(
    store: Store, gaps_s: list[float], items: list[int] | None = None, **config: object
) -> Call:
    """A call on a workload with these gaps; request k holds ``items[k]``, or k, four times."""
    times_s = np.cumsum([0.0, *gaps_s])
    rows = [
        canonical({"at_s": float(at), "input": [float(k)] * 4})
        for k, at in zip(items or range(len(times_s)), times_s, strict=True)
    ]
    workload = store.put_bytes(b"\n".join(rows) + b"\n")
    c = {"task": "classify", "endpoint": "digits", "input": TENSOR, "preprocess": None, **config}
    here = Path()
    return Call({"workload": workload}, c, 0, store, here, here, here, lambda share, detail: None)


def at_s_of(gaps_s: list[float]) -> NDArray[np.float64]:
    return np.cumsum([0.0, *gaps_s])


gaps = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=12).filter(any)


@given(gaps, st.integers(0, 40), st.sampled_from([0.5, 1.0, 7.0]), st.integers(1, 4))
def test_pieces_cut_the_workload_one_after_the_other(
    gaps_s: list[float], start: int, rate_per_s: float, pieces: int
) -> None:
    """Each begins at 0, lasts as long as it may, and goes on where the last one ended, round and
    round; gaps are the workload's own, sped up to the rate."""
    plan = Schedule(at_s_of(gaps_s), start, rate_per_s)
    n = len(gaps_s) + 1
    stretch = (len(gaps_s) / sum(gaps_s)) / rate_per_s
    wrapped = np.array([0.0, *gaps_s]) * stretch
    assert plan.first == plan.last == min(start, n // 2)
    seconds = 2.5 / rate_per_s
    i = plan.first
    for _ in range(pieces):
        piece = plan.next(seconds)
        assert piece.first == i
        assert piece.at_s[0] == 0.0
        i += len(piece.at_s)
        assert plan.last == piece.last == i
        assert np.allclose(np.diff(piece.at_s), [wrapped[k % n] for k in range(piece.first + 1, i)])
        assert piece.at_s[-1] <= seconds < piece.at_s[-1] + wrapped[i % n] + 1e-9


def test_a_piece_for_noise_is_the_same_requests_each_time() -> None:
    """And it takes nothing from what is replayed."""
    plan = Schedule(at_s_of([1.0] * 9), 3, 1.0)
    first, second = plan.aside(2.5), plan.aside(2.5)
    assert (first.first, first.last) == (second.first, second.last) == (3, 6)
    assert np.array_equal(first.at_s, second.at_s)
    assert plan.last == plan.first == 3


def test_a_server_can_take_what_it_answers_while_it_keeps_its_promise() -> None:
    """A plan may promise more than the machine then does, or less, or nothing."""
    assert _takes_per_s(400.0, 286.0) == 286.0
    assert _takes_per_s(400.0, 500.0) == 400.0
    assert _takes_per_s(400.0, None) == 400.0


@pytest.mark.parametrize(
    ("promised", "rate_per_s"),
    [({}, 280.0), ({"most_per_s": None}, 280.0), ({"most_per_s": 200.0}, 140.0)],
    ids=["an older record", "no promise by itself", "a promise"],
)
def test_a_candidate_is_asked_for_its_share_of_what_its_plan_keeps(
    endpoint: tuple[Store, Build],
    monkeypatch: pytest.MonkeyPatch,
    promised: Mapping[str, object],
    rate_per_s: float,
) -> None:
    """And current for that of what it answers, whatever the candidate promises. Both answer 400 a
    second here; what is sent is counted, and nothing is measured."""
    sent: list[Segment] = []

    def send(segments: Sequence[Segment], **_: object) -> list[LoadResult]:
        sent.extend(segments)
        return [RESULT] * len(segments)

    @contextmanager
    def process(call: Call, variant: str) -> Iterator[str]:
        yield variant

    def up(variant: str) -> object:
        memory = SimpleNamespace(rss=1 << 20)
        return SimpleNamespace(url=variant, process=SimpleNamespace(memory_info=lambda: memory))

    monkeypatch.setattr(load_replay, "server_process", process)
    monkeypatch.setattr(load_replay, "ready", up)
    monkeypatch.setattr(load_replay, "saturate", lambda *_: Saturated(400.0, 10, 0.0))
    monkeypatch.setattr(load_replay, "target_of", lambda server, call: Target(server.url))
    monkeypatch.setattr(load_replay, "run_load", send)
    call = call_of(endpoint[0], [1.0] * 9999, seconds=9.0, blocks=9, load=0.7, **promised)
    call = replace(call, u={**call.u, "current": "http://current", "candidate": "http://new"})
    body = json.loads(load_replay.replay.work(call)["load"].content)
    current, candidate = body["sides"]
    assert current["rate_per_s"] == pytest.approx(280.0)
    assert candidate["rate_per_s"] == pytest.approx(rate_per_s)
    for url, rate in (("http://current", 280.0), ("http://new", rate_per_s)):
        of_a_second = {len(s.bodies) for s in sent if s.target.url == url and s.at_s[-1] < 1.1}
        assert max(of_a_second) == pytest.approx(rate, abs=2)
    side = replay_from_json(body, cores=2, run=RUN).candidate
    assert (side.capacity_per_s, side.most_per_s) == (400.0, promised.get("most_per_s"))


def test_servers_take_turns_and_neither_always_begins() -> None:
    """Noise on the first around it; each server goes on in the workload where it stopped."""
    plans = [Schedule(at_s_of([1.0] * 99), 10, rate) for rate in (1.0, 2.0)]
    pieces = _pieces(plans, seconds=9.0, blocks=3)
    assert [i for i, _ in pieces] == [0, 0, *(0, 1), *(1, 0), *(0, 1), 0, 0]
    assert [(p.first, p.last) for i, p in pieces if i == 1] == [(10, 17), (17, 24), (24, 31)]
    noise = [pieces[k][1] for k in (0, 1, -2, -1)]
    assert {(p.first, p.last) for p in noise} == {(10, 13)}


def test_a_log_that_ends_sooner_is_not_begun_anew() -> None:
    """Both sides have as many blocks; those of the faster one are shorter. A block's first request
    needs no gap, so there may be one more a block."""
    slow, fast = (Schedule(at_s_of([1.0] * 19), 0, rate) for rate in (1.0, 10.0))
    pieces = _pieces([slow, fast], seconds=15.0, blocks=3)
    assert max(p.last for _, p in pieces) <= 20 + 3
    assert len([p for i, p in pieces if i == 1]) == 3


@given(gaps, st.integers(0, 40), st.sampled_from([0.5, 1.0, 7.0]), st.floats(0.0, 100.0))
def test_the_simulator_is_given_the_requests_that_are_sent(
    endpoint: tuple[Store, Build],
    gaps_s: list[float],
    start: int,
    rate_per_s: float,
    start_s: float,
) -> None:
    """The same items in the same order at the same times from the segment's start, beyond the
    workload's end too."""
    store, build = endpoint
    n = len(gaps_s) + 1
    piece = Schedule(at_s_of(gaps_s), start, rate_per_s).next(2.5 / rate_per_s)
    stretch = (n - 1) / sum(gaps_s) / rate_per_s
    sizes = _workload(call_of(store, gaps_s), build)
    simulated = _requests(sizes, piece.first, piece.last, stretch=stretch, start_s=start_s)

    items = codec_for(build, store.path_of).encode([np.full(4, float(k)) for k in range(n)])
    keys = [
        request_key(tenant="", build="", parameters={}, content=e.content.tobytes()) for e in items
    ]
    assert [r.key for r in simulated] == [keys[k % n] for k in range(piece.first, piece.last)]
    assert np.allclose([r.arrived_at_s - start_s for r in simulated], piece.at_s)


def test_own_preprocessing_decides_which_requests_are_equal(
    endpoint: tuple[Store, Build], tmp_path: Path
) -> None:
    """Two inputs that it makes one are one to the cache, in the simulator as on the server."""
    store, build = endpoint
    (tmp_path / "own.py").write_text("def flat(x):\n    return x * 0\n")
    call = replace(call_of(store, [1.0, 1.0], preprocess="own:flat"), root=tmp_path)
    _, keys, _ = _workload(call, replace(build, preprocess="sha256:flat"))
    _, plain, _ = _workload(call_of(store, [1.0, 1.0]), build)
    assert len(set(keys)) == 1
    assert len(set(plain)) == 3


def simulated(endpoint: tuple[Store, Build], items: list[int], **config: object) -> dict[str, Any]:
    """Requests a second apart on one instance that takes 3 s a call, one request at a time."""
    store, build = endpoint
    variant = Variant("v", "sha256:b", 1, BatchingSpec(max_requests=1), CacheSpec("lru", 1 << 20))
    c = {
        "build": build,
        "variant": variant,
        "curve": ServiceCurve(3.0, 0.0, 0.0, 0.0),
        "takes": ServiceCurve(3.0, 0.0, 0.0, 0.0),
        "lone": None,
        "cores": 2,
        "batch_invariance": "exact",
        "value_bytes": 8,
        "rate_per_s": None,
        "segments": [],
        "warm_up": [],
        "drain_s": 0.5,
        "handover_s": 0.0,
        "beside_s": 0.0,
    } | config
    call = call_of(store, [1.0] * (len(items) - 1), items, **jsonable(c))
    return parse(plan_simulate.work(call)["outcome"].content)


def test_every_segment_begins_on_an_idle_plane(endpoint: tuple[Store, Build]) -> None:
    """One after the other the queue would grow to the end; cut in two, each second waits 2 s."""
    whole = simulated(endpoint, [0, 1, 2, 3])
    cut = simulated(endpoint, [0, 1, 2, 3], segments=[(0, 2), (2, 4)])
    assert dict(map(tuple, whole["quantiles"]))[0.999] == pytest.approx(9.0)
    assert (cut["p50_s"], cut["p99_s"]) == pytest.approx((3.0, 5.0))
    assert cut["requests"] == 4
    assert cut["utilisation"] == pytest.approx(1.0)


def test_what_was_asked_before_is_in_the_cache_and_not_counted(
    endpoint: tuple[Store, Build],
) -> None:
    """However many are asked at once, the cache has them all before the first segment."""
    cold = simulated(endpoint, [0, 1, 0, 1], segments=[(2, 4)])
    warm = simulated(endpoint, [0, 1, 0, 1], segments=[(2, 4)], warm_up=[(0, 2)])
    assert (cold["hit_ratio"], warm["hit_ratio"]) == (0.0, 1.0)
    assert warm["requests"] == 2
    assert warm["p99_s"] == warm["busy_machine_s_per_request"] == 0.0


def test_what_delays_engines_is_not_charged(endpoint: tuple[Store, Build]) -> None:
    """Handing over and what runs beside cost time in the queue; the engine's own time is paid."""
    plain = simulated(endpoint, [0, 1])
    slow = simulated(endpoint, [0, 1], handover_s=0.25, beside_s=0.5)
    assert (plain["p50_s"], slow["p50_s"]) == pytest.approx((3.0, 3.75))
    assert slow["p99_s"] == pytest.approx(2 * 3.75 - 1)
    for outcome in (plain, slow):
        assert outcome["busy_machine_s_per_request"] == pytest.approx(3.0 / 2)


def test_a_tensor_is_asked_as_a_tensor(endpoint: tuple[Store, Build]) -> None:
    """Under the model's own name for it."""
    call = call_of(endpoint[0], [1.0])
    (tensor,) = json.loads(body_of(np.full(4, 2.0), call))["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("x", "FP32", [1, 4])
    assert tensor["data"] == [2.0] * 4


def test_texts_are_asked_as_texts(endpoint: tuple[Store, Build]) -> None:
    """An embedder through the OpenAI API, a text classifier through V2, each at its own path."""
    server = Server("http://127.0.0.1:1", psutil.Process())
    call = call_of(endpoint[0], [1.0], input=None)
    (tensor,) = json.loads(body_of("hello", call))["inputs"]
    assert (tensor["datatype"], tensor["data"]) == ("BYTES", ["hello"])
    assert target_of(server, call).url == "http://127.0.0.1:1/v2/models/digits/infer"
    embed = replace(call, c={"task": "embed", "endpoint": "docs", "input": None})
    body = json.loads(body_of("hello", embed))
    assert (body["model"], body["input"]) == ("docs", "hello")
    assert target_of(server, embed).url == "http://127.0.0.1:1/v1/embeddings"
    rerank = replace(call, c={**call.c, "task": "rerank"})
    body = json.loads(body_of(Pair("a query", "a text"), rerank))
    assert body == {"query": "a query", "texts": ["a text"]}
    assert target_of(server, rerank).url == "http://127.0.0.1:1/rerank"


@pytest.mark.parametrize("said", ["", """print('{"error": {')"""])
def test_a_server_that_ends_instead_is_a_fault(tmp_path: Path, said: str) -> None:
    """Whether it said nothing or began an error; the last line of its log says why."""
    log = tmp_path / "log"
    log.write_text("first\nno such model\n")
    command = [sys.executable, "-c", said]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        pytest.raises(Fault, match="no such model"),
    ):
        ready(Starting(process, "sha256:" + "0" * 64, log))


def times(p95_s: float, requests: int = 10, cpu_s: float = 2.0) -> SegmentTimes:
    seconds = (p95_s / 2, p95_s, 2 * p95_s, p95_s / 4)
    return SegmentTimes(7, requests, 0, 1.0, *seconds, 0.5, cpu_s, cpu_s / 4)


def side(*segments: SegmentTimes, void: tuple[str, ...] = ()) -> Side:
    quantiles = ((0.5, 1.0), (0.95, 2.0), (0.999, 3.0))
    return Side(100.0, 70.0, ((0, 7),), segments, quantiles, 1 << 20, void)


REPLAY = Replay(
    current=side(times(4.0), times(8.0, requests=30)),
    candidate=side(times(1.0, cpu_s=1.0), times(2.0, cpu_s=0.5), void=("late",)),
    aa_before=(times(4.1), times(4.2)),
    aa_after=(times(4.3), times(4.4)),
    aa_void=(),
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
    assert REPLAY.current.generator_cpu_s_per_request == pytest.approx(1.0 / 40)
    assert REPLAY.current.hit_share == pytest.approx(0.5)
    assert [REPLAY.current.quantile_s(q) for q in (0.5, 0.6, 0.95)] == [1.0, 2.0, 2.0]


def test_a_replay_has_processor_times_where_both_servers_have() -> None:
    """Of tenths of a second there may be none, and no saving is measured then."""
    assert REPLAY.has_cpu_times
    assert not replace(REPLAY, candidate=side(times(1.0, cpu_s=0.0))).has_cpu_times


def test_a_segment_knows_what_it_sent() -> None:
    """Indices of the workload, the last not included."""
    assert times(1.0, requests=3).sent == (7, 10)


def test_what_voids_a_part_voids_the_replay() -> None:
    """Every reason is kept and says which server was asked; the noise counts too."""
    assert REPLAY.void == ("on the candidate: late",)
    other = replace(REPLAY, current=side(times(1.0), void=("slow",)), aa_void=("early",))
    assert other.void == (
        "on the current: slow",
        "on the candidate: late",
        "on the current, against itself: early",
    )


def test_a_replay_is_read_back_as_it_was() -> None:
    """From its artifact, apart from what is no part of it."""
    body = {
        "sides": [REPLAY.current, REPLAY.candidate],
        "aa_before": REPLAY.aa_before,
        "aa_after": REPLAY.aa_after,
        "aa_void": REPLAY.aa_void,
    }
    assert replay_from_json(parse(canonical(body)), cores=2, run=RUN) == REPLAY
