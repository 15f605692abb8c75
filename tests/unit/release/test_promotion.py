"""Which release may come next, and where a rollback leads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.errors import Refused
from headgate.objects import Action, Decision, Release
from headgate.release import ANSWERS, LOAD, Rule, next_release, rollback_release, rollback_target

BASE = Release("docs", 0, "v0", None)


def decision(
    candidate: str = "v1", current: str = "v0", action: Action = Action.ACCEPT
) -> Decision:
    return Decision(candidate, current, "evaluate", (), action, "a sentence")


def promoted(*variants: str) -> list[Release]:
    """A history of promotions, generation by generation."""
    history = [
        next_release(None, None, endpoint="docs", variant=variants[0], expected_generation=None)
    ]
    for variant in variants[1:]:
        last = history[-1]
        history.append(
            next_release(
                last,
                decision(variant, last.variant),
                endpoint="docs",
                variant=variant,
                expected_generation=last.generation,
                target_proof=f"proof of {last.variant}",
                extra={"index": f"index of {variant}"},
            )
        )
    return history


def test_the_baseline_needs_no_decision() -> None:
    """The first release is generation 0."""
    assert promoted("v0") == [BASE]


@pytest.mark.parametrize("action", [Action.ACCEPT, Action.WARN])
def test_an_accepted_candidate_is_the_next_generation(action: Action) -> None:
    """Accept and warn promote, and the release names its decision."""
    release = next_release(
        BASE,
        decision(action=action),
        endpoint="docs",
        variant="v1",
        expected_generation=0,
        decision_entry="entry-9",
        target_proof="entry-8",
    )
    assert (release.generation, release.variant, release.decision) == (1, "v1", "entry-9")
    assert release.extra == {"target_proof": "entry-8"}


def test_without_a_way_back_nothing_is_promoted() -> None:
    """What is current must have been loaded and probed; the first release has nothing behind it."""
    with pytest.raises(Refused) as refused:
        next_release(BASE, decision(), endpoint="docs", variant="v1", expected_generation=0)
    assert refused.value.reason == "rollback_target_unproved"


def test_a_rollback_leaves_the_proof_of_another_promotion_behind() -> None:
    """It was about what that one replaced."""
    history = promoted("v0", "v1", "v2")
    assert history[-1].extra["target_proof"] == "proof of v1"
    assert "target_proof" not in rollback_release(history, expected_generation=2).extra


@pytest.mark.parametrize(
    ("current", "judged", "expected", "reason"),
    [
        (BASE, decision(), 1, "generation_moved"),
        (BASE, decision(), None, "generation_moved"),
        (None, decision(), 0, "generation_moved"),
        (BASE, None, 0, "decision_not_accepted"),
        *[
            (BASE, decision(action=a), 0, "decision_not_accepted")
            for a in Action
            if a not in (Action.ACCEPT, Action.WARN)
        ],
        (BASE, decision("v2"), 0, "decision_of_other_candidate"),
        (BASE, decision(current="v9"), 0, "decision_of_other_current"),
    ],
)
def test_what_is_not_proven_against_what_is_current_is_refused(
    current: Release | None, judged: Decision | None, expected: int | None, reason: str
) -> None:
    """Each refusal has its reason code."""
    with pytest.raises(Refused) as refusal:
        next_release(current, judged, endpoint="docs", variant="v1", expected_generation=expected)
    assert refusal.value.reason == reason


def test_a_rollback_is_a_new_generation_with_the_old_pair() -> None:
    """The previous variant returns with what belongs to it, as the next generation."""
    history = promoted("v0", "v1", "v2")
    back = rollback_release(history, expected_generation=2, decision_entry="entry-5")
    assert (back.generation, back.variant, back.decision) == (3, "v1", "entry-5")
    assert back.extra == {"index": "index of v1", "restores": "1"}


def test_rolling_back_again_does_not_return_to_what_was_left() -> None:
    """After 2 was left for 1, another rollback goes to 0, and then there is nothing."""
    history = promoted("v0", "v1", "v2")
    for expected in ("v1", "v0"):
        history.append(rollback_release(history, expected_generation=history[-1].generation))
        assert history[-1].variant == expected
    with pytest.raises(Refused) as refusal:
        rollback_target(history)
    assert refusal.value.reason == "nothing_to_roll_back_to"
    assert "headgate.yaml" not in str(refusal.value.fix), "it may be elsewhere"


def test_a_promotion_after_a_rollback_returns_to_what_was_restored() -> None:
    """v3 promoted over the restored v1 rolls back to v1, and not to v2."""
    history = promoted("v0", "v1", "v2")
    history.append(rollback_release(history, expected_generation=2))
    history.append(
        next_release(
            history[-1],
            decision("v3", "v1"),
            endpoint="docs",
            variant="v3",
            expected_generation=3,
            target_proof="proof of v1",
        )
    )
    target = rollback_target(history)
    assert (target.generation, target.variant) == (1, "v1")


@pytest.mark.parametrize("history", [[], [BASE]])
def test_the_baseline_cannot_be_rolled_back(history: list[Release]) -> None:
    """Before and at generation 0 there is nothing to return to."""
    with pytest.raises(Refused) as refusal:
        rollback_target(history)
    assert refusal.value.reason == "nothing_to_roll_back_to"


def test_a_rollback_compares_before_it_swaps() -> None:
    """A rollback of a generation that is no longer current is refused."""
    with pytest.raises(Refused) as refusal:
        rollback_release(promoted("v0", "v1"), expected_generation=0)
    assert refusal.value.reason == "generation_moved"


def test_a_refusal_of_what_was_edited_asks_for_new_rows_where_answers_were_seen() -> None:
    """Measuring again does not unsee them; of times it is enough, as it is of noise, and there is
    nothing to put back. What was put back is on record, or was accepted before."""
    rule = Rule("docs", "holdout", "sha256:data", (), {}, {}, seed=0)
    fresh = "`headgate optimize --fresh --promote headgate.yaml`"
    both, answers, load = (
        str(rule.edited({ANSWERS: by_answers, LOAD: by_load}))
        for by_answers, by_load in ((None, None), (None, rule.digest), (rule.digest, None))
    )
    put_back = "put back what was edited and type `headgate "
    cases = (
        (both, "", f"{put_back}optimize --promote headgate.yaml`; or keep it, give new rows"),
        (both, "c0ffee", f"{put_back}optimize --promote headgate.yaml`; or keep it, give new rows"),
        (answers, "", f"{put_back}optimize --fresh --promote headgate.yaml`; or keep it, give new"),
        (answers, "c0ffee", f"{put_back}promote c0ffee -f headgate.yaml`; or keep it, give new"),
        (load, "", "take times again (one more look at the holdout), since"),
        ("noise", "", "measure again while the machine is quiet"),
    )

    def fix(because: str, accepted: str) -> str:
        invalid = replace(decision(action=Action.INVALID), because=because)
        with pytest.raises(Refused) as refused:
            next_release(
                BASE, invalid, endpoint="docs", variant="v1", expected_generation=0,
                accepted=accepted,
            )  # fmt: skip
        return refused.value.fix

    for because, accepted, begins in cases:
        said = fix(because, accepted)
        assert said.startswith(begins)
        assert said.endswith(fresh)
    assert fix(load, "c0ffee") == (
        "make current what this rule accepted before, which still counts: `headgate promote c0ffee "
        "-f headgate.yaml`"
    )
