"""After all other tests: no line, key or password stands in any log file or metric, and none with a stranger.

Every line that the tests send holds a canary. This module is collected last, and sends once more by every road itself.
"""

import asyncio
from pathlib import Path

import pytest

from sluice_core.keys import generate_key
from sluice_core.names import STANDARD_LANE
from support.behind import publish
from support.held import SlowLane
from support.ledger import BOOKS, find_strangers
from support.sluice import CANARY, JSON, NDJSON, TEXT, Sluice, line

FOREIGN_KEY = generate_key()


@pytest.fixture(scope="module")
async def _everything_was_sent(sluice: Sluice) -> None:
    tenant = await sluice.tenant("secrecy")
    database = sluice.database(tenant)
    await database.command("collMod", "processed_logs", validator={"modified_data": {"$not": {"$regex": "poison"}}})
    canary = CANARY.encode()
    for content, kind in (
        ({"text": line(), "attributes": {CANARY: {"secret": CANARY}}, CANARY: CANARY}, JSON),
        ([{"text": line("poison")}, {"text": line(), "log_id": "twice"}, {"text": line(), "log_id": "twice"}], JSON),
        ({"text": line(), "log_id": "twice"}, JSON),
        (b'{"text":"' + canary, JSON),
        (b'{"text":"' + canary + b'\xff"}', NDJSON),
        (b'{"' + canary + b'":1}', NDJSON),
        (canary + b"\xff", TEXT),
        ({"text": CANARY, "timestamp": CANARY}, JSON),
        ({"text": CANARY, "tenant_id": CANARY}, JSON),
        ({"text": {CANARY: CANARY}}, JSON),
        (canary, CANARY),
    ):
        await sluice.send(tenant, content, kind)
        await sluice.send(FOREIGN_KEY, content, kind)
        await sluice.send(f"slk_{CANARY}", content, kind)
        await sluice.send(tenant, content, kind, headers={"X-Tenant-ID": CANARY, "traceparent": CANARY})
        await sluice.send(tenant, content, kind, headers={"Content-Encoding": CANARY})
        await sluice.send(tenant, content, kind, path=f"/{CANARY}", query={CANARY: CANARY})
    await publish(sluice, STANDARD_LANE, canary)
    await sluice.idle()
    # Operations that take long are what databases like to write about.
    await sluice.send(tenant, {"log_id": "slow", "text": line()})
    await sluice.idle()
    await sluice.stack.rights.client.admin.command("fsync", lock=True)
    try:
        await sluice.send(tenant, {"log_id": "slow", "text": line(), "attributes": {"a": CANARY}})
        await sluice.send(tenant, {"log_id": "new", "text": line(), "attributes": {"a": CANARY}})
        await asyncio.sleep(0.5)
    finally:
        await sluice.stack.rights.client.admin.command("fsyncUnlock")
    await sluice.idle()


def logs_of(stack: Sluice) -> list[Path]:
    return sorted((stack.stack.data_dir / "logs").iterdir())


def secrets_of(stack: Sluice) -> dict[str, str]:
    """Everything that must not be read anywhere, with a name for the failure's sake."""
    credentials = stack.stack.servers.credentials
    found = {name: str(getattr(credentials, name)) for name in credentials.__struct_fields__}
    for path in (stack.stack.data_dir / "secrets").iterdir():
        secret = stack.stack.rights.secrets.load(path.stem)
        assert secret is not None
        found |= {f"key {name} of {path.stem}": key for name, key in secret.keys.items()}
        found[f"reader of {path.stem}"] = secret.reader_password
    return {name: secret for name, secret in found.items() if secret}


def leaks(text: str, secrets: dict[str, str]) -> list[str]:
    return [
        name for name, secret in {**secrets, "a line": CANARY, "a foreign key": FOREIGN_KEY}.items() if secret in text
    ]


@pytest.mark.usefixtures("_everything_was_sent")
async def test_no_log_file_holds_a_line_or_a_secret(sluice: Sluice) -> None:
    secrets = secrets_of(sluice)
    assert len(secrets) > 8
    files = logs_of(sluice)
    assert {"ingest.log", "mongod.log", "nats-server.log", "worker-standard.log"} <= {path.name for path in files}
    found = {path.name: leaks(path.read_text(errors="replace"), secrets) for path in files}
    assert {name: names for name, names in found.items() if names} == {}


async def test_the_database_logs_no_statement_however_slow(sluice: Sluice) -> None:
    """It would write down a replaced document whole."""
    assert (await sluice.stack.rights.client.admin.command("profile", -1))["slowms"] > 3_600_000


@pytest.mark.usefixtures("_everything_was_sent")
async def test_no_metric_holds_a_line_or_a_secret(sluice: Sluice) -> None:
    for url in sluice.stack.endpoints.metrics.values():
        assert leaks((await sluice.http.get(url)).text, secrets_of(sluice)) == []


async def test_nor_do_the_logs_of_the_slow_stack(slow: SlowLane) -> None:
    for path in logs_of(slow.sluice):
        assert leaks(path.read_text(errors="replace"), secrets_of(slow.sluice)) == []


@pytest.mark.usefixtures("_everything_was_sent")
async def test_only_the_owner_can_read_the_files_with_secrets(sluice: Sluice) -> None:
    directory = sluice.stack.data_dir
    files = [directory / "endpoints.json", directory / "credentials.json", directory / "nats.conf"]
    files += [*(directory / "secrets").iterdir(), *logs_of(sluice)]
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in files if path.stat().st_mode & 0o077} == {}


async def test_no_record_of_any_test_is_in_a_strangers_database(sluice: Sluice) -> None:
    assert await find_strangers(sluice) == []
    assert sum(len(book.accepted) for book in BOOKS) > 0 or len(BOOKS) == 0
