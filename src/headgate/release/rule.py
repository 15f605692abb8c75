"""The rule of a decision: all that could be turned until it pleases, fixed before the first sample.

A rule is registered by its digest. The gate is told which digest was in force when each kind of
sample was first taken; where that is another, or none, the decision is invalid, whatever the
samples say (docs/decisions/0025-what-a-decision-may-get-wrong.md). Knows nothing of where rules
are registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from headgate.errors import InputError
from headgate.objects import Contract, digest
from headgate.release.estimate import LEVEL
from headgate.release.replay import contract_from_json

__all__ = ["Rule", "rule_from_json"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is promised, on what it is measured and by what, among how many, and at which levels.

    What a candidate *is* (its files, precision, policies) is not part of it: another candidate has
    other samples, and on a holdout each costs a use.
    """

    endpoint: str
    split: str
    dataset: str
    """Version of the split's content."""
    contracts: tuple[Contract, ...]
    metrics: Mapping[str, str]
    """Metric -> digest of what is declared of it, and of its function; empty where built in."""
    planned_n: Mapping[str, int]
    """Metric -> items or blocks; what is not in it has no planned n."""
    seed: int
    tried: int = 1
    """Among how many candidates it chooses; 1 certifies."""
    level: float = LEVEL
    workload: str = ""
    """Version of the requests that are replayed; empty where none are."""
    replay: Mapping[str, float] = field(default_factory=dict)
    """How they are: ``seconds`` a side, ``load`` (share of a side's own capacity), ``blocks``."""
    prices: str = ""
    """Version of the price list, by which seconds become money; empty where nothing is priced."""
    functions: Mapping[str, str] = field(default_factory=dict)
    """The endpoint's own steps -> the digests of their sources: ``preprocess``, ``postprocess``."""
    candidates: tuple[str, ...] = ()
    """Names of what may be chosen among."""

    @property
    def digest(self) -> str:
        """What is registered."""
        return digest(self)

    @property
    def pass_level(self) -> float:
        """Of the bound that a contract passes by: the error is shared by all that were tried."""
        return 1 - (1 - self.level) / self.tried

    def edited(self, in_force: Mapping[str, str | None]) -> str | None:
        """Why no decision can be made by this rule, and what to do; or None.

        ``in_force`` maps what was measured, in words, to the digest of the rule that was registered
        when its first sample was taken; None where there was none.
        """
        late = [what for what, registered in in_force.items() if registered != self.digest]
        if not late:
            return None
        return (
            f"the rule was registered, or edited, after this was measured: {' and '.join(late)}; "
            "put the old rule back, or take new samples by this one (`--fresh` takes times again; "
            "a holdout that was seen needs new data)"
        )

    def differs_in(self, other: Rule) -> tuple[str, ...]:
        """Names of the fields in which ``other`` is another rule."""
        names = (f.name for f in fields(self))
        return tuple(n for n in names if digest(getattr(self, n)) != digest(getattr(other, n)))


def rule_from_json(data: Mapping[str, Any]) -> Rule:
    """The rule whose canonical JSON is ``data``. Raises ``InputError`` where it is none."""
    try:
        return Rule(
            **{
                **data,
                "contracts": tuple(map(contract_from_json, data["contracts"])),
                "candidates": tuple(data.get("candidates", ())),  # older records have none
            }
        )
    except (KeyError, TypeError) as cause:
        raise InputError(
            f"this is no rule: {cause!r}",
            where="rule",
            fix="use the JSON of a rule that Headgate recorded",
        ) from cause
