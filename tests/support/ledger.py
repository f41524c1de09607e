"""The ledger: what was sent and what was answered, compared with what is stored anywhere.

A test notes each record before it is sent and what the answer said about it afterwards. `check` then looks into every
tenant's database and all dead letters and judges by the invariants of the design (section 7): I1 each accepted record
is exactly once in its own tenant's database or among its dead letters; I2 a refused one is nowhere, and one whose
answer was never seen, or invited a retry, is there at most once; I3 nothing is anywhere else.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import httpx
import msgspec

from sluice_core.edge.lanes import last_sequence
from sluice_core.errors import BrokerError
from sluice_core.letter import StoredLetter
from sluice_core.names import DLQ_STREAM
from support.sluice import NDJSON, Account, Sluice, line, unique_id
from support.waiting import eventually

SECRET = "erika.mustermann@example.com"
"""Stands in the texts of the load, and may be in no redacted one."""


class Outcome(Enum):
    """What the sender knows about a record."""

    UNKNOWN = "unknown"
    """No answer, or one that invites a retry: it may or may not be in."""
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Entry(msgspec.Struct):
    """One record as it was sent. Several entries may name one id: retries, and newer versions.

    Entries without an id count each for itself, so one that is sent again under the same `Idempotency-Key`, which must
    store nothing twice, stays one entry: UNKNOWN until an attempt got its 202.
    """

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
    bare: bool = False
    """Whether redaction left in it what it had to find."""


class Ledger:
    """The book of one test. All books are kept, for one look at all strangers' databases in the end."""

    def __init__(self, sluice: Sluice) -> None:
        self.sluice = sluice
        self._lanes: set[str] = set()
        self.entries: list[Entry] = []
        self._seen: list[Sighting] = []
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

    def summary(self) -> str:
        """Every invariant with its counts, as the last look saw it."""
        return tally(self.entries, self._seen)

    async def check(self, *, within: float = 30.0, everywhere: bool = False) -> None:
        """Wait until nothing is on its way, look for everything, and fail with all that is wrong.

        Looks into the databases of the tenants who sent, and all dead letters; `everywhere`: into all databases.
        """
        problems = await self.look(within=within, everywhere=everywhere)
        assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:20])

    async def look(self, *, within: float = 30.0, everywhere: bool = False) -> list[str]:
        """The same, and gives what is wrong: for tests in which something has to be."""
        await eventually(lambda: self._at_rest(within), within=within)
        self._seen = await self._look(everywhere=everywhere)
        return judge(self.entries, self._seen)

    async def _at_rest(self, within: float) -> bool:
        """Whether the lanes are idle and nothing is parked; not while the broker cannot say so."""
        try:
            return await self._nothing_left(within)
        except BrokerError:
            return False

    async def _nothing_left(self, within: float) -> bool:
        before = await self._published()
        await self.sluice.idle(*self._lanes, within=within)
        info = await self.sluice.broker.api(f"STREAM.INFO.{DLQ_STREAM}", {"subjects_filter": "parked.>"})
        parked = {subject.removeprefix("parked.") for subject in info["state"].get("subjects") or ()}
        if parked & {entry.tenant for entry in self.entries}:
            return False
        # It comes back into its lane by itself: what was parked a moment ago is there again, unless no lane took
        # anything since before they were idle.
        return await self._published() == before

    async def _published(self) -> dict[str, int]:
        return {lane: await last_sequence(self.sluice.broker, lane) for lane in self._lanes}

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
            found = self.sluice.logs(tenant).find(query, {"original_text": 1, "modified_data": 1})
            seen += [
                Sighting(tenant, one["_id"], one.get("original_text"), bare=SECRET in one.get("modified_data", ""))
                async for one in found
            ]
        for tenant, letters in (await self.sluice.all_dead_letters()).items():
            buried = set()
            for log_id, version, text in (record for stored in letters for record in _records(stored)):
                # Burying a record twice is harmless: the same version of it is one dead letter.
                if (log_id, version) not in buried and (tenant in ours or text in texts):
                    buried.add((log_id, version))
                    seen.append(Sighting(tenant, log_id, text, dead=True))
        return seen


def _records(stored: StoredLetter) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Id, version and text of the records in a letter; none for one that cannot be read."""
    for submission in stored.submissions() or ():
        for position, record in enumerate(submission.records):
            of_message = position if submission.positions is None else submission.positions[position]
            yield submission.log_id(position), (*(submission.accepted_as or ()), of_message), record.text


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
        if place.bare:
            problems.append(f"unredacted: {place.log_id} of {place.tenant}")
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


def tally(entries: Sequence[Entry], seen: Sequence[Sighting]) -> str:
    """What was compared and what was found wrong, in numbers, by invariant."""
    wrong = Counter(problem.partition(":")[0] for problem in judge(entries, seen))
    best: dict[tuple[str, str], Outcome] = {}
    nameless: Counter[Outcome] = Counter()
    for entry in entries:
        key = (entry.tenant, entry.log_id or "")
        if entry.log_id is None:
            nameless[entry.outcome] += 1
        elif best.get(key) is not Outcome.ACCEPTED:
            best[key] = entry.outcome
    sent = Counter(best.values()) + nameless
    there = {(place.tenant, place.log_id) for place in seen}
    unknown_there = sum(outcome is Outcome.UNKNOWN and key in there for key, outcome in best.items())
    dead = sum(place.dead for place in seen)
    return (
        f"I1 accepted {sent[Outcome.ACCEPTED]}: missing {wrong['missing']}, duplicated {wrong['duplicated']}, "
        f"changed {wrong['changed']}; "
        f"I2 refused {sent[Outcome.REFUSED]}: there all the same {wrong['refused']}; "
        f"unknown {sent[Outcome.UNKNOWN]}: {unknown_there} of those with ids are there; "
        f"I3 misplaced {wrong['misplaced']}, unexplained {wrong['unexplained']}; "
        f"I5 unredacted {wrong['unredacted']}; stored {len(seen) - dead}, dead letters {dead}"
    )


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
