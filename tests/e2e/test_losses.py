"""Pods that everything depends on are deleted under load; they come back, and every accepted line is there."""

import pytest

from support.cluster import NAMESPACE
from support.ledger import Outcome
from support.load import NO_ANSWER
from support.shipping import shipping, verify
from support.site import SOON, Site
from support.waiting import eventually


@pytest.mark.parametrize("server", ["nats", "mongodb"])
async def test_a_server_is_deleted_under_load(site: Site, server: str) -> None:
    members = [await site.tenant(f"without-{server}"), await site.tenant(f"own-without-{server}", lane="Dedicated")]
    async with shipping(site, *members) as books:

        async def taken(more: int) -> bool:
            return all(len(book.ids(Outcome.ACCEPTED)) >= more for book in books)

        await eventually(lambda: taken(100), within=SOON, pause=0.2)
        await site.kubectl("delete", "pod", f"{server}-0", "-n", NAMESPACE, "--wait=true")
        await site.rolled_out(f"statefulset/{server}")
        before = max(len(book.ids(Outcome.ACCEPTED)) for book in books)
        await eventually(lambda: taken(before + 100), within=SOON, pause=0.2)
    for book in books:
        assert book.answers.keys() <= {"202", "503"}, book.summary()
        assert NO_ANSWER not in book.answers
        if server == "mongodb":
            assert book.answers.keys() == {"202"}, "ingest does not need the database"
    await verify(site, *books)


async def test_the_operator_is_deleted_and_a_tenant_applied_meanwhile_is_made_afterwards(site: Site) -> None:
    member = await site.tenant("operated")
    async with shipping(site, member) as books:
        await site.kubectl("scale", "deployment/sluice-operator", "-n", NAMESPACE, "--replicas=0")

        async def away() -> bool:
            return not await site.objects("pods", selector="app.kubernetes.io/component=operator")

        await eventually(away, within=SOON, pause=0.5)
        manifest = {"apiVersion": "sluice.dev/v1alpha1", "kind": "Tenant", "spec": {"deletionPolicy": "Delete"}}
        await site.apply({**manifest, "metadata": {"name": "patient", "namespace": member.namespace}})
        await site.kubectl("scale", "deployment/sluice-operator", "-n", NAMESPACE, "--replicas=1")
        late = await site.ready("patient")
        assert late.id == "patient"
    assert books[0].answers.keys() == {"202"}, "lines do not need the operator"
    await verify(site, *books)
