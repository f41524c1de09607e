"""Sending and hearing signs of life over the broker, without its disk.

A process that the broker cannot hear cannot publish there either, so those heard of are those that count. Invariant:
`live` answers only from what was heard, and `all_have_seen` never says yes before it has listened long enough to have
heard everybody.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec

from sluice_core.edge.broker import Broker, Msg
from sluice_core.errors import BrokerUnavailable
from sluice_core.heartbeat import HEARTBEAT_SECONDS, LIVE_SECONDS, Heartbeat, decode_heartbeat, encode_heartbeat
from sluice_core.names import HEARTBEATS

log = logging.getLogger(__name__)

_HEARD_ALL_SECONDS = 3 * HEARTBEAT_SECONDS


async def beat(broker: Broker, subject: str, make: Callable[[], Heartbeat]) -> None:
    """Send what `make` returns until cancelled. While disconnected nothing is made, so nothing is left out."""
    while True:
        await beat_once(broker, subject, make)
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def beat_once(broker: Broker, subject: str, make: Callable[[], Heartbeat]) -> None:
    """Send one, if it can be sent."""
    if broker.connected:
        with suppress(BrokerUnavailable):
            await broker.send(subject, encode_heartbeat(make()))


class Roster:
    """Who is alive, by their heartbeats."""

    def __init__(self, broker: Broker, on_heartbeat: Callable[[Heartbeat], None] = lambda _: None) -> None:
        self._broker = broker
        self._on_heartbeat = on_heartbeat
        self._heard: dict[str, tuple[float, Heartbeat]] = {}
        self._starting = asyncio.Lock()
        self._listening_since = float("inf")

    async def start(self) -> None:
        """Listen, also after reconnecting; hear `on_heartbeat` called for each. Again: nothing happens.

        Raises BrokerUnavailable when it cannot be begun.
        """
        async with self._starting:
            if self._listening_since == float("inf"):
                await self._broker.subscribe(HEARTBEATS, self._take)
                self._listening_since = _now()  # not before: who does not listen must not think that nobody is there

    def live(self) -> list[Heartbeat]:
        """The latest of each process that is alive."""
        oldest = _now() - LIVE_SECONDS
        for instance in [one for one, (moment, _) in self._heard.items() if moment < oldest]:
            del self._heard[instance]
        return [heartbeat for _, heartbeat in self._heard.values()]

    def all_have_seen(self, sequence: int) -> bool:
        """Whether every live process has read the tenants bucket up to this sequence."""
        if _now() - self._listening_since < _HEARD_ALL_SECONDS:
            return False
        return all(heartbeat.seen >= sequence for heartbeat in self.live())

    async def _take(self, message: Msg) -> None:
        try:
            heartbeat = decode_heartbeat(message.data)
        except msgspec.DecodeError:
            log.warning("a heartbeat cannot be read")
            return
        if heartbeat.stopping:
            self._heard.pop(heartbeat.instance, None)
        else:
            self._heard[heartbeat.instance] = (_now(), heartbeat)
        self._on_heartbeat(heartbeat)


def _now() -> float:
    return asyncio.get_running_loop().time()
