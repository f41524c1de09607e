"""Workers come when lines wait and go when none do, and whoever is killed in between loses nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from sluice_operator.manifests import lane_object_name
from support.cluster import NAMESPACE
from support.ledger import Outcome
from support.shipping import post_one_by_one, verify
from support.site import Member, Site
from support.waiting import eventually

ENVELOPES = 2_000
WORKERS = 4
SLOW = "worker.settings.simulatedSecondsPerChar=0.6"
"""About 27 s for each of these records, as many at a time as a worker holds."""


class Moment(msgspec.Struct, frozen=True):
    """What the world saw of a lane."""

    second: float
    replicas: int
    ready: int
    backlog: int
    stored: int


class Watch:
    """Looks at a lane and its tenant about once a second, as `kubectl get tenants -w` does."""

    def __init__(self, site: Site, member: Member) -> None:
        self._site, self._member = site, member
        self._began = time.monotonic()
        self.moments: list[Moment] = []

    async def look(self) -> None:
        while True:
            deployment = await self._site.object("deployment", lane_object_name(self._member.lane))
            status = await self._site.status(self._member)
            self.moments.append(
                Moment(
                    time.monotonic() - self._began,
                    deployment["spec"].get("replicas", 0),
                    deployment["status"].get("readyReplicas", 0),
                    status.get("backlog", 0),
                    status.get("stored", 0),
                )
            )
            await asyncio.sleep(1)

    def timeline(self) -> str:
        """Whenever the number of ready workers changed."""
        parts, last = [], -1
        for one in self.moments:
            if one.ready != last:
                parts.append(f"{one.second:.0f} s: {one.ready} ready, backlog {one.backlog} B")
                last = one.ready
        return "; ".join(parts)


@pytest.fixture(scope="module")
async def slow_workers(site: Site) -> AsyncIterator[None]:
    await site.deploy("--set-json", SLOW, "--set", "operator.settings.standardMaxReplicas=5")
    yield
    await site.deploy()


@pytest.mark.usefixtures("slow_workers")
@pytest.mark.parametrize("lane", ["Dedicated", "Standard"])
async def test_from_none_to_four_workers_and_back_with_everything_stored_once(site: Site, lane: str) -> None:
    spec: dict[str, Any] = {"lane": lane}
    if lane == "Dedicated":
        spec["scaling"] = {"minReplicas": 0, "maxReplicas": 5, "lagThreshold": 20}
    member = await site.tenant(f"scaled-{lane.lower()}", **spec)
    await site.no_workers(member.lane)
    watch = Watch(site, member)
    looking = asyncio.create_task(watch.look())
    try:
        book = await post_one_by_one(site, member, ENVELOPES)
        assert len(book.ids(Outcome.ACCEPTED)) == ENVELOPES, book.summary()
        posted = time.monotonic()

        async def enough() -> bool:
            return await site.workers(member.lane) >= WORKERS

        await eventually(enough, within=180, pause=1.0)
        killed = sorted(pod["metadata"]["name"] for pod in await site.pods("worker", member.lane))[:2]
        await site.kubectl("delete", "pod", "-n", NAMESPACE, "--grace-period=0", "--force", *killed)
        await verify(site, book)
        site.say(f"  everything stored {time.monotonic() - posted:.0f} s after the last was posted, two workers killed")
        await site.no_workers(member.lane)

        async def told() -> bool:
            status = await site.status(member)
            return (status["backlog"], status["stored"]) == (0, ENVELOPES)

        await eventually(told, within=60, pause=1.0)
        await asyncio.sleep(1.5)  # one look more, so that the watch has seen the end, too
    finally:
        looking.cancel()
        site.say(f"  {lane}: {watch.timeline()}")
    assert max(one.ready for one in watch.moments) >= WORKERS
    assert watch.moments[0].ready == 0
    assert watch.moments[-1].replicas == 0
    assert max(one.backlog for one in watch.moments) > 0
    assert watch.moments[-1].backlog == 0
