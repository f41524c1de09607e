"""The embedded stack as scripts see it: its parts, their replicas, and the file that says where they are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from sluice_local.endpoints import Endpoints
from sluice_local.part import Part
from support.ledger import Ledger
from support.sluice import NDJSON, Sluice, line, running, unique_id
from support.waiting import eventually


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sluice]:
    """Of its own: the other tests count its processes and metrics."""
    async with running(tmp_path_factory.mktemp("embedded")) as sluice:
        yield sluice


def written(sluice: Sluice) -> Endpoints:
    endpoints = Endpoints.load(sluice.stack.data_dir)
    assert endpoints is not None
    return endpoints


async def test_another_ingest_takes_records_of_the_same_tenants(stack: Sluice) -> None:
    ledger = Ledger(stack)
    tenant = await stack.tenant("replicas")
    second = await stack.stack.start_ingest()
    assert second.url != stack.url
    endpoints = written(stack)
    assert endpoints.pids[second.name] == second.process.pid != endpoints.pids["ingest"]
    assert (await stack.http.get(endpoints.metrics[second.name])).status_code == 200
    entry = ledger.note(tenant, unique_id("r"), line())
    answer = await stack.http.post(
        f"{second.url}/ingest",
        content=b'{"log_id":"%s","text":"%s"}' % ((entry.log_id or "").encode(), entry.text.encode()),
        headers={"Authorization": f"Bearer {tenant.key}", "Content-Type": NDJSON},
    )
    assert answer.status_code == 202, answer.text
    ledger.read(answer, [entry])
    await ledger.send_lines(tenant, 1)
    await ledger.check()


async def test_replicas_are_numbered_and_come_back_when_they_die(stack: Sluice) -> None:
    third = await stack.stack.start_ingest()
    assert third.name in {"ingest-2", "ingest-3"}
    pid = third.process.pid
    await third.kill()

    async def again() -> bool:
        return third.running and third.process.pid != pid and await is_ready(stack, third)

    await eventually(again, within=30)


async def is_ready(sluice: Sluice, part: Part) -> bool:
    try:
        return (await sluice.http.get(f"{part.url}/readiness")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("name", ["ingest", "worker-standard"])
async def test_the_file_names_a_process_that_was_started_again_only_when_it_is_ready(stack: Sluice, name: str) -> None:
    part = stack.servers[name]
    assert isinstance(part, Part)
    pid = part.process.pid
    await part.kill()

    async def replaced() -> bool:
        if (shown := written(stack).pids[name]) == pid:
            return False
        assert shown == part.process.pid
        assert await is_ready(stack, part), "it is named and not ready"
        return True

    await eventually(replaced, within=30)


async def test_a_part_that_is_kept_away_is_not_started_again(stack: Sluice) -> None:
    part = stack.stack.ingest
    async with stack.stack.without(part):
        await asyncio.sleep(1)
        assert not part.running
    assert await is_ready(stack, part)


async def test_a_deleted_tenants_lane_has_no_worker_and_is_not_asked_for_any_more(stack: Sluice) -> None:
    tenant = await stack.tenant("lane", lane="Dedicated")

    async def works() -> bool:
        return tenant.lane in stack.stack.workers

    await eventually(works, within=20)
    await stack.stack.rights.deletion.delete(tenant.id)

    async def stopped() -> bool:
        return tenant.lane not in stack.stack.workers

    await eventually(stopped, within=20)
    claim = await stack.stack.rights.provisioner.registry.get(tenant.id)
    assert claim is not None
    assert claim.config is not None
    assert claim.config.lane == "standard", "the tombstone still names the lane, so somebody would look for it"


async def test_every_replica_stops_with_the_stack(tmp_path: Path) -> None:
    async with running(tmp_path) as sluice:
        second = await sluice.stack.start_ingest()
        pids = [server.process.pid for server in sluice.servers.values()]
        assert second.process.pid in pids
        assert len(pids) == 5
    assert not any(psutil.pid_exists(pid) for pid in pids)
