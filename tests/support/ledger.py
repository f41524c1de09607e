"""The ledger: what was sent and what was answered, compared with what is stored anywhere.

A test notes each record before it is sent and what the answer said about it afterwards. `check` then looks into every
tenant's database and all dead letters and judges by the invariants of the design (section 7): I1 each accepted record
is exactly once in its own tenant's database or among its dead letters; I2 a refused one is nowhere, and one whose
answer was never seen, or invited a retry, is there at most once; I3 nothing is anywhere else.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import httpx
import msgspec

from support.sluice import NDJSON, Account, Sluice, line, unique_id


class Outcome(Enum):
    """What the sender knows about a record."""

    UNKNOWN = "unknown"
    """No answer, or one that invites a retry: it may or may not be in."""
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Entry(msgspec.Struct):
    """One record as it was sent. Several entries may name one id: retries, and newer versions."""

    tenant: str
    log_id: str | None
    """None: the record has no id of its own, or the request cannot be read, so only its text tells it."""
    text: str
    outcome: Outcome = Outcome.UNKNOWN


class Sighting(msgspec.Struct, frozen=True):
    """A record somewhere."""

    tenant: str
    """Whose database or dead letters these are."""
    log_id: str
    text: str | None
    """None where the original is not kept."""
    dead: bool = False


class Ledger:
    """The book of one test. All books are kept, for one look at all strangers' databases in the end."""

    def __init__(self, sluice: Sluice) -> None:
        self.sluice = sluice
        self._lanes: set[str] = set()
        self.entries: list[Entry] = []
        BOOKS.append(self)

    def note(self, tenant: Account, log_id: str | None, text: str) -> Entry:
        """Write a record down before it is sent."""
        entry = Entry(tenant.id, log_id, text)
        self.entries.append(entry)
        self._lanes.add(tenant.lane)
        return entry

    async def send(
        self, tenant: Account, records: Sequence[dict[str, Any]], **how: Any
    ) -> tuple[httpx.Response, list[Entry]]:
        """Send records as NDJSON and note everything; those without `log_id` get one."""
        records = [{"log_id": unique_id("r"), **record} for record in records]
        entries = [self.note(tenant, record["log_id"], record["text"]) for record in records]
        body = "\n".join(json.dumps(record) for record in records)
        response = await self.sluice.send(tenant, body, NDJSON, **how)
        self.read(response, entries)
        return response, entries

    async def send_lines(self, tenant: Account, number: int, **how: Any) -> list[Entry]:
        """Send so many new lines in one request."""
        _, entries = await self.send(tenant, [{"text": line()} for _ in range(number)], **how)
        return entries

    @staticmethod
    def read(response: httpx.Response, entries: Sequence[Entry]) -> None:
        """Note what an answer says about the records of its request."""
        if response.status_code == 202:
            refused = {rejected["index"] for rejected in response.json().get("rejected", ())}
            for index, entry in enumerate(entries):
                entry.outcome = Outcome.REFUSED if index in refused else Outcome.ACCEPTED
        elif response.status_code < 500:
            for entry in entries:
                entry.outcome = Outcome.REFUSED

    @property
    def accepted(self) -> list[Entry]:
        """What got a 202."""
        return [entry for entry in self.entries if entry.outcome is Outcome.ACCEPTED]

    async def check(self, *, within: float = 30.0, everywhere: bool = False) -> None:
        """Wait until the lanes are idle, look for everything, and fail with all that is wrong.

        Looks into the databases of the tenants who sent, and all dead letters; `everywhere`: into all databases.
        """
        await self.sluice.idle(*self._lanes, within=within)
        problems = judge(self.entries, await self._look(everywhere=everywhere))
        assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:20])

    async def _look(self, *, everywhere: bool) -> list[Sighting]:
        ours = {entry.tenant for entry in self.entries}
        ids = sorted({entry.log_id for entry in self.entries if entry.log_id is not None})
        texts = sorted({entry.text for entry in self.entries})
        # Ids of other tests may be the same; texts never are, but may have been dropped.
        nothing_else = {"_id": {"$in": ids}, "original_text": {"$exists": False}}
        theirs = {"$or": [nothing_else, {"original_text": {"$in": texts}}]}
        seen: list[Sighting] = []
        for tenant in await self.sluice.databases() if everywhere else ours:
            query = {} if tenant in ours else theirs
            found = self.sluice.logs(tenant).find(query, {"original_text": 1})
            seen += [Sighting(tenant, one["_id"], one.get("original_text")) async for one in found]
        for tenant, letters in (await self.sluice.all_dead_letters()).items():
            buried = set()
            for stored in letters:
                record = stored.record()
                identity = (stored.letter.log_id, stored.letter.version)
                # Burying a record twice is harmless: the same version of it is one dead letter.
                if record is not None and identity not in buried and (tenant in ours or record.text in texts):
                    buried.add(identity)
                    seen.append(Sighting(tenant, stored.letter.log_id, record.text, dead=True))
        return seen


BOOKS: list[Ledger] = []


async def find_strangers(sluice: Sluice) -> list[str]:
    """Records that any test of the session sent and that are in the database of somebody who did not send them."""
    senders: dict[str | None, set[str]] = defaultdict(set)
    for book in BOOKS:
        if book.sluice is sluice:
            for entry in book.entries:
                senders[entry.text].add(entry.tenant)
    found = []
    for tenant in await sluice.databases():
        documents = sluice.logs(tenant).find({}, {"original_text": 1})
        found += [
            f"{document['_id']} in the database of {tenant}"
            async for document in documents
            if tenant not in senders.get(document.get("original_text"), {tenant})
        ]
    return found


def judge(entries: Iterable[Entry], seen: Iterable[Sighting]) -> list[str]:
    """Everything that contradicts the invariants, in words."""
    named: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    nameless: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    senders: dict[str, set[str]] = defaultdict(set)
    """Who sent this id or text."""
    for entry in entries:
        senders[entry.text].add(entry.tenant)
        if entry.log_id is None:
            nameless[entry.tenant, entry.text].append(entry)
        else:
            senders[entry.log_id].add(entry.tenant)
            named[entry.tenant, entry.log_id].append(entry)

    by_id: dict[tuple[str, str], list[Sighting]] = defaultdict(list)
    by_text: dict[tuple[str, str], list[Sighting]] = defaultdict(list)
    problems: list[str] = []
    for place in seen:
        if (place.tenant, place.log_id) in named:
            by_id[place.tenant, place.log_id].append(place)
        elif place.text is not None and (place.tenant, place.text) in nameless:
            by_text[place.tenant, place.text].append(place)
        else:
            problems.append(_judge_stranger(place, senders))

    for (tenant, log_id), group in named.items():
        places = by_id[tenant, log_id]
        accepted, possible = _bounds(group)
        # Whatever was sent under one id ends as one record.
        problems += _judge_number(f"{log_id} of {tenant}", len(places), min(accepted, 1), min(possible, 1))
        texts = {entry.text for entry in group if entry.outcome is not Outcome.REFUSED}
        if possible and any(place.text is not None and place.text not in texts for place in places):
            problems.append(f"changed: {log_id} of {tenant} holds a text that was not accepted under this id")
    for (tenant, text), group in nameless.items():
        problems += _judge_number(f"a record of {tenant}", len(by_text[tenant, text]), *_bounds(group))
    return problems


def _bounds(group: Sequence[Entry]) -> tuple[int, int]:
    accepted = sum(entry.outcome is Outcome.ACCEPTED for entry in group)
    return accepted, accepted + sum(entry.outcome is Outcome.UNKNOWN for entry in group)


def _judge_number(what: str, number: int, least: int, most: int) -> list[str]:
    if number < least:
        return [f"missing: {what} got a 202 and is there {number} times"]
    if number > most:
        return [f"duplicated: {what} is there {number} times" if most else f"refused: {what} is there all the same"]
    return []


def _judge_stranger(place: Sighting, senders: Mapping[str, set[str]]) -> str:
    owners = senders.get(place.log_id, set()) | senders.get(place.text or "", set())
    if not owners:
        return f"unexplained: {place.log_id} is with {place.tenant} and was never sent"
    if place.tenant in owners:
        return f"duplicated: a record of {place.tenant} is there as {place.log_id} too"
    return f"misplaced: {place.log_id} is with {place.tenant} and belongs to {' or '.join(sorted(owners))}"
