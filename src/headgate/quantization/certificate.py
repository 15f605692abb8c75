"""What is certified of a build: what it answers, and how fast, on a machine with these CPU flags.

Accuracy and speed in few bits belong to (model, CPU flags), and not to the model: the same int8
files score 74.8 % on one instruction set and 69.0 % on another (Intel's list of validated models).
So a certificate names flags, and never a CPU's name, which says too little (onnxruntime#5849).
Whether it holds on another machine is a comparison of facts; what is done then is
``headgate.optimize.certificate``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headgate.objects import (
    BatchInvariance,
    Build,
    Difference,
    HardwareProfile,
    differences,
    digest,
)
from headgate.quantization.speed import Slow, Speedup

__all__ = ["BuildCertificate", "Golden", "Kernels", "RequestsLearnt", "SpeedClaim", "differs"]

_ENGINES = ("onnxruntime", "openvino")
_TOKENIZER = "tokenizers"


@dataclass(frozen=True, slots=True)
class Kernels:
    """What of a machine decides which kernels compute a build's answers."""

    architecture: str
    flags: tuple[str, ...]
    """Those of ``INFERENCE_FLAGS`` that the CPU has, sorted."""
    variables: Mapping[str, str]
    """Of the environment, that libraries choose kernels and threads by."""
    libraries: Mapping[str, str]
    """The build's engine, and the tokenizer where it has one, with their versions."""

    @classmethod
    def of(cls, build: Build, profile: HardwareProfile) -> Kernels:
        """Those that ``build`` runs on, on a machine with this profile.

        An engine that is no library (a cascade's) runs others, and any of them may change it.
        """
        engines = (build.engine,) if build.engine in _ENGINES else _ENGINES
        used = (*engines, *((_TOKENIZER,) if build.tokenizer is not None else ()))
        libraries = {name: profile.libraries[name] for name in used if name in profile.libraries}
        return cls(profile.architecture, profile.flags, dict(profile.variables), libraries)

    @property
    def version(self) -> str:
        """The digest of all of it."""
        return digest(self)

    @property
    def environment(self) -> Mapping[str, object]:
        """As parts, for ``differences``."""
        return {
            "architecture": self.architecture,
            "flags": list(self.flags),
            "variables": self.variables,
            "libraries": self.libraries,
        }


@dataclass(frozen=True, slots=True)
class Golden:
    """What it answered on the machine that judged it, which another machine must answer too."""

    items: str
    """Artifact version of the requests."""
    answers: str
    """Artifact version of the answers, one a request."""


@dataclass(frozen=True, slots=True)
class SpeedClaim:
    """How it compared with the baseline on the workload's items, in batches, in turns with it."""

    speedup: Speedup
    threads: int
    """Of either build while they were compared."""
    entry: str
    """The ledger entry of the run that timed them."""
    slow: Slow | None
    """Why the speed-up counts for nothing; None where it counts."""
    escalated_share: float | None = None
    """Of the workload's requests, that a cascade asks its teacher about; None of all else. Where
    fewer of the timed items escalate, the rest is in the speed-up."""


@dataclass(frozen=True, slots=True)
class RequestsLearnt:
    """Who allowed that the workload's own requests were learnt from, and why."""

    allowed_by: str
    why: str
    entry: str
    """The ledger entry of the run that took them from the log."""


@dataclass(frozen=True, slots=True)
class BuildCertificate:
    """A build on a machine: where it answers so, how much on its neighbours, and how fast."""

    build: str
    """Build version."""
    name: str
    engine: str
    threads: int
    kernels: Kernels
    made_with: Mapping[str, str]
    """Libraries and versions where its files were made."""
    batch_invariance: BatchInvariance
    largest_difference: float
    """Between an answer alone and in company, in the unit of docs/decisions/0004."""
    golden: Golden
    decision: str | None
    """The ledger entry of the decision about it; None of the baseline, unless that was accepted
    under other policies."""
    rests_on: tuple[str, ...]
    """Ledger entries: of the measurements of its quality and its batch invariance."""
    speed: SpeedClaim | None
    """None for the baseline itself, and where it was not compared on this machine."""
    learnt_from: RequestsLearnt | None = None
    """Where a student in it learnt from the workload's own requests; None of all else."""
    seed: int = 0
    """Of the batches that the invariance was seen in."""
    first: str | None = None
    """Of one that was certified again: the artifact version of the certificate of the machine
    that judged it."""


def differs(certificate: BuildCertificate, here: Kernels) -> tuple[Difference, ...]:
    """What is other here than where ``certificate`` holds; nothing where it holds here.

    More instructions differ as fewer do: with them the engine takes other kernels.
    """
    return differences(certificate.kernels.environment, here.environment)
