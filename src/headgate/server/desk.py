"""What every protocol does with a call once it has read it: admit, encode, answer, put on record.

A protocol brings the items and what the caller's headers said; it takes away answers, or an error
to put into its own form. Knows nothing of HTTP, gRPC or bodies.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from headgate.runtime import Answers, Deployment, Rejected, Trace
from headgate.scheduling import Reservations
from headgate.server.call import Call
from headgate.server.http import HttpError, Limits
from headgate.server.routes import LONGEST_TIMEOUT_MS
from headgate.workload import Encoded

__all__ = ["Desk"]

_ANEW = re.compile(rb"\bno-(cache|store)\b", re.IGNORECASE)
"""In Cache-Control, RFC 9111: no answer of before, and none for later."""
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Desk:
    """Answers the calls of all protocols with one deployment. ``draining`` refuses new ones."""

    def __init__(self, deployment: Deployment, limits: Limits) -> None:
        self.deployment = deployment
        self.limits = limits
        self.draining = False
        self._reservations = Reservations(
            max_bytes=limits.max_held_bytes, max_tokens=limits.max_held_tokens
        )
        self._active = 0
        self._idle = asyncio.Event()
        prefix = secrets.token_hex(6)
        self._ids = (f"{prefix}-{i:x}" for i in itertools.count())

    def request_id(self, headers: Mapping[bytes, bytes]) -> str:
        """The caller's own X-Request-Id where it is fit to be told again, else a new one."""
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        return given if _REQUEST_ID.fullmatch(given) else next(self._ids)

    def admit(self, call: Call) -> None:
        """Accepts ``call``: it is waited for until ``release``. Raises ``Rejected`` in draining."""
        if self.draining:
            raise Rejected("draining")
        self._active += 1
        call.reservation = self._reservations.open()

    def release(self, call: Call) -> None:
        """Nothing is held for ``call`` any more."""
        self._reservations.release(call.reservation)
        self._active -= 1
        if not self._active:
            self._idle.set()

    def hold(self, call: Call, nbytes: int) -> None:
        """Holds ``nbytes`` more of its body until that is tokens. Raises ``Rejected``."""
        self._unless(self._reservations.hold(call.reservation, nbytes))

    async def answer(
        self,
        call: Call,
        items: Sequence[object],
        *,
        truncate: bool = False,
        token_ids: bool = False,
        deadline_s: float | None = None,
    ) -> Answers:
        """The answers to ``items``, as the headers of ``call`` ask: tenant, priority, truncation,
        and a deadline, which counts beside ``deadline_s`` (absolute, on the deployment's clock).

        Raises ``HttpError`` for a bad header, what encoding raises, and what ``LivePlane.submit``
        raises. Cancelling takes back what still waits.
        """
        deployment, live = self.deployment, self.deployment.live
        call.read_s = deployment.clock()
        deadlines = [d for d in (deadline_s, _deadline_s(call)) if d is not None]
        priority = _priority(call)
        if not call.tenant:  # no API key said whose it is
            call.tenant = call.headers.get(b"x-headgate-tenant", b"").decode("latin-1")
        truncate = _truncates(call) or truncate or deployment.truncate
        control = call.headers.get(b"cache-control")
        anew = control is not None and _ANEW.search(control) is not None
        encoded: list[Encoded]
        if token_ids:
            encoded = deployment.encode_ids(items, truncate=truncate)
        else:
            encoded = await live.encode(items, truncate=truncate, tenant=call.tenant)
        call.encoded_s = deployment.clock()
        call.items = len(encoded)
        call.tokens = sum(e.length for e in encoded)
        self._unless(self._reservations.settle(call.reservation, call.tokens))
        answers = await live.submit(
            encoded,
            keys=[b"" if anew else deployment.key(e, call.tenant) for e in encoded],
            tenant=call.tenant,
            deadline_s=min(deadlines, default=None),
            priority=priority,
        )
        call.engine_start_s, call.engine_end_s = answers.started_s, answers.finished_s
        call.batch_size = answers.batch_size
        return answers

    def record(self, call: Call, status: int, source: str) -> None:
        """Counts the time that ``call`` took until now, and keeps its trace."""
        deployment = self.deployment
        now_s = deployment.clock()
        started_s = call.started_s
        total_s = now_s - started_s
        deployment.metrics.request_s.observe(total_s)
        read_s = call.read_s or now_s
        encoded_s = call.encoded_s or read_s
        begun_s, ended_s = call.engine_start_s, call.engine_end_s
        if begun_s is None or ended_s is None:
            begun_s = ended_s = encoded_s
        engine_s = ended_s - begun_s
        deployment.traces.record(
            Trace(
                request_id=call.request_id,
                at=datetime.fromtimestamp(time.time() - total_s, UTC),
                tenant=call.tenant,
                status=status,
                source=source,
                items=call.items,
                tokens=call.tokens,
                batch_size=call.batch_size,
                read_s=read_s - started_s,
                encode_s=encoded_s - read_s,
                queue_s=begun_s - encoded_s,
                engine_s=engine_s,
                respond_s=now_s - ended_s,
                total_s=total_s,
                device_s=engine_s * call.items / call.batch_size if call.batch_size else 0.0,
            )
        )

    async def finish(self) -> bool:
        """Waits for what was accepted; nothing new may come. True once all of it is answered,
        False if that took longer than ``limits.drain_timeout_s``."""
        try:
            async with asyncio.timeout(self.limits.drain_timeout_s):
                if self._active:
                    self._idle.clear()
                    await self._idle.wait()
                if self.deployment.started:
                    await self.deployment.live.drain()
        except TimeoutError:
            return False
        return True

    def _unless(self, refused: str | None) -> None:
        """Goes on unless the reservation was refused. Raises ``Rejected``."""
        if refused is not None:
            self.deployment.metrics.rejects[refused] += 1
            raise Rejected(refused, self.deployment.live.predicted_wait_s())


def _deadline_s(call: Call) -> float | None:
    given = call.headers.get(b"x-request-timeout-ms")
    if given is None:
        return None
    if not given.isdigit() or len(given) > 9 or not 0 < int(given) <= LONGEST_TIMEOUT_MS:
        raise HttpError.invalid(
            "X-Request-Timeout-Ms", f"it must be whole milliseconds, 1 to {LONGEST_TIMEOUT_MS}"
        )
    return call.started_s + int(given) / 1e3


def _truncates(call: Call) -> bool:
    given = call.headers.get(b"x-headgate-truncate")
    if given is None:
        return False
    if given.lower() not in (b"true", b"false"):
        raise HttpError.invalid("X-Headgate-Truncate", "it must be true or false")
    return given.lower() == b"true"


def _priority(call: Call) -> int:
    """Only a tenant's own requests are ordered by it, so that anybody may ask for it."""
    given = call.headers.get(b"x-headgate-priority", b"0")
    if len(given) > 1 or not given.isdigit():
        raise HttpError.invalid("X-Headgate-Priority", "it must be a digit, 0 to 9")
    return int(given)
