"""Settings of the ingest process; each field is the environment variable `SLUICE_<NAME>`."""

from ipaddress import ip_address
from typing import Annotated, Literal

import msgspec

from sluice_core.errors import SettingsError
from sluice_core.limits import MIB

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an ingest process is told when it starts."""

    nats_url: str
    nats_user: str = "ingest"
    nats_password: str
    host: str = "0.0.0.0"  # noqa: S104 - a pod is reached from outside; `auth: none` refuses it
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    auth: Literal["keys", "none"] = "keys"
    """`none` is for a laptop: no keys, tenants come into being on first use, and only loopback may be bound."""
    publish_timeout: Seconds = 2.0
    """Longest wait for one acknowledgement of the broker."""
    request_timeout: Seconds = 4.5
    """Longest an answer may take us once the body is there, its commit and the queue for it included; 503 then."""
    commits_in_flight: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    header_timeout: Seconds = 10.0
    """Longest wait for a request's headers, from the connection or their first byte; it is closed then."""
    body_timeout: Seconds = 30.0
    """Longest wait for a whole body, answered 408 then, and for an answer to be read."""
    request_bytes: Annotated[int, msgspec.Meta(ge=16 * MIB)] = 128 * MIB
    """What all requests together may hold: bodies as sent, inflated, and encoded until answered; 503 beyond."""
    tenant_request_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 64 * MIB
    """One tenant's share of it."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 16_384
    """Open at a time, or fewer where the limit on open files is lower; more are closed at once."""
    shutdown_timeout: Seconds = 15.0
    """Longest wait for open requests after SIGTERM."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def check_settings(settings: IngestSettings) -> None:
    """Raises SettingsError for settings that contradict each other."""
    if settings.request_timeout <= settings.publish_timeout:
        raise SettingsError("SLUICE_REQUEST_TIMEOUT must exceed SLUICE_PUBLISH_TIMEOUT, or nothing is ever published")
    if settings.tenant_request_bytes > settings.request_bytes:
        raise SettingsError("SLUICE_TENANT_REQUEST_BYTES is a share of SLUICE_REQUEST_BYTES: it must not exceed it")
    if settings.auth == "none" and not _is_loopback(settings.host):
        raise SettingsError(
            "SLUICE_AUTH=none lets anybody write as any tenant, so it binds loopback only: set SLUICE_HOST=127.0.0.1, "
            "or use keys"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
