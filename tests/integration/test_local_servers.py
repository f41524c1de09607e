"""The embedded stack: a real broker and a real database."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import psutil
import pymongo
import pytest
from nats.aio.client import Client
from pymongo.errors import OperationFailure

from sluice_local.credentials import Credentials
from sluice_local.errors import DataDirectoryInUseError, LocalStackError, PortTakenError, ProcessFailedError
from sluice_local.ports import HOST, free_port, is_free
from sluice_local.stack import Servers

ENVIRON = {"PATH": os.environ.get("PATH", "")}


async def no_bootstrap(host: str, credentials: Credentials) -> None:
    pass


def servers(data_dir: Path, environ: dict[str, str] | None = None) -> Servers:
    return Servers(data_dir, environ=environ or ENVIRON, bootstrap=no_bootstrap)


async def broker(stack: Servers, user: str = "operator", refusals: list[str] | None = None) -> Client:
    async def note(error: Exception) -> None:
        if refusals is not None:
            refusals.append(str(error))

    password: str = getattr(stack.credentials, f"nats_{user}")
    return await nats.connect(stack.nats_url, user=user, password=password, allow_reconnect=False, error_cb=note)


@pytest.fixture(scope="module")
async def permission_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with servers(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


async def test_both_run_inside_the_context_and_neither_after_it(tmp_path: Path) -> None:
    async with servers(tmp_path / "data") as stack:
        processes = stack.processes
        assert [process.name for process in processes] == ["nats-server", "mongod"]
        assert all(psutil.pid_exists(process.pid) for process in processes)
        assert not is_free(stack.ports.nats)
        assert not is_free(stack.ports.mongod)
        assert stack.nats_url == f"nats://127.0.0.1:{stack.ports.nats}"
        assert stack.mongodb_host == f"127.0.0.1:{stack.ports.mongod}"
    assert [process.returncode for process in processes] == [0, 0]
    assert not any(psutil.pid_exists(process.pid) for process in processes)


async def test_what_was_stored_is_there_at_the_next_start_on_the_same_ports(tmp_path: Path) -> None:
    async with servers(tmp_path) as stack:
        first = stack.ports, stack.credentials
        client = await broker(stack)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"line")
        await client.close()
    async with servers(tmp_path) as stack:
        assert (stack.ports, stack.credentials) == first
        client = await broker(stack)
        assert (await client.jetstream().get_msg("KEPT", 1)).data == b"line"
        await client.close()


async def test_a_killed_broker_comes_back_with_its_messages(tmp_path: Path) -> None:
    async with servers(tmp_path) as stack:
        client = await broker(stack)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"line")
        await client.close()
        before = stack.nats.process.pid
        await stack.nats.kill()
        assert not stack.nats.running
        await stack.nats.start()
        assert stack.nats.process.pid != before
        client = await broker(stack)
        assert (await client.jetstream().get_msg("KEPT", 1)).data == b"line"
        await client.close()


async def test_a_killed_database_recovers_on_the_same_port(tmp_path: Path) -> None:
    async with servers(tmp_path) as stack:
        await stack.mongod.kill()
        assert is_free(stack.ports.mongod)
        await stack.mongod.start()
        assert not is_free(stack.ports.mongod)


async def test_the_database_refuses_who_has_no_password(tmp_path: Path) -> None:
    async with servers(tmp_path) as stack:
        client: pymongo.AsyncMongoClient[dict[str, Any]]
        async with pymongo.AsyncMongoClient(stack.mongodb_host, directConnection=True) as client:
            with pytest.raises(OperationFailure, match="not authorized"):
                await client.admin.command("getLog", "global")


async def test_the_broker_refuses_who_has_no_password(tmp_path: Path) -> None:
    async with servers(tmp_path) as stack:
        reader, writer = await asyncio.open_connection(HOST, stack.ports.nats)
        await reader.readline()
        writer.write(b"CONNECT {}\r\nPING\r\n")
        assert b"Authorization Violation" in await reader.readline()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("user", "subject", "allowed"),
    [
        ("ingest", "logs.standard", True),
        ("ingest", "dlq.acme", False),
        ("ingest", "$JS.API.STREAM.LIST", False),
        ("ingest", "$KV.sluice_tenants.acme", False),
        ("worker", "dlq.acme", True),
        ("worker", "logs.standard", False),
        ("operator", "$KV.sluice_tenants.acme", True),
        ("operator", "$SYS.REQ.SERVER.PING", False),
    ],
)
async def test_each_user_publishes_only_what_its_part_needs(
    permission_stack: Servers, user: str, subject: str, allowed: bool
) -> None:
    refusals: list[str] = []
    client = await broker(permission_stack, user, refusals)
    await client.publish(subject, b"")
    # The first may overtake what is only queued (facts: flush is no barrier); the second cannot.
    await client.flush()
    await client.flush()
    await client.close()
    assert len(refusals) == (0 if allowed else 1)
    assert all("permissions violation for publish" in refusal for refusal in refusals)


async def test_a_second_stack_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with servers(tmp_path) as stack:
        with pytest.raises(DataDirectoryInUseError, match=f"process {os.getpid()}"):
            await servers(tmp_path).__aenter__()
        assert all(process.running for process in stack.processes)


async def test_a_failed_start_shows_the_log_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "mongod").mkdir()
    (tmp_path / "mongod" / "WiredTiger").write_text("garbage")
    (tmp_path / "mongod" / "storage.bson").write_text("garbage")
    stack = servers(tmp_path)
    with pytest.raises(ProcessFailedError, match="mongod ended with exit code") as caught:
        await stack.__aenter__()
    assert "aborting after fassert() failure" in caught.value.log_tail
    assert not any(process.running for process in stack.processes)
    (tmp_path / "mongod" / "WiredTiger").unlink()
    (tmp_path / "mongod" / "storage.bson").unlink()
    async with servers(tmp_path):
        pass


async def test_a_failing_bootstrap_is_passed_on_and_leaves_nothing_running(tmp_path: Path) -> None:
    async def fails(host: str, credentials: Credentials) -> None:
        raise ConnectionError(host)

    stack = Servers(tmp_path, environ=ENVIRON, bootstrap=fails)
    with pytest.raises(ConnectionError):
        await stack.__aenter__()
    assert not any(process.running for process in stack.processes)


async def test_a_database_that_dies_during_bootstrap_is_reported_at_once(tmp_path: Path) -> None:
    async def kills(host: str, credentials: Credentials) -> None:
        stack.mongod.process.send_signal(signal.SIGKILL)
        await asyncio.sleep(60)

    stack = Servers(tmp_path, environ=ENVIRON, bootstrap=kills)
    with pytest.raises(ProcessFailedError, match="mongod was ended by SIGKILL"):
        await stack.__aenter__()


async def test_a_cancelled_start_leaves_nothing_running(tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def hangs(host: str, credentials: Credentials) -> None:
        reached.set()
        await asyncio.sleep(60)

    stack = Servers(tmp_path, environ=ENVIRON, bootstrap=hangs)
    starting = asyncio.create_task(stack.__aenter__())
    await reached.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not any(process.running for process in stack.processes)


async def test_a_program_that_is_missing_is_reported_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="SLUICE_MONGOD"):
        await servers(tmp_path / "data", {"SLUICE_MONGOD": "/nowhere/mongod"}).__aenter__()
    assert not (tmp_path / "data").exists()


async def test_the_databases_port_taken_by_another_program_is_reported(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind((HOST, port))
        listener.listen()
        with pytest.raises(PortTakenError, match=str(port)):
            await Servers(tmp_path, environ=ENVIRON, bootstrap=no_bootstrap, mongodb_port=port).__aenter__()


PARENT = """
import asyncio, sys
from pathlib import Path
from sluice_local.stack import Servers

async def no_bootstrap(host, credentials):
    pass

async def main():
    async with Servers(Path(sys.argv[1]), environ={}, bootstrap=no_bootstrap) as servers:
        print(*(process.pid for process in servers.processes), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends the children of a killed parent")
async def test_kill_9_of_the_parent_leaves_no_orphan_and_the_next_start_works_at_once(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await parent.stdout.readline()).split()]
    children = [psutil.Process(pid) for pid in pids]
    assert [child.name() for child in children] == ["nats-server", "mongod"]
    parent.kill()
    await parent.communicate()
    async with servers(tmp_path) as stack:
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        assert all(process.running for process in stack.processes)
