"""Which release answers: the current one, while it changes under load.

A request belongs to the release that was current when its headers came, and is finished by it. The
new release is loaded and warm before it takes over; the old one answers what it has, and is freed.
"""

from __future__ import annotations

import asyncio
import logging

from headgate.runtime import Deployment
from headgate.server.app import App
from headgate.server.desk import Desk
from headgate.server.http import Limits, Receive, Scope, Send
from headgate.server.routes import Identify

__all__ = ["Switch"]

_log = logging.getLogger("headgate.server")


class Switch:
    """The ASGI callable of a server that outlives its releases."""

    def __init__(
        self, deployment: Deployment, limits: Limits, identify: Identify | None = None
    ) -> None:
        self._limits = limits
        self._identify = identify
        self._serve(deployment)
        self._retiring: set[asyncio.Task[bool]] = set()

    @property
    def desk(self) -> Desk:
        """Of the release that answers what comes now."""
        return self._app.desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def to(self, deployment: Deployment) -> None:
        """Lets ``deployment`` answer from now on. Where it cannot start, nothing changes."""
        try:
            await deployment.start()
        except BaseException:
            await deployment.close()
            raise
        before, app = self.deployment, self._app
        self._serve(deployment)
        deployment.metrics.takeovers["done"] += 1
        task = asyncio.create_task(_retire(app, before))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _serve(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._app = App(deployment, self._limits, self._identify)
        deployment.metrics.release = deployment.ids

    async def drain(self) -> bool:
        """Refuses what is new and waits for what was accepted, by retiring releases too. True once
        all is answered, False where ``limits.drain_timeout_s`` was not enough."""
        return all(await asyncio.gather(self._app.drain(), *self._retiring))

    async def close(self) -> None:
        """Frees the current release. Drain before."""
        await self.deployment.close()


async def _retire(app: App, deployment: Deployment) -> bool:
    """What goes wrong is logged: the release that took over must not suffer from it."""
    try:
        finished = await app.finish()
        await deployment.close()
    except Exception:
        _log.exception("%s could not be retired", deployment.release)
        return False
    if not finished:
        _log.error("%s was given up with requests unanswered: they get a 503", deployment.release)
    return finished
