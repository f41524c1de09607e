"""Under load, somebody deletes a lane's stream with all that is in it, or revokes a key.

What a deleted stream held is lost, and nothing can bring it back; so these tests say exactly how much that may be, and
that it is said aloud.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from sluice_core.names import STANDARD_LANE, lane_stream
from support.ledger import Ledger, Outcome
from support.load import accepts_more, draw_batch, load
from support.sluice import TEXT, Sluice, line, running
from support.waiting import eventually

pytestmark = pytest.mark.faults

REVOKED_WITHIN = 2.0
"""Seconds: a promise, not a bound on a slow machine."""
IN_IT = 5_000
SENDERS = 16


@pytest.fixture
async def sluice(tmp_path: Path) -> AsyncIterator[Sluice]:
    async with running(tmp_path, lanes_without_worker=[STANDARD_LANE]) as stack:
        yield stack


async def test_a_stream_deleted_with_records_in_it_loses_these_and_no_later_ones(
    sluice: Sluice, tell: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    book = Ledger(sluice)
    answers: Counter[str] = Counter()
    tenants = [await sluice.tenant("taken"), await sluice.tenant("taken", original="Drop")]
    async with load(book, *tenants, answers=answers, of=draw_batch):
        await accepts_more(book, IN_IT)
        await sluice.broker.api(f"STREAM.DELETE.{lane_stream(STANDARD_LANE)}")
        earlier = len(book.entries)
        in_it = {entry.log_id for entry in book.entries}
        await accepts_more(book, IN_IT)
    await sluice.stack.start_worker(STANDARD_LANE)
    problems = await book.look(within=60)
    missing = [problem for problem in problems if problem.startswith("missing")]
    assert missing == problems
    assert {problem.split()[1] for problem in missing} <= in_it, "a record was lost that was sent after the deletion"
    said = {record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING}
    assert f"the stream of lane {STANDARD_LANE} was gone and was made again, empty" in said
    later = sum(entry.outcome is Outcome.ACCEPTED for entry in book.entries[earlier:])
    tell(f"{len(missing)} lost with the stream, 0 of {later} sent after that; {book.summary()}; {dict(answers)}")
    assert len(missing) >= IN_IT
    assert later > 0


class Attempt(msgspec.Struct):
    """A request with the old key: when it was sent, and how it was answered."""

    sent_at: float
    status: int


async def test_a_key_revoked_under_load_opens_nothing_after_two_seconds_on_any_replica(
    sluice: Sluice, tell: Callable[[str], None]
) -> None:
    book = Ledger(sluice)
    second = await sluice.stack.start_ingest()
    await sluice.stack.start_worker(STANDARD_LANE)
    tenant, other = await sluice.tenant("revoked"), await sluice.tenant("bystander")
    attempts: list[Attempt] = []
    answers: Counter[str] = Counter()
    stopping = asyncio.Event()

    async def knock(url: str, http: httpx.AsyncClient) -> None:
        headers = {"Authorization": f"Bearer {tenant.key}", "Content-Type": TEXT}
        while not stopping.is_set():
            text = line()
            entry = book.note(tenant, None, text)
            sent_at = time.monotonic()
            answer = await http.post(f"{url}/ingest", content=text, headers=headers)
            book.read(answer, [entry])
            attempts.append(Attempt(sent_at, answer.status_code))

    async with httpx.AsyncClient(timeout=30) as http, load(book, other, answers=answers), asyncio.TaskGroup() as group:
        for number in range(SENDERS):
            group.create_task(knock((sluice.url, second.url)[number % 2], http))
        await eventually(lambda: _some(attempts, 202, after=0.0), within=30)
        await sluice.stack.rights.provisioner.set_keys(tenant.id, ["second"])
        revoked_at = time.monotonic()
        await eventually(lambda: _some(attempts, 401, after=revoked_at + REVOKED_WITHIN + 1), within=60)
        stopping.set()
    late = Counter(one.status for one in attempts if one.sent_at > revoked_at + REVOKED_WITHIN)
    assert set(late) <= {401, 503}
    assert set(answers) <= {"202", "no answer"}, "somebody else's key was refused"
    await book.check()
    last = max((one.sent_at for one in attempts if one.status == 202), default=revoked_at) - revoked_at
    tell(
        f"I8 {late[401]} refused and 0 accepted after two seconds, the last 202 was for one sent {last:.2f} s after;"
        f" {book.summary()}"
    )


async def _some(attempts: list[Attempt], status: int, *, after: float) -> bool:
    return sum(one.status == status and one.sent_at > after for one in attempts) > SENDERS
