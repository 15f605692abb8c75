"""Whoever reads what a cache saves is told whose repeats it lives on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.objects import BatchingSpec, CacheSpec
from headgate.optimize.comparisons import Comparisons
from headgate.optimize.job import Job
from headgate.optimize.load import Side
from headgate.optimize.pricing import Priced
from headgate.optimize.repeats import Repeats, repeats_of, without_cache
from headgate.optimize.result import Findings, _Show

from .fakes import RUN, curve, priced


def asked(*, log: str | None, hits: float = 0.5, cached: bool = True) -> Repeats | None:
    """Four requests of which one repeats, over an evaluation split of three texts."""
    job = SimpleNamespace(
        config=SimpleNamespace(workload=SimpleNamespace(log=log)),
        inputs=SimpleNamespace(
            workload=SimpleNamespace(items=("a", "b", "a", "c")),
            evaluate=SimpleNamespace(queries=("a", "b", "c")),
        ),
    )
    side = SimpleNamespace(hit_share=hits)
    return repeats_of(cast("Job", job), cast("Side", side), cached=cached)


def test_without_a_log_the_repeats_are_said_to_be_assumed() -> None:
    """With the draw, its share, the hits, what is left without repeats, and what to give."""
    found = asked(log=None, hits=1.0)
    assert found is not None
    assert found.assumed
    said = found.describe(2.4, 1.0)
    assert "assumed, not your callers'" in said
    assert "4 requests were drawn from the 3 inputs of evaluate" in said
    assert "25.0 % of them ask what an earlier one has asked" in said
    assert "The cache answered 100.0 % of the load test, since some had been sent" in said
    assert "Where nothing repeats, it is 2.4x cheaper than naive and 1.0x than tuned" in said
    assert "`workload: {log: access.jsonl}`" in said


def test_hits_that_are_the_workloads_own_need_no_excuse() -> None:
    """Neither of a draw nor of a log."""
    drawn, logged = asked(log=None, hits=0.25), asked(log="access.jsonl", hits=0.25)
    assert drawn is not None
    assert "since some had been sent" not in drawn.describe(2.0, 1.0)
    assert logged is not None
    assert not logged.assumed
    assert logged.in_log == ""


def test_a_log_that_was_partly_sent_before_says_that_the_hits_are_too_many() -> None:
    """A short log is asked before the load test that measures it."""
    found = asked(log="access.jsonl", hits=1.0)
    assert found is not None
    assert "answered 100.0 % of the requests, and only 25.0 % of the log repeat" in found.in_log


def test_without_a_cache_nothing_rests_on_repeats() -> None:
    """And nothing is said of them."""
    assert asked(log=None, cached=False) is None


def test_what_is_left_without_repeats_is_priced_without_a_cache() -> None:
    """Against the cheapest of what an expert would run."""

    def cost(seconds: float) -> SimpleNamespace:
        return SimpleNamespace(attributed_s=seconds)

    compared = SimpleNamespace(
        naive_unique=cost(6.0), tuned_unique=(cost(4.0), cost(3.0)), winner_unique=cost(2.0)
    )
    assert without_cache(cast("Comparisons", compared)) == (3.0, 1.5)


@pytest.mark.parametrize(
    ("log", "labels", "hits", "caching"),
    [
        (
            None,
            {"no repeats, cache off", "assumed repeats, cached", "assumed repeats, replay"},
            "hits, assumed",
            "no cache; the repeats are assumed",
        ),
        (
            "access.jsonl",
            {"no repeats, cache off", "the workload, cache on", "the replay, measured"},
            "hits",
            "no cache",
        ),
    ],
)
def test_every_figure_that_rests_on_them_says_so(
    log: str | None, labels: set[str], hits: str, caching: str
) -> None:
    """Rows of savings, the share of hits, and what caching brings; with a log none of them. For
    machines they are called the same, and say it apart."""
    price = priced("int8", curve(), CacheSpec("lru", 1 << 20), BatchingSpec(8))
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
    replay = SimpleNamespace(current=side, candidate=side, run=RUN, cores=2)
    findings = cast(
        "Findings",
        SimpleNamespace(
            winner=SimpleNamespace(name="int8"),
            comparisons=compared,
            certificate=SimpleNamespace(replay=replay, against="baseline"),
        ),
    )
    prices = SimpleNamespace(device_second=0.0)
    show = _Show(cast("Job", SimpleNamespace(config=SimpleNamespace(prices=prices))))
    repeats = asked(log=log)
    savings, predictions = show.savings(findings, repeats), show.predictions(findings, repeats)
    assert {s.shown for s in savings} == labels
    shown = [p.shown for p in predictions]
    assert [q for q in shown if q.startswith("hits")] == [hits] * 2
    for_machines = {(s.workload, s.assumed) for s in savings}
    assert for_machines == {
        ("no repeats, cache off", False),
        ("the workload, cache on", log is None),
        ("the replay, measured", log is None),
    }
    assert {(p.quantity, p.assumed) for p in predictions if p.assumed or p.quantity == "hits"} == {
        ("hits", log is None)
    }
    details = {s.optimization: s.detail for s in show.shares(findings.comparisons, repeats)}
    assert details == {"batching": "one at a time", "caching": caching}
