"""The power table says beforehand what the gate then does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headgate.errors import InputError
from headgate.objects import Bound, Contract, Direction, Verdict
from headgate.release import (
    Assumption,
    Blocks,
    assume,
    contract_power,
    joint_power,
    judge,
    least_n,
    share_of,
    slices_power,
)
from tests.unit.release.samples import binary, blocks, contract, items

RATIO = contract("latency", Bound.RATIO_AT_MOST, 1.1)


@pytest.mark.parametrize("n", [400, 1250])
def test_stated_power_is_the_share_of_passes(n: int) -> None:
    """Candidates that are truly equal pass as often as stated, within 3 points (binary)."""
    row = contract_power(contract(), n, Assumption("discordance", 0.05, "stated"))
    rng = np.random.default_rng(21)
    passes = [
        judge(contract(), binary(n, gained=int(g), lost=int(lost))).verdict is Verdict.PASS
        for g, lost, _ in rng.multinomial(n, [0.025, 0.025, 0.95], size=800)
    ]
    assert np.mean(passes) == pytest.approx(row.power, abs=0.04)


def noisy_blocks(rng: np.random.Generator, n: int, sd: float, level: float = 100.0) -> Blocks:
    """Candidate, current and the A/A pairs spread alike: ``sd`` is of the log of a ratio."""

    def drawn(size: int) -> list[float]:
        return list(level * np.exp(rng.normal(0, sd / math.sqrt(2), size)))

    before, after = drawn(2), drawn(2)
    return blocks(
        drawn(n),
        drawn(n),
        aa_before=((before[0], before[1]),),
        aa_after=((after[0], after[1]),),
    )


@pytest.mark.parametrize("sd", [0.02, 0.035, 0.06])
@pytest.mark.parametrize(
    ("rule", "kind", "expected"),
    [
        (RATIO, "log_sd", None),
        (contract("latency", Bound.NOT_ABOVE_CURRENT_BY, 10.0), "sd", None),
        (contract("latency", Bound.AT_MOST, 120.0), "sd", 100.0),
        (contract("latency", Bound.AT_MOST, 108.0), "sd", 100.0),
    ],
)
def test_stated_power_of_blocks_is_the_share_of_passes(
    rule: Contract, kind: str, expected: float | None, sd: float
) -> None:
    """The same for blocks, where the A/A pairs have a word too, within 5 points."""
    spread = {"log_sd": sd, "sd": 100 * sd * (1 if expected is None else 1 / math.sqrt(2))}[kind]
    assumption = Assumption(kind, spread, "stated", expected=expected)  # type: ignore[arg-type]
    row = contract_power(rule, 9, assumption)
    rng = np.random.default_rng(22)
    passes = [judge(rule, noisy_blocks(rng, 9, sd)).verdict is Verdict.PASS for _ in range(1500)]
    assert np.mean(passes) == pytest.approx(row.power, abs=0.05)


def test_more_blocks_do_not_help_where_the_noise_of_one_stops_it() -> None:
    """6 % between two blocks of current are more than half of a margin of 10 % every other time."""
    row = contract_power(RATIO, 1000, Assumption("log_sd", 0.06, "stated"))
    assert row.power < 0.5
    assert (row.required_n, row.can_decide) == (None, False)


@pytest.mark.parametrize(
    "assumption",
    [Assumption("sd", 0.2, "stated", largest=1.0), Assumption("discordance", 0.05, "stated")],
)
def test_required_n_can_decide_and_one_less_cannot(assumption: Assumption) -> None:
    """can_decide is power of at least 80 %, and required_n is where it begins."""
    n = contract_power(contract(), 100, assumption).required_n
    assert n is not None
    assert contract_power(contract(), n, assumption).can_decide
    assert not contract_power(contract(), n - 1, assumption).can_decide


def test_too_few_blocks_have_no_power() -> None:
    """Below 8 blocks, or the contract's min_n, nothing can be decided, and required_n says so."""
    calm = Assumption("log_sd", 0.001, "stated")
    row = contract_power(RATIO, 7, calm)
    assert (row.power, row.required_n, row.can_decide) == (0.0, 8, False)
    picky = contract("latency", Bound.RATIO_AT_MOST, 1.1, min_n=20)
    assert contract_power(picky, 19, calm).required_n == 20


def test_a_demand_for_a_gain_needs_an_expectation() -> None:
    """At most a quarter of the cost: impossible if as current, easy if an eighth is expected."""
    rule = contract("cost", Bound.RATIO_AT_MOST, 0.25)
    as_current = contract_power(rule, 8, Assumption("log_sd", 0.1, "stated"))
    assert (as_current.can_decide, as_current.required_n) == (False, None)
    eighth = contract_power(rule, 8, Assumption("log_sd", 0.1, "pilot", expected=0.125))
    assert eighth.can_decide
    assert eighth.margin == pytest.approx(math.log(2))


@pytest.mark.parametrize("bound", [Bound.NOT_BELOW_CURRENT_BY, Bound.NOT_ABOVE_CURRENT_BY])
def test_an_expected_loss_costs_power_on_either_side(bound: Bound) -> None:
    """A candidate that is expected to lose a point of two is harder to pass than an equal one."""
    loss = -0.01 if bound is Bound.NOT_BELOW_CURRENT_BY else 0.01
    rule = contract(bound=bound)
    for kind, value in (("discordance", 0.05), ("sd", 0.2)):
        powers = [
            contract_power(
                rule,
                1250,
                Assumption(kind, value, "stated", expected=e),  # type: ignore[arg-type]
            ).power
            for e in (loss, 0.0, -loss)
        ]
        assert powers == sorted(powers)
        assert powers[0] < 0.6


def test_a_bound_from_above_is_the_mirror_of_one_from_below() -> None:
    """A loss of a point is as hard to pass in a metric that is better low as in one better high."""
    below = contract_power(
        contract(), 900, Assumption("discordance", 0.05, "stated", expected=-0.01)
    )
    above = contract_power(
        contract(bound=Bound.NOT_ABOVE_CURRENT_BY),
        900,
        Assumption("discordance", 0.05, "stated", expected=0.01),
    )
    assert above == below


def test_absolute_bounds_measure_from_the_expected_value() -> None:
    """The margin is the distance from the expected value to the limit, on the good side."""
    for bound, expected in ((Bound.AT_LEAST, 0.93), (Bound.AT_MOST, 0.87)):
        rule = contract(bound=bound, limit=0.9)
        row = contract_power(
            rule, 500, Assumption("sd", 0.1, "stated", expected=expected, largest=1.0)
        )
        assert row.margin == pytest.approx(0.03)
        assert row.can_decide


def test_a_worst_slice_needs_more_than_one_slice() -> None:
    """All slices must pass: the power is Boole's bound, and the smallest slice is shown."""
    rule = contract(limit=0.05)
    assumption = Assumption("discordance", 0.05, "stated")
    each = [contract_power(rule, n, assumption).power for n in (200, 300)]
    row = slices_power(rule, [300, 200], assumption)
    assert row.n == 200
    assert row.power == pytest.approx(sum(each) - 1)
    with pytest.raises(InputError, match="no slice"):
        slices_power(rule, [], assumption)


@pytest.mark.parametrize("smallest", range(100, 400, 20))
def test_slices_can_decide_just_where_n_is_what_is_needed(
    smallest: int,
) -> None:
    """Of slices of any sizes, as of one: what is needed is said of the smallest, as n is."""
    rule, assumption = contract(limit=0.06), Assumption("discordance", 0.05, "stated")
    sizes = [smallest, smallest, 2 * smallest, 5 * smallest]
    row = slices_power(rule, sizes, assumption, target=0.95)
    assert row.required_n is not None
    assert row.can_decide is (row.required_n <= row.n)
    grown = [-(-size * row.required_n // smallest) for size in sizes]
    assert slices_power(rule, grown, assumption, target=0.95).can_decide


def test_no_slice_is_large_enough_to_show_what_is_not_so() -> None:
    """Where the loss that is assumed is beyond the margin."""
    lost = Assumption("discordance", 0.05, "stated", expected=-0.03)
    row = slices_power(contract(limit=0.02), [300, 200], lost)
    assert (row.required_n, row.can_decide) == (None, False)


def test_a_class_is_decided_from_min_n_on() -> None:
    """A class contract needs no assumption."""
    rule = contract("invariance", Bound.ONE_OF, 0.0, allowed=("exact",), min_n=10)
    assert contract_power(rule, 10, None).can_decide
    assert not contract_power(rule, 9, None).can_decide


def test_a_pilot_is_not_believed_too_much() -> None:
    """A pilot without any difference still assumes some; one with differences assumes those."""
    calm = assume(binary(200))
    assert calm.kind == "discordance"
    assert calm.value == pytest.approx(1 / 202)
    assert calm.source == "pilot of 200 items"
    assert assume(binary(1000, gained=20, lost=30)).value == pytest.approx(0.05, abs=0.001)
    graded = assume(items([0.5] * 101, [0.5] * 101))
    assert (graded.kind, graded.value, graded.largest) == ("sd", 0.1, 1.0)


def test_a_pilot_of_blocks_gives_the_spread_of_its_log_ratios() -> None:
    """Ratios 1 and e^0.2, alternating, spread by 0.1 about their mean; absolute, by their own."""
    pilot = blocks([100.0, 100.0 * math.exp(0.2)] * 50)
    spread = assume(pilot)
    assert (spread.kind, spread.largest, spread.expected) == ("log_sd", 0.0, None)
    assert spread.value == pytest.approx(0.1, rel=0.01)
    absolute = assume(blocks([90.0, 110.0] * 50), absolute=True)
    assert (absolute.kind, absolute.expected) == ("sd", 100.0)
    assert absolute.value == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize(
    "pilot",
    [
        binary(1),
        items([None, 1.0], [1.0, 1.0]),
        items([math.nan, 1.0, 1.0], [1.0] * 3),
        blocks([1.0, math.inf]),
    ],
)
def test_a_pilot_that_shows_nothing_is_refused(pilot: object) -> None:
    """Fewer than two complete pairs, or values that are none, plan nothing."""
    with pytest.raises(InputError, match="shows no spread"):
        assume(pilot)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "assumption"),
    [
        (contract(), None),
        (contract(), Assumption("log_sd", 0.1, "stated")),
        (RATIO, Assumption("sd", 0.1, "stated")),
        (contract(bound=Bound.AT_LEAST), Assumption("sd", 0.1, "stated")),
        (
            contract("latency", Bound.RATIO_AT_MOST, 0.0),
            Assumption("log_sd", 0.1, "stated"),
        ),
    ],
)
def test_an_assumption_must_fit_its_bound(rule: object, assumption: Assumption | None) -> None:
    """The wrong kind of spread, or no expectation where one is due, is refused."""
    with pytest.raises(InputError, match="power of this contract"):
        contract_power(rule, 100, assumption)  # type: ignore[arg-type]


def test_direction_is_kept_out_of_the_plan() -> None:
    """A metric that is better low has the same pilot spread as its mirror image."""
    high = items([0.25, 0.75] * 60, [0.5] * 120)
    low = items([0.75, 0.25] * 60, [0.5] * 120, direction=Direction.LOWER)
    assert assume(high).value == pytest.approx(assume(low).value)


def test_contracts_that_must_all_pass_owe_more_than_their_sum() -> None:
    """Four at 95 % pass together in 80 %, however they hang together."""
    assert joint_power([share_of(4)] * 4) == pytest.approx(0.8)
    assert joint_power([0.4, 0.5]) == 0.0


@pytest.mark.parametrize(
    ("rule", "value_range", "least"),
    [
        (contract(limit=0.02), (0.0, 1.0), 133),
        (contract(limit=0.02, min_n=500), (0.0, 1.0), 500),
        (contract(bound=Bound.NOT_ABOVE_CURRENT_BY, limit=0.02), (0.0, 1.0), 133),
        (contract(limit=0.0), (0.0, 1.0), None),
        (contract(bound=Bound.NOT_ABOVE_CURRENT_BY, limit=0.0), (0.0, 1.0), None),
        (contract(bound=Bound.AT_LEAST, limit=1.0), (0.0, 1.0), None),
        (contract(bound=Bound.AT_LEAST, limit=0.9), (0.0, 1.0), 25),
        (RATIO, None, 8),
        (contract("latency", Bound.RATIO_AT_MOST, 0.0), None, None),
        (contract("latency", Bound.AT_MOST, 0.0), None, None),
        (contract("latency", Bound.NOT_ABOVE_CURRENT_BY, 0.0), None, 8),
        (contract("invariance", Bound.ONE_OF, 0.0, allowed=("exact",)), None, 1),
    ],
)
def test_below_the_least_n_nothing_could_be_accepted(
    rule: Contract, value_range: tuple[float, float] | None, least: int | None
) -> None:
    """Not even a candidate without any difference; and from there on that one is."""
    assert least_n(rule, value_range=value_range) == least
    if rule.bound is not Bound.NOT_BELOW_CURRENT_BY or not rule.limit or rule.min_n:
        return
    for n, verdict in ((132, Verdict.UNKNOWN), (133, Verdict.PASS)):
        assert judge(rule, binary(n)).verdict is verdict
