"""A database of three members, around the one that the embedded stack starts.

That one never becomes primary, since the stack would not take a secondary for ready after a start; the two made here
take turns. Invariants: a majority is left whichever of the two is away; both have ended when the context is left.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from sluice_core.tasks import end
from sluice_local import binaries
from sluice_local.credentials import Credentials
from sluice_local.mongod import Mongod
from sluice_local.ports import HOST, Ports
from sluice_local.server import Server
from sluice_local.supervisor import supervise
from support.sluice import ENVIRON, Sluice, running
from support.waiting import eventually

ELECTION_MILLISECONDS = 2_000
"""After so long without a primary the others elect one. The default is 10 s."""


class ReplicaSet:
    """The members by address, and what they say of each other."""

    def __init__(self, sluice: Sluice, servers: dict[str, Server]) -> None:
        self._admin = sluice.stack.rights.client.admin
        self.servers = servers

    async def primary(self) -> str | None:
        """The address of the member that takes writes."""
        with suppress(PyMongoError):
            answer = await self._admin.command("hello")
            return answer["me"] if answer.get("isWritablePrimary") else None
        return None

    async def step_down(self) -> None:
        """Have the primary give up, for a while."""
        with suppress(PyMongoError):  # it may close the connection with its answer
            await self._admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)

    async def whole(self) -> bool:
        """Whether one is primary and all others follow it."""
        with suppress(PyMongoError):
            states = [one["stateStr"] for one in (await self._admin.command("replSetGetStatus"))["members"]]
            return sorted(states) == ["PRIMARY", "SECONDARY", "SECONDARY"]
        return False

    async def configure(self, members: list[dict[str, Any]]) -> None:
        """Have these members from now on."""
        config = (await self._admin.command("replSetGetConfig"))["config"]
        config["settings"]["electionTimeoutMillis"] = ELECTION_MILLISECONDS
        await self._admin.command("replSetReconfig", {**config, "version": config["version"] + 1, "members": members})


@asynccontextmanager
async def running_on_three_databases(folder: Path) -> AsyncIterator[tuple[Sluice, ReplicaSet]]:
    """A whole Sluice whose database is a set of three."""
    data_dir = folder / "data"
    binary = binaries.find(binaries.MONGOD, ENVIRON)
    async with AsyncExitStack() as stack:
        sluice = await stack.enter_async_context(running(data_dir))
        first = sluice.stack.servers
        servers: dict[str, Server] = {first.mongodb_host: first.mongod}
        for number in (1, 2):
            place = folder / f"member-{number}"
            place.mkdir()
            shutil.copy(data_dir / "mongod.key", place)
            ports = Ports.choose(place)
            member = Mongod(
                binary, place, ports=ports, secrets=first.credentials, environ=ENVIRON, bootstrap=_nothing_to_do
            )
            stack.push_async_callback(member.kill)
            await member.start()
            stack.push_async_callback(end, asyncio.create_task(supervise(member)))
            servers[f"{HOST}:{member.port}"] = member
        made = ReplicaSet(sluice, servers)
        members = [{"_id": number, "host": host} for number, host in enumerate(servers)]
        for number in (2, 3):  # one at a time is all that a set takes
            await made.configure(members[:number])
            await eventually(lambda: _joined(made, number), within=60)  # noqa: B023 - awaited here
        while await made.primary() in {first.mongodb_host, None}:
            await made.step_down()
            await asyncio.sleep(0.5)
        await made.configure([{**members[0], "priority": 0}, *members[1:]])
        await eventually(made.whole, within=60)
        yield sluice, made


async def _joined(made: ReplicaSet, number: int) -> bool:
    with suppress(PyMongoError):
        members = (await made._admin.command("replSetGetStatus"))["members"]
        return len(members) == number and all(one["stateStr"] in {"PRIMARY", "SECONDARY"} for one in members)
    return False


async def _nothing_to_do(host: str, credentials: Credentials) -> None:
    """A member that joins gets users and all else from the others."""
