"""The public helpers for tests."""

from __future__ import annotations

import numpy as np
import pytest

from headgate.errors import EngineError, RequestError, TooLong
from headgate.testing import (
    FakeCodec,
    FakeEngine,
    ManualClock,
    lognormal_lengths,
    make_requests,
    poisson_requests,
)


def test_the_clock_moves_only_when_told_and_never_back() -> None:
    """Deterministic time."""
    clock = ManualClock(5.0)
    assert clock.now_s() == clock.now_s() == 5.0
    assert clock.advance(0.25) == 5.25
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1.0)


def test_answers_do_not_depend_on_the_batch() -> None:
    """Padding is not counted, so alone and together are the same."""
    codec, engine = FakeCodec(), FakeEngine()
    together = engine.run(codec.collate(codec.encode(["abc", "z"])))
    alone = [engine.run(codec.collate(codec.encode([t])))[0] for t in ("abc", "z")]
    assert np.array_equal(together, np.stack(alone))
    assert engine.shapes == [(2, 3), (1, 3), (1, 1)]


def test_planted_faults_happen() -> None:
    """Poison fails its batch; fail_next fails what comes; closed fails all."""
    codec, engine = FakeCodec(), FakeEngine(poison=13)
    with pytest.raises(EngineError, match="holds 13"):
        engine.run(codec.collate(codec.encode([[1, 2], [13]])))
    engine.fail_next = 1
    tensors = codec.collate(codec.encode([[1]]))
    with pytest.raises(EngineError, match="planted"):
        engine.run(tensors)
    assert engine.run(tensors).tolist() == [[1.0, 1.0]]
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(tensors)


def test_the_codec_refuses_what_a_real_one_would() -> None:
    """Too long, of the wrong type, empty: the item is named."""
    codec = FakeCodec(max_tokens=3)
    with pytest.raises(TooLong) as error:
        codec.encode(["ok", "long!"])
    assert error.value.where == "input[1]"
    assert codec.encode(["long!"], truncate=True)[0].length == 3
    for bad in (3.5, ""):
        with pytest.raises(RequestError):
            codec.encode([bad])


def test_requests_are_what_was_asked_for() -> None:
    """Equal items have equal keys; times, lengths and ids in order."""
    requests = make_requests([0.0, 1.0, 2.0], tokens=[3, 4, 5], items=[9, 8, 9], tenant="t")
    assert [r.id for r in requests] == [0, 1, 2]
    assert requests[0].key == requests[2].key != requests[1].key
    assert [r.tokens for r in requests] == [3, 4, 5]
    assert len({r.key for r in make_requests([0.0] * 5)}) == 5


def test_generated_traffic_has_its_rate_and_its_bounds() -> None:
    """From a seed: the mean rate within 5 %, lengths within 1 and the most."""
    rng = np.random.default_rng(0)
    requests = poisson_requests(5000, 50.0, rng)
    assert 5000 / requests[-1].arrived_at_s == pytest.approx(50.0, rel=0.05)
    lengths = lognormal_lengths(5000, rng, median=20.0, sigma=1.0, most=100)
    assert lengths.min() >= 1
    assert lengths.max() == 100
    assert np.median(lengths) == pytest.approx(20.0, rel=0.1)
