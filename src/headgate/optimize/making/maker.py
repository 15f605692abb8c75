"""What makers of builds work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headgate.errors import EngineError, InputError, MissingExtra
from headgate.objects import Contract, HardwareProfile, canonical
from headgate.optimize.inputs import Inputs
from headgate.optimize.models import Source
from headgate.optimize.recorder import Recorder

if TYPE_CHECKING:
    from headgate.optimize.job import Job

__all__ = ["CANNOT_BE_MADE", "Maker"]

CANNOT_BE_MADE = (EngineError, InputError, MissingExtra)
"""What one candidate may fail by without costing the others. A full disk, a lock, or content that
was tampered with ends the job."""


@dataclass(frozen=True, slots=True)
class Maker:
    """The endpoint's model and data, this machine, and the recorder that runs the work."""

    recorder: Recorder
    source: Source
    inputs: Inputs
    profile: HardwareProfile
    contracts: tuple[Contract, ...]
    """What a cascade may lose follows from them."""
    own_metrics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """The endpoint's own, as ``Behaviour.metrics``: they say what a prediction is worth."""

    @classmethod
    def of(cls, job: Job, *, failures_stand: bool = False) -> Maker:
        """``failures_stand``: what failed in an earlier run is not tried again."""
        recorder = replace(job.recorder, failures_stand=True) if failures_stand else job.recorder
        own = job.behaviour.metrics
        return cls(recorder, job.source, job.inputs, job.profile, job.contracts, own)

    def json_artifact(self, name: str, value: object, lineage: tuple[str, ...]) -> str:
        """A small JSON input of a transformation, as an artifact of its own."""
        store = self.recorder.store
        version = store.put_bytes(canonical(value))
        self.recorder.register(name, version, kind="dataset", schema="json", lineage=lineage)
        return version
