"""Bringing what all tenants share back to what the registry says, whatever happened to it.

One round costs a handful of requests however many tenants there are: everything is listed and compared, and only what
differs is touched; what can be asked for one tenant at a time only is checked a few tenants a round, in turn. Other
processes provision at the same time, so what was read is read again before it is acted on, and an entry of the bucket
is written only in the place of the very one that was judged. Invariants: a round that finds nothing changes nothing;
nothing of a tenant that is going or gone is made; and the seal comes last.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pymongo.errors import PyMongoError

from sluice_core.edge.broker import Broker
from sluice_core.edge.bucket import Entry, due_revision, read_bucket, sealed_tenants, write_seal
from sluice_core.edge.closing import Closing
from sluice_core.edge.heartbeats import Roster
from sluice_core.edge.lanes import (
    bucket_definition,
    dead_letters_definition,
    delete_stream,
    ensure_consumer,
    ensure_stream,
    holds,
    list_streams,
)
from sluice_core.edge.provision import Provisioner
from sluice_core.edge.registry import Claim
from sluice_core.errors import ProvisionError, StoreUnavailable
from sluice_core.names import SEAL_KEY, STANDARD_LANE, lane_stream

_CONSUMERS_A_ROUND = 32
_DATABASES_A_ROUND = 8
_AT_ONCE = 64
"""Entries written at the same time: the broker makes one flush of several."""
_NAMES_IN_A_LINE = 5


class Mended(NamedTuple):
    """What was not as it should be, and is again."""

    kind: str
    """One word, for counting: `stream`, `consumer`, `worker_role`, `privilege`, `entry`, `seal`, `database`."""
    sentence: str
    tenants: tuple[str, ...] = ()
    """Whose it was; none: everybody's."""


Say = Callable[[Mended], None]
Info = Mapping[str, Any]
"""What the broker says of a stream."""


class Repair:
    """Compares and mends, with the provisioner's rights. One round at a time."""

    def __init__(
        self,
        broker: Broker,
        provisioner: Provisioner,
        *,
        roster: Roster | None = None,
        remove_workers: Callable[[str], Awaitable[None]] | None = None,
        alone: bool = True,
    ) -> None:
        """`remove_workers`: see `Deletion`.

        `alone`: nobody provisions during a round. Otherwise whoever does looks at the tenants' own databases too, since
        his changes there would be undone until the registry says the same; and an entry of the bucket is mended only
        when it is due in two rounds, for in between it may just be on its way there.
        """
        self._alone = alone
        self._due_before: dict[str, int] = {}
        self._closing = Closing(broker, provisioner.registry, roster or Roster(broker), remove_workers)
        self._broker = broker
        self._provisioner = provisioner
        self._registry = provisioner.registry
        self._access = provisioner.access
        self._consumers = _Turns(_CONSUMERS_A_ROUND)
        self._databases = _Turns(_DATABASES_A_ROUND)

    async def run(self, say: Say = lambda _: None) -> None:
        """One round. `say` is told of each thing that was mended.

        Raises BrokerError, StoreUnavailable, or ProvisionError for what could not be mended although the rest was.
        """
        try:
            await self._run(say)
        except PyMongoError as error:
            raise StoreUnavailable(f"the database did not answer as it should ({type(error).__name__})") from error

    async def _run(self, say: Say) -> None:
        streams: Mapping[str, Info] = await list_streams(self._broker)
        await self._mend_shared_streams(streams, say)
        # Before the registry, in which every change stands before it stands in the bucket: so what is newer here than
        # there was not written by provisioning.
        entries = await read_bucket(self._broker)
        claims = await self._registry.all()
        living = {claim.id: claim for claim in claims if _lives(claim)}
        if await self._access.ensure_worker(self._provisioner.platform.worker_password):
            say(Mended("worker_role", "the workers' user or role in the database was gone and was made again"))
        await self._mend_privileges(living, say)
        trouble = await self._mend_lanes(living, streams, say)
        await self._mend_entries(claims, entries, say)
        if self._alone:
            await self._mend_databases(living, say)
        await self._closing.run(claims, entries, streams)
        if trouble is not None:
            raise trouble

    async def _mend_shared_streams(self, streams: Mapping[str, Info], say: Say) -> None:
        platform = self._provisioner.platform
        for wanted in (
            bucket_definition(replicas=platform.replicas),
            dead_letters_definition(max_bytes=platform.dead_letters_max_bytes, replicas=platform.replicas),
        ):
            if not _is_there(streams, wanted) and await ensure_stream(self._broker, wanted):
                say(Mended("stream", f"stream {wanted['name']} {_what_happened(streams, wanted['name'])}"))
        await self._mend_lane(STANDARD_LANE, streams, say)

    async def _mend_lane(self, lane: str, streams: Mapping[str, Info], say: Say, *tenants: str) -> None:
        if not _is_there(streams, self._provisioner.lane_definition(lane)):
            if await self._provisioner.ensure_lane(lane):
                what = f"the stream of lane {lane} {_what_happened(streams, lane_stream(lane))}"
                say(Mended("stream", what, tenants))
        elif await ensure_consumer(self._broker, lane_stream(lane)):
            what = f"the consumer of lane {lane} was gone or changed and is as it should be again"
            say(Mended("consumer", what, tenants))

    async def _mend_lanes(
        self, living: Mapping[str, Claim], streams: Mapping[str, Info], say: Say
    ) -> ProvisionError | None:
        """The lanes that tenants have for themselves; returns why the first of those that cannot be made cannot."""
        trouble: ProvisionError | None = None
        dedicated = {claim.config.lane: claim for claim in living.values() if claim.config is not None}
        dedicated.pop(STANDARD_LANE, None)
        in_turn = self._consumers.next(dedicated)
        for lane, claim in dedicated.items():
            if lane not in in_turn and self._looks_well(lane, streams):
                continue
            try:
                if await self._still_lives(claim):
                    await self._mend_lane(lane, streams, say, claim.id)
            except ProvisionError as error:
                trouble = trouble or error
            # Its deletion may have come to the lane between the two: then what was made just now must go again.
            if lane_stream(lane) not in streams and not await self._still_lives(claim):
                await delete_stream(self._broker, lane_stream(lane))
        return trouble

    def _looks_well(self, lane: str, streams: Mapping[str, Info]) -> bool:
        """As far as the list of streams shows it: a consumer that was changed is found when it is its turn."""
        if not _is_there(streams, self._provisioner.lane_definition(lane)):
            return False
        return bool(streams[lane_stream(lane)]["state"]["consumer_count"])

    async def _mend_privileges(self, living: Mapping[str, Claim], say: Say) -> None:
        missing = living.keys() - await self._access.privileged()
        granted = [claim for claim in living.values() if claim.id in missing and await self._still_lives(claim)]
        if not granted:
            return
        await self._access.grant_worker_privileges(claim.id for claim in granted)
        for claim in granted:
            if not await self._still_lives(claim):
                await self._access.revoke_worker_privilege(claim.id)
        names = tuple(claim.id for claim in granted)
        say(Mended("privilege", f"the workers' privilege was gone and was given again for {_name(names)}", names))

    async def _mend_databases(self, living: Mapping[str, Claim], say: Say) -> None:
        for tenant_id in self._databases.next(living):
            claim = living[tenant_id]
            if (
                claim.config is not None
                and await self._still_lives(claim)
                and await self._access.ensure_database(tenant_id, claim.uid, claim.config.retention_days)
            ):
                what = f"collection or index in the database of {tenant_id} was gone or changed and was made again"
                say(Mended("database", what, (tenant_id,)))

    async def _mend_entries(self, claims: Sequence[Claim], entries: Mapping[str, Entry], say: Say) -> None:
        all_due = {
            claim.id: claim.revision
            for claim in claims
            if claim.config is not None and due_revision(claim.config, entries.get(claim.id)) is not None
        }
        before, self._due_before = self._due_before, all_due
        due = [one for one, revision in all_due.items() if self._alone or before.get(one) == revision]
        mended: set[str] = set()
        for start in range(0, len(due), _AT_ONCE):
            batch = due[start : start + _AT_ONCE]
            written = await asyncio.gather(*map(self._mend_entry, batch))
            mended |= {tenant_id for tenant_id, done in zip(batch, written, strict=True) if done}
        if mended:
            what = f"the entry in the bucket was gone, older or foreign and was written again for {_name(mended)}"
            say(Mended("entry", what, tuple(sorted(mended))))
        present = mended | entries.keys() - {SEAL_KEY}
        if not present.issuperset(all_due):
            return  # somebody else is changing one of them; until the next round nothing is said to be complete
        seal = entries.get(SEAL_KEY)
        if seal is None:
            say(Mended("seal", "the bucket's seal was gone and was written again"))
        if seal is None or sealed_tenants(seal) != len(present):
            await write_seal(self._broker, len(present))

    async def _mend_entry(self, tenant_id: str) -> bool:
        claim = await self._registry.get(tenant_id)
        if claim is None or claim.config is None:
            return False
        try:
            await self._provisioner.project(claim)
        except ProvisionError:  # somebody else provisions it at this moment, and will write it
            return False
        return True

    async def _still_lives(self, claim: Claim) -> bool:
        now = await self._registry.get(claim.id)
        return now is not None and now.uid == claim.uid and _lives(now)


class _Turns:
    """Picks so many of any number of names each time, so that all have had their turn before one has its second."""

    def __init__(self, share: int) -> None:
        self._share = share
        self._last = ""

    def next(self, names: Collection[str]) -> list[str]:
        ordered = sorted(names)
        start = bisect_right(ordered, self._last)
        chosen = (ordered[start:] + ordered[:start])[: self._share]
        self._last = chosen[-1] if chosen else ""
        return chosen


def _lives(claim: Claim) -> bool:
    return claim.state == "Active" and claim.config is not None and claim.config.state == "active"


def _is_there(streams: Mapping[str, Info], wanted: Mapping[str, Any]) -> bool:
    info = streams.get(wanted["name"])
    return info is not None and holds(info["config"], wanted)


def _what_happened(streams: Mapping[str, Info], name: str) -> str:
    return "had been changed and is as it should be again" if name in streams else "was gone and was made again, empty"


def _name(tenant_ids: Iterable[str]) -> str:
    names = sorted(tenant_ids)
    more = len(names) - _NAMES_IN_A_LINE
    return ", ".join(names[:_NAMES_IN_A_LINE]) + (f" and {more} more" if more > 0 else "")
