"""Does the search find what is cheapest, for a fraction of what trying everything takes?

``.venv/bin/python -m benchmarks.search [PART ...] [--quick]``. Parts:

- ``reported``: workloads that no search had seen when they were written down, 100 seeds of noise
  each; the product's search, one choice after the other, and at random;
- ``developed``: the same on the workloads that the search was made with;
- ``killed``: a search whose process is sent SIGKILL at random times, up to ten times;
- ``equal``: variants that are all the same.

Shares are of what trying everything takes that no contract forbids for nothing, and the seed that
took most is held to the target. Nine in ten evaluations of everything are an arm in the simulator,
two seconds of the machine, and a few are a training: machine time is a figure of its own.

The tables were recorded once by ``benchmarks.search.record``; ``made by other code`` says which
would have to be recorded anew.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.convention import Target, at_least, at_most, finish, parser
from benchmarks.search.equal import TRUTHS, VARIANTS, false_winners
from benchmarks.search.kill import Survived, killed_until_done
from benchmarks.search.searches import Ended, at_random, everything, one_after_the_other, together
from benchmarks.search.table import Recorded, World, recorded
from benchmarks.search.workloads import DEVELOPED_BY, REPORTED
from headgate.theory.intervals import exact_interval

_WITHIN = math.log(1.05)
_LEAST_KILLS = 5
_Part = tuple[Mapping[str, Target], Mapping[str, object]]
"""Targets, and what stands beside them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to search, on one workload, over many seeds."""

    within: float
    """Share of searches that ended within 5 % of the optimum of their table."""
    regret: float
    """The 0.95 quantile of cost over that optimum, less 1."""
    really: float
    """The same of recorded costs, which the errors of curves are not in, over those of the arm that
    trying everything would have picked; as it is served."""
    evaluations: float
    """Share of those that trying everything takes; the mean, and below it the most."""
    most: float
    of_all: float
    """The most, of what trying all takes that is named, forbidden or not."""
    simulated: float
    """Share of its evaluations that are an arm in the simulator."""
    time: float
    """Share of the machine's time that trying everything takes; the mean, and below it the most."""
    most_time: float
    seconds: float
    """Of the machine; the mean."""

    def shown(self) -> dict[str, float | None]:
        """For the last line."""
        return {
            "within 5 %": round(self.within, 3),
            "regret, 0.95 quantile": _three(self.regret),
            "as recorded and served": _three(self.really),
            "evaluations": round(self.evaluations, 4),
            "the most": round(self.most, 4),
            "the most, forbidden ones among all": round(self.of_all, 4),
            "of them in the simulator": round(self.simulated, 3),
            "machine time": round(self.time, 3),
            "machine time, the most": round(self.most_time, 3),
            "machine seconds": round(self.seconds, 1),
        }


def _three(x: float) -> float | None:
    return round(x, 3) if math.isfinite(x) else None


def _row(worlds: Sequence[World], ended: Sequence[Ended]) -> Row:
    pairs = [*zip(worlds, ended, strict=True)]
    over = [w.log(e.build, e.cost) - w.optimum if e.build else math.inf for w, e in pairs]
    # Where nothing is accepted by anybody, ending without a winner is right.
    right = [o <= _WITHIN or math.isinf(w.optimum) for o, (w, _) in zip(over, pairs, strict=True)]
    really = [math.log(e.served) - w.luckiest if e.build else math.inf for w, e in pairs]
    alls = [everything(w, w.permitted) for w in worlds]
    shares = [e.evaluations / a.evaluations for e, a in zip(ended, alls, strict=True)]
    times = [e.seconds / a.seconds for e, a in zip(ended, alls, strict=True)]
    return Row(
        within=statistics.fmean(right),
        regret=math.expm1(_q95(over)),
        really=math.expm1(_q95(really)),
        evaluations=statistics.fmean(shares),
        most=max(shares),
        of_all=max(e.evaluations / everything(w, w.named).evaluations for w, e in pairs),
        simulated=statistics.fmean(e.simulated / max(e.evaluations, 1) for e in ended),
        time=statistics.fmean(times),
        most_time=max(times),
        seconds=statistics.fmean(e.seconds for e in ended),
    )


def _q95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _compared(at: Recorded, seeds: int) -> dict[str, Row]:
    worlds = [World(at, seed) for seed in range(seeds)]
    joint = [together(w) for w in worlds]
    spent = [e.evaluations for e in joint]
    return {
        "together": _row(worlds, joint),
        "one after the other": _row(worlds, [one_after_the_other(w) for w in worlds]),
        "at random": _row(worlds, [at_random(w, n) for w, n in zip(worlds, spent, strict=True)]),
    }


def _searched(names: Iterable[str], seeds: int) -> _Part:
    rows = {name: _compared(recorded()[name], seeds) for name in names}
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
    }
    ways = {name: {way: row.shown() for way, row in of.items()} for name, of in rows.items()}
    others = {name: parts for name in rows if (parts := recorded()[name].made_by_other)}
    return targets, {"seeds": seeds, "made by other code": others, "ways": ways}


def _killed(quick: bool) -> _Part:
    names = [*REPORTED][:1] if quick else [*REPORTED]
    most = 3 if quick else 10
    survived = [killed_until_done(name, seed, most=most) for seed, name in enumerate(names)]
    kills, inside = sum(s.kills for s in survived), sum(s.in_a_trial for s in survived)
    return _lost_nothing(survived, least=min(most, _LEAST_KILLS)), {
        "searches": len(names),
        "kills": kills,
        "in the middle of a trial": inside,
    }


def _lost_nothing(survived: Sequence[Survived], *, least: int) -> Mapping[str, Target]:
    """A search that nobody killed shows nothing: each has to be killed ``least`` times."""
    return {
        "killed, kills of the search that was killed least": at_least(
            min(s.kills for s in survived), least
        ),
        "killed, other answers": at_most(sum(not s.same for s in survived), 0),
        "killed, trials on record that were executed again": at_most(
            sum(s.repeated for s in survived), 0
        ),
        "killed, trials that are not on record": at_most(sum(s.lost for s in survived), 0),
    }


def _equal(searches: int) -> _Part:
    false = {name: false_winners(name, searches, 7 + i) for i, name in enumerate(TRUTHS)}
    targets = {
        f"{name}: a false winner": at_most(counts["false"] / searches, 0.05)
        for name, counts in false.items()
    }
    return targets, {
        "searches": searches,
        "variants": VARIANTS,
        **{name: _shares(counts, searches) for name, counts in false.items()},
    }


def _shares(counts: Counter[str], n: int) -> dict[str, object]:
    """Each with its exact 95 % interval, two-sided."""
    named = {
        "false": "a false winner",
        "luckiest certified": "the luckiest, certified",
        "lucky": "the luckiest, accepted where it was chosen",
    }
    seen = {said: exact_interval(counts[key], n, level=0.975) for key, said in named.items()}
    return {said: [round(x, 4) for x in (i.value, i.low, i.high)] for said, i in seen.items()}


def main() -> int:
    """Searches, and prints what became of the targets."""
    made = parser(__doc__)
    parts: Mapping[str, Callable[[bool], _Part]] = {
        "reported": lambda quick: _searched(REPORTED, 20 if quick else 100),
        "developed": lambda quick: _searched(DEVELOPED_BY, 20 if quick else 100),
        "killed": _killed,
        "equal": lambda quick: _equal(100 if quick else 1000),
    }
    made.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    given = made.parse_args()
    done = {name: parts[name](given.quick) for name in given.parts or parts}
    targets = {key: target for found, _ in done.values() for key, target in found.items()}
    return finish("search", targets, **{name: beside for name, (_, beside) in done.items()})


if __name__ == "__main__":
    sys.exit(main())
