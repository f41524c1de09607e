"""Preparing a batch so that one bad record costs its mates nothing, whether it raises or ends the process.

Invariant: every record of the batch comes back once, as a document or with the reason why there is none; native code
never sees a culprit, and a suspect only alone.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sluice_core.reasons import CRASHED_WORKER
from sluice_core.tenant import TenantConfig
from sluice_redact import PolicyError
from sluice_worker import metrics
from sluice_worker.breadcrumb import NOTE_RECORDS, Breadcrumb
from sluice_worker.documents import Failure, Prepared, Preparer, explain, refuse
from sluice_worker.handle import Item
from sluice_worker.preparers import Preparers
from sluice_worker.sink import Outcome

log = logging.getLogger(__name__)

SLICE_RECORDS = 32
"""Prepared without a pause, between half a millisecond and one. What others wait for comes in pieces, each of which
waits for a round of the event loop; so in no round is more than one slice prepared, whoever's it is."""
_CRASHED = Failure(CRASHED_WORKER, "")


class Preparation:
    """Prepares batches, with a note of what is in native code's hands. One thread uses it."""

    def __init__(self, preparers: Preparers, breadcrumb: Breadcrumb | None) -> None:
        self._preparers = preparers
        self._breadcrumb = breadcrumb
        self._hand = asyncio.Lock()
        self._count_suspects()

    def prepare(self, config: TenantConfig, batch: list[Item], started: datetime) -> list[Prepared]:
        """The batch of one tenant, in any order; work on it began at `started`. Counts what was redacted."""
        try:
            preparer = self._preparers.get(config)
        except PolicyError as error:  # of another release: what cannot be redacted must not be stored
            return refuse(batch, explain(error))
        prepared: list[Prepared] = []
        for part in self._parts(batch, prepared):
            prepared += self._prepare_part(preparer, part, started)
        return prepared

    async def prepare_in_slices(self, config: TenantConfig, batch: list[Item], started: datetime) -> list[Prepared]:
        """As `prepare`, a slice at a time; in between others get their turn, with slices and on the event loop."""
        prepared: list[Prepared] = []
        for start in range(0, len(batch), SLICE_RECORDS):
            async with self._hand:
                prepared += self.prepare(config, batch[start : start + SLICE_RECORDS], started)
                await asyncio.sleep(0)
        return prepared

    def buried(self, outcome: Outcome) -> None:
        """A record has its dead letter."""
        if self._breadcrumb is not None and outcome.reason is CRASHED_WORKER:
            self._breadcrumb.forget(outcome.prepared.item.version)

    def _parts(self, batch: list[Item], prepared: list[Prepared]) -> Iterator[list[Item]]:
        """What is prepared together; culprits are put into `prepared` as they are."""
        crumb = self._breadcrumb
        if crumb is None:
            yield batch
            return
        if crumb.watching:
            innocent: list[Item] = []
            for item in batch:
                if crumb.is_culprit(item.version):
                    prepared += refuse([item], _CRASHED)
                elif crumb.is_suspect(item.version):
                    yield [item]
                    crumb.acquit(item.version)
                else:
                    innocent.append(item)
            self._count_suspects()
            batch = innocent
        for start in range(0, len(batch), NOTE_RECORDS):
            yield batch[start : start + NOTE_RECORDS]

    def _prepare_part(self, preparer: Preparer, part: list[Item], started: datetime) -> list[Prepared]:
        try:
            if self._breadcrumb is not None:
                self._breadcrumb.begin([item.version for item in part])
            return _prepare(preparer, part, started)
        except Exception as error:
            if len(part) == 1:
                log.exception("a record cannot be prepared", extra={"tenant": preparer.config.tenant_id})
                return refuse(part, explain(error))
        finally:
            if self._breadcrumb is not None:
                self._breadcrumb.end()
        # One of them is to blame: alone, it fails alone.
        return [one for item in part for one in self._prepare_part(preparer, [item], started)]

    def _count_suspects(self) -> None:
        if self._breadcrumb is not None:
            metrics.SUSPECTS.set(self._breadcrumb.suspects)


def _prepare(preparer: Preparer, part: Sequence[Item], started: datetime) -> list[Prepared]:
    prepared, hits = preparer.prepare(list(part), datetime.now(UTC), started)
    for detector, count in hits.items():
        metrics.REDACTIONS.labels(preparer.config.tenant_id, detector).inc(count)
    return prepared
