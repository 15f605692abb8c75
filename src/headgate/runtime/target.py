"""A rollback target, proved before it is needed: checked against its digests, loaded, probed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from headgate.engines.probe import read_profile
from headgate.errors import HeadgateError, Refused
from headgate.ledger import Store
from headgate.objects import digest, short
from headgate.runtime.deploy import Deployment
from headgate.runtime.loading import own_functions
from headgate.runtime.servable import Servable

__all__ = ["prove_target"]

_WARM_S = 2.0


def prove_target(store: Store, version: str, root: Path) -> str:
    """The ledger entry of the proof that the variant ``version`` could be served here and now.

    Its content and every file of its build are hashed, the endpoint's own functions in ``root`` are
    those that it was judged with, one engine is loaded and warmed, and what they answer together to
    three inputs keeps the output contract. Takes seconds. Raises ``Refused`` (reason
    ``rollback_target_unusable``) where any of that fails: who promotes over it could not go back.
    """
    try:
        servable = Servable.load(store, version)
        before, after = own_functions(servable, root)
        deployment = Deployment.open(
            endpoint=servable.endpoint,
            generation=0,
            build=servable.build,
            variant=replace(servable.variant, instances=1, lone_threads=0),
            service=servable.curve,
            path_of=store.path_of,
            batch_invariance=servable.batch_invariance,
            labels=servable.labels,
            preprocess=before,
            postprocess=after,
            released=False,
            warm_s=_WARM_S,
        )
    except HeadgateError as error:
        raise Refused(
            f"what is current could not be returned to: {error.what}",
            where=f"variant {short(version)}",
            reason="rollback_target_unusable",
            fix=error.fix or "restore its content from a copy of the store, then promote again",
        ) from error
    for engine in deployment.engines:
        engine.close()
    body = {
        "endpoint": servable.endpoint,
        "variant": version,
        "build": servable.build.version,
        "files": dict(servable.build.files),
        "e": digest(read_profile().environment),
        "answers": {"dtype": deployment.output.dtype, "shape": list(deployment.output.shape)},
    }
    return store.append("target_proof", body).id
