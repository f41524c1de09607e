"""Settings of ingest: without keys it binds nothing but loopback."""

import pytest

from sluice_core.errors import SettingsError
from sluice_core.limits import MIB
from sluice_core.settings import read_settings
from sluice_ingest.settings import IngestSettings, check_settings

_NEEDED = {"SLUICE_NATS_URL": "nats://localhost:4222", "SLUICE_NATS_PASSWORD": "p"}


def _settings(**environ: str) -> IngestSettings:
    return read_settings(IngestSettings, {**_NEEDED, **environ})


def test_the_defaults_stand() -> None:
    check_settings(_settings())
    assert _settings().auth == "keys"
    assert _settings().request_timeout > _settings().publish_timeout
    assert _settings().request_timeout <= 5, "no 503 comes later than the Retry-After that the design allows"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_without_keys_loopback_may_be_bound(host: str) -> None:
    check_settings(_settings(SLUICE_AUTH="none", SLUICE_HOST=host))


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "10.0.0.1", "", "example.com", "localhost.example.com", "127.0.0.1.example.com", "LOCALHOST"],  # noqa: S104
)
def test_without_keys_nothing_else_may_be(host: str) -> None:
    with pytest.raises(SettingsError, match="SLUICE_AUTH=none"):
        check_settings(_settings(SLUICE_AUTH="none", SLUICE_HOST=host))


def test_without_keys_a_host_must_be_named() -> None:
    with pytest.raises(SettingsError):
        check_settings(_settings(SLUICE_AUTH="none"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "65536"),
        ("AUTH", "None"),
        ("COMMITS_IN_FLIGHT", "0"),
        ("PUBLISH_TIMEOUT", "0"),
        ("REQUEST_BYTES", "1"),
        ("TENANT_REQUEST_BYTES", "1"),
        ("MAX_CONNECTIONS", "0"),
        ("BODY_TIMEOUT", "0"),
        ("HEADER_TIMEOUT", "0"),
    ],
)
def test_a_value_out_of_range_is_refused(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"SLUICE_{variable}"):
        _settings(**{f"SLUICE_{variable}": value})


def test_a_tenants_share_of_the_budget_is_no_more_than_the_whole() -> None:
    check_settings(_settings(SLUICE_REQUEST_BYTES=str(32 * MIB), SLUICE_TENANT_REQUEST_BYTES=str(32 * MIB)))
    with pytest.raises(SettingsError, match="SLUICE_TENANT_REQUEST_BYTES"):
        check_settings(_settings(SLUICE_REQUEST_BYTES=str(32 * MIB), SLUICE_TENANT_REQUEST_BYTES=str(33 * MIB)))


def test_an_answer_takes_longer_than_one_publish() -> None:
    with pytest.raises(SettingsError, match="SLUICE_REQUEST_TIMEOUT"):
        check_settings(_settings(SLUICE_REQUEST_TIMEOUT="2", SLUICE_PUBLISH_TIMEOUT="2"))
