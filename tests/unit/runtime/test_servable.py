"""What is stored of a variant comes back as it was."""

from __future__ import annotations

import json

from headgate.objects import BatchingSpec, BatchInvariance, Build, CacheSpec, Variant
from headgate.runtime.servable import Servable
from headgate.workload import ServiceCurve


def servable(*labels: str) -> Servable:
    build = Build("b", "classify", "onnxruntime", "fp32", {"model.onnx": "m"}, None, 1, 1)
    variant = Variant("v", build.version, 2, BatchingSpec(), CacheSpec(), lone_threads=2)
    return Servable(
        endpoint="e",
        task="classify",
        variant=variant,
        build=build,
        curve=ServiceCurve(0.001, 0.001, 0.0, 0.0),
        lone_curve=ServiceCurve(0.0005, 0.001, 0.0, 0.0),
        batch_invariance=BatchInvariance.EXACT,
        truncate=False,
        preprocess=None,
        postprocess=None,
        labels=labels,
    )


def test_what_is_stored_is_read_back_whole() -> None:
    """Names of classes and all."""
    value = servable("cat", "dog")
    assert Servable.from_json(json.loads(value.content)) == value


def test_what_was_stored_before_labels_and_lone_engines_were_known_is_still_served() -> None:
    """It has none."""
    body = json.loads(servable("cat").content)
    del body["labels"], body["lone_curve"], body["variant"]["lone_threads"]
    old = Servable.from_json(body)
    assert (old.labels, old.lone_curve, old.variant.lone_threads) == ((), None, 0)
