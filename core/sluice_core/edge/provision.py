"""Bringing a tenant to what its manifest says, and away again.

The operator, the command line and the embedded stack all come through here, so a Tenant means the same on a cluster and
on a laptop. Level-triggered: every step compares before it changes, so running it again repairs and a second run
writes nothing. Order matters and is the design's: the claim first, so that the loser of a conflict creates nothing; the
bucket last, so that no part hears of a tenant before everything it needs exists.
"""

import copy
import secrets as random
from collections.abc import Sequence
from typing import Any, NamedTuple, Self
from urllib.parse import quote

import msgspec

from sluice_core.edge.access import Access
from sluice_core.edge.broker import FULL, Broker
from sluice_core.edge.bucket import due_revision, read_entry, write_config
from sluice_core.edge.lanes import DEAD_LETTERS_BYTES, ensure_consumer, ensure_stream, lane_definition
from sluice_core.edge.registry import Claim, IssuedKey, Owner, Registry
from sluice_core.edge.secrets import SecretStore, TenantSecret, password_digest
from sluice_core.edge.store import Client, store_errors
from sluice_core.errors import ApiError, BrokerUnavailable, NoRoom, ProvisionError, TenantNotFound
from sluice_core.keys import generate_key, key_digest, key_id
from sluice_core.limits import DEFAULT_LIMITS, MIB, Limits
from sluice_core.names import STANDARD_LANE, lane_stream, reader_user, tenant_database
from sluice_core.tenant import KeyConfig, RedactionConfig, Tenant, TenantConfig


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform decides for all tenants."""

    mongodb_hosts: str
    """`host:port[,host:port]` and, after `/?`, options, as tenants reach the database."""
    worker_password: str
    lane_max_bytes: int = 1024 * MIB
    dedicated_lane_max_bytes: int = 1024 * MIB
    """A lane reserves its bytes of the broker's disk, so this also bounds how many tenants can have one."""
    dead_letters_max_bytes: int = DEAD_LETTERS_BYTES
    replicas: int = 1
    default_limits: Limits = DEFAULT_LIMITS


class Projection(NamedTuple):
    """A tenant's entry in the bucket is as the registry says."""

    claim: Claim
    """Perhaps under a newer revision than before."""
    sequence: int
    """Of the entry: who has read the bucket up to it has seen this."""
    written: bool
    """Whether it was not so before."""


class Issued(NamedTuple):
    """A tenant's secret is as its manifest says."""

    claim: Claim
    secret: TenantSecret
    changed: bool
    """Whether the secret or the reader was not so before."""


class Provisioner:
    """Provisions tenants with the operator's rights in the broker and the database."""

    def __init__(self, broker: Broker, client: Client, secrets: SecretStore, platform: Platform) -> None:
        self._broker = broker
        self._secrets = secrets
        self.platform = platform
        self.registry = Registry(client)
        self.access = Access(client)

    def with_secrets(self, secrets: SecretStore) -> Self:
        """The same, keeping the secrets of the tenant at hand somewhere else."""
        other = copy.copy(self)
        other._secrets = secrets  # noqa: SLF001 - it is one of us
        return other

    async def apply(self, tenant: Tenant) -> Claim:
        """Create the tenant or bring it to what the manifest says now.

        Its policy is taken to be one that was tried. Raises TenantConflict for another owner's id, and BrokerError,
        StoreUnavailable or ProvisionError for what did not work now. This is all the steps below in their order; the
        operator takes them one by one, with a cluster's own between them.
        """
        claim = await self.claim(tenant, Owner(tenant.namespace, tenant.name))
        return await self._reconcile(claim, self.resolve(tenant, claim), [key.name for key in tenant.spec.keys])

    async def set_keys(self, tenant_id: str, names: Sequence[str]) -> Claim:
        """Issue keys for new names and revoke the keys of names left out; everything else stays."""
        with store_errors():
            claim = await self.find(tenant_id)
            if claim.config is None:
                raise TenantNotFound(f"tenant {tenant_id} was never completely provisioned: apply it again")
            return await self._reconcile(claim, claim.config, names)

    async def find(self, tenant_id: str) -> Claim:
        """The claim of a tenant that lives. Raises TenantNotFound."""
        claim = await self.registry.get(tenant_id)
        if claim is None or claim.state != "Active":
            raise TenantNotFound(f"there is no tenant {tenant_id}: `sluice tenants list` shows those there are")
        return claim

    async def claim(self, tenant: Tenant, owner: Owner) -> Claim:
        """The first step: the id is the owner's. Raises TenantConflict, TenantLeaving."""
        with store_errors():
            claim = await self.registry.claim(tenant.tenant_id, owner, uid=random.token_hex(8))
            return await self.registry.record(claim, deletion_policy=tenant.spec.deletion_policy)

    def resolve(self, tenant: Tenant, claim: Claim) -> TenantConfig:
        """The config that the manifest asks for, its keys left out."""
        spec = tenant.spec
        return TenantConfig(
            tenant_id=tenant.tenant_id,
            uid=claim.uid,
            revision=claim.revision,
            lane=tenant.lane,
            limits=spec.limits.resolve(self.platform.default_limits),
            suspension=spec.suspension,
            keep_original=spec.original == "Keep",
            retention_days=spec.retention.days,
            redaction=RedactionConfig(
                dict(spec.redaction.detectors), spec.redaction.style, tuple(spec.redaction.custom)
            ),
        )

    async def _reconcile(self, claim: Claim, wanted: TenantConfig, key_names: Sequence[str]) -> Claim:
        claim, _ = await self.open_lane(claim, wanted.lane)
        await self.ensure_store(claim, wanted.retention_days)
        issued = await self.issue(claim, key_names)
        return (await self.publish(issued.claim, wanted, issued.secret)).claim

    async def ensure_store(self, claim: Claim, retention_days: int) -> bool:
        """Database, index and workers' privilege; returns whether anything was done."""
        with store_errors():
            changed = await self.access.ensure_database(claim.id, claim.uid, retention_days)
            return await self.access.ensure_worker_privilege(claim.id) or changed

    async def publish(self, claim: Claim, wanted: TenantConfig, secret: TenantSecret) -> Projection:
        """The last step: the registry says what is wanted, and the bucket says so to everybody."""
        keys = tuple(KeyConfig(name, key_digest(key)) for name, key in secret.keys.items())
        config = next_revision(claim, msgspec.structs.replace(wanted, keys=keys))
        active = tuple(msgspec.structs.replace(key, state="active") for key in claim.keys if key.name in secret.keys)
        with store_errors():
            claim = await self.registry.record(
                claim,
                config=config,
                revision=max(claim.revision, config.revision),
                keys=active,
                reader_active=True,
                closing=_closing(claim, config.lane),
            )
            return await self.project(claim)

    async def project(self, claim: Claim) -> Projection:
        """Bring the tenant's entry in the bucket to what the registry says.

        Over something foreign that is newer, the registry's revision is raised first. Raises BrokerUnavailable, and
        ProvisionError when the registry was changed meanwhile.
        """
        if claim.config is None:
            raise ProvisionError(f"tenant {claim.id} has nothing to project yet: apply it again")
        config = claim.config
        attempts = 3
        while True:
            entry = await read_entry(self._broker, claim.id)
            revision = due_revision(config, entry)
            if entry is not None and revision is None:
                return Projection(claim, entry.sequence, written=False)
            if revision is not None and revision != config.revision:
                config = msgspec.structs.replace(config, revision=revision)
                claim = await self.registry.record(claim, config=config, revision=revision)
            attempts -= 1
            try:
                sequence = await write_config(self._broker, config, replacing=entry)
                return Projection(claim, sequence, written=True)
            except BrokerUnavailable:
                # Perhaps somebody else wrote it at the same time: then it has to be judged again.
                if not attempts:
                    raise

    async def issue(self, claim: Claim, names: Sequence[str]) -> Issued:
        """Make the secret hold one key for each name and the reader's password, believing only what we issued."""
        with store_errors():
            return await self._issue(claim, names)

    async def _issue(self, claim: Claim, names: Sequence[str]) -> Issued:
        held = await self._secrets.read(claim.id) or TenantSecret()
        issued = {key.digest for key in claim.keys}
        keys = {name: key for name, key in held.keys.items() if name in names and key_digest(key) in issued}
        keys = {name: keys.get(name) or generate_key() for name in names}
        known = bool(held.reader_password) and password_digest(held.reader_password) == claim.reader_digest
        password = held.reader_password if known else random.token_urlsafe(24)
        secret = TenantSecret(keys, password, self._reader_uri(claim.id, password))
        # Digests first: a secret written and then forgotten by us would never be believed again.
        before = {key.digest: key for key in claim.keys}
        pending = tuple(
            before.get(digest := key_digest(key)) or IssuedKey(name, key_id(key), digest, "pending")
            for name, key in sorted(keys.items())
        )
        active = known and claim.reader_active
        claim = await self.registry.record(
            claim, keys=pending, reader_digest=password_digest(password), reader_active=active
        )
        if secret != held:
            await self._secrets.write(claim.id, secret)
        reader = await self.access.ensure_reader(claim.id, password, known=active)
        return Issued(claim, secret, changed=reader or secret != held)

    def _reader_uri(self, tenant_id: str, password: str) -> str:
        hosts, _, options = self.platform.mongodb_hosts.partition("/?")
        database = tenant_database(tenant_id)
        parameters = "&".join(filter(None, [f"authSource={database}", options]))
        return f"mongodb://{reader_user(tenant_id)}:{quote(password)}@{hosts}/{database}?{parameters}"

    def lane_definition(self, lane: str) -> dict[str, Any]:
        """The stream of a lane as the platform wants it."""
        platform = self.platform
        max_bytes = platform.lane_max_bytes if lane == STANDARD_LANE else platform.dedicated_lane_max_bytes
        return lane_definition(lane, max_bytes=max_bytes, replicas=platform.replicas)

    async def open_lane(self, claim: Claim, lane: str) -> tuple[Claim, bool]:
        """As `ensure_lane`, for a tenant that may be on its way into this lane.

        Until its lines take a lane of its own that lane counts as one to be closed: should it never get there, because
        we crash or it is told otherwise, the lane goes again.
        """
        has = claim.config.lane if claim.config is not None and claim.config.state == "active" else STANDARD_LANE
        if lane not in {STANDARD_LANE, has, *claim.closing}:
            with store_errors():
                claim = await self.registry.record(claim, closing=tuple(sorted({*claim.closing, lane})))
        return claim, await self.ensure_lane(lane)

    async def ensure_lane(self, lane: str) -> bool:
        """Stream and consumer of a lane; returns whether anything was done.

        Raises BrokerError, and ProvisionError when there is no room for another lane.
        """
        try:
            stream = await ensure_stream(self._broker, self.lane_definition(lane))
        except ApiError as error:
            if error.err_code not in FULL:
                raise
            raise NoRoom(
                "the broker has no room for another lane: give it more, or delete a tenant that has one of its own"
            ) from error
        return await ensure_consumer(self._broker, lane_stream(lane)) or stream


def _closing(claim: Claim, lane: str) -> tuple[str, ...]:
    """The lanes to be closed once the tenant's lines take `lane`: those it leaves, the shared one excepted."""
    left = {*claim.closing, claim.config.lane if claim.config is not None else lane}
    return tuple(sorted(left - {lane, STANDARD_LANE}))


def next_revision(claim: Claim, wanted: TenantConfig) -> TenantConfig:
    """`wanted` under the next revision, or the current config when it says the same."""
    current = claim.config
    if current is None:
        return msgspec.structs.replace(wanted, revision=claim.revision + 1, policy_revision=claim.revision + 1)
    same = msgspec.structs.replace(wanted, revision=current.revision, policy_revision=current.policy_revision)
    if same == current:
        return current
    revision = claim.revision + 1
    policy = current.policy_revision if wanted.redaction == current.redaction else revision
    return msgspec.structs.replace(wanted, revision=revision, policy_revision=policy)
