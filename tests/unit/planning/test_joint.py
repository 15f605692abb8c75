"""The search over builds and policies: what it asks for, what it drops, where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.planning import Arm, Asked, Cost, Entrant, Joint, Level, Told

MARGIN = 0.1
PILOT, FULL, PLAN = Level.PILOT, Level.FULL, Level.PLAN


def entrant(cost: float, *, se: float = 0.0, **fields: object) -> Entrant:
    """One whose forecast is a cost, not its logarithm."""
    return Entrant(Cost(math.log(cost), se), **{"pilot_s": 1.0, "full_s": 10.0, **fields})  # type: ignore[arg-type]  # a test's own keywords


def joint(entrants: Mapping[str, Entrant], **fields: object) -> Joint[str]:
    """A search whose builds have one arm each."""
    arms = {Arm(build, "as it is"): 0.0 for build in entrants}
    return Joint(entrants, arms, **{"policy_margin": MARGIN, **fields})  # type: ignore[arg-type]  # a test's own keywords


def tell(search: Joint[str], costs: Mapping[str, float], broken: Mapping[str, str]) -> list[str]:
    """Tells everything that is asked next; names what was asked for.

    ``broken``: ``build`` or ``build level`` -> the promise that stands in its way.
    """
    told = []
    for asked in search.ask():
        name = f"{asked.build} {asked.level.name.lower()}"
        promise = broken.get(name) or (broken.get(asked.build) if asked.level is FULL else None)
        told.append(
            Told(
                asked, Cost(math.log(costs[asked.build])), (promise,) if promise else (), seconds=1
            )
        )
    search.tell(told)
    return [f"{t.asked.build} {t.asked.level.name.lower()}" for t in told]


def all_rounds(
    search: Joint[str], costs: Mapping[str, float], broken: Mapping[str, str] | None = None
) -> list[list[str]]:
    rounds = []
    while search.ask():
        rounds.append(tell(search, costs, broken or {}))
    return rounds


def test_the_cheaper_half_is_measured_first_and_spares_the_rest_its_price() -> None:
    """Four are looked at briefly; of two that are measured whole one is accepted, and what costs
    more than that beyond doubt is not measured."""
    costs = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    search = joint({name: entrant(1.0, se=1.0) for name in costs})
    assert all_rounds(search, costs, {"a": "recall"}) == [
        ["a pilot", "b pilot", "c pilot", "d pilot"],
        ["a full", "b full"],
        ["b plan"],
    ]
    found = search.found
    assert found.best == Arm("b", "as it is")
    assert found.left_out == {
        "a": "recall",
        "c": "predicted to cost 1.50 times as much as b",
        "d": "predicted to cost 2.00 times as much as b",
    }
    assert found.stopped == "whatever is left is predicted to cost more"
    assert found.spent_s == 7


def test_what_is_known_for_nothing_costs_nothing() -> None:
    """A build that a contract rules out is never asked for, and the reason is kept."""
    search = joint({"a": entrant(1.0, ruled_out="an answer depends on its batch"), "b": entrant(9)})
    assert all_rounds(search, {"b": 9.0}) == [["b pilot"], ["b full"], ["b plan"]]
    assert search.found.left_out == {"a": "an answer depends on its batch"}
    assert search.found.stopped == "everything that is not ruled out was tried"


def test_a_pilot_that_shows_a_broken_promise_ends_it() -> None:
    """Its full price is not paid, and a build that could not be made has its reason."""
    search = joint({"a": entrant(1.0), "b": entrant(2.0), "c": entrant(3.0)})
    a, b, c = search.ask()
    why = "no int8 kernel"
    search.tell([Told(a, None, why=why), Told(b, Cost(0.0), ("latency",)), Told(c, Cost(1.0))])
    assert search.ask() == (Asked(FULL, "c"),)
    assert search.found.left_out == {"a": why, "b": "latency"}


@pytest.mark.parametrize(("se", "asked"), [(0.0, False), (0.5, True)])
def test_noise_keeps_what_may_still_be_cheaper(se: float, asked: bool) -> None:
    """One and a half times as dear is dearer where that is known, and may be luck where it is
    not."""
    search = joint({"a": entrant(1.0), "b": entrant(1.0)})
    search.tell([Told(search.ask()[0], Cost(0.0)), Told(search.ask()[1], Cost(math.log(1.5), se))])
    search.tell([Told(search.ask()[0], Cost(0.0))])
    assert (Asked(FULL, "b") in search.ask()) is asked


def test_many_builds_share_the_error_of_dropping_the_best() -> None:
    """What two builds show beyond doubt, two hundred do not: one of them is always unlucky."""
    for many, dropped in ((2, True), (200, False)):
        search = joint({str(i): entrant(1.0) for i in range(many)})
        last = str(many - 1)
        search.tell([Told(a, Cost(0.5 if a.build == last else 0.0, 0.15)) for a in search.ask()])
        search.tell([Told(a, Cost(0.0)) for a in search.ask()])
        assert (last in search.found.left_out) is dropped


def test_what_was_dropped_comes_back_where_the_cheaper_one_has_no_plan() -> None:
    """The cheapest holds its promise at no rate: the dearer one is measured after all."""
    search = joint({"a": entrant(1.0), "b": entrant(9.0)})
    costs = {"a": 1.0, "b": 9.0}
    rounds = all_rounds(search, costs, {"a plan": "latency_p95"})
    assert rounds == [["a pilot", "b pilot"], ["a full"], ["a plan"], ["b full"], ["b plan"]]
    assert search.found.best == Arm("b", "as it is")


def test_the_slow_to_find_out_about_wait_for_the_quick() -> None:
    """Training takes a hundred times as long; what is known of the others may spare it."""
    search = joint({"int8": entrant(1.0), "student": entrant(2.0, pilot_s=100.0)})
    assert all_rounds(search, {"int8": 1.0}) == [["int8 pilot"], ["int8 full"], ["int8 plan"]]
    assert "times as much as int8" in search.found.left_out["student"]


def test_a_budget_buys_the_quickest_first_and_what_is_begun_can_be_finished() -> None:
    """11 s each and 110 s for the student: of 30 s two are found out about, wholly. The previews'
    pilots come off the same budget."""
    entrants = {"student": entrant(1.0, pilot_s=100.0), "a": entrant(2.0), "b": entrant(2.1)}
    costs = {"a": 2.0, "b": 2.0}
    search = joint(entrants, budget_s=30.0)
    assert all_rounds(search, costs)[0] == ["a pilot", "b pilot"]
    assert search.found.best is not None
    assert search.found.stopped == "what is left to try does not fit into the budget"
    assert search.found.left_out["student"] == (
        "not tried: that takes about 110 s, and of the budget 24 s are left for it"
    )
    previewed = joint(entrants, budget_s=30.0, spent_s=10.0)
    assert all_rounds(previewed, costs)[0] == ["a pilot"]
    assert previewed.found.spent_s == 10.0 + 6.0


def test_what_is_not_spent_buys_what_did_not_fit_before() -> None:
    """Room for two; one of them cannot be made, so that the third is tried after all."""
    search = joint({"a": entrant(1.0), "b": entrant(1.1), "c": entrant(1.2)}, budget_s=22.0)
    a, b = search.ask()
    search.tell([Told(a, Cost(0.0), seconds=1), Told(b, None, why="no kernel", seconds=1)])
    assert search.ask() == (Asked(FULL, "a"),)
    search.tell([Told(search.ask()[0], Cost(0.0), ("recall",), seconds=9)])
    assert search.ask() == (Asked(PILOT, "c"),)


def test_what_is_begun_is_finished_though_pilots_took_longer_than_was_thought() -> None:
    """Of 25 s there are 5 left, and a full measurement takes ten: else all was spent for nothing.
    What is not begun is not."""
    entrants = {"a": entrant(1.0), "b": entrant(1.1), "c": entrant(1.0, pilot_s=100.0)}
    search = joint(entrants, budget_s=25.0)
    search.tell([Told(a, Cost(0.0), seconds=10.0) for a in search.ask()])
    assert search.ask() == (Asked(FULL, "a"),)
    search.tell([Told(search.ask()[0], Cost(0.0), ("recall",), seconds=10.0)])
    assert search.ask() == (Asked(FULL, "b"),)
    assert search.found.left_out["c"].startswith("not tried: that takes about 110 s")


def test_what_two_are_made_of_is_made_once() -> None:
    """A student takes 100 s to train, and either precision of it 11: of 130 s both are tried. Once
    the first is made, the other is as quick to find out about as any."""
    student = {"pilot_s": 1.0, "shared": "student", "shared_s": 100.0}
    entrants = {"fp32": entrant(1.0, **student), "int8": entrant(0.9, **student)}
    search = joint(entrants, budget_s=130.0)
    assert [a.build for a in search.ask()] == ["fp32", "int8"]
    one = joint(entrants, budget_s=115.0)
    assert [a.build for a in one.ask()] == ["fp32"]
    assert one.found.left_out["int8"] == (
        "not tried: that takes about 11 s, and of the budget 4 s are left for it"
    )
    apart = joint({"int8": entrant(0.9, **student), "bf16": entrant(1.0)}, budget_s=100.0)
    assert [a.build for a in apart.ask()] == ["bf16"]
    assert apart.found.left_out["int8"].startswith("not tried: that takes about 111 s")


def test_a_build_that_joins_late_is_asked_for_as_any_other() -> None:
    """What broke its promise is mended; its error is shared among one more, and it may win."""
    search = joint({"int8": entrant(1.0), "bf16": entrant(2.0)})
    search.tell([Told(a, Cost(math.log({"int8": 1, "bf16": 2}[a.build]))) for a in search.ask()])
    search.tell([Told(search.ask()[0], Cost(0.0), ("recall",))])
    search.join({"mended": entrant(1.1)}, {Arm("mended", "as it is"): 0.0})
    costs = {"bf16": 2.0, "mended": 1.1}
    assert all_rounds(search, costs) == [
        ["bf16 full"],
        ["mended pilot"],
        ["mended full"],
        ["mended plan"],
    ]
    assert search.found.best == Arm("mended", "as it is")


def test_a_build_that_joins_where_a_cheaper_one_is_accepted_is_not_asked_for() -> None:
    search = joint({"bf16": entrant(1.0)})
    all_rounds(search, {"bf16": 1.0})
    search.join({"mended": entrant(2.0)}, {Arm("mended", "as it is"): 0.0})
    assert search.ask() == ()
    assert search.found.left_out == {"mended": "predicted to cost 2.00 times as much as bf16"}


@pytest.mark.parametrize(
    ("broken", "binding"),
    [
        ({"a": ("recall",), "b": ("cost",)}, "recall"),
        ({"a": ("recall", "cost"), "b": ("cost",)}, "cost"),
        ({"a": ("recall", "cost"), "b": ("cost", "latency")}, "cost"),
        ({"a": (), "b": ()}, None),
    ],
)
def test_where_nothing_is_feasible_the_promise_in_the_way_is_named(
    broken: Mapping[str, tuple[str, ...]], binding: str | None
) -> None:
    """The one that alone keeps the cheapest out; else the one that most break. And the baseline
    stays."""
    search = joint({"a": entrant(1.0), "b": entrant(2.0)})
    if binding is None:
        search.tell([Told(a, None, why="it cannot be made") for a in search.ask()])
    else:
        search.tell([Told(a, Cost(0.0), broken[a.build]) for a in search.ask()])
    found = search.found
    assert (found.best, found.binding) == (None, binding)
    assert found.stopped == "nothing keeps every promise"


def test_each_familys_best_is_planned_before_any_familys_second() -> None:
    """Cheapest prediction first, but no instance plan is forgotten; far dearer ones are."""
    arms = {
        Arm("x", name, family): math.log(cost)
        for name, family, cost in (
            ("a", "many", 3.0),
            ("b", "many", 1.0),
            ("c", "many", 1.2),
            ("d", "one", 1.4),
        )
    }
    search = Joint({"x": Entrant(Cost(0.0), accepted=True)}, arms, policy_margin=math.log(1.5))
    order = []
    while asked := search.ask():
        assert asked[0].arm is not None
        order.append(asked[0].arm.policies)
        search.tell([Told(asked[0], Cost(arms[asked[0].arm]))])
    assert order == ["b", "d", "c"]
    ((dropped, why),) = search.untried.items()
    assert (dropped.policies, why) == ("a", "predicted to cost 3.00 times as much as x")


def test_a_plan_corrects_what_is_predicted_of_its_family() -> None:
    """The first of "many" costs twice what was predicted, so its second will too and is dropped;
    "one" was predicted rightly, and its second is tried."""
    arms = {
        Arm("x", name, family): math.log(cost)
        for name, family, cost in (
            ("a", "many", 1.0),
            ("b", "many", 1.05),
            ("c", "one", 1.02),
            ("d", "one", 1.1),
        )
    }
    truth = {"a": 2.0, "b": 2.1, "c": 1.02, "d": 1.0}
    search = Joint({"x": Entrant(Cost(0.0, 0.5), accepted=True)}, arms, policy_margin=MARGIN)
    order = []
    while asked := search.ask():
        assert asked[0].arm is not None
        order.append(asked[0].arm.policies)
        search.tell([Told(asked[0], Cost(math.log(truth[order[-1]])))])
    assert order == ["a", "c", "d"]
    assert search.found.best == Arm("x", "d", "one")


def kinds_of(search: Joint[str], plans: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Rounds of plans: ``build policies`` of each. What is not in ``plans`` holds no promise."""
    rounds = []
    while asked := search.ask():
        arms = [a.arm for a in asked if a.arm is not None]
        rounds.append(", ".join(f"{arm.build} {arm.policies}" for arm in arms))
        costs = [plans[arm.build].get(arm.policies) for arm in arms]
        search.tell(
            [
                Told(a, None, ("latency_p95",)) if cost is None else Told(a, Cost(math.log(cost)))
                for a, cost in zip(asked, costs, strict=True)
            ]
        )
    return rounds


KINDS = ("plain", "cached")


def two_kinds(entrants: Mapping[str, Entrant]) -> Joint[str]:
    """Each plain and with a cache, of which nobody knows what it saves."""
    arms = {Arm(build, kind, kind): 0.0 for kind in KINDS for build in entrants}
    return Joint(entrants, arms, policy_margin=MARGIN, plans_at_once=9)


def accepted(**costs: float) -> dict[str, Entrant]:
    """Builds that are known well."""
    return {build: entrant(cost, se=0.02, accepted=True) for build, cost in costs.items()}


def test_what_policies_do_to_the_first_build_spares_the_others_a_plan() -> None:
    """The cheapest is planned with a cache and without. It saves half there, so the others are
    planned with one only; whichever is cheapest wins."""
    search = two_kinds(accepted(a=1.05, b=1.0, c=1.08))
    plans = {
        "a": {"plain": 0.0021, "cached": 0.001},
        "b": {"plain": 0.0022, "cached": 0.0011},
        "c": {"plain": 0.0023, "cached": 0.0012},
    }
    assert kinds_of(search, plans) == ["b plain, b cached", "a cached, c cached"]
    assert search.found.best == Arm("a", "cached", "cached")
    assert search.found.stopped == "whatever is left is predicted to cost more"


@pytest.mark.parametrize(("cached", "asked"), [(1.05, True), (1.15, False)])
def test_policies_that_are_close_with_one_build_may_win_with_the_next(
    cached: float, asked: bool
) -> None:
    """A twentieth is within what the prediction may be off by, and with the second build it is the
    other way round; a seventh is not."""
    search = two_kinds(accepted(a=1.0, b=1.04))
    plans = {"a": {"plain": 1e-3, "cached": cached * 1e-3}, "b": {"plain": 1e-3, "cached": 9e-4}}
    rounds = kinds_of(search, plans)
    assert rounds[:2] == ["a plain, a cached", "b plain"]
    assert rounds[2:] == (["b cached"] if asked else [])
    assert search.found.best == (
        Arm("b", "cached", "cached") if asked else Arm("a", "plain", "plain")
    )


def test_a_build_whose_first_plan_is_dear_is_not_planned_again() -> None:
    """In blocks it was as fast as any, and both kinds cost alike. On the workload it is a third
    dearer, whatever blocks said: its second kind would be too."""
    search = two_kinds(accepted(a=1.0, b=1.0))
    plans = {"a": {"plain": 1e-3, "cached": 1e-3}, "b": {"plain": 1.3e-3}}
    assert kinds_of(search, plans) == ["a plain, a cached", "b plain"]


@pytest.mark.parametrize(("se", "asked"), [(0.0, False), (0.2, True)])
def test_what_is_hardly_known_of_the_first_build_says_little_of_the_next(
    se: float, asked: bool
) -> None:
    """A quarter dearer in blocks: beyond doubt only where both builds' costs are known well."""
    entrants = {"a": entrant(1.0, se=se, accepted=True), "b": entrant(1.25, accepted=True)}
    search = two_kinds(entrants)
    plans = {"a": {"plain": 1e-3, "cached": 2e-3}, "b": {"plain": 9e-4}}
    assert kinds_of(search, plans) == ["a plain, a cached", *(["b plain"] if asked else [])]


def test_of_policies_that_held_no_promise_with_one_build_nothing_is_known_with_the_next() -> None:
    """Without a cache the first holds its p95 at no rate; the second is tried with both."""
    search = two_kinds(accepted(a=1.0, b=1.0))
    plans = {"a": {"cached": 1e-3}, "b": {"plain": 9e-4, "cached": 1.2e-3}}
    assert kinds_of(search, plans) == ["a plain, a cached", "b cached", "b plain"]
    assert search.found.best == Arm("b", "plain", "plain")


def test_where_the_first_build_holds_its_promise_at_no_rate_the_next_is_the_first() -> None:
    """It is planned under every kind of policies, and the third learns from it."""
    search = two_kinds(accepted(a=1.0, b=1.02, c=1.04))
    plans = {"a": {}, "b": {"plain": 1e-3, "cached": 3e-3}, "c": {"plain": 2e-3}}
    assert kinds_of(search, plans) == ["a plain, a cached", "b plain, b cached", "c plain"]


SPAN = st.floats(0.3, 1.5)


@given(st.lists(st.tuples(SPAN, SPAN, st.booleans(), st.sets(st.sampled_from(KINDS))), max_size=6))
def test_once_a_plan_is_feasible_no_other_build_comes_back(
    builds: Sequence[tuple[float, float, bool, set[str]]],
) -> None:
    """As forecast and as measured, whether it keeps its promises, and the kinds of plans that hold
    theirs: who prices relies on it, since prices of two measurements are not compared."""
    of = {f"b{i}": build for i, build in enumerate(builds)}
    search = two_kinds({name: entrant(forecast, se=0.5) for name, (forecast, *_) in of.items()})
    feasible, before = False, set[str]()
    while asked := search.ask():
        may_be_priced = {*search.accepted} - search.found.left_out.keys()
        assert not feasible or may_be_priced <= before
        before = may_be_priced
        for_plans = asked[0].level is PLAN
        told = []
        for a in asked:
            _, measured, keeps, kinds = of[a.build]
            fails = a.arm.policies not in kinds if a.arm else a.level is FULL and not keeps
            cost = Cost(math.log(measured), 0.0 if for_plans else 0.05)
            told.append(Told(a, cost, ("a promise",) if fails else ()))
        search.tell(told)
        feasible |= for_plans and any(t.ok for t in told)


def test_of_equal_costs_the_simpler_arm_wins() -> None:
    """Within 1 % the one that was named first does; a refused one never."""
    arms = {Arm("x", name): 0.0 for name in ("plain", "cached", "refused")}
    search = Joint(
        {"x": Entrant(Cost(0.0), accepted=True)}, arms, policy_margin=1.0, plans_at_once=3
    )
    plain, cached, refused = search.ask()
    search.tell(
        [Told(plain, Cost(0.009)), Told(cached, Cost(0.0)), Told(refused, None, ("latency_p95",))]
    )
    assert search.found.best == Arm("x", "plain")
    assert search.found.stopped == "everything was tried"


def test_as_many_plans_as_there_may_be() -> None:
    """The limit holds within a round too, and is named."""
    arms = {Arm("x", str(i)): 0.0 for i in range(5)}
    search = Joint(
        {"x": Entrant(Cost(0.0), accepted=True)},
        arms,
        policy_margin=1.0,
        plans_at_once=2,
        most_plans=3,
    )
    sizes = []
    while asked := search.ask():
        sizes.append(len(asked))
        search.tell([Told(a, Cost(0.0)) for a in asked])
    assert sizes == [2, 1]
    assert search.found.stopped == "as many plans as there may be were tried"
    assert set(search.untried.values()) == {search.found.stopped}


def test_search_takes_answers_to_its_questions_only() -> None:
    """Neither unasked, nor in part, nor twice."""
    search = joint({"a": entrant(1.0), "b": entrant(1.0)})
    a, b = search.ask()
    for wrong in ([], [Told(a, Cost(0.0))], [Told(b, Cost(0.0)), Told(a, Cost(0.0))]):
        with pytest.raises(ValueError, match="asked for"):
            search.tell(wrong)
    search.tell([Told(a, Cost(0.0)), Told(b, Cost(0.0))])
    with pytest.raises(ValueError, match="asked for"):
        search.tell([Told(a, Cost(0.0)), Told(b, Cost(0.0))])


@dataclass
class World:
    """Builds and arms of which the truth is known, and what measurements say of it."""

    entrants: dict[str, Entrant] = field(default_factory=dict)
    arms: dict[Arm[str], float] = field(default_factory=dict)
    seen: dict[Asked[str], Told[str]] = field(default_factory=dict)

    def joint(self, **fields: object) -> Joint[str]:
        return Joint(self.entrants, self.arms, policy_margin=MARGIN, **fields)  # type: ignore[arg-type]  # a test's own keywords

    def run(self, search: Joint[str], rounds: int = 1000) -> list[list[Told[str]]]:
        """Up to so many rounds."""
        told = []
        while len(told) < rounds and (asked := search.ask()):
            told.append([self.seen[a] for a in asked])
            search.tell(told[-1])
        return told

    def cost(self, arm: Arm[str] | None) -> float:
        """Of the arm; of the baseline, above all."""
        if arm is None:
            return math.inf
        told = self.seen[Asked(PLAN, arm.build, arm)].cost
        assert told is not None
        return told.log

    def feasible(self, arm: Arm[str]) -> bool:
        levels = [Asked(PILOT, arm.build), Asked(FULL, arm.build), Asked(PLAN, arm.build, arm)]
        return all(self.seen[a].ok for a in levels) and not self.entrants[arm.build].ruled_out


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to six builds of up to four arms. Whatever is believed is right within its confidence: of
    plans, that builds are off, and families of policies, and little else."""
    world = World()
    n = draw(st.integers(1, 6))
    unit = st.floats(-1, 1)
    off = [draw(unit) * MARGIN / 4 for _ in range(2)]
    for i in range(n):
        build, truth = f"b{i}", draw(st.floats(-2, 2))

        def believed(level: Level, truth: float = truth) -> Cost:
            se = draw(st.floats(0, 1)) / (1 + level)
            return Cost(truth + draw(unit) * se, se)  # z is at least 1.64, and 1.64 / sqrt(2) > 1

        off_by = draw(unit) * MARGIN / 4
        world.entrants[build] = Entrant(
            believed(Level.FORECAST),
            pilot_s=draw(st.floats(0.1, 100)),
            full_s=draw(st.floats(0.1, 100)),
            ruled_out=draw(st.sampled_from(["", "", "", "not applicable"])),
        )
        for level, fails in ((PILOT, [False, False, False, True]), (FULL, [False, True])):
            stopped_by = ("recall",) if draw(st.sampled_from(fails)) else ()
            world.seen[Asked(level, build)] = Told(
                Asked(level, build), believed(level), stopped_by, seconds=1.0
            )
        for k in range(draw(st.integers(1, 4))):
            arm = Arm(build, f"p{k}", k % 2)
            world.arms[arm] = draw(st.floats(0, 1))
            error = off_by + off[k % 2] + draw(unit) * MARGIN / 4
            plan = Cost(truth + world.arms[arm] + error)
            refused = draw(st.sampled_from([False, False, True]))
            told = Told(Asked(PLAN, build, arm), plan, ("latency_p95",) if refused else ())
            world.seen[told.asked] = told
    return world


@given(worlds(), st.integers(1, 4))
def test_no_trial_is_asked_for_twice(world: World, plans_at_once: int) -> None:
    """At no level, whatever comes back after it was dropped."""
    search = world.joint(plans_at_once=plans_at_once)
    asked = [told.asked for told_round in world.run(search) for told in told_round]
    assert len(asked) == len(set(asked))
    assert tuple(world.seen[a] for a in asked) == search.told


@given(worlds())
def test_the_answer_keeps_every_promise_and_nothing_that_was_dropped_is_cheaper(
    world: World,
) -> None:
    """As cheap as the cheapest of all arms that keep every promise, within the percent that makes
    equals; where none does, the baseline."""
    search = world.joint()
    world.run(search)
    found = search.found
    least = min((world.cost(arm) for arm in world.arms if world.feasible(arm)), default=math.inf)
    assert found.best is None or world.feasible(found.best)
    assert world.cost(found.best) <= least + math.log(1.01) + 1e-9
    assert found.stopped
    assert (found.binding is None) or found.best is None


@given(worlds(), st.floats(-9, 9))
def test_plans_may_be_in_a_unit_of_their_own(world: World, unit: float) -> None:
    """Whatever plans cost beside entrants, the first build that is planned tells it of all."""
    for told in world.seen.values():
        if told.asked.arm is not None and told.cost is not None:
            world.seen[told.asked] = replace(told, cost=Cost(told.cost.log + unit))
    search = world.joint(plans_at_once=4)
    world.run(search)
    least = min((world.cost(arm) for arm in world.arms if world.feasible(arm)), default=math.inf)
    assert world.cost(search.found.best) <= least + math.log(1.01) + 1e-9


@given(worlds(), st.integers(0, 12))
def test_a_search_that_is_told_the_same_goes_on_as_if_nothing_had_happened(
    world: World, killed_after: int
) -> None:
    """All state follows from what was told; asking changes nothing."""
    whole = world.joint()
    rounds = world.run(whole)
    again = world.joint()
    for told in rounds[:killed_after]:
        assert again.ask() == again.ask() == tuple(t.asked for t in told)
        again.tell(told)
    assert world.run(again) == rounds[killed_after:]
    assert again.found == whole.found


@given(worlds(), st.floats(0, 600))
def test_no_more_is_asked_for_than_fits_into_the_budget(world: World, budget_s: float) -> None:
    """Where everything takes what it was expected to take; and no budget ends better than none."""
    expected = {
        asked: world.entrants[asked.build].pilot_s
        if asked.level is PILOT
        else world.entrants[asked.build].full_s
        for asked in world.seen
        if asked.level is not PLAN
    }
    for asked, seconds in expected.items():
        world.seen[asked] = replace(world.seen[asked], seconds=seconds)
    limited, free = world.joint(budget_s=budget_s), world.joint()
    world.run(limited)
    world.run(free)
    assert limited.found.spent_s <= budget_s + 1e-9
    assert world.cost(free.found.best) <= world.cost(limited.found.best) + math.log(1.01) + 1e-9
    pilots = {a.build for a in trials_at(limited, PILOT)}
    broken = {b for b in pilots if not world.seen[Asked(PILOT, b)].ok}
    unfinished = pilots - broken - {a.build for a in trials_at(limited, FULL)}
    assert all("times as much" in limited.found.left_out[b] for b in unfinished)


def trials_at(search: Joint[str], level: Level) -> list[Asked[str]]:
    return [t.asked for t in search.told if t.asked.level is level]


@given(worlds(), st.integers(0, 12))
def test_a_late_build_is_not_overlooked(world: World, rounds: int) -> None:
    """Whenever it joins, the answer is as cheap as the cheapest of all that keep every promise."""
    late = next(reversed(world.entrants))
    arms = {arm: log for arm, log in world.arms.items() if arm.build == late}
    search = Joint(
        {b: e for b, e in world.entrants.items() if b != late},
        {arm: log for arm, log in world.arms.items() if arm not in arms},
        policy_margin=MARGIN,
    )
    world.run(search, rounds)
    search.join({late: world.entrants[late]}, arms)
    world.run(search)
    least = min((world.cost(arm) for arm in world.arms if world.feasible(arm)), default=math.inf)
    assert world.cost(search.found.best) <= least + math.log(1.01) + 1e-9
