"""Letters in the broker: writing, listing, removing and counting what is set aside.

Parked records lie under `parked.<tenant>`, dead letters under `dlq.<tenant>`, in one stream with a cap for each
subject. Invariant: a letter is durable when `write_letter` returns, and only `remove_letter` and `purge_letters` take
one away.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.errors import ApiError, BrokerUnavailable
from sluice_core.letter import Letter, StoredLetter, letter_headers, read_letter
from sluice_core.names import DLQ_STREAM

_PAGE = 200
_WALKED = 32
"""Letters held at a time while all are walked: 64 MiB at most."""
_NO_MESSAGE = 10037


async def write_letter(broker: Broker, subject: str, letter: Letter, payload: bytes, timeout: float = 5.0) -> None:
    """Keep a letter under a subject of `names`. Raises BrokerError; BrokerFull at the tenant's cap."""
    await broker.publish(subject, payload, stream=DLQ_STREAM, timeout=timeout, headers=letter_headers(letter))


async def list_letters(
    broker: Broker, subject: str, *, after: int = 0, limit: int = 100, timeout: float = 2.0
) -> list[StoredLetter]:
    """Letters under a subject in the order they came, from the first one after sequence `after`."""
    tenant_id = subject.partition(".")[2]
    found: list[StoredLetter] = []
    sequence = after + 1
    while len(found) < limit:
        batch = min(_PAGE, limit - len(found))
        request = {"seq": sequence, "next_by_subj": subject, "batch": batch}
        page, left = 0, 0
        replies = broker.stream_of_replies(f"$JS.API.DIRECT.GET.{DLQ_STREAM}", msgspec.json.encode(request), timeout)
        async with aclosing(replies):
            async for message in replies:
                headers = message.headers or {}
                status = headers.get("Status")
                if status in {"204", "404"}:
                    # The broker ends a batch early once it has sent some tens of MiB, and says what it left out.
                    left = int(headers.get("Nats-Num-Pending", "0"))
                    break
                if status is not None:
                    raise BrokerUnavailable(f"the stream of dead letters answered {status}")
                page += 1
                sequence = int(headers["Nats-Sequence"])
                letter = read_letter(tenant_id, headers)
                found.append(StoredLetter(sequence, headers["Nats-Time-Stamp"], letter, message.data))
        if not page or not left:
            break
        sequence += 1
    return found


async def walk_letters(broker: Broker, subject: str, *, last: int | None = None) -> AsyncIterator[StoredLetter]:
    """Every letter under a subject up to sequence `last`, a few in memory at a time. Raises BrokerError."""
    after = 0
    while page := await list_letters(broker, subject, after=after, limit=_WALKED):
        for stored in page:
            if last is not None and stored.sequence > last:
                return
            yield stored
        after = page[-1].sequence


async def last_letter(broker: Broker) -> int:
    """Sequence of the newest letter there ever was, of any tenant. Raises BrokerError."""
    answer = await broker.api(f"STREAM.INFO.{DLQ_STREAM}")
    return int(answer["state"]["last_seq"])


async def remove_letter(broker: Broker, sequence: int) -> bool:
    """Take one letter away; False when it was gone already. Raises BrokerError.

    Its bytes are not overwritten on the broker's disk, as those of a message that a worker has finished are not.
    """
    try:
        await broker.api(f"STREAM.MSG.DELETE.{DLQ_STREAM}", {"seq": sequence, "no_erase": True})
    except ApiError as error:
        if error.err_code != _NO_MESSAGE:
            raise
        return False
    return True


async def purge_letters(broker: Broker, subject: str, *, last: int | None = None) -> int:
    """Take all letters under a subject away, up to sequence `last`; returns how many. Raises BrokerError."""
    request: dict[str, str | int] = {"filter": subject}
    if last is not None:
        request["seq"] = last + 1
    answer = await broker.api(f"STREAM.PURGE.{DLQ_STREAM}", request)
    return int(answer.get("purged", 0))


async def count_letters(broker: Broker, subjects: str) -> dict[str, int]:
    """How many letters lie under each subject that matches `subjects`, such as `dlq.*`. Raises BrokerError."""
    answer = await broker.api(f"STREAM.INFO.{DLQ_STREAM}", {"subjects_filter": subjects})
    counts: dict[str, int] = answer["state"].get("subjects") or {}
    return dict(sorted(counts.items()))


async def count_by_tenant(broker: Broker, subjects: str) -> dict[str, int]:
    """As `count_letters`, by tenant id: `subjects` is one kind for any tenant, such as `dlq.*`. Raises BrokerError."""
    counts = await count_letters(broker, subjects)
    return {subject.partition(".")[2]: count for subject, count in counts.items()}
