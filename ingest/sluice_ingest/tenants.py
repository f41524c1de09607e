"""Which tenant a request is for.

With keys, the tenant is the key's holder and everything else is only compared with it. With `auth: none`, for a laptop,
it is whoever the request names, made on first use by the embedded stack. Invariant: "unknown" is said only after a
complete re-read of the tenants found nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.errors import BrokerError, Refusal
from sluice_core.names import PROVISION_SUBJECT, is_tenant_id
from sluice_core.reasons import (
    DROPPING,
    INVALID_FIELD,
    KEY_INVALID,
    MISSING_FIELD,
    NOT_READY,
    PROVISIONING_FAILED,
    SUSPENDED,
    TENANT_GONE,
)
from sluice_core.tenant import TenantConfig

CONFIRM_SECONDS = 2.0
_PROVISION_SECONDS = 10.0


class View(Protocol):
    """What ingest asks of the tenants view."""

    @property
    def complete(self) -> bool:
        """Whether absence means anything."""
        ...

    @property
    def stale(self) -> bool:
        """Whether it is too old to decide by."""
        ...

    def tenant(self, tenant_id: str) -> TenantConfig | None:
        """By id."""
        ...

    def holder(self, digest: str) -> TenantConfig | None:
        """By key digest."""
        ...

    async def confirm(self, timeout: float) -> bool:
        """Wait for a complete re-read."""
        ...


async def find_key_holder(view: View, digest: str, patience: float = CONFIRM_SECONDS) -> TenantConfig:
    """The tenant that the key belongs to, if it may send; a re-read that decides takes `patience` seconds at most.

    A key is compared by looking its SHA-256 up, never byte by byte: how long that takes says nothing of a key, since
    nobody can choose what its digest begins with. However many unknown ones come, they share the view's re-reads.

    Raises Refusal: NOT_READY, KEY_INVALID, SUSPENDED, DROPPING, TENANT_GONE.
    """
    config = view.holder(digest)
    if config is None or view.stale:
        confirmed = await view.confirm(min(patience, CONFIRM_SECONDS))
        config = view.holder(digest)
        if not confirmed and (config is None or view.stale):
            raise Refusal(NOT_READY)
        if config is None:
            raise Refusal(KEY_INVALID)
    return may_send(config)


def may_send(config: TenantConfig) -> TenantConfig:
    """The tenant, if it lives and its suspension lets it send. Raises Refusal."""
    if config.state == "gone":
        raise Refusal(TENANT_GONE)
    match config.suspension:
        case "Reject":
            raise Refusal(SUSPENDED)
        case "Drop":
            raise Refusal(DROPPING)
    return config


async def find_named_tenant(
    view: View,
    named: Sequence[str | None],
    provision: Callable[[str], Awaitable[None]],
    patience: float = CONFIRM_SECONDS,
) -> TenantConfig:
    """The tenant that a request without a key names first, provisioned within `patience` seconds if there is none.

    Raises Refusal: MISSING_FIELD when none is named, INVALID_FIELD for what is no tenant id, and as `may_send`.
    """
    tenant_id = next((name for name in named if name is not None), None)
    if tenant_id is None:
        raise Refusal(MISSING_FIELD, "Name the tenant in `tenant_id` or in the header X-Tenant-ID.")
    if not is_tenant_id(tenant_id):
        raise Refusal(INVALID_FIELD, "`tenant_id` must be 1 to 40 of a-z 0-9 - _.")
    config = view.tenant(tenant_id)
    if config is None:
        if not view.complete:
            raise Refusal(NOT_READY)
        try:
            async with asyncio.timeout(patience):
                await provision(tenant_id)
                await view.confirm(CONFIRM_SECONDS)
        except TimeoutError:
            raise Refusal(PROVISIONING_FAILED, "The tenant is still being made: try again in a moment.") from None
        config = view.tenant(tenant_id)
        if config is None:
            raise Refusal(PROVISIONING_FAILED)
    return may_send(config)


class Provisioning:
    """Asks the embedded stack, over the broker, to make a tenant."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def __call__(self, tenant_id: str) -> None:
        """Returns when the tenant exists. Raises Refusal with PROVISIONING_FAILED."""
        try:
            reply = await self._broker.request(PROVISION_SUBJECT, tenant_id.encode(), _PROVISION_SECONDS)
            made: bool = msgspec.json.decode(reply.data, type=bool)
        except (BrokerError, msgspec.DecodeError):
            raise Refusal(PROVISIONING_FAILED) from None
        if not made:
            raise Refusal(PROVISIONING_FAILED)
