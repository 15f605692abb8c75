"""What is certified of the builds that a job judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from headgate.engines.probe import read_profile
from headgate.objects import Action, Build, canonical
from headgate.optimize.certificate import certify_builds, speed_claim
from headgate.optimize.job import Job
from headgate.optimize.measure import Behaviour, Invariance, measure_invariance
from headgate.optimize.stages import Baseline, Certificate, Tried
from headgate.quantization.certificate import SpeedClaim
from headgate.quantization.speed import Cause
from headgate.runtime.certified import certificate_from_json, standing
from headgate.runtime.servable import Servable
from tests.bundles import TEXTS, Origin

from .fakes import decision, speed, tried

HERE = read_profile()


class Judged:
    """A job with two builds in its store: the baseline, and what is tried as ``int8_dynamic``.

    What stands for a decision is a run that is in the store, since the tests share the store, in
    any order, and verify it.
    """

    def __init__(self, root: Path) -> None:
        self.origin = Origin(root)
        self.store = self.origin.store()
        self.recorder = self.origin.recorder(self.store)
        first = self.build(self.origin.baseline)
        found = self.invariance(first)
        other = self.build(self.origin.variant(self.store, "int8_dynamic", seed=1))
        self.baseline = cast(
            "Baseline",
            SimpleNamespace(build=first, invariance=found, quality_run=found.run),
        )
        self.candidate = replace(other, name="int8_dynamic")
        self.job = cast(
            "Job",
            SimpleNamespace(
                store=self.store, recorder=self.recorder, profile=HERE, cores=2,
                behaviour=Behaviour("embed", False, None, None, {"own": {}}),
                config=SimpleNamespace(endpoint="docs"), inputs=SimpleNamespace(own_requests=None),
            ),
        )  # fmt: skip

    def build(self, variant: str) -> Build:
        return Servable.load(self.store, variant).build

    def invariance(self, build: Build) -> Invariance:
        behaviour = Behaviour("embed", False, None, None, {})
        return measure_invariance(self.recorder, build, behaviour, items=TEXTS)

    def tried(self, action: Action) -> Tried:
        found = self.invariance(self.candidate)
        return tried(
            "int8_dynamic",
            action,
            build=self.candidate,
            invariance=found,
            decision_run=found.run,
            speed=SPEED,
        )


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    made = Judged(tmp_path_factory.mktemp("origin"))
    yield made
    made.store.close()


SPEED = speed({"baseline": 2.0, "int8_dynamic": 1.0})


def test_the_baseline_and_whoever_is_accepted_are_certified(judged: Judged) -> None:
    """A candidate that was refused is not: nobody may serve it. Again, nothing new is recorded."""
    refused = certify_builds(judged.job, judged.baseline, [judged.tried(Action.ROLLBACK)], None)
    assert list(refused) == [judged.baseline.build.version]
    accepted = [judged.tried(Action.WARN), tried("student3", None)]
    issued = certify_builds(judged.job, judged.baseline, accepted, None)
    assert list(issued) == [judged.baseline.build.version, judged.candidate.version]
    before = len(list(judged.store.entries()))
    assert certify_builds(judged.job, judged.baseline, accepted, None) == issued
    assert len(list(judged.store.entries())) == before
    assert judged.store.verify().ok


def test_it_says_what_was_answered_measured_and_decided(judged: Judged) -> None:
    """By versions and entries that are in the store; read again it is the same."""
    build = judged.candidate.version
    issued = certify_builds(judged.job, judged.baseline, [judged.tried(Action.ACCEPT)], None)[build]
    certificate = issued.certificate
    items = json.loads(judged.store.read(certificate.golden.items))
    assert items == TEXTS
    assert len(json.loads(judged.store.read(certificate.golden.answers))) == len(TEXTS)
    assert certificate.decision == judged.invariance(judged.candidate).run.entry
    assert certificate.kernels.libraries["onnxruntime"] == HERE.libraries["onnxruntime"]
    assert certificate.batch_invariance is judged.invariance(judged.candidate).invariance
    assert certificate.speed is not None
    assert certificate.speed.speedup.value == pytest.approx(2.0)
    assert certificate.speed.slow is None
    read = certificate_from_json(json.loads(judged.store.read(issued.version)))
    assert replace(read, largest_difference=0.0) == replace(certificate, largest_difference=0.0)
    assert standing(judged.store, judged.candidate, HERE).holds


def test_the_winner_is_certified_under_the_threads_that_it_is_served_with(judged: Judged) -> None:
    """A build of its own; how many threads its speed was measured with, the claim says. What noise
    kept out has one too: it may be accepted later."""
    served = replace(judged.candidate, threads=2)
    found = judged.invariance(served)
    winner = cast(
        "Certificate",
        SimpleNamespace(
            build=served, invariance=found, decision=decision(Action.UNKNOWN), run=found.run
        ),
    )
    issued = certify_builds(judged.job, judged.baseline, [], (judged.tried(Action.ACCEPT), winner))
    certificate = issued[served.version].certificate
    assert certificate.threads == 2
    assert certificate.speed is not None
    assert certificate.speed.threads == 2
    assert judged.store.verify().ok


@pytest.mark.parametrize("action", [Action.ACCEPT, Action.ROLLBACK])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_model_as_it_is_is_certified_by_the_decision_on_it_without_a_claim_of_speed(
    judged: Judged, threads: int, action: Action
) -> None:
    """Where that is the baseline's very build there is one certificate of both, which says what was
    decided, and nothing of a refusal: the baseline stays. A second job records nothing new."""
    served = replace(judged.baseline.build, threads=threads)
    found = judged.invariance(served)
    own = cast(
        "Certificate",
        SimpleNamespace(build=served, invariance=found, decision=decision(action), run=found.run),
    )
    winner = tried("fp32", None, build=judged.baseline.build), own
    issued = certify_builds(judged.job, judged.baseline, [], winner)
    assert issued.keys() == {judged.baseline.build.version, served.version}
    certificate = issued[served.version].certificate
    one = served.version == judged.baseline.build.version
    assert certificate.decision == (None if one and action is Action.ROLLBACK else found.run.entry)
    first = issued[judged.baseline.build.version].certificate
    assert first.decision == (certificate.decision if one else None)
    assert certificate.speed is None
    before = len(list(judged.store.entries()))
    assert certify_builds(judged.job, judged.baseline, [], winner) == issued
    assert len(list(judged.store.entries())) == before


def test_what_is_no_faster_has_its_cause_in_its_certificate(judged: Judged) -> None:
    """Here it is a model of a few microseconds, or a CPU without the instructions."""
    slow = speed({"baseline": 1e-4, "int8_dynamic": 1e-4})
    claim = speed_claim(judged.job, "int8_dynamic", judged.candidate, slow)
    assert claim.slow is not None
    assert claim.slow.cause in (Cause.SMALL, Cause.FLAGS)


def of_cascade(judged: Judged, escalated: list[bool], timed: str, build_s: float) -> SpeedClaim:
    """The claim of a cascade on a workload that asks "a" and "b", timed on the items in ``timed``.

    An item takes the baseline 0.2 s in batches and 0.1 s alone."""
    store = judged.store
    entry = SimpleNamespace(body={"u": {"items": store.put_bytes(canonical(list(timed)))}})
    job = SimpleNamespace(
        store=SimpleNamespace(get=lambda _: entry, read=store.read, path_of=store.path_of),
        profile=HERE, cores=2, queries=("a", "b"), escalated=lambda _: np.array(escalated),
    )  # fmt: skip
    cascade = replace(judged.candidate, engine="cascade", files={})
    times = speed({"baseline": 2.0, cascade.name: build_s}, alone_s=0.1)
    return speed_claim(cast("Job", job), "linear_cascade", cascade, times)


@pytest.mark.parametrize(("timed", "value"), [("aabb", 2.0), ("bbbb", 1 / 0.75), ("aaaa", 2.0)])
def test_a_cascades_speed_is_that_at_which_the_workload_escalates(
    judged: Judged, timed: str, value: float
) -> None:
    """Half of the workload's requests escalate, and so do half of the items that were timed; or
    none of them, and then half a lone item of the baseline's is counted for each; never fewer."""
    claim = of_cascade(judged, [True, False], timed, 1.0)
    assert claim.escalated_share == 0.5
    assert claim.speedup.value == pytest.approx(value)
    assert claim.slow is None


def test_a_cascade_that_is_no_faster_says_what_escalates(judged: Judged) -> None:
    """And not that it computes as the model does."""
    slow = of_cascade(judged, [True, True], "ab", 2.0).slow
    assert slow is not None
    assert slow.cause is Cause.ESCALATION
    assert "of 100.0% of the workload its teacher is asked too" in slow.because


def test_a_server_that_is_not_ours_is_not_certified(judged: Judged) -> None:
    """No digest holds it to what it was."""
    foreign = cast("Baseline", SimpleNamespace(build=replace(judged.candidate, engine="http")))
    assert certify_builds(judged.job, foreign, [], None) == {}
