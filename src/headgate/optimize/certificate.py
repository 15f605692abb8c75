"""Certificates of builds, issued on the machine that judges them.

The baseline has one too, since a rollback may bring it back on another machine. What is certified
was measured before; only the golden set is answered here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.engines.products import read_products
from headgate.ledger import Store, hold
from headgate.objects import (
    CASCADE,
    Artifact,
    Axis,
    Build,
    Decision,
    canonical,
    parse,
)
from headgate.optimize.blocks import SpeedBlocks
from headgate.optimize.cascades import share_of_items
from headgate.optimize.golden import golden_answers
from headgate.optimize.job import Job
from headgate.optimize.measure import Invariance
from headgate.optimize.served import as_json
from headgate.optimize.stages import Baseline, Certificate, Tried
from headgate.planning import BASELINE, BUILDS
from headgate.quantization.certificate import (
    BuildCertificate,
    Golden,
    Kernels,
    RequestsLearnt,
    SpeedClaim,
)
from headgate.quantization.speed import why_slow
from headgate.runtime.certified import CERTIFICATE

__all__ = [
    "Issued",
    "certify_builds",
    "escalation",
    "keep_certificate",
    "makers",
    "speed_claim",
]

_MAKERS = ("nncf", "onnx", "onnxruntime", "openvino", "skl2onnx", "torch", "transformers")
"""Libraries that make files of builds."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that is on record."""

    certificate: BuildCertificate
    version: str
    entry: str


def certify_builds(
    job: Job,
    baseline: Baseline,
    tried: Sequence[Tried],
    winner: tuple[Tried, Certificate] | None,
) -> Mapping[str, Issued]:
    """Certificates of the baseline, of every accepted candidate, and of the winner under the
    threads that it is served with; by build version. None of a server that is not ours.

    ``winner``: the candidate, and its own decision, which need not have been accepted: what noise
    kept out may be accepted by `headgate gate` on more evidence. Where that is the very build of
    the baseline, one certificate says both: the decision's where it accepts, and else the
    baseline's, which stays.
    """
    if baseline.build.foreign:
        return {}
    issued = []
    itself = winner is not None and winner[1].build.version == baseline.build.version
    if itself and winner is not None and not winner[1].decision.accepted:
        winner = None
    if winner is None or not itself:
        issued.append(
            _issue(
                job,
                baseline.build,
                baseline.invariance,
                rests_on=(baseline.quality_run.entry, baseline.invariance.run.entry),
            )
        )
    for t in tried:
        if t.accepted and not (winner and t.build == winner[1].build):
            assert t.build is not None
            assert t.invariance is not None
            assert t.decision is not None
            assert t.decision_run is not None
            assert t.speed is not None
            issued.append(
                _issue(
                    job,
                    t.build,
                    t.invariance,
                    rests_on=_judged_by(t.decision),
                    decision=t.decision_run.entry,
                    claim=speed_claim(job, t.name, t.build, t.speed),
                    learnt_from=_learnt_from(job, t.name),
                )
            )
    if winner is not None:
        candidate, judged = winner
        claim = None
        if candidate.name != BASELINE:  # which is as fast as itself
            assert candidate.speed is not None
            claim = speed_claim(job, candidate.name, judged.build, candidate.speed)
        issued.append(
            _issue(
                job,
                judged.build,
                judged.invariance,
                rests_on=_judged_by(judged.decision),
                decision=judged.run.entry,
                claim=claim,
                learnt_from=_learnt_from(job, candidate.name),
            )
        )
    return {one.certificate.build: one for one in issued}


def speed_claim(job: Job, name: str, build: Build, speed: SpeedBlocks) -> SpeedClaim:
    """How the candidate ``name`` compared with the baseline, and why it is not faster if so.

    How fast a cascade is depends on which items it is asked. It was timed on few of the workload's:
    where more of all escalate, its teacher is counted for these as well.
    """
    escalated, more = None, 0.0
    if build.engine == CASCADE:
        escalated, more = escalation(job, build, speed)
    speedup = speed.speedup(build.name, asked_more=max(0.0, more))
    slow = why_slow(
        speedup,
        item_s=speed.baseline_item_s,
        products=read_products(build, job.store.path_of),
        fast_with=BUILDS[name].scheme.fast_with,
        flags=job.profile.flags,
        escalated=escalated,
    )
    return SpeedClaim(speedup, job.cores, speed.run.entry, slow, escalated)


def escalation(job: Job, cascade: Build, speed: SpeedBlocks) -> tuple[float, float]:
    """Of the workload the share that ``cascade`` escalates, and how much more that is than of the
    items that it was timed on. Raises ``EngineError``."""
    asked = job.escalated(cascade)
    timed = parse(job.store.read(job.store.get(speed.run.entry).body["u"]["items"]))
    share = float(asked.mean())
    return share, share - share_of_items(timed, as_json(job.queries), asked)


def _learnt_from(job: Job, name: str) -> RequestsLearnt | None:
    """Of the student in the candidate ``name``, where it learnt from the workload's requests."""
    own = job.inputs.own_requests
    if own is None or BUILDS[name].student is None:
        return None
    return RequestsLearnt(own.permission.allowed_by, own.permission.why, own.entry)


def _issue(
    job: Job,
    build: Build,
    invariance: Invariance,
    *,
    rests_on: tuple[str, ...],
    decision: str | None = None,
    claim: SpeedClaim | None = None,
    learnt_from: RequestsLearnt | None = None,
) -> Issued:
    """``build`` must be what the job measured, in this environment."""
    items = str(job.store.get(invariance.run.entry).body["u"]["items"])
    answered = golden_answers(job.recorder, build, job.behaviour, items)
    certificate = BuildCertificate(
        build=build.version,
        name=build.name,
        engine=build.engine,
        threads=build.threads,
        kernels=Kernels.of(build, job.profile),
        made_with=_made_with(job.store, build),
        batch_invariance=invariance.invariance,
        largest_difference=invariance.max_difference,
        golden=Golden(items, answered.outputs["answers"]),
        decision=decision,
        rests_on=rests_on,
        speed=claim,
        learnt_from=learnt_from,
        seed=job.recorder.seed,
    )
    return keep_certificate(job.store, job.config.endpoint, job.recorder.owner, certificate)


def keep_certificate(
    store: Store,
    endpoint: str,
    owner: str,
    certificate: BuildCertificate,
    *,
    requalification: str | None = None,
) -> Issued:
    """The artifact and its entry; those that are there where nothing about them is new."""
    content = canonical(certificate)
    version = store.put_bytes(content)
    hold(
        store,
        Artifact(
            id=f"{endpoint}/certificate/{certificate.name}",
            version=version,
            kind="certificate",
            schema="json BuildCertificate",
            owner=owner,
            size_bytes=len(content),
            lineage=(certificate.golden.items, certificate.golden.answers),
        ),
    )
    body = {
        "endpoint": endpoint,
        "build": certificate.build,
        "machine": certificate.kernels.version,
        "certificate": version,
        "decision": certificate.decision,
        "requalification": requalification,
    }
    known = store.latest(CERTIFICATE, build=certificate.build, machine=body["machine"])
    if known is not None and known.body["certificate"] == version:
        return Issued(certificate, version, known.id)
    return Issued(certificate, version, store.append(CERTIFICATE, body).id)


def _judged_by(decision: Decision) -> tuple[str, ...]:
    """The measurements that its quality and its batch invariance were judged by."""
    return tuple(
        r.measurement
        for r in decision.results
        if r.measurement is not None and r.contract.axis in (Axis.QUALITY, Axis.SAFETY)
    )


def _made_with(store: Store, build: Build) -> Mapping[str, str]:
    """Of whatever made its files last; nothing of files that came from outside."""
    for version in build.files.values():
        artifact = store.artifact(version)
        if artifact is not None and artifact.made_by is not None:
            run = store.get(artifact.made_by)
            if run.kind == "run" and store.has(run.body["e"]):
                return makers(parse(store.read(run.body["e"])))
    return {}


def makers(environment: Mapping[str, Any]) -> Mapping[str, str]:
    libraries = environment.get("libraries", {})
    return {name: libraries[name] for name in _MAKERS if name in libraries}
