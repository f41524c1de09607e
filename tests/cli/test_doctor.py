"""`sluice doctor` on a running stack: it is content with a healthy one, and finds what somebody broke by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cli.commands import sluice
from sluice_core.names import TENANTS_STREAM, WORKER_ROLE, WORKERS, lane_stream, tenant_config_subject
from sluice_core.tenant import Tenant, TenantSpec
from sluice_local.embedded import EmbeddedStack

ACME = Tenant("tests", "acme", "acme", TenantSpec())
OWN = Tenant("tests", "own", "own", TenantSpec(lane="Dedicated"))


@pytest_asyncio.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedStack]:
    """A stack in this process, so that a test can keep it from mending what the test breaks."""
    import os

    directory = tmp_path_factory.mktemp("doctor")
    environ = {"PATH": os.environ.get("PATH", "")}
    async with EmbeddedStack(directory / "data", environ=environ, tenants=[ACME, OWN]) as running:
        yield running


async def examine(data: Path) -> tuple[int, dict[str, Any]]:
    """What the command says, and its exit code."""
    done = await asyncio.to_thread(sluice, "doctor", "--json", "--data", data)
    assert "Traceback" not in done.stderr, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, said


def problems(said: dict[str, Any]) -> list[str]:
    return [finding["sentence"] for finding in said["findings"] if finding["level"] == "problem"]


async def test_a_healthy_stack_is_healthy_and_no_secret_is_shown(stack: EmbeddedStack) -> None:
    code, said = await examine(stack.data_dir)
    assert (code, problems(said), said["ok"], said["problems"]) == (0, [], True, 0)
    sentences = " ".join(finding["sentence"] for finding in said["findings"])
    assert "sync_interval: always" in sentences
    assert "2 living tenants" in sentences
    shown = json.dumps(said)
    credentials = json.loads((stack.data_dir / "credentials.json").read_bytes())
    secrets = [*credentials.values(), *(access.key for access in stack.endpoints.tenants.values())]
    assert all(len(secret) > 8 and secret not in shown for secret in secrets)


async def delete_consumer(stack: EmbeddedStack) -> None:
    await stack.rights.broker.api(f"CONSUMER.DELETE.{lane_stream('t-own')}.{WORKERS}")


async def loosen_stream(stack: EmbeddedStack) -> None:
    name = lane_stream("standard")
    info = await stack.rights.broker.api(f"STREAM.INFO.{name}")
    await stack.rights.broker.api(f"STREAM.UPDATE.{name}", {**info["config"], "discard": "old"})


async def drop_index(stack: EmbeddedStack) -> None:
    await stack.rights.client["tenant_acme"]["processed_logs"].drop_index("retention")


async def revoke_privilege(stack: EmbeddedStack) -> None:
    resource = {"db": "tenant_acme", "collection": "processed_logs"}
    privileges = [{"resource": resource, "actions": ["update"]}]
    await stack.rights.client.admin.command("revokePrivilegesFromRole", WORKER_ROLE, privileges=privileges)


async def remove_entry(stack: EmbeddedStack) -> None:
    await stack.rights.broker.api(f"STREAM.PURGE.{TENANTS_STREAM}", {"filter": tenant_config_subject("acme")})


async def drop_reader(stack: EmbeddedStack) -> None:
    await stack.rights.client["tenant_acme"].command("dropUser", "tenant_acme_reader")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (delete_consumer, "stream SLUICE_LANE_t-own has no consumer"),
        (loosen_stream, "stream SLUICE_LANE_standard is not as defined: discard"),
        (drop_index, "tenant acme: the retention index is missing"),
        (revoke_privilege, "tenant acme: workers may not update"),
        (remove_entry, "no entry for tenant acme"),
        (drop_reader, "tenant acme: its read-only user is missing"),
    ],
)
async def test_what_somebody_broke_is_found_and_named(
    stack: EmbeddedStack, damage: Callable[[EmbeddedStack], Awaitable[None]], says: str
) -> None:
    async with stack._provisioning:  # or it would be mended before anybody looks
        await damage(stack)
        code, said = await examine(stack.data_dir)
    await stack.apply(ACME)
    await stack.apply(OWN)
    [sentence] = problems(said)
    assert says in sentence
    assert code == 1
    code, said = await examine(stack.data_dir)
    assert (code, problems(said)) == (0, [])


@pytest.mark.parametrize(("server", "says"), [("nats", "the broker cannot"), ("mongod", "the database cannot")])
async def test_of_what_does_not_answer_it_says_so_and_looks_at_the_rest(
    stack: EmbeddedStack, server: str, says: str
) -> None:
    async with stack.without(getattr(stack.servers, server)):
        code, said = await examine(stack.data_dir)
    assert code == 1
    assert any(says in sentence for sentence in problems(said))
    other = "MongoDB" if server == "nats" else "nats-server"
    assert any(finding["sentence"].startswith(other) for finding in said["findings"] if finding["level"] == "ok")
    assert not any("of no tenant" in finding["sentence"] for finding in said["findings"])


def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = sluice("doctor", "--data", tmp_path / "none")
    assert done.returncode == 1
    assert "sluice up --data" in done.stdout
    assert "Traceback" not in done.stderr


def test_wrong_usage_exits_2() -> None:
    assert sluice("doctor", "--no-such-option").returncode == 2
