"""Not waiting half a minute for what a crash left unacknowledged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from sluice_core.errors import BrokerError
from sluice_core.names import STANDARD_LANE, WORKERS, lane_stream
from support.sluice import Sluice
from support.waiting import eventually


@asynccontextmanager
async def hastened_redelivery(sluice: Sluice, lane: str = STANDARD_LANE) -> AsyncIterator[None]:
    """What a killed worker or broker left unacknowledged comes again in 2 s rather than in 30."""

    async def info() -> dict[str, Any] | None:
        with suppress(BrokerError):  # it may be the broker that was killed, or has no leader yet
            return await sluice.broker.api(f"CONSUMER.INFO.{lane_stream(lane)}.{WORKERS}")
        return None

    async with sluice.stack.keeper.still():
        found = await eventually(info, within=30)
        assert found is not None
        before = found["config"]
        await _configure(sluice, lane, {**before, "ack_wait": 2_000_000_000})
        try:
            yield
        finally:
            await _configure(sluice, lane, before)


async def _configure(sluice: Sluice, lane: str, config: dict[str, Any]) -> None:
    request = {"stream_name": lane_stream(lane), "config": config}
    await sluice.broker.api(f"CONSUMER.DURABLE.CREATE.{lane_stream(lane)}.{WORKERS}", request)
