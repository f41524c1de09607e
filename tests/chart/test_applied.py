"""The API server takes what the chart renders: names, types and unknown fields, checked by Kubernetes itself.

Nothing is stored, and there is no kubelet: that the pods run is for a cluster to show.
"""

from collections.abc import AsyncIterator

import pytest
import yaml

from support.chart import CASES, NAMESPACE, REPO, Object, render, run, worker_pod
from support.cluster import Cluster, keda_crd, running_cluster

pytestmark = pytest.mark.needs("helm", "kube-apiserver")

FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, whose definitions are not here: not checked beyond being rendered."""


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as made:
        scaled_objects = keda_crd()
        assert scaled_objects is not None
        await made.install(yaml.safe_load((REPO / "charts/sluice/files/crds/tenants.yaml").read_text()), scaled_objects)
        for name in (NAMESPACE, "team-a", "team-b"):
            await made.kubectl("create", "namespace", name)
        yield made


CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"}


def placed(one: Object) -> Object:
    """With its namespace, as Helm installs it."""
    if one["kind"] in CLUSTER_SCOPED:
        return one
    return {**one, "metadata": {"namespace": NAMESPACE, **one["metadata"]}}


async def take(cluster: Cluster, objects: list[Object]) -> str:
    # A pod is refused while its service account is not there.
    if accounts := [one for one in objects if one["kind"] == "ServiceAccount"]:
        stored = yaml.safe_dump_all(accounts)
        await cluster.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", stdin=stored)
    return await cluster.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=yaml.safe_dump_all(map(placed, objects)),
    )


@pytest.mark.parametrize("case", CASES)
async def test_what_is_rendered_is_taken(cluster: Cluster, case: str) -> None:
    objects = [one for one in render(*CASES[case]) if one["kind"] not in FOREIGN]
    taken = await take(cluster, objects)
    assert taken.count("server dry run") == len(objects)


async def test_a_pod_of_the_workers_template_is_taken_by_a_namespace_that_is_restricted(cluster: Cluster) -> None:
    await cluster.kubectl(
        "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"
    )
    template = worker_pod(render())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "w"},
        "spec": template["spec"],
    }
    await cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace", NAMESPACE, "--timeout=30s")
    assert "pod/w" in await take(cluster, [pod])


async def test_the_development_servers_are_taken(cluster: Cluster) -> None:
    done = run("kubectl", "kustomize", str(REPO / "k8s/dev"))
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert (await take(cluster, objects)).count("server dry run") == len(objects)
