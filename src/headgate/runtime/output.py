"""The output contract: what must hold of an engine's answer before a caller may see it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.errors import EngineError

__all__ = ["is_unit", "rows"]


_UNIT_SEEN = 0.005
"""So close to 1 is the length of a unit vector in bfloat16, too, and of others only by chance."""
_UNIT_KEPT = 0.01
"""Beyond this the vector is not what the model makes of any input."""


def is_unit(row: NDArray[np.generic]) -> bool:
    """Whether an answer is a vector of length 1: what a model that normalises gives for anything.

    >>> is_unit(np.array([0.6, 0.8])), is_unit(np.array([0.6, 0.6])), is_unit(np.array([1]))
    (True, False, False)
    """
    if row.ndim != 1 or row.dtype.kind != "f":
        return False
    return bool(abs(np.linalg.norm(row.astype(np.float64)) - 1.0) <= _UNIT_SEEN)


def rows(
    output: NDArray[np.generic],
    size: int,
    item_shape: tuple[int, ...] | None,
    *,
    unit: bool = False,
) -> tuple[NDArray[np.generic] | EngineError, ...]:
    """One read-only row for each of ``size`` items, or an error in place of a row that is not
    finite, or not of length 1 where all are to be ``unit`` vectors: one bad item does not fail its
    neighbours.

    Each row owns its memory, so that a cached answer does not keep its whole batch alive. Raises
    ``EngineError`` (reason ``output_contract``) unless the shape is ``(size, *item_shape)``.

    >>> [r.tolist() for r in rows(np.array([[1.0, 2.0], [3.0, 4.0]]), 2, (2,))]
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if output.ndim < 1 or output.shape[0] != size:
        raise _breach(f"{size} items went in and an output of shape {output.shape} came out")
    if item_shape is not None and output.shape[1:] != item_shape:
        raise _breach(f"an item's output has shape {output.shape[1:]}, expected {item_shape}")
    if output.dtype.kind != "f" or not _any_wrong(output, unit=unit):
        return tuple(_owned(row) for row in output)
    return tuple(_judged(row, unit=unit) for row in output)


def _any_wrong(output: NDArray[np.generic], *, unit: bool) -> bool:
    if not np.isfinite(output).all():
        return True
    if not unit:
        return False
    lengths = np.linalg.norm(output.astype(np.float64), axis=1)
    return bool(np.abs(lengths - 1.0).max(initial=0.0) > _UNIT_KEPT)


def _judged(row: NDArray[np.generic], *, unit: bool) -> NDArray[np.generic] | EngineError:
    if not np.isfinite(row).all():
        return _breach("NaN or infinite values")
    length = float(np.linalg.norm(row.astype(np.float64))) if unit else 1.0
    if abs(length - 1.0) > _UNIT_KEPT:
        return _breach(f"a vector of length {length:.3g} from a model that makes unit vectors")
    return _owned(row)


def _owned(row: NDArray[np.generic]) -> NDArray[np.generic]:
    own = np.array(row)
    own.setflags(write=False)
    return own


def _breach(what: str) -> EngineError:
    return EngineError(what, reason="output_contract", where="engine output")
