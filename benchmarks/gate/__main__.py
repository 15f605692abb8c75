"""Does the release gate keep its error rates? On simulated measurements whose truth is known.

``.venv/bin/python -m benchmarks.gate [--quick]``; twenty minutes on two cores without
``--quick``. Every gate is decided by the product's own code at the n of its own power plan.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial

from benchmarks.convention import at_least, at_most, finish, parser
from benchmarks.gate import corrupted, coverage, rates, replays
from benchmarks.gate.places import PLACES
from benchmarks.gate.world import AXES, Plan

_CHUNKS = 20
"""Parts that each count is spread over; seeds belong to parts, so results are those of any
machine."""

Simulated = Callable[..., Counter[str]]


class _Counts:
    """Counts of one kind of gate, from several processes."""

    def __init__(self, pool: ProcessPoolExecutor, what: Simulated, gates: int, seed: int) -> None:
        each = -(-gates // _CHUNKS)
        self.gates = each * _CHUNKS
        self._parts: list[Future[Counter[str]]] = [
            pool.submit(what, each, 1000 * seed + k) for k in range(_CHUNKS)
        ]

    def __getitem__(self, name: str) -> int:
        return sum(part.result()[name] for part in self._parts)

    def share(self, name: str) -> float:
        return self[name] / self.gates


def main() -> int:
    """Simulates everything and prints what became of the targets."""
    given = parser(__doc__).parse_args()
    scale = 50 if given.quick else 1
    plan = Plan.of_the_gate()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:

        def run(what: Simulated, gates: int, seed: int) -> _Counts:
            return _Counts(pool, what, gates // scale, seed)

        margin = {
            axis: run(partial(rates.at_the_margin, axis, plan), 10_000, 1 + i)
            for i, axis in enumerate(AXES)
        }
        unchanged = run(partial(rates.unchanged, plan), 10_000, 11)
        harmed = {
            axis: run(partial(rates.harmed, axis, plan), 1_000, 21 + i)
            for i, axis in enumerate(AXES)
        }
        peeking = run(partial(rates.peeking, plan), 1_000, 31)
        variants = run(rates.variants, 10_000, 41)
        bounds = {
            world: run(partial(coverage.covered, world), 10_000, 71 + i)
            for i, world in enumerate(coverage.WORLDS)
        }
        broken = run(corrupted.corrupted, 100_000, 51)
        decided, same = replays.replayed(1_000 // scale, 61)
        # A share of few gates is known to about two standard errors.
        spare = 0.005 if not given.quick else 2 * (0.05 * 0.95 / unchanged.gates) ** 0.5
        targets = {
            **{
                f"{axis} worse by its margin, accepted": at_most(c.share("accept"), 0.05 + spare)
                for axis, c in margin.items()
            },
            "unchanged, accepted on all four axes": at_least(unchanged.share("accept"), 0.8),
            "decided before the planned n": at_most(peeking["early"], 0),
            "worse by its margin, ten looks, accepted": at_most(
                peeking.share("accepted"), 0.05 + (0.015 if not given.quick else spare)
            ),
            "the same by a naive gate that peeks": at_least(peeking.share("naive"), 0.1),
            "no variant saves enough, a false winner": at_most(
                variants.share("false"), 0.05 + (0 if not given.quick else spare)
            ),
            **{
                f"{axis} regressed, harm shown": at_least(c.share("caught"), 0.9)
                for axis, c in harmed.items()
            },
            **{
                f"{world}, at its limit, accepted": at_most(
                    bounds[world].share("judged"), of.at_most + spare
                )
                for world, of in coverage.WORLDS.items()
            },
            "corrupted sets accepted": at_most(broken["accepted"], 0),
            "the same sets whole, refused": at_most(_CHUNKS - broken["sound"], 0),
            "decisions that replay to other bytes": at_most(decided - same, 0),
        }
        return finish(
            "gate",
            targets,
            plan={"items": plan.items, "blocks": plan.blocks},
            places=[f"hash seed {p.hash_seed}, locale {p.locale}" for p in PLACES],
            gates={
                "at the margin, an axis": margin["quality"].gates,
                "unchanged": unchanged.gates,
                "regressed, an axis": harmed["quality"].gates,
                "looked at ten times": peeking.gates,
                "five variants": variants.gates,
                "at its limit, a world": min(c.gates for c in bounds.values()),
                "corrupted": broken.gates,
                "replayed, in each place": decided,
            },
            beside={
                "regressed and not accepted": {
                    axis: c.share("stopped") for axis, c in harmed.items()
                },
                "a false winner, were nothing corrected": variants.share("uncorrected"),
                "at its limit, let pass by": {
                    world: {how: c.share(how) for how in ("bound", *coverage.BOOTSTRAPS)}
                    for world, c in bounds.items()
                },
            },
        )


if __name__ == "__main__":
    sys.exit(main())
