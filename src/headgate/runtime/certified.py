"""Whether a build is certified on this machine: a look into the ledger, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.ledger import Store
from headgate.objects import BatchInvariance, Build, Difference, HardwareProfile, parse
from headgate.quantization.certificate import (
    BuildCertificate,
    Golden,
    Kernels,
    RequestsLearnt,
    SpeedClaim,
    differs,
)
from headgate.quantization.speed import Cause, Slow, Speedup

__all__ = ["CERTIFICATE", "Standing", "certificate_from_json", "standing"]

CERTIFICATE = "certificate"
"""The kind of entry that says which certificate a build has on which kernels."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a build stands on a machine."""

    certificate: BuildCertificate | None
    """The one that holds here, else the newest; None where it was never certified."""
    version: str = ""
    """Of the certificate, an artifact."""
    differs: tuple[Difference, ...] = ()
    """What is other here than where the certificate holds."""

    @property
    def holds(self) -> bool:
        return self.certificate is not None and not self.differs


def standing(store: Store, build: Build, here: HardwareProfile) -> Standing:
    """How ``build`` stands on the machine with the profile ``here``. Takes milliseconds."""
    kernels = Kernels.of(build, here)
    held = store.latest(CERTIFICATE, build=build.version, machine=kernels.version)
    known = held or store.latest(CERTIFICATE, build=build.version)
    if known is None:
        return Standing(None)
    version = str(known.body["certificate"])
    certificate = certificate_from_json(parse(store.read(version)))
    return Standing(certificate, version, differs(certificate, kernels))


def certificate_from_json(body: Mapping[str, Any]) -> BuildCertificate:
    """As its artifact has it."""
    kernels, speed, learnt = body["kernels"], body["speed"], body.get("learnt_from")
    return BuildCertificate(
        **{
            **body,
            "kernels": Kernels(**{**kernels, "flags": tuple(kernels["flags"])}),
            "batch_invariance": BatchInvariance(body["batch_invariance"]),
            "golden": Golden(**body["golden"]),
            "rests_on": tuple(body["rests_on"]),
            "speed": _claim(speed) if speed is not None else None,
            "learnt_from": RequestsLearnt(**learnt) if learnt is not None else None,
        }
    )


def _claim(body: Mapping[str, Any]) -> SpeedClaim:
    slow = body["slow"]
    return SpeedClaim(
        **{
            **body,
            "speedup": Speedup(**body["speedup"]),
            "slow": Slow(Cause(slow["cause"]), slow["because"]) if slow is not None else None,
        }
    )
