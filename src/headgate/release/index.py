"""A release of an encoder needs an index: that of the build whose vectors its queries must meet."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.objects import Build

__all__ = ["INDEX", "index_for"]

INDEX = "index"
"""Key of ``Release.extra``: the version of the build that makes the index."""


def index_for(
    build: Build, *, before: Build | None = None, kept: str | None = None
) -> Mapping[str, str]:
    """What ``Release.extra`` says of a release of ``build``; nothing where it makes no vectors.

    ``before`` is the build of the release that it follows, and ``kept`` the build whose index that
    one needs. An encoder that makes the same vectors goes on with the index that is there.
    """
    if build.task != "embed":
        return {}
    if before is not None and build.embeds_as(before):
        return {INDEX: kept or before.version}
    return {INDEX: build.version}
