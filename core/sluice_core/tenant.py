"""The Tenant: what a manifest says (`TenantSpec`) and what ingest and workers need of it (`TenantConfig`).

The manifest is the custom resource's, so a file works unchanged with `kubectl apply` and `sluice tenants apply`.
Invariant: a `TenantSpec` that exists is valid, and everything it left out has its default.
"""

from typing import Annotated, Literal

import msgspec

from sluice_core.limits import MIB, Limits
from sluice_core.names import STANDARD_LANE, dedicated_lane

Action = Literal["Replace", "Mask", "Hash", "Keep"]
Style = Literal["Plain", "Named"]
"""What `Replace` writes: `[REDACTED]`, or the detector's name as in `[EMAIL]`."""
KeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")]


class _Spec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Base of what a person writes: camel case, and a misspelt field is an error."""


class Scaling(_Spec, frozen=True):
    """How the workers of a dedicated lane scale."""

    min_replicas: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    max_replicas: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    lag_threshold: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 5


class LimitsSpec(_Spec, frozen=True):
    """Limits as written; None means the platform's default."""

    records_per_second: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    bytes_per_second: Annotated[int, msgspec.Meta(ge=1024, le=10 * 1024 * MIB)] | None = None
    burst_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] | None = None
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1, le=MIB)] | None = None
    max_batch_bytes: Annotated[int, msgspec.Meta(ge=1, le=100 * MIB)] | None = None
    max_backlog_bytes: Annotated[int, msgspec.Meta(ge=MIB, le=1024 * 1024 * MIB)] | None = None

    def resolve(self, defaults: Limits) -> Limits:
        """These limits, completed by `defaults`."""
        written = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(defaults, **written)


class Retention(_Spec, frozen=True):
    """How long documents are kept."""

    days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 30


class CustomRule(_Spec, frozen=True):
    """A pattern of the tenant's own, in RE2's syntax; a group named `secret` narrows what is blotted out."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[a-z][a-z0-9_]*\Z")]
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    action: Action = "Replace"


class PolicyTest(_Spec, frozen=True):
    """A line and what must become of it."""

    input: Annotated[str, msgspec.Meta(max_length=512)]
    expect: Annotated[str, msgspec.Meta(max_length=512)]


class Redaction(_Spec, frozen=True):
    """What is blotted out before anything is stored. Which detectors there are is known to the room `redact` alone."""

    detectors: Annotated[dict[str, Action], msgspec.Meta(max_length=32)] = {}
    style: Style = "Plain"
    custom: Annotated[list[CustomRule], msgspec.Meta(max_length=16)] = []
    tests: Annotated[list[PolicyTest], msgspec.Meta(max_length=20)] = []


class KeySpec(_Spec, frozen=True):
    """One ingest key, by name."""

    name: KeyName


class TenantSpec(_Spec, frozen=True):
    """The `spec` of a Tenant."""

    tenant_id: str | None = None
    lane: Literal["Standard", "Dedicated"] = "Standard"
    scaling: Scaling | None = None
    suspension: Literal["Active", "Reject", "Buffer", "Drop"] = "Active"
    limits: LimitsSpec = LimitsSpec()
    retention: Retention = Retention()
    original: Literal["Keep", "Drop"] = "Keep"
    redaction: Redaction = Redaction()
    keys: Annotated[list[KeySpec], msgspec.Meta(max_length=8)] = msgspec.field(
        default_factory=lambda: [KeySpec(name="default")]
    )
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    erasure_receipt: bool = False


class Tenant(msgspec.Struct, frozen=True):
    """One Tenant object: who it is and what it wants."""

    namespace: str
    name: str
    tenant_id: str
    spec: TenantSpec

    @property
    def lane(self) -> str:
        """The lane its records travel in."""
        return dedicated_lane(self.tenant_id) if self.spec.lane == "Dedicated" else STANDARD_LANE


class KeyConfig(msgspec.Struct, frozen=True):
    """A key as ingest knows it."""

    name: str
    digest: str


class RedactionConfig(msgspec.Struct, frozen=True):
    """A redaction policy as workers need it: the manifest's without its tests, which were run when it was applied."""

    detectors: dict[str, str] = {}
    style: str = "Plain"
    custom: tuple[CustomRule, ...] = ()


class TenantConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved view of a Tenant in the key-value bucket. `state` "gone" is the tombstone."""

    tenant_id: str
    uid: str
    revision: int
    """Grows with every change over the id's whole life; a lower one never replaces a higher one."""
    state: Literal["active", "gone"] = "active"
    lane: str = STANDARD_LANE
    keys: tuple[KeyConfig, ...] = ()
    limits: Limits = Limits()
    suspension: Literal["Active", "Reject", "Buffer", "Drop"] = "Active"
    keep_original: bool = True
    retention_days: int = 30
    redaction: RedactionConfig = RedactionConfig()
    policy_revision: int = 1
    """Revision at which the redaction policy last changed."""


_config_decoder = msgspec.json.Decoder(TenantConfig)
_config_encoder = msgspec.json.Encoder(order="sorted")


def encode_config(config: TenantConfig) -> bytes:
    """The bucket's form of a config; equal configs give equal bytes."""
    return _config_encoder.encode(config)


def decode_config(data: bytes) -> TenantConfig:
    """Read a config.

    Raises msgspec.DecodeError for anything else.
    """
    return _config_decoder.decode(data)
