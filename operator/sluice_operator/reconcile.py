"""Bringing one Tenant to what it says: the design's steps in their order, all errors collected.

Level-triggered: create, update, resume, timer and a lost child all end here, and it goes by what is, never by what
happened. Invariants: a look that finds everything as it should be writes nothing anywhere; the claim comes first, so
the loser of a conflict makes nothing; the bucket comes last, and only when all it depends on is there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import msgspec

from sluice_core.edge.provision import Issued, Projection, Provisioner
from sluice_core.edge.registry import Claim, Owner, same_owner
from sluice_core.edge.store import store_errors
from sluice_core.errors import (
    BrokerError,
    ManifestError,
    ProvisionError,
    SluiceError,
    StoreUnavailable,
    TenantConflict,
)
from sluice_core.manifest import read_tenant
from sluice_core.names import STANDARD_LANE
from sluice_core.reasons import (
    BROKER_UNAVAILABLE,
    CLUSTER_REFUSED,
    INVALID_SPEC,
    LANE_MOVING,
    NOT_PROVISIONED,
    SCALER_NOT_READY,
    STORE_UNAVAILABLE,
    Reason,
)
from sluice_core.tenant import Scaling, Tenant, TenantConfig
from sluice_operator.caps import Caps, Clamped, clamp, refuse_dedicated, refuse_id
from sluice_operator.conditions import (
    CREDENTIALS_READY,
    LANE_READY,
    PARTS,
    READY,
    REDACTION_VALID,
    STORE_READY,
    Condition,
    bad,
    good,
    summarize,
    waiting,
)
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.errors import KubeError
from sluice_operator.lanes import LaneObjects
from sluice_operator.manifests import LaneOwner, secret_name
from sluice_operator.policy import judge
from sluice_operator.secret_store import KubeSecret


class Outcome(NamedTuple):
    """What a look at a Tenant found and did."""

    conditions: tuple[Condition, ...]
    """Ready first."""
    status: dict[str, str]
    """The other fields of the status that it decides."""
    claim: Claim | None
    """None: the id is not this Tenant's."""
    changed: tuple[str, ...]
    """What was not as it should be and is now: `lane`, `database`, `credentials`, `deployment`, ..., `entry`."""
    drift: tuple[str, ...]
    """Of these, what was somebody else's doing: the Tenant is what it was, and it was all there before."""
    retry: bool
    """Whether it is worth looking again soon, and later and later if that changes nothing."""
    moving: bool = False
    """Whether something goes on that takes a few seconds, after which the status will be another one."""


class _Work:
    """One look: what it has found so far."""

    def __init__(self) -> None:
        self.conditions: dict[str, Condition] = {}
        self.changed: list[str] = []
        self.retry = False

    @asynccontextmanager
    async def part(self, kind: str) -> AsyncIterator[None]:
        """A step of the part of this condition: what it raises is the condition."""
        try:
            yield
        except SluiceError as error:
            self.conditions[kind] = bad(kind, reason_of(error), _sentence(error))
            self.retry = True

    def is_good(self, *kinds: str) -> bool:
        """Whether nothing is known to be wrong with these."""
        return all(kind not in self.conditions or self.conditions[kind].status == "True" for kind in kinds)

    def parts(self) -> list[Condition]:
        return [self.conditions.get(kind) or waiting(kind) for kind in PARTS]


class Reconciler:
    """Looks at Tenants. Two looks at one Tenant must not overlap."""

    def __init__(
        self,
        provisioner: Provisioner,
        kube: Kube,
        lanes: LaneObjects,
        caps: Caps,
        ingest_url: str,
    ) -> None:
        self._provisioner = provisioner
        self._kube = kube
        self._lanes = lanes
        self._caps = caps
        self._ingest_url = ingest_url
        self._granting = asyncio.Lock()
        self._granted: set[str] = set()
        """Tenants that were let have a lane of their own and are not in the registry with it yet."""

    async def look(self, document: Object, namespace_uid: str) -> Outcome:
        """Compare and mend everything of one Tenant object."""
        work = _Work()
        try:
            tenant = read_tenant(document)
        except ManifestError as error:
            return _stopped(work, bad(READY, INVALID_SPEC, _sentence(error)), {})
        status = {"tenantId": tenant.tenant_id, "secretName": secret_name(tenant.name), "ingestUrl": self._url}
        clamped = clamp(tenant, self._caps)
        owner = Owner(tenant.namespace, tenant.name, document["metadata"]["uid"], namespace_uid)
        try:
            if (refused := refuse_id(tenant, self._caps)) is not None and not await self._has(tenant, owner):
                return _stopped(work, bad(READY, refused), {})
            claim = await self._provisioner.claim(clamped.tenant, owner)
        except SluiceError as error:
            work.retry = not isinstance(error, TenantConflict)
            return _stopped(work, bad(READY, reason_of(error), _sentence(error)), {})
        return await self._provision(work, document, clamped, claim, status)

    async def _has(self, tenant: Tenant, owner: Owner) -> bool:
        """Whether the tenant lives already: a rule that came later does not cut it off from revoking a key."""
        with store_errors():
            claim = await self._provisioner.registry.get(tenant.tenant_id)
        return claim is not None and claim.state == "Active" and same_owner(claim.owner, owner)

    @property
    def _url(self) -> str:
        return f"{self._ingest_url.rstrip('/')}/ingest"

    async def _provision(
        self, work: _Work, document: Object, clamped: Clamped, claim: Claim, status: dict[str, str]
    ) -> Outcome:
        tenant = clamped.tenant
        wanted = self._provisioner.resolve(tenant, claim)
        withheld = not self._judge_policy(work, tenant, claim)
        if REDACTION_VALID in work.conditions and claim.config is not None and not work.is_good(REDACTION_VALID):
            wanted = _with_policy_of(claim.config, wanted)
        wanted = await self._judge_lane(work, tenant, claim, wanted)
        provisioner = self._provisioner.with_secrets(KubeSecret(self._kube, document, self._ingest_url))

        async with work.part(LANE_READY):
            claim, made = await provisioner.open_lane(claim, wanted.lane)
            if made:
                work.changed.append("lane")
        async with work.part(STORE_READY):
            if await provisioner.ensure_store(claim, wanted.retention_days):
                work.changed.append("database")
            work.conditions[STORE_READY] = good(STORE_READY)
        issued: Issued | None = None
        async with work.part(CREDENTIALS_READY):
            if work.is_good(STORE_READY):
                issued = await provisioner.issue(claim, [key.name for key in tenant.spec.keys])
                claim = issued.claim
                if issued.changed:
                    work.changed.append("credentials")
                work.conditions[CREDENTIALS_READY] = good(CREDENTIALS_READY)
        await self._ensure_workers(work, document, tenant, wanted.lane)
        trouble: Condition | None = None
        if issued is not None and not withheld and self._lane_exists(work, wanted, claim):
            try:
                projection: Projection = await provisioner.publish(claim, wanted, issued.secret)
                claim = projection.claim
                if projection.written:
                    work.changed.append("entry")
            except SluiceError as error:
                trouble = bad(READY, reason_of(error), _sentence(error))
                work.retry = True
        self._granted.discard(tenant.tenant_id)
        if claim.config is not None and claim.config.state == "active":
            status["lane"] = claim.config.lane
        moving = bool(set(claim.closing) - {wanted.lane})
        if moving and work.is_good(LANE_READY):
            work.conditions[LANE_READY] = Condition(LANE_READY, "True", LANE_MOVING, LANE_MOVING.sentence)
        parts = work.parts()
        ready = summarize(parts, capped=clamped.capped, trouble=trouble)
        drift = tuple(what for what in work.changed if _was_there(what, document))
        return Outcome((ready, *parts), status, claim, tuple(work.changed), drift, work.retry, moving)

    def _judge_policy(self, work: _Work, tenant: Tenant, claim: Claim) -> bool:
        """Whether there is a policy to go by: the Tenant's, or else the one before."""
        fault = judge(tenant.spec.redaction)
        if fault is None:
            work.conditions[REDACTION_VALID] = good(REDACTION_VALID)
            return True
        rest = "The policy before stays in force." if claim.config else "Nothing is taken in until it is mended."
        work.conditions[REDACTION_VALID] = bad(REDACTION_VALID, fault.reason, f"{fault.message} {rest}")
        return claim.config is not None

    async def _judge_lane(self, work: _Work, tenant: Tenant, claim: Claim, wanted: TenantConfig) -> TenantConfig:
        """`wanted` in a lane that the tenant may have; it keeps the one it has when it may not have another."""
        has = claim.config.lane if claim.config is not None and claim.config.state == "active" else ""
        if wanted.lane in {STANDARD_LANE, has}:
            return wanted
        async with work.part(LANE_READY), self._granting:
            with store_errors():
                others = await self._provisioner.registry.dedicated()
            taken = (others | self._granted) - {tenant.tenant_id}
            refused = refuse_dedicated(tenant.namespace, len(taken), self._caps)
            if refused is None:
                self._granted.add(tenant.tenant_id)
                return wanted
            work.conditions[LANE_READY] = bad(LANE_READY, refused)
        return msgspec.structs.replace(wanted, lane=has or STANDARD_LANE)

    async def _ensure_workers(self, work: _Work, document: Object, tenant: Tenant, lane: str) -> None:
        """The lane's objects in the cluster, where it is the tenant's own; the shared one's are everybody's."""
        if lane != STANDARD_LANE and work.is_good(LANE_READY):
            async with work.part(LANE_READY):
                owner = LaneOwner(tenant.tenant_id, document["metadata"]["uid"])
                look = await self._lanes.ensure(lane, owner, tenant.spec.scaling or Scaling())
                work.changed += look.changed
                if look.scaler_fault:
                    work.conditions[LANE_READY] = bad(LANE_READY, SCALER_NOT_READY, look.scaler_fault)
        work.conditions.setdefault(LANE_READY, good(LANE_READY))

    def _lane_exists(self, work: _Work, wanted: TenantConfig, claim: Claim) -> bool:
        """Whether lines may be sent into the wanted lane: it is there, or they go there already."""
        condition = work.conditions[LANE_READY]
        has = claim.config.lane if claim.config is not None and claim.config.state == "active" else ""
        return condition.status == "True" or condition.reason is SCALER_NOT_READY or wanted.lane == has


def _with_policy_of(current: TenantConfig, wanted: TenantConfig) -> TenantConfig:
    """`wanted` with the redaction policy that is in force."""
    return msgspec.structs.replace(wanted, redaction=current.redaction)


def _stopped(work: _Work, ready: Condition, status: dict[str, str]) -> Outcome:
    return Outcome((ready, *map(waiting, PARTS)), status, None, (), (), work.retry)


_CONDITION_OF = {
    "lane": LANE_READY,
    "deployment": LANE_READY,
    "scaledobject": LANE_READY,
    "database": STORE_READY,
    "credentials": CREDENTIALS_READY,
    "entry": READY,
}


def _was_there(what: str, document: Object) -> bool:
    """Whether the status says that this was as it should be, for the very spec that there is now."""
    generation = document["metadata"].get("generation")
    return any(
        condition["type"] == _CONDITION_OF.get(what)
        and condition["status"] == "True"
        and condition.get("observedGeneration") == generation
        for condition in (document.get("status") or {}).get("conditions") or []
    )


def reason_of(error: SluiceError) -> Reason:
    """The reason of the one vocabulary that an error is."""
    if isinstance(error, ProvisionError):
        return error.reason
    if isinstance(error, StoreUnavailable):
        return STORE_UNAVAILABLE
    if isinstance(error, BrokerError):
        return BROKER_UNAVAILABLE
    if isinstance(error, KubeError):
        return CLUSTER_REFUSED
    return NOT_PROVISIONED


def _sentence(error: SluiceError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
