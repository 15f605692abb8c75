"""What is to be served answers on this machine as on the one that judged it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.ledger import Store
    from headgate.runtime.servable import Servable

__all__ = ["certifier"]

_log = logging.getLogger("headgate.server")


def certifier(store: Store, root: Path) -> Callable[[Servable, str], None]:
    """Certifies variants of ``store`` on this machine, where they are not certified yet.

    Where they are, that is a look into the ledger. One that never was is said to be, and served: it
    was promoted by other means than ``optimize`` or ``promote``, which stop at that. Raises as
    ``recertify`` does.
    """
    from headgate.engines.probe import read_profile
    from headgate.objects import short
    from headgate.runtime.certified import standing

    def certify(servable: Servable, version: str) -> None:
        found = standing(store, servable.build, read_profile(gpus=False))
        if found.holds:
            return
        name = f"{servable.build.name}, variant {short(version)}"
        if found.certificate is None:
            _log.warning(
                "no certificate says on which machine %s was judged: `headgate optimize` certifies",
                name,
                extra={"fields": {"event": "not_certified", "variant": version}},
            )
            return
        from headgate.optimize.recertify import described, recertify

        differs = described(found.differs)
        _log.info(
            "certifying %s on this machine, for two minutes at most: %s",
            name,
            differs,
            extra={"fields": {"event": "certifying", "variant": version, "differs": differs}},
        )
        recertify(store, servable, version, found, read_profile(), root=root)

    return certify
