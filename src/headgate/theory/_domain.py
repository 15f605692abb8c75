"""The valid range of a formula, refused in one way when it is left."""

from __future__ import annotations

from headgate.errors import InputError

__all__ = ["require"]


def require(holds: bool, what: str) -> None:
    """Raise ``InputError`` (a ``ValueError``) that says ``what`` unless it ``holds``.

    Write conditions so that NaN fails them: ``x >= 0``, never ``not x < 0``.
    """
    if not holds:
        raise InputError(what, where="formula", fix="keep to the valid range in its docstring")
