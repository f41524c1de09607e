"""A tenant moves to another lane: new records take the new one, the old one is finished and goes."""

import asyncio

from sluice_core.edge.lanes import lane_exists
from sluice_core.names import STANDARD_LANE
from support.ledger import Ledger
from support.sluice import Account, Sluice, line
from support.waiting import eventually

SOON = 30.0


async def closed(sluice: Sluice, tenant_id: str) -> None:
    async def away() -> bool:
        claim = await sluice.stack.rights.provisioner.find(tenant_id)
        return claim.closing == () and not await lane_exists(sluice.broker, f"t-{tenant_id}")

    await eventually(away, within=SOON)


async def test_nothing_is_lost_on_the_way_from_lane_to_lane(sluice: Sluice, ledger: Ledger) -> None:
    tenant = await sluice.tenant("mover")
    moving = asyncio.Event()

    async def send(to: Account) -> None:
        while not moving.is_set():
            await ledger.send_lines(to, 3)

    sending = asyncio.create_task(send(tenant))
    for lane in ("Dedicated", "Standard", "Dedicated", "Standard"):
        await asyncio.sleep(1)
        await sluice.tenant(tenant.id, exactly=True, lane=lane)
    moving.set()
    await sending
    await closed(sluice, tenant.id)
    await sluice.idle(STANDARD_LANE)
    await ledger.check()


async def test_a_lane_with_something_in_it_stays_until_a_worker_has_finished_it(sluice: Sluice) -> None:
    tenant = await sluice.tenant("idle-moved", exactly=True, lane="Dedicated")
    assert (await sluice.send(tenant, [{"text": line()} for _ in range(3)])).status_code == 202
    await sluice.tenant(tenant.id, exactly=True)
    for _ in range(3):
        await sluice.stack.keeper.once()
        await asyncio.sleep(1)
    assert await lane_exists(sluice.broker, tenant.lane)
    assert await sluice.logs(tenant).count_documents({}) == 0
    await sluice.stack.start_worker(tenant.lane)
    await closed(sluice, tenant.id)
    assert await sluice.logs(tenant).count_documents({}) == 3
