"""The watch over a release: what it accuses, of what it is sure, and when an incident is over."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from headgate.objects import Action, Axis, Bound, Contract
from headgate.release import (
    Breach,
    Recovery,
    Second,
    Terms,
    TookOver,
    Watcher,
    WatchRule,
    Withdrawal,
    deciles,
)

IDS = itertools.count()


@dataclass(frozen=True)
class Over:
    """A request that is over."""

    total_s: float = 0.01
    status: int = 200
    items: int = 1
    tokens: int = 10
    device_s: float = 0.001
    request_id: str = dataclasses.field(default_factory=lambda: f"r{next(IDS)}")


def contract(
    metric: str = "latency_p95",
    limit: float = 0.1,
    action: Action = Action.ROLLBACK,
    min_n: int = 0,
) -> Contract:
    return Contract(
        metric, Axis.LATENCY, Bound.AT_MOST, limit, "a budget", action, "webhook:x", "previous",
        min_n=min_n,
    )  # fmt: skip


SLOW, FAST = Over(total_s=0.5), Over()
FAILED = Over(status=500)


class Watched:
    """A watcher with a clock of its own: a second passes with each look."""

    def __init__(self, *contracts: Contract, terms: Terms | None = None, **rule: float) -> None:
        rules = WatchRule(contracts or (contract(),), **rule)  # type: ignore[arg-type]
        self.watcher = Watcher(rules)
        self.terms = terms or Terms()
        self.now_s = 1000.0
        self.took_over(1)

    def took_over(self, generation: int, *, restored: bool = False) -> None:
        event = TookOver(generation, self.terms, restored)
        assert self.watcher.handle(event, self.now_s) == []

    def sees(
        self, seconds: Iterable[Sequence[Over] | Second]
    ) -> Sequence[Breach | Recovery | Withdrawal]:
        """What it says until the first time that it says anything, or nothing."""
        for second in seconds:
            self.now_s += 1.0
            event = second if isinstance(second, Second) else Second(second)
            if said := self.watcher.handle(event, self.now_s):
                return said
        return []


def good(seconds: int) -> list[list[Over]]:
    return [[FAST] * 20] * seconds


def bad(seconds: int) -> list[list[Over]]:
    return [[SLOW] * 20] * seconds


def test_a_breach_is_told_once_with_its_action_and_its_evidence() -> None:
    """Within ten seconds after an hour of good traffic, and with the ids of slow requests."""
    watched = Watched()
    assert watched.sees(good(3600)) == []
    before_s = watched.now_s
    (breach,) = watched.sees(bad(60))
    assert isinstance(breach, Breach)
    assert watched.now_s - before_s <= 10
    assert (breach.action, breach.again, breach.generation) == (Action.ROLLBACK, False, 1)
    assert breach.value == 1.0
    assert 0.05 < breach.low < 1.0
    assert breach.since_s == watched.now_s - before_s
    assert breach.n == 20 * breach.since_s
    assert set(breach.requests) == {SLOW.request_id}
    assert breach.because.startswith("requests that took longer than 100 ms, or failed: 100 %")
    assert watched.sees(bad(600)) == [], "the action runs once"


def test_good_times_do_not_hide_what_begins_afterwards() -> None:
    """Hours of good traffic cost seconds, not hours."""
    delays = []
    for seconds in (60, 20_000):
        watched = Watched()
        watched.sees(good(seconds))
        before_s = watched.now_s
        assert watched.sees(bad(60))
        delays.append(watched.now_s - before_s)
    assert delays[1] <= delays[0] + 7


def test_the_mean_of_a_day_is_no_excuse() -> None:
    """5 % of all requests are slow, as promised, and all of them in one minute of twenty: what is
    promised is promised of every second, given those before it."""
    watched = Watched()
    assert watched.sees(good(19 * 60)) == []
    assert watched.sees(bad(60))


def test_one_second_of_trouble_is_no_breach() -> None:
    """Whatever hangs for a second, with however many requests in it, is one observation."""
    watched = Watched()
    assert watched.sees([*good(100), [SLOW] * 5000, *good(100)]) == []


def test_too_few_requests_say_nothing() -> None:
    """Forty-nine failures in a row are not enough where fifty are the least."""
    watched = Watched(contract("error_rate", 0.01))
    assert watched.sees([[FAILED]] * 49) == []
    assert watched.sees([[FAILED]]) != []
    patient = Watched(contract("error_rate", 0.01, min_n=200))
    assert patient.sees([[FAILED]] * 199) == []


def test_an_incident_is_closed_by_evidence_and_by_nothing_else() -> None:
    """Not by silence, not by a few good requests; by as many as show that the promise is kept."""
    watched = Watched()
    assert watched.sees(bad(20))
    assert watched.sees([[]] * 3600) == [], "silence is no evidence"
    assert watched.sees(good(60)) == []
    (recovery,) = watched.sees(good(120))
    assert isinstance(recovery, Recovery)
    assert recovery.value == 0.0
    assert recovery.n == 20 * 106, "a second is one observation, with however many requests in it"
    assert watched.watcher.open == {}
    assert watched.sees(bad(60)), "and then it is watched as before"


def test_the_release_that_returns_is_judged_for_itself() -> None:
    """What the one before it did counts neither against it nor for it."""
    watched = Watched()
    assert watched.sees(bad(20))
    watched.took_over(2)
    assert watched.watcher.open == {contract().promise: 1}
    (recovery,) = watched.sees(good(120))
    assert isinstance(recovery, Recovery)
    assert recovery.generation == 2


def test_a_release_that_returns_and_breaks_the_promise_too_is_not_rolled_back_further() -> None:
    """The machine may be to blame: the owner is told, once a release."""
    watched = Watched()
    assert watched.sees(bad(20))
    watched.took_over(2)
    (breach,) = watched.sees(bad(60))
    assert isinstance(breach, Breach)
    assert (breach.again, breach.action) == (True, Action.ESCALATE)
    assert watched.sees(bad(600)) == []


def test_one_level_is_spent_on_the_recovery_of_an_incident() -> None:
    """That a release breaks the promise again gives the evidence of recovery no second level: who
    bets on it after minutes of trouble begins with what is left."""

    def took(trouble: int) -> int:
        watched = Watched()
        assert watched.sees(bad(20))
        watched.took_over(2)
        beyond = [[SLOW] * 21 + [FAST] * 379] * trouble  # by so little that it takes minutes
        (breach,) = watched.sees([*beyond, *bad(60)])
        assert isinstance(breach, Breach)
        assert breach.again
        (recovery,) = watched.sees(good(600))
        assert isinstance(recovery, Recovery)
        return recovery.n // 20

    late, soon = took(trouble=200), took(trouble=0)
    assert late > soon > 106


def test_means_that_are_broken_by_turns_are_each_kept_in_between() -> None:
    """What false recovery is *not* bounded for, as the module says: all texts short in one second
    and long in the next are far from the evaluation data in every second, and no mean is."""
    drift = contract("input_drift", 0.2, Action.ESCALATE)
    watcher = Watcher(WatchRule((drift,)), {drift.promise: 0})
    watcher.handle(TookOver(1, Terms(lengths=((10, 0.5),))), 0.0)
    short, long = Second([Over(tokens=5)] * 20), Second([Over(tokens=50)] * 20)
    said = [watcher.handle((short, long)[i % 2], float(i)) for i in range(600)]
    assert [type(s) for s in itertools.chain(*said)] == [Recovery]


def test_while_a_rollback_has_not_helped_no_other_promise_rolls_back() -> None:
    """A slow machine breaks one promise after the other: the first takes a release back, the next
    are told. Once all is well a release is rolled back as before."""
    watched = Watched(contract(), contract("error_rate", 0.2))
    (breach,) = watched.sees(bad(20))
    assert (breach.contract.metric, breach.action) == ("latency_p95", Action.ROLLBACK)
    watched.took_over(2)
    said = [watched.sees([[FAILED] * 20] * 60) for _ in range(2)]
    by_metric = {s.contract.metric: s for s in itertools.chain(*said)}
    assert {s.action for s in by_metric.values()} == {Action.ESCALATE}
    assert not by_metric["error_rate"].again, "it is an incident of its own"
    while watched.watcher.open:
        assert watched.sees(good(300))
    watched.took_over(3)
    assert [b.action for b in watched.sees(bad(20))] == [Action.ROLLBACK]


def test_what_a_rollback_brought_back_is_not_rolled_back() -> None:
    """Not with every incident closed either; a warning stays one."""
    warned = contract("error_rate", 0.2, Action.WARN)
    watched = Watched(contract(), warned)
    watched.took_over(2, restored=True)
    said = [watched.sees([[FAILED] * 20] * 60) for _ in range(2)]
    assert {b.contract.metric: b.action for b in itertools.chain(*said)} == {
        "latency_p95": Action.ESCALATE,
        "error_rate": Action.WARN,
    }


def test_a_warning_that_is_open_holds_up_no_rollback() -> None:
    """Nothing was rolled back yet: a release that comes later can still be to blame."""
    watched = Watched(contract("invalid_rate", 0.2, Action.WARN), contract())
    assert watched.sees([Second([FAST] * 20, invalid_answers=20)] * 60)
    watched.took_over(2)
    assert [b.action for b in watched.sees(bad(20))] == [Action.ROLLBACK]


def test_an_incident_of_an_earlier_run_stays_open() -> None:
    """It is neither told again by the same release nor forgotten; what is owed for it still is what
    its contract says."""
    watcher = Watcher(WatchRule((contract(),)), {contract().promise: 1})
    watcher.handle(TookOver(1, Terms()), 0.0)
    assert watcher.action_of(contract()) is Action.ROLLBACK
    said = [watcher.handle(Second([SLOW] * 20), float(i)) for i in range(60)]
    assert not any(said)
    said = [watcher.handle(Second([FAST] * 20), 60.0 + i) for i in range(250)]
    assert sum(len(s) for s in said) == 1


@pytest.mark.parametrize(
    ("request_", "counts_against"),
    [
        (Over(total_s=0.2), True),
        (Over(total_s=0.05), False),
        (Over(status=429, total_s=0.001), True),
        (Over(status=503, total_s=0.001), True),
        (Over(status=499, total_s=0.05), False),
        (Over(status=499, total_s=0.2), True),
        (Over(status=400, total_s=9.0), False),
    ],
    ids=["slow", "fast", "refused", "failed", "left early", "left late", "caller's fault"],
)
def test_what_counts_against_latency(request_: Over, counts_against: bool) -> None:
    """A request that failed took for ever; what the caller did wrong is the caller's."""
    assert bool(Watched().sees([[request_] * 20] * 20)) is counts_against


def test_the_mean_cost_is_held_against_its_bound() -> None:
    """1 ms of half a machine at 2 a second costs 1 for a thousand requests: more than 0.8."""
    terms = Terms(price_per_s=2.0, machine_share=0.5)
    (breach,) = Watched(contract("cost_per_1k", 0.8), terms=terms).sees([[FAST] * 20] * 60)
    assert breach.value == pytest.approx(1.0)
    kept = Watched(contract("cost_per_1k", 1.2), terms=terms)
    assert kept.sees([[FAST] * 20] * 600) == []
    kept.watcher.handle(TookOver(2, dataclasses.replace(terms, price_per_s=20.0)), kept.now_s)
    assert kept.sees([[FAST] * 20] * 10), "a promise on cost can be broken"
    kept.watcher.handle(TookOver(3, terms), kept.now_s)
    (recovery,) = kept.sees([[FAST] * 20] * 600)
    assert isinstance(recovery, Recovery)


def test_drift_is_an_effect_and_not_a_matter_of_how_many_were_seen() -> None:
    """A shift of 10 points is none beyond 15, for however many requests; one of 30 is."""
    rng = np.random.default_rng(0)
    reference = rng.integers(1, 101, 2000).tolist()
    terms = Terms(lengths=deciles(reference))
    drift = contract("input_drift", 0.15, Action.RETRAIN)

    def lengths(shift: int) -> list[list[Over]]:
        return [[Over(tokens=int(n) + shift) for n in rng.integers(1, 101, 50)] for _ in range(400)]

    assert Watched(drift, terms=terms).sees(lengths(10)) == []
    (breach,) = Watched(drift, terms=terms).sees(lengths(30))
    assert isinstance(breach, Breach)
    assert breach.action is Action.RETRAIN
    assert "in the evaluation data" in breach.because


def test_what_is_too_old_is_told_at_the_next_look() -> None:
    """Age is known; there is nothing to estimate. A release that is newer ends the incident."""
    watched = Watched(contract("age", 100.0))
    assert watched.sees([Second(age_s=100.0)]) == []
    assert watched.sees([Second(age_s=101.0)])
    watched.took_over(2)
    (recovery,) = watched.sees([Second(age_s=1.0)])
    assert isinstance(recovery, Recovery)


def test_answers_and_hits_are_counted_where_they_are_checked() -> None:
    """Invalid answers and wrong hits are no requests; they come as counts."""
    invalid = Watched(contract("invalid_rate", 0.001))
    assert invalid.sees([Second(valid_answers=100)] * 100) == []
    assert invalid.sees([Second(valid_answers=50, invalid_answers=50)] * 10)
    hits = Watched(contract("wrong_hit_rate", 0.001, min_n=5))
    assert hits.sees([Second(hits_checked=1)] * 100) == []
    assert hits.sees([Second(hits_checked=1, wrong_hits=1)] * 10)


def test_a_relative_promise_is_not_watched() -> None:
    """Nothing stands beside the release to compare it with; a free machine costs nothing, and none
    costs nothing at all."""
    relative = dataclasses.replace(contract(), bound=Bound.RATIO_AT_MOST, limit=1.0)
    watched = Watched(
        relative, contract("cost_per_1k", 1.0), contract("device_s_per_1k", 0.0), contract()
    )
    assert watched.watcher.watched == (contract(),)


def false_alarms(runs: int, seconds: int, *, naive: bool, seed: int = 0) -> float:
    """How many of ``runs`` releases are accused whose promise is kept, just: 5 % are slow."""
    rng = np.random.default_rng(seed)
    accused = 0
    for _ in range(runs):
        slow = rng.binomial(8, 0.05, seconds)
        if naive:  # one-sided z-test at 5 %, looked at every second
            n = 8 * np.arange(1, seconds + 1)
            z = (slow.cumsum() / n - 0.05) / np.sqrt(0.05 * 0.95 / n)
            accused += bool((z[10:] > 1.645).any())
        else:
            watched = Watched(false_alarm=0.05)
            accused += bool(watched.sees([SLOW] * int(k) + [FAST] * int(8 - k) for k in slow))
    return accused / runs


def test_a_release_that_keeps_its_promise_is_left_alone() -> None:
    """On the very bound, looked at every second: at most 5 % are ever accused. A test that may be
    looked at once, looked at every second, accuses many."""
    assert false_alarms(100, 400, naive=False) <= 0.05
    assert false_alarms(400, 400, naive=True) > 0.15


def test_every_second_second_is_no_recovery() -> None:
    """Five hundred good requests in one second are one good second, and the next one is slow."""
    watched = Watched()
    seconds = [[SLOW] * 500, [FAST] * 500] * 100
    assert len(watched.sees(seconds)) == 1
    assert watched.sees(seconds) == []


def test_trouble_that_comes_in_whole_seconds_is_seldom_taken_for_over() -> None:
    """On the very bound, 5 % of the seconds are slow from end to end and the others good: at most
    5 % of the incidents are closed."""
    rng, runs, closed = np.random.default_rng(0), 200, 0
    for _ in range(runs):
        watched = Watched()
        assert watched.sees(bad(20))
        slow = rng.random(500) < 0.05
        said = watched.sees([[SLOW if s else FAST] * 20 for s in slow])
        closed += any(isinstance(s, Recovery) for s in said)
    assert closed / runs <= 0.05


def test_what_was_seen_before_it_broke_is_not_among_the_least() -> None:
    """Ten minutes of good traffic are no observations of trouble: of that fifty are the least."""
    watched = Watched()
    assert watched.sees(good(600)) == []
    assert watched.sees([[SLOW]] * 49) == []
    (breach,) = watched.sees([[SLOW]])
    assert isinstance(breach, Breach)
    assert (breach.n, breach.since_s) == (50, 50.0)


def test_nor_is_trouble_among_the_least_of_recovery() -> None:
    """A promise that a few good seconds could show to be kept again waits for fifty requests."""
    watched = Watched(contract("error_rate", 0.5))
    assert watched.sees([[FAILED] * 20] * 60)
    assert watched.sees([[FAILED] * 20] * 20) == []
    assert watched.sees([[FAST]] * 49) == []
    (recovery,) = watched.sees([[FAST]])
    assert isinstance(recovery, Recovery)
    assert (recovery.n, recovery.value) == (50, 0.0)


def test_a_recovery_says_what_is_so_now() -> None:
    """However long it was broken after that was told: "40 %, at most 5 % again" is no sentence."""
    watched = Watched()
    assert watched.sees(bad(20))
    assert watched.sees(bad(100)) == []
    (recovery,) = watched.sees(good(300))
    assert isinstance(recovery, Recovery)
    assert recovery.value == 0.0
    assert recovery.because.startswith("requests that took longer than 100 ms, or failed: 0 %")


def test_what_takes_minutes_to_show_is_told_whole() -> None:
    """5.25 % where 5 % are promised, second by second: the evidence is older than the seconds that
    are kept, and all of it is counted; what is shown is never less than that it is broken."""
    watched = Watched()
    before_s = watched.now_s
    (breach,) = watched.sees([[SLOW] * 21 + [FAST] * 379] * 600)
    assert isinstance(breach, Breach)
    assert breach.since_s == watched.now_s - before_s > 120
    assert breach.n == 400 * breach.since_s
    assert breach.value == pytest.approx(0.0525)
    assert breach.low >= 0.05


def test_seconds_that_are_far_apart_count_as_those_that_are_not() -> None:
    """One request a minute: silence between them speaks neither way, and 106 good ones close the
    incident as they do within two minutes."""
    watched = Watched()
    assert watched.sees(bad(20))
    minutes = [[FAST], *[[]] * 59] * 105
    assert watched.sees(minutes) == []
    (recovery,) = watched.sees([[FAST]])
    assert isinstance(recovery, Recovery)
    assert recovery.n == 106


def test_promises_share_the_level() -> None:
    """Of eight that are kept one is accused as seldom as of one: each needs eight times the
    evidence, which at 5.25 % instead of 5 % takes most of a minute more."""
    seconds = [[SLOW] * 21 + [FAST] * 379] * 900
    delays = []
    for others in (0, 7):
        kept = (contract("latency_p95", 0.6 + i) for i in range(others))
        watched = Watched(contract(), *kept)
        before_s = watched.now_s
        assert watched.sees(seconds)
        delays.append(watched.now_s - before_s)
    assert delays[1] - delays[0] == pytest.approx(np.log(8) / np.log1p(0.9 * 0.05), abs=5)


def test_what_is_promised_no_more_is_withdrawn() -> None:
    """It left the file, or its limit or its action is another: nothing that is seen could close it.
    It is over and has not recovered; and what was to be rolled back for it holds up nothing."""
    left = contract("error_rate", 0.2).promise
    action = contract(action=Action.WARN).promise
    limit = contract(limit=0.2).promise
    watcher = Watcher(WatchRule((contract(),)), {left: 1, action: 1, limit: 1})
    said = watcher.handle(TookOver(2, Terms()), 0.0)
    assert [(w.promise, w.because) for w in said if isinstance(w, Withdrawal)] == [
        (promise, "that is promised no more") for promise in (left, action, limit)
    ]
    assert watcher.open == {}
    assert watcher.action_of(contract()) is Action.ROLLBACK
    assert watcher.handle(TookOver(3, Terms()), 0.0) == []


def test_without_a_cache_no_hit_is_wrong_any_more() -> None:
    """The release that a rollback brought back keeps no answers: it cannot break the promise, nor
    can it ever be seen to keep it."""
    watched = Watched(contract("wrong_hit_rate", 0.001, min_n=5))
    assert watched.sees([Second(hits_checked=1, wrong_hits=1)] * 10)
    (said,) = watched.watcher.handle(TookOver(2, Terms(cached=False)), watched.now_s)
    assert isinstance(said, Withdrawal)
    assert said.because == "the release that answers now keeps no answers"
    assert (watched.watcher.open, watched.watcher.watched) == ({}, ())


def test_what_cannot_be_seen_stays_open() -> None:
    """A release without a reference for its lengths may well drift: nothing is known of it, and
    nothing closes the incident. Nor does a cache that nobody hits, or an age that nobody knows."""
    drift, hits, age = contract("input_drift", 0.1), contract("wrong_hit_rate"), contract("age")
    watcher = Watcher(WatchRule((drift, hits, age)), {c.promise: 1 for c in (drift, hits, age)})
    assert watcher.handle(TookOver(1, Terms()), 0.0) == []
    assert watcher.watched == (hits, age)
    assert not any(watcher.handle(Second([FAST] * 20), float(i)) for i in range(3600))
    assert len(watcher.open) == 3


@pytest.mark.campaign
@pytest.mark.parametrize("seconds", [1_000, 10_000])
def test_a_release_that_keeps_its_promise_is_left_alone_for_long(seconds: int) -> None:
    """The same, for hours and in many runs: within 1 point of the level."""
    assert false_alarms(1_000_000 // seconds, seconds, naive=False) <= 0.06
