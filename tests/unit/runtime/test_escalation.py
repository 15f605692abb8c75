"""Reaching the owner: what a receipt says, and that nothing else ever happens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headgate.runtime.escalation import NOBODY, escalate
from headgate.runtime.receiver import Receiver

MESSAGE = {"event": "breach", "value": 0.5}


def no_wait(_: float) -> None:
    """A pause that is over."""


def test_a_webhook_gets_the_message_as_json() -> None:
    """One POST, and any 2xx is a receipt."""
    with Receiver() as owner:
        receipt = escalate(owner.escalation, MESSAGE, wait=no_wait)
    assert owner.got == [MESSAGE]
    assert (receipt.reached, receipt.attempts, receipt.status) == (True, 1, 204)


def test_it_is_tried_again_with_pauses_that_grow() -> None:
    """Two refusals, and then it has it."""
    waited: list[float] = []
    with Receiver(refusals=2) as owner:
        receipt = escalate(owner.escalation, MESSAGE, wait=waited.append)
    assert (receipt.reached, receipt.attempts) == (True, 3)
    assert waited == [0.5, 1.0]


def test_it_is_given_up_in_the_end() -> None:
    """As many attempts as there are pauses, and one more; the receipt says that nobody answered."""
    with Receiver(refusals=99) as owner:
        receipt = escalate(owner.escalation, MESSAGE, pauses_s=(0.1, 0.1), wait=no_wait)
    assert (receipt.reached, receipt.attempts, receipt.status) == (False, 3, 503)
    assert owner.got == []


def test_where_no_file_says_who_nobody_is_told() -> None:
    """What a store holds is no reason to run a command."""
    receipt = escalate(NOBODY, MESSAGE, wait=no_wait)
    assert (receipt.reached, receipt.attempts) == (False, 0)
    assert "no headgate.yaml" in receipt.because


def test_a_server_that_ends_waits_for_nobody() -> None:
    """One attempt, and no pause after it."""
    with Receiver(refusals=99) as owner:
        receipt = escalate(owner.escalation, MESSAGE, wait=lambda _: True)
    assert (receipt.reached, receipt.attempts) == (False, 1)


def test_a_command_reads_the_message(tmp_path: Path) -> None:
    """On standard input; its exit status is the receipt."""
    script = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    told = tmp_path / "told.json"
    receipt = escalate(f'command:{sys.executable} -c "{script}" {told}', MESSAGE, wait=no_wait)
    assert (receipt.reached, receipt.status) == (True, 0)
    assert told.read_text() == '{"event": "breach", "value": 0.5}'
    failing = escalate(f'command:{sys.executable} -c "exit(7)"', MESSAGE, wait=no_wait)
    assert (failing.reached, failing.status) == (False, 7)


def test_no_secret_is_on_the_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is as the file has it, and what went wrong names no part of the real one."""
    monkeypatch.setenv("ONCALL", "http://127.0.0.1:1/a-secret")
    receipt = escalate("webhook:${ONCALL}", MESSAGE, pauses_s=(), wait=no_wait)
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
    assert not escalate(to, MESSAGE, pauses_s=(), wait=no_wait).reached
