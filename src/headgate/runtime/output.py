"""The output contract: what must hold of an engine's answer before a caller may see it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headgate.errors import EngineError

__all__ = ["rows"]


def rows(
    output: NDArray[np.generic], size: int, item_shape: tuple[int, ...] | None
) -> tuple[NDArray[np.generic] | EngineError, ...]:
    """One read-only row for each of ``size`` items, or an error in place of a row that is not
    finite: one bad item does not fail its neighbours.

    Each row owns its memory, so that a cached answer does not keep its whole batch alive. Raises
    ``EngineError`` (reason ``output_contract``) unless the shape is ``(size, *item_shape)``.

    >>> [r.tolist() for r in rows(np.array([[1.0, 2.0], [3.0, 4.0]]), 2, (2,))]
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if output.ndim < 1 or output.shape[0] != size:
        raise _breach(f"{size} items went in and an output of shape {output.shape} came out")
    if item_shape is not None and output.shape[1:] != item_shape:
        raise _breach(f"an item's output has shape {output.shape[1:]}, expected {item_shape}")
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        return tuple(
            _owned(row) if np.isfinite(row).all() else _breach("NaN or infinite values")
            for row in output
        )
    return tuple(_owned(row) for row in output)


def _owned(row: NDArray[np.generic]) -> NDArray[np.generic]:
    own = np.array(row)
    own.setflags(write=False)
    return own


def _breach(what: str) -> EngineError:
    return EngineError(what, reason="output_contract", where="engine output")
