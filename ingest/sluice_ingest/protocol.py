"""One connection: uvicorn's HTTP protocol, stricter and with an end to every wait.

llhttp refuses most of what two programs could read differently; what it lets through is refused here: other transfer
codings than `chunked`, HTTP/0.9 and 2.0, targets that are no path, a missing or second Host, trailers among headers.
Invariants: what is not one well-formed request is never handed to the application, and after it nothing more of that
connection is read; answers go out in the order of their requests; before anybody asks for a body, at most one network
read of it is held.
"""

import time
from asyncio import Transport
from collections.abc import Iterable
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from sluice_core.errors import Refusal
from sluice_core.ids import format_id, uuid7
from sluice_core.limits import KIB
from sluice_core.reasons import HEADERS_TOO_LARGE, MALFORMED_REQUEST, Reason
from sluice_ingest.answering import Answering
from sluice_ingest.answers import problem
from sluice_ingest.metrics import REFUSED_CONNECTIONS, requests_with
from sluice_ingest.waits import LINGER_SECONDS, Rules, Wait, longest

MAX_HEAD_BYTES = 64 * KIB
"""Request line and headers. llhttp has no limit of its own."""
MAX_PIPELINED = 32
"""Requests that may wait behind the one being answered; each is some kilobytes of objects."""

_MOST_DIGITS = 18
"""Of a Content-Length; two more and a 64-bit number cannot hold it."""

_NOTHING, _HEAD, _BODY = range(3)


class _Refused(Exception):
    """Ends the parser's work from within one of its callbacks."""


class Connection(HttpToolsProtocol):
    """See the module. `watch` must be called about once a second."""

    def __init__(
        self, rules: Rules, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._rules = rules
        self._reason: Reason = MALFORMED_REQUEST
        self._serving: RequestResponseCycle | None = None
        self._deaf = False
        """Whatever comes is thrown away."""
        self._phase = _NOTHING
        self._requests = 0
        self._hosts = 0
        self._chunked = False
        self._with_body = False
        self._arrived = 0
        """Bytes of the present network read."""
        self._head = 0
        """Bytes of earlier network reads that may belong to the present head."""
        self._unmoved = 0
        """Bytes since the body last grew."""
        self._seen: tuple[Wait, int] = (Wait.NEW, 0)
        self._seen_at: float | None = None

    # -- the transport's side --------------------------------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Taken, or closed at once when there are too many."""
        if len(self.connections) >= self._rules.max_connections:
            REFUSED_CONNECTIONS.inc()
            transport.abort()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything that waits learns of it."""
        if self.transport is not None:
            super().connection_lost(exc)
            for cycle in (self._serving, *(queued for queued, _ in self.pipeline)):
                if cycle is not None and not cycle.response_complete:
                    cycle.disconnected = True
                    cycle.message_event.set()
            self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Some bytes, at most one network read of them."""
        if self._deaf:
            return
        self._arrived = len(data)
        self._unmoved += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An offer to speak something else, which we may ignore; but what follows could be in that language.
            self._end_after(self.cycle)
        except httptools.HttpParserError:
            self._refuse()
        else:
            if self._phase == _BODY:
                if self._unmoved > MAX_HEAD_BYTES:
                    self._refuse()  # chunk extensions or trailers without end
                elif not self.cycle.response_complete and not self.transport.is_closing():
                    self.flow.pause_reading()  # whoever asks for the body resumes it
            else:
                self._head = self._head + len(data) if self._phase == _HEAD else 0
                if self._head > MAX_HEAD_BYTES:
                    self._reason = HEADERS_TOO_LARGE
                    self._refuse()

    @property
    def reads_body(self) -> bool:
        """Whether the next bytes belong to a body that somebody asked for."""
        return self._phase == _BODY

    # -- the parser's side -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._phase = _HEAD
        self._requests += 1
        self._hosts = 0
        self._chunked = self._with_body = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: those are not among the headers the application sees."""
        if self._phase != _HEAD:
            return
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"content-length":
            value = value.strip()
            if len(value) > _MOST_DIGITS:
                raise _Refused
            self._with_body = value != b"0"
        elif name == b"transfer-encoding":
            self._chunked = self._with_body = True
            if value.strip().lower() != b"chunked":
                raise _Refused
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The application takes over."""
        version = self.parser.get_http_version()
        if version == "1.1":
            if self._hosts != 1:
                raise _Refused
        elif version != "1.0" or self._chunked or self._hosts > 1:
            raise _Refused
        if self.url[:1] != b"/" or b"#" in self.url:
            raise _Refused
        if self._head + self._arrived > MAX_HEAD_BYTES:
            lengths = (len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + sum(lengths) > MAX_HEAD_BYTES:
                self._reason = HEADERS_TOO_LARGE
                raise _Refused
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused
        if self._with_body and self.parser.should_upgrade():
            raise _Refused  # the parser takes what follows for the other protocol, so the body cannot be read
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":
            self.cycle.transport = cast("Transport", Answering(self.transport))
        self._phase = _BODY
        self._unmoved = 0
        self._head = 0

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        self._unmoved = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._phase = _NOTHING
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request's turn. A connection without one needs no timer: `watch` sees how long it idles."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    # -- refusals --------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self) -> None:
        """What came is not a request, or no more of one that is being read."""
        broken = self.cycle if self._phase == _BODY else None
        if broken is not None and broken is not self._serving:
            self.pipeline.popleft()
            broken = None
        if broken is None and (last := self._last()) is not None:
            self._end_after(last)  # they came before and are answered before, and their sender must read that
            return
        self._deaf = True
        self._phase = _NOTHING
        if broken is not None:
            broken.disconnected = True
            broken.message_event.set()
            self._serving = None
        if broken is None or not broken.response_started:
            requests_with(self._reason.code).inc()
            self.transport.write(_answer(self._reason))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _last(self) -> RequestResponseCycle | None:
        """The last request that is still to be answered."""
        if self.pipeline:
            return self.pipeline[0][0]
        return None if self._serving is None or self._serving.response_complete else self._serving

    def _end_after(self, cycle: RequestResponseCycle) -> None:
        """Close when this request is answered."""
        self._deaf = True
        self._phase = _NOTHING
        cycle.keep_alive = False

    # -- waits -----------------------------------------------------------------------------------------------------

    def watch(self, now: float, *, hurry: bool = False) -> None:
        """End whatever has been going on for too long. `hurry`: the process is stopping."""
        kind = self._kind()
        if (kind, self._requests) != self._seen or self._seen_at is None:
            self._seen, self._seen_at = (kind, self._requests), now
        limit = longest(kind, self._rules)
        if limit is not None and now - self._seen_at >= (min(limit, LINGER_SECONDS) if hurry else limit):
            if kind in {Wait.CLOSING, Wait.UNREAD, Wait.LINGER}:
                self.transport.abort()
            else:
                self.transport.close()

    def _kind(self) -> Wait:
        if self.transport.is_closing():
            return Wait.CLOSING
        if self.flow.write_paused:
            return Wait.UNREAD
        if self._last() is not None:
            return Wait.ANSWER
        if self._deaf:
            return Wait.LINGER
        if self._phase == _HEAD:
            return Wait.HEAD
        return Wait.NEW if self._requests == 0 else Wait.IDLE


def watch_all(connections: Iterable[Any], now: float, *, hurry: bool = False) -> None:
    """One round over all connections."""
    for connection in list(connections):
        connection.watch(now, hurry=hurry)


def _answer(reason: Reason) -> bytes:
    answer = problem(Refusal(reason), format_id(uuid7(time.time_ns() // 1_000_000)), close=True)
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[answer.status] + lines + b"\r\n" + answer.body
