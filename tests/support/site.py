"""A real cluster with Sluice on it, as the platform team and the application teams see it: kubectl, Helm, and HTTP.

Invariant: nothing here is done to a cluster that `k8s/cluster.sh check` does not let pass.
"""

import asyncio
import json
import os
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from sluice_core.manifest import API_VERSION, KIND
from sluice_operator.kube.client import Object
from sluice_operator.manifests import LANE_LABEL, lane_object_name
from support.chart import CHART
from support.cluster import NAMESPACE, REPO
from support.commands import CommandFailed, command
from support.waiting import eventually

READING = Path(__file__).with_name("reading_pod.py").read_text()
VALUES = str(REPO / "tests/e2e/values.yaml")
TEAMS = ("sluice-e2e-a", "sluice-e2e-b")
"""Namespaces of application teams, made and removed by the tests."""
SAMPLE = ("default", "team-shop")
READER = "reader"
LIMITS = {"recordsPerSecond": 50_000, "bytesPerSecond": 100_000_000, "maxBacklogBytes": 200_000_000}
SOON = 120.0
"""Generous: a busy machine of two cores starts pods slowly."""


class Member(msgspec.Struct, frozen=True):
    """A tenant with what its Secret says."""

    namespace: str
    name: str
    id: str
    lane: str
    key: str
    uri: str


class Site:
    """The cluster that kubectl points at."""

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        self.url = url
        self.say = say

    # -- the platform team -------------------------------------------------------------------------------------------

    async def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = SOON) -> str:
        return await command("kubectl", *arguments, stdin=stdin, timeout=timeout)

    async def deploy(self, *arguments: str, tag: str = "dev", chart: Path = CHART) -> float:
        """Bring it to what `k8s/deploy.sh` and these arguments of Helm say; returns seconds."""
        began = time.monotonic()
        env = {"TAG": tag, "CHART": str(chart)}
        await command(REPO / "k8s/deploy.sh", "--values", VALUES, *arguments, env=env, timeout=6 * SOON)
        return time.monotonic() - began

    async def load_images(self, tag: str) -> None:
        await command(REPO / "k8s/cluster.sh", "load", tag, timeout=15 * SOON)

    async def check(self) -> None:
        await command(REPO / "k8s/cluster.sh", "check")

    async def wipe(self) -> None:
        """Back to an empty cluster: no release, no Tenants, no definition, no data."""
        tenants = await self.objects("tenants.sluice.dev", everywhere=True, missing_kind=True)
        for tenant in tenants:
            meta = tenant["metadata"]
            await self.kubectl("delete", "tenant", meta["name"], "-n", meta["namespace"], "--wait=false")
        if tenants:
            await self._let_go()
        for namespace in (NAMESPACE, *TEAMS):
            await self.kubectl("delete", "namespace", namespace, "--ignore-not-found", timeout=3 * SOON)
        await self.kubectl("delete", "crd", "tenants.sluice.dev", "--ignore-not-found")
        rights = await self.kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
        ours = [one for one in rights.split() if "/sluice" in one]
        if ours:
            await self.kubectl("delete", "--ignore-not-found", *ours)

    async def _let_go(self) -> None:
        """Deleted Tenants go by themselves while there is an operator; without one, their data goes anyway."""
        for _ in range(30):
            left = await self.objects("tenants.sluice.dev", everywhere=True, missing_kind=True)
            if not left:
                return
            await asyncio.sleep(1)
        for tenant in left:
            meta = tenant["metadata"]
            patch = '{"metadata":{"finalizers":null}}'
            await self.kubectl("patch", "tenant", meta["name"], "-n", meta["namespace"], "--type=merge", "-p", patch)

    async def make_teams(self) -> None:
        """Namespaces of two application teams, and a pod from which their databases are read."""
        for team in TEAMS:
            await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team}})
        await self.apply(_reader_pod())
        await self.kubectl("wait", f"pod/{READER}", "-n", TEAMS[0], "--for=condition=Ready", "--timeout=120s")

    async def apply(self, *documents: Object) -> None:
        await self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    async def objects(
        self,
        kind: str,
        namespace: str = NAMESPACE,
        *,
        selector: str = "",
        everywhere: bool = False,
        missing_kind: bool = False,
    ) -> list[Object]:
        where = ["-A"] if everywhere else ["-n", namespace]
        try:
            text = await self.kubectl("get", kind, *where, "-o", "json", *(["-l", selector] if selector else []))
        except CommandFailed as error:
            if missing_kind and "have a resource type" in str(error):
                return []
            raise
        found: list[Object] = json.loads(text)["items"]
        return found

    async def object(self, kind: str, name: str, namespace: str = NAMESPACE) -> Object:
        found: Object = json.loads(await self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    async def pods(self, component: str, lane: str = "") -> list[Object]:
        """Those that are not on their way out."""
        selector = f"app.kubernetes.io/component={component}" + (f",{LANE_LABEL}={lane}" if lane else "")
        found = await self.objects("pods", selector=selector)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    async def workers(self, lane: str) -> int:
        """How many of a lane's workers are ready."""
        deployment = await self.object("deployment", lane_object_name(lane))
        return int(deployment["status"].get("readyReplicas", 0))

    async def no_workers(self, lane: str, within: float = 2 * SOON) -> None:
        async def none() -> bool:
            return not await self.pods("worker", lane)

        await eventually(none, within=within, pause=1.0)

    async def rolled_out(self, resource: str) -> None:
        await self.kubectl("rollout", "status", resource, "-n", NAMESPACE, "--timeout=240s", timeout=250)

    # -- application teams -------------------------------------------------------------------------------------------

    async def tenant(self, name: str, namespace: str = TEAMS[0], **spec: Any) -> Member:
        """Apply a Tenant and wait until it is Ready."""
        wanted = {"limits": LIMITS, "deletionPolicy": "Delete", **spec}
        meta = {"name": name, "namespace": namespace}
        await self.apply({"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": wanted})
        return await self.ready(name, namespace)

    async def ready(self, name: str, namespace: str = TEAMS[0]) -> Member:
        await self.kubectl(
            "wait", f"tenant/{name}", "-n", namespace, "--for=condition=Ready", "--timeout=120s", timeout=130
        )
        status = (await self.object("tenant", name, namespace))["status"]
        secret = await self.secret(status["secretName"], namespace)
        key = next(value for entry, value in sorted(secret.items()) if entry.islower())
        return Member(namespace, name, status["tenantId"], status["lane"], key, secret["MONGODB_URI"])

    async def secret(self, name: str, namespace: str) -> dict[str, str]:
        data = (await self.object("secret", name, namespace))["data"]
        return {entry: b64decode(value).decode() for entry, value in data.items()}

    async def status(self, member: Member) -> Object:
        found: Object = (await self.object("tenant", member.name, member.namespace)).get("status", {})
        return found

    async def read(self, question: str, member: Member, **more: Any) -> Any:
        """Ask a tenant's database from a pod, with the tenant's own read-only address."""
        ask = json.dumps({"question": question, "uri": member.uri, **more})
        answer = await self.kubectl(
            "exec", "-i", "-n", TEAMS[0], READER, "--", "python", "-c", READING, stdin=ask, timeout=2 * SOON
        )
        return json.loads(answer)


def _reader_pod() -> Object:
    image = f"{os.environ.get('SLUICE_IMAGE_REGISTRY') or ''}/sluice-worker:dev".lstrip("/")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": READER, "namespace": TEAMS[0]},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": READER,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", "import time; time.sleep(86400)"],
                }
            ],
        },
    }
