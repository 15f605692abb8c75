"""How much luck is in a calibration: the same scheme, calibrated on resamples of the same data.

Off the main job's path, for whoever wonders whether a result would come again (``headgate preview
--resamples``). Each repetition is made, judged and recorded as a candidate is. What they came to is
an entry of the ledger, and the report of ``optimize`` shows it beside a winner that was calibrated.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headgate.ledger import Entry
from headgate.objects import Bound, Contract, digest
from headgate.optimize.code import code_digest
from headgate.optimize.evidence import OwnRange, paired
from headgate.optimize.making import Maker, make_build
from headgate.optimize.making.quantized import CALIBRATION_ITEMS
from headgate.optimize.measure import Behaviour, measure_quality
from headgate.optimize.quality import QualitySamples
from headgate.planning import BUILDS

__all__ = ["Luck", "Spread", "calibration_luck", "known_luck", "warnings"]

_MARGINS = (Bound.NOT_BELOW_CURRENT_BY, Bound.NOT_ABOVE_CURRENT_BY)
_ENTRY = "luck"


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric of one candidate, over calibrations on resamples of one set of items."""

    metric: str
    means: tuple[float, ...]
    """Over the evaluation items, one a resample; what errored is left out."""

    @property
    def sd(self) -> float:
        """Standard deviation over the resamples, in the metric's unit."""
        return statistics.stdev(self.means)


@dataclass(frozen=True, slots=True)
class Luck:
    """What calibrating one candidate again and again came to."""

    candidate: str
    items: int
    """Of each resample."""
    resamples: int
    spreads: tuple[Spread, ...]
    """Of each metric of quality that is promised."""
    warnings: tuple[str, ...]
    entry: str
    """Of the ledger."""

    def describe(self) -> str:
        """For a report.

        >>> once = Spread("recall@10", (0.712, 0.719, 0.715))
        >>> Luck("int8_static", 150, 3, (once,), (), "sha256:entry").describe()
        'int8_static, calibrated 3 times on resamples of 150 items: recall@10 between 0.712 and \
0.719'
        """
        said = (
            f"{s.metric} between {min(s.means):.3f} and {max(s.means):.3f}" for s in self.spreads
        )
        return (
            f"{self.candidate}, calibrated {self.resamples} times on resamples of {self.items} "
            f"items: {', '.join(said)}"
        )


def calibration_luck(
    maker: Maker,
    behaviour: Behaviour,
    name: str,
    *,
    current: QualitySamples,
    own: Mapping[str, OwnRange],
    resamples: int,
) -> Luck:
    """The candidate ``name`` by ``resamples`` (2 at least) calibrations, on all evaluation items.

    Each takes as many items as a calibration does, drawn with replacement (the bootstrap; Efron,
    1979) from all of the endpoint's calibration items, by the recorder's seed. ``current``: the
    baseline, for metrics that compare with it. Raises as ``make_build`` does.
    """
    if resamples < 2:
        raise ValueError(f"a spread needs two resamples at least, got {resamples}")
    given, recorder = maker.inputs.calibrate, maker.recorder
    size = min(CALIBRATION_ITEMS, len(given))
    rng = np.random.default_rng(recorder.seed)
    means: dict[str, list[float]] = {}
    runs = []
    for k in range(resamples):
        drawn = [given[i] for i in rng.integers(len(given), size=size)]
        build = replace(make_build(name, maker, calibrate=drawn), name=f"{name}, resample {k + 1}")
        samples, run = measure_quality(
            recorder, build, behaviour, dataset=maker.inputs.versions["evaluate"], split="evaluate"
        )
        runs.append(run.entry)
        for metric in dict.fromkeys(c.metric for c in maker.contracts):
            items = paired(metric, samples, current, own)
            if items is not None:
                known = [v for v in items.candidate if v is not None]
                means.setdefault(metric, []).append(statistics.fmean(known))
    body = {**_of(maker, behaviour, name), "items": size, "means": means, "runs": runs}
    entry = recorder.store.latest(_ENTRY, **body) or recorder.store.append(_ENTRY, body)
    return _read(entry, maker.contracts)


def known_luck(maker: Maker, behaviour: Behaviour, name: str) -> Luck | None:
    """What was found of the candidate ``name`` the last time, of this model, on these data; nothing
    where what makes or judges it is another by now."""
    entry = maker.recorder.store.latest(_ENTRY, **_of(maker, behaviour, name))
    return None if entry is None else _read(entry, maker.contracts)


def warnings(spreads: Iterable[Spread], contracts: Iterable[Contract]) -> Sequence[str]:
    """What to beware of: a spread above a third of the margin that a contract allows.

    Then a calibration that passes may be followed by one of the same data that does not.
    """
    of = {spread.metric: spread for spread in spreads}
    return [
        f"{c.metric} varies by {of[c.metric].sd:.2g} (SD of {len(of[c.metric].means)} "
        f"calibrations), more than a third of the margin of {c.limit:g}: calibrate on more items"
        for c in contracts
        if c.bound in _MARGINS and c.metric in of and of[c.metric].sd > c.limit / 3
    ]


def _of(maker: Maker, behaviour: Behaviour, name: str) -> Mapping[str, str]:
    """What luck is about."""
    return {
        "endpoint": maker.recorder.endpoint,
        "candidate": name,
        "scheme": digest(BUILDS[name].scheme),
        "behaviour": digest(behaviour),
        "code": code_digest(make_build.__module__, measure_quality.__module__),
        "model": maker.source.build.version,
        "dataset": maker.inputs.versions["evaluate"],
        "calibrate": maker.inputs.versions.get("calibrate", ""),
        "e": maker.recorder.environment,
    }


def _read(entry: Entry, contracts: Sequence[Contract]) -> Luck:
    body = entry.body
    promised = [m for m in dict.fromkeys(c.metric for c in contracts) if m in body["means"]]
    spreads = tuple(Spread(metric, tuple(body["means"][metric])) for metric in promised)
    return Luck(
        body["candidate"],
        body["items"],
        len(body["runs"]),
        spreads,
        tuple(warnings(spreads, contracts)),
        entry.id,
    )
