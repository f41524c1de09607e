"""compose.yaml's parts, with its configuration, commands and variables, on this machine instead of in containers."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sluice_ingest.settings import IngestSettings
from sluice_local.binaries import MONGOD, NATS_SERVER, find
from sluice_local.ports import free_port
from sluice_local.process import ChildProcess
from sluice_worker.settings import WorkerSettings
from support.cluster import REPO
from support.waiting import eventually

COMPOSE = yaml.safe_load((REPO / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.mark.parametrize(("service", "kind"), [("ingest", IngestSettings), ("worker", WorkerSettings)])
def test_a_part_is_told_what_it_has_to_know_and_nothing_unknown(service: str, kind: Any) -> None:
    known = {f"SLUICE_{name.upper()}" for name in kind.__struct_fields__}
    assert set(SERVICES[service]["environment"]) <= known


class Machine:
    """The services as processes, and where they are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nats, self.monitor, self.mongodb, self.ingest = (free_port() for _ in range(4))

    def environment(self, service: str, **more: str) -> dict[str, str]:
        """A service's, with this machine's ports in place of the containers' names."""
        places = {"nats:4222": f"127.0.0.1:{self.nats}", "mongodb:27017": f"127.0.0.1:{self.mongodb}"}
        given = {name: str(value) for name, value in SERVICES[service].get("environment", {}).items()}
        for there, here in places.items():
            given = {name: value.replace(there, here) for name, value in given.items()}
        return {"PATH": os.environ["PATH"], **given, **more}

    async def start(self, name: str, *command: str | Path, env: dict[str, str]) -> ChildProcess:
        return await ChildProcess.start(name, list(command), log=self.folder / f"{name}.log", env=env, cwd=self.folder)

    async def finish(self, name: str, *command: str | Path, env: dict[str, str]) -> str:
        """What a program that ends prints."""
        process = await asyncio.create_subprocess_exec(
            *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0, (name, err.decode())
        return out.decode()


@pytest.fixture(scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machine]:
    """Both servers, set up by the scripts."""
    made = Machine(tmp_path_factory.mktemp("compose"))
    async with AsyncExitStack() as stack:
        conf = made.folder / "nats.conf"
        text = (REPO / "k8s/dev/nats.conf").read_text()
        conf.write_text(text.replace("store_dir: /data\n", f"store_dir: {made.folder / 'nats'}\n"))
        nats = await made.start(
            "nats",
            find(NATS_SERVER, os.environ),
            *("-c", conf, "-a", "127.0.0.1", "-p", str(made.nats), "-m", str(made.monitor)),
            env=made.environment("nats"),
        )
        stack.push_async_callback(nats.stop, 10.0)
        keyfile = made.folder / "keyfile"
        keyfile.write_text(SERVICES["mongodb"]["environment"]["KEY"])
        keyfile.chmod(0o400)
        options = re.findall(r"--\S+", SERVICES["mongodb"]["entrypoint"][2])
        data = made.folder / "mongodb"
        data.mkdir()
        replaced = {"--keyFile": str(keyfile), "--dbpath": str(data), "--bind_ip_all": ""}
        mongod = await made.start(
            "mongod",
            find(MONGOD, os.environ),
            *(one for one in options if one.partition("=")[0] not in replaced),
            *(f"--keyFile={keyfile}", f"--dbpath={data}", "--bind_ip=127.0.0.1", f"--port={made.mongodb}"),
            env=made.environment("mongodb"),
        )
        stack.push_async_callback(mongod.stop, 20.0)
        setup = made.environment("mongodb-setup", ADDRESS=f"127.0.0.1:{made.mongodb}")
        for _ in range(2):  # the second time changes nothing
            await made.finish("setup", sys.executable, REPO / "k8s/dev/mongodb_setup.py", "--once", env=setup)
        yield made


async def provision(machine: Machine) -> str:
    env = machine.environment("provision", SECRETS_FILE=str(machine.folder / "secrets.json"), TRIES="2")
    return await machine.finish(
        "provision", sys.executable, REPO / "compose/provision.py", REPO / "k8s/samples/tenant.yaml", env=env
    )


async def test_the_database_lets_nobody_in_without_a_password(machine: Machine) -> None:
    with (
        MongoClient[dict[str, Any]](f"mongodb://127.0.0.1:{machine.mongodb}/?directConnection=true") as stranger,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        stranger.admin.command("listDatabases")


async def test_a_line_that_was_posted_is_stored_and_provisioning_again_changes_no_key(machine: Machine) -> None:
    printed = await provision(machine)
    assert await provision(machine) == printed
    key = re.findall(r"tenant team-shop, key shippers: (slk_\S+)", printed)[0]
    async with AsyncExitStack() as stack:
        for part, more in (
            ("ingest", {"SLUICE_HOST": "127.0.0.1", "SLUICE_PORT": str(machine.ingest)}),
            ("worker", {"SLUICE_HOST": "127.0.0.1", "SLUICE_PORT": str(free_port())}),
        ):
            env = machine.environment(part, **more)
            process = await machine.start(part, sys.executable, "-m", f"sluice_{part}", env=env)
            stack.push_async_callback(process.stop, 20.0)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{machine.ingest}"))

        async def accepted() -> bool:
            try:
                body = {"log_id": "one", "text": "call 555-0199"}
                answer = await http.post("/ingest", json=body, headers={"Authorization": f"Bearer {key}"})
            except httpx.TransportError:
                return False
            return answer.status_code == 202

        await eventually(accepted, within=30.0)
        uri = machine.environment("provision")["MONGODB_URI"]
        with MongoClient[dict[str, Any]](uri) as client:
            logs = client["tenant_team-shop"]["processed_logs"]

            async def stored() -> bool:
                return logs.count_documents({"_id": "one", "modified_data": "call [REDACTED]"}) == 1

            await eventually(stored, within=30.0)
