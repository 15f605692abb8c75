"""Raw data -> the targets; those of parts that were not run are left out. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.convention import Target, at_least, at_most

__all__ = ["targets"]

# (build, connections) -> share of the ceiling.
CEILING = {("fp32", 64): 0.85, ("fp32", 16): 0.75, ("int8", 64): 0.78, ("int8", 16): 0.57}
PEER = {"litserve": 1.5, "ray": 1.5, "bentoml": 1.5, "triton": 1.5, "infinity": 1.0}
_BUILDS = {"fp32": "fp32", "int8": "int8_static"}


def targets(raw: Mapping[str, Any]) -> dict[str, Target]:
    """``raw``: part -> what it measured."""
    made: dict[str, Target] = {}
    for part, judge in (
        ("rounds", _saturation),
        ("tail", _tail),
        ("lone", _lone),
        ("long", _long),
        ("noop", _noop),
        ("overload", _overload),
    ):
        if raw.get(part):
            made |= judge(raw[part], raw)
    return made


def _name(row: Mapping[str, Any]) -> str:
    own = row["server"] == "headgate"
    return str(row["setting"].split("-")[0] if own else row["server"])


def _saturation(part: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Target]:
    """Ratios are taken within a round; the median over rounds counts."""
    rate = {(_name(r), r["connections"], r["round"]): r["rate_per_s"] for r in part["rows"]}
    top = {(c["build"], c["round"]): max(c["rates"]) for c in part["ceilings"]}
    numbers = sorted({key[2] for key in rate})
    made = {}

    def ratio(pairs: list[tuple[float, float]]) -> float:
        """NaN, a target missed, where one of the two answered nothing in a round."""
        found = [a / b if a and b else math.nan for a, b in pairs]
        return math.nan if any(map(math.isnan, found)) else statistics.median(found)

    for (build, c), bound in CEILING.items():
        pairs = [
            (rate[build, c, n], top[_BUILDS[build], n]) for n in numbers if (build, c, n) in rate
        ]
        if pairs:
            made[f"{build}, {c} connections: share of the ceiling"] = at_least(ratio(pairs), bound)
    for peer, bound in PEER.items():
        for c in (64, 16):
            pairs = [
                (rate["fp32", c, n], rate[peer, c, n]) for n in numbers if (peer, c, n) in rate
            ]
            if pairs:
                made[f"fp32, {c} connections: times {peer}"] = at_least(ratio(pairs), bound)
    if raw.get("prepare"):
        mean = statistics.fmean(raw["prepare"]["tokens"])
        shares = [
            1 - r["items"] * mean / r["padded_tokens"]
            for r in part["rows"]
            if _name(r) == "fp32" and r["connections"] == 64 and r.get("padded_tokens")
        ]
        made["wasted padding at saturation"] = at_most(
            statistics.median(shares) if shares else math.nan, 0.15
        )
    return made


def _median_valid(rows: list[Mapping[str, Any]], key: str = "p95_s") -> float:
    """NaN where every run was VOID."""
    valid = [r[key] for r in rows if r["verdict"] == "valid"]
    return statistics.median(valid) if valid else math.nan


def _tail(rows: list[Mapping[str, Any]], raw: Mapping[str, Any]) -> dict[str, Target]:
    made = {}
    for peer in dict.fromkeys(r["peer"] for r in rows):
        ours, theirs = (
            _median_valid([r for r in rows if r["peer"] == peer and r["side"] == side])
            for side in ("ours", "peer")
        )
        key = f"p95 at 70 % of {peer}'s saturation, of {peer}'s"
        made[key] = at_most(ours / theirs, 0.8)
    return made


def _lone(rows: list[Mapping[str, Any]], raw: Mapping[str, Any]) -> dict[str, Target]:
    added = statistics.median(r["served_p50_s"] - r["bare_p50_s"] for r in rows)
    return {"one connection: added to the engine call, ms": at_most(added * 1e3, 1.0)}


def _long(rows: list[Mapping[str, Any]], raw: Mapping[str, Any]) -> dict[str, Target]:
    without, beside = (
        _median_valid([r for r in rows if r["long"] is long], "short_p95_s")
        for long in (False, True)
    )
    return {"short requests' p95 beside 1 % of maximum length, times": at_most(beside / without, 2)}


def _noop(rows: list[Mapping[str, Any]], raw: Mapping[str, Any]) -> dict[str, Target]:
    best = {
        name: max((r["rate_per_s"] for r in rows if r["server"] == name), default=math.nan)
        for name in ("headgate", "litserve")
    }
    return {"no-op: times LitServe": at_least(best["headgate"] / best["litserve"], 5.0)}


def _overload(row: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Target]:
    where = f"overload, {row['seconds']:.0f} s at {row['times']:g} x"
    if row["verdict"] != "valid":
        row = {**row, "goodput_per_s": math.nan, "rejection_p99_s": math.nan}
        row["late_share"] = math.nan
    return {
        f"{where}: goodput of peak": at_least(row["goodput_per_s"] / row["peak_per_s"], 0.9),
        f"{where}: p99 of a rejection, ms": at_most(row["rejection_p99_s"] * 1e3, 20.0),
        f"{where}: accepted and late": at_most(row["late_share"], 0.01),
        f"{where}: memory growth": at_most(row["rss_end"] / row["rss_start"] - 1, 0.05),
    }
