"""What is watched of an endpoint while it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.ledger import Store
    from headgate.objects import Contract
    from headgate.runtime import Watch

__all__ = ["watch_of"]


def watch_of(
    store: Store, endpoint: str, file: Path | None, *, sign: Callable[[], object] | None = None
) -> Watch | None:
    """The watch that headgate.yaml asks for or, where there is none beside the store, the contracts
    of the decision that promoted the current release; None where nothing can be watched.

    ``sign`` signs what it records. Raises what is wrong with the file.
    """
    from headgate.config import load_config
    from headgate.engines.probe import read_profile
    from headgate.release import WatchRule
    from headgate.runtime import Watch
    from headgate.runtime.retraining import Retrain

    config = file or store.root.absolute().parent
    path = config / "headgate.yaml" if config.is_dir() else config
    said = load_config(path) if path.exists() else None
    if said is not None and said.endpoint != endpoint:
        said = None
    contracts = said.watched if said is not None else _decided(store, endpoint)
    if not contracts:
        return None
    retrain = said.retrain if said is not None else None
    return Watch(
        store,
        WatchRule(contracts),
        price_per_s=said.prices.device_second if said is not None else 0.0,
        cores=read_profile().effective_cores,
        retrain=Retrain(retrain, path.parent.absolute()) if retrain is not None else None,
        sign=sign,
    )


def _decided(store: Store, endpoint: str) -> tuple[Contract, ...]:
    from headgate.release import Terms, means_of
    from headgate.runtime.decisions import decided
    from headgate.runtime.escalation import NOBODY

    release = store.current(endpoint)
    if release is None or release.decision is None:
        return ()
    decision = decided(store, store.get(release.decision))
    contracts = (replace(result.contract, escalation=NOBODY) for result in decision.results)
    return tuple(c for c in contracts if means_of(c, Terms()))
