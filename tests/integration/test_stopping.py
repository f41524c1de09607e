"""SIGTERM: what was taken is answered truly, nobody else is waited for, and the process ends in seconds with code 0."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack

import pytest

from sluice_core.limits import MIB
from sluice_ingest.body import READ_AHEAD
from sluice_ingest.budget import REQUEST_BYTES
from sluice_local.part import Part, ingest_part
from sluice_local.ports import free_port
from support.ledger import Entry, Ledger, Outcome
from support.metrics import read_metric
from support.raw import Line, RawAnswer, connect, post_head
from support.sluice import ENVIRON, Account, Sluice, line
from support.waiting import eventually

MOST_SECONDS = 10.0
"""Less than the shutdown timeout of 15 s: nothing here has to be given up."""


@pytest.fixture
async def second(sluice: Sluice) -> AsyncIterator[Part]:
    """Another replica of ingest, on the same broker, that a test may stop."""
    stack = sluice.stack
    servers = stack.servers
    part = ingest_part(
        stack.data_dir, free_port(), ENVIRON, servers.credentials, servers.ports, auth="keys", name="ingest-to-stop"
    )
    await part.start()
    yield part
    await part.kill()


async def _stop(part: Part) -> None:
    """Send SIGTERM and wait for the end: in time, and with exit code 0."""
    began = time.monotonic()
    part.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(part.process.wait(), 30) == 0
    assert time.monotonic() - began < MOST_SECONDS


def _whole(tenant: Account, log_id: str, text: str) -> tuple[bytes, bytes]:
    """Head and body of a request of one record."""
    body = json.dumps({"log_id": log_id, "text": text}).encode()
    return post_head(tenant.key, length=len(body)), body


async def _open(stack: AsyncExitStack, part: Part, *sent: bytes) -> Line:
    connection = await stack.enter_async_context(connect(part.url))
    for piece in sent:
        await connection.send(piece)
    return connection


async def _held(sluice: Sluice, part: Part) -> int:
    """Bytes that its requests hold at this moment."""
    return int(await read_metric(sluice.http, f"{part.url}/metrics", "sluice_ingest_held_bytes"))


async def _taken_up(sluice: Sluice, part: Part, least: int) -> None:
    """Wait until its requests hold so much: a request that nobody has read yet is nobody's when the process stops."""

    async def enough() -> bool:
        return await _held(sluice, part) >= least

    await eventually(enough, within=20)


async def test_nobody_is_waited_for_who_has_sent_nothing_whole(sluice: Sluice, second: Part, tenant: Account) -> None:
    head, body = _whole(tenant, "x", line())
    async with AsyncExitStack() as stack, sluice.nothing_published():
        silent = [await _open(stack, second) for _ in range(20)]
        in_head = [await _open(stack, second, head[:40]) for _ in range(20)]
        in_body = [await _open(stack, second, head, body[:9]) for _ in range(20)]
        chunked = [await _open(stack, second, post_head(tenant.key, chunked=True), b"9\r\n{") for _ in range(20)]
        await _taken_up(sluice, second, 20 * REQUEST_BYTES + 20 * READ_AHEAD)
        stopping = asyncio.create_task(_stop(second))
        assert [await one.answer() for one in silent + in_head] == [None] * 40
        for one in in_body + chunked:
            answer = await one.answer()
            assert answer is not None
            assert (answer.status, answer.json()["code"]) == (503, "draining")
            assert answer.headers["connection"] == "close"
            assert answer.headers["retry-after"]
        await stopping


async def test_connections_between_two_requests_are_closed_at_once(second: Part, tenant: Account) -> None:
    async with AsyncExitStack() as stack:
        idle = [await _open(stack, second, b"".join(_whole(tenant, str(n), line()))) for n in range(20)]
        answers = [await one.answer() for one in idle]
        assert [answer.status for answer in answers if answer is not None] == [202] * 20
        stopping = asyncio.create_task(_stop(second))
        assert [await one.answer() for one in idle] == [None] * 20
        await stopping


async def test_a_body_that_is_nearly_there_is_taken_and_answered_truly(
    sluice: Sluice, second: Part, ledger: Ledger, tenant: Account
) -> None:
    async with AsyncExitStack() as stack:
        waiting: list[tuple[Line, bytes, Entry]] = []
        for number in range(20):
            entry = ledger.note(tenant, f"late-{number}", line())
            head, body = _whole(tenant, f"late-{number}", entry.text)
            waiting.append((await _open(stack, second, head, body[:9]), body[9:], entry))
        await _taken_up(sluice, second, 20 * REQUEST_BYTES)
        stopping = asyncio.create_task(_stop(second))
        await asyncio.sleep(0.3)
        for connection, rest, _ in waiting:
            await connection.send(rest)
        answers = [await connection.answer() for connection, _, _ in waiting]
        await stopping
    for answer, (_, _, entry) in zip(answers, waiting, strict=True):
        assert answer is not None
        assert answer.headers["connection"] == "close"
        if answer.status == 202:
            entry.outcome = Outcome.ACCEPTED
        else:  # a slow machine: not taken then
            assert (answer.status, answer.json()["code"]) == (503, "draining")
            entry.outcome = Outcome.REFUSED
    await ledger.check()


async def test_who_does_not_read_the_answer_is_cut_off(sluice: Sluice, second: Part) -> None:
    tenant = await sluice.tenant("unread")
    body = b'{"text":"a"}\n' * 95_000
    head = post_head(tenant.key, length=len(body)).replace(b"/ingest", b"/ingest?return=ids")
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        for _ in range(3):
            sender = stack.enter_context(socket.socket())
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sender.setblocking(False)
            await loop.sock_connect(sender, ("127.0.0.1", second.port))
            await loop.sock_sendall(sender, head + body)

        async def unread() -> bool:
            name = "sluice_ingest_requests_total"
            accepted = await read_metric(sluice.http, f"{second.url}/metrics", name, outcome="accepted")
            return accepted == 3 and await _held(sluice, second) > MIB

        await eventually(unread, within=30)
        await _stop(second)


async def test_requests_that_wait_for_a_silent_broker_get_their_answers(
    sluice: Sluice, second: Part, ledger: Ledger, tenant: Account
) -> None:
    broker = sluice.stack.servers.nats.process
    async with AsyncExitStack() as stack:
        broker.send_signal(signal.SIGSTOP)
        stack.callback(broker.send_signal, signal.SIGCONT)
        began = time.monotonic()
        waiting: list[Line] = []
        for number in range(20):
            entry = ledger.note(tenant, f"silent-{number}", line())
            entry.outcome = Outcome.UNKNOWN
            waiting.append(await _open(stack, second, *_whole(tenant, f"silent-{number}", entry.text)))
        await _taken_up(sluice, second, 20 * REQUEST_BYTES)
        stopping = asyncio.create_task(_stop(second))
        answers: list[RawAnswer | None] = [await one.answer() for one in waiting]
        assert time.monotonic() - began < MOST_SECONDS
        for answer in answers:
            assert answer is not None
            assert (answer.status, answer.json()["code"]) in {(503, "broker_unavailable"), (503, "draining")}
        assert any(answer is not None and answer.json()["code"] == "broker_unavailable" for answer in answers)
        await stopping
    await ledger.check()
