"""Dead letters: records that a person has to look at, kept in the broker.

The header says why and which, the payload is the record as it was accepted. Invariant: headers never carry log text;
the payload does, so whoever shows it redacts it first.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import aclosing

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.envelope import Record
from sluice_core.errors import BrokerUnavailable
from sluice_core.names import DLQ_STREAM, dead_letter_subject
from sluice_core.reasons import UNREADABLE_MESSAGE
from sluice_core.version import Version

_PAGE = 200
_PREFIX = "Sluice-"
_EDGES = re.compile(r"\A +| +\Z")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter without its content."""

    tenant_id: str
    reason: str
    detail: str = ""
    log_id: str = ""
    uid: str = ""
    request_id: str = ""
    source: str = ""
    received_at: int = 0
    """Microseconds since the epoch."""
    attempts: int = 1
    version: str = ""
    """`time.sequence.index`, which replay keeps."""


class StoredDeadLetter(msgspec.Struct, frozen=True):
    """A dead letter as it stands in the stream."""

    sequence: int
    stored_at: str
    letter: DeadLetter
    payload: bytes

    def record(self) -> Record | None:
        """The record, None when the payload is a whole message that could not be read."""
        try:
            return msgspec.msgpack.decode(self.payload, type=Record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def version_text(version: Version) -> str:
    """The header's form of a version."""
    return ".".join(str(part) for part in version)


async def write_dead_letter(broker: Broker, letter: DeadLetter, payload: bytes, timeout: float = 5.0) -> None:
    """Keep a dead letter; durable when this returns. Raises BrokerError."""
    headers = {_PREFIX + name: value for name, value in _header_fields(letter)}
    await broker.publish(
        dead_letter_subject(letter.tenant_id), payload, stream=DLQ_STREAM, timeout=timeout, headers=headers
    )


def _header_fields(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    for field in letter.__struct_fields__:
        # Header values are one line of printable text, stripped by the client at both ends; an id may be anything.
        value = str(getattr(letter, field)).encode("unicode_escape").decode("ascii")
        if value:
            yield field, _EDGES.sub(lambda spaces: r"\x20" * len(spaces[0]), value)


def _read(tenant_id: str, headers: Mapping[str, str]) -> DeadLetter:
    fields = {
        name.removeprefix(_PREFIX): value.encode("ascii", "replace").decode("unicode_escape")
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }
    try:
        return msgspec.convert(fields, DeadLetter, strict=False)
    except msgspec.ValidationError:  # not one of ours, but in the stream, and it must not hide the others
        return DeadLetter(tenant_id=tenant_id, reason=UNREADABLE_MESSAGE.code, detail="it has no headers of ours")


async def list_dead_letters(
    broker: Broker, tenant_id: str, *, after: int = 0, limit: int = 100, timeout: float = 2.0
) -> list[StoredDeadLetter]:
    """Dead letters of one tenant in the order they came, from the first one after sequence `after`."""
    found: list[StoredDeadLetter] = []
    sequence = after + 1
    while len(found) < limit:
        batch = min(_PAGE, limit - len(found))
        request = {"seq": sequence, "next_by_subj": dead_letter_subject(tenant_id), "batch": batch}
        page = 0
        replies = broker.stream_of_replies(f"$JS.API.DIRECT.GET.{DLQ_STREAM}", msgspec.json.encode(request), timeout)
        async with aclosing(replies):
            async for message in replies:
                headers = message.headers or {}
                status = headers.get("Status")
                if status in {"204", "404"}:
                    break
                if status is not None:
                    raise BrokerUnavailable(f"the dead letters answered {status}")
                page += 1
                sequence = int(headers["Nats-Sequence"])
                found.append(
                    StoredDeadLetter(sequence, headers["Nats-Time-Stamp"], _read(tenant_id, headers), message.data)
                )
        if page < batch:
            break
        sequence += 1
    return found


async def count_dead_letters(broker: Broker) -> dict[str, int]:
    """How many dead letters each tenant has; tenants without any are left out. Raises BrokerError."""
    prefix = dead_letter_subject("")
    answer = await broker.api(f"STREAM.INFO.{DLQ_STREAM}", {"subjects_filter": f"{prefix}>"})
    subjects: dict[str, int] = answer["state"].get("subjects") or {}
    return {subject.removeprefix(prefix): count for subject, count in sorted(subjects.items())}
