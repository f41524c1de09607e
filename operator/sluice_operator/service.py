"""The operator without kopf: what to do when somebody says to look at a Tenant, and what goes on all the time.

kopf, the lane watch and our own retries only say when to look. Each look reads the object afresh under its lock, does
the work, and patches the status if it is another one. Invariants: a look never raises; one Tenant has one look at a
time; and so many Tenants at once as the settings say, so that a restart with thousands stampedes nobody.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Literal

from sluice_core.edge.repair import Mended
from sluice_core.errors import SluiceError
from sluice_core.reasons import DELETING
from sluice_operator.book import Book, Numbers, Page, Ref
from sluice_operator.conditions import READY, Condition, bad, difference, render
from sluice_operator.events import Events
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.errors import KubeError
from sluice_operator.kube.kinds import NAMESPACE, TENANT
from sluice_operator.metrics import DRIFT, ERRORS, RECONCILE_SECONDS
from sluice_operator.reconcile import Outcome, Reconciler, reason_of
from sluice_operator.removal import Removal

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 2.0
_LAST_RETRY_SECONDS = 30.0
_MOVING_SECONDS = 3.0


class Service:
    """Looks at Tenants and removes them."""

    def __init__(
        self,
        kube: Kube,
        reconciler: Reconciler,
        removal: Removal,
        events: Events,
        *,
        concurrency: int,
        deletions: int,
        on_leaving: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_leaving`: a Tenant waits for the deletion of one that may have been removed without us."""
        self._on_leaving = on_leaving
        self._kube = kube
        self._reconciler = reconciler
        self._removal = removal
        self._events = events
        self.book = Book()
        self._working = asyncio.Semaphore(concurrency)
        self._removing = asyncio.Semaphore(deletions)
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self, ref: Ref) -> None:
        """Bring one Tenant to what it says, as far as that can be done now; what is left is tried again soon."""
        page = self.book.page(ref)
        page.looked_at = _now()
        if page.gone:
            return
        async with page.lock, self._working:
            if page.gone:
                return
            page.looked_at = started = _now()
            retry, moving = True, False
            try:
                retry, moving = await self._look(page)
            except SluiceError as error:
                log.warning("a Tenant could not be looked at", extra={"object": ref.name, "error": str(error)})
                ERRORS.labels(reason_of(error).code).inc()
            except Exception:  # a bug, and no reason to stop looking
                log.exception("a look at a Tenant failed", extra={"object": ref.name})
                ERRORS.labels("internal").inc()
            RECONCILE_SECONDS.labels("look").observe(_now() - started)
            self._plan(page, retry=retry, moving=moving)

    async def _look(self, page: Page) -> tuple[bool, bool]:
        """Returns whether something failed that may succeed soon, and whether something goes on."""
        document = await self._kube.get(TENANT, page.ref.namespace, page.ref.name)
        if document is None or document["metadata"]["uid"] != page.ref.uid:
            return False, False
        if document["metadata"].get("deletionTimestamp"):
            return False, False
        outcome = await self._reconciler.look(document, await self._namespace_uid(page))
        page.tenant_id = outcome.claim.id if outcome.claim is not None else ""
        page.lane = outcome.claim.config.lane if outcome.claim is not None and outcome.claim.config else ""
        page.conditions = outcome.conditions
        if outcome.conditions[0].reason is DELETING:
            self._on_leaving()
        await self._say(document, outcome)
        await self._write_status(page, document, outcome.conditions, outcome.status)
        return outcome.retry, outcome.moving

    async def delete(self, ref: Ref, document: Object) -> str:
        """Remove one Tenant, perhaps for the second time; returns why it has to be tried again, empty: it is done."""
        page = self.book.page(ref)
        page.gone = True  # before the lock: who waits for it must not make anything any more
        async with page.lock, self._removing:
            started = _now()
            try:
                await self._removal.remove(document, await self._namespace_uid(page))
            except SluiceError as error:
                ERRORS.labels(reason_of(error).code).inc()
                log.warning("a Tenant is not deleted yet", extra={"object": ref.name, "error": str(error)})
                await self._say_waiting(ref, str(error))
                return str(error)
            except Exception:
                log.exception("the deletion of a Tenant failed", extra={"object": ref.name})
                ERRORS.labels("internal").inc()
                return "an error of ours: see the operator's log"
            RECONCILE_SECONDS.labels("delete").observe(_now() - started)
        self.book.close(ref)
        return ""

    def soon(self, page: Page) -> None:
        """Look at this one next."""
        self._start(page.ref)

    def mended(self, mended: Mended) -> None:
        """The keeper has put something right."""
        DRIFT.labels(mended.kind).inc()
        for tenant_id in mended.tenants:
            page = self.book.of_tenant(tenant_id)
            if page is not None:
                self._run(self._tell_repaired(page, mended.sentence))

    async def _tell_repaired(self, page: Page, sentence: str) -> None:
        meta = dict(zip(("namespace", "name", "uid"), page.ref, strict=True))
        await self._events.say(meta, "Repaired", sentence[:1].upper() + sentence[1:] + ".")

    async def _say(self, document: Object, outcome: Outcome) -> None:
        """Events for what is new: Ready became another, or something had drifted."""
        for what in outcome.drift:
            DRIFT.labels(what).inc()
            log.warning("something of a tenant had drifted", extra={"tenant": outcome.status["tenantId"], "what": what})
        if outcome.drift:
            names = ", ".join(outcome.drift)
            await self._events.say(document["metadata"], "Repaired", f"Gone or changed, and put right: {names}.")
        ready = outcome.conditions[0]
        before = next((one for one in _conditions(document) if one["type"] == READY), {})
        if (before.get("status"), before.get("reason")) != (ready.status, ready.reason.word):
            kind: Literal["Normal", "Warning"] = "Normal" if ready.status == "True" else "Warning"
            if ready.status != "True":
                ERRORS.labels(ready.reason.code).inc()
            await self._events.say(document["metadata"], ready.reason.word, ready.message, kind)

    async def _write_status(
        self, page: Page, document: Object, conditions: tuple[Condition, ...], status: dict[str, Any]
    ) -> None:
        meta, before = document["metadata"], document.get("status") or {}
        generation = meta.get("generation", 1)
        rendered = render(conditions, _conditions(document), generation, datetime.now(UTC))
        after = {**status, "observedGeneration": generation, "conditions": rendered}
        if "lane" in status:  # counted in time, by `counting`; until then there is nothing
            after = {**dict.fromkeys(Numbers._fields, 0), **before, **after}
        if changed := difference(before, after):
            await self._kube.patch_status(TENANT, meta["namespace"], meta["name"], changed)
        if "lane" in status:
            page.numbers = Numbers(*(after[name] for name in Numbers._fields))

    async def _say_waiting(self, ref: Ref, why: str) -> None:
        """Why a deletion waits, in the status of the object that is going."""
        try:
            document = await self._kube.get(TENANT, ref.namespace, ref.name)
            if document is not None and document["metadata"]["uid"] == ref.uid:
                others = [one for one in _conditions(document) if one["type"] != READY]
                meta = document["metadata"]
                ready = render(
                    [bad(READY, DELETING, why)], _conditions(document), meta.get("generation", 1), datetime.now(UTC)
                )
                if changed := difference(document.get("status") or {}, {"conditions": [*ready, *others]}):
                    await self._kube.patch_status(TENANT, ref.namespace, ref.name, changed)
        except KubeError as error:
            log.info("a status could not be written", extra={"object": ref.name, "error": str(error)})

    async def _namespace_uid(self, page: Page) -> str:
        """Of the namespace that the object lies in; it lives no longer than that."""
        if not page.namespace_uid:
            namespace = await self._kube.get(NAMESPACE, "", page.ref.namespace)
            if namespace is None:
                raise KubeError(f"namespace {page.ref.namespace} is gone")
            page.namespace_uid = namespace["metadata"]["uid"]
        return page.namespace_uid

    def _plan(self, page: Page, *, retry: bool, moving: bool) -> None:
        if page.again is not None:
            page.again.cancel()
            page.again = None
        page.failures = page.failures + 1 if retry else 0
        if (retry or moving) and not page.gone:
            delay = _MOVING_SECONDS
            if retry:
                delay = min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** (page.failures - 1))
            page.again = asyncio.get_running_loop().call_later(delay, self._start, page.ref)

    def _start(self, ref: Ref) -> None:
        self._run(self.look(ref))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End what was begun by ourselves."""
        for page in self.book.pages():
            if page.again is not None:
                page.again.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _conditions(document: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (document.get("status") or {}).get("conditions") or []
    return found


def _now() -> float:
    return asyncio.get_running_loop().time()
