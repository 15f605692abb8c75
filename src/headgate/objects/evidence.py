"""What is recorded: artifacts, runs, measurements, decisions, releases.

Every value here is frozen, has a canonical form (``headgate.objects.digest``), and names what it
came from by digest. Nothing here knows where it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from headgate.errors import Refused
from headgate.objects.contract import Action, Axis, Contract, Direction, Verdict

__all__ = [
    "KINDS",
    "Artifact",
    "ContractResult",
    "Decision",
    "Flips",
    "Kind",
    "Measurement",
    "Owner",
    "Release",
    "Run",
    "SliceResult",
]


Kind = Literal[
    "build",
    "bundle",
    "certificate",
    "config",
    "contracts",
    "dataset",
    "decision",
    "environment",
    "labels",
    "log",
    "model",
    "plan",
    "policy",
    "prepared",
    "prices",
    "samples",
    "server",
    "standard",
    "tokenizer",
    "traces",
    "variant",
    "workload",
]
"""What an artifact can be. The type checker holds whatever registers one to these, and each has its
row in ``headgate.objects.standards``."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who decides when it fails, and how they are reached (``webhook:URL``, ``command:...``)."""

    team: str
    escalate: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """Anything with content: ``id`` is stable, ``version`` is the digest of the content.

    Refused without id, version, schema or owner (reason ``artifact_incomplete``): a data set that
    is only a name cannot be evidence.
    """

    id: str
    version: str
    kind: Kind
    schema: str
    """What the content looks like, e.g. ``jsonl {id, query, passage, slices}``."""
    owner: str
    size_bytes: int
    lineage: tuple[str, ...] = ()
    """Versions that it was made from."""
    made_by: str | None = None
    """The run that made it; None for what came from outside."""
    standard: str | None = None
    """The version of the standard that it is held to: its metric, contract and failure note."""

    def __post_init__(self) -> None:
        missing = [n for n in ("id", "version", "kind", "schema", "owner") if not getattr(self, n)]
        if missing:
            raise Refused(
                f"artifact {self.id or self.version or '(unnamed)'} has no {', '.join(missing)}",
                reason="artifact_incomplete",
                fix="an artifact needs a stable id, a digest, a schema and an owner",
            )


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a transformation ``z = T(u; c, e)``."""

    transformation: str
    """T: the name of what was done, e.g. ``quantize.static_int8``."""
    u: Mapping[str, str]
    """Inputs: name -> artifact version."""
    c: Mapping[str, object]
    """Configuration, with ``code``: the digest of the code that ran."""
    e: str
    """Environment: the digest of the hardware profile and library versions."""
    z: Mapping[str, str]
    """Outputs: name -> artifact version."""
    seed: int
    started_at: str
    ended_at: str
    owner: str = ""
    standard: str | None = None
    """As an artifact's."""
    earlier_s: float = 0.0
    """What executions before took that were killed, of what this one went on from."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric of an artifact version and of current, by a run, on a data set version.

    ``compared`` is the quantity that a contract looks at, and ``statistic`` says which; ``low`` and
    ``high`` are one-sided 95 % bounds of it each (together a 90 % interval).
    """

    metric: str
    unit: str
    """Of ``value`` and ``current``: fraction, number, s, money, class."""
    value: float
    """Of the artifact itself; of a class 1 where it is allowed, else 0."""
    statistic: str
    """``value``, ``difference`` (value - current), ``ratio`` (value / current, of the geometric
    means of blocks)."""
    compared: float
    low: float
    high: float
    n: int
    direction: Direction
    artifact: str
    """What was measured: a build or a variant."""
    dataset: str
    run: str
    """The ledger entry of the run that measured it."""
    seed: int
    current: float | None = None
    """Of what it is compared with; None where the contract does not look at it."""
    current_run: str | None = None
    """The ledger entry of the run that measured current; None where the samples hold none of it."""
    samples: str | None = None
    """The artifact with the raw samples, from which all of this can be calculated again."""
    attempted: int = 0
    """Always ``scored + errored + skipped``."""
    scored: int = 0
    errored: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        if self.attempted != self.scored + self.errored + self.skipped:
            raise Refused(
                f"{self.metric}: {self.attempted} were attempted, but {self.scored} scored, "
                f"{self.errored} errored and {self.skipped} were skipped",
                reason="counts_do_not_add_up",
                fix="account for every item that was attempted",
            )
        named = ("artifact", "dataset", "run", "seed")
        missing = [n for n in named if getattr(self, n) in ("", None)]
        if missing:
            raise Refused(
                f"the metric {self.metric} names no {', '.join(missing)}",
                reason="metric_unauditable",
                fix="a metric needs its run, evaluation data set, seed and model artifact",
            )


@dataclass(frozen=True, slots=True)
class Flips:
    """Items that the candidate answers otherwise than current; an average hides those that cancel.

    ``p`` is of "gains and losses are equally likely" (exact, two-sided): it judges nobody.
    """

    gained: int
    lost: int
    p: float


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The compared quantity in one slice, with bounds at the level of its contract's result.

    They are shown and judge nobody: what a slice must keep is a contract of its own.
    """

    name: str
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ContractResult:
    """One contract, the numbers it was compared with, and the verdict in one sentence."""

    contract: Contract
    verdict: Verdict
    value: float
    low: float
    high: float
    n: int
    because: str
    """One sentence with the numbers in it."""
    measurement: str | None = None
    """The ledger entry of the measurement."""
    current_value: float | None = None
    level: float = 0.95
    """Of the one-sided bounds ``low`` and ``high``; higher where verdicts share an error."""
    flips: Flips | None = None
    """Of paired items; None where nothing was paired."""
    slices: tuple[SliceResult, ...] = ()

    @property
    def action(self) -> Action:
        """What this contract alone asks for; a release needs all axes (``release.decide``).

        A breach asks for what the contract declares, and not knowing for nothing but to know.
        """
        match self.verdict:
            case Verdict.PASS:
                return Action.ACCEPT
            case Verdict.FAIL | Verdict.WARN:
                return self.contract.on_breach
            case Verdict.UNKNOWN:
                return Action.UNKNOWN
            case Verdict.INVALID:
                return Action.INVALID


@dataclass(frozen=True, slots=True)
class Decision:
    """All verdicts of a candidate and one outcome."""

    candidate: str
    current: str
    split: str
    """Which split was judged: ``evaluate`` or ``holdout``."""
    results: tuple[ContractResult, ...]
    action: Action
    because: str
    missing_axes: tuple[Axis, ...] = ()
    tried: int = 1
    """Among how many candidates the verdicts choose; their error is shared by so many."""
    rule: str | None = None
    """The digest of the rule that was registered before the first sample; None without one."""

    @property
    def accepted(self) -> bool:
        return self.action in (Action.ACCEPT, Action.WARN)


@dataclass(frozen=True, slots=True)
class Release:
    """A variant made current for an endpoint. Generation 0 is the unoptimized baseline."""

    endpoint: str
    generation: int
    variant: str
    """The artifact version of the variant."""
    decision: str | None
    """The ledger entry of the decision that promoted it; None for generation 0."""
    note: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    """What belongs to it beside the variant, e.g. ``index`` for an encoder."""
    owner: str = ""
    standard: str | None = None
    """As an artifact's."""
