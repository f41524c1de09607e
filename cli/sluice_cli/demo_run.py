"""The demo's work on a running stack: send as both tenants at once, wait, read everything back.

Invariant: what is checked was read from the databases, each with its own tenant's read-only user; what the parts say of
themselves is shown and never believed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from rich.progress import TaskID

from sluice_cli.client import Answer, Client, send_all
from sluice_cli.demo_check import Report, TenantResult, count_sendable, read_labels
from sluice_cli.histogram import ACCEPT_TO_STORE, quantile, read_buckets
from sluice_cli.lines import Batch, LineReader, read_batches, read_file
from sluice_cli.output import plural
from sluice_cli.progress import make_bar
from sluice_cli.session import Session
from sluice_core.edge.letters import count_by_tenant
from sluice_core.edge.logs import TenantLogs, count_ids
from sluice_core.names import STANDARD_LANE, dead_letter_subject, parked_subject, tenant_database
from sluice_local.embedded import EmbeddedStack

TENANTS = ("demo-blue", "demo-green")
_BATCH = 500
_CONCURRENCY = 4
_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0
"""How long nothing may arrive in the databases before the rest is called missing."""


class Demo:
    """One demo on one stack."""

    def __init__(self, session: Session, stack: EmbeddedStack, files: list[Path]) -> None:
        self._session = session
        self._stack = stack
        self._files = files
        self._labels: dict[str, list[str]] = {}
        self._logs = {
            tenant_id: TenantLogs(stack.endpoints.tenants[tenant_id].mongodb, tenant_id, original=True)
            for tenant_id in TENANTS
        }
        self._bar = make_bar(session.err)
        self.report = Report(files, [TenantResult(tenant_id) for tenant_id in TENANTS])

    async def run(self) -> Report:
        """Do all of it."""
        try:
            self._read_labels()
            started = time.monotonic()
            await self._send()
            await self._wait()
            self.report.seconds = time.monotonic() - started
            await self._verify()
            await self._read_metrics()
        finally:
            for logs in self._logs.values():
                logs.close()
        return self.report

    async def _send(self) -> None:
        size = sum(file.stat().st_size for file in self._files)
        self._session.note(f"sending {plural(len(self._files), 'file')}, {size:,} bytes, as {' and as '.join(TENANTS)}")
        with self._bar:
            async with asyncio.TaskGroup() as group:
                for result in self.report.tenants:
                    task = self._bar.add_task(result.tenant_id, total=size, state="")
                    group.create_task(self._send_as(result, task))
        for result in self.report.tenants:
            count = f"{plural(result.accepted, 'line')} accepted, {result.refused.total():,} refused"
            self._session.note(f"{result.tenant_id}: {count}")

    async def _send_as(self, result: TenantResult, task: TaskID) -> None:
        endpoints = self._stack.endpoints
        key = endpoints.tenants[result.tenant_id].key
        answer = Answer()
        readers: list[LineReader] = []

        def settled(batch: Batch, of_batch: Answer) -> None:
            answer.add(of_batch)
            self._bar.update(task, advance=batch.end - batch.start)

        for number, file in enumerate(self._files):
            reader = LineReader()
            readers.append(reader)
            source = _source(result.tenant_id, number)
            client = Client(endpoints.ingest, result.tenant_id, key, source=source, return_ids=True)
            async with client:
                batches: AsyncIterator[Batch] = read_batches(read_file(file), reader, _BATCH)
                await send_all(client, batches, concurrency=_CONCURRENCY, settled=settled)
        result.accepted = answer.accepted
        result.accepted_ids = set(answer.ids)
        result.refused = answer.rejected + count_sendable(readers)

    async def _wait(self) -> None:
        """Until as much is stored as was accepted, or nothing more comes."""
        wanted = {result.tenant_id: result.accepted for result in self.report.tenants}
        self._session.note("waiting until all are stored")
        most, deadline = -1, time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            counts = {tenant_id: await logs.count() for tenant_id, logs in self._logs.items()}
            if all(counts[tenant_id] >= count for tenant_id, count in wanted.items()):
                return
            if sum(counts.values()) > most:
                most, deadline = sum(counts.values()), time.monotonic() + _PATIENCE_SECONDS
            await asyncio.sleep(_POLL_SECONDS)

    async def _verify(self) -> None:
        self._session.note("verifying counts, texts and isolation")
        rights = self._stack.rights
        dead = await count_by_tenant(rights.broker, dead_letter_subject("*"))
        parked = await count_by_tenant(rights.broker, parked_subject("*"))
        for result in self.report.tenants:
            result.dead_letters = dead.get(result.tenant_id, 0)
            result.parked = parked.get(result.tenant_id, 0)
            result.begin_check()
            async for document in self._logs[result.tenant_id].all():
                result.check(document, self._labels)
        # Ids begin with their tenant's name, so a stray one is found wherever it is.
        places = await count_ids(rights.client, [f"{tenant_id}." for tenant_id in TENANTS])
        found = {
            database: {prefix.removesuffix("."): count for prefix, count in counts.items()}
            for database, counts in places.items()
        }
        self.report.judge(found, {tenant_id: tenant_database(tenant_id) for tenant_id in TENANTS})

    async def _read_metrics(self) -> None:
        worker = self._stack.workers[STANDARD_LANE]
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                page = (await http.get(f"{worker.url}/metrics")).text
            except httpx.TransportError:
                return  # it only loses its figures by this
        buckets = read_buckets(page, ACCEPT_TO_STORE)
        self.report.p50, self.report.p99 = quantile(buckets, 0.5), quantile(buckets, 0.99)

    def _read_labels(self) -> None:
        expected: Counter[str] = Counter()
        for number, file in enumerate(self._files):
            labels = read_labels(file)
            if labels is None:
                return
            for offset, values in labels:
                every = [value for found in values.values() for value in found]
                for tenant_id in TENANTS:
                    self._labels[f"{_source(tenant_id, number)}-{offset:012d}"] = every
                expected.update({detector: len(found) for detector, found in values.items()})
        self.report.expected_redactions = expected


def _source(tenant_id: str, number: int) -> str:
    return f"{tenant_id}.{number}"
