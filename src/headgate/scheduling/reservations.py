"""What is promised to calls from the first byte to the answer: bytes before parsing, tokens after.

A call's cost is known only once it is tokenized, and tokenizing is itself a cost. So its body's
bytes are held as they come, before they are parsed, and settled for tokens when those are known. A
call of one item and a call of many go by the same rule: let in whole, or refused whole.
"""

from __future__ import annotations

from headgate.errors import ConfigError

__all__ = ["Reservations"]


class Reservations:
    """Keeps the bytes of bodies not yet tokenized, and the tokens of calls not yet answered,
    within their bounds. Raises ``ConfigError`` for a bound below 1.

    >>> r = Reservations(max_bytes=1000, max_tokens=100)
    >>> call, other = r.open(), r.open()
    >>> r.hold(call, 800)
    >>> r.hold(other, 300)
    'bytes_full'
    >>> r.settle(call, 90), r.held_bytes, r.held_tokens
    (None, 0, 90)
    >>> r.release(call)
    >>> r.held_tokens
    0
    """

    def __init__(self, *, max_bytes: int, max_tokens: int) -> None:
        if max_bytes < 1 or max_tokens < 1:
            raise ConfigError(
                f"nothing could be let in with {max_bytes} bytes and {max_tokens} tokens",
                where="max_bytes, max_tokens",
                fix="write at least what the largest call may bring",
            )
        self.held_bytes = 0
        self.held_tokens = 0
        self._max_bytes = max_bytes
        self._max_tokens = max_tokens
        self._opened = 0
        self._bytes: dict[int, int] = {}  # reservation -> bytes, until it is settled
        self._tokens: dict[int, int] = {}  # reservation -> tokens, from then on

    def open(self) -> int:
        """A reservation for one call, of nothing yet."""
        self._opened += 1
        self._bytes[self._opened] = 0
        return self._opened

    def hold(self, reservation: int, nbytes: int) -> str | None:
        """Holds ``nbytes`` more of its body, or says why not; the rest is held until ``release``.

        ``bytes_full``, or ``too_large`` where the body alone is above the bound and asking again is
        no use. Raises ``KeyError`` for a reservation that is released or settled.
        """
        if self._bytes[reservation] + nbytes > self._max_bytes:
            return "too_large"
        if self.held_bytes + nbytes > self._max_bytes:
            return "bytes_full"
        self._bytes[reservation] += nbytes
        self.held_bytes += nbytes
        return None

    def settle(self, reservation: int, tokens: int) -> str | None:
        """Exchanges the bytes for ``tokens``, of all items of the call together.

        Or says why not, ``tokens_full`` or ``too_large``, and the reservation is released. Raises
        ``KeyError`` for one that is released or settled.
        """
        self.held_bytes -= self._bytes.pop(reservation)
        if tokens > self._max_tokens:
            return "too_large"
        if self.held_tokens + tokens > self._max_tokens:
            return "tokens_full"
        self._tokens[reservation] = tokens
        self.held_tokens += tokens
        return None

    def release(self, reservation: int) -> None:
        """The call is over, however it ended; harmless when it is over already."""
        self.held_bytes -= self._bytes.pop(reservation, 0)
        self.held_tokens -= self._tokens.pop(reservation, 0)
