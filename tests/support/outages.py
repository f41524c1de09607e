"""A broker that is silent or gone, and what ingest owes a sender meanwhile: in time, a 503 that invites a retry."""

import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import httpx

from sluice_local.ports import HOST
from support.faults import ready_again
from support.sluice import Sluice

Value = TypeVar("Value")

SILENT = ("broker_unavailable", "not_ready")
"""Codes: the second where the tenants could not be read for longer than a view of them may be old."""

IN_TIME = 5.0
"""Seconds within which the design promises an answer."""


@asynccontextmanager
async def silent_broker(sluice: Sluice) -> AsyncIterator[None]:
    """A broker that takes bytes and says nothing."""
    broker = sluice.stack.servers.nats.process
    broker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        broker.send_signal(signal.SIGCONT)


@asynccontextmanager
async def absent_broker(sluice: Sluice) -> AsyncIterator[None]:
    """No broker at all: killed, and one of its ports taken so that the supervisor cannot start another."""
    nats = sluice.stack.servers.nats
    with socket.socket() as taker:
        # As the servers do: connections that ended a moment ago must not count.
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while taker.getsockname()[1] == 0:
            await nats.kill()
            with suppress(OSError):  # the supervisor was quicker
                # The other one than clients use: they shall find nobody there.
                taker.bind((HOST, sluice.stack.servers.ports.nats_monitor))
                taker.listen()
        yield
    await ready_again(sluice, nats)


def check_unavailable(answer: httpx.Response, *codes: str) -> None:
    """It invites a retry, for one of these reasons."""
    body = answer.json()
    assert (answer.status_code, body["retryable"]) == (503, True), answer.text
    assert body["code"] in codes, answer.text
    assert answer.headers["content-type"] == "application/problem+json", answer.headers
    assert 1 <= int(answer.headers["retry-after"]) <= 5, answer.headers
    assert body["detail"], answer.text


async def timed(request: Awaitable[Value]) -> tuple[Value, float]:
    begun = time.monotonic()
    return await request, time.monotonic() - begun
