"""Which code made what a benchmark keeps."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from headgate.objects import digest, digest_bytes

__all__ = ["source_digest"]


def source_digest(*modules: str) -> str:
    """Digest of the source of ``modules``; of these alone, not of what they import."""
    sources = {}
    for module in modules:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        sources[module] = digest_bytes(Path(spec.origin).read_bytes())
    return digest(sources)
