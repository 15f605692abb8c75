"""Reaching the owner: a webhook that takes JSON, or a command that reads it; one attempt.

``webhook:URL`` gets a POST, and any 2xx is its receipt; ``command:PROGRAM ARGUMENTS`` gets it on
standard input, and exit status 0 is. ``${NAME}`` is read from the environment now, so that no
secret is ever on record. Blocking, for some seconds; call it on a thread.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import IO

from headgate.config import expand_environment
from headgate.engines.http_client import split_url
from headgate.errors import HeadgateError
from headgate.objects import jsonable

__all__ = ["NOBODY", "Receipt", "deliver"]

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
    status: int | None
    """HTTP's, or the exit status; None where nothing came back."""
    because: str


def deliver(to: str, message: Mapping[str, object]) -> Receipt:
    """Delivers ``message`` as JSON. Never raises: not reaching anybody is a receipt too."""
    if to == NOBODY:
        return Receipt(to, False, None, "no headgate.yaml beside the store says who is told")
    kind, _, written = to.partition(":")
    send = _post if kind == "webhook" else _run
    try:
        body = json.dumps(jsonable(message), ensure_ascii=False).encode()
        status, reached = send(expand_environment(written), body)
    except Exception as error:  # a wrong address, a dead host, a program that is not there
        return Receipt(to, False, None, _why(error))
    return Receipt(to, reached, status, f"{kind} answered {status}")


class _Here(urllib.request.HTTPRedirectHandler):
    """Sends a message to its address and to no other."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Nowhere: urllib would ask there with a GET, without the message, and whatever page is
        found would be its receipt."""


def _post(url: str, body: bytes) -> tuple[int, bool]:
    split_url(url)  # only http and https, and no password that an error would tell
    request = urllib.request.Request(
        url, data=body, headers={"content-type": "application/json", "user-agent": "headgate"}
    )
    try:
        with urllib.request.build_opener(_Here).open(request, timeout=_TIMEOUT_S) as answer:
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    return status, 200 <= status < 300


def _run(command: str, body: bytes) -> tuple[int, bool]:
    done = subprocess.run(
        shlex.split(command),
        input=body,
        stdout=subprocess.DEVNULL,  # however much it says
        stderr=subprocess.DEVNULL,
        timeout=_TIMEOUT_S,
        check=False,
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
