"""Reaching the owner: what a receipt says, and that nothing else ever happens."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from headgate.runtime.escalation import NOBODY, deliver
from headgate.runtime.receiver import Receiver

MESSAGE = {"event": "breach", "value": 0.5}


def test_a_webhook_gets_the_message_as_json() -> None:
    """One POST, and any 2xx is a receipt."""
    with Receiver() as owner:
        receipt = deliver(owner.escalation, MESSAGE)
    assert owner.got == [MESSAGE]
    assert (receipt.reached, receipt.status) == (True, 204)


def test_a_refusal_is_no_receipt() -> None:
    """And says what was answered."""
    with Receiver(refusals=1) as owner:
        receipt = deliver(owner.escalation, MESSAGE)
    assert (receipt.reached, receipt.status) == (False, 503)
    assert owner.got == []


def test_a_page_elsewhere_is_no_receipt() -> None:
    """A webhook has moved: where it is now a GET finds a page, and nobody has got the message."""
    asked: list[str] = []

    class Moved(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append("POST")
            self.send_response(302)
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            asked.append("GET")
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Moved) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            receipt = deliver(f"webhook:http://127.0.0.1:{server.server_port}/", MESSAGE)
        finally:
            server.shutdown()
            thread.join(10)
    assert (receipt.reached, receipt.status, asked) == (False, 302, ["POST"])


def test_where_no_file_says_who_nobody_is_told() -> None:
    """What a store holds is no reason to run a command."""
    receipt = deliver(NOBODY, MESSAGE)
    assert not receipt.reached
    assert "no headgate.yaml" in receipt.because


def test_a_command_reads_the_message(tmp_path: Path) -> None:
    """On standard input; its exit status is the receipt."""
    script = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    told = tmp_path / "told.json"
    receipt = deliver(f'command:{sys.executable} -c "{script}" {told}', MESSAGE)
    assert (receipt.reached, receipt.status) == (True, 0)
    assert told.read_text() == '{"event": "breach", "value": 0.5}'
    failing = deliver(f'command:{sys.executable} -c "exit(7)"', MESSAGE)
    assert (failing.reached, failing.status) == (False, 7)


def test_no_secret_is_on_the_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is as the file has it, and what went wrong names no part of the real one."""
    monkeypatch.setenv("ONCALL", "http://127.0.0.1:1/a-secret")
    receipt = deliver("webhook:${ONCALL}", MESSAGE)
    assert not receipt.reached
    assert receipt.to == "webhook:${ONCALL}"
    assert "secret" not in receipt.because


@pytest.mark.parametrize(
    "to",
    [
        "webhook:file:///etc/passwd",
        "webhook:${NO_SUCH_NAME}",
        "command:/no/such/program",
        "command:'",
    ],
)
def test_what_cannot_be_reached_is_a_receipt_too(to: str) -> None:
    """Nothing is raised, whatever the file says."""
    assert not deliver(to, MESSAGE).reached
