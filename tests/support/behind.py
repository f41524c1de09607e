"""What is written and read behind Sluice's back, with the operator's rights at the broker."""

from base64 import b64decode

from sluice_core.names import TENANTS_STREAM, lane_stream, tenant_config_subject
from sluice_core.tenant import TenantConfig, encode_config
from support.sluice import Sluice


async def overwrite_config(sluice: Sluice, config: TenantConfig) -> None:
    """Write a tenant's entry behind provisioning's back. What keeps the bucket changes it back, unless held still."""
    subject = tenant_config_subject(config.tenant_id)
    await sluice.broker.publish(subject, encode_config(config), stream=TENANTS_STREAM, timeout=5)


async def publish(sluice: Sluice, lane: str, payload: bytes) -> int:
    """Put a message into a lane as only the operator may; returns its sequence."""
    return await sluice.broker.publish(f"logs.{lane}", payload, stream=lane_stream(lane), timeout=5)


async def read_message(sluice: Sluice, lane: str, sequence: int) -> bytes:
    """A message that still lies in a lane."""
    answer = await sluice.broker.api(f"STREAM.MSG.GET.{lane_stream(lane)}", {"seq": sequence})
    return b64decode(answer["message"]["data"])
