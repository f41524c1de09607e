"""A real API server for tests: etcd, kube-apiserver, and those controllers that collect garbage.

Binaries come from `KUBEBUILDER_ASSETS`, the PATH, or the cache of the cluster's own build; nothing is downloaded. The
audit log is kept, so that a test can say what was written, by whom. Invariant: everything it starts it stops.
"""

import asyncio
import json
import os
import shutil
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sluice_local.ports import free_port
from sluice_local.process import ChildProcess
from sluice_operator.kube.client import Kube, Object
from sluice_operator.kube.errors import KubeError
from sluice_operator.kube.kinds import Kind
from support.certificates import make_certificates
from support.waiting import eventually

REPO = Path(__file__).resolve().parents[2]
CRD = REPO / "charts/sluice/files/crds/tenants.yaml"
RULES = REPO / "charts/sluice/files/operator-rules.yaml"
NAMESPACE = "sluice-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:sluice-operator"
ADMIN = "test-admin"
BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
CRDS = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False)
_CONTROLLERS = "namespace-controller,garbage-collector-controller,serviceaccount-controller"


@cache
def cache_folder() -> Path:
    return Path(os.environ.get("CLUSTER_CACHE") or "~/.cache/sluice-cluster").expanduser()


@cache
def find_binaries() -> dict[str, Path] | None:
    """The programs by name; None when one is missing."""
    found: dict[str, Path] = {}
    folders = [os.environ.get("KUBEBUILDER_ASSETS", ""), os.environ.get("PATH", ""), str(cache_folder() / "bin")]
    for name in BINARIES:
        path = shutil.which(name, path=os.pathsep.join(filter(None, folders)))
        if path is None:
            return None
        found[name] = Path(path)
    return found


def keda_crd() -> Object | None:
    """KEDA's own definition of the ScaledObject, from what its build left in the cache; None: not there."""
    try:
        text = (cache_folder() / "keda.yaml").read_text()
    except OSError:
        return None
    for document in yaml.safe_load_all(text):
        if (
            document
            and document["kind"] == "CustomResourceDefinition"
            and "scaledobjects" in document["metadata"]["name"]
        ):
            return dict(document)
    return None


class Login(NamedTuple):
    """How one user reaches the API server (`Credentials` of our client)."""

    server: str
    token: str
    authority: str

    def as_http_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def as_ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority)

    def kubeconfig(self, server: str = "") -> str:
        return kubeconfig(server or self.server, self.token, self.authority)


class Cluster:
    """A running API server."""

    def __init__(self, folder: Path, binaries: Mapping[str, Path], port: int, authority: str) -> None:
        self.folder = folder
        self.binaries = binaries
        self.url = f"https://127.0.0.1:{port}"
        self.admin = Login(self.url, "admin-token", authority)
        self.operator = Login(self.url, "operator-token", authority)
        self.kube = Kube(lambda: self.admin)
        self.kubeconfig = folder / "admin.kubeconfig"
        self.kubeconfig.write_text(self.admin.kubeconfig())
        self._audit = folder / "audit.log"

    def audited(self) -> list[dict[str, Any]]:
        """Every request so far, answered ones only."""
        lines = self._audit.read_text().splitlines() if self._audit.exists() else []
        return [json.loads(line) for line in lines]

    def written(self, user: str = OPERATOR, since: int = 0) -> list[str]:
        """What the user wrote after the first `since` requests, each as `verb resource name`."""
        return [
            f"{one['verb']} {_resource(one)} {one['objectRef'].get('name', '')}"
            for one in self.audited()[since:]
            if one["user"]["username"] == user and one["verb"] in WRITES and "objectRef" in one
        ]

    async def kubectl(self, *arguments: str, stdin: str = "", fail: bool = False) -> str:
        """What kubectl prints; `fail`: what it complains about, and that it does."""
        process = await asyncio.create_subprocess_exec(
            self.binaries["kubectl"],
            *("--kubeconfig", str(self.kubeconfig), f"--cache-dir={self.folder / 'kubectl'}", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        assert (process.returncode != 0) is fail, (arguments, out.decode(), err.decode())
        return (err if fail else out).decode()

    async def install(self, *manifests: Object) -> None:
        """Apply manifests, and wait for definitions to be served."""
        text = yaml.safe_dump_all(manifests, sort_keys=False)
        await self.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        for one in manifests:
            if one["kind"] == CRDS.kind:
                await self.kubectl(
                    "wait", "--for=condition=Established", f"crd/{one['metadata']['name']}", "--timeout=30s"
                )


def _resource(one: Mapping[str, Any]) -> str:
    reference = one["objectRef"]
    return "/".join(filter(None, (reference["resource"], reference.get("subresource"))))


def kubeconfig(server: str, token: str, authority: str) -> str:
    cluster: dict[str, Any] = {"server": server}
    if server.startswith("https"):
        cluster["certificate-authority-data"] = b64encode(authority.encode()).decode()
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
    )


def operator_rules(namespace: str = NAMESPACE) -> list[Object]:
    """The operator's roles as the chart has them, bound to its service account; `namespace`: the release's."""
    rules = yaml.safe_load(RULES.read_text())
    group = "rbac.authorization.k8s.io"
    subjects = [{"kind": "User", "name": OPERATOR, "apiGroup": group}]
    made = []
    for kind, part, meta in (
        ("ClusterRole", "cluster", {"name": "sluice-operator"}),
        ("Role", "release", {"name": "sluice-operator", "namespace": namespace}),
    ):
        head = {"apiVersion": f"{group}/v1", "metadata": meta}
        reference = {"apiGroup": group, "kind": kind, "name": "sluice-operator"}
        made.append({**head, "kind": kind, "rules": rules[part]})
        made.append({**head, "kind": f"{kind}Binding", "subjects": subjects, "roleRef": reference})
    return made


def template_config_map(image: str = "sluice-worker:test", namespace: str = NAMESPACE) -> Object:
    """The workers' pod template as the chart makes it."""
    pod = {
        "metadata": {"labels": {"app.kubernetes.io/instance": "test"}},
        "spec": {
            "containers": [
                {
                    "name": "worker",
                    "image": image,
                    "env": [{"name": "SLUICE_NATS_URL", "value": "nats://nats:4222"}],
                    "resources": {"requests": {"cpu": "0.25", "memory": "1024Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
                }
            ],
            "terminationGracePeriodSeconds": 30,
            "volumes": [{"name": "state", "emptyDir": {}}],
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "sluice-worker-template", "namespace": namespace},
        "data": {"template.yaml": yaml.safe_dump(pod)},
    }


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """An API server with nothing of ours in it."""
    binaries = find_binaries()
    assert binaries is not None
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    authority = make_certificates(folder)
    tokens = [f"admin-token,{ADMIN},1,system:masters", f"operator-token,{OPERATOR},2"]
    (folder / "tokens.csv").write_text("\n".join(tokens) + "\n")
    # Answers only, and of their bodies nothing: Secrets pass here.
    policy: Object = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}],
    }
    (folder / "audit.yaml").write_text(yaml.safe_dump(policy))
    async with AsyncExitStack() as stack:

        async def start(name: str, *arguments: str) -> None:
            process = await ChildProcess.start(
                name, [binaries[name], *arguments], log=folder / f"{name}.log", env=env, cwd=folder
            )
            stack.push_async_callback(process.stop, 10.0)

        await start(
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{peer_port}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        await start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={port}",
            f"--tls-cert-file={folder / 'server.crt'}",
            f"--tls-private-key-file={folder / 'server.key'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://sluice.test",
            f"--service-account-key-file={folder / 'server.key'}",
            f"--service-account-signing-key-file={folder / 'server.key'}",
            f"--audit-policy-file={folder / 'audit.yaml'}",
            f"--audit-log-path={folder / 'audit.log'}",
            "--audit-log-mode=blocking",
            "--profiling=false",
        )
        cluster = Cluster(folder, binaries, port, authority)
        stack.push_async_callback(cluster.kube.close)

        async def ready() -> bool:
            try:
                await cluster.kube.call("GET", "/api/v1/namespaces/default")
            except KubeError:
                return False
            return True

        await eventually(ready, within=120, pause=0.2)
        await start(
            "kube-controller-manager",
            f"--kubeconfig={cluster.kubeconfig}",
            f"--controllers={_CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={folder / 'server.key'}",
        )
        yield cluster
