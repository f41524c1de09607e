"""The API server takes what the chart renders: names, types and unknown fields, checked by Kubernetes itself.

Nothing is stored, and there is no kubelet: that the pods run is for a cluster to show.
"""

import pytest
import yaml

from sluice_operator.kube.client import Object
from support.chart import CASES, render, run, worker_pod
from support.cluster import NAMESPACE, REPO, Cluster

pytestmark = pytest.mark.needs("helm", "kube-apiserver")

FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, whose definitions are not here: not checked beyond being rendered."""


@pytest.fixture(scope="module")
async def server(cluster: Cluster) -> Cluster:
    for name in (NAMESPACE, "team-a", "team-b"):
        await cluster.kubectl("create", "namespace", name)
    return cluster


CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"}


def placed(one: Object) -> Object:
    """With its namespace, as Helm installs it."""
    if one["kind"] in CLUSTER_SCOPED:
        return one
    return {**one, "metadata": {"namespace": NAMESPACE, **one["metadata"]}}


async def take(server: Cluster, objects: list[Object]) -> str:
    # A pod is refused while its service account is not there.
    if accounts := [one for one in objects if one["kind"] == "ServiceAccount"]:
        stored = yaml.safe_dump_all(accounts)
        await server.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", stdin=stored)
    return await server.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(map(placed, objects)),
    )


@pytest.mark.parametrize("case", CASES)
async def test_what_is_rendered_is_taken(server: Cluster, case: str) -> None:
    objects = [one for one in render(*CASES[case]) if one["kind"] not in FOREIGN]
    taken = await take(server, objects)
    assert taken.count("server dry run") == len(objects)


async def test_a_pod_of_the_workers_template_is_taken_by_a_namespace_that_is_restricted(server: Cluster) -> None:
    await server.kubectl(
        "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"
    )
    template = worker_pod(render())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "w"},
        "spec": template["spec"],
    }
    await server.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace", NAMESPACE, "--timeout=30s")
    assert "pod/w" in await take(server, [pod])


async def test_the_development_servers_are_taken(server: Cluster) -> None:
    done = run("kubectl", "kustomize", str(REPO / "k8s/dev"))
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert (await take(server, objects)).count("server dry run") == len(objects)
