"""The benchmark of the gate in short: the same worlds, fewer gates, wider bounds."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.gate import coverage, rates
from benchmarks.gate.corrupted import corrupted
from benchmarks.gate.places import COMMA, PLACES, Place, make_comma
from benchmarks.gate.replays import replayed
from benchmarks.gate.world import AXES, BETTER, CONTRACTS, MARGINS, SAME, Plan
from headgate.objects import Action
from headgate.release import judge
from headgate.theory.intervals import t_interval

GATES = 60
PLAN = Plan.of_the_gate()


def worst(share: float, gates: int = GATES) -> float:
    """Counts above this come by chance once in ten thousand times."""
    return gates * share + 3.7 * (gates * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("axis", AXES)
def test_a_loss_of_a_whole_margin_is_rarely_accepted(axis: str) -> None:
    """At most in 5 %, whichever axis it is on."""
    assert rates.at_the_margin(axis, PLAN, GATES, 1)["accept"] <= worst(0.05)


def test_no_change_at_all_is_mostly_accepted_on_all_four_axes() -> None:
    """In 80 % at the planned n."""
    assert GATES - rates.unchanged(PLAN, GATES, 2)["accept"] <= worst(0.2)


@pytest.mark.parametrize("axis", AXES)
def test_a_planted_regression_is_caught(axis: str) -> None:
    """In 90 %, and nothing that regressed is accepted."""
    seen = rates.harmed(axis, PLAN, 30, 3)
    assert 30 - seen["caught"] <= worst(0.1, 30)
    assert 30 - seen["stopped"] <= worst(0.05, 30)


def test_peeking_decides_nothing_and_a_naive_gate_that_peeks_is_seen() -> None:
    """The same ten looks at the same samples: ours waits for the planned n."""
    seen = rates.peeking(PLAN, 40, 4)
    assert seen["early"] == 0
    assert seen["accepted"] <= worst(0.05, 40)
    assert seen["naive"] >= 2 * max(seen["accepted"], 2)


def test_of_five_variants_that_save_too_little_hardly_one_is_chosen() -> None:
    """And more than one in twenty would be, were each judged as if it alone had been tried."""
    seen = rates.variants(GATES, 5)
    assert seen["false"] <= worst(0.05)
    assert seen["uncorrected"] > seen["false"]


@pytest.mark.parametrize("world", coverage.WORLDS)
def test_what_is_just_at_its_limit_is_rarely_accepted_whatever_the_metric(world: str) -> None:
    """Skewed items, small slices, p95 under load: no plain means, and the bounds hold."""
    assert coverage.covered(world, GATES, 11)["judged"] <= worst(coverage.WORLDS[world].at_most)


@pytest.mark.parametrize("world", coverage.WORLDS)
def test_a_world_is_as_its_truth_says(world: str) -> None:
    """Over many draws, within four standard errors."""
    rng = np.random.default_rng(12)
    drawn = [coverage.WORLDS[world].draw(rng) for _ in range(300)]
    means = np.array([d.goodness.mean() for d in drawn])
    assert abs(means.mean() - drawn[0].truth) <= 4 * means.std() / len(means) ** 0.5


def test_a_bootstrap_of_what_is_rarely_lost_lets_too_much_pass() -> None:
    """Resamples of a sample without a loss know of none: why the gate has none."""
    (world,) = (w for w in coverage.WORLDS if "slice" in w)
    seen = coverage.covered(world, GATES, 13)
    assert seen["judged"] == 0
    assert min(seen[name] for name in coverage.BOOTSTRAPS) > GATES / 20


def test_the_bootstraps_are_those_of_the_books() -> None:
    """scipy's of few and skewed values; of many tame ones all agree with the t interval."""
    rng = np.random.default_rng(14)
    values = rng.exponential(1.0, 12)
    resampled = rng.choice(values, (20_000, 12))
    means, sds = resampled.mean(axis=1), resampled.std(axis=1, ddof=1)
    for name, method in (("percentile", "percentile"), ("BCa", "BCa")):
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method=method, confidence_level=0.9, rng=rng
        ).confidence_interval.low
        ours = coverage.BOOTSTRAPS[name](values, means, sds)
        assert ours == pytest.approx(theirs, abs=0.02)
    tame = rng.normal(0, 1, 400)
    resampled = rng.choice(tame, (2_000, 400))
    means, sds = resampled.mean(axis=1), resampled.std(axis=1, ddof=1)
    low = t_interval(tame.tolist()).low
    for lower in coverage.BOOTSTRAPS.values():
        assert lower(tame, means, sds) == pytest.approx(low, abs=0.01)


def test_no_corrupted_set_is_accepted() -> None:
    """And the set is, before it is corrupted."""
    assert corrupted(1500, 6) == Counter(sound=1, accepted=0)


def test_decisions_replay_byte_for_byte_in_other_processes() -> None:
    """With other hash seeds and locales."""
    assert replayed(24, 7) == (24, 24)


@pytest.mark.parametrize(
    ("place", "says"),
    list(
        zip(
            PLACES,
            ("1234.5 ANSI_X3.4-1968", "1234.5 UTF-8", "1.234,5 ANSI_X3.4-1968"),
            strict=True,
        )
    ),
)
def test_a_place_has_its_locale_in_force(tmp_path: Path, place: Place, says: str) -> None:
    """A decimal comma, whatever is installed, and a character set without umlauts."""
    make_comma(tmp_path)
    program = (
        "from benchmarks.gate.places import enter; import locale; "
        "print(enter(), locale.getencoding())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=place.environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == says


PLANTED = """
from pathlib import Path
import headgate.release
import headgate.release.gate as gate
source = Path(gate.__file__).read_text(encoding="utf-8")
exec(compile(source.replace(".4g}", ".4n}"), gate.__file__, "exec"), vars(gate))
headgate.release.decide = gate.decide
from benchmarks.gate.replays import main
main()
"""
"""The gate's sentences with numbers as the locale writes them: the same as ours in C."""


def test_a_number_that_is_written_as_the_locale_has_it_is_found() -> None:
    """Where the locale has a comma, and nowhere else; the check can fail."""
    *same, comma = PLACES
    assert comma.locale == COMMA
    assert replayed(12, 7, places=same, program=PLANTED) == (12, 12)
    decided, found = replayed(12, 7, places=(comma,), program=PLANTED)
    assert found < decided


def test_the_world_is_as_its_truth_says() -> None:
    """On average over many gates each axis shows the truth that was asked for."""
    rng = np.random.default_rng(8)
    for axis, contract in zip(AXES, CONTRACTS, strict=True):
        truth = replace(SAME, **{axis: MARGINS[axis]})
        seen = [judge(contract, PLAN.draw(truth, rng)[axis]).value for _ in range(100)]
        assert np.nanmean(seen) == pytest.approx(MARGINS[axis], rel=0.1, abs=0.0015)


def test_the_spread_of_blocks_is_that_of_the_plan() -> None:
    """What the power plan believes is what the candidate, current and the A/A pairs show."""
    rng = np.random.default_rng(9)
    spreads: list[float] = []
    for _ in range(400):
        blocks = PLAN.blocks_of("cost", SAME, rng)
        (before,), (after,) = blocks.aa_before, blocks.aa_after
        spreads += [np.log(b / a) for a, b in (before, after)]
    assert np.std(spreads) == pytest.approx(0.01, rel=0.15)


def test_what_is_plainly_better_is_accepted() -> None:
    """So that a refusal at the margin is about the margin."""
    rng = np.random.default_rng(10)
    decisions = [rates.gate(PLAN.draw(BETTER, rng), PLAN) for _ in range(30)]
    assert [d.action for d in decisions].count(Action.ACCEPT) >= 27
