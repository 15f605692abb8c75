"""The errors that Headgate raises on purpose.

::

    HeadgateError                what was wrong, where, and what to do; a reason code; an exit code
    ├── UsageError (ValueError)  exit 2: a wrong command line
    │   ├── ConfigError          headgate.yaml says something that cannot be meant
    │   ├── InputError           a file, a data set or a model is missing or malformed
    │   └── MissingExtra         an optional dependency is needed and absent
    ├── RequestError (ValueError) one request is malformed; it fails alone
    │   └── TooLong              longer than the model takes, and truncation was not asked for
    ├── Refused                  exit 3: a contract or a rule says no
    │   └── Tampered             stored evidence does not match its own digest
    ├── Undecided                exit 4: not enough, or not good enough, data to tell
    ├── Fault (RuntimeError)     exit 1: disk, port, lock, or Headgate itself
    │   ├── Busy                 another process holds the lock or the port
    │   └── EngineError          an engine failed to load or to run
    └── Unstable (ValueError)    exit 4: a queue that would grow without bound (rho >= 1)

Messages are written for the person who reads them at three in the morning: the file and the key,
what is wrong with it, and what to do. ``reason`` is the same for machines and never changes.
"""

from __future__ import annotations

__all__ = [
    "Busy",
    "ConfigError",
    "EngineError",
    "Fault",
    "HeadgateError",
    "InputError",
    "MissingExtra",
    "Refused",
    "RequestError",
    "Tampered",
    "TooLong",
    "Undecided",
    "Unstable",
    "UsageError",
]


class HeadgateError(Exception):
    """What was wrong (``what``), where (``where``) and what to do about it (``fix``).

    >>> print(ConfigError("a price cannot be negative", where="headgate.yaml: prices.device_second",
    ...                   fix="write the price of one second of your machine, 0 or more"))
    headgate.yaml: prices.device_second: a price cannot be negative
      what to do: write the price of one second of your machine, 0 or more
    """

    exit_code = 1
    reason = "fault"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        reason: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        if reason is not None:
            self.reason = reason
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  what to do: {self.fix}" if self.fix else text


class UsageError(HeadgateError, ValueError):
    """The command, its configuration or its input files are wrong."""

    exit_code = 2
    reason = "usage"


class ConfigError(UsageError):
    """headgate.yaml says something that cannot be meant."""

    reason = "config"


class InputError(UsageError):
    """A file, a data set or a model is missing or malformed."""

    reason = "input"


class MissingExtra(UsageError):
    """An optional dependency is needed and absent.

    >>> print(MissingExtra.of("openvino", needed_for="static int8"))
    static int8 needs the extra 'openvino', which is not installed
      what to do: pip install 'headgate[openvino]'
    """

    reason = "missing_extra"

    @classmethod
    def of(cls, extra: str, *, needed_for: str) -> MissingExtra:
        return cls(
            f"{needed_for} needs the extra {extra!r}, which is not installed",
            fix=f"pip install 'headgate[{extra}]'",
        )


class RequestError(HeadgateError, ValueError):
    """One request is malformed. It fails alone; ``where`` names the field."""

    exit_code = 2
    reason = "bad_request"


class TooLong(RequestError):
    """The input is longer than the model takes, and truncation was not asked for."""

    reason = "too_long"


class Refused(HeadgateError):
    """A contract or a rule says no."""

    exit_code = 3
    reason = "refused"


class Tampered(Refused):
    """Stored evidence does not match its own digest."""

    reason = "tampered"


class Undecided(HeadgateError):
    """Not enough data, or none that can be trusted, to tell."""

    exit_code = 4
    reason = "unknown"


class Fault(HeadgateError, RuntimeError):
    """Disk, port, lock, or a fault of Headgate itself."""


class Busy(Fault):
    """Another process holds what this one needs."""

    reason = "busy"


class EngineError(Fault):
    """An engine failed to load or to run."""

    reason = "engine"


class Unstable(HeadgateError, ValueError):
    """A queue whose arrivals outrun its service; it would grow without bound."""

    exit_code = 4
    reason = "unstable"
