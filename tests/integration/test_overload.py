"""More than ingest can take: it says so in time, stays within its memory, and serves everybody else meanwhile.

A stack of its own, with a small budget and short timeouts. All the while somebody well-behaved sends small batches, and
after each test the peak of ingest's memory is compared with one bound, which docs/decisions/0002 states and explains.
"""

import asyncio
import json
import resource
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from backports import zstd

from sluice_core.keys import generate_key
from sluice_core.limits import KIB, MIB
from support.raw import RawAnswer, connect, exchange, post_head
from support.sluice import JSON, NDJSON, TEXT, Account, Sluice, line, running
from support.waiting import eventually

REQUEST_BYTES = 64 * MIB
TENANT_REQUEST_BYTES = 32 * MIB
BATCH_BYTES = 10 * MIB
MAX_CONNECTIONS = 12_000
BODY_TIMEOUT = 3
HEADER_TIMEOUT = 6
"""Long enough for ten thousand connections to be opened on a slow machine."""

BOUND = 96 * MIB + REQUEST_BYTES + 28 * BATCH_BYTES + 24 * KIB * MAX_CONNECTIONS
"""The process itself, what requests may hold, one body being decoded, and the connections."""

SETTINGS = {
    "SLUICE_REQUEST_BYTES": str(REQUEST_BYTES),
    "SLUICE_TENANT_REQUEST_BYTES": str(TENANT_REQUEST_BYTES),
    "SLUICE_BODY_TIMEOUT": str(BODY_TIMEOUT),
    "SLUICE_HEADER_TIMEOUT": str(HEADER_TIMEOUT),
    "SLUICE_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
}
Record = Callable[[str, object], None]
_NO_RATES = {"recordsPerSecond": 10_000_000, "bytesPerSecond": 10 * 1024 * MIB, "maxBacklogBytes": 1024 * 1024 * MIB}

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    async with running(tmp_path_factory.mktemp("overload"), environ=SETTINGS) as stack:
        yield stack


@pytest.fixture(scope="module")
async def flooder(small: Sluice) -> Account:
    return await small.tenant("flooder", limits={"maxBatchBytes": BATCH_BYTES, **_NO_RATES})


@pytest.fixture(scope="module")
async def neighbour(small: Sluice) -> Account:
    return await small.tenant("neighbour")


@pytest.fixture(autouse=True)
async def _memory_is_bounded_and_others_are_served(
    small: Sluice, neighbour: Account, request: pytest.FixtureRequest, record_property: Record
) -> AsyncIterator[None]:
    ingest = small.stack.ingest.process.pid
    forget_peak(ingest)
    waits: list[float] = []
    late = 0
    wrong: list[str] = []
    enough = Event()

    def send() -> None:
        nonlocal late
        with httpx.Client(timeout=30) as http:
            while not enough.is_set():
                began = time.monotonic()
                headers = {"Authorization": f"Bearer {neighbour.key}", "Content-Type": NDJSON}
                body = "\n".join(json.dumps({"text": line()}) for _ in range(10))
                answer = http.post(small.url + "/ingest", content=body, headers=headers)
                if answer.status_code == 503 and answer.json()["code"] == "broker_unavailable":
                    late += 1  # on a slow machine the flood can take longer than one answer may; it comes again
                    continue
                waits.append(time.monotonic() - began)
                if answer.status_code != 202:
                    wrong.append(answer.text)
                enough.wait(0.05)

    # In a thread: beside the flood in one loop it would be late with its own body.
    sending = asyncio.create_task(asyncio.to_thread(send))
    yield
    before = len(waits)
    while len(waits) == before and not sending.done():
        await asyncio.sleep(0.05)
    enough.set()
    await sending
    memory = peak(ingest)
    say(
        record_property,
        f"ingest's peak {memory / MIB:.0f} MiB of {BOUND / MIB:.0f},"
        f" neighbour's slowest of {len(waits)} answers {max(waits):.2f} s, {late} times told to come again",
    )
    assert small.stack.ingest.process.pid == ingest, "ingest ended and was started again"
    assert memory < BOUND
    assert wrong == []


def say(record_property: Record, text: str) -> None:
    """Shown whatever becomes of the test: the numbers are what the bound was chosen by."""
    record_property("measured", text)


def peak(pid: int) -> int:
    """The largest resident size since it was last forgotten, in bytes."""
    [kib] = [row.split()[1] for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmHWM")]
    return int(kib) * KIB


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


# -- bombs -----------------------------------------------------------------------------------------------------------


GIB = 1024 * MIB
_BLOCK = 16 * MIB


def _deflated(blocks: int, begin: bytes) -> bytes:
    """One stream of so many blocks of zeros. It has no end, which no reader within its senses gets to."""
    packer = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    return begin + (packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)) * blocks


def _gzip_bomb() -> bytes:
    return _deflated(600, b"\x1f\x8b\x08\0\0\0\0\0\0\xff")


def _members_bomb() -> bytes:
    packer = zlib.compressobj(level=9, wbits=16 + zlib.MAX_WBITS)
    return (packer.compress(bytes(_BLOCK)) + packer.flush()) * 600


def _deflate_bomb() -> bytes:
    return _deflated(600, b"\x78\xda")


def _zstd_bomb() -> bytes:
    packer = zstd.ZstdCompressor(level=1)
    return b"".join(packer.compress(bytes(_BLOCK)) for _ in range(256)) + packer.flush()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "10 GB of gzip": (_gzip_bomb, "gzip"),
    "10 GB of gzip in 600 members": (_members_bomb, "gzip"),
    "10 GB of deflate": (_deflate_bomb, "deflate"),
    "4 GB of zstd": (_zstd_bomb, "zstd"),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_costs_no_more_than_the_limit(small: Sluice, flooder: Account, name: str) -> None:
    make, encoding = BOMBS[name]
    bomb = await asyncio.to_thread(make)
    assert len(bomb) <= BATCH_BYTES, "it would be refused unread"
    headers = {"Content-Encoding": encoding}
    answers = await asyncio.gather(*(small.send(flooder, bomb, NDJSON, headers=headers) for _ in range(12)))
    assert {answer.status_code for answer in answers} <= {400, 413, 503}
    assert any(answer.status_code in {400, 413} for answer in answers)
    for answer in answers:
        assert answer.json()["code"] in {"body_too_large", "corrupt_encoding", "overloaded"}


# -- bodies ----------------------------------------------------------------------------------------------------------


async def test_a_body_of_a_gigabyte_is_refused_unread(small: Sluice, flooder: Account) -> None:
    answers = await asyncio.gather(
        *(exchange(small.url, post_head(flooder.key, length=GIB) + bytes(MIB)) for _ in range(50))
    )
    assert [(answer.status, answer.json()["code"]) for [answer] in answers] == [(413, "body_too_large")] * 50


async def test_a_chunked_body_of_a_gigabyte_is_refused_at_the_limit(small: Sluice, flooder: Account) -> None:
    chunk = b"%x\r\n" % MIB + b"x" * MIB + b"\r\n"
    sent: list[int] = []

    async def pour() -> RawAnswer | None:
        async with connect(small.url) as line_:
            await line_.send(post_head(flooder.key, chunked=True))
            for number in range(1024):
                if not await line_.send(chunk):
                    break
                if line_.answered():
                    break
                sent.append(number)
            return await line_.answer()

    answers = await asyncio.gather(*(pour() for _ in range(8)))
    codes = Counter(answer.json()["code"] for answer in answers if answer is not None)
    assert codes
    assert codes.keys() <= {"body_too_large", "overloaded"}
    assert max(sent) * MIB < 200 * MIB, "it was read on and on"


async def test_three_hundred_bodies_of_9_mb_at_once_are_taken_or_told_to_come_again(
    small: Sluice, flooder: Account, record_property: Record
) -> None:
    record = json.dumps({"text": "x" * 90_000}).encode() + b"\n"
    body = record * (9_000_000 // len(record))
    request = post_head(flooder.key, length=len(body)) + body
    answers = await asyncio.gather(*(exchange(small.url, request, within=60) for _ in range(300)))
    statuses = Counter(answer[0].status if answer else 0 for answer in answers)
    codes = Counter(answer[0].json().get("code", "accepted") for answer in answers if answer)
    say(record_property, f"300 x 9 MB: {dict(codes)}")
    assert statuses.keys() <= {0, 202, 408, 503}
    for answer in answers:
        if answer and answer[0].status == 503:
            assert answer[0].headers["retry-after"]

    async def taken_when_it_comes_again() -> bool:
        [answer] = await exchange(small.url, request)
        return answer.status == 202

    await eventually(taken_when_it_comes_again, within=60)
    await small.idle(within=60)


@pytest.mark.parametrize("count", [400])
async def test_slow_bodies_keep_nobody_out_and_end(small: Sluice, flooder: Account, count: int) -> None:
    """One tenant's bodies trickle in, more of them than the budget holds."""
    began = time.monotonic()

    async def trickle() -> RawAnswer | None:
        async with connect(small.url) as line_:
            await line_.send(post_head(flooder.key, length=MIB) + b"x")
            while not line_.answered() and await line_.send(b"x"):
                await asyncio.sleep(0.2)
            return await line_.answer()

    answers = await asyncio.gather(*(trickle() for _ in range(count)))
    codes = Counter(answer.json()["code"] for answer in answers if answer is not None)
    assert codes["body_timeout"] + codes["overloaded"] == count
    assert codes["body_timeout"] == TENANT_REQUEST_BYTES // MIB, "its share is what may wait"
    assert time.monotonic() - began < BODY_TIMEOUT + 20
    for answer in answers:
        assert answer is not None
        assert answer.headers["connection"] == "close"
        assert (answer.status, answer.headers["retry-after"]) in {(408, "1"), (503, "1")}


# -- decoding --------------------------------------------------------------------------------------------------------


def _filled(begin: bytes, piece: bytes, end: bytes, size: int = BATCH_BYTES) -> bytes:
    return begin + piece * ((size - len(begin) - len(end)) // len(piece)) + end


HEAVY = {
    "tiny records": (NDJSON, _filled(b"", b'{"text":"a"}\n', b"")),
    "records without text": (NDJSON, _filled(b"", b"{}\n", b"")),
    "records without a line of their own": (NDJSON, _filled(b"", b"{}", b"")),
    "lines that are no records": (NDJSON, _filled(b"", b"0\n", b"")),
    "blank lines": (NDJSON, _filled(b"", b"\n", b"")),
    "an array of numbers": (JSON, _filled(b"[", b"0,", b"0]")),
    "an array of empty records": (JSON, _filled(b"[", b"{},", b"{}]")),
    "an array of arrays": (JSON, _filled(b"[", b"[],", b"[]]")),
    "attributes of empty lists": (JSON, _filled(b'{"text":"a","attributes":{"a":[', b"[],", b"0]}}")),
    "attributes of empty objects": (JSON, _filled(b'{"text":"a","attributes":{"a":[', b"{},", b"0]}}")),
    "unknown fields": (JSON, _filled(b'{"text":"a","b":[', b'"c",', b"0]}")),
    "depth": (JSON, b"[" * (BATCH_BYTES // 2) + b"]" * (BATCH_BYTES // 2)),
    "one long text": (JSON, _filled(b'{"text":"\xf0\x9f\x99\x82', b"a", b'"}')),
    "lines of one letter": (f"{TEXT}?split=lines", _filled(b"", b"a\n", b"")),
    "lines of no text": (f"{TEXT}?split=lines", _filled(b"", b"\xff\n", b"")),
}


async def test_bodies_made_to_be_heavy_are_refused(small: Sluice, flooder: Account) -> None:
    for name, (kind, body) in HEAVY.items():
        kind, _, query = kind.partition("?")
        answer = await small.send(flooder, body, kind, query={"split": "lines"} if query else None)
        assert answer.status_code in {400, 413}, name
        assert len(answer.content) < MIB, name


# -- connections -----------------------------------------------------------------------------------------------------


@pytest.fixture
def many() -> Iterator[int]:
    """How many connections this test may open: ten thousand where the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(10_000, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def _connections(small: Sluice, count: int) -> AsyncIterator[list[Any]]:
    async with AsyncExitStack() as stack:
        lines: list[Any] = []
        while len(lines) < count:
            batch = [connect(small.url) for _ in range(min(200, count - len(lines)))]
            lines += await asyncio.gather(*(stack.enter_async_context(one) for one in batch))
        yield lines


async def test_ten_thousand_idle_connections_cost_little_and_are_closed_in_the_end(
    small: Sluice, neighbour: Account, many: int, record_property: Record
) -> None:
    pid = small.stack.ingest.process.pid
    before = peak(pid)
    async with _connections(small, many) as lines:
        assert (await small.send(neighbour, {"text": line()})).status_code == 202
        say(record_property, f"{many} idle: {(peak(pid) - before) / many / KIB:.1f} KiB each")
        async with asyncio.timeout(HEADER_TIMEOUT + 20):
            assert {await one.answer() for one in lines} == {None}


async def test_ten_thousand_half_sent_requests_are_told_to_come_again(
    small: Sluice, flooder: Account, many: int, record_property: Record
) -> None:
    pid = small.stack.ingest.process.pid
    before = peak(pid)
    half = post_head(flooder.key, length=200_000) + bytes(30_000)
    async with _connections(small, many) as lines:
        await asyncio.gather(*(one.send(half) for one in lines))
        say(record_property, f"{many} half sent: {(peak(pid) - before) / many / KIB:.1f} KiB each")
        async with asyncio.timeout(60):
            answers = [await one.answer() for one in lines]
    codes = Counter(None if answer is None else answer.json()["code"] for answer in answers)
    say(record_property, f"{dict(codes)}")
    assert codes.keys() <= {None, "overloaded", "body_timeout", "not_ready"}
    assert codes["overloaded"] > 0


async def test_many_senders_without_a_key_are_refused_unread(small: Sluice, many: int, record_property: Record) -> None:
    half = post_head(generate_key(), length=GIB) + bytes(100_000)
    async with _connections(small, min(many, 2_000)) as lines:
        await asyncio.gather(*(one.send(half) for one in lines))
        async with asyncio.timeout(60):
            answers = [await one.answer() for one in lines]
    codes = Counter(None if answer is None else answer.json()["code"] for answer in answers)
    say(record_property, f"without a key: {dict(codes)}")
    assert codes.keys() <= {None, "key_invalid", "not_ready"}
    assert codes["key_invalid"] > 0
