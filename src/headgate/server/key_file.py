"""The file of API keys, read again while it serves: a key is revoked without a restart.

Its content is compared, not its time: a mounted secret is swapped under the same name, and two
changes may share a time. No signal is needed, which few could send into a container.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from headgate.errors import InputError
from headgate.server.keys import Keys

__all__ = ["KeyFile"]

_log = logging.getLogger("headgate.server")


class KeyFile:
    """The keys that ``path`` said when it was last whole. Raises ``InputError`` where it is not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = _read(path)
        self._keys = Keys.parse(self._text, str(path))
        self._trouble = ""

    def tenant_of(self, headers: Mapping[bytes, bytes]) -> str:
        """As ``Keys.tenant_of``, by the keys that hold now."""
        return self._keys.tenant_of(headers)

    async def follow(self, every_s: float) -> None:
        """Reads the file every ``every_s`` seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """What the file says holds from now on. Where it is broken nothing changes, and the log
        says once why."""
        try:
            text = _read(self._path)
            keys = Keys.parse(text, str(self._path))
        except InputError as error:
            if str(error) != self._trouble:
                _log.error("the API keys stay as they were: %s", error)
            self._trouble = str(error)
            return
        self._trouble = ""
        if text != self._text:
            self._text, self._keys = text, keys
            _log.warning("%s: read again; API keys that hold: %d", self._path, len(keys))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        what = (error.strerror or str(error)).lower()
    except UnicodeDecodeError:
        what = "they are not UTF-8"
    raise InputError(
        f"the API keys cannot be read: {what}",
        where=str(path),
        reason="api_keys",
        fix="give --api-key-file a text file that this process may read",
    )
