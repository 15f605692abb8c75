"""How often the gate accepts and refuses, over many simulated gates of one kind.

Every function simulates ``gates`` gates from one seed and returns counts, so that they may be
spread over processes and added up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from benchmarks.gate.world import BETTER, CONTRACTS, MARGINS, REGRESSIONS, SAME, Plan, Truth, paired
from headgate.objects import Action, Bound, Contract, Decision, Verdict
from headgate.release import Samples, decide

__all__ = ["LOOKS", "at_the_margin", "harmed", "peeking", "unchanged", "variants"]

LOOKS = 10
VARIANTS = 5
_PLAINLY = 600
"""Items that are enough to accept what is plainly better."""
_GAIN = 0.9
"""The ratio of cost that a variant must keep to be worth choosing: a tenth cheaper."""


def gate(samples: Mapping[str, Samples], plan: Plan | None, **more: object) -> Decision:
    """The product's decision; with ``plan``, under the planned n."""
    return decide(
        candidate="new",
        current="old",
        split="holdout",
        contracts=CONTRACTS,
        samples=samples,
        measurements={},
        planned_n=None if plan is None else plan.n,
        **more,  # type: ignore[arg-type]  # keywords of decide
    )


def at_the_margin(axis: str, plan: Plan, gates: int, seed: int) -> Counter[str]:
    """One axis is worse by exactly its margin, and all else is plainly better: nothing else
    hides what the gate lets through."""
    truth, rng = replace(BETTER, **{axis: MARGINS[axis]}), np.random.default_rng(seed)
    if axis in ("latency", "cost"):
        plan = replace(plan, items=_PLAINLY)
    return Counter(gate(plan.draw(truth, rng), plan).action.value for _ in range(gates))


def unchanged(plan: Plan, gates: int, seed: int) -> Counter[str]:
    """The candidate is current itself."""
    rng = np.random.default_rng(seed)
    return Counter(gate(plan.draw(SAME, rng), plan).action.value for _ in range(gates))


def harmed(axis: str, plan: Plan, gates: int, seed: int) -> Counter[str]:
    """One axis regressed, and all else is as it was: ``caught`` where harm is shown on that axis,
    ``stopped`` where the candidate is not accepted, for whatever reason."""
    truth, rng = replace(SAME, **{axis: REGRESSIONS[axis]}), np.random.default_rng(seed)
    seen: Counter[str] = Counter()
    for _ in range(gates):
        decision = gate(plan.draw(truth, rng), plan)
        shown = {r.contract.metric for r in decision.results if r.verdict is Verdict.FAIL}
        seen["caught"] += axis in shown and decision.action is Action.ROLLBACK
        seen["stopped"] += not decision.accepted
    return seen


def peeking(plan: Plan, gates: int, seed: int) -> Counter[str]:
    """Quality is worse by its margin, and both a naive gate and ours look ten times on the way.

    The naive gate takes the first look that accepts. ``early`` counts decisions of ours before the
    planned n, other than that nothing is known.
    """
    truth = replace(BETTER, quality=MARGINS["quality"])
    rng, seen = np.random.default_rng(seed), Counter[str]()
    step = plan.items // LOOKS
    sizes = [step] * (LOOKS - 1) + [plan.items - step * (LOOKS - 1)]
    for _ in range(gates):
        whole = plan.draw(truth, rng)
        flips = np.cumsum([plan.flips("quality", truth, n, rng) for n in sizes], axis=0)
        naive = False
        for n, (gained, lost) in zip(np.cumsum(sizes), flips, strict=True):
            samples = whole | {"quality": paired("quality", int(n), int(gained), int(lost))}
            naive = naive or gate(samples, None).accepted
            ours = gate(samples, plan)
            if n < plan.items:
                seen["early"] += ours.action is not Action.UNKNOWN
            else:
                seen["accepted"] += ours.accepted
        seen["naive"] += naive
    return seen


def variants(gates: int, seed: int) -> Counter[str]:
    """Five variants of the same truth, none of which saves more than is asked for; ``false`` where
    any is accepted, ``uncorrected`` where one would be as if it alone had been tried."""
    contracts = tuple(_saving(c) for c in CONTRACTS)
    plan = replace(Plan.of_the_gate(), items=_PLAINLY)
    rng, seen = np.random.default_rng(seed), Counter[str]()
    truth = Truth(**{axis: getattr(BETTER, axis) for axis in ("quality", "safety", "latency")},
                  cost=_GAIN)  # fmt: skip
    for _ in range(gates):
        drawn = [plan.draw(truth, rng) for _ in range(VARIANTS)]
        for name, tried in (("false", VARIANTS), ("uncorrected", 1)):
            seen[name] += any(
                decide(
                    candidate="new",
                    current="old",
                    split="evaluate",
                    contracts=contracts,
                    samples=samples,
                    measurements={},
                    tried=tried,
                    planned_n=plan.n,
                ).accepted
                for samples in drawn
            )
    return seen


def _saving(contract: Contract) -> Contract:
    cost = contract.metric == "cost" and contract.bound is Bound.RATIO_AT_MOST
    return replace(contract, limit=_GAIN) if cost else contract
