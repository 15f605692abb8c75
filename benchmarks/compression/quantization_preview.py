"""Does the quantization preview keep its word? Forecast first, then everything measured.

Every scheme on every subject: what the pilots said, what making and evaluating it whole then
showed, and what each of the two cost (``forecast_cases``). Where a pilot is the very build, its
size and memory are compared with themselves; so the targets are printed a second time, of pilots
that were calibrated on few items. What cannot be made although a pilot said what it would be is a
miss.

What a subject came to is kept for as long as the code is the same:
``.venv/bin/python -m benchmarks.compression.quantization_preview SUBJECT ...`` measures some,
``python -m benchmarks.compression quantization_preview`` those that are missing, and sums up.

Times want a machine of their own, and all else does not. ``--times`` takes the forecasts of p50 and
speed-up and what they are held against anew, of builds made whole, keeps the rest, and sums up.
What other code measured is shown, and misses a target.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from benchmarks.compression.forecast_cases import (
    Case,
    Measured,
    code,
    measured,
    read,
    timed_again,
    write,
)
from benchmarks.compression.previewed import SUBJECTS, is_there
from benchmarks.convention import Target, at_least, at_most, finish
from headgate.planning.scorecard import Met, scorecard
from headgate.theory.intervals import Range

__all__ = ["quantization_preview"]

_QUICK = ("digits-mlp", "digits-conv")
_APART = 1.1
"""Two schemes whose times are nearer than this have no right order."""


def quantization_preview(*, quick: bool) -> tuple[Mapping[str, Target], dict[str, object]]:
    """All subjects that can be made here; targets of the issue, over all cases."""
    wanted = _QUICK if quick else tuple(SUBJECTS)
    return _summed({name: _kept(name) for name in wanted if is_there(name)}, wanted, quick=quick)


def _summed(
    found: Mapping[str, Measured], wanted: Sequence[str], *, quick: bool
) -> tuple[Mapping[str, Target], dict[str, object]]:
    cases = [case for each in found.values() for case in each.cases]
    few = [case for each in found.values() for case in each.few]
    other = [name for name, each in found.items() if each.code != code()]
    targets = {
        "models": at_least(len(found), 2 if quick else 6),
        "model x scheme cases": at_least(len(cases), 10 if quick else 30),
        "models measured by other code": at_most(len(other), 0),
        **_accuracy(cases),
        **{f"few items: {name}": target for name, target in _accuracy(few).items()},
        "models over 60 s and over 5 % of everything": at_most(
            sum(each.preview_s > 60 and each.share > 0.05 for each in found.values()), 0
        ),
    }
    return targets, {
        "missing": [name for name in wanted if name not in found],
        "cases whose pilot was the very build": sum(case.very for case in cases),
        "cases of few items": len(few),
        "p50 within 20 %, share": _share(c.error("latency_p50") <= 0.2 for c in cases),
        "memory within 15 %, share": _share(c.error("memory_bytes") <= 0.15 for c in cases),
        "held": {
            figure: _share(c.held(figure) for c in cases if figure in c.figures)
            for figure in ("latency_p50", "speedup")
        },
        "pairs in their order of speed, share": _share(
            right for each in found.values() for right in _in_order(each.cases)
        ),
        "scorecard": [s.describe() for s in scorecard(map(_met, cases))],
        "costs": {
            name: {
                "baseline_s": round(each.baseline_s, 1),
                "preview_s": round(each.preview_s, 1),
                "everything_s": round(each.everything_s, 1),
                "share": round(each.share, 3),
            }
            for name, each in found.items()
        },
        "measured": {
            name: {
                "timed at": each.timed_at,
                "load": round(each.load, 1),
                "all but times by this code": name not in other,
            }
            for name, each in found.items()
        },
        "nothing to forecast": {
            name: each.said_before for name, each in found.items() if each.said_before
        },
        "cases": {f"{c.subject} {c.scheme}": c.figures for c in cases},
        "few items": {f"{c.subject} {c.scheme}": c.figures for c in few},
    }


def _accuracy(cases: Sequence[Case]) -> Mapping[str, Target]:
    """How near forecasts came; all missed where there are none."""
    widths = [case.width_in_margins for case in cases] or [math.nan]

    def largest(figure: str, limit: float) -> Target:
        return at_most(max((case.error(figure) for case in cases), default=math.nan), limit)

    return {
        "losses in their 90 % interval, share": at_least(
            _share(case.held(case.loss) for case in cases), 24 / 30
        ),
        "width in margins, median": at_most(statistics.median(widths), 2.0),
        "size, largest error": largest("file_bytes", 0.02),
        "memory, largest error": largest("memory_bytes", 0.15),
        "p50, largest error": largest("latency_p50", 0.2),
    }


def _share(answers: Iterator[bool]) -> float:
    every = list(answers)
    return sum(every) / len(every) if every else math.nan


def _met(case: Case) -> Met:
    value, low, high, truth = case.figures[case.loss]
    of = f"{case.subject} {case.scheme}"
    seen = math.inf if truth is None else truth
    return Met(of, "quantization", "quality", Range(value, low, high), seen)


def _in_order(cases: Sequence[Case]) -> Iterator[bool]:
    """Of each two that differ in speed: whether the forecast said which is the faster."""
    speeds = [c.figures["speedup"] for c in cases]
    for (a, _, _, one), (b, _, _, other) in combinations(speeds, 2):
        if one is not None and other is not None and max(one / other, other / one) > _APART:
            yield (a - b) * (one - other) > 0


def _kept(name: str) -> Measured:
    """What the subject came to by this code; measured now if need be."""
    known = read(name)
    if known is None or known.code != code():
        known = write(name, measured(name))
    return known


def _main() -> int:
    there = [name for name in SUBJECTS if is_there(name)]
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("subjects", nargs="*", choices=[[], *there], metavar="SUBJECT")
    given.add_argument("--times", action="store_true", help="take times anew, and sum up")
    asked = given.parse_args()
    wanted = asked.subjects or there
    if asked.times:
        for name in wanted:
            write(name, timed_again(name, read(name) or measured(name)))
        kept = {name: known for name in there if (known := read(name)) is not None}
        targets, details = _summed(kept, tuple(SUBJECTS), quick=False)
        return finish("compression.quantization_preview", targets, **details)
    for name in wanted:
        found = _kept(name)
        print(f"{name}: {len(found.cases)} cases, preview {found.preview_s:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
