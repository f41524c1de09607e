"""How much is read from a connection at once.

Left to itself the event loop reads a quarter of a megabyte: ten thousand senders who are about to be refused would fill
gigabytes before anybody is asked. Invariant: what a connection can make us hold before somebody asks for a body is
`HEAD_READ` bytes, and `READ_AHEAD` while somebody does.
"""

from asyncio import BaseTransport, BufferedProtocol

from sluice_core.limits import KIB
from sluice_ingest.body import READ_AHEAD
from sluice_ingest.protocol import Connection

HEAD_READ = 16 * KIB

_head = memoryview(bytearray(HEAD_READ))
_body = memoryview(bytearray(READ_AHEAD))


class BoundedReads(BufferedProtocol):
    """Hands a connection what the network brings, in pieces of a bounded size."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.connection_lost = connection.connection_lost  # type: ignore[method-assign]
        self.pause_writing = connection.pause_writing  # type: ignore[method-assign]
        self.resume_writing = connection.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: BaseTransport) -> None:
        """There is a connection."""
        self._connection.connection_made(transport)  # type: ignore[arg-type]  # TCP has no other kind

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put the next bytes; all connections share it, since what it held is taken at once."""
        return _body if self._connection.reads_body else _head

    def buffer_updated(self, nbytes: int) -> None:
        """They are there."""
        connection = self._connection
        connection.data_received(bytes((_body if connection.reads_body else _head)[:nbytes]))
