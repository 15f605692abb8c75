"""One contract on its samples: what passes, what fails, and what cannot be told."""

from __future__ import annotations

import math

import pytest

from headgate.objects import Action, Bound, Direction, Verdict
from headgate.release import ClassLabel, PairedItems, Samples, WorstSlice, judge
from headgate.theory.intervals import paired_binary_interval, t_interval, wilson_interval
from tests.unit.release.samples import QUIET, binary, blocks, contract, items

RATIO = contract("latency", Bound.RATIO_AT_MOST, 1.1)
AT_MOST = contract("latency", Bound.AT_MOST, 100.0)


class TestItems:
    """Paired items."""

    def test_a_small_loss_among_many_passes(self) -> None:
        """A bound above the limit passes, with Tango's numbers and a sentence that names them."""
        result = judge(contract(), binary(1250, gained=10, lost=12), "entry-7")
        expected = paired_binary_interval(10, 12, 1250)
        assert result.verdict is Verdict.PASS
        assert (result.value, result.low, result.high) == (
            expected.value,
            expected.low,
            expected.high,
        )
        assert result.n == 1250
        assert result.measurement == "entry-7"
        assert result.current_value == pytest.approx(1 - 10 / 1250)
        assert result.because == (
            "recall candidate - current = -0.0016 (95 % bound -0.008207) keeps -0.02; n = 1250"
        )

    def test_a_shown_loss_fails(self) -> None:
        """Even the better bound is below the limit."""
        result = judge(contract(), binary(1250, lost=60))
        assert result.verdict is Verdict.FAIL
        assert result.high < -0.02
        assert "breaks -0.02" in result.because

    def test_between_the_bounds_is_unknown(self) -> None:
        """The same shares from fewer items cannot be told."""
        result = judge(contract(), binary(125, gained=1, lost=1))
        assert result.verdict is Verdict.UNKNOWN
        assert "does not tell" in result.because

    def test_no_difference_in_few_items_is_no_proof(self) -> None:
        """Zero discordant pairs of 60 do not show a loss below 2 points; of 200 they do."""
        assert judge(contract(), binary(60)).verdict is Verdict.UNKNOWN
        assert judge(contract(), binary(200)).verdict is Verdict.PASS

    def test_graded_values_use_the_t_interval_with_the_range_as_floor(self) -> None:
        """Values that are not all 0 or 1 are judged by their paired mean."""
        ours = [0.5, 0.75, 1.0, 0.25] * 100
        theirs = [0.5, 0.5, 1.0, 0.5] * 100
        result = judge(contract(), items(ours, theirs))
        expected = t_interval([0.0, 0.25, 0.0, -0.25] * 100, largest=1.0)
        assert (result.low, result.high) == (expected.low, expected.high)

    def test_equal_graded_values_in_few_items_are_no_proof(self) -> None:
        """A spread of zero does not make 60 items certain."""
        few, many = [0.5] * 60, [0.5] * 400
        assert judge(contract(), items(few, few)).verdict is Verdict.UNKNOWN
        assert judge(contract(), items(many, many)).verdict is Verdict.PASS

    def test_an_absolute_floor_looks_at_the_candidate_alone(self) -> None:
        """at_least uses Wilson's interval of the candidate, whatever current did."""
        floor = contract(bound=Bound.AT_LEAST, limit=0.9)
        good = [1.0] * 480 + [0.0] * 20
        expected = wilson_interval(480, 500)
        for current in ([None] * 500, [1.0] * 500, [0.0] * 500):
            result = judge(floor, items(good, current))
            assert result.verdict is Verdict.PASS
            assert (result.low, result.high) == (expected.low, expected.high)
            assert result.current_value is None

    def test_a_metric_that_is_better_low_is_mirrored(self) -> None:
        """not_above_current_by passes, fails and charges errors on the other side."""
        ceiling = contract("toxicity", Bound.NOT_ABOVE_CURRENT_BY, 0.02)

        def rates(lost: int, errored: int) -> PairedItems:
            ours = [1.0] * lost + [None] * errored + [0.0] * (1000 - lost - errored)
            return items(ours, [0.0] * 1000, metric="toxicity", direction=Direction.LOWER)

        assert judge(ceiling, rates(5, 0)).verdict is Verdict.PASS
        assert judge(ceiling, rates(50, 0)).verdict is Verdict.FAIL
        assert judge(ceiling, rates(5, 8)).value == pytest.approx(0.013)

    def test_errors_count_as_lost(self) -> None:
        """A pair with an error on either side is one lost pair, and the sentence says so."""
        pairs = binary(1000)
        candidate: list[float | None] = list(pairs.candidate)
        current: list[float | None] = list(pairs.current)
        candidate[0], current[1], candidate[2], current[2] = None, None, None, None
        result = judge(contract(), items(candidate, current))
        assert result.value == -0.003
        assert result.low == paired_binary_interval(0, 3, 1000).low
        assert "3 of 1000 items errored and count as lost" in result.because

    @pytest.mark.parametrize("side", ["candidate", "current"])
    def test_more_than_one_percent_of_errors_is_invalid(self, side: str) -> None:
        """10 errors of 1,000 are charged, 11 break the measurement, on either side."""
        for errors, verdict in ((10, Verdict.PASS), (11, Verdict.INVALID)):
            broken = [None] * errors + [1.0] * (1000 - errors)
            whole = [1.0] * 1000
            pair = (broken, whole) if side == "candidate" else (whole, broken)
            assert judge(contract(limit=0.03), items(*pair)).verdict is verdict

    def test_fewer_items_than_the_contract_requires_are_unknown(self) -> None:
        """min_n counts, whatever the numbers say."""
        assert judge(contract(min_n=1001), binary(1000)).verdict is Verdict.UNKNOWN
        assert judge(contract(min_n=1000), binary(1000)).verdict is Verdict.PASS

    @pytest.mark.parametrize(
        ("broken", "says"),
        [
            (items([], []), "nothing was measured"),
            (items([1.0] * 300, [1.0] * 299), "300 items, but 300 values"),
            (items([1.0] * 299 + [math.nan], [1.0] * 300), "nan of item q299"),
            (items([1.0] * 300, [math.inf] + [1.0] * 299), "current's value inf of item q0"),
            (items([1.0] * 299 + [1.5], [1.0] * 300), "outside 0 to 1"),
            (items([1.0] * 300, [1.0] * 300, value_range=(0.0, math.inf)), "value range"),
            (items([1.0] * 300, [1.0] * 300, value_range=(1.0, 1.0)), "value range"),
            (items([1.0] * 300, [1.0] * 300, slices=((),)), "slices of 1"),
            (items([1.0] * 300, [1.0] * 300, metric="other"), "the samples are of other"),
            (items([1.0] * 300, [1.0] * 300, direction=Direction.LOWER), "cannot guard"),
            (
                PairedItems("recall", Direction.HIGHER, ("q",) * 300, (1.0,) * 300, (1.0,) * 300),
                "twice",
            ),
            (ClassLabel("recall", "exact", 300), "a class was measured"),
        ],
    )
    def test_a_broken_measurement_is_invalid(self, broken: Samples, says: str) -> None:
        """Each way to be broken is named, and none of them is a number."""
        result = judge(contract(), broken)
        assert result.verdict is Verdict.INVALID
        assert says in result.because
        assert math.isnan(result.value)

    @pytest.mark.parametrize("limit", [1.0, 5.0])
    def test_a_margin_as_wide_as_the_range_is_no_contract(self, limit: float) -> None:
        """A margin that nothing could breach does not pass anything."""
        result = judge(contract(limit=limit), binary(1000))
        assert result.verdict is Verdict.INVALID
        assert "lets any loss through" in result.because

    def test_a_ratio_of_items_is_not_judged(self) -> None:
        """Ratios are measured in blocks."""
        rule = contract("recall", Bound.RATIO_AT_MOST, 1.1)
        samples = items([1.0] * 300, [1.0] * 300, direction=Direction.LOWER)
        assert judge(rule, samples).verdict is Verdict.INVALID

    def test_no_samples_are_unknown(self) -> None:
        """A contract whose metric was not measured is unknown, and says so."""
        result = judge(contract(), None)
        assert result.verdict is Verdict.UNKNOWN
        assert result.because == "recall: there are no samples of it"

    def test_a_breach_that_only_warns_warns(self) -> None:
        """on_breach: warn turns a fail, and nothing else, into a warning."""
        rule = contract(on_breach=Action.WARN)
        assert judge(rule, binary(1250, lost=60)).verdict is Verdict.WARN
        assert judge(rule, binary(60)).verdict is Verdict.UNKNOWN
        assert judge(rule, items([], [])).verdict is Verdict.INVALID


class TestSlices:
    """Worst slice."""

    @staticmethod
    def samples(lost_in_b: int, *, n_b: int = 300, n_c: int = 20) -> WorstSlice:
        candidate = [1.0] * 400 + [0.0] * lost_in_b + [1.0] * (n_b - lost_in_b) + [0.0] * n_c
        slices = (("s:a",),) * 400 + (("s:b",),) * n_b + (("s:c",),) * n_c
        return WorstSlice("recall", items(candidate, [1.0] * len(candidate), slices=slices))

    def test_the_worst_slice_speaks(self) -> None:
        """The reported numbers are the worst slice's, and small slices are named as unjudged."""
        result = judge(contract(limit=0.05), self.samples(5))
        assert result.verdict is Verdict.PASS
        assert result.value == pytest.approx(-5 / 300)
        assert result.n == 300
        assert result.because.startswith("worst of 2 slices, s:b: recall candidate - current")
        assert result.because.endswith("; not judged, fewer than 100 items: s:c")

    def test_one_failing_slice_fails_the_whole(self) -> None:
        """A group that is sacrificed is not hidden by the others."""
        result = judge(contract(limit=0.05), self.samples(40))
        assert result.verdict is Verdict.FAIL
        assert "s:b" in result.because

    def test_one_undecided_slice_leaves_it_unknown(self) -> None:
        """All large slices must pass."""
        assert judge(contract(limit=0.05), self.samples(12)).verdict is Verdict.UNKNOWN

    def test_no_large_slice_is_unknown(self) -> None:
        """Without a slice to judge there is no verdict; nor without slices at all."""
        small = self.samples(0)
        result = judge(contract(limit=0.05, min_n=401), small)
        assert result.verdict is Verdict.UNKNOWN
        assert result.because.startswith("recall: no slice has 401 items; not judged")
        unsliced = WorstSlice("recall", binary(1000))
        assert judge(contract(), unsliced).verdict is Verdict.UNKNOWN

    def test_an_item_that_names_a_slice_twice_counts_once(self) -> None:
        """Repeating a slice's name does not double its items."""
        pairs = items([1.0] * 90, [1.0] * 90, slices=(("s:a", "s:a"),) * 90)
        assert judge(contract(), WorstSlice("recall", pairs)).verdict is Verdict.UNKNOWN

    def test_errors_break_the_whole_before_it_is_sliced(self) -> None:
        """More than 1 % of errors is invalid, wherever they are."""
        candidate = [None] * 20 + [1.0] * 980
        sliced = items(candidate, [1.0] * 1000, slices=(("s:a",),) * 1000)
        assert judge(contract(limit=0.2), WorstSlice("recall", sliced)).verdict is Verdict.INVALID


class TestBlocks:
    """Interleaved blocks."""

    def test_a_ratio_is_the_t_interval_of_log_ratios(self) -> None:
        """A faster candidate passes with the geometric mean of its ratios."""
        ours, theirs = [50.0, 52.0, 54.0, 51.0] * 2, [100.0, 108.0, 104.0, 99.0] * 2
        result = judge(RATIO, blocks(ours, theirs))
        logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
        expected = t_interval(logs)
        assert result.verdict is Verdict.PASS
        assert (result.value, result.high) == (math.exp(expected.value), math.exp(expected.high))
        assert result.n == 8

    def test_a_slower_candidate_fails(self) -> None:
        """At its best bound it is still slower than the limit."""
        assert judge(RATIO, blocks([120.0, 122.0] * 4)).verdict is Verdict.FAIL

    def test_seven_blocks_are_unknown(self) -> None:
        """Fewer than 8 blocks cannot be told, however clear they look."""
        for value in (50.0, 200.0, math.inf):
            result = judge(RATIO, blocks([value] * 7))
            assert result.verdict is Verdict.UNKNOWN
            assert "7 blocks" in result.because

    @pytest.mark.parametrize("when", ["aa_before", "aa_after"])
    def test_noise_above_half_the_margin_is_unknown(self, when: str) -> None:
        """10 % of A/A noise on either side of the run drowns a margin of 10 %, and is named."""
        noisy = blocks([50.0, 51.0] * 4, **{when: ((100.0, 110.0), (110.0, 100.0))})
        result = judge(RATIO, noisy)
        assert result.verdict is Verdict.UNKNOWN
        assert result.because == (
            "latency: current against itself differs by 10.0 %, more than 4.9 %, half of the "
            "margin: from no change to 1.1x are two such steps"
        )
        assert result.value == pytest.approx(0.505, rel=0.01), "what was measured is still shown"
        assert result.low < result.value < result.high

    def test_without_aa_blocks_the_noise_is_not_known(self) -> None:
        """No A/A before or none after is unknown."""
        assert judge(RATIO, blocks([50.0] * 8, aa_before=())).verdict is Verdict.UNKNOWN
        assert judge(RATIO, blocks([50.0] * 8, aa_after=())).verdict is Verdict.UNKNOWN

    def test_aa_noise_is_a_floor_of_the_spread(self) -> None:
        """Eight equal ratios are not believed to be exact: they get the spread of the A/A pairs."""
        result = judge(RATIO, blocks([50.0] * 8))
        width = math.log(result.high / result.low)
        t_7 = 1.894578605
        assert width == pytest.approx(2 * t_7 * math.log(1.01) / math.sqrt(8), rel=1e-6)

    def test_what_does_not_vary_at_all_is_exact(self) -> None:
        """A deterministic quantity, equal in all A/A pairs, meets its limit exactly."""
        still = ((64.0, 64.0),)
        size = blocks([100.0] * 8, [64.0] * 8, aa_before=still, aa_after=still)
        assert judge(AT_MOST, size).verdict is Verdict.PASS
        over = blocks([100.001] * 8, [64.0] * 8, aa_before=still, aa_after=still)
        assert judge(AT_MOST, over).verdict is Verdict.FAIL

    def test_a_limit_of_one_has_the_distance_as_margin(self) -> None:
        """ "No dearer than current" is decided by how far off the candidate is."""
        rule = contract("latency", Bound.RATIO_AT_MOST, 1.0)
        assert judge(rule, blocks([50.0, 51.0] * 4)).verdict is Verdict.PASS
        assert judge(rule, blocks([99.0, 100.0] * 4)).verdict is Verdict.UNKNOWN

    def test_under_an_absolute_bound_the_noise_is_the_candidates_own(self) -> None:
        """Half the distance to the limit must exceed what its blocks differ from one to the next,
        whatever is the matter with current."""
        loud = ((200.0, 240.0), (240.0, 200.0))
        quiet = blocks([80.0, 81.0] * 4, aa_before=loud, aa_after=loud)
        assert judge(AT_MOST, quiet).verdict is Verdict.PASS
        noisy = judge(AT_MOST, blocks([72.0, 84.0] * 4))
        assert noisy.verdict is Verdict.UNKNOWN
        assert noisy.because == (
            "latency: a block differs from the next by 12, more than 11, half of the distance from "
            "78 to 100"
        )
        assert judge(AT_MOST, blocks([32.0, 44.0] * 4)).verdict is Verdict.PASS
        assert judge(AT_MOST, blocks([120.0, 121.0] * 4)).verdict is Verdict.FAIL

    def test_no_latency_is_below_zero(self) -> None:
        """Nor is its lower bound, however far the blocks lie apart."""
        result = judge(AT_MOST, blocks([1.0] * 7 + [99.0]))
        assert result.low == 0.0

    def test_a_difference_is_judged_in_the_metrics_unit(self) -> None:
        """not_above_current_by compares differences, and their noise with half the limit."""
        rule = contract("latency", Bound.NOT_ABOVE_CURRENT_BY, 5.0)
        assert judge(rule, blocks([101.0, 102.0] * 4)).verdict is Verdict.PASS
        assert judge(rule, blocks([109.0, 110.0] * 4)).verdict is Verdict.FAIL
        tight = contract("latency", Bound.NOT_ABOVE_CURRENT_BY, 1.5)
        noisy = judge(tight, blocks([99.0] * 8))
        assert "differs by 1, more than 0.75, half of the margin of 1.5" in noisy.because

    def test_throughput_is_better_high(self) -> None:
        """at_least on blocks passes above the limit and fails below it."""
        rule = contract("rate", Bound.AT_LEAST, 100.0)
        for value, verdict in ((150.0, Verdict.PASS), (60.0, Verdict.FAIL)):
            rate = blocks([value] * 8, metric="rate", direction=Direction.HIGHER)
            assert judge(rule, rate).verdict is verdict

    @pytest.mark.parametrize(("rule", "quantity"), [(RATIO, " candidate / current"), (AT_MOST, "")])
    def test_failed_requests_of_the_candidate_fail(self, rule: object, quantity: str) -> None:
        """An infinite block of the candidate is honest harm."""
        result = judge(rule, blocks([50.0] * 7 + [math.inf]))  # type: ignore[arg-type]
        assert result.verdict is Verdict.FAIL
        assert result.value == math.inf
        assert result.because.startswith(f"latency{quantity} is infinite and breaks ")
        assert (
            "more than 1% of the candidate's requests failed in 1 of 8 blocks, and a block that "
            "fails so many has no latency" in result.because
        )

    def test_a_contract_that_only_warns_does_not_let_failed_requests_through(self) -> None:
        """A warning promotes, so a candidate that does not answer cannot have one."""
        rule = contract("latency", Bound.AT_MOST, 100.0, on_breach=Action.WARN)
        assert judge(rule, blocks([150.0] * 8)).verdict is Verdict.WARN
        assert judge(rule, blocks([50.0] * 7 + [math.inf])).verdict is Verdict.INVALID

    @pytest.mark.parametrize(
        ("broken", "says"),
        [
            (blocks([], []), "nothing was measured"),
            (blocks([50.0] * 8, [100.0] * 9), "not interleaved"),
            (blocks([50.0] * 7 + [math.nan]), "not a number"),
            (blocks([50.0] * 8, [100.0] * 7 + [math.nan]), "not a number"),
            (blocks([50.0] * 7 + [-math.inf]), "not a number"),
            (blocks([50.0] * 7 + [0.0]), "not above zero"),
            (blocks([50.0] * 8, [math.inf] + [100.0] * 7), "of current's own requests failed"),
            (blocks([math.inf] * 8, [math.inf] * 8), "of current's own requests failed"),
            (blocks([50.0] * 8, aa_after=((100.0, math.inf),)), "of current's own requests failed"),
            (blocks([50.0] * 8, aa_before=((100.0, math.nan),)), "not a number"),
        ],
    )
    def test_a_broken_run_is_invalid(self, broken: Samples, says: str) -> None:
        """Each way to be broken is named; a failing current never flatters the candidate."""
        result = judge(RATIO, broken)
        assert result.verdict is Verdict.INVALID
        assert says in result.because

    def test_infinite_throughput_is_invalid(self) -> None:
        """Infinity is honest only where it is the bad end."""
        rule = contract("rate", Bound.AT_LEAST, 100.0)
        rate = blocks([math.inf] * 8, metric="rate", direction=Direction.HIGHER, aa_before=QUIET)
        assert judge(rule, rate).verdict is Verdict.INVALID

    def test_a_ratio_limit_of_zero_is_invalid(self) -> None:
        """No ratio is ever at most zero."""
        rule = contract("latency", Bound.RATIO_AT_MOST, 0.0)
        assert judge(rule, blocks([50.0] * 8)).verdict is Verdict.INVALID


class TestClasses:
    """Class labels."""

    RULE = contract("invariance", Bound.ONE_OF, 0.0, allowed=("exact",), min_n=10)

    @pytest.mark.parametrize(
        ("label", "verdict"),
        [
            (ClassLabel("invariance", "exact", 10), Verdict.PASS),
            (ClassLabel("invariance", "dependent", 10), Verdict.FAIL),
            (ClassLabel("invariance", "exact", 9), Verdict.UNKNOWN),
            (ClassLabel("invariance", "exact", 0), Verdict.INVALID),
            (ClassLabel("invariance", "", 10), Verdict.INVALID),
            (ClassLabel("other", "exact", 10), Verdict.INVALID),
            (blocks([1.0] * 8, metric="invariance"), Verdict.INVALID),
        ],
    )
    def test_a_class_is_allowed_or_not(self, label: Samples, verdict: Verdict) -> None:
        """Allowed passes, others fail, too few are unknown, anything else is invalid."""
        assert judge(self.RULE, label).verdict is verdict
