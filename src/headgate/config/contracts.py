"""From what a file says about a metric to a ``Contract``: axis, unit, direction, defaults.

One table knows every metric that Headgate measures: which axis it is on, in which unit, and which
way is better. A metric that is not in it, and not one of the endpoint's own, is refused: a
contract on something that nobody measures protects nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headgate.config.schema import ContractSpec, nearest
from headgate.config.units import parse_duration, parse_fraction, parse_number, parse_seconds
from headgate.errors import ConfigError
from headgate.objects import Action, Axis, BatchInvariance, Bound, Contract, Direction, Owner
from headgate.release import LIVE_METRICS

__all__ = [
    "DEFAULT_ROLLBACK",
    "MetricKind",
    "axes_without_contract",
    "contract_of",
    "default_contracts",
    "live_contract_of",
    "metric_kind",
    "needs_labels",
]

DEFAULT_ROLLBACK = "previous generation"


@dataclass(frozen=True, slots=True)
class MetricKind:
    """What is known of a metric before it is measured."""

    axis: Axis
    unit: str
    """``fraction``, ``s``, ``money``, ``class`` or ``number``."""
    direction: Direction | None
    """None where it is a class."""
    written: tuple[str, ...] = ("ms", "s")
    """Of one in s: the units that its limits are usually written in. A limit without one is
    refused; () where the metric's name says that it is in seconds."""


_HIGHER, _LOWER = Direction.HIGHER, Direction.LOWER
_QUALITY = {
    "embed": (
        "recall@10",
        "mrr@10",
        "agreement@10",
        "agreement",
        "recall@10_kept_index",
        "agreement@10_kept_index",
    ),
    "classify": ("accuracy", "agreement"),
    "predict": ("agreement",),
    "rerank": ("ndcg@10", "mrr@10", "agreement"),
}
_FLIPPING = ("embed", "classify")
"""Tasks whose labelled items are right or wrong, so that they can flip from one to the other."""
_OTHERS = {
    "batch_invariance": MetricKind(Axis.SAFETY, "class", None),
    "latency_mean": MetricKind(Axis.LATENCY, "s", _LOWER),
    "latency_p50": MetricKind(Axis.LATENCY, "s", _LOWER),
    "latency_p95": MetricKind(Axis.LATENCY, "s", _LOWER),
    "latency_p99": MetricKind(Axis.LATENCY, "s", _LOWER),
    "cost_per_1k": MetricKind(Axis.COST, "money", _LOWER),
    "device_s_per_1k": MetricKind(Axis.COST, "s", _LOWER, ()),
}
_LIVE = {
    **{name: kind for name, kind in _OTHERS.items() if name in LIVE_METRICS},
    "error_rate": MetricKind(Axis.SAFETY, "fraction", _LOWER),
    "invalid_rate": MetricKind(Axis.SAFETY, "fraction", _LOWER),
    "wrong_hit_rate": MetricKind(Axis.SAFETY, "fraction", _LOWER),
    "input_drift": MetricKind(Axis.QUALITY, "fraction", _LOWER),
    "age": MetricKind(Axis.QUALITY, "s", _LOWER, ("d",)),
}
"""What can be seen while serving."""


def _builtin(task: str) -> dict[str, MetricKind]:
    quality = dict.fromkeys(_QUALITY[task], _HIGHER)
    if task in _FLIPPING:
        quality["flip_rate"] = _LOWER
    return {
        **{n: MetricKind(Axis.QUALITY, "fraction", way) for n, way in quality.items()},
        **{f"worst_slice_{n}": MetricKind(Axis.SAFETY, "fraction", w) for n, w in quality.items()},
        **_OTHERS,
    }


_MARGINS = (Bound.NOT_BELOW_CURRENT_BY, Bound.NOT_ABOVE_CURRENT_BY)

_PARSERS: Mapping[str, Callable[[float | str], float]] = {
    "fraction": parse_fraction,
    "money": parse_number,
    "number": parse_number,
}


def metric_kind(name: str, task: str, own: Mapping[str, MetricKind]) -> MetricKind:
    """What ``name`` is; ``own`` are the endpoint's metrics. Raises ``ConfigError``.

    >>> metric_kind("latency_p95", "embed", {}).unit
    's'
    """
    builtin = _builtin(task)
    worst = {
        f"worst_slice_{metric}": MetricKind(Axis.SAFETY, kind.unit, kind.direction)
        for metric, kind in own.items()
        if kind.axis is Axis.QUALITY
    }
    known = {**worst, **own, **builtin}
    if name not in known:
        raise ConfigError(
            f"nothing measures a metric named {name!r} for the task {task}",
            reason="unknown_metric",
            fix=nearest(name, [*own, *builtin]) + " Your own go under metrics or safety.",
        )
    return known[name]


def needs_labels(metric: str, task: str) -> bool:
    """Whether ``metric`` compares answers with labels; of an endpoint's own metric nobody knows.

    >>> needs_labels("worst_slice_flip_rate", "classify"), needs_labels("agreement@10", "embed")
    (True, False)
    """
    answers = metric in _builtin(task) and metric not in _OTHERS
    return answers and not metric.removeprefix("worst_slice_").startswith("agreement")


def contract_of(metric: str, spec: ContractSpec, kind: MetricKind, owner: Owner) -> Contract:
    """The contract that ``spec`` describes. Raises ``ConfigError`` without a place: the caller
    knows the file."""
    given = [b for b in Bound if getattr(spec, b.value) is not None]
    if len(given) != 1:
        names = ", ".join(b.value for b in given)
        raise ConfigError(
            f"has {len(given)} bounds: {names}" if given else "has no bound",
            reason="contract_without_bound" if not given else "contract_with_two_bounds",
            fix=f"give exactly one of {', '.join(b.value for b in Bound)}",
        )
    bound = given[0]
    _check_direction(metric, bound, kind)
    axis = Axis(spec.axis) if spec.axis else kind.axis
    _check_axis(axis, kind.axis)
    return Contract(
        metric=metric,
        axis=axis,
        bound=bound,
        limit=0.0 if bound is Bound.ONE_OF else _limit(spec, bound, kind),
        rationale=spec.why,
        on_breach=Action(spec.on_breach),
        escalation=spec.escalate or owner.escalate,
        rollback_candidate=spec.rollback,
        allowed=spec.one_of or (),
        min_n=spec.min_n,
    )


def check_safety(contract: Contract) -> None:
    """Safety is never traded. Raises ``ConfigError`` where what breaks it would be promoted."""
    if contract.axis is Axis.SAFETY and contract.on_breach is Action.WARN:
        raise ConfigError(
            "a breach of safety would only be warned of, and promoted",
            reason="safety_only_warns",
            fix="write on_breach: rollback, retrain or escalate",
        )


def _check_axis(axis: Axis, own: Axis) -> None:
    """A promise on latency stands for no axis but its own, and so does one on cost."""
    answers = (Axis.QUALITY, Axis.SAFETY)
    if axis is not own and not (axis in answers and own in answers):
        raise ConfigError(
            f"its axis is {own.value}, not {axis.value}",
            reason="wrong_axis",
            fix="leave axis out; only what is about answers may be quality or safety",
        )


def live_contract_of(metric: str, spec: ContractSpec, owner: Owner) -> Contract:
    """The promise under ``live`` that ``spec`` describes. Raises as ``contract_of`` does."""
    if metric not in _LIVE:
        raise ConfigError(
            f"nothing that is named {metric!r} is seen while serving",
            reason="unknown_metric",
            fix=nearest(metric, list(_LIVE)),
        )
    contract = contract_of(metric, spec, _LIVE[metric], owner)
    if contract.bound is not Bound.AT_MOST:
        raise ConfigError(
            f"{contract.bound.value} has nothing beside it to be compared with while serving",
            reason="wrong_bound",
            fix="write at_most",
        )
    if contract.limit == 0:
        raise ConfigError(
            "that it never happens cannot be shown of traffic",
            reason="wrong_value",
            fix="write how much is too much, such as 0.1%",
        )
    if metric == "age" and contract.on_breach is Action.ROLLBACK:
        raise ConfigError(
            "what a rollback brings back is older still",
            reason="wrong_value",
            fix="write on_breach: retrain, escalate or warn",
        )
    if _LIVE[metric].unit == "fraction" and contract.limit >= 1:
        raise ConfigError(
            f"a share of at most {contract.limit:g} is kept whatever happens",
            reason="wrong_value",
            fix="write how much is too much, such as 0.1%",
        )
    return contract


def _limit(spec: ContractSpec, bound: Bound, kind: MetricKind) -> float:
    value: float | str = getattr(spec, bound.value)
    relative, margin = bound is Bound.RATIO_AT_MOST, bound in _MARGINS
    try:
        if relative:
            limit = parse_fraction(value)
        elif kind.unit == "s":
            limit = parse_duration(value, kind.written) if kind.written else parse_seconds(value)
        else:
            limit = _PARSERS[kind.unit](value)
    except ConfigError as error:
        what = f"the margin {error.what}" if margin else error.what
        raise ConfigError(what, reason=error.reason, fix=error.fix) from None
    if limit < 0 and bound is not Bound.AT_LEAST and (margin or kind.unit != "number"):
        raise ConfigError(
            f"the limit {value} is negative",
            reason="wrong_value",
            fix="a margin is how much worse it may get"
            if margin
            else "nothing that is measured here is below 0; write the most that it may be, without "
            "the minus",
        )
    if limit > 1 and kind.unit == "fraction" and not relative:
        raise ConfigError(
            f"the limit {value} is more than the whole",
            reason="wrong_value",
            fix="write a share from 0 to 1, or from 0% to 100%",
        )
    return limit


def _check_direction(metric: str, bound: Bound, kind: MetricKind) -> None:
    if (kind.unit == "class") != (bound is Bound.ONE_OF):
        raise ConfigError(
            f"{bound.value} does not fit {metric}, which is a {kind.unit}",
            reason="wrong_bound",
            fix="write one_of: [" + ", ".join(BatchInvariance) + "]"
            if kind.unit == "class"
            else "write at_most, at_least or a bound relative to current",
        )
    if bound is Bound.RATIO_AT_MOST and kind.unit not in ("s", "money"):
        raise ConfigError(
            f"{bound.value} does not fit {metric}, which is measured item by item",
            reason="wrong_bound",
            fix="write a bound relative to current by a margin, or an absolute one",
        )
    lowers = (Bound.AT_MOST, Bound.NOT_ABOVE_CURRENT_BY, Bound.RATIO_AT_MOST)
    highers = (Bound.AT_LEAST, Bound.NOT_BELOW_CURRENT_BY)
    wrong = highers if kind.direction is Direction.LOWER else lowers
    if kind.direction is not None and bound in wrong:
        right = lowers if kind.direction is Direction.LOWER else highers
        better = "low" if kind.direction is Direction.LOWER else "high"
        raise ConfigError(
            f"{bound.value} does not fit {metric}, which is better {better}",
            reason="wrong_bound",
            fix=f"write {' or '.join(b.value for b in right)}",
        )


def check_classes(metric: str, allowed: Iterable[str]) -> None:
    """Raises ``ConfigError`` where a class of ``batch_invariance`` does not exist."""
    for name in allowed:
        if metric == "batch_invariance" and name not in list(BatchInvariance):
            raise ConfigError(
                f"there is no batch-invariance class {name!r}",
                reason="wrong_value",
                fix=nearest(name, [c.value for c in BatchInvariance]),
            )


def check_decidable(
    contract: Contract,
    kind: MetricKind,
    blocks: int,
    value_range: tuple[float, float],
    declared: str = "",
) -> None:
    """Raises ``ConfigError`` where no measurement whatever could keep the contract.

    ``blocks`` are those of the replay; ``value_range`` is that of one item, of what has items, and
    ``declared`` the key of headgate.yaml that it stands under, or would; empty where it has none.
    """
    from headgate.release import least_n  # brings scipy, which most commands do without

    in_blocks = contract.metric in _OTHERS and kind.unit != "class"
    least = least_n(contract, value_range=None if in_blocks else value_range)
    if least is None and contract.bound in _MARGINS and contract.limit == 0:
        absolute = Bound.AT_LEAST if kind.direction is Direction.HIGHER else Bound.AT_MOST
        raise ConfigError(
            "has a margin of 0: not even answers that equal current's would keep it",
            reason="never_decides",
            fix=f"write how much worse it may get; a gain is asked for by {absolute.value}",
        )
    low, high = value_range
    one_item = f"one item's value is from {low:g} to {high:g}" + (
        f" ({declared})" if declared else ""
    )
    range_or = (
        "write the lowest and the highest value of one item there, `range: [LOWEST, HIGHEST]`"
    )
    if least is None and contract.bound in _MARGINS:
        raise ConfigError(
            f"has a margin of {contract.limit:g}, and {one_item}: whatever is answered would "
            "keep it",
            reason="never_decides",
            fix=f"{range_or}, or a smaller margin here" if declared else "write a smaller margin",
        )
    if least is None and declared:
        raise ConfigError(
            f"can never be kept: its limit is {contract.limit:g}, and {one_item}",
            reason="never_decides",
            fix=f"{range_or}, or another limit here",
        )
    if least is None:
        raise ConfigError(
            "can never be kept, whatever is measured: its limit leaves no room",
            reason="never_decides",
            fix="write a limit that the best value of the metric keeps with some room",
        )
    if in_blocks and blocks < least:
        raise ConfigError(
            f"can never be decided: it needs {least} blocks, and replay.blocks is {blocks}",
            reason="never_decides",
            fix=f"write `replay: {{blocks: {least}}}` or more",
        )


def axes_without_contract(contracts: Iterable[Contract]) -> tuple[Axis, ...]:
    """Those of the four axes that no contract is on; each of them stops a promotion."""
    covered = {c.axis for c in contracts}
    return tuple(a for a in Axis if a not in covered)


def default_contracts(task: str, *, labelled: bool, owner: Owner) -> tuple[Contract, ...]:
    """What is judged where a file declares no contracts: enough for a first result.

    No worse than current in latency and in device seconds; recall@10 (``embed``) or ndcg@10
    (``rerank``) within 0.02, or accuracy within 0.01; without labels 0.9 of the answers'
    neighbours, or 0.99 of the answers, as current gives them; no answer that depends on who
    shared its batch.
    """

    def contract(
        metric: str, axis: Axis, bound: Bound, limit: float, why: str, allowed: tuple[str, ...] = ()
    ) -> Contract:
        return Contract(
            metric,
            axis,
            bound,
            limit,
            f"stated default: {why}",
            Action.ROLLBACK,
            owner.escalate,
            DEFAULT_ROLLBACK,
            allowed,
        )

    embed = task == "embed"
    if labelled and embed:
        quality = ("recall@10", Bound.NOT_BELOW_CURRENT_BY, 0.02, "finds what it finds today")
    elif labelled and task == "rerank":
        quality = ("ndcg@10", Bound.NOT_BELOW_CURRENT_BY, 0.02, "ranks as it ranks today")
    elif labelled and task == "classify":
        quality = ("accuracy", Bound.NOT_BELOW_CURRENT_BY, 0.01, "as right as it is today")
    elif embed:
        quality = ("agreement@10", Bound.AT_LEAST, 0.9, "answers as it does today")
    else:
        quality = ("agreement", Bound.AT_LEAST, 0.99, "answers as it does today")
    name, bound, limit, why = quality
    independent = (BatchInvariance.EXACT.value, BatchInvariance.EPSILON.value)
    return (
        contract(name, Axis.QUALITY, bound, limit, why),
        contract(
            "batch_invariance",
            Axis.SAFETY,
            Bound.ONE_OF,
            0.0,
            "no answer depends on a stranger's",
            independent,
        ),
        contract("latency_p95", Axis.LATENCY, Bound.RATIO_AT_MOST, 1.0, "nobody waits longer"),
        contract("device_s_per_1k", Axis.COST, Bound.RATIO_AT_MOST, 1.0, "it costs no more"),
    )
