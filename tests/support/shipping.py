"""Shippers that post through the ingress while something is done to the cluster, and the book of what they were told.

Each record is sent once, under an id of its own, with the id in its text. Invariants of the verdict: what got a 202 is
stored, exactly once, in its tenant's database; what was refused is not; of what got no answer, nothing is known.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import msgspec

from support.ledger import Outcome
from support.load import NO_ANSWER
from support.site import Member, Site
from support.sluice import unique_id
from support.waiting import eventually

SENDERS = 6
"""Connections through the ingress, each with one request at a time."""
PAUSE = 0.03
"""Seconds, on average, between a sender's requests: more would load the two cores that all pods share."""
LARGEST_BATCH = 20
DRAINED = 240.0


class Book(msgspec.Struct):
    """What was sent for one tenant, and what the answers said."""

    member: Member
    records: dict[str, Outcome] = {}
    answers: Counter[str] = msgspec.field(default_factory=Counter)

    def ids(self, told: Outcome) -> set[str]:
        return {log_id for log_id, what in self.records.items() if what is told}

    def summary(self) -> str:
        told = Counter(self.records.values())
        answers = ", ".join(f"{status}: {number}" for status, number in sorted(self.answers.items()))
        return f"{self.member.id}: {', '.join(f'{one.value} {told[one]}' for one in Outcome)}; answers {answers}"


def text_of(log_id: str) -> str:
    return f"record {log_id} of a shipper"


def judge(book: Book, stored: list[tuple[str, str]]) -> list[str]:
    """What is wrong with what is stored, given what was said; pure."""
    wrong = []
    times = Counter(text for _, text in stored)
    ids = {log_id for log_id, _ in stored}
    if lost := book.ids(Outcome.ACCEPTED) - ids:
        wrong.append(f"{len(lost)} accepted records are not stored, such as {min(lost)}")
    if twice := [text for text, number in times.items() if number > 1]:
        wrong.append(f"{len(twice)} records are stored twice, such as {twice[0]}")
    if refused := book.ids(Outcome.REFUSED) & ids:
        wrong.append(f"{len(refused)} refused records are stored, such as {min(refused)}")
    if strange := ids - book.records.keys():
        wrong.append(f"{len(strange)} records are stored that this tenant never sent, such as {min(strange)}")
    if changed := [log_id for log_id, text in stored if log_id in book.records and text != text_of(log_id)]:
        wrong.append(f"{len(changed)} records have another text, such as {changed[0]}")
    return wrong


async def post(client: httpx.AsyncClient, url: str, book: Book, number: int) -> None:
    """One request with so many new records."""
    ids = [unique_id("ship") for _ in range(number)]
    book.records |= dict.fromkeys(ids, Outcome.UNKNOWN)
    lines = "\n".join(json.dumps({"log_id": log_id, "text": text_of(log_id)}) for log_id in ids)
    headers = {"Authorization": f"Bearer {book.member.key}", "Content-Type": "application/x-ndjson"}
    try:
        answer = await client.post(f"{url}/ingest", content=lines, headers=headers)
    except httpx.TransportError:
        book.answers[NO_ANSWER] += 1
        return
    book.answers[str(answer.status_code)] += 1
    if answer.status_code == 202:
        assert "rejected" not in answer.json(), answer.text
        book.records |= dict.fromkeys(ids, Outcome.ACCEPTED)
    elif answer.status_code < 500:
        book.records |= dict.fromkeys(ids, Outcome.REFUSED)


@asynccontextmanager
async def shipping(site: Site, *members: Member) -> AsyncIterator[list[Book]]:
    """Post for all of them until the block ends."""
    books = [Book(member) for member in members]
    stopping = asyncio.Event()

    async def sender(client: httpx.AsyncClient, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311 - to be repeatable is its purpose
        while not stopping.is_set():
            await post(client, site.url, rng.choice(books), rng.choice((1, rng.randint(2, LARGEST_BATCH))))
            await asyncio.sleep(rng.uniform(0, 2 * PAUSE))

    async with httpx.AsyncClient(timeout=30.0) as client, asyncio.TaskGroup() as group:
        for seed in range(SENDERS):
            group.create_task(sender(client, seed))
        try:
            yield books
        finally:
            stopping.set()


async def post_one_by_one(site: Site, member: Member, number: int) -> Book:
    """So many requests of one record, each after the other's answer: as many envelopes."""
    book = Book(member)
    async with httpx.AsyncClient(timeout=30.0) as client:
        for _ in range(number):
            await post(client, site.url, book, 1)
    return book


async def verify(site: Site, *books: Book) -> None:
    """Wait until every accepted record is stored, or for long enough, and judge."""
    for book in books:
        wanted = book.ids(Outcome.ACCEPTED)

        async def stored(book: Book = book, wanted: set[str] = wanted) -> bool:
            return int(await site.read("count", book.member)) >= len(wanted)

        try:
            await eventually(stored, within=DRAINED, pause=2.0)
        finally:
            site.say(f"  {book.summary()}")
    await _settled(site, *books)
    problems = [
        f"{book.member.id}: {problem}"
        for book in books
        for problem in judge(book, [(one[0], one[1]) for one in await site.read("records", book.member)])
    ]
    assert not problems, "\n".join(problems)


async def _settled(site: Site, *books: Book) -> None:
    """Wait until nothing of these tenants is on its way: what nobody answered for may still come."""

    async def counts() -> list[int]:
        return [int(await site.read("count", book.member)) for book in books]

    before = await counts()

    async def unchanged() -> bool:
        nonlocal before
        before, last = await counts(), before
        backlogs = [(await site.status(book.member)).get("backlog", 0) for book in books]
        return before == last and not any(backlogs)

    await eventually(unchanged, within=DRAINED, pause=3.0)
