"""One connection, byte by byte: what is a request, in which order answers go out, and that every wait ends."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from sluice_core.reasons import ALL
from sluice_ingest.body import READ_AHEAD
from sluice_ingest.protocol import MAX_HEAD_BYTES, MAX_PIPELINED, Connection, watch_all
from sluice_ingest.reads import HEAD_READ, BoundedReads
from sluice_ingest.waits import Rules
from unit import virtual
from unit.virtual import settle

_RULES = Rules(max_connections=3, header_timeout=10.0, idle_timeout=75.0, answer_timeout=30.0)


def _in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        virtual.run(test(*args, **kwargs))

    return run


class _Transport(asyncio.Transport):
    """A socket without a network: what was written, and what the protocol asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.closing = False
        self.ended = False
        self.aborted = False
        self.unread = False
        """The other side does not read: what is written stays here, and so does a connection that closes."""
        self.protocol: Connection | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.unread:
                self._lose()

    def abort(self) -> None:
        self.aborted = True
        self.closing = True
        self._lose()

    def _lose(self) -> None:
        if self.protocol is not None:
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)
            self.protocol = None


class _Network:
    """Connections to one application that answers every request with what it saw of it, once it is let."""

    def __init__(self, rules: Rules = _RULES) -> None:
        self._rules = rules
        self.state = ServerState()
        self.seen: list[dict[str, Any]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.read_body = True
        self.config = uvicorn.Config(
            self._app,
            http="httptools",
            interface="asgi3",
            proxy_headers=False,
            lifespan="off",
            log_config=None,
            timeout_keep_alive=3600,
        )
        self.config.load()

    def connect(self) -> "_Line":
        connection = Connection(self._rules, self.config, self.state, {})
        transport = _Transport()
        transport.protocol = connection
        connection.connection_made(transport)
        return _Line(connection, transport)

    def watch(self, *, hurry: bool = False) -> None:
        watch_all(self.state.connections, virtual.now(), hurry=hurry)

    async def pass_time(self, seconds: float, *, hurry: bool = False) -> None:
        """Time passes, and every second the connections are looked at."""
        for _ in range(int(seconds)):
            self.watch(hurry=hurry)
            await asyncio.sleep(1)
        self.watch(hurry=hurry)
        await settle()

    async def _app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        if self.read_body:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.seen.append({"path": scope["path"], "cut": True})
                    return
                body += message["body"]
                if not message["more_body"]:
                    break
        await self.go.wait()
        names = [name.decode() for name, _ in scope["headers"]]
        self.seen.append({"path": scope["path"], "headers": names, "body": body.decode("latin-1")})
        answer = json.dumps(self.seen[-1]).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 202,
                "headers": [(b"content-length", str(len(answer)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": answer})


class _Line:
    """One connection from the sender's side."""

    def __init__(self, connection: Connection, transport: _Transport) -> None:
        self._connection = connection
        self.transport = transport

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.transport.closing:
                self._connection.data_received(piece)
            await settle()

    def stop_reading(self) -> None:
        self.transport.unread = True
        self._connection.pause_writing()

    def answers(self) -> list[tuple[int, dict[str, Any]]]:
        """Status and body of each answer; fails for what is not a sequence of whole answers."""
        found = []
        rest = self.transport.written
        while rest:
            head, separator, rest = rest.partition(b"\r\n\r\n")
            assert separator
            lines = head.decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = int(headers["content-length"])
            found.append((int(lines[0].split()[1]), {**headers, **json.loads(rest[:length])}))
            rest = rest[length:]
        return found

    def statuses(self) -> list[int]:
        return [status for status, _ in self.answers()]


def _request(body: bytes = b"abc", path: str = "/ingest", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _headers(text: str, body: bytes = b"") -> bytes:
    return f"POST /ingest HTTP/1.1\r\nHost: x\r\n{text}\r\n".encode("latin-1") + body


_CHUNKED = "Transfer-Encoding: chunked\r\n"
_ABC = b"3\r\nabc\r\n0\r\n\r\n"


@_in_virtual_time
async def test_a_request_is_answered_and_the_connection_kept() -> None:
    network = _Network()
    line = network.connect()
    await line.send(_request(b"one"), _request(b"two"))
    assert [answer["body"] for _, answer in line.answers()] == ["one", "two"]
    assert not line.transport.closing


@_in_virtual_time
async def test_pipelined_requests_are_answered_in_order() -> None:
    network = _Network()
    line = network.connect()
    network.go.clear()
    await line.send(b"".join(_request(str(number).encode()) for number in range(5)))
    network.go.set()
    await settle()
    assert [answer["body"] for _, answer in line.answers()] == list("01234")
    assert line.transport.reading


@_in_virtual_time
async def test_only_so_many_requests_may_wait_and_the_rest_are_neither_answered_nor_taken() -> None:
    network = _Network()
    line = network.connect()
    network.go.clear()
    await line.send(b"".join(_request(str(number).encode()) for number in range(2000)))
    network.go.set()
    for _ in range(10):
        await settle()
    assert [answer["body"] for _, answer in line.answers()] == [str(number) for number in range(MAX_PIPELINED + 1)]
    assert len(network.seen) == MAX_PIPELINED + 1
    assert line.transport.closing


_WELL_FORMED = {
    "length": _request(),
    "chunks": _headers(_CHUNKED, _ABC),
    "chunked, in other letters": _headers("transfer-encoding: CHUNKED\r\n", _ABC),
    "chunk extension": _headers(_CHUNKED, b"3;a=b\r\nabc\r\n0\r\n\r\n"),
    "blank lines before": b"\r\n\r\n" + _request(),
    "HTTP/1.0": b"POST /ingest HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
    "space around the length": _headers("Content-Length:  3 \r\n", b"abc"),
}


@pytest.mark.parametrize("name", _WELL_FORMED)
@_in_virtual_time
async def test_what_is_well_formed_is_taken_whole_or_byte_by_byte(name: str) -> None:
    network = _Network()
    whole, pieces = network.connect(), network.connect()
    await whole.send(_WELL_FORMED[name])
    await pieces.send(*(bytes([byte]) for byte in _WELL_FORMED[name]))
    for line in (whole, pieces):
        assert [(status, answer["body"]) for status, answer in line.answers()] == [(202, "abc")]


_AMBIGUOUS = {
    "length and chunked": _headers("Content-Length: 13\r\n" + _CHUNKED, _ABC),
    "chunked and length": _headers(_CHUNKED + "Content-Length: 13\r\n", _ABC),
    "length twice": _headers("Content-Length: 3\r\nContent-Length: 4\r\n", b"abcd"),
    "length twice, the same": _headers("Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"),
    "length as a list": _headers("Content-Length: 3, 3\r\n", b"abc"),
    "negative length": _headers("Content-Length: -3\r\n", b"abc"),
    "length with a plus": _headers("Content-Length: +3\r\n", b"abc"),
    "length in hexadecimal": _headers("Content-Length: 0x3\r\n", b"abc"),
    "length of two numbers": _headers("Content-Length: 3 3\r\n", b"abc"),
    "empty length": _headers("Content-Length:\r\n", b"abc"),
    "length beyond 64 bits": _headers("Content-Length: 18446744073709551619\r\n", b"abc"),
    "length of 19 digits": _headers("Content-Length: 9223372036854775808\r\n", b"abc"),
    "length folded": _headers("Content-Length:\r\n 3\r\n", b"abc"),
    "folded header": _headers("X-A: b\r\n c\r\nContent-Length: 3\r\n", b"abc"),
    "space before the colon": _headers("Content-Length : 3\r\n", b"abc"),
    "space before the first header": b"POST /ingest HTTP/1.1\r\n Host: x\r\nContent-Length: 3\r\n\r\nabc",
    "header without a colon": _headers("nonsense\r\n"),
    "header without a name": _headers(": x\r\n"),
    "NUL in a header": _headers("X-A: a\0b\r\nContent-Length: 3\r\n", b"abc"),
    "NUL in a header's name": _headers("X\0A: b\r\nContent-Length: 3\r\n", b"abc"),
    "bare line feeds": _request().replace(b"\r\n", b"\n"),
    "one bare line feed": _request().replace(b"x\r\n", b"x\n"),
    "bare line feed at the end": _request().replace(b"\r\n\r\n", b"\r\n\n"),
    "bare carriage return": _headers("X-A: b\rX-B: c\r\nContent-Length: 3\r\n", b"abc"),
    "another coding": _headers("Transfer-Encoding: xchunked\r\n", _ABC),
    "gzip, then chunked": _headers("Transfer-Encoding: gzip, chunked\r\n", _ABC),
    "chunked, then identity": _headers("Transfer-Encoding: chunked, identity\r\n", _ABC),
    "identity": _headers("Transfer-Encoding: identity\r\n", b"abc"),
    "chunked twice": _headers(_CHUNKED * 2, _ABC),
    "chunked twice in one": _headers("Transfer-Encoding: chunked, chunked\r\n", _ABC),
    "no coding": _headers("Transfer-Encoding:\r\n", _ABC),
    "vertical tab before chunked": _headers("Transfer-Encoding: \x0bchunked\r\n", _ABC),
    "chunked in HTTP/1.0": b"POST /ingest HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + _ABC,
    "chunk size beyond 64 bits": _headers(_CHUNKED, b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "negative chunk size": _headers(_CHUNKED, b"-3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with a prefix": _headers(_CHUNKED, b"0x3\r\nabc\r\n0\r\n\r\n"),
    "empty chunk size": _headers(_CHUNKED, b"\r\nabc\r\n0\r\n\r\n"),
    "chunk longer than its size": _headers(_CHUNKED, b"3\r\nabcd\r\n0\r\n\r\n"),
    "bare line feed after a chunk size": _headers(_CHUNKED, b"3\nabc\r\n0\r\n\r\n"),
    "bare line feed after a chunk": _headers(_CHUNKED, b"3\r\nabc\n0\r\n\r\n"),
    "bare line feed in a chunk extension": _headers(_CHUNKED, b"3;a=b\n\r\nabc\r\n0\r\n\r\n"),
    "length among the trailers": _headers(_CHUNKED, b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n"),
    "an offer to upgrade with a body": _request(more="Connection: upgrade\r\nUpgrade: h2c\r\n"),
    "no Host": b"POST /ingest HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    "two Hosts": _headers("Host: y\r\nContent-Length: 3\r\n", b"abc"),
    "absolute target": _request().replace(b"/ingest", b"http://other/ingest"),
    "authority as target": b"CONNECT other:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk as target": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "fragment in the target": _request(path="/ingest#x"),
    "space in the target": _request(path="/a b"),
    "NUL in the target": _request(path="/a\0b"),
    "HTTP/0.9": b"GET /ingest\r\n\r\n",
    "HTTP/0.9, said so": b"GET /ingest HTTP/0.9\r\n\r\n",
    "HTTP/1.2": _request().replace(b"/1.1", b"/1.2"),
    "HTTP/2.0": _request().replace(b"/1.1", b"/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in small letters": _request().replace(b"POST", b"post"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}  # fmt: skip
_SMUGGLED = _request(b"smuggled", "/smuggled")


@pytest.mark.parametrize("name", _AMBIGUOUS)
@_in_virtual_time
async def test_what_two_programs_could_read_differently_is_refused_and_nothing_after_it_is_read(name: str) -> None:
    bad = _AMBIGUOUS[name] + _SMUGGLED
    network = _Network()
    whole, pieces = network.connect(), network.connect()
    await whole.send(bad)
    await pieces.send(*(bytes([byte]) for byte in bad))
    for line in (whole, pieces):
        [(status, answer)] = line.answers()
        assert (status, answer["code"], answer["connection"]) == (400, "malformed_request", "close")
        assert answer["content-type"] == "application/problem+json"
        assert answer["title"] == ALL["malformed_request"].sentence
        assert line.transport.ended
    assert all("cut" in request for request in network.seen), "something of it reached the application whole"
    await network.pass_time(3)
    assert not network.state.connections


@given(st.sampled_from(sorted(_AMBIGUOUS)), st.integers(0, 3), st.data())
@settings(max_examples=60)
def test_good_requests_before_a_bad_one_get_their_answers_and_the_bad_one_none(
    name: str, good: int, data: st.DataObject
) -> None:
    sent = b"".join(_request(str(number).encode()) for number in range(good)) + _AMBIGUOUS[name] + _SMUGGLED
    cuts = sorted(data.draw(st.lists(st.integers(1, len(sent) - 1), max_size=4)))

    async def check() -> None:
        network = _Network()
        line = network.connect()
        slow = data.draw(st.booleans())
        if slow:
            network.go.clear()
        await line.send(*(sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)))
        network.go.set()
        await settle()
        answers = line.answers()
        assert [answer["body"] for status, answer in answers if status == 202] == [str(n) for n in range(good)]
        assert [status for status, _ in answers[good:]] in ([], [400])
        assert [one["path"] for one in network.seen if "cut" not in one] == ["/ingest"] * good
        await network.pass_time(3)
        assert not network.state.connections

    virtual.run(check())


@_in_virtual_time
async def test_trailers_do_not_become_headers() -> None:
    network = _Network()
    line = network.connect()
    await line.send(
        _headers(_CHUNKED, b"3\r\nabc\r\n0\r\nAuthorization: x\r\nX-Tenant-ID: y\r\n\r\n"), _request(b"two")
    )
    assert [request["headers"] for request in network.seen] == [
        ["host", "transfer-encoding"],
        ["host", "content-length"],
    ]


@_in_virtual_time
async def test_nothing_that_follows_an_offer_to_upgrade_is_read() -> None:
    network = _Network()
    line = network.connect()
    await line.send(_request(b"", more="Connection: upgrade\r\nUpgrade: h2c\r\n") + _SMUGGLED, _SMUGGLED)
    [(status, answer)] = line.answers()
    assert (status, answer["body"], answer["connection"]) == (202, "", "close")
    assert [request["path"] for request in network.seen] == ["/ingest"]


@_in_virtual_time
async def test_nothing_that_follows_the_last_request_is_read() -> None:
    network = _Network()
    line = network.connect()
    await line.send(_request(b"one", more="Connection: close\r\n") + _SMUGGLED, _SMUGGLED)
    assert [answer["body"] for _, answer in line.answers()] == ["one"]
    assert [request["path"] for request in network.seen] == ["/ingest"]


# -- sizes -----------------------------------------------------------------------------------------------------------


def _of_size(size: int) -> bytes:
    head = _headers("X-A: {}\r\nContent-Length: 3\r\n")
    return head.replace(b"{}", b"x" * (size - len(head) + 2)) + b"abc"


@pytest.mark.parametrize("piece", [1_000, 20_000, 10_000_000])
@_in_virtual_time
async def test_headers_have_a_largest_size(piece: int) -> None:
    for size, status in ((MAX_HEAD_BYTES - 2_000, 202), (MAX_HEAD_BYTES + 2_000, 431), (MAX_HEAD_BYTES * 20, 431)):
        network = _Network()
        line = network.connect()
        sent = _of_size(size)
        await line.send(*(sent[start : start + piece] for start in range(0, len(sent), piece)))
        assert line.statuses() == [status]
        if status == 431:
            [(_, answer)] = line.answers()
            assert (answer["code"], answer["connection"]) == ("headers_too_large", "close")
            assert network.seen == []


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"POST /", b"a" * 1000),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ", b"a" * 1000),
        (b"POST / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 100),
        (b"POST / HTTP/1.1\r\nHost: x\r\n", b"a" * 1000),
    ],
)
@_in_virtual_time
async def test_a_head_without_end_is_cut_off(begin: bytes, piece: bytes) -> None:
    network = _Network()
    line = network.connect()
    await line.send(begin)
    sent = 0
    while not line.transport.written:
        await line.send(piece)
        sent += len(piece)
        assert sent <= MAX_HEAD_BYTES + len(piece)
    assert line.statuses() == [431]


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"3;a=", b"x" * 1000),
        (b"0\r\nX-A: ", b"x" * 1000),
        (b"0\r\n", b"a: b\r\n" * 100),
    ],
)
@_in_virtual_time
async def test_chunk_extensions_and_trailers_without_end_are_cut_off(begin: bytes, piece: bytes) -> None:
    network = _Network()
    line = network.connect()
    await line.send(_headers(_CHUNKED), begin)
    sent = 0
    while not line.transport.written:
        await line.send(piece)
        sent += len(piece)
        assert sent <= 2 * MAX_HEAD_BYTES
    assert line.statuses() == [400]


@_in_virtual_time
async def test_a_body_nobody_asked_for_is_not_read_on() -> None:
    network = _Network()
    line = network.connect()
    network.read_body = False
    network.go.clear()
    await line.send(_request(b"x" * 100_000)[:1000])
    assert not line.transport.reading
    network.go.set()
    await settle()
    assert line.transport.reading, "the rest stands before the next request"
    await line.send(_request(b"x" * 100_000)[1000:], _request(b"two"))
    assert line.statuses() == [202, 202]


@_in_virtual_time
async def test_only_so_many_connections_are_taken() -> None:
    network = _Network()
    lines = [network.connect() for _ in range(_RULES.max_connections)]
    refused = network.connect()
    assert refused.transport.aborted
    await settle()
    assert len(network.state.connections) == _RULES.max_connections
    lines[0].transport.close()
    await settle()
    late = network.connect()
    await late.send(_request())
    assert late.statuses() == [202]


# -- waits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"P", b"POST /ingest HTTP/1.1\r\nHost: x\r\nX-A"])
@_in_virtual_time
async def test_headers_have_to_come_in_time(sent: bytes) -> None:
    network = _Network()
    line = network.connect()
    await line.send(sent)
    await network.pass_time(8)
    assert not line.transport.closing
    await network.pass_time(5)
    assert line.transport.closing
    assert line.transport.written == b""


@_in_virtual_time
async def test_headers_that_trickle_in_gain_no_time() -> None:
    network = _Network()
    line = network.connect()
    await line.send(_request(), b"POST / HTTP/1.1\r\n")
    for _ in range(12):
        await line.send(b"X-A: b\r\n")
        await network.pass_time(1)
    assert line.transport.closing


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
@_in_virtual_time
async def test_between_requests_a_connection_may_idle_for_longer(sent: bytes) -> None:
    network = _Network()
    line = network.connect()
    await line.send(_request())
    await network.pass_time(60)
    await line.send(_request())
    for _ in range(70):
        await line.send(sent)
        await network.pass_time(1)
    assert line.statuses() == [202, 202]
    assert not line.transport.closing
    await network.pass_time(10)
    assert line.transport.closing


@_in_virtual_time
async def test_whoever_answers_takes_the_time_that_takes() -> None:
    network = _Network()
    line = network.connect()
    network.go.clear()
    await line.send(_request())
    await network.pass_time(300)
    network.go.set()
    await settle()
    assert line.statuses() == [202]


@_in_virtual_time
async def test_who_does_not_read_the_answer_is_cut_off() -> None:
    network = _Network()
    line = network.connect()
    line.stop_reading()
    await line.send(_request())
    await network.pass_time(25)
    assert not line.transport.closing
    await network.pass_time(8)
    assert line.transport.aborted
    assert not network.state.connections
    assert not network.state.tasks


@_in_virtual_time
async def test_a_connection_that_cannot_close_is_cut_off() -> None:
    network = _Network()
    line = network.connect()
    line.transport.unread = True
    await line.send(_request(more="Connection: close\r\n"))
    assert line.transport.closing
    assert not line.transport.aborted
    await network.pass_time(8)
    assert line.transport.aborted


@_in_virtual_time
async def test_a_connection_lost_ends_everything_that_waits_on_it() -> None:
    network = _Network()
    line = network.connect()
    await line.send(_request(b"x" * 1000)[:200])
    network.read_body = True
    await line.send(b"x" * 10)
    line.transport.close()
    await settle()
    assert not network.state.tasks
    assert [request["cut"] for request in network.seen] == [True]


@_in_virtual_time
async def test_when_the_process_stops_nobody_is_waited_for_but_those_who_wait_for_us() -> None:
    network = _Network()
    unread, busy = network.connect(), network.connect()
    unread.stop_reading()
    network.go.clear()
    await busy.send(_request())
    network.go.set()
    await settle()
    network.go.clear()
    await unread.send(_request())
    await busy.send(_request())
    await network.pass_time(4, hurry=True)
    assert unread.transport.aborted
    network.go.set()
    await settle()
    assert busy.statuses() == [202, 202]


@_in_virtual_time
async def test_more_is_read_at_once_only_while_a_body_is_read() -> None:
    network = _Network()
    connection = Connection(_RULES, network.config, network.state, {})
    reads = BoundedReads(connection)
    transport = _Transport()
    reads.connection_made(transport)
    rest = _request(b"x" * 100_000) + _request(b"two")
    sizes = []
    while rest:
        buffer = reads.get_buffer(-1)
        piece, rest = rest[: len(buffer)], rest[len(buffer) :]
        buffer[: len(piece)] = piece
        reads.buffer_updated(len(piece))
        sizes.append(len(buffer))
        await settle()
    assert sizes == [HEAD_READ, READ_AHEAD, READ_AHEAD]
    assert [len(request["body"]) for request in network.seen] == [100_000, 3]
    reads.connection_lost(None)
    assert not network.state.connections
