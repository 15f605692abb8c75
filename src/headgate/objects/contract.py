"""Contracts: a predicate on a measurement, and what happens when it does not hold.

A contract without a rationale, an action on breach, an escalation rule or a rollback candidate is
not a contract: it can be read, but it is refused before anything is measured against it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from headgate.errors import ConfigError

__all__ = ["Action", "Axis", "Bound", "Contract", "Direction", "Verdict"]


class Axis(enum.StrEnum):
    """The four axes of a release. A candidate with one of them unmeasured is not promoted."""

    QUALITY = "quality"
    SAFETY = "safety"
    LATENCY = "latency"
    COST = "cost"


class Direction(enum.StrEnum):
    """Which way a metric is better."""

    HIGHER = "higher_is_better"
    LOWER = "lower_is_better"


class Verdict(enum.StrEnum):
    """One contract on one measurement. Only ``PASS`` and ``WARN`` let a candidate through."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    """Not enough data, or too much noise, to tell."""
    INVALID = "invalid"
    """The measurement itself is broken: NaN, a void load test, a metric that matched nothing."""


class Action(enum.StrEnum):
    """What is done next. The first five are decisions; the last two are the absence of one."""

    ACCEPT = "accept"
    WARN = "warn"
    ROLLBACK = "rollback"
    """Before promotion: keep current. After it: the previous generation returns."""
    RETRAIN = "retrain"
    ESCALATE = "escalate"
    UNKNOWN = "unknown"
    INVALID = "invalid"


class Bound(enum.StrEnum):
    """What a contract compares its metric with."""

    AT_MOST = "at_most"
    AT_LEAST = "at_least"
    NOT_BELOW_CURRENT_BY = "not_below_current_by"
    """Non-inferiority of a metric that is better high: candidate - current > -limit."""
    NOT_ABOVE_CURRENT_BY = "not_above_current_by"
    """Non-inferiority of a metric that is better low: candidate - current < limit."""
    RATIO_AT_MOST = "ratio_to_current_at_most"
    """candidate / current <= limit; below 1 it demands a gain."""
    ONE_OF = "one_of"
    """A class among those allowed, such as the batch-invariance class."""

    @property
    def needs_current(self) -> bool:
        return self in (
            Bound.NOT_BELOW_CURRENT_BY,
            Bound.NOT_ABOVE_CURRENT_BY,
            Bound.RATIO_AT_MOST,
        )


@dataclass(frozen=True, slots=True)
class Contract:
    """``metric`` against ``bound`` and ``limit`` (or ``allowed``), with all that a breach needs.

    ``limit`` is in the metric's own unit (seconds, money per thousand requests, fraction).
    """

    metric: str
    axis: Axis
    bound: Bound
    limit: float
    rationale: str
    on_breach: Action
    escalation: str
    rollback_candidate: str
    allowed: tuple[str, ...] = ()
    min_n: int = 0
    """Fewer samples than this are *unknown*, whatever they say."""

    def __post_init__(self) -> None:
        where = f"contracts.{self.metric}"
        for name in ("rationale", "escalation", "rollback_candidate"):
            if not getattr(self, name).strip():
                raise ConfigError(
                    f"a contract needs a {name.replace('_', ' ')}",
                    where=where,
                    reason=f"contract_without_{name}",
                    fix=f"say it in headgate.yaml under contracts.{self.metric}",
                )
        if self.on_breach not in (Action.WARN, Action.ROLLBACK, Action.RETRAIN, Action.ESCALATE):
            raise ConfigError(
                f"on_breach cannot be {self.on_breach.value!r}",
                where=where,
                fix="use warn, rollback, retrain or escalate",
            )
        if self.bound is Bound.ONE_OF:
            if not self.allowed:
                raise ConfigError(
                    "one_of names no allowed class",
                    where=where,
                    fix="list at least one allowed class",
                )
        elif not math.isfinite(self.limit):
            raise ConfigError(
                f"the limit {self.limit} is not a finite number", where=where, fix="write a number"
            )

    @property
    def breach(self) -> Verdict:
        """What it is found to be where it is broken: *warn* where that is all it asks for."""
        return Verdict.WARN if self.on_breach is Action.WARN else Verdict.FAIL

    def describe(self) -> str:
        """The rule in words, for tables.

        >>> Contract("recall@10", Axis.QUALITY, Bound.NOT_BELOW_CURRENT_BY, 0.02, "search team",
        ...          Action.ROLLBACK, "mail:search", "previous").describe()
        'recall@10 not below current by 0.02'
        """
        if self.bound is Bound.ONE_OF:
            return f"{self.metric} one of {', '.join(self.allowed)}"
        return f"{self.metric} {self.bound.value.replace('_', ' ')} {self.limit:g}"

    @property
    def promise(self) -> str:
        """The rule and what follows where it is broken: what names it while it is watched.

        >>> Contract("error_rate", Axis.SAFETY, Bound.AT_MOST, 0.01, "pages", Action.ROLLBACK,
        ...          "mail:search", "previous").promise
        'error_rate at most 0.01 (rollback)'
        """
        return f"{self.describe()} ({self.on_breach.value})"
