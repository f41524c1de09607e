"""A Sluice whose parts reach the servers through connections that a test can disturb, each by itself.

Only the parts go through them: the test and what keeps the stack see the servers as they are.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Self

from sluice_local.embedded import EmbeddedStack
from sluice_local.part import Part
from sluice_local.ports import HOST
from support.proxy import Proxy
from support.sluice import Sluice, running


class Link(Enum):
    """Who speaks to whom."""

    INGEST_BROKER = "ingest to broker"
    WORKERS_BROKER = "workers to broker"
    WORKERS_DATABASE = "workers to database"


class LinkedStack(EmbeddedStack):
    """The embedded stack with proxies between. They are there while its context lasts."""

    links: dict[Link, Proxy]

    async def _start_parts(self) -> None:
        ports = self.servers.ports
        self.links = {}
        for link in Link:
            target = ports.mongod if link is Link.WORKERS_DATABASE else ports.nats
            self.links[link] = await self.proxies.enter_async_context(Proxy(target))
        await super()._start_parts()

    async def __aenter__(self) -> Self:
        self.proxies = AsyncExitStack()
        return await super().__aenter__()

    async def __aexit__(self, *how: object) -> None:
        try:
            await super().__aexit__(*how)
        finally:
            await self.proxies.aclose()

    def _make_ingest(self, name: str, port: int) -> Part:
        return self._through(super()._make_ingest(name, port), Link.INGEST_BROKER)

    def _make_worker(self, lane: str) -> Part:
        part = self._through(super()._make_worker(lane), Link.WORKERS_BROKER)
        ports = self.servers.ports
        # Through the one way there is: the set itself knows its member by another address.
        uri = part._environ["SLUICE_MONGODB_URI"].replace(
            ports.mongodb_host, f"{HOST}:{self.links[Link.WORKERS_DATABASE].port}"
        )
        uri, _, _ = uri.partition("&replicaSet")
        part._environ = {**part._environ, "SLUICE_MONGODB_URI": f"{uri}&directConnection=true"}
        return part

    def _through(self, part: Part, link: Link) -> Part:
        part._environ = {**part._environ, "SLUICE_NATS_URL": f"nats://{HOST}:{self.links[link].port}"}
        return part


@asynccontextmanager
async def running_with_links(
    data_dir: Path, *, environ: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Sluice, dict[Link, Proxy]]]:
    """A whole Sluice, and its connections."""
    async with running(data_dir, environ=environ, kind=LinkedStack) as sluice:
        assert isinstance(sluice.stack, LinkedStack)
        yield sluice, sluice.stack.links
