"""Moves parked letters back into their tenants' lanes: one replica does it, always on.

A letter is removed only after the broker acknowledged its records in the lane, so a crash in between leaves them in
both places; ids and versions make the second a duplicate. Invariant: whatever goes wrong with one letter, it stays
where it is and the others go on.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Collection, Mapping
from typing import Protocol

from sluice_core.edge.broker import Broker
from sluice_core.edge.letters import list_letters, remove_letter
from sluice_core.envelope import encode_envelope
from sluice_core.errors import BrokerError
from sluice_core.letter import StoredLetter
from sluice_core.limits import MIB
from sluice_core.names import lane_stream, lane_subject, parked_subject
from sluice_core.tenant import TenantConfig
from sluice_ingest.merging import Merger
from sluice_ingest.metrics import DISCARDED_RECORDS, RETURNED_LETTERS
from sluice_ingest.quotas import Quotas
from sluice_ingest.returning import Return, Trials, Turn, attempts_of, has_room, in_parts, is_due, plan, take_up

log = logging.getLogger(__name__)

_AT_ONCE = 2
_PAUSE_SECONDS = 0.02
"""After each envelope: with its size it makes about 3 MiB a second, which the lane's other tenants do not notice."""
_PAGE = 16
"""Letters read at a time, of 2 MiB at most."""
_ROUND_BYTES = 64 * MIB
_ROUND_SECONDS = 2.0
_PUBLISH_SECONDS = 5.0
_CONFIRM_SECONDS = 2.0


class Tenants(Protocol):
    """What is asked of the tenants view."""

    def tenant(self, tenant_id: str) -> TenantConfig | None:
        """By id."""
        ...

    async def confirm(self, timeout: float) -> bool:
        """Wait for a complete re-read."""
        ...


class Returner:
    """Call `run_round` about once a second, on one replica."""

    def __init__(self, broker: Broker, tenants: Tenants, quotas: Quotas) -> None:
        self._broker = broker
        self._tenants = tenants
        self._quotas = quotas
        self._merger = Merger(broker)
        self._trials = Trials()
        self._rounds = 0

    async def run_round(self, parked: Mapping[str, int], refused: Collection[str]) -> None:
        """Move what may go back now, for a bounded time; `parked` and `refused` as in `plan`."""
        await self._merge(parked)
        now = asyncio.get_running_loop().time()
        turns = plan(parked, self._tenants.tenant, refused, self._quotas.backlog, self._trials, now)
        left = _ROUND_BYTES
        places = deque((turn, 0) for turn in turns)
        # A page of each tenant in turn, and another one first each time, so that nobody keeps others waiting.
        self._rounds += 1
        places.rotate(-self._rounds)
        while places and left > 0 and asyncio.get_running_loop().time() < now + _ROUND_SECONDS:
            turn, after = places.popleft()
            try:
                last, moved = await self._move_page(turn, after)
            except BrokerError as error:
                log.info("letters cannot be read now", extra={"tenant": turn.tenant.tenant_id, "error": str(error)})
                continue
            left -= moved
            if last is not None and has_room(turn.tenant, self._quotas.backlog(turn.tenant.tenant_id)):
                places.append((turn, last))

    async def _merge(self, parked: Mapping[str, int]) -> None:
        for tenant_id, letters in parked.items():
            tenant = self._tenants.tenant(tenant_id)
            if tenant is not None and tenant.state == "active" and tenant.suspension == "Buffer":
                try:
                    await self._merger.merge(tenant, letters)
                except BrokerError as error:
                    log.info("letters cannot be merged now", extra={"tenant": tenant_id, "error": str(error)})

    async def _move_page(self, turn: Turn, after: int) -> tuple[int | None, int]:
        """Where to read on, None at the end or where nothing could be moved, and how many bytes were moved."""
        page = turn.trial or _PAGE
        letters = await list_letters(self._broker, parked_subject(turn.tenant.tenant_id), after=after, limit=page)
        moved = 0
        held = False
        for start in range(0, len(letters), _AT_ONCE):
            sizes = await asyncio.gather(*(self._move(turn, one) for one in letters[start : start + _AT_ONCE]))
            moved += sum(size or 0 for size in sizes)
            held = held or None in sizes
        # A trial goes on only past letters that nobody can read.
        more = len(letters) == page and (not (moved or held) if turn.trial else moved or not held)
        return letters[-1].sequence if more else None, moved

    async def _move(self, turn: Turn, letter: StoredLetter) -> int | None:
        """Move one letter; returns its bytes, 0 for one that is passed over, None if it has to wait."""
        tenant = turn.tenant
        submissions = letter.submissions()
        if submissions is None:
            return 0  # of a later release, perhaps: it waits for one that can read it
        back = take_up(letter, submissions, tenant)
        if not turn.trial and not is_due(attempts_of(submissions), back.stored_at, time.time_ns()):
            return None
        try:
            if back.strangers and not await self._is_current(tenant):
                return None
            if back.submissions:
                await self._publish(tenant, back)
            await remove_letter(self._broker, letter.sequence)
        except BrokerError as error:
            log.info("a letter could not go back yet", extra={"tenant": tenant.tenant_id, "error": str(error)})
            return None
        if back.strangers:
            DISCARDED_RECORDS.labels(tenant.tenant_id).inc(back.strangers)
        return back.size

    async def _publish(self, tenant: TenantConfig, back: Return) -> None:
        for part in in_parts(back.submissions):
            with self._quotas.charge_returned(tenant, sum(map(len, part))):
                await self._broker.publish(
                    lane_subject(tenant.lane),
                    encode_envelope(part),
                    stream=lane_stream(tenant.lane),
                    timeout=_PUBLISH_SECONDS,
                )
            await asyncio.sleep(_PAUSE_SECONDS)
        RETURNED_LETTERS.labels(tenant.tenant_id).inc()

    async def _is_current(self, tenant: TenantConfig) -> bool:
        """Whether this is surely the tenant's provisioning of today: what is thrown away does not come back."""
        if not await self._tenants.confirm(_CONFIRM_SECONDS):
            return False
        current = self._tenants.tenant(tenant.tenant_id)
        return current is not None and current.uid == tenant.uid
