"""Senders of many kinds at once, as a platform's tenants are: the load under which faults are inflicted.

They differ in form (JSON, NDJSON up to several envelopes, text, gzip), in how a retry can be known (ids of their own,
an `Idempotency-Key`, nothing) and in patience. Invariants: every random choice comes from the seed; each record is in
the ledger before it is sent; only what can be known again is sent again, and then until it got its 202, so a record
whose sender was patient is ACCEPTED in the end, and is one entry however often it was sent.
"""

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any

import httpx
import msgspec

from support.ledger import SECRET, Entry, Ledger
from support.sluice import JSON, NDJSON, TEXT, Account, line, unique_id
from support.waiting import eventually

SENDERS = 6
PAUSE_SECONDS = 0.02
"""The longest between two requests of a sender: more comes than is stored while parts are away."""
FINISH_SECONDS = 90.0
"""Nothing may take this long: everything runs again when it begins."""
RETRY_SECONDS = (0.02, 0.2)
"""Shorter than any Retry-After, so that retries meet a part that is still recovering."""
LARGE_RECORDS = (300, 500)
LARGE_TEXT = 1_000
"""Characters. So many of them are more than one envelope of 256 KiB."""
NO_ANSWER = "no answer"


class Identity(Enum):
    """How a retry is known as one."""

    OWN = "log_id"
    KEY = "Idempotency-Key"
    NONE = "nothing"


class Shipment(msgspec.Struct):
    """One request, as it is sent once or several times."""

    tenant: Account
    content: bytes
    kind: str
    headers: dict[str, str]
    query: dict[str, str]
    entries: list[Entry]
    identity: Identity


Draw = Callable[[Ledger, Account, random.Random], Shipment]


@asynccontextmanager
async def load(
    ledger: Ledger,
    *tenants: Account,
    seed: int = 0,
    answers: Counter[str] | None = None,
    of: Draw | None = None,
    senders: int = SENDERS,
    pause: float = PAUSE_SECONDS,
) -> AsyncIterator[None]:
    """Send with pauses of up to `pause` seconds; at the end, wait until every patient sender has its 202.

    Counts in `answers` what came back, by status. `of`: what each request is, otherwise of any kind.
    """
    drawn = of or draw
    stopping = asyncio.Event()
    answers = Counter() if answers is None else answers

    async def sender(number: int) -> None:
        rng = random.Random(f"{seed}/{number}")  # noqa: S311 - to be repeatable is its purpose
        while not stopping.is_set():
            await _deliver(ledger, drawn(ledger, rng.choice(tenants), rng), rng, answers)
            await asyncio.sleep(rng.uniform(0, pause))

    async with asyncio.timeout(None) as bound, asyncio.TaskGroup() as group:
        for number in range(senders):
            group.create_task(sender(number))
        try:
            yield
        finally:
            stopping.set()
            bound.reschedule(asyncio.get_running_loop().time() + FINISH_SECONDS)


async def accepts_more(ledger: Ledger, number: int) -> None:
    """Wait until so many more records got their 202."""
    wanted = len(ledger.accepted) + number

    async def accepted() -> bool:
        return len(ledger.accepted) >= wanted

    await eventually(accepted, within=FINISH_SECONDS, pause=0.1)


def draw(ledger: Ledger, tenant: Account, rng: random.Random) -> Shipment:
    """A request of any kind, with its records noted."""
    # Where the original is dropped, a stored record can be told by its own id only.
    every = [Identity.OWN, Identity.OWN, Identity.KEY, Identity.NONE]
    identity = rng.choice(every) if tenant.config.keep_original else Identity.OWN
    headers: dict[str, str] = {"Idempotency-Key": unique_id("key")} if identity is Identity.KEY else {}
    query: dict[str, str] = {}
    form = rng.choice(["record", "array", "ndjson", "ndjson", "text", "lines"])
    if form == "lines" and identity is Identity.OWN:
        form = "ndjson"  # a line of text cannot carry an id
    if form in {"record", "text"}:
        number, length = 1, rng.choice([0, 10, 2_000])
    elif rng.random() < 0.06:
        number, length = rng.randint(*LARGE_RECORDS), LARGE_TEXT
    else:
        number, length = rng.randint(1, 20), rng.choice([0, 100])
    entries = [
        ledger.note(
            tenant, unique_id("load") if identity is Identity.OWN else None, line(f"größe {SECRET} " + "x" * length)
        )
        for _ in range(number)
    ]
    records = [_record(entry) for entry in entries]
    match form:
        case "record":
            kind, text = JSON, json.dumps(records[0])
        case "array":
            kind, text = JSON, json.dumps(records)
        case "ndjson":
            kind, text = NDJSON, "\n".join(json.dumps(record) for record in records)
        case "text":
            kind, text = TEXT, entries[0].text
            if entries[0].log_id is not None:
                headers["X-Log-ID"] = entries[0].log_id
        case _:
            kind, text = TEXT, "\n".join(entry.text for entry in entries)
            query["split"] = "lines"
    content = text.encode()
    if rng.random() < 0.3:
        content = gzip.compress(content, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    return Shipment(tenant, content, kind, headers, query, entries, identity)


def draw_batch(ledger: Ledger, tenant: Account, rng: random.Random) -> Shipment:
    """A batch whose records all have ids: the way to many thousands of accepted records."""
    entries = [ledger.note(tenant, unique_id("batch"), line(f"batch {SECRET}")) for _ in range(rng.randint(100, 200))]
    content = "\n".join(json.dumps(_record(entry)) for entry in entries).encode()
    return Shipment(tenant, content, NDJSON, {}, {}, entries, Identity.OWN)


def _record(entry: Entry) -> dict[str, Any]:
    return {"text": entry.text} if entry.log_id is None else {"log_id": entry.log_id, "text": entry.text}


async def _deliver(ledger: Ledger, shipment: Shipment, rng: random.Random, answers: Counter[str]) -> None:
    # Some hang up early, when what they sent may well be on its way: the answer's loss without any fault.
    patience = rng.uniform(0.05, 1.0) if rng.random() < 0.1 else None
    gives_up = shipment.identity is Identity.NONE or rng.random() < 0.1
    while not await _attempt(ledger, shipment, patience, answers) and not gives_up:
        patience = None
        await asyncio.sleep(rng.uniform(*RETRY_SECONDS))
    if shipment.identity is not Identity.NONE and rng.random() < 0.1:
        # A shipper that lost its notes and sends again what is in already.
        await _attempt(ledger, shipment, None, answers)


async def _attempt(ledger: Ledger, shipment: Shipment, patience: float | None, answers: Counter[str]) -> bool:
    """Send once; whether it got a 202."""
    try:
        async with asyncio.timeout(patience):
            answer = await ledger.sluice.send(
                shipment.tenant,
                shipment.content,
                shipment.kind,
                query=shipment.query,
                headers=shipment.headers,
            )
    except (httpx.TransportError, TimeoutError):
        answers[NO_ANSWER] += 1
        return False
    answers[str(answer.status_code)] += 1
    if answer.status_code in {429, 503}:
        return False  # an earlier attempt may be in, so this says nothing about the record
    # The load is without fault, and its keys are good: nothing else is true.
    assert answer.status_code == 202, answer.text
    assert "rejected" not in answer.json(), answer.text
    ledger.read(answer, shipment.entries)
    return True
