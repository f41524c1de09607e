"""The key-value bucket through which provisioning tells ingest and workers about tenants.

A snapshot counts only when it is complete, and it says so itself: provisioning writes the *seal* after it has written
every tenant of the registry. A bucket that a wiped broker brought back empty has no seal, so nobody takes it for "there
are no tenants". Invariant: `read_snapshot` returns everything or raises.
"""

from contextlib import aclosing

import msgspec

from sluice_core.edge.broker import Broker
from sluice_core.errors import BrokerUnavailable
from sluice_core.names import SEAL_KEY, TENANTS_BUCKET, TENANTS_STREAM, tenant_config_subject
from sluice_core.tenant import TenantConfig, encode_config

_PREFIX = f"$KV.{TENANTS_BUCKET}."
_PAGE = 500
_DIRECT_GET = f"$JS.API.DIRECT.GET.{TENANTS_STREAM}"


async def read_snapshot(broker: Broker, timeout: float = 2.0) -> dict[str, bytes]:
    """The bytes of every entry by its key, the seal left out.

    The bucket keeps one message a key, so walking the stream by sequence yields each key's last value; a key written
    while we walk moves to the end and is seen there.

    Raises BrokerUnavailable when the bucket cannot be read, is not there, or is not sealed.
    """
    entries: dict[str, bytes] = {}
    sequence = 1
    while True:
        page = await _read_page(broker, sequence, timeout)
        entries.update((key, value) for _, key, value in page)
        if len(page) < _PAGE:
            break
        sequence = page[-1][0] + 1
    if entries.pop(SEAL_KEY, None) is None:
        raise BrokerUnavailable("the bucket of tenants is not complete: provisioning has not sealed it")
    return entries


async def _read_page(broker: Broker, sequence: int, timeout: float) -> list[tuple[int, str, bytes]]:
    request = msgspec.json.encode({"seq": sequence, "next_by_subj": f"{_PREFIX}>", "batch": _PAGE})
    page: list[tuple[int, str, bytes]] = []
    async with aclosing(broker.stream_of_replies(_DIRECT_GET, request, timeout)) as replies:
        async for message in replies:
            headers = message.headers or {}
            status = headers.get("Status")
            if status in {"204", "404"}:  # end of batch, or nothing at or after this sequence
                break
            if status is not None:
                raise BrokerUnavailable(f"the bucket of tenants answered {status}")
            page.append((int(headers["Nats-Sequence"]), headers["Nats-Subject"].removeprefix(_PREFIX), message.data))
    return page


async def read_entry(broker: Broker, key: str, timeout: float = 2.0) -> bytes | None:
    """One entry as it is now, None when there is none. Raises BrokerUnavailable."""
    reply = await broker.request(f"{_DIRECT_GET}.{_PREFIX}{key}", b"", timeout)
    status = (reply.headers or {}).get("Status")
    if status == "404":
        return None
    if status is not None:
        raise BrokerUnavailable(f"the bucket of tenants answered {status}")
    return reply.data


async def write_config(broker: Broker, config: TenantConfig, timeout: float = 5.0) -> None:
    """Write one tenant's entry."""
    subject = tenant_config_subject(config.tenant_id)
    await broker.publish(subject, encode_config(config), stream=TENANTS_STREAM, timeout=timeout)


async def write_seal(broker: Broker, tenants: int, timeout: float = 5.0) -> None:
    """Say that every tenant of the registry is in the bucket."""
    payload = msgspec.json.encode({"tenants": tenants})
    await broker.publish(tenant_config_subject(SEAL_KEY), payload, stream=TENANTS_STREAM, timeout=timeout)
