"""What a replica does beside answering requests: says and hears signs of life, keeps quotas right, returns letters.

Invariant: nothing here is waited for by a request, and trouble with the broker only means that it is done later.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from sluice_core.edge.broker import Broker
from sluice_core.edge.heartbeats import Roster, beat_once
from sluice_core.edge.lanes import DEAD_LETTERS_PER_SUBJECT
from sluice_core.edge.letters import count_letters
from sluice_core.edge.tenants_view import TenantsView
from sluice_core.errors import BrokerError
from sluice_core.heartbeat import HEARTBEAT_SECONDS, LIVE_SECONDS, Heartbeat, IngestHeartbeat, WorkerHeartbeat
from sluice_core.names import ingest_heartbeat_subject, parked_subject
from sluice_ingest.backlog import TICK_SECONDS
from sluice_ingest.heartbeat import Conversation
from sluice_ingest.metrics import BACKLOG_BYTES, PARKED_LETTERS, show
from sluice_ingest.quotas import Quotas
from sluice_ingest.returner import Returner

log = logging.getLogger(__name__)

SET_ASIDE_SHARE = 0.9
"""Of the cap on one tenant's letters: what is already in its lane must still find room."""
_EARLY_SECONDS = 0.1
"""Between heartbeats that are sent before their time because a tenant has come into debt."""
_ANY_PARKED = parked_subject("")


def has_too_many(counts: dict[str, int], cap: int) -> frozenset[str]:
    """The tenants with so many letters of one kind that no more may come. `counts` by subject."""
    return frozenset(subject.partition(".")[2] for subject, count in counts.items() if count >= SET_ASIDE_SHARE * cap)


def is_first(instance: str, live: Iterable[Heartbeat]) -> bool:
    """Whether, of all replicas of ingest that live, it is up to this one to do what one has to do."""
    return all(instance <= one.instance for one in live if isinstance(one, IngestHeartbeat))


class Upkeep:
    """`run` it once the broker is connected, and say `farewell` when all requests are answered."""

    def __init__(self, broker: Broker, view: TenantsView, quotas: Quotas) -> None:
        self._broker = broker
        self._quotas = quotas
        self._conversation = Conversation(quotas, lambda: view.seen)
        self._roster = Roster(broker, self._conversation.hear)
        self._returner = Returner(broker, view, quotas)
        self._subject = ingest_heartbeat_subject(self._conversation.instance)
        self._parked: dict[str, int] = {}
        self._debt = asyncio.Event()
        quotas.on_debt = self._debt.set

    async def run(self) -> None:
        """Until cancelled."""
        await self._roster.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_speaking())
            group.create_task(self._keep_quotas())
            group.create_task(self._keep_returning())

    async def farewell(self) -> None:
        """The last sums, and that no more will come."""
        await self._speak(stopping=True)

    async def _keep_speaking(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._speak()
            due = loop.time() + HEARTBEAT_SECONDS
            while loop.time() < due:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._debt.wait()
                if self._debt.is_set():
                    self._debt.clear()
                    await self._speak(early=True)
                    await asyncio.sleep(_EARLY_SECONDS)

    async def _speak(self, *, early: bool = False, stopping: bool = False) -> None:
        make = partial(self._conversation.speak, early=early, stopping=stopping)
        await beat_once(self._broker, self._subject, make)

    async def _keep_quotas(self) -> None:
        backlogs: dict[str, int] = {}
        while True:
            await asyncio.sleep(TICK_SECONDS)
            before, backlogs = backlogs, self._quotas.tick(self._conversation.idle_lanes(self._roster.live()))
            show(BACKLOG_BYTES, before, backlogs)

    async def _keep_returning(self) -> None:
        loop = asyncio.get_running_loop()
        # Before that nobody knows who else is there, or whom the workers refuse.
        listened = loop.time() + LIVE_SECONDS
        while True:
            try:
                await self._look_aside(returning=loop.time() >= listened)
            except BrokerError as error:
                log.info("what is set aside cannot be looked at now", extra={"error": str(error)})
            await asyncio.sleep(TICK_SECONDS)

    async def _look_aside(self, *, returning: bool) -> None:
        counts = await count_letters(self._broker, ">")
        self._quotas.set_aside_full(has_too_many(counts, DEAD_LETTERS_PER_SUBJECT))
        before, self._parked = (
            self._parked,
            {
                subject.removeprefix(_ANY_PARKED): count
                for subject, count in counts.items()
                if subject.startswith(_ANY_PARKED)
            },
        )
        show(PARKED_LETTERS, before, self._parked)
        live = self._roster.live()
        if returning and self._parked and is_first(self._conversation.instance, live):
            refused = {name for one in live if isinstance(one, WorkerHeartbeat) for name in one.refusing}
            await self._returner.run_round(self._parked, refused)
