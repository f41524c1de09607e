"""What `helm test` runs, with the rights that the chart gives it: here with processes in place of pods."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
import yaml

from sluice_core.names import tenant_database
from support.chart import CHART, find, run
from support.cluster import Cluster
from support.operating import rig

pytestmark = pytest.mark.needs("helm", "kube-apiserver")

SPACE = "smoke"


async def test_it_stores_a_line_reads_it_back_and_leaves_nothing(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = run(
        "helm", "template", "sluice", str(CHART), "--namespace", SPACE, "--show-only", "templates/tests/smoke.yaml"
    )
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    async with rig(cluster, tmp_path_factory.mktemp("smoke"), SPACE, release="smoke-release") as stage:
        rights = yaml.safe_dump_all([one for one in objects if one["kind"] != "Pod"])
        await cluster.kubectl("apply", "--namespace", SPACE, "-f", "-", stdin=rights)
        account = tmp_path_factory.mktemp("account")
        token = await cluster.kubectl("create", "token", "sluice-test", "--namespace", SPACE)
        (account / "token").write_text(token)
        (account / "ca.crt").write_text(cluster.operator.authority)
        given = {
            one["name"]: one.get("value", SPACE)
            for one in find(objects, "Pod", "sluice-test")["spec"]["containers"][0]["env"]
        }
        async with stage.operating(), stage.data_plane("standard") as ingest:
            environ = {**given, "INGEST": ingest, "API_SERVER": cluster.url, "ACCOUNT_DIR": str(account)}
            code, said = await smoke({"PATH": os.environ["PATH"], **environ, "SECONDS_LIMIT": "60"})
            assert code == 0, said
            assert said.splitlines() == [
                "the Tenant is ready",
                "the line is accepted",
                "the line is stored, once and redacted",
            ]
            await cluster.kubectl("wait", "--for=delete", "tenant/sluice-test", "--namespace", SPACE, "--timeout=60s")
            assert tenant_database("sluice-test") not in await stage.client.list_database_names()


async def smoke(environ: dict[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", Path(CHART / "files/smoke_test.py")),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()
