"""Request bodies and schedules: when what is asked. Knows nothing of connections."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from headgate.errors import InputError

__all__ = ["poisson_times", "read_requests"]


def poisson_times(rate_per_s: float, duration_s: float, *, seed: int) -> NDArray[np.float64]:
    """Arrival times in [0, duration_s) of a Poisson process, ascending.

    >>> times = poisson_times(100.0, 10.0, seed=1)
    >>> bool(900 < len(times) < 1100 and (np.diff(times) >= 0).all() and times[-1] < 10.0)
    True
    """
    if not (rate_per_s > 0 and duration_s > 0):
        raise InputError(
            f"a load of {rate_per_s:g} requests/s for {duration_s:g} s has no requests",
            fix="give a rate and a duration above 0",
        )
    rng = np.random.default_rng(seed)
    # Given their number, the points of a Poisson process are independent and uniform.
    count = int(rng.poisson(rate_per_s * duration_s))
    return np.sort(rng.uniform(0.0, duration_s, count))


class _Line(msgspec.Struct):
    at_s: float
    body: msgspec.Raw = msgspec.Raw()  # empty where the row has none; a union with None fails
    body_base64: str | None = None


def read_requests(path: Path) -> tuple[NDArray[np.float64], list[bytes]]:
    """Reads JSON lines of ``{"at_s": seconds, "body": any JSON}`` (or ``"body_base64"``).

    ``at_s`` ascends; a JSON body is sent as it stands in the file. Raises ``InputError`` naming
    the line.
    """
    times: list[float] = []
    bodies: list[bytes] = []
    decode = msgspec.json.Decoder(_Line).decode
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(str(error.strerror), where=str(path), fix="name a readable file") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            row = decode(line)
            body = bytes(row.body)
            if not body:
                if row.body_base64 is None:
                    raise ValueError("it has neither body nor body_base64")
                body = base64.b64decode(row.body_base64, validate=True)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise InputError(
                f"not a request: {error}", where=where, fix='write {"at_s": 0.5, "body": {...}}'
            ) from None
        if not math.isfinite(row.at_s) or row.at_s < (times[-1] if times else 0.0):
            raise InputError(
                f"at_s is {row.at_s:g}, earlier than the line before",
                where=where,
                fix="sort the file by at_s, from 0",
            )
        times.append(row.at_s)
        bodies.append(body)
    if not times:
        raise InputError("it has no requests", where=str(path), fix="add at least one line")
    return np.array(times), bodies
