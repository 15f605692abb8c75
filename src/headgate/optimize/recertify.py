"""A build that was judged on other kernels is certified again here, or refused.

On other CPU flags, or under another version of its engine, it answers its golden set before it is
served, within two minutes; on the machine that it is certified on nothing is asked of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headgate.engines.probe import read_profile
from headgate.errors import Refused, Undecided
from headgate.ledger import Store
from headgate.objects import (
    BatchInvariance,
    Difference,
    HardwareProfile,
    Verdict,
    jsonable,
    parse,
    short,
)
from headgate.optimize.certificate import Issued, keep_certificate, makers
from headgate.optimize.progress import Progress, Silent
from headgate.optimize.requalify import (
    REQUALIFICATION,
    Requalified,
    recorder_on,
    requalify,
)
from headgate.quantization.certificate import BuildCertificate, Golden, Kernels
from headgate.runtime.certified import Standing, standing
from headgate.runtime.decisions import decided
from headgate.runtime.servable import Servable

__all__ = ["described", "imported_certificate", "recertify", "require_certificate"]


def require_certificate(store: Store, variant: str, root: Path, progress: Progress) -> None:
    """That the build of ``variant`` is certified on this machine, or is now.

    Raises ``Refused`` (``not_certified``, ``not_requalified``), ``Undecided`` (likewise).
    """
    servable = Servable.load(store, variant)
    found = standing(store, servable.build, read_profile(gpus=False))
    if found.certificate is None:
        raise Refused(
            "no certificate says on which machine its build answers so",
            where=f"variant {short(variant)}",
            reason="not_certified",
            fix="headgate optimize headgate.yaml",
        )
    if not found.holds:
        recertify(store, servable, variant, found, read_profile(), root=root, progress=progress)


def recertify(
    store: Store,
    servable: Servable,
    variant: str,
    found: Standing,
    here: HardwareProfile,
    *,
    root: Path,
    progress: Progress | None = None,
) -> Issued:
    """The certificate of ``servable``, the artifact ``variant``, on this machine, with the profile
    ``here``, where the one that was ``found`` does not hold.

    Its answers are held against those of the machine that judged it, however often it was certified
    again since. What came of it is on record either way. Raises ``Refused`` (``not_requalified``)
    where it is another build here, ``Undecided`` (likewise) where two minutes did not tell.
    """
    certificate = found.certificate
    assert certificate is not None, "there is nothing to hold it against"
    told = progress or Silent()
    told.start("certify", f"{servable.build.name}: {described(found.differs)}")
    owner = store.artifact(variant)
    recorder = recorder_on(
        here,
        store,
        endpoint=servable.endpoint,
        owner=owner.owner if owner is not None else "",
        seed=certificate.seed,
        root=root,
        progress=told,
    )
    decision = None
    if certificate.decision is not None:
        decision = decided(store, store.get(certificate.decision))
    answered = requalify(
        recorder,
        servable,
        variant,
        decision,
        items=certificate.golden.items,
        recorded=parse(store.read(certificate.golden.answers)),
    )
    shown = store.append(
        REQUALIFICATION,
        {
            "certificate": found.version,
            "endpoint": servable.endpoint,
            "variant": variant,
            "build": servable.build.version,
            "e": recorder.environment,
            "differs": jsonable(found.differs),
            **jsonable(answered),
        },
    )
    _refuse_unfit(answered, servable, found.differs)
    again = replace(
        certificate,
        kernels=Kernels.of(servable.build, here),
        batch_invariance=BatchInvariance(answered.batch_invariance),
        largest_difference=answered.largest_in_company,
        rests_on=answered.measurements,
        speed=None,  # nothing was compared here
        first=certificate.first or found.version,
    )
    return keep_certificate(
        store, servable.endpoint, recorder.owner, again, requalification=shown.id
    )


def imported_certificate(
    store: Store,
    servable: Servable,
    requalified: Requalified,
    *,
    here: HardwareProfile,
    owner: str,
    seed: int,
    golden: Golden,
    decision: str,
    requalification: str,
    judged_on: Mapping[str, Any],
) -> Issued:
    """The certificate of what a bundle brought and this machine, ``here``, was found fit for.

    ``judged_on`` is the environment in which it was made and judged.
    """
    certificate = BuildCertificate(
        build=servable.build.version,
        name=servable.build.name,
        engine=servable.build.engine,
        threads=servable.build.threads,
        kernels=Kernels.of(servable.build, here),
        made_with=makers(judged_on),
        batch_invariance=BatchInvariance(requalified.batch_invariance),
        largest_difference=requalified.largest_in_company,
        golden=golden,
        decision=decision,
        rests_on=requalified.measurements,
        speed=None,
        seed=seed,
    )
    return keep_certificate(
        store, servable.endpoint, owner, certificate, requalification=requalification
    )


def described(differences: Sequence[Difference]) -> str:
    """What is other here, for people.

    >>> described([Difference("flags.avx2", "there", None), Difference("libraries.x", "1", "2")])
    'flags.avx2 is not there; libraries.x is 2, not 1'
    """
    return "; ".join(_said(one) for one in differences)


def _said(one: Difference) -> str:
    if one.here is None:
        return f"{one.part} is not there"
    if one.recorded is None:
        return f"{one.part} is new"
    return f"{one.part} is {one.here}, not {one.recorded}"


def _refuse_unfit(found: Requalified, servable: Servable, differs: Sequence[Difference]) -> None:
    where = f"{servable.endpoint}: {servable.build.name} on this machine ({described(differs)})"
    if found.verdict is Verdict.FAIL:
        raise Refused(
            found.because,
            where=where,
            reason="not_requalified",
            fix="judge it here: headgate optimize headgate.yaml; or serve it on a machine like the "
            "one that judged it (`headgate doctor` says what this one is)",
        )
    if found.verdict is not Verdict.PASS:
        raise Undecided(
            found.because,
            where=where,
            reason="not_requalified",
            fix="type the same again while the machine is quiet, or on a faster one",
        )
