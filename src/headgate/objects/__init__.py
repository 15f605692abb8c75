"""Frozen values: artifacts, runs, metrics, contracts, verdicts, actions, hardware profiles.

Knows nothing of files, clocks or engines.
"""

from headgate.objects.contract import Action, Axis, Bound, Contract, Direction, Verdict
from headgate.objects.digest import canonical, digest, digest_bytes, jsonable, parse, short
from headgate.objects.evidence import (
    Artifact,
    ContractResult,
    Decision,
    Flips,
    Measurement,
    Owner,
    Release,
    Run,
    SliceResult,
)
from headgate.objects.hardware import INFERENCE_FLAGS, HardwareProfile
from headgate.objects.production import (
    FAILURE_QUESTIONS,
    FailureNote,
    FailureQuestion,
    ProductionObject,
    SignalAndResponse,
    ask,
)
from headgate.objects.serving import BatchingSpec, BatchInvariance, Build, CacheSpec, Variant

__all__ = [
    "FAILURE_QUESTIONS",
    "INFERENCE_FLAGS",
    "Action",
    "Artifact",
    "Axis",
    "BatchInvariance",
    "BatchingSpec",
    "Bound",
    "Build",
    "CacheSpec",
    "Contract",
    "ContractResult",
    "Decision",
    "Direction",
    "FailureNote",
    "FailureQuestion",
    "Flips",
    "HardwareProfile",
    "Measurement",
    "Owner",
    "ProductionObject",
    "Release",
    "Run",
    "SignalAndResponse",
    "SliceResult",
    "Variant",
    "Verdict",
    "ask",
    "canonical",
    "digest",
    "digest_bytes",
    "jsonable",
    "parse",
    "short",
]
