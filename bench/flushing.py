"""What flushes cost: the same requests with a broker that flushes before it acknowledges, and without.

Sluice has no switch for this, on purpose: here the broker's configuration is changed behind its back.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from bench.accepting import BATCH, BATCH_CONNECTIONS, batches, job, measured, singles
from bench.figures import Collected, Figure
from bench.options import Options
from bench.stand import empty_lane, stand
from sluice_local import stack
from sluice_local.nats_server import NatsServer


class _Unflushed(NatsServer):
    """As nats-server comes: it acknowledges first, and flushes every two minutes."""

    def _prepare(self) -> list[str | Path]:
        command = super()._prepare()
        config = self.data_dir / "nats.conf"
        config.write_text(config.read_text().replace('"always"', '"2m"'))
        return command


@contextmanager
def _without_flushes() -> Iterator[None]:
    with patch.object(stack, "NatsServer", _Unflushed):
        yield


async def flushing(options: Options) -> list[Figure]:
    """Accepting with and without flushes, in turn, on two stacks side by side."""
    found = Collected("fsync")
    lines = list(options.lines)
    async with AsyncExitStack() as stands:
        with _without_flushes():
            fast = await stands.enter_async_context(stand())
        safe = await stands.enter_async_context(stand())
        for _ in range(options.repeats):
            rates = {}
            for one in (fast, safe):
                few, _ = await measured(one, job(one.port, singles(lines, [one.key]), options.seconds))
                alone, _ = await measured(one, job(one.port, singles(lines, [one.key]), options.seconds / 2, 1))
                await empty_lane(one)
                many, _ = await measured(
                    one, job(one.port, batches(lines, one.key), options.seconds / 2, BATCH_CONNECTIONS)
                )
                await empty_lane(one)
                rates[one] = (few.per_second(), alone.per_second(), many.per_second() * BATCH)
            names = ("single records, 64 connections", "single records, 1 connection", "records of NDJSON")
            for name, with_flushes, without in zip(names, rates[safe], rates[fast], strict=True):
                found.add(f"{name}: flushed", with_flushes, "/s", ceiling=without, ceiling_is="/s, not flushed")
    return found.figures()
