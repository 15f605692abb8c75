"""Certificates as ``optimize`` issues them, for releases that a test made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headgate.engines.probe import read_profile
from headgate.ledger import Store
from headgate.objects import canonical
from headgate.optimize.certificate import Issued, keep_certificate
from headgate.optimize.golden import behaviour_of, golden_answers
from headgate.optimize.progress import Silent
from headgate.optimize.requalify import recorder_on
from headgate.quantization.certificate import BuildCertificate, Golden, Kernels
from headgate.runtime.servable import Servable

__all__ = ["certify"]


def certify(
    store: Store, variant: str, items: Sequence[str], *, decision: str | None = None
) -> Issued:
    """That the build of ``variant`` answers ``items`` so on this machine."""
    here, servable = read_profile(), Servable.load(store, variant)
    build = servable.build
    recorder = recorder_on(
        here, store, endpoint=servable.endpoint, owner="search", seed=0, root=Path(store.root),
        progress=Silent(),
    )  # fmt: skip
    asked = store.put_bytes(canonical(list(items)))
    recorder.register("golden/items", asked, kind="dataset", schema="json [item]")
    answered = golden_answers(recorder, build, behaviour_of(servable), asked)
    certificate = BuildCertificate(
        build=build.version,
        name=build.name,
        engine=build.engine,
        threads=build.threads,
        kernels=Kernels.of(build, here),
        made_with={},
        batch_invariance=servable.batch_invariance,
        largest_difference=0.0,
        golden=Golden(asked, answered.outputs["answers"]),
        decision=decision,
        rests_on=(),
        speed=None,
    )
    return keep_certificate(store, servable.endpoint, "search", certificate)
