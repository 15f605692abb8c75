"""What is watched of an endpoint while it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli.options import config_beside

if TYPE_CHECKING:
    from headgate.config import EndpointConfig
    from headgate.ledger import Store
    from headgate.objects import Contract
    from headgate.runtime import Watch

__all__ = ["promises_of", "watch_of"]


def watch_of(
    store: Store, endpoint: str, file: Path | None, *, sign: Callable[[], object] | None = None
) -> Watch | None:
    """The watch that headgate.yaml asks for or, where there is none beside the store, what was
    imported with the endpoint, or the contracts of the decision that promoted the current release;
    None where nothing can be watched.

    ``sign`` signs what it records. Raises what is wrong with the file.
    """
    from headgate.engines.probe import read_profile
    from headgate.release import WatchRule
    from headgate.runtime import Watch
    from headgate.runtime.retraining import Retrain

    said = _said(store, endpoint, file)
    contracts, price_per_s = promises_of(store, endpoint, file)
    if not contracts:
        return None
    retrain = said.retrain if said is not None else None
    return Watch(
        store,
        WatchRule(contracts),
        price_per_s=price_per_s,
        cores=read_profile().effective_cores,
        retrain=Retrain(retrain, said.root) if said is not None and retrain is not None else None,
        sign=sign,
    )


def promises_of(
    store: Store, endpoint: str, file: Path | None
) -> tuple[tuple[Contract, ...], float]:
    """What is watched, and the price of a second of the machine; raises as ``watch_of``."""
    said = _said(store, endpoint, file)
    if said is not None:
        return said.watched, said.prices.device_second
    return _imported(store, endpoint) or (_decided(store, endpoint), 0.0)


def _said(store: Store, endpoint: str, file: Path | None) -> EndpointConfig | None:
    """The headgate.yaml beside the store, where it is there and names this endpoint."""
    said = config_beside(store, file)
    return said if said is not None and said.endpoint == endpoint else None


def _imported(store: Store, endpoint: str) -> tuple[tuple[Contract, ...], float] | None:
    """What the newest bundle of the endpoint says; None where none was imported."""
    from headgate.objects import parse
    from headgate.release import contract_from_json
    from headgate.runtime.escalation import NOBODY

    if store.latest("import", endpoint=endpoint) is None:
        return None
    live = store.artifact(f"{endpoint}/live")
    if live is None:
        return None
    body = parse(store.read(live.version))
    contracts = (contract_from_json(contract) for contract in body["contracts"])
    return tuple(replace(c, escalation=NOBODY) for c in contracts), float(body["price_per_s"])


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
