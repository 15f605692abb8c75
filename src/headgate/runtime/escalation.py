"""Reaching the owner: a webhook that takes JSON, or a command that reads it, tried several times.

``webhook:URL`` gets a POST, and any 2xx is its receipt; ``command:PROGRAM ARGUMENTS`` gets it on
standard input, and exit status 0 is. ``${NAME}`` is read from the environment now, so that no
secret is ever on record. Blocking; call it on a thread.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headgate.config import expand_environment
from headgate.engines.http_client import split_url
from headgate.errors import HeadgateError
from headgate.objects import jsonable

__all__ = ["NOBODY", "PAUSES_S", "Receipt", "escalate"]

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Between two attempts; there is one attempt more."""
_TIMEOUT_S = 5.0
_SAID = 200


NOBODY = "nobody"
"""Where to, where no file of the user's says so. What a store holds is no reason to run a command
or to send what the environment holds: whoever can write a store could then do both."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """That the owner was reached, or why not. Holds no secret: ``to`` is as the file has it."""

    to: str
    reached: bool
    attempts: int
    status: int | None
    """HTTP's, or the exit status; None where nothing came back."""
    because: str


def escalate(
    to: str,
    message: Mapping[str, object],
    *,
    pauses_s: Sequence[float] = PAUSES_S,
    wait: Callable[[float], object] = time.sleep,
) -> Receipt:
    """Delivers ``message`` as JSON. Never raises: not reaching anybody is a receipt too.

    ``wait`` pauses for so many seconds; where it returns something true there is no time left.
    """
    if to == NOBODY:
        return Receipt(to, False, 0, None, "no headgate.yaml beside the store says who is told")
    body = json.dumps(jsonable(message), ensure_ascii=False).encode()
    kind, _, written = to.partition(":")
    deliver = _post if kind == "webhook" else _run
    receipt = Receipt(to, False, 0, None, "nothing was tried")
    for attempt, pause_s in enumerate((0.0, *pauses_s), start=1):
        if pause_s and wait(pause_s):
            break
        try:
            status, reached = deliver(expand_environment(written), body)
        except Exception as error:  # a wrong address, a dead host, a program that is not there
            receipt = Receipt(to, False, attempt, None, _why(error))
            continue
        receipt = Receipt(to, reached, attempt, status, f"{kind} answered {status}")
        if reached:
            break
    return receipt


def _post(url: str, body: bytes) -> tuple[int, bool]:
    split_url(url)  # only http and https, and no password that an error would tell
    request = urllib.request.Request(
        url, data=body, headers={"content-type": "application/json", "user-agent": "headgate"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    return status, 200 <= status < 300


def _run(command: str, body: bytes) -> tuple[int, bool]:
    done = subprocess.run(
        shlex.split(command), input=body, capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    return done.returncode, done.returncode == 0


def _why(error: Exception) -> str:
    """Without what was expanded: a URL may hold a token."""
    if isinstance(error, HeadgateError) and error.reason == "environment":
        return error.what
    if isinstance(error, urllib.error.URLError):
        return f"unreachable: {type(error.reason).__name__}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:_SAID]
    return type(error).__name__
