"""What docs/guides/serving.md says of a server is true of one."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from headgate.server import Limits
from headgate.server.routes import REQUEST_HEADERS
from tests.serving import Served

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "serving.md").read_text()


def test_every_metric_that_the_guide_names_is_there() -> None:
    """Before anything has happened: a dashboard is made on the first day."""
    with Served() as s:
        httpx.get(f"{s.url}/health")
        scraped = httpx.get(f"{s.url}/metrics").text
    known = set(re.findall(r"^# TYPE (\S+) ", scraped, re.MULTILINE))
    named = set(re.findall(r"`((?:headgate|process)_[a-z_]+)", GUIDE))
    assert len(named) > 15
    assert named <= known, named - known


@pytest.mark.parametrize("header", [header.name for header in REQUEST_HEADERS])
def test_every_header_that_counts_is_in_the_guide(header: str) -> None:
    """And in /openapi.json, which is made of the same list."""
    assert f"`{header}" in GUIDE


def test_the_limits_are_those_of_the_guide() -> None:
    """The defaults."""
    limits = Limits()
    for told in (
        f"{limits.max_body_bytes // 2**20} MiB",
        f"{limits.max_items:,}",
        f"{limits.body_timeout_s:.0f} s",
        f"{limits.idle_timeout_s:.0f} s",
        f"{limits.max_held_bytes // 2**20} MiB",
        f"{limits.max_held_tokens:,}",
    ):
        assert f"| {told} |" in GUIDE
