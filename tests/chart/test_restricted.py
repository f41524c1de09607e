"""Every pod passes the `restricted` Pod Security level, and none is more than a number without rights."""

from collections.abc import Iterator

import pytest
import yaml

from sluice_operator.kube.client import Object
from support.chart import CASES, containers, pods, render, run
from support.cluster import REPO

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def violations(pod: Object) -> Iterator[str]:
    """What the level forbids (Pod Security Standards of Kubernetes 1.35), as far as our pods use such fields."""
    security = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", []):
        if kind := set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
    if security.get("sysctls"):
        yield "sysctls"
    for container in containers(pod):
        name, own = container["name"], container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if own.get("privileged"):
            yield f"{name}: privileged"
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield f"{name}: capabilities"
        if own.get("runAsNonRoot", security.get("runAsNonRoot")) is not True:
            yield f"{name}: runAsNonRoot"
        if own.get("runAsUser", security.get("runAsUser")) == 0:
            yield f"{name}: runAsUser"
        profile = own.get("seccompProfile", security.get("seccompProfile", {}))
        if profile.get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"{name}: seccompProfile"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name}: hostPort"
        if own.get("procMount", "Default") != "Default":
            yield f"{name}: procMount"


def more(pod: Object) -> Iterator[str]:
    """What we want beyond it."""
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks"
    if "automountServiceAccountToken" not in pod:
        yield "automountServiceAccountToken"
    for container in containers(pod):
        if container["securityContext"].get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: readOnlyRootFilesystem"
        if "imagePullPolicy" not in container:
            yield f"{container['name']}: imagePullPolicy"


@pytest.mark.needs("helm")
@pytest.mark.parametrize("case", CASES)
def test_every_pod_of_the_chart_passes(case: str) -> None:
    found = list(pods(render(*CASES[case])))
    assert {"Deployment sluice-ingest", "Deployment sluice-operator", "ConfigMap sluice-worker-template"} <= {
        name for name, _ in found
    }
    assert {name: [*violations(pod), *more(pod)] for name, pod in found} == {name: [] for name, _ in found}


@pytest.mark.needs("kubectl")
def test_every_pod_of_the_development_servers_passes() -> None:
    done = run("kubectl", "kustomize", str(REPO / "k8s/dev"))
    assert done.returncode == 0, done.stderr
    found = list(pods([one for one in yaml.safe_load_all(done.stdout) if one]))
    assert len(found) == 2
    assert {name: [*violations(pod), *more(pod)] for name, pod in found} == {name: [] for name, _ in found}


def test_the_check_finds_what_it_is_for() -> None:
    container = {"name": "c", "ports": [{"hostPort": 1}]}
    pod = {"hostNetwork": True, "volumes": [{"name": "v", "hostPath": {}}], "containers": [container]}
    assert set(violations(pod)) == {
        "hostNetwork",
        "volume v is a {'hostPath'}",
        "c: allowPrivilegeEscalation",
        "c: capabilities",
        "c: runAsNonRoot",
        "c: seccompProfile",
        "c: hostPort",
    }
