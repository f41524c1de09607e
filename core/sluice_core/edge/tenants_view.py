"""What this process knows of all tenants, in memory.

Absence is not refusal: until one complete snapshot of the bucket was read the view is not complete, and whoever asks
must answer "not ready", never "unknown". Changes come by a plain subscription as a hint and by a full re-read every
second, since the client's own watch sleeps through broker restarts. Invariant: a lower revision never replaces a
higher one; and an answer is at most `STALE_SECONDS` old unless the view says that it is stale.
"""

import asyncio
import logging

import msgspec

from sluice_core.edge.broker import Broker, Msg
from sluice_core.edge.bucket import read_snapshot
from sluice_core.errors import BrokerError
from sluice_core.names import SEAL_KEY, TENANTS_BUCKET
from sluice_core.tenant import TenantConfig, decode_config

log = logging.getLogger(__name__)

REREAD_SECONDS = 1.0
MIN_REREAD_SECONDS = 0.1
"""However many unknown keys arrive, they cause no more re-reads than this apart."""


STALE_SECONDS = 2.0
"""A revoked key must have stopped working by then, so nothing is decided by an older view."""


class TenantsView:
    """All tenants by id and by key digest. Start `run` as a task; read from the same event loop."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._by_id: dict[str, TenantConfig] = {}
        self._by_digest: dict[str, TenantConfig] = {}
        self._raw: dict[str, bytes] = {}
        self._hinted: set[str] = set()
        self._complete = False
        self._begun = 0
        self._last_read = 0
        """Number of the newest re-read that succeeded; they are numbered as they begin."""
        self._read_at = float("-inf")
        """When the newest re-read that succeeded began."""
        self._seen = 0
        self._reread_done = asyncio.Condition()
        self._wake = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Whether a complete snapshot was ever read: only then does absence mean anything."""
        return self._complete

    @property
    def stale(self) -> bool:
        """Whether too much time passed since the bucket could be read: `confirm` before deciding anything."""
        return asyncio.get_running_loop().time() - self._read_at > STALE_SECONDS

    @property
    def seen(self) -> int:
        """Sequence in the bucket up to which this view has read."""
        return self._seen

    def tenant(self, tenant_id: str) -> TenantConfig | None:
        """The tenant's config; its tombstone counts as one."""
        return self._by_id.get(tenant_id)

    def holder(self, digest: str) -> TenantConfig | None:
        """The tenant that the key with this digest belongs to; maybe one that is going."""
        return self._by_digest.get(digest)

    def tenants(self) -> list[TenantConfig]:
        """Every tenant that is not gone."""
        return [config for config in self._by_id.values() if config.state == "active"]

    def lanes(self) -> set[str]:
        """The lanes of all tenants, those that are going or gone included: something may still be in them."""
        return {config.lane for config in self._by_id.values()}

    async def run(self) -> None:
        """Keep the view current until cancelled."""
        await self._broker.subscribe(f"$KV.{TENANTS_BUCKET}.>", self._hint)
        while True:
            started = asyncio.get_running_loop().time()
            self._wake.clear()
            await self._reread()
            spent = asyncio.get_running_loop().time() - started
            await asyncio.sleep(max(0.0, MIN_REREAD_SECONDS - spent))
            try:
                async with asyncio.timeout(max(0.0, REREAD_SECONDS - MIN_REREAD_SECONDS)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def confirm(self, timeout: float) -> bool:
        """Wait for a complete re-read that began after this call; False when none succeeded within `timeout` seconds.

        All callers share the same re-reads, so this cannot be abused to load the broker.
        """
        target = self._begun + 1
        self._wake.set()
        try:
            async with asyncio.timeout(timeout), self._reread_done:
                await self._reread_done.wait_for(lambda: self._last_read >= target)
        except TimeoutError:
            return False
        return True

    async def _reread(self) -> None:
        self._hinted.clear()
        self._begun += 1
        began_at = asyncio.get_running_loop().time()
        try:
            entries, sequence = await read_snapshot(self._broker)
        except BrokerError as error:
            if not self._complete:
                log.info("the tenants cannot be read yet", extra={"error": str(error)})
            return
        for key in self._by_id.keys() - entries.keys() - self._hinted:
            self._forget(key)
        for key, value in entries.items():
            if self._raw.get(key) != value:
                self._take(key, value)
        self._read_at, self._seen = began_at, sequence
        if not self._complete:
            self._complete = True
            log.info("the tenants are known", extra={"tenants": len(self._by_id)})
        async with self._reread_done:
            self._last_read = self._begun
            self._reread_done.notify_all()

    async def _hint(self, message: Msg) -> None:
        key = message.subject.removeprefix(f"$KV.{TENANTS_BUCKET}.")
        if key != SEAL_KEY and message.data:
            self._hinted.add(key)
            self._take(key, message.data)

    def _take(self, key: str, value: bytes) -> None:
        try:
            config = decode_config(value)
        except msgspec.DecodeError:
            log.error("a tenant's entry cannot be read", extra={"tenant": key})
            return
        current = self._by_id.get(key)
        if config.tenant_id != key or (current is not None and current.revision > config.revision):
            return
        self._forget(key)
        self._raw[key] = value
        self._by_id[key] = config
        for issued in config.keys:
            self._by_digest[issued.digest] = config

    def _forget(self, key: str) -> None:
        self._raw.pop(key, None)
        gone = self._by_id.pop(key, None)
        if gone is not None:
            for issued in gone.keys:
                self._by_digest.pop(issued.digest, None)
