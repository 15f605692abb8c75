"""Frozen values: artifacts, runs, metrics, contracts, verdicts, actions, hardware profiles.

Knows nothing of files, clocks or engines.
"""

from headgate.objects.cascade import CASCADE, Parts, cascade_of, parts_of
from headgate.objects.checks import (
    Answer,
    CheckItem,
    Facts,
    Finding,
    Reply,
    answers,
    checklist,
    findings,
    planted,
)
from headgate.objects.contract import Action, Axis, Bound, Contract, Direction, Verdict
from headgate.objects.digest import canonical, digest, digest_bytes, jsonable, parse, short
from headgate.objects.evidence import (
    KINDS,
    Artifact,
    ContractResult,
    Decision,
    Flips,
    Kind,
    Measurement,
    Owner,
    Release,
    Run,
    SliceResult,
)
from headgate.objects.hardware import INFERENCE_FLAGS, Difference, HardwareProfile, differences
from headgate.objects.production import (
    FAILURE_QUESTIONS,
    FailureNote,
    FailureQuestion,
    ProductionObject,
    SignalAndResponse,
    ask,
)
from headgate.objects.serving import BatchingSpec, BatchInvariance, Build, CacheSpec, Variant
from headgate.objects.standards import STANDARDS, Limits, Response, Signal, Standard

__all__ = [
    "CASCADE",
    "FAILURE_QUESTIONS",
    "INFERENCE_FLAGS",
    "KINDS",
    "STANDARDS",
    "Action",
    "Answer",
    "Artifact",
    "Axis",
    "BatchInvariance",
    "BatchingSpec",
    "Bound",
    "Build",
    "CacheSpec",
    "CheckItem",
    "Contract",
    "ContractResult",
    "Decision",
    "Difference",
    "Direction",
    "Facts",
    "FailureNote",
    "FailureQuestion",
    "Finding",
    "Flips",
    "HardwareProfile",
    "Kind",
    "Limits",
    "Measurement",
    "Owner",
    "Parts",
    "ProductionObject",
    "Release",
    "Reply",
    "Response",
    "Run",
    "Signal",
    "SignalAndResponse",
    "SliceResult",
    "Standard",
    "Variant",
    "Verdict",
    "answers",
    "ask",
    "canonical",
    "cascade_of",
    "checklist",
    "differences",
    "digest",
    "digest_bytes",
    "findings",
    "jsonable",
    "parse",
    "parts_of",
    "planted",
    "short",
]
