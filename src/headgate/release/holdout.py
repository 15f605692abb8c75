"""How often one holdout may certify: its uses spend an error budget, and end.

Each certificate is wrong in at most 5 %. The winner of the next one was chosen by people who have
seen the last, so their errors add up: after k certificates on the same data, one of them is wrong
in at most k times 5 %. The declared budget is that sum's limit. Knows nothing of where uses are
counted.
"""

from __future__ import annotations

from headgate.release.estimate import LEVEL

__all__ = ["CERTIFICATE", "certificates"]

CERTIFICATE = round(1 - LEVEL, 12)
"""What one certificate spends: the chance that it accepts what is worse by a whole margin."""


def certificates(error_budget: float) -> int:
    """How many certificates the budget pays for.

    >>> certificates(0.25), certificates(0.049)
    (5, 0)
    """
    return int(error_budget / CERTIFICATE + 1e-9)
