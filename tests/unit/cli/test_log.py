"""What a server says of itself: one form for all who speak."""

from __future__ import annotations

import json
import logging

import pytest

from headgate.cli.log import log_to_stderr


def test_machines_get_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever speaks; a traceback too is within its line."""
    with log_to_stderr(as_json=True):
        counted = {"fields": {"event": "draining", "in_flight": 3}}
        logging.getLogger("headgate.server").info("%d are left", 3, extra=counted)
        logging.getLogger("another").warning("line one\nline two")
        logging.getLogger("another").info("of no interest")
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("headgate.runtime").exception("it failed")
    ours, theirs, failed = map(json.loads, capsys.readouterr().err.splitlines())
    assert ours.pop("time").endswith("Z")
    assert ours == {
        "level": "info",
        "event": "draining",
        "logger": "headgate.server",
        "message": "3 are left",
        "in_flight": 3,
    }
    assert (theirs["level"], theirs["event"]) == ("warning", "log")
    assert theirs["message"] == "line one\nline two"
    assert failed["traceback"].endswith("ValueError: broken")


def test_nothing_is_said_once_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever calls a command from Python finds logging as it was."""
    level = logging.getLogger("headgate").level
    handlers = list(logging.getLogger().handlers)
    with log_to_stderr(as_json=False):
        pass
    assert logging.getLogger("headgate").level == level
    assert logging.getLogger().handlers == handlers
    logging.getLogger("headgate").info("nobody asked")
    assert capsys.readouterr().err == ""
