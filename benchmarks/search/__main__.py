"""Does the search find what is cheapest, for a fraction of what trying everything takes?

``.venv/bin/python -m benchmarks.search [--quick]``: six recorded workloads of 312 arms each
(``record.py`` tries everything, once), 100 seeds of noise each; the same by today's way and at
random; a search that is killed; and variants that are all the same. Minutes without ``--quick``.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.convention import at_least, at_most, finish, parser
from benchmarks.search.equal import TRUTHS, VARIANTS, false_winners
from benchmarks.search.kill import killed_until_done
from benchmarks.search.searches import Ended, at_random, everything, one_after_the_other, together
from benchmarks.search.table import Recorded, World, recorded

_WITHIN = math.log(1.05)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to search, on one workload, over many seeds."""

    within: float
    """Share of searches that ended within 5 % of the optimum."""
    regret: float
    """The 0.95 quantile of cost over the optimum's, less 1."""
    evaluations: float
    """Share of those that trying everything takes; the mean, and below it the most."""
    most: float
    seconds: float
    """Share of the machine's time that trying everything takes."""


def _row(worlds: Sequence[World], ended: Sequence[Ended], all_: Ended) -> Row:
    over = [
        math.inf if e.best is None else math.log(w.at.costs[e.best]) - w.optimum
        for w, e in zip(worlds, ended, strict=True)
    ]
    # Where nothing is accepted by anybody, ending without a winner is right.
    right = [o <= _WITHIN or math.isinf(w.optimum) for o, w in zip(over, worlds, strict=True)]
    worst = sorted(over)[math.ceil(0.95 * len(over)) - 1]
    return Row(
        within=statistics.fmean(right),
        regret=math.expm1(worst) if math.isfinite(worst) else math.inf,
        evaluations=statistics.fmean(e.evaluations for e in ended) / all_.evaluations,
        most=max(e.evaluations for e in ended) / all_.evaluations,
        seconds=statistics.fmean(e.seconds for e in ended) / all_.seconds,
    )


def _compared(at: Recorded, seeds: int) -> dict[str, Row]:
    worlds = [World(at, seed) for seed in range(seeds)]
    joint = [together(w) for w in worlds]
    all_ = everything(worlds[0])
    return {
        "together": _row(worlds, joint, all_),
        "one after the other": _row(worlds, [one_after_the_other(w) for w in worlds], all_),
        "at random": _row(
            worlds,
            [at_random(w, e.evaluations) for w, e in zip(worlds, joint, strict=True)],
            all_,
        ),
    }


def main() -> int:
    """Searches, and prints what became of the targets."""
    given = parser(__doc__).parse_args()
    seeds, equal, kills = (20, 150, 1) if given.quick else (100, 1000, 6)
    table = recorded()
    rows = {name: _compared(at, seeds) for name, at in table.items()}
    survived = [killed_until_done(name, seed) for seed, name in enumerate([*table][:kills])]
    false = {name: false_winners(name, equal, 7 + i) for i, name in enumerate(TRUTHS)}
    # Nothing is chosen there, so that the share is 5 % itself; it is known to two standard errors.
    spare = 2 * (0.05 * 0.95 / equal) ** 0.5
    joint = {name: row["together"] for name, row in rows.items()}
    targets = {
        **{
            f"{name}: ended within 5 % of the optimum, share of seeds": at_least(r.within, 0.95)
            for name, r in joint.items()
        },
        **{
            f"{name}: share of evaluations, the most of any seed": at_most(r.most, 0.15)
            for name, r in joint.items()
        },
        "killed, other answers": at_most(sum(not s.same for s in survived), 0),
        "killed, results measured again": at_most(sum(s.repeated for s in survived), 0),
        **{
            f"{name}: a false winner": at_most(counts["false"] / equal, 0.05)
            for name, counts in false.items()
        },
        **{
            f"{name}: the luckiest, certified": at_most(
                counts["luckiest certified"] / equal, 0.05 + spare
            )
            for name, counts in false.items()
        },
    }
    return finish(
        "search",
        targets,
        arms={name: len(at.costs) for name, at in table.items()},
        seeds=seeds,
        kills=sum(s.kills for s in survived),
        beside={
            "ways": {
                name: {way: _shown(row) for way, row in of.items()} for name, of in rows.items()
            },
            f"of {VARIANTS} equal variants, the luckiest accepted where it was chosen": {
                name: counts["lucky"] / equal for name, counts in false.items()
            },
        },
    )


def _shown(row: Row) -> dict[str, float | None]:
    return {
        "within 5 %": round(row.within, 3),
        "regret, 0.95 quantile": round(row.regret, 3) if math.isfinite(row.regret) else None,
        "evaluations": round(row.evaluations, 4),
        "machine time": round(row.seconds, 3),
    }


if __name__ == "__main__":
    sys.exit(main())
