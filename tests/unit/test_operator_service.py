"""Looks and deletions of one Tenant never overlap, and nothing is made for one that is going."""

import asyncio
from typing import Any, cast

import pytest

from sluice_core.errors import BrokerUnavailable
from sluice_core.reasons import BROKER_UNAVAILABLE, STORE_UNAVAILABLE
from sluice_operator.book import Ref
from sluice_operator.conditions import PARTS, READY, Condition, bad, good, summarize
from sluice_operator.kube.client import Object
from sluice_operator.kube.errors import KubeUnavailable
from sluice_operator.reconcile import Outcome
from sluice_operator.service import Service
from unit.virtual import run

REF = Ref("team-a", "acme", "uid-1")


class _World:
    """A cluster with one Tenant; notes what is done to it, and takes its time."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.tenant: Object | None = {
            "metadata": {"name": "acme", "namespace": "team-a", "uid": "uid-1", "generation": 1},
            "spec": {},
        }
        self.parts: list[Condition] = [good(part) for part in PARTS]
        self.retry = self.moving = False
        self.trouble: Exception | None = None
        self.seconds = 5.0
        self.service = Service(
            cast("Any", self), cast("Any", self), cast("Any", self), cast("Any", self), concurrency=2, deletions=2
        )

    # As the API server.
    async def get(self, kind: Any, namespace: str, name: str) -> Object | None:
        if kind.kind == "Namespace":
            return {"metadata": {"uid": "namespace-uid"}}
        if isinstance(self.trouble, KubeUnavailable):
            raise self.trouble
        return self.tenant

    async def patch_status(self, kind: Any, namespace: str, name: str, status: Object) -> None:
        assert self.tenant is not None
        self.done.append("status " + ",".join(sorted(status)))
        self.tenant["status"] = {**(self.tenant.get("status") or {}), **status}

    # As the reconciler, the removal, and the events.
    async def look(self, document: Object, namespace_uid: str) -> Outcome:
        self.done.append("look begins")
        await asyncio.sleep(self.seconds)
        if self.trouble is not None:
            raise self.trouble
        self.done.append("look ends")
        ready = summarize(self.parts)
        status = {"tenantId": "acme"}
        return Outcome((ready, *self.parts), status, None, (), (), self.retry, self.moving)

    async def remove(self, document: Object, namespace_uid: str) -> None:
        self.done.append("remove begins")
        await asyncio.sleep(self.seconds)
        if self.trouble is not None:
            raise self.trouble
        self.tenant = None
        self.done.append("remove ends")

    async def say(self, meta: Object, reason: str, message: str, kind: str = "Normal") -> None:
        self.done.append(f"event {reason}")

    def looks(self) -> int:
        return self.done.count("look begins")


def test_a_deletion_waits_for_the_look_that_is_under_way_and_no_look_comes_after_it() -> None:
    async def scenario() -> None:
        world = _World()
        looking = asyncio.create_task(world.service.look(REF))
        await asyncio.sleep(1)
        deleting = asyncio.create_task(world.service.delete(REF, {}))
        await asyncio.sleep(1)
        late = asyncio.create_task(world.service.look(REF))
        assert await deleting == ""
        await asyncio.gather(looking, late)
        await world.service.look(REF)
        steps = [step for step in world.done if step.split()[0] in {"look", "remove"}]
        assert steps == ["look begins", "look ends", "remove begins", "remove ends"]

    run(scenario())


def test_looks_at_one_tenant_come_one_after_the_other() -> None:
    async def scenario() -> None:
        world = _World()
        await asyncio.gather(*(world.service.look(REF) for _ in range(3)))
        steps = [step for step in world.done if step.startswith("look")]
        assert steps == ["look begins", "look ends"] * 3

    run(scenario())


def test_a_second_look_that_finds_the_same_writes_nothing() -> None:
    async def scenario() -> None:
        world = _World()
        await world.service.look(REF)
        assert "event Provisioned" in world.done
        world.done.clear()
        await world.service.look(REF)
        assert world.done == ["look begins", "look ends"]

    run(scenario())


def test_what_is_left_is_tried_again_later_and_later_but_at_least_twice_a_minute() -> None:
    async def scenario() -> None:
        world = _World()
        world.seconds, world.retry = 0.0, True
        world.parts = [bad(part, BROKER_UNAVAILABLE) for part in PARTS]
        await world.service.look(REF)
        await asyncio.sleep(63)  # after 2, 4, 8, 16, 30
        assert world.looks() == 6
        world.retry, world.parts = False, [good(part) for part in PARTS]
        await asyncio.sleep(300)
        assert world.looks() == 7
        await world.service.stop()

    run(scenario())


def test_what_goes_on_is_looked_at_again_in_a_few_seconds_and_never_less_often() -> None:
    async def scenario() -> None:
        world = _World()
        world.seconds, world.moving = 0.0, True
        await world.service.look(REF)
        await asyncio.sleep(31)
        assert world.looks() == 11
        await world.service.stop()

    run(scenario())


@pytest.mark.parametrize("trouble", [ValueError("slk_secret"), KubeUnavailable("away"), BrokerUnavailable("away")])
def test_a_look_never_raises_and_is_made_again(trouble: Exception) -> None:
    async def scenario() -> None:
        world = _World()
        world.seconds, world.trouble = 0.0, trouble
        await world.service.look(REF)
        world.trouble = None
        await asyncio.sleep(3)
        assert "look ends" in world.done
        await world.service.stop()

    run(scenario())


def test_why_a_deletion_waits_is_in_the_status_once() -> None:
    async def scenario() -> None:
        world = _World()
        await world.service.look(REF)
        world.done.clear()
        world.trouble = BrokerUnavailable("the broker did not answer in time")
        assert "did not answer" in await world.service.delete(REF, {})
        assert "did not answer" in await world.service.delete(REF, {})
        assert world.done == ["remove begins", "status conditions", "remove begins"]
        assert world.tenant is not None
        [ready] = [one for one in world.tenant["status"]["conditions"] if one["type"] == READY]
        assert (ready["status"], ready["reason"]) == ("False", "Deleting")
        assert len(world.tenant["status"]["conditions"]) == 1 + len(PARTS)

    run(scenario())


def test_an_error_of_ours_in_a_deletion_is_not_repeated_to_the_outside() -> None:
    async def scenario() -> None:
        world = _World()
        world.trouble = ValueError("slk_secret")
        assert "slk" not in await world.service.delete(REF, {})

    run(scenario())


def test_an_object_of_the_same_name_that_came_later_is_another() -> None:
    async def scenario() -> None:
        world = _World()
        assert world.tenant is not None
        world.tenant["metadata"]["uid"] = "uid-2"
        await world.service.look(REF)
        assert world.looks() == 0

    run(scenario())


def test_tenants_are_counted_by_condition() -> None:
    async def scenario() -> None:
        world = _World()
        world.parts = [bad(PARTS[0], STORE_UNAVAILABLE), *world.parts[1:]]
        await world.service.look(REF)
        census = world.service.book.census()
        assert census[READY, "False"] == 1
        assert census[PARTS[1], "True"] == 1

    run(scenario())
