"""What is measured of candidates, how much of it is spared, and which of them wins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from types import SimpleNamespace

import pytest

from headgate.errors import EngineError
from headgate.ledger import Store
from headgate.objects import Action, BatchInvariance, Bound, Build, Contract, Verdict
from headgate.optimize import searching
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.forecasts import Figure, Forecast
from headgate.optimize.making import Maker
from headgate.optimize.measure import Invariance
from headgate.optimize.mending import Mended
from headgate.optimize.power import Power
from headgate.optimize.pricing import CACHES
from headgate.optimize.recorder import Call, Output, Recorder, transformation
from headgate.optimize.searching import Searched, Trials
from headgate.optimize.stages import Tried
from headgate.theory.intervals import Range

from .conftest import NewRecorder
from .fakes import RUN, build, contract, decision, forecast, invariance, quality, speed, trials_of

INDEPENDENT = contract("batch_invariance", Bound.ONE_OF, 0.0, allowed=("exact",))
RECALL = contract("recall@10", Bound.AT_LEAST, 0.9)
NEVER = "latency_p95: 0.2 s even at the lowest rate tried"


@dataclass
class Lab:
    """Measures what it is told to find, and notes what it was asked for."""

    batched_s: Mapping[str, float]
    """Build -> seconds of a block; the baseline's is 1."""
    machine_s: Mapping[str, float] = field(default_factory=dict)
    """Build -> what a request costs on the workload; what is not in it holds its p95 at no rate."""
    actions: Mapping[str, Action] = field(default_factory=dict)
    classes: Mapping[str, BatchInvariance] = field(default_factory=dict)
    naive_s: float = 1.0
    """What a request costs the baseline as it is served."""
    escalated: tuple[float, float] | EngineError = (0.5, 0.0)
    """Of the workload the share, and how much more that is than of the items that are timed."""
    asked: list[str] = field(default_factory=list)
    in_turn: list[list[str]] = field(default_factory=list)
    """Builds whose curves were measured in turn."""
    feasible_by: set[int] = field(default_factory=set)
    """Which of these measurements priced what holds its p95."""
    cached: float = 1.0
    """What a cache makes of a request's cost."""

    def install(self, patch: pytest.MonkeyPatch) -> None:
        def noted(kind: str, result: Callable[[str], object]) -> Callable[..., object]:
            def measured(*args: object, **_: object) -> object:
                name = next(a.name for a in args if isinstance(a, Build))
                self.asked.append(f"{kind} {name}")
                return result(name)

            return measured

        def made(name: str, maker: Maker) -> Build:
            self.asked.append(f"make {name}")
            engine = "cascade" if name.endswith("_cascade") else "onnxruntime"
            return build(name, engine=engine)

        def timed(
            recorder: Recorder,
            baseline: Build,
            others: Sequence[Build],
            *_: object,
            n_blocks: int,
            **__: object,
        ) -> Mapping[str, SpeedBlocks]:
            names = [b.name for b in (baseline, *others)]
            self.asked.append(f"{n_blocks} blocks {' '.join(names)}")
            batched_s = {n: {"fp32": 1.0, **self.batched_s}[n] for n in names}
            return dict.fromkeys(names, speed(batched_s, blocks=n_blocks))

        def of_class(name: str) -> Invariance:
            return invariance(self.classes.get(name, BatchInvariance.EXACT))

        def judged(*_: object, detail: str, **__: object) -> object:
            self.asked.append(f"judge {detail}")
            action = self.actions.get(detail, Action.ACCEPT)
            results = [
                SimpleNamespace(contract=RECALL, verdict=Verdict.FAIL, because="it is worse")
            ]
            made = decision(action)
            return (made if made.accepted else replace(made, results=tuple(results))), RUN  # type: ignore[arg-type]  # a result that is complete enough

        def powered(job: object, rule: object, baseline: object, tried: Sequence[Tried]) -> object:
            if all(t.quality is None for t in tried):
                return None
            self.asked.append("power")
            return Power((), "sha256:power")

        patch.setattr(searching, "admit", lambda *_, **__: None)
        patch.setattr(searching, "make_build", made)
        patch.setattr(searching, "measure_beside", timed)
        patch.setattr(searching, "measure_invariance", noted("class", of_class))
        scored = noted("quality", lambda _: (quality({"recall@10": (1.0,) * 400}), RUN))
        patch.setattr(searching, "measure_quality", scored)
        patch.setattr(searching, "judge_candidate", judged)
        patch.setattr(searching, "plan_power", powered)
        patch.setattr(
            searching, "gather", lambda *_, **__: SimpleNamespace(samples={}, measurements={})
        )
        patch.setattr(searching, "open_pricer", self.pricer)
        patch.setattr(searching, "naive_price", self.naive)
        patch.setattr(searching, "escalation", self.escalation)
        patch.setattr(searching, "speed_claim", lambda job, name, *_: f"claim of {name}")

    def escalation(self, *_: object) -> tuple[float, float]:
        if isinstance(self.escalated, EngineError):
            raise self.escalated
        return self.escalated

    def naive(self, *_: object, **__: object) -> object:
        self.asked.append("price naive")
        return SimpleNamespace(provisioned_s=self.naive_s, attributed_s=self.naive_s)

    def pricer(self, job: object, baseline: object, contenders: list[Tried], *_: object) -> object:
        measurement = len(self.in_turn)

        def price(offer: SimpleNamespace, *_: object, caches: object, **__: object) -> object:
            self.asked.append(f"price {offer.name}")
            machine_s = self.machine_s.get(offer.name)
            if machine_s is not None:
                self.feasible_by.add(measurement)
            choice = SimpleNamespace(binding=NEVER if machine_s is None else None)
            if machine_s is not None and caches == CACHES:
                machine_s *= self.cached
            return SimpleNamespace(
                name=offer.name, choice=choice, provisioned_s=machine_s, attributed_s=machine_s
            )

        self.in_turn.append([t.name for t in contenders])
        offers = {t.name: SimpleNamespace(name=t.name) for t in contenders}
        return SimpleNamespace(offers=offers, price=price, all=list)


@dataclass
class Start:
    """Begins a search as a job does."""

    recorder: Recorder
    patch: pytest.MonkeyPatch

    def __call__(
        self,
        lab: Lab,
        *contracts: Contract,
        forecasts: Sequence[Forecast] = (),
        budget_s: float | None = None,
        previewed_s: float = 0.0,
        piloted: SpeedBlocks | None = None,
        own: Tried | None = None,
    ) -> Searched:
        lab.install(self.patch)
        named = {f.name: f for f in (forecasts or map(forecast, lab.batched_s))}
        candidates = {name: Tried(name, f) for name, f in named.items()}
        if own is not None:
            candidates = {own.name: own, **candidates}
        trials = trials_of(
            self.recorder,
            candidates,
            *contracts,
            budget_s=budget_s,
            previewed_s=previewed_s,
            piloted=dict.fromkeys(piloted.names, piloted) if piloted is not None else None,
        )
        trials.follow()
        return trials.searched()


@pytest.fixture
def search(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Start:
    return Start(recorder, monkeypatch)


def reasons(found: Searched) -> dict[str, str]:
    return {t.name: t.skipped for t in found.tried if t.skipped}


@pytest.mark.parametrize(("batched_s", "left_out"), [(0.98, True), (1.2, True), (0.9, False)])
def test_a_cascade_that_costs_what_its_teacher_does_is_no_candidate(
    search: Start, batched_s: float, left_out: bool
) -> None:
    """It has no reason beside its speed, as a build of its own has; nothing more is paid for it."""
    lab = Lab({"linear_cascade": batched_s, "mlp": batched_s}, {"linear_cascade": 1.0, "mlp": 1.0})
    found = search(lab)
    assert ("linear_cascade" in reasons(found)) is left_out
    assert ("quality linear_cascade" in lab.asked) is not left_out
    assert "quality mlp" in lab.asked
    if left_out:
        said = reasons(found)["linear_cascade"]
        assert said.startswith(
            f"not worth it: with its student asked first the model is {1 / batched_s:.2f}x"
        )


@pytest.mark.parametrize(
    ("batched_s", "more", "left_out"),
    [(1.2, -0.4, False), (1.2, -0.1, True), (0.9, 0.0, False), (0.9, 0.3, True)],
)
def test_a_cascade_is_left_out_by_what_the_workload_escalates_and_not_its_few_timed_items(
    search: Start, batched_s: float, more: float, left_out: bool
) -> None:
    """A lone item takes the baseline as long as one in batches here, a twentieth of a block."""
    lab = Lab({"linear_cascade": batched_s}, {"linear_cascade": 1.0}, escalated=(0.5, more))
    said = reasons(search(lab)).get("linear_cascade", "")
    assert (said != "") is left_out
    assert not left_out or said.endswith("on a workload of which 50.0% escalate")


def test_a_cascade_of_which_nobody_can_say_who_escalates_does_not_cost_the_others(
    search: Start,
) -> None:
    lab = Lab(
        {"linear_cascade": 0.5, "mlp": 0.5}, {"mlp": 1.0}, escalated=EngineError("it ran out")
    )
    found = search(lab)
    assert reasons(found) == {"linear_cascade": "it ran out"}
    assert found.winner is not None
    assert found.winner.name == "mlp"


def test_what_is_judged_keeps_its_speed_claim(search: Start) -> None:
    """The report comes after a promotion, and must need no engine then."""
    found = search(Lab({"bf16": 0.5}, {"bf16": 1.0}))
    assert [t.claim for t in found.tried] == ["claim of bf16"]


def test_of_two_that_are_close_the_one_that_costs_less_on_the_workload_wins(search: Start) -> None:
    """In blocks student3 was a twentieth faster; both are priced, each with a cache and without."""
    lab = Lab({"int8_static": 0.4, "student3": 0.38}, {"int8_static": 1e-3, "student3": 1.2e-3})
    found = search(lab)
    assert found.winner is not None
    assert found.winner.name == "int8_static"
    assert found.plans is not None
    assert found.plans.chosen.name == "int8_static"
    assert sorted(a for a in lab.asked if "price" in a) == [
        *["price int8_static"] * 2,
        *["price student3"] * 2,
    ]
    assert reasons(found) == {
        "student3": "planned for the workload it costs 1.20 times as much as int8_static"
    }


def test_what_a_cache_does_to_the_first_is_not_asked_of_the_second(search: Start) -> None:
    """It halves the bill of what was fastest in blocks; the other is priced with one only, by
    curves that were measured in turn with those of the first, and wins."""
    costs = {"int8_static": 1e-3, "student3": 1.2e-3}
    lab = Lab({"int8_static": 0.4, "student3": 0.38}, costs, cached=0.5)
    found = search(lab)
    prices = [a for a in lab.asked if "price" in a]
    assert prices == ["price student3", "price student3", "price int8_static"]
    assert lab.in_turn == [["int8_static", "student3"]]
    assert found.plans is not None
    assert (found.plans.chosen.name, found.plans.chosen.provisioned_s) == ("int8_static", 5e-4)
    assert reasons(found) == {
        "student3": "planned for the workload it costs 1.20 times as much as int8_static"
    }, "by the cheaper of its two plans"


def test_curves_of_what_cannot_win_are_measured_only_where_it_comes_back(search: Start) -> None:
    """The fastest holds its promise at no rate: only then is the other one measured at all."""
    lab = Lab({"int8_static": 0.3, "bf16": 0.9}, {"bf16": 1e-3})
    found = search(lab)
    assert lab.in_turn == [["int8_static"], ["bf16"]]
    assert found.winner is not None
    assert found.winner.name == "bf16"


def test_what_comes_back_is_measured_in_turn_with_what_it_is_compared_with(search: Start) -> None:
    """bf16 comes back once student3 is refused, and is close to int8_static, whose curves were
    measured already: with student3's, and not with those of bf16."""
    batched_s = {"student3": 0.5, "int8_static": 0.57, "bf16": 0.66}
    lab = Lab(batched_s, {"int8_static": 1e-3, "bf16": 0.98e-3})
    found = search(lab)
    assert lab.in_turn == [["student3", "int8_static"], ["int8_static", "bf16"]]
    assert lab.feasible_by == {1}
    assert found.winner is not None
    assert found.winner.name == "bf16"


def test_what_cannot_win_is_not_paid_for(search: Start) -> None:
    """A look at all three, side by side; then the cheaper half, which spares the third its price.
    What the data could tell is said before the first decision."""
    lab = Lab({"bf16": 0.9, "int8_static": 0.3, "student3": 0.35}, {"int8_static": 1e-3}, {})
    found = search(lab)
    assert lab.asked[:-4] == [
        *("make bf16", "class bf16"),
        *("make int8_static", "class int8_static"),
        *("make student3", "class student3"),
        "3 blocks fp32 bf16 int8_static student3",
        *("quality int8_static", "quality student3"),
        "9 blocks fp32 int8_static student3",
        *("power", "judge int8_static", "judge student3"),
    ]
    assert all("price" in a for a in lab.asked[-4:])
    assert reasons(found) == {
        "bf16": "predicted to cost 3.00 times as much as int8_static",
        "student3": NEVER,
    }
    assert found.winner is not None
    assert found.winner.name == "int8_static"
    bf16 = next(t for t in found.tried if t.name == "bf16")
    assert bf16.speed is not None, "what its pilot showed is shown"


AS_IT_IS = Tried("fp32", forecast("fp32"), build=build(), invariance=invariance())


def test_where_nothing_else_is_accepted_the_model_as_it_is_wins(search: Start) -> None:
    """Under the best policies with a cache and without; it is not made, scored or timed again, and
    counts as no candidate."""
    lab = Lab({"int8_dynamic": 0.3}, {"fp32": 1e-3}, {"int8_dynamic": Action.UNKNOWN})
    found = search(lab, own=AS_IT_IS)
    assert found.winner == AS_IT_IS
    assert found.as_it_is == AS_IT_IS
    assert [t.name for t in found.tried] == ["int8_dynamic"]
    assert lab.asked == [
        *("make int8_dynamic", "class int8_dynamic", "3 blocks fp32 int8_dynamic"),
        *("quality int8_dynamic", "9 blocks fp32 int8_dynamic", "power", "judge int8_dynamic"),
        *["price fp32"] * 2,
        "price naive",
    ]


def test_an_accepted_build_that_is_faster_spares_the_model_as_it_is_its_price(
    search: Start,
) -> None:
    """It costs nothing then, though it would have won by its price."""
    lab = Lab({"int8_static": 0.3}, {"int8_static": 1e-3, "fp32": 1e-6})
    found, alone = search(lab, own=AS_IT_IS), Lab(lab.batched_s, lab.machine_s)
    assert found.winner is not None
    assert found.winner.name == "int8_static"
    assert found.as_it_is is not None
    assert found.as_it_is.skipped == "predicted to cost 3.33 times as much as int8_static"
    search(alone)
    assert lab.asked == alone.asked


def test_what_is_slower_than_the_model_as_it_is_is_not_paid_for(search: Start) -> None:
    """Beyond doubt: under policies of its own the model may do what a slower build would."""
    lab = Lab({"bf16": 1.5}, {"fp32": 1e-3, "bf16": 1e-3})
    found = search(lab, own=AS_IT_IS)
    assert reasons(found) == {"bf16": "predicted to cost 1.50 times as much as fp32"}
    assert "quality bf16" not in lab.asked


def test_what_is_slower_comes_back_where_no_plan_of_the_model_as_it_is_holds_its_p95(
    search: Start,
) -> None:
    """Then nothing is known that would be better, and the gate says what is wrong with it."""
    found = search(Lab({"bf16": 1.5}, {}, {"bf16": Action.ROLLBACK}), own=AS_IT_IS)
    (bf16,) = found.tried
    assert bf16.decision is not None
    assert bf16.decision.action is Action.ROLLBACK
    assert found.winner is None


@pytest.mark.parametrize(("machine_s", "winner"), [(0.995e-3, "fp32"), (0.9e-3, "bf16")])
def test_between_the_model_as_it_is_and_one_hardly_faster_the_price_decides(
    search: Start, machine_s: float, winner: str
) -> None:
    """Within a percent the plainer one wins."""
    found = search(Lab({"bf16": 0.97}, {"fp32": 1e-3, "bf16": machine_s}), own=AS_IT_IS)
    assert found.winner is not None
    assert found.winner.name == winner


def test_the_model_as_it_is_is_not_priced_where_its_answers_break_a_promise(search: Start) -> None:
    """It says which, and the search ends without a winner as before."""
    why = "batch_invariance is dependent, none of exact"
    lab = Lab({"int8_dynamic": 0.3}, {"fp32": 1e-3}, {"int8_dynamic": Action.UNKNOWN})
    found = search(lab, own=replace(AS_IT_IS, skipped=why))
    assert found.winner is None
    assert found.as_it_is is not None
    assert found.as_it_is.skipped == why
    assert "price fp32" not in lab.asked


def test_where_nothing_can_be_made_the_baseline_is_timed_alone_and_the_model_as_it_is_priced(
    search: Start,
) -> None:
    """The limit of a plan is taken from how long the baseline takes."""
    lab = Lab({"int8_static": 0.3}, {"fp32": 1e-3})
    own = replace(AS_IT_IS, quality=quality({}))
    found = search(lab, forecasts=[forecast("int8_static", "no int8 here")], own=own)
    assert lab.asked == ["9 blocks fp32", "power", *["price fp32"] * 2, "price naive"]
    assert found.winner == own
    assert found.power.entry, "what the data can tell is said before it is certified"


def test_a_model_of_which_no_plan_holds_the_p95_promise_is_not_load_tested(search: Start) -> None:
    """What stays anyway needs no test to be refused; a candidate may still be quicker than its
    simulation."""
    alone = search(Lab({"int8_dynamic": 0.3}, {}, {"int8_dynamic": Action.UNKNOWN}), own=AS_IT_IS)
    assert alone.winner is None
    assert alone.as_it_is is not None
    assert alone.as_it_is.skipped == NEVER
    assert alone.found.binding is not None
    beside = search(Lab({"int8_dynamic": 0.3}, {}), own=AS_IT_IS)
    assert beside.winner is not None
    assert beside.winner.name == "int8_dynamic"


@pytest.mark.parametrize(("machine_s", "wins"), [(0.98, True), (0.995, False), (1.0, False)])
def test_policies_that_save_no_more_than_a_percent_win_nothing(
    search: Start, machine_s: float, wins: bool
) -> None:
    """It would be the baseline again; the search says so, and no load is sent for it."""
    lab = Lab({"int8_dynamic": 0.3}, {"fp32": machine_s}, {"int8_dynamic": Action.UNKNOWN})
    found = search(lab, own=AS_IT_IS)
    assert found.as_it_is is not None
    if wins:
        assert (found.winner, found.as_it_is.skipped) == (AS_IT_IS, "")
        return
    assert (found.winner, found.plans, found.found.best) == (None, None, None)
    said = f"costs {machine_s:.2f} times as much as the baseline as it is served"
    assert found.as_it_is.skipped == f"under the policies that were tried it {said}"
    entry = search.recorder.store.get(found.entry)
    assert entry.body["left_out"]["fp32"] == found.as_it_is.skipped


@pytest.mark.parametrize(
    ("machine_s", "winner", "left_out"),
    [
        ({"fp32": 1.0, "bf16": 1.05}, None, {"fp32": "1.00 times", "bf16": "1.05 times"}),
        ({"fp32": 1.0, "bf16": 1.2}, None, {"fp32": "1.00 times", "bf16": "1.20 times"}),
        ({"fp32": 1.0, "int8_static": 1.03}, None, {"int8_static": "1.03 times"}),
        ({"fp32": 0.995, "bf16": 0.986}, "bf16", {"fp32": "0.99 times"}),
        ({"fp32": 0.5, "bf16": 0.6}, "fp32", {"bf16": "1.20 times as much as fp32 under other"}),
        ({"fp32": 0.5, "bf16": 0.502}, "fp32", {"bf16": "it costs within a percent of fp32 under"}),
        ({"fp32": 0.6, "bf16": 0.5}, "bf16", {"fp32": "1.20 times as much as bf16"}),
        ({"fp32": 0.5}, "fp32", {"bf16": NEVER, "int8_static": NEVER}),
        ({"bf16": 1.2}, "bf16", {"fp32": NEVER}),
    ],
    ids=[
        *("hardly dearer", "far dearer", "one is refused", "the other gains", "another is dearer"),
        *("another costs as much", "it is dearer", "others are too slow", "it is too slow"),
    ],
)
def test_nothing_wins_that_costs_more_than_the_baseline_as_it_is_served(
    search: Start,
    machine_s: Mapping[str, float],
    winner: str | None,
    left_out: Mapping[str, str],
) -> None:
    """Neither the model as it is nor a candidate that is accepted and was priced beside it; what
    holds its p95 at no rate stands in nobody's way, and is not handed to the load test. Whatever
    was planned and does not win has a reason, and what wins has none."""
    found = search(Lab({"bf16": 0.97, "int8_static": 0.97}, machine_s), own=AS_IT_IS)
    assert (None if found.winner is None else found.winner.name) == winner
    assert (None if found.found.best is None else found.found.best.build) == winner
    assert (found.plans is None) == (winner is None)
    for name, said in left_out.items():
        assert said in found.found.left_out[name]
    assert winner not in found.found.left_out
    shown = {t.name: t.skipped for t in (*found.tried, found.as_it_is) if t is not None}
    assert {name: shown[name] for name in left_out} == {
        name: found.found.left_out[name] for name in left_out
    }


CHEAP = contract("device_s_per_1k", Bound.RATIO_AT_MOST, 0.7)


def test_the_model_as_it_is_is_no_winner_by_a_price_that_breaks_a_promise_about_cost(
    search: Start,
) -> None:
    """Policies save 3 %, and 30 were promised: no load is sent for it, and a candidate within a
    percent of its price is not displaced."""
    lab = Lab({"bf16": 0.97, "int8_dynamic": 0.3}, {"fp32": 0.97}, {"int8_dynamic": Action.UNKNOWN})
    found = search(lab, CHEAP, own=AS_IT_IS)
    assert found.winner is None
    assert found.as_it_is is not None
    assert found.as_it_is.skipped.startswith("device_s_per_1k ratio to current at most 0.7: ")
    beside = search(replace(lab, machine_s={"fp32": 0.97, "bf16": 0.965}), CHEAP, own=AS_IT_IS)
    assert beside.winner is not None
    assert beside.winner.name == "bf16"
    cheap = search(replace(lab, machine_s={"fp32": 0.6}), CHEAP, own=AS_IT_IS)
    assert cheap.winner == AS_IT_IS


def test_the_model_as_it_is_does_not_replace_a_release_of_another_build(
    search: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not load-tested against that, where nothing else is accepted any more."""
    lab = Lab({"bf16": 0.9}, {"fp32": 0.5, "bf16": 0.8}, {"bf16": Action.UNKNOWN})
    assert search(lab, own=AS_IT_IS).winner == AS_IT_IS
    monkeypatch.setattr(searching, "replaces_another", lambda *_: "another is current")
    found = search(lab, own=AS_IT_IS)
    assert found.winner is None
    assert found.as_it_is is not None
    assert found.as_it_is.skipped == "another is current"
    accepted = search(replace(lab, actions={}), own=AS_IT_IS)
    assert accepted.winner is not None
    assert accepted.winner.name == "bf16"


def test_a_job_whose_winner_is_current_by_now_is_told_the_same(
    search: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model as it is was priced and lost, what has become current since adds nothing."""
    lab = Lab({"bf16": 0.9}, {"fp32": 0.9, "bf16": 0.8})
    first = search(lab, own=AS_IT_IS)
    monkeypatch.setattr(searching, "replaces_another", lambda *_: "another is current")
    again = search(lab, own=AS_IT_IS)
    assert first.winner is not None
    assert first.winner.name == "bf16"
    assert "price fp32" in lab.asked
    assert again.entry == first.entry


def test_an_accepted_build_that_the_model_as_it_is_spares_its_price_says_so(search: Start) -> None:
    """It kept its promises and was never priced; where the model then gains nothing, nothing
    wins."""
    lab = Lab({"bf16": 1.2}, {"fp32": 1.0, "bf16": 0.9})
    found = search(lab, own=AS_IT_IS, piloted=speed({"fp32": 1.0, "bf16": 1.0}, blocks=3))
    assert found.winner is None
    bf16 = found.tried[0]
    assert bf16.accepted
    assert bf16.skipped == "predicted to cost 1.20 times as much as fp32"


def test_what_the_preview_timed_is_not_timed_again(search: Start) -> None:
    """Where it timed the very builds, which have the candidates' names."""
    seen = {"fp32": 1.0, "bf16": 0.9, "int8_static": 0.3, "int8_dynamic": 0.5}
    lab = Lab({"bf16": 0.9, "int8_static": 0.3}, {"int8_static": 1e-3})
    found = search(lab, piloted=speed(seen, blocks=4))
    assert [a for a in lab.asked if "blocks" in a] == ["9 blocks fp32 int8_static"]
    assert reasons(found) == {"bf16": "predicted to cost 3.00 times as much as int8_static"}
    small = {"fp32": 1.0, "bf16": 0.9, "int8_static, calibrated on 16": 0.3}
    again = Lab({"bf16": 0.9, "int8_static": 0.3}, {"int8_static": 1e-3})
    search(again, piloted=speed(small, blocks=4))
    assert "3 blocks fp32 int8_static" in again.asked


def test_what_the_preview_skips_is_not_even_made(search: Start) -> None:
    """Its reason is kept."""
    lab = Lab({"int8_dynamic": 0.1, "int8_static": 0.3}, {"int8_static": 1e-3})
    why = "batch_invariance forbids it"
    found = search(lab, forecasts=[forecast("int8_dynamic", why), forecast("int8_static")])
    assert not any("int8_dynamic" in a for a in lab.asked)
    assert reasons(found) == {"int8_dynamic": why}


def test_a_forecast_of_its_speed_is_where_a_candidate_begins(search: Start) -> None:
    """Its 90 % interval is one standard error either way; without one nearly nothing is known."""
    figure = Figure("speed", "times", Range(2.0, 1.0, 4.0))
    told = replace(forecast("bf16"), figures={"speedup": figure}, making_s=90.0, scoring_s=10.0)
    trials = trials_of(
        search.recorder, {f.name: Tried(f.name, f) for f in (told, forecast("int8_static"))}
    )
    bf16, static = trials.search.entrants.values()
    assert (bf16.cost.log, bf16.cost.se) == pytest.approx((-math.log(2), math.log(2)))
    assert (bf16.pilot_s, bf16.full_s) == (90.0, 10.0 + 2 * RUN.seconds)
    assert static.full_s == 3 * RUN.seconds
    assert static.cost.se > 1.0


def test_a_class_that_a_contract_refuses_is_judged_before_quality_is_paid_for(
    search: Start,
) -> None:
    """The gate decides it on the class alone, and says so in the ledger."""
    lab = Lab(
        {"int8_static": 0.3, "bf16": 0.9},
        {"bf16": 1e-3},
        {"int8_static": Action.ROLLBACK},
        {"int8_static": BatchInvariance.DEPENDENT},
    )
    found = search(lab, INDEPENDENT)
    assert "quality int8_static" not in lab.asked
    refused = next(t for t in found.tried if t.name == "int8_static")
    assert refused.decision is not None
    assert refused.decision.action is Action.ROLLBACK
    assert found.winner is not None
    assert found.winner.name == "bf16"


BROKEN = {"int8_static": Action.ROLLBACK}
"""By a promise of quality."""


def mending(monkeypatch: pytest.MonkeyPatch, found: Mended) -> None:
    monkeypatch.setattr(searching, "mend", lambda *_: found)


def test_a_static_int8_that_breaks_a_promise_of_quality_is_mended(
    search: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes of it is one candidate more, with the layers that were left alone."""
    mending(monkeypatch, Mended(build("int8_mixed"), True, "the best of 3 trials"))
    lab = Lab({"int8_static": 0.3, "int8_mixed": 0.35}, {"int8_mixed": 1e-3}, BROKEN)
    found = search(lab, forecasts=[forecast("int8_static")])
    assert [t.name for t in found.tried] == ["int8_static", "int8_mixed"]
    assert lab.asked.count("make int8_static") == 1, "it is one search, and goes on"
    assert found.winner is not None
    assert found.winner.name == "int8_mixed"
    assert found.winner.forecast.expected == "the best of 3 trials"


def test_one_that_cannot_be_mended_says_why(search: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    mending(monkeypatch, Mended(None, True, "not mended: why"))
    found = search(Lab({"int8_static": 0.3}, {}, BROKEN))
    assert reasons(found) == {"int8_mixed": "not mended: why"}
    assert found.winner is None


@pytest.mark.parametrize("name", ["int8_static", "bf16"])
def test_what_keeps_its_promises_or_is_no_static_int8_is_not_mended(
    search: Start, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mending(monkeypatch, Mended(build("int8_mixed"), True, ""))
    actions = {} if name == "int8_static" else {"bf16": Action.ROLLBACK}
    found = search(Lab({name: 0.3}, {name: 1e-3}, actions))
    assert [t.name for t in found.tried] == [name]


def test_where_nothing_is_accepted_the_promise_in_the_way_is_named(search: Start) -> None:
    """There is no winner, and nothing is priced."""
    lab = Lab(
        {"bf16": 0.5, "student3": 0.3},
        {},
        dict.fromkeys(("bf16", "student3"), Action.ROLLBACK),
    )
    found = search(lab)
    assert (found.winner, found.plans) == (None, None)
    assert found.found.binding == "recall@10 at least 0.9"
    assert found.found.stopped == "nothing keeps every promise"
    assert not any("price" in a for a in lab.asked)


def test_where_no_plan_holds_the_promise_the_cheapest_goes_to_the_load_test(search: Start) -> None:
    """Virtual time refuses nobody; what stands in the way is said, and the rest is tried too."""
    lab = Lab({"bf16": 0.9, "int8_static": 0.3})
    found = search(lab)
    assert found.winner is not None
    assert found.winner.name == "int8_static"
    assert found.found.best is None
    assert found.found.binding == "latency_p95"
    assert "price bf16" in lab.asked


def test_without_candidates_only_the_baseline_is_timed(search: Start) -> None:
    """As for a server that is not ours: as many blocks as a decision needs."""
    lab = Lab({"int8_static": 0.3})
    found = search(lab, forecasts=[forecast("int8_static", "OpenVINO is not installed")])
    assert lab.asked == ["9 blocks fp32"]
    assert reasons(found) == {"int8_static": "OpenVINO is not installed"}
    assert found.winner is None


def test_a_budget_buys_what_is_quickest_to_find_out(search: Start) -> None:
    """A student that takes minutes is named as not tried, with what it would take."""
    student = replace(forecast("student3"), making_s=91.0)
    lab = Lab({"student3": 0.3, "bf16": 0.5}, {"bf16": 1e-3})
    found = search(lab, forecasts=[student, forecast("bf16")], budget_s=60.0)
    assert "make student3" not in lab.asked
    assert reasons(found)["student3"].startswith("not tried: that takes about 94 s")
    assert found.found.stopped == "what is left to try does not fit into the budget"
    assert found.winner is not None
    assert found.winner.name == "bf16"


def test_the_previews_are_paid_for_from_the_same_budget(search: Start, store: Store) -> None:
    """Of 60 s they took 50: nothing that takes 13 is begun, and the entry says what it went on."""
    lab = Lab({"bf16": 0.5}, {"bf16": 1e-3})
    found = search(lab, budget_s=60.0, previewed_s=50.0)
    assert lab.asked == ["9 blocks fp32"]
    assert reasons(found) == {
        "bf16": "not tried: that takes about 13 s, and of the budget 10 s are left for it"
    }
    body = store.get(found.entry).body
    assert (body["budget_s"], body["spent_s"], body["previewed_s"]) == (60.0, 50.0, 50.0)


def test_a_repair_that_does_not_fit_into_the_budget_is_not_begun(
    search: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten trials of some 10 s each; without a budget they are made."""
    mending(monkeypatch, Mended(build("int8_mixed"), True, "the best of 3 trials"))
    lab = Lab({"int8_static": 0.3, "int8_mixed": 0.35}, {"int8_mixed": 1e-3}, BROKEN)
    found = search(lab, forecasts=[forecast("int8_static")], budget_s=60.0)
    assert reasons(found)["int8_mixed"].startswith("not tried: that takes about 103 s")


def test_what_the_data_can_tell_is_asked_of_the_first_that_could_be_measured(
    search: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 answers nothing, and its round leaves no table; the next candidate fills it."""
    lab = Lab({"bf16": 0.3, "int8_static": 0.31}, {"int8_static": 1e-3})
    lab.install(monkeypatch)
    scored = searching.measure_quality

    def fails(*args: object, **kwargs: object) -> object:
        if any(isinstance(a, Build) and a.name == "bf16" for a in args):
            raise EngineError("it answers nothing")
        return scored(*args, **kwargs)  # type: ignore[arg-type]  # the lab's own

    monkeypatch.setattr(Lab, "install", lambda *_: None)
    monkeypatch.setattr(searching, "measure_quality", fails)
    found = search(lab)
    assert reasons(found)["bf16"] == "it answers nothing"
    assert lab.asked.count("power") == 1
    assert found.power.entry


def test_the_search_is_an_entry_with_owner_version_budget_and_reason(
    search: Start, store: Store
) -> None:
    """The same search again adds none."""
    lab = Lab({"bf16": 0.5, "int8_static": 0.3}, {"int8_static": 1e-3})
    first = search(lab, budget_s=600.0)
    again = search(replace(lab, asked=[]), budget_s=600.0)
    assert again.entry == first.entry
    body = store.get(first.entry).body
    assert (body["endpoint"], body["owner"], body["budget_s"]) == ("docs", "search", 600.0)
    assert body["version"].startswith("sha256:")
    assert body["stopped"] == first.found.stopped
    assert [(t["level"], t["build"]) for t in body["trials"]][:3] == [
        ("pilot", "bf16"),
        ("pilot", "int8_static"),
        ("full", "int8_static"),
    ]


def test_the_entry_says_which_arms_were_priced_and_why_others_were_not(
    search: Start, store: Store
) -> None:
    """A cache halves the bill of what was fastest in blocks; without one nothing else may win."""
    costs = {"int8_static": 1e-3, "student3": 1.2e-3}
    found = search(Lab({"int8_static": 0.4, "student3": 0.38}, costs, cached=0.5))
    body = store.get(found.entry).body
    assert body["best"] == {"build": "int8_static", "cache": True}
    assert [(t["build"], t["cache"]) for t in body["trials"] if t["level"] == "plan"] == [
        ("student3", False),
        ("student3", True),
        ("int8_static", True),
    ]
    assert all("cache" not in t for t in body["trials"] if t["level"] != "plan")
    (untried,) = body["untried"]
    assert (untried["build"], untried["cache"]) == ("int8_static", False)
    assert untried["why"].startswith("predicted to cost ")


ATTEMPTS: list[str] = []


@transformation("test.quantize")
def quantize(call: Call) -> Mapping[str, Output]:
    """An operator without a quantized kernel."""
    ATTEMPTS.append("quantize")
    raise EngineError("no int8 kernel for Erf")


def make(name: str, maker: Maker) -> Build:
    maker.recorder.run(quantize, u={}, c={})
    raise AssertionError("it cannot be made")


def test_a_candidate_that_cannot_be_made_is_paid_for_from_the_budget(
    new_recorder: NewRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the next search, which is only told of it. A second passes at each look."""
    looks = itertools.count()

    class Ticking(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Ticking:
            return cls(2026, 11, 28, 8, 0, next(looks), tzinfo=tz)

    monkeypatch.setattr("headgate.optimize.recorder.datetime", Ticking)
    monkeypatch.setattr(searching, "make_build", make)
    spent_s = []
    for _ in range(2):
        trials = trials_of(new_recorder(), {"bf16": Tried("bf16", forecast("bf16"))})
        trials.search.tell(trials.round(trials.search.ask()))
        spent_s.append(trials.search.spent_s)
    assert spent_s == [2.0, 2.0]


def only_one(new_recorder: NewRecorder, *, fresh: bool = False) -> Tried:
    """The only candidate of a run of its own."""
    name = "int8_dynamic"
    trials: Trials = trials_of(
        new_recorder(fresh_measurements=fresh), {name: Tried(name, forecast(name))}
    )
    trials.search.tell(trials.round(trials.search.ask()))
    assert trials.search.found.left_out[name] == trials.tried[name].skipped
    return trials.tried[name]


def test_a_candidate_that_failed_says_why_and_is_not_tried_again(
    new_recorder: NewRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs the others nothing; the next run reuses the failure, a fresh one does not."""
    ATTEMPTS.clear()
    monkeypatch.setattr(searching, "make_build", make)
    assert only_one(new_recorder).skipped == "no int8 kernel for Erf"
    again = only_one(new_recorder)
    assert again.build is None
    assert again.skipped.startswith("no int8 kernel for Erf; so it was before")
    assert len(ATTEMPTS) == 1
    assert only_one(new_recorder, fresh=True).skipped == "no int8 kernel for Erf"
    assert len(ATTEMPTS) == 2
