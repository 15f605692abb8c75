"""Leave one out: for each winner, what runs where one optimization is taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

import pytest

from headgate.objects import BatchingSpec, BatchInvariance, Build, CacheSpec
from headgate.optimize.chains import Chain
from headgate.optimize.comparisons import _leave_one_out, _LeftOut, _tuned
from headgate.optimize.pricing import NO_CACHE, ONE_AT_A_TIME, Offer, Priced
from headgate.optimize.stages import Plans
from headgate.planning import TRIED_BY_DEFAULT
from headgate.scheduling import InstancePlan

from .fakes import build, curve, priced

MANY, ONE = InstancePlan(1, 2), InstancePlan(2, 1)
BATCHING, CACHE = BatchingSpec(8, 256), CacheSpec("lru", 1 << 20)


def offer_of(made: Build) -> Offer:
    curves = (curve(1, 2), curve(2, 1))
    builds = {m.plan: replace(made, threads=m.plan.threads) for m in curves}
    return Offer(made.name, builds, curves, BatchInvariance.EXACT)


@dataclass
class FakePricer:
    """Notes what was asked for."""

    offers: dict[str, Offer]
    asked: list[tuple[Offer, str, dict[str, object]]] = field(default_factory=list)

    def price(self, offer: Offer, workload: str, *, name: str, **policies: object) -> Chain[Priced]:
        self.asked.append((offer, workload, policies))
        return iter(())  # type: ignore[return-value]  # nobody follows it


FP32 = ("fp32", "fp32_openvino")


def rows(
    winner: str, *, chosen: InstancePlan = MANY, made: Sequence[str] = (*FP32, *TRIED_BY_DEFAULT)
) -> tuple[list[_LeftOut], FakePricer]:
    """The rows for ``winner``, where ``made`` was measured beside it."""
    pricer = FakePricer({name: offer_of(build(name)) for name in (winner, *made)})
    offer = pricer.offers[winner]
    at = next(c for c in offer.curves if c.plan == chosen)
    plans = SimpleNamespace(pricer=pricer, offer=offer, chosen=priced(winner, at, CACHE, BATCHING))
    return _leave_one_out(cast("Plans", plans), cores=2), pricer


ALWAYS = [
    ("batching", "one at a time"),
    ("caching", "no cache"),
    ("hardware-aware scheduling", "one instance of 2 threads"),
]


@pytest.mark.parametrize(
    ("winner", "expected"),
    [
        ("bf16", [("quantization", "fp32_openvino")]),
        ("int8_dynamic", [("quantization", "fp32")]),
        ("int8_static", [("quantization", "fp32_openvino")]),
        ("student3", [("distillation", "fp32")]),
        ("student3_int8_static", [("quantization", "student3"), ("distillation", "int8_static")]),
        ("fp32", []),
    ],
)
def test_each_winner_is_held_against_itself_without_one_optimization(
    winner: str, expected: list[tuple[str, str]]
) -> None:
    """The plainer build on the same engine; whatever else there is stays."""
    found, _ = rows(winner)
    assert [(w.optimization, w.instead) for w in found] == [*ALWAYS[:2], *expected, ALWAYS[2]]


def test_every_candidate_that_can_win_has_its_rows() -> None:
    """A new candidate must say what it is without its optimization."""
    for winner in TRIED_BY_DEFAULT:
        assert {"quantization", "distillation"} & {w.optimization for w in rows(winner)[0]}


def test_without_openvino_int8_is_held_against_onnx_runtime() -> None:
    """An engine that is not there cannot be what an expert would have run."""
    found, _ = rows("int8_static", made=["fp32"])
    assert ("quantization", "fp32") in [(w.optimization, w.instead) for w in found]


def test_a_plainer_build_that_was_not_made_has_no_row() -> None:
    """student3_int8_static alone among the candidates: neither half was measured."""
    found, _ = rows("student3_int8_static", made=FP32)
    assert [(w.optimization, w.instead) for w in found] == ALWAYS


def test_one_thing_is_changed_and_the_rest_stays() -> None:
    """Batching, cache and instance plan are the winner's but for the one that is left out."""
    _, pricer = rows("int8_dynamic")
    policies = [(offer.curves[0].plan, p["batching"], p["caches"]) for offer, _, p in pricer.asked]
    assert policies == [
        (MANY, ONE_AT_A_TIME, (CACHE,)),
        (MANY, (BATCHING,), NO_CACHE),
        (MANY, (BATCHING,), (CACHE,)),
        (ONE, (BATCHING,), (CACHE,)),
    ]
    assert {workload for _, workload, _ in pricer.asked} == {"workload"}
    assert {p["waits"] for _, _, p in pricer.asked} == {()}
    assert all(len(offer.curves) == len(offer.builds) == 1 for offer, _, _ in pricer.asked)


def test_where_one_instance_was_chosen_the_row_says_so() -> None:
    """Nothing is gained by scheduling that chose what everybody has."""
    found, _ = rows("int8_dynamic", chosen=ONE)
    assert found[-1].instead == "one instance of 2 threads, which is what was chosen"


def test_the_tuned_baseline_is_on_every_engine() -> None:
    """fp32 on each engine that can run it, batched; the cheapest of them is what we beat."""
    pricer = FakePricer({name: offer_of(build(name)) for name in (*FP32, "int8_static")})
    assert len(_tuned(cast("Plans", SimpleNamespace(pricer=pricer)), "unique")) == 2
    assert [(offer.name, workload) for offer, workload, _ in pricer.asked] == [
        ("fp32", "unique"),
        ("fp32_openvino", "unique"),
    ]
