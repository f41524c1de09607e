"""An answer's head waits for the first of its body, so that both leave in one system call and arrive as one.

uvicorn writes one after the other, and each write is a tenth of what a small request costs. Invariant: what is written
leaves in its order, at the latest when the connection is closed.
"""

from asyncio import Transport

_PRELIMINARY = b"HTTP/1.1 1"


class Answering:
    """What one answer with a body is written to, in place of the connection's transport."""

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._head = b""
        self._begun = False
        """Whether its head came."""

    def write(self, data: bytes) -> None:
        """Send, or keep the head for now."""
        if self._head:
            data, self._head = self._head + data, b""
        elif not self._begun and not data.startswith(_PRELIMINARY):
            self._begun, self._head = True, data
            return
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection when everything is sent."""
        if self._head:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is."""
        return self._transport.is_closing()
