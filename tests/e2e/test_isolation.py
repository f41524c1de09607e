"""What each part may do and know is what it needs."""

import json

from support.cluster import NAMESPACE
from support.shipping import post_one_by_one, verify
from support.site import SOON, TEAMS, Member, Site
from support.waiting import eventually

OPERATOR = f"system:serviceaccount:{NAMESPACE}:sluice-operator"
GROUPS = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]
FORBIDDEN = (
    ("list", "secrets", ""),
    ("watch", "secrets", ""),
    ("get", "pods", ""),
    ("create", "pods", ""),
    ("create", "pods/exec", ""),
    ("create", "deployments.apps", TEAMS[0]),
    ("create", "serviceaccounts", ""),
    ("create", "clusterroles.rbac.authorization.k8s.io", ""),
    ("create", "rolebindings.rbac.authorization.k8s.io", NAMESPACE),
    ("impersonate", "users", ""),
    ("delete", "tenants.sluice.dev", ""),
    ("delete", "namespaces", ""),
    ("update", "customresourcedefinitions.apiextensions.k8s.io", ""),
)
INSIDE = """
import os, pathlib
print(sorted(name for name in os.environ if "MONGO" in name), pathlib.Path("/var/run/secrets/kubernetes.io").exists())
"""


async def test_a_tenants_address_reads_its_own_database_and_nothing_more(site: Site, sample: Member) -> None:
    member = await site.tenant("curious")
    await verify(site, await post_one_by_one(site, member, 1))
    answer = await site.read("rights", member, database=f"tenant_{sample.id}")
    assert answer == dict.fromkeys(answer, True), answer


async def test_ingest_knows_no_database_and_has_no_service_account(site: Site) -> None:
    for pod in await site.pods("ingest"):
        meta = pod["metadata"]
        said = await site.kubectl("exec", "-n", NAMESPACE, meta["name"], "--", "python", "-c", INSIDE)
        assert said.strip() == "[] False"
        assert not [one for one in pod["spec"].get("volumes", []) if "projected" in one or "secret" in one]


async def test_workers_have_no_service_account(site: Site) -> None:
    await site.tenant("attended", lane="Dedicated", scaling={"minReplicas": 1, "maxReplicas": 1})
    pods = await eventually(lambda: site.pods("worker"), within=SOON, pause=0.5)
    for pod in pods:
        assert not [one for one in pod["spec"].get("volumes", []) if "projected" in one]
        assert pod["spec"]["automountServiceAccountToken"] is False


async def test_all_pods_pass_the_restricted_standard(site: Site) -> None:
    """The namespace enforces it, so a pod that runs passed it; and those that there are now are asked about again."""
    namespace = await site.object("namespace", NAMESPACE)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    label = "pod-security.kubernetes.io/enforce=restricted"
    said = await site.kubectl("label", "--dry-run=server", "--overwrite", "namespace", NAMESPACE, label)
    assert "violat" not in said


async def test_the_operator_may_not_do_what_it_does_not_do(site: Site) -> None:
    """That it does whatever it may is shown by the audit log of the operator's own tests."""
    for verb, resource, namespace in FORBIDDEN:
        assert not await may(site, verb, resource, namespace), (verb, resource, namespace)
    assert await may(site, "create", "deployments.apps", NAMESPACE), "the question is asked rightly"


async def may(site: Site, verb: str, resource: str, namespace: str) -> bool:
    """Whether the operator's service account may; in every namespace, if none is named."""
    name, _, group = resource.partition(".")
    name, _, subresource = name.partition("/")
    attributes = {"verb": verb, "resource": name, "subresource": subresource, "group": group, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": OPERATOR, "groups": GROUPS, "resourceAttributes": attributes},
    }
    answer = await site.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    return bool(json.loads(answer)["status"]["allowed"])
