"""The key-value bucket through which provisioning tells ingest and workers about tenants.

A snapshot counts only when it is complete, and it says so itself: provisioning writes the *seal* after it has written
every tenant of the registry, and the seal says how many entries there are. A bucket that a wiped broker brought back
empty has no seal, and one that lost an entry has fewer than its seal says, so nobody takes either for "there is no such
tenant". Invariant: `read_snapshot` returns everything or raises.
"""

from contextlib import aclosing
from typing import NamedTuple

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.errors import BrokerUnavailable
from sluice_core.names import SEAL_KEY, TENANTS_BUCKET, TENANTS_STREAM, tenant_config_subject
from sluice_core.tenant import TenantConfig, decode_config, encode_config

_PREFIX = f"$KV.{TENANTS_BUCKET}."
_PAGE = 500
_DIRECT_GET = f"$JS.API.DIRECT.GET.{TENANTS_STREAM}"


class Entry(NamedTuple):
    """One key's value as it was read."""

    sequence: int
    value: bytes


class Snapshot(NamedTuple):
    """The bucket at one moment."""

    entries: dict[str, bytes]
    """By key, the seal left out."""
    sequence: int
    """Of the newest entry: whatever was written up to it is in here."""


class _Seal(msgspec.Struct):
    tenants: int = 0


async def read_snapshot(broker: Broker, timeout: float = 2.0) -> Snapshot:
    """Every entry.

    Raises BrokerUnavailable when the bucket cannot be read, is not there, or is not complete.
    """
    entries = await read_bucket(broker, timeout)
    seal = entries.pop(SEAL_KEY, None)
    if seal is None or len(entries) < sealed_tenants(seal):
        raise BrokerUnavailable("the bucket of tenants is not complete: provisioning has yet to mend it")
    newest = max([seal.sequence, *(entry.sequence for entry in entries.values())])
    return Snapshot({key: entry.value for key, entry in entries.items()}, newest)


async def read_bucket(broker: Broker, timeout: float = 2.0) -> dict[str, Entry]:
    """Whatever is in the bucket, by key, the seal with it. Raises BrokerUnavailable.

    The bucket keeps one message a key, so walking the stream by sequence yields each key's last value; a key written
    while we walk moves to the end and is seen there.
    """
    entries: dict[str, Entry] = {}
    sequence = 1
    while True:
        page = await _read_page(broker, sequence, timeout)
        entries.update(page)
        if len(page) < _PAGE:
            return entries
        sequence = page[-1][1].sequence + 1


async def _read_page(broker: Broker, sequence: int, timeout: float) -> list[tuple[str, Entry]]:
    request = msgspec.json.encode({"seq": sequence, "next_by_subj": f"{_PREFIX}>", "batch": _PAGE})
    page: list[tuple[str, Entry]] = []
    async with aclosing(broker.stream_of_replies(_DIRECT_GET, request, timeout)) as replies:
        async for message in replies:
            headers = message.headers or {}
            status = headers.get("Status")
            if status in {"204", "404"}:  # end of batch, or nothing at or after this sequence
                break
            if status is not None:
                raise BrokerUnavailable(f"the bucket of tenants answered {status}")
            key = headers["Nats-Subject"].removeprefix(_PREFIX)
            page.append((key, Entry(int(headers["Nats-Sequence"]), message.data)))
    return page


async def read_entry(broker: Broker, key: str, timeout: float = 2.0) -> Entry | None:
    """One entry as it is now, None when there is none. Raises BrokerUnavailable."""
    reply = await broker.request(f"{_DIRECT_GET}.{_PREFIX}{key}", b"", timeout)
    headers = reply.headers or {}
    status = headers.get("Status")
    if status == "404":
        return None
    if status is not None:
        raise BrokerUnavailable(f"the bucket of tenants answered {status}")
    return Entry(int(headers["Nats-Sequence"]), reply.data)


async def write_config(
    broker: Broker, config: TenantConfig, *, replacing: Entry | None = None, timeout: float = 5.0
) -> int:
    """Write one tenant's entry in the place of `replacing`, or where there is none; returns its sequence.

    Raises BrokerUnavailable also when another entry is there: read it, and decide again.
    """
    return await broker.publish(
        tenant_config_subject(config.tenant_id),
        encode_config(config),
        stream=TENANTS_STREAM,
        timeout=timeout,
        headers={"Nats-Expected-Last-Subject-Sequence": str(replacing.sequence if replacing else 0)},
    )


async def write_seal(broker: Broker, tenants: int, timeout: float = 5.0) -> None:
    """Say that every tenant of the registry is in the bucket, in so many entries."""
    payload = msgspec.json.encode(_Seal(tenants))
    await broker.publish(tenant_config_subject(SEAL_KEY), payload, stream=TENANTS_STREAM, timeout=timeout)


def sealed_tenants(seal: Entry) -> int:
    """How many entries the seal says there are."""
    try:
        return msgspec.json.decode(seal.value, type=_Seal).tenants
    except msgspec.DecodeError:
        return 0


def due_revision(config: TenantConfig, entry: Entry | None) -> int | None:
    """The revision under which the registry's `config` has to be written over `entry`; None: it is there as it is.

    What is older is replaced. Something else under our revision or a newer one was not written by provisioning; those
    who have seen it will not go back, so ours has to be newer still.
    """
    if entry is None:
        return config.revision
    try:
        found = decode_config(entry.value)
    except msgspec.DecodeError:  # nobody could read it, so nobody goes by it
        return config.revision
    if found == config:
        return None
    return config.revision if found.revision < config.revision else found.revision + 1
