"""What every object is held to, by its kind: one metric, one contract, one failure note.

One table, below. It is registered with the objects that it rules, so that what was promised of an
object before its incident can be read after it; signals and responses are therefore codes, and
sentences only where they are shown. ``headgate.objects.checks`` asks whether a signal of it fires.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headgate.objects.contract import Action, Axis, Bound, Contract
from headgate.objects.digest import canonical
from headgate.objects.production import FailureNote
from headgate.objects.production import SignalAndResponse as Seen

__all__ = ["STANDARDS", "Limits", "Response", "Signal", "Standard"]


class Signal(enum.StrEnum):
    """What can be observed of any object: codes, which are stored and keep their meaning."""

    OLD = "old"
    SUPERSEDED = "superseded"
    ABSENT = "absent"
    CHANGED = "changed"
    LATE = "late"
    UNLINKED = "unlinked"
    LARGE = "large"
    SLOW = "slow_to_make"
    TOO_SLOW = "latency_broken"
    TOO_DEAR = "cost_broken"
    # No line of a failure note: what its own metric, the endpoint, and the sixth item find.
    UNFIT = "unfit"
    BROKEN = "promise_broken"
    UNTESTED = "untested"

    @property
    def says(self) -> str:
        """The signal for people, who may be told in other words tomorrow."""
        return _SAYS[self]


_SAYS: Mapping[Signal, str] = MappingProxyType(
    {
        Signal.OLD: "its content is older than its limit",
        Signal.SUPERSEDED: "an input of it has a newer version",
        Signal.ABSENT: "its content is not in the store",
        Signal.CHANGED: "its content does not match its digest",
        Signal.LATE: "it was registered later after it came to be than its limit",
        Signal.UNLINKED: "an edge of its evidence is missing",
        Signal.LARGE: "it takes more bytes than its limit",
        Signal.SLOW: "making it took more machine time than its limit",
        Signal.TOO_SLOW: "a promise on latency is broken",
        Signal.TOO_DEAR: "a promise on cost is broken",
        Signal.UNFIT: "its metric breaks its contract",
        Signal.BROKEN: "what the endpoint promises of it is broken",
        Signal.UNTESTED: "a failure that was planted makes no signal fire",
    }
)


class Response(enum.StrEnum):
    """What is done where a signal fires: codes, as signals are."""

    WARN = "warn"
    BACKFILL = "backfill"
    """Nothing is promoted on it until it was fetched or made again."""
    BLOCK = "block"
    """Nothing is promoted on it."""
    REJECT = "reject"
    """It is neither served nor trained on."""
    INVESTIGATE = "investigate"
    """Its owner looks for drift or skew; until then it stands."""
    DOWNSCALE = "downscale"
    """Its owner makes it smaller, or fetches it from a cache; until then it stands."""

    @property
    def stops(self) -> bool:
        """Whether a promotion waits for it."""
        return self in (Response.BACKFILL, Response.BLOCK, Response.REJECT)


@dataclass(frozen=True, slots=True)
class Limits:
    """Stated defaults; infinite where there is none."""

    age_s: float = float("inf")
    lag_s: float = float("inf")
    """Between its coming to be and its registration."""
    size_bytes: float = float("inf")
    made_in_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Standard:
    """What objects of one kind are held to."""

    kind: str
    """A ``Kind`` of artifact, ``run`` or ``release``."""
    what: str
    contract: Contract
    """On the metric that decides whether the object is valid."""
    failure_note: FailureNote
    limits: Limits = Limits()
    from_outside: bool = False
    """Whether an object of this kind may come from outside; all others were made from something."""

    @property
    def content(self) -> bytes:
        """The canonical bytes, whose digest is the version that an artifact names."""
        return canonical(self)


_DAY_S = 86_400.0
_QUARTER_S = 90 * _DAY_S
_GIB = 2.0**30

# Stale, missing, corrupted, delayed, unaudited, too expensive: for each one signal, one response.
_DATA = FailureNote(
    stale=Seen(Signal.OLD, Response.WARN),
    missing=Seen(Signal.ABSENT, Response.BACKFILL),
    corrupted=Seen(Signal.CHANGED, Response.REJECT),
    delayed=Seen(Signal.LATE, Response.WARN),
    unaudited=Seen(Signal.UNLINKED, Response.BLOCK),
    too_expensive=Seen(Signal.LARGE, Response.DOWNSCALE),
)
_TERMS = FailureNote(
    stale=Seen(Signal.SUPERSEDED, Response.WARN),
    missing=Seen(Signal.ABSENT, Response.BLOCK),
    corrupted=Seen(Signal.CHANGED, Response.REJECT),
    delayed=Seen(Signal.LATE, Response.WARN),
    unaudited=Seen(Signal.UNLINKED, Response.BLOCK),
    too_expensive=Seen(Signal.LARGE, Response.DOWNSCALE),
)
_MADE = FailureNote(
    stale=Seen(Signal.SUPERSEDED, Response.WARN),
    missing=Seen(Signal.ABSENT, Response.BACKFILL),
    corrupted=Seen(Signal.CHANGED, Response.REJECT),
    delayed=Seen(Signal.LATE, Response.WARN),
    unaudited=Seen(Signal.UNLINKED, Response.BLOCK),
    too_expensive=Seen(Signal.SLOW, Response.DOWNSCALE),
)
_SERVED = FailureNote(
    stale=Seen(Signal.SUPERSEDED, Response.WARN),
    missing=Seen(Signal.ABSENT, Response.BACKFILL),
    corrupted=Seen(Signal.CHANGED, Response.REJECT),
    delayed=Seen(Signal.TOO_SLOW, Response.BLOCK),
    unaudited=Seen(Signal.UNLINKED, Response.BLOCK),
    too_expensive=Seen(Signal.TOO_DEAR, Response.BLOCK),
)


def _standard(
    kind: str,
    what: str,
    metric: str,
    at_least: float,
    why: str,
    note: FailureNote,
    *,
    axis: Axis = Axis.QUALITY,
    limits: Limits = Limits(),
    from_outside: bool = False,
) -> Standard:
    contract = Contract(
        metric,
        axis,
        Bound.AT_LEAST,
        at_least,
        rationale=why,
        on_breach=Action.ROLLBACK,
        escalation="the owner",
        rollback_candidate="the version before",
    )
    return Standard(kind, what, contract, note, limits, from_outside)


_ROWS = ("rows", 2.0, "one row tells nothing from noise")
_FITS = ("fits", 1.0, "what does not read as its schema says is not what it is called")
_ABOUT_DATA = Limits(age_s=_QUARTER_S, lag_s=30 * _DAY_S, size_bytes=4 * _GIB)
_ABOUT_TERMS = Limits(lag_s=30 * _DAY_S, size_bytes=64 * 2.0**20)
_ABOUT_MADE = Limits(lag_s=_DAY_S, made_in_s=_DAY_S)

_TABLE = (
    _standard(
        "dataset", "what is learnt from, calibrated with or judged on", *_ROWS, _DATA,
        limits=_ABOUT_DATA, from_outside=True,
    ),
    _standard(
        "workload", "what was asked, and when", *_ROWS, _DATA,
        axis=Axis.LATENCY, limits=_ABOUT_DATA, from_outside=True,
    ),
    _standard(
        "prepared", "a file of the endpoint's own prepare function", *_FITS, _MADE,
        limits=_ABOUT_MADE,
    ),
    _standard(
        "traces", "a record of requests that were served", *_FITS, _DATA,
        axis=Axis.SAFETY, limits=_ABOUT_DATA, from_outside=True,
    ),
    _standard(
        "prices", "what things cost", "lowest_price", 0.0,
        "a negative price would pay for waste", _DATA,
        axis=Axis.COST, limits=Limits(_QUARTER_S, 30 * _DAY_S, 2.0**20), from_outside=True,
    ),
    _standard(
        "contracts", "the promises", *_FITS, _TERMS,
        axis=Axis.SAFETY, limits=_ABOUT_TERMS, from_outside=True,
    ),
    _standard(
        "config", "headgate.yaml as it was read", *_FITS, _TERMS,
        axis=Axis.SAFETY, limits=_ABOUT_TERMS, from_outside=True,
    ),
    _standard(
        "environment", "machine and library versions", *_FITS, _TERMS,
        axis=Axis.SAFETY, limits=_ABOUT_TERMS, from_outside=True,
    ),
    _standard(
        "model", "weights and graph", *_FITS, _MADE, limits=_ABOUT_MADE, from_outside=True,
    ),
    _standard(
        "tokenizer", "texts to tokens", *_FITS, _MADE, limits=_ABOUT_MADE, from_outside=True,
    ),
    _standard("labels", "the names of a classifier's classes", *_FITS, _MADE, limits=_ABOUT_MADE),
    _standard(
        "server", "what is known of a server that is not ours", *_FITS, _TERMS,
        limits=_ABOUT_TERMS, from_outside=True,
    ),
    _standard("samples", "what was measured, before it is judged", *_FITS, _MADE,
              limits=_ABOUT_MADE),
    _standard("plan", "the search for how to serve a build", *_FITS, _MADE,
              axis=Axis.LATENCY, limits=_ABOUT_MADE),
    _standard("policy", "when a batch closes; what is kept", *_FITS, _TERMS,
              axis=Axis.LATENCY, limits=_ABOUT_TERMS, from_outside=True),
    _standard("build", "what computes an answer", *_FITS, _SERVED),
    _standard("certificate", "what a build answers on a machine, and how fast", *_FITS, _MADE,
              axis=Axis.SAFETY, limits=_ABOUT_MADE),
    _standard("variant", "what a release names", *_FITS, _SERVED, axis=Axis.COST),
    _standard("decision", "all verdicts of a candidate, and one outcome", *_FITS, _MADE,
              axis=Axis.SAFETY, limits=_ABOUT_MADE),
    _standard("log", "what a command of the owner's printed", "readable", 1.0,
              "what nobody can read explains nothing", _MADE, limits=_ABOUT_MADE),
    _standard("bundle", "a release from elsewhere, signed, with its evidence", *_FITS, _TERMS,
              axis=Axis.SAFETY, limits=_ABOUT_TERMS, from_outside=True),
    _standard("run", "one execution of a transformation", "outputs", 1.0,
              "a run that made nothing shows nothing", _MADE,
              axis=Axis.SAFETY, limits=_ABOUT_MADE),
    _standard("release", "a variant made current for an endpoint", *_FITS, _SERVED,
              axis=Axis.SAFETY),
    _standard("standard", "what objects of one kind are held to", *_FITS, _TERMS,
              axis=Axis.SAFETY, limits=_ABOUT_TERMS, from_outside=True),
)  # fmt: skip

STANDARDS: Mapping[str, Standard] = MappingProxyType({s.kind: s for s in _TABLE})
"""Kind of object -> what is asked of it."""
