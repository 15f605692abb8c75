"""What is stored of a variant: everything that is needed to serve it, as one artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.ledger import Store
from headgate.objects import (
    BatchingSpec,
    BatchInvariance,
    Build,
    CacheSpec,
    Variant,
    canonical,
    jsonable,
)
from headgate.workload import ServiceCurve

__all__ = ["Servable", "build_from_json", "curve_from_json", "variant_from_json"]


@dataclass(frozen=True, slots=True)
class Servable:
    """A variant with its build, service-time curve and batch-invariance class."""

    endpoint: str
    task: str
    variant: Variant
    build: Build
    curve: ServiceCurve
    batch_invariance: BatchInvariance
    truncate: bool
    preprocess: str | None
    """``module:function`` of the user's own; its source digest is in the build."""
    postprocess: str | None
    lone_curve: ServiceCurve | None = None
    """Of the engine for lone requests, where the variant has one."""
    labels: tuple[str, ...] = ()
    """Of a classifier: its classes' names in the order of the scores, where they are known."""
    lengths: tuple[tuple[int, float], ...] = ()
    """Token lengths of the evaluation data (``release.deciles``): what input drift is held
    against. Empty where items have none."""

    @property
    def content(self) -> bytes:
        """The canonical bytes; their digest is the version that a release names."""
        return canonical(self)

    @classmethod
    def load(cls, store: Store, version: str) -> Servable:
        """The variant with this artifact version. Raises ``InputError`` or ``Tampered``."""
        return cls.from_json(json.loads(store.read(version)))

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Servable:
        lone = body.get("lone_curve")
        return cls(
            **{
                **body,
                "variant": variant_from_json(body["variant"]),
                "build": build_from_json(body["build"]),
                "curve": curve_from_json(body["curve"]),
                "lone_curve": curve_from_json(lone) if lone else None,
                "batch_invariance": BatchInvariance(body["batch_invariance"]),
                "labels": tuple(body.get("labels", ())),
                "lengths": tuple((int(n), float(q)) for n, q in body.get("lengths", ())),
            }
        )

    def to_json(self) -> object:
        return jsonable(self)


def build_from_json(body: Mapping[str, Any]) -> Build:
    return Build(**body)


def curve_from_json(body: Mapping[str, Any]) -> ServiceCurve:
    return ServiceCurve(**body)


def variant_from_json(body: Mapping[str, Any]) -> Variant:
    return Variant(
        **{
            **body,
            "batching": BatchingSpec(**body["batching"]),
            "cache": CacheSpec(**body["cache"]),
        }
    )
