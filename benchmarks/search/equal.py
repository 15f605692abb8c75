"""Variants that are all the same: how often one of them wins all the same.

Twelve variants of one truth, which just breaks a promise: none saves more than is asked for, or all
lose their margin of quality. The product's search looks, chooses by luck, and a certificate on data
that did not choose decides, by the product's own gate. No policies change what any of them costs,
the model as it is neither: a search that ends with that gains nothing, and as in the product there
is no winner then, and nothing to certify.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from benchmarks.gate.world import BETTER, CONTRACTS, MARGINS, Plan, Truth
from benchmarks.search.table import AS_IT_IS
from headgate.objects import Decision
from headgate.optimize.entrants import PILOT_BLOCKS, cost_of, entrant_of, open_search
from headgate.optimize.forecasts import Forecast
from headgate.planning import BASELINE, Cost, Level, Told
from headgate.release import Blocks, Samples, decide
from headgate.theory.intervals import log_ratios

__all__ = ["TRUTHS", "VARIANTS", "false_winners"]

VARIANTS = 12
TRUTHS: Mapping[str, Truth] = {
    "none saves enough": replace(BETTER, cost=MARGINS["cost"]),
    "all lose their margin": replace(BETTER, quality=MARGINS["quality"]),
}
_FEW = 600
"""Items that are enough for what is plainly better."""


def false_winners(name: str, searches: int, seed: int) -> Counter[str]:
    """Counts of ``false``, what was certified after a search; ``lucky``, what would have been
    certified on the data that chose it, alone and uncorrected; and ``luckiest certified``, where
    whatever looked best is handed to the certificate, accepted or not."""
    truth, rng = TRUTHS[name], np.random.default_rng(seed)
    plan = Plan.of_the_gate()
    if name == "none saves enough":
        plan = replace(plan, items=_FEW)
    seen: Counter[str] = Counter()
    for _ in range(searches):
        drawn = {f"v{i}": plan.draw(truth, rng) for i in range(VARIANTS)}
        winner = _searched(plan, drawn)
        certificate = _decide(plan, plan.draw(truth, rng), tried=1)
        seen["false"] += winner is not None and certificate.accepted
        seen["luckiest certified"] += certificate.accepted
        luckiest = min(drawn, key=lambda v: _cost(drawn[v], plan.blocks).log)
        seen["lucky"] += _decide(plan, drawn[luckiest], tried=1).accepted
    return seen


def _searched(plan: Plan, drawn: Mapping[str, Mapping[str, Samples]]) -> str | None:
    """The variant that is handed to the certificate, if any; on the workload each costs what it
    showed in blocks, with a cache and without, and the baseline as it is served what the model as
    it is does."""
    unknown = {
        v: entrant_of(Forecast(v, "", "", (), ""), scoring_s=5.0, plans_s=4.0) for v in drawn
    }
    search = open_search({BASELINE: AS_IT_IS, **unknown}, budget_s=None, spent_s=0.0)
    while asked := search.ask():
        told = []
        for a in asked:
            if a.build == BASELINE:
                told.append(Told(a, AS_IT_IS.cost))
                continue
            blocks = PILOT_BLOCKS if a.level is Level.PILOT else plan.blocks
            broken: tuple[str, ...] = ()
            if a.level is Level.FULL:
                decision = _decide(plan, drawn[a.build], tried=len(drawn))
                broken = () if decision.accepted else ("the gate",)
            told.append(Told(a, _cost(drawn[a.build], blocks), broken))
        search.tell(told)
    best = search.found.best
    return None if best is None or best.build == BASELINE else best.build


def _decide(plan: Plan, samples: Mapping[str, Samples], *, tried: int) -> Decision:
    return decide(
        candidate="new",
        current="old",
        split="holdout" if tried == 1 else "evaluate",
        contracts=CONTRACTS,
        samples=samples,
        measurements={},
        tried=tried,
        planned_n=plan.n,
    )


def _cost(samples: Mapping[str, Samples], blocks: int) -> Cost:
    """From the first of the blocks."""
    of = samples["cost"]
    assert isinstance(of, Blocks)
    return cost_of(log_ratios(zip(of.current[:blocks], of.candidate[:blocks], strict=True)))
