"""Whoever reads what a cache saves is told whose repeats it lives on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.ledger import Store
from headgate.objects import BatchingSpec, Build, CacheSpec
from headgate.optimize.comparisons import Comparisons
from headgate.optimize.job import Job
from headgate.optimize.load import Side
from headgate.optimize.pricing import Priced
from headgate.optimize.repeats import Repeats, repeats_of, without_cache
from headgate.optimize.result import Findings, _Show
from tests.models import tiny_embedder, tiny_tokenizer

from .fakes import RUN, build, curve, priced

TWINS = ("How do I", "how do i", "HOW DO I", "why")
"""The first three are one question to a model that knows no capitals."""


@pytest.fixture
def uncased(store: Store, tmp_path: Path) -> Build:
    """An encoder whose tokenizer knows no capitals."""
    model = store.put_file(tiny_embedder(tmp_path / "model.onnx"))
    words = store.put_file(tiny_tokenizer(tmp_path / "tokenizer.json"))
    return build(files={"model.onnx": model}, tokenizer=words, task="embed", max_tokens=32)


def repeats(
    store: Store,
    served: Build,
    items: Sequence[str] = ("why", "how", "why", "who"),
    *,
    log: str | None = "access.jsonl",
    preprocess: str | None = None,
    before: tuple[int, int] = (0, 0),
    sent: Sequence[tuple[int, int]] = ((0, 4),),
    hits: float = 0.5,
    cached: bool = True,
) -> Repeats | None:
    """Of a workload of ``items``, over an evaluation split of three texts, of which the server had
    answered ``before`` when it was ``sent`` these."""
    config = SimpleNamespace(
        workload=SimpleNamespace(log=log), preprocess=preprocess, root=store.root.parent
    )
    inputs = SimpleNamespace(
        workload=SimpleNamespace(items=items), evaluate=SimpleNamespace(queries=("a", "b", "c"))
    )
    job = SimpleNamespace(store=store, config=config, inputs=inputs)
    side = SimpleNamespace(
        before=(before,),
        segments=[SimpleNamespace(sent=ends) for ends in sent],
        requests=sum(last - first for first, last in sent),
        hit_share=hits,
    )
    return repeats_of(cast("Job", job), served, cast("Side", side), cached=cached)


def test_without_a_log_the_repeats_are_said_to_be_assumed(store: Store, uncased: Build) -> None:
    """With the draw, its share, the hits, what is left without repeats, and what to give."""
    found = repeats(store, uncased, log=None, before=(0, 4), hits=1.0)
    assert found is not None
    assert found.assumed
    said = found.describe(2.4, 1.0)
    assert "assumed, not your callers'" in said
    assert "4 requests were drawn from the 3 inputs of evaluate" in said
    assert "25.0 % of them ask what an earlier one has asked" in said
    assert (
        "The cache answered 100.0 % of the load test. 75.0 % of its requests ask what the" in said
    )
    assert "Where nothing repeats, it is 2.4x cheaper than naive and 1.0x than tuned" in said
    assert "`workload: {log: access.jsonl}`" in said


def test_requests_repeat_where_the_winners_server_takes_them_for_equal(
    store: Store, uncased: Build, tmp_path: Path
) -> None:
    """What its tokenizer or the endpoint's own step makes one, is one: such hits are the log's own,
    however many they are, and need no excuse."""
    (tmp_path / "own.py").write_text("def first(x):\n    return x[:1]\n", encoding="utf-8")
    drawn = repeats(store, uncased, TWINS, log=None)
    cut = repeats(store, uncased, ("which", "why", "how", "who"), preprocess="own:first")
    logged = repeats(store, uncased, TWINS, hits=0.66)
    assert drawn is not None
    assert "50.0 % of them ask what an earlier one has asked" in drawn.describe(2.0, 1.0)
    assert "only before it" not in drawn.describe(2.0, 1.0)
    assert cut is not None
    assert cut.share == 0.5
    assert logged is not None
    assert logged.in_log == ""


@pytest.mark.parametrize(
    ("before", "sent", "warm"),
    [
        ((0, 2), [(2, 4)], 0.0),  # all that repeats in what was played does so in it
        ((0, 2), [(4, 6)], 0.0),
        ((0, 6), [(0, 3), (3, 6)], 4 / 6),
        ((0, 14), [(2, 6)], 0.75),  # it began anew twice
        ((4, 5), [(0, 6)], 1 / 6),
        ((0, 6), [], 0.0),
    ],
)
def test_what_warmed_the_cache_is_what_was_sent_before_and_not_yet_played(
    store: Store, uncased: Build, before: tuple[int, int], sent: list[tuple[int, int]], warm: float
) -> None:
    """By what is on record of both, whatever the hits are: those of the part that was played may
    be more, or fewer, than the whole log's."""
    log = ("a", "a", "b", "B", "c", "d")
    for hits in (0.0, 1.0):
        found = repeats(store, uncased, log, before=before, sent=sent, hits=hits)
        assert found is not None
        assert found.warm == pytest.approx(warm)
        assert bool(found.in_log) == (warm > 0)


def test_a_log_that_was_partly_sent_before_says_what_that_makes_too_good(
    store: Store, uncased: Build
) -> None:
    """A short log is asked before the load test that measures it."""
    found = repeats(store, uncased, before=(0, 4), hits=1.0)
    assert found is not None
    assert found.in_log == (
        "The cache answered 100.0 % of the load test. 75.0 % of its requests ask what the server "
        "had been sent only before it, to find how much that can take: as far as these were still "
        "cached, what was measured with the cache is too good. A longer log shows less of that."
    )


def test_without_a_cache_nothing_rests_on_repeats(store: Store, uncased: Build) -> None:
    """And nothing is said of them."""
    assert repeats(store, uncased, log=None, cached=False) is None


def test_what_is_left_without_repeats_is_priced_without_a_cache() -> None:
    """Against the cheapest of what an expert would run."""

    def cost(seconds: float) -> SimpleNamespace:
        return SimpleNamespace(attributed_s=seconds)

    compared = SimpleNamespace(
        naive_unique=cost(6.0), tuned_unique=(cost(4.0), cost(3.0)), winner_unique=cost(2.0)
    )
    assert without_cache(cast("Comparisons", compared)) == (3.0, 1.5)


@pytest.mark.parametrize(
    ("log", "cached", "labels", "hits", "caching"),
    [
        (
            None,
            True,
            {"no repeats, cache off", "assumed repeats, cached", "assumed repeats, replay"},
            "hits, assumed",
            "no cache; the repeats are assumed",
        ),
        (
            None,
            False,
            {"no repeats, cache off", "the workload, no cache", "the replay, measured"},
            "hits",
            "no cache",
        ),
        (
            "access.jsonl",
            True,
            {"no repeats, cache off", "the workload, cache on", "the replay, measured"},
            "hits",
            "no cache",
        ),
    ],
)
def test_every_figure_that_rests_on_them_says_so(
    log: str | None, cached: bool, labels: set[str], hits: str, caching: str
) -> None:
    """Rows of savings, the share of hits, and what caching brings; with a log none of them, and
    without a cache none either: there the rows say that there is none. For machines they are
    called the same, and say it apart."""
    price = priced("int8", curve(), CacheSpec("lru", cached << 20), BatchingSpec(8))
    side = SimpleNamespace(cpu_s_per_request=1e-3, quantile_s=lambda q: 0.01, hit_share=0.5)
    outcome = replace(price.outcome, hit_ratio=0.5)
    replayed = SimpleNamespace(outcome=outcome, cpu_machine_s=1e-3)
    compared = SimpleNamespace(
        naive_unique=price, tuned_unique=(price,), winner_unique=price, naive_workload=price,
        winner_workload=price, candidate_replayed=replayed, current_replayed=replayed,
        without=[
            SimpleNamespace(optimization=name, priced=cast("Priced", price), instead=instead)
            for name, instead in (("batching", "one at a time"), ("caching", "no cache"))
        ],
    )  # fmt: skip
    replay = SimpleNamespace(current=side, candidate=side, run=RUN, cores=2, has_cpu_times=True)
    findings = cast(
        "Findings",
        SimpleNamespace(
            winner=SimpleNamespace(name="int8"),
            plans=SimpleNamespace(chosen=price),
            comparisons=compared,
            certificate=SimpleNamespace(replay=replay, against="baseline"),
        ),
    )
    prices = SimpleNamespace(device_second=0.0)
    show = _Show(cast("Job", SimpleNamespace(config=SimpleNamespace(prices=prices))))
    rests = log is None and cached
    found = Repeats(4, 0.25, 3 if log is None else None, 0.5, 0.0) if cached else None
    savings, predictions = show.savings(findings, found), show.predictions(findings, found)
    assert {s.shown for s in savings} == labels
    shown = [p.shown for p in predictions]
    assert [q for q in shown if q.startswith("hits")] == [hits] * 2
    for_machines = {(s.workload, s.assumed) for s in savings}
    assert for_machines == {
        ("no repeats, cache off", False),
        ("the workload, cache on", rests),
        ("the replay, measured", rests),
    }
    assert {s.cached for s in savings} == {cached}
    assert {(p.quantity, p.assumed) for p in predictions if p.assumed or p.quantity == "hits"} == {
        ("hits", rests)
    }
    details = {s.optimization: s.detail for s in show.shares(findings.comparisons, found)}
    assert details == {"batching": "one at a time", "caching": caching}
