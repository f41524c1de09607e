"""The worker's loop under any schedule of faults: in the end every record is once where it belongs, and nowhere else.

The real loop runs against a lane that loses acknowledgements, delivers twice and in any order, a database that fails
before or after it stored, or for one tenant only, and letters that may be down or full; the process is killed and
started again at any point. Time is virtual, chance is seeded, and Hypothesis shrinks what fails.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import bson
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_core.edge.lanes import ACK_WAIT_SECONDS
from sluice_core.edge.pull import Delivery
from sluice_core.edge.store import Existing, Inserted
from sluice_core.envelope import Record, decode_envelope
from sluice_core.errors import (
    AccessDenied,
    BrokerFull,
    BrokerUnavailable,
    StoreInterrupted,
    StoreRefused,
    StoreUnavailable,
)
from sluice_core.limits import MIB
from sluice_core.version import Version
from sluice_worker.handle import Item, Message, items
from sluice_worker.letter_writer import LetterWriter
from sluice_worker.loop import Loop
from sluice_worker.preparation import Preparation
from unit.fakes import FakeStore, FakeView, config, delivery, envelope, submission
from unit.virtual import now, run
from unit.worker_rig import PREPARERS

_TENANTS = ("acme", "beta", "late")
_NOBODY = "nobody"
_HEALED_SECONDS = 900.0
"""Virtual: after everything works again all must be finished by then."""


class _Sent(NamedTuple):
    """A record as it was accepted."""

    tenant_id: str
    log_id: str
    version: Version
    text: str


class _Chance:
    """One source of chance; `trouble` from 0 to 1 is how often something goes wrong."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)  # noqa: S311 - a schedule must be repeatable, not secret
        self.trouble = 0.0

    def __call__(self, share: float = 1.0) -> bool:
        return self.source.random() < self.trouble * share

    async def delay(self) -> None:
        await asyncio.sleep(self.source.choice((0, 0, 0.01, 0.3, 2)) if self.trouble else 0)


class _Lane:
    """A work queue: what is not acknowledged comes again."""

    def __init__(self, chance: _Chance, check: Callable[[Message], None]) -> None:
        self._chance = chance
        self._check = check
        self._last = 0
        self.messages: dict[int, bytes] = {}
        self.due: dict[int, float] = {}
        """When each may be delivered, again or for the first time."""
        self._delivered: dict[int, int] = {}
        self.waiting: tuple[Delivery, ...] = ()

    def publish(self, payload: bytes) -> Delivery:
        self._last += 1
        self.messages[self._last] = payload
        self.due[self._last] = 0.0
        return self._delivery(self._last)

    def deliver_again(self) -> None:
        """What somebody is working on is delivered to somebody else."""
        for sequence in self.messages:
            if self._chance.source.random() < 0.5:
                self.due[sequence] = 0.0

    async def next(self, timeout: float, *, batch: int, max_bytes: int) -> Delivery | None:
        deadline = now() + timeout
        while True:
            ready = [sequence for sequence, moment in self.due.items() if moment <= now()]
            if ready:
                sequence = self._chance.source.choice(ready) if self._chance(0.5) else min(ready)
                self.due[sequence] = now() + ACK_WAIT_SECONDS
                self._delivered[sequence] = self._delivered.get(sequence, 0) + 1
                return self._delivery(sequence)
            if now() >= deadline:
                return None
            await asyncio.sleep(min(0.1, deadline - now()))

    async def acknowledge(self, delivery: Delivery) -> None:
        if self._chance(0.3):
            raise BrokerUnavailable("not connected to the broker")
        self._check(Message(delivery))
        if not self._chance():
            self.messages.pop(delivery.sequence, None)
            self.due.pop(delivery.sequence, None)

    async def in_progress(self, delivery: Delivery) -> None:
        if not self._chance() and delivery.sequence in self.due:
            self.due[delivery.sequence] = now() + ACK_WAIT_SECONDS

    async def give_back(self, delivery: Delivery) -> None:
        await self.put_off(delivery, 0)

    async def put_off(self, delivery: Delivery, seconds: float) -> None:
        if not self._chance() and delivery.sequence in self.due:
            self.due[delivery.sequence] = now() + seconds

    def _delivery(self, sequence: int) -> Delivery:
        payload, count = self.messages[sequence], self._delivered.get(sequence, 1)
        return delivery(payload, sequence, delivered=count, time=1_000 + sequence // 3)


class _Store(FakeStore):
    """The database; texts that begin with `bad` are what it never takes."""

    def __init__(self, chance: _Chance) -> None:
        super().__init__()
        self._chance = chance
        self.pause = chance.delay
        self.troubled: dict[str, str] = {}

    async def insert(self, tenant_id: str, documents: Sequence[bytes]) -> Inserted:
        await self._enter(tenant_id)
        texts = [bson.decode(document)["original_text"] for document in documents]
        bad = {position: 121 for position, text in enumerate(texts) if text.startswith("bad")}
        places = [position for position in range(len(documents)) if position not in bad]
        if self._chance():  # some are stored, and nobody learns which
            places = [position for position in places if self._chance.source.random() < 0.5]
        inserted = await super().insert(tenant_id, [documents[position] for position in places])
        if len(places) + len(bad) < len(documents) or self._chance():
            raise self._chance.source.choice((StoreUnavailable("late"), StoreInterrupted("broke")))
        return Inserted([places[position] for position in inserted.existing], bad)

    async def find(self, tenant_id: str, log_ids: Any) -> dict[str, Existing]:
        await self._enter(tenant_id)
        return await super().find(tenant_id, log_ids)

    async def raise_versions(self, tenant_id: str, versions: Mapping[str, Existing]) -> int:
        await self._enter(tenant_id)
        number = await super().raise_versions(tenant_id, versions)
        self._leave()
        return number

    async def replace(self, tenant_id: str, log_id: str, version: Version, document: bytes) -> bool:
        await self._enter(tenant_id)
        replaced = await super().replace(tenant_id, log_id, version, document)
        self._leave()
        return replaced

    async def _enter(self, tenant_id: str) -> None:
        if not self.well:
            await asyncio.sleep(10)
            raise StoreUnavailable("away")
        match self.troubled.get(tenant_id):
            case "denied":
                raise AccessDenied("no")
            case "refused":
                raise StoreRefused(166)
            case "hanging":
                await asyncio.sleep(10)
                raise StoreUnavailable("late")
        if self._chance(0.5):
            raise StoreInterrupted("broke")

    def _leave(self) -> None:
        if self._chance():
            raise StoreInterrupted("broke after it was done")


class _Letters:
    """The stream of letters."""

    def __init__(self, chance: _Chance) -> None:
        self._chance = chance
        self.state = "well"
        self.letters: list[tuple[str, bytes]] = []

    async def publish(
        self, subject: str, payload: bytes, *, stream: str, timeout: float, headers: dict[str, str]
    ) -> int:
        await self._chance.delay()
        if self.state == "down":
            raise BrokerUnavailable("not connected to the broker")
        if self.state == "full":
            raise BrokerFull("the stream is at its limit")
        if self._chance(0.3):
            raise BrokerUnavailable("lost on the way there")
        self.letters.append((subject, payload))
        if self._chance(0.3):
            raise BrokerUnavailable("lost on the way back")
        return len(self.letters)

    def take_parked(self) -> Iterator[tuple[int, bytes]]:
        """Place and payload of what is parked, the last one first."""
        for place in reversed(range(len(self.letters))):
            subject, payload = self.letters[place]
            if subject.startswith("parked."):
                yield place, payload


def _records(letter: bytes) -> list[Item]:
    """What is in a letter, which names versions itself."""
    return [item for _, part in items(Message(delivery(letter))) for item in part]


def _key(item: Item) -> tuple[str, str]:
    return item.submission.tenant_id, item.submission.log_id(item.position)


class _World:
    """Everything that outlives the process, and the process."""

    def __init__(self, seed: int) -> None:
        self.chance = _Chance(seed)
        self.lane = _Lane(self.chance, self._check_acknowledged)
        self.store = _Store(self.chance)
        self.letters = _Letters(self.chance)
        self.view = FakeView(config("acme"), config("beta"))
        self.view.on_confirm = lambda: self.view.set(config("late"))
        self.sent: list[_Sent] = []
        self.problems: list[str] = []
        self.start()

    # -- the process -----------------------------------------------------------------------------------------------
    def start(self) -> None:
        self.loop = Loop(
            self.lane,
            self.view,
            self.store,
            Preparation(PREPARERS, None),
            LetterWriter(cast("Any", self.letters)),
            in_flight_bytes=4 * MIB,
            parallel_writes=4,
            seconds_per_char=0.0,
        )
        self.running = asyncio.create_task(self.loop.run())

    async def kill(self) -> None:
        """Nothing is finished, nothing is said."""
        tasks = [self.running, *self.loop._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.loop.stop(5.0)

    # -- what happens ----------------------------------------------------------------------------------------------
    def send(self, parts: list[tuple[str, list[tuple[str, str]]]]) -> None:
        payload = envelope(
            *(
                submission(*(Record(log_id, text) for log_id, text in records), tenant_id=tenant_id)
                for tenant_id, records in parts
            )
        )
        message = Message(self.lane.publish(payload))
        for item in (item for _, part in items(message) for item in part):
            text = item.submission.records[item.position].text
            self.sent.append(_Sent(*_key(item), item.version, text))

    def bring_back(self, *, crash: bool = False) -> None:
        """What ingest does with parked letters; a crash in between leaves them in both places."""
        for place, payload in list(self.letters.take_parked()):
            self.lane.publish(payload)
            if not crash:
                del self.letters.letters[place]

    def heal(self) -> None:
        self.chance.trouble = 0.0
        self.store.well = True
        self.store.troubled.clear()
        self.letters.state = "well"
        self.view.readable = True

    async def finish(self) -> None:
        self.heal()
        deadline = now() + _HEALED_SECONDS
        while self.lane.messages or list(self.letters.take_parked()) or not self.loop.idle:
            assert now() < deadline, "something is stuck"
            self.bring_back()
            await asyncio.sleep(5)
        await self.stop()

    # -- what must hold --------------------------------------------------------------------------------------------
    def _somewhere(self, sequence: int) -> dict[tuple[str, str], Version]:
        """The newest version of each record that is durable anywhere but in this message."""
        found: dict[tuple[str, str], Version] = {}
        for tenant_id, documents in self.store.documents.items():
            for log_id, document in documents.items():
                found[tenant_id, log_id] = Version(**document["version"])
        records = [item for _, payload in self.letters.letters for item in _records(payload)]
        others = [Message(self.lane._delivery(other)) for other in self.lane.messages if other != sequence]
        records += [item for other in others for _, part in items(other) for item in part]
        for item in records:
            found[_key(item)] = max(found.get(_key(item), item.version), item.version)
        return found

    def _check_acknowledged(self, message: Message) -> None:
        durable = self._somewhere(message.delivery.sequence)
        for item in (item for _, part in items(message) for item in part):
            if item.submission.tenant_id != _NOBODY and durable.get(_key(item), Version(0, 0, 0)) < item.version:
                self.problems.append(f"acknowledged early: {_key(item)} of {item.version}")

    def check(self) -> None:
        assert not self.problems, self.problems[0]
        ours = {one.tenant_id for one in self.sent}
        buried: set[_Sent] = set()
        for subject, payload in self.letters.letters:
            for item in _records(payload):
                assert subject == f"dlq.{item.submission.tenant_id}"
                buried.add(_Sent(*_key(item), item.version, item.submission.records[item.position].text))
        assert buried <= set(self.sent), "a dead letter is what was sent, with its version"
        assert all(one.text.startswith("bad") for one in buried), "nothing dies by mistake"
        assert self.store.documents.keys() <= ours - {_NOBODY}
        newest: dict[tuple[str, str], _Sent] = {}
        for one in sorted(self.sent, key=lambda one: one.version):
            if one.tenant_id != _NOBODY and not one.text.startswith("bad"):
                newest[one.tenant_id, one.log_id] = one
        stored = {
            (tenant_id, log_id): _Sent(tenant_id, log_id, Version(**one["version"]), one["original_text"])
            for tenant_id, documents in self.store.documents.items()
            for log_id, one in documents.items()
        }
        assert stored == newest, "of each id the newest that the database takes, in its tenant's database"
        for one in self.sent:
            if one.tenant_id != _NOBODY and one.text.startswith("bad"):
                winner = newest.get((one.tenant_id, one.log_id))
                assert (winner is not None and winner.version > one.version) or any(
                    (other.tenant_id, other.log_id) == (one.tenant_id, one.log_id) and other.version >= one.version
                    for other in buried
                ), "what the database never takes is a dead letter"


_texts = st.sampled_from(["a", "b", "c", "bad", "bad too"])
_part = st.tuples(
    st.sampled_from([*_TENANTS, _NOBODY]),
    st.lists(st.tuples(st.sampled_from(["1", "2", "3", "4"]), _texts), max_size=4),
)
_send = st.tuples(st.just("send"), st.lists(_part, min_size=1, max_size=4))
_wait = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.05, 0.4, 3.0, 12.0, 31.0]))
_step = st.one_of(
    _send,
    _send,
    _wait,
    _wait,
    st.tuples(
        st.just("tenant"),
        st.tuples(st.sampled_from(_TENANTS), st.sampled_from(["", "denied", "refused", "hanging"])),
    ),
    st.tuples(st.just("database"), st.booleans()),
    st.tuples(st.just("letters"), st.sampled_from(["well", "down", "full"])),
    st.tuples(st.just("tenants"), st.booleans()),
    st.tuples(st.just("trouble"), st.sampled_from([0.0, 0.2, 0.5])),
    st.tuples(st.just("again"), st.none()),
    st.tuples(st.just("back"), st.booleans()),
    st.tuples(st.just("kill"), st.none()),
    st.tuples(st.just("stop"), st.none()),
)


async def _play(seed: int, steps: list[tuple[str, Any]]) -> None:
    world = _World(seed)
    for what, argument in steps:
        match what:
            case "send":
                world.send(argument)
            case "wait":
                await asyncio.sleep(argument)
            case "tenant":
                world.store.troubled[argument[0]] = argument[1]
            case "database":
                world.store.well = argument
            case "letters":
                world.letters.state = argument
            case "tenants":
                world.view.readable = argument
            case "trouble":
                world.chance.trouble = argument
            case "again":
                world.lane.deliver_again()
            case "back":
                world.bring_back(crash=argument)
            case "kill":
                await world.kill()
                world.start()
            case "stop":
                await world.stop()
                world.start()
    await world.finish()
    world.check()


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.lists(_step, min_size=5, max_size=40))
def test_every_record_ends_once_where_it_belongs(seed: int, steps: list[tuple[str, Any]]) -> None:
    run(_play(seed, steps))


def test_a_message_that_would_be_acknowledged_early_is_noticed() -> None:
    """The lane's own check, checked."""

    async def main() -> None:
        world = _World(1)
        world.send([("acme", [("1", "a")])])
        await world.kill()
        await world.lane.acknowledge(world.lane._delivery(1))
        assert len(world.problems) == 1

    run(main())


def test_the_payload_of_every_letter_is_an_envelope() -> None:
    async def main() -> None:
        world = _World(2)
        world.store.troubled["acme"] = "refused"
        world.send([("acme", [("1", "a"), ("2", "bad")])])
        await asyncio.sleep(5)
        assert [subject for subject, _ in world.letters.letters] == ["parked.acme"]
        [parked] = decode_envelope(world.letters.letters[0][1]).submissions
        assert len(parked.records) == 2
        await world.finish()
        world.check()

    run(main())
