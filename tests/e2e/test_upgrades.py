"""Upgrades of the chart, and leaving and coming back: tenants keep what they have."""

import shutil
from pathlib import Path

import yaml

from sluice_operator.manifests import TEMPLATE_HASH, lane_object_name
from support.chart import CHART
from support.cluster import NAMESPACE
from support.commands import command
from support.ledger import Outcome
from support.shipping import post_one_by_one, shipping, verify
from support.site import Site
from support.waiting import eventually


async def test_other_resources_of_workers_roll_every_lane(site: Site) -> None:
    members = [await site.tenant("resized"), await site.tenant("resized-own", lane="Dedicated")]
    before = {one.lane: await site.object("deployment", lane_object_name(one.lane)) for one in members}
    async with shipping(site, *members) as books:
        await site.deploy("--set", "worker.resources.requests.memory=144Mi")

        async def rolled() -> bool:
            for one in members:
                template = (await site.object("deployment", lane_object_name(one.lane)))["spec"]["template"]
                memory = template["spec"]["containers"][0]["resources"]["requests"]["memory"]
                if memory != "144Mi" or template["metadata"] == before[one.lane]["spec"]["template"]["metadata"]:
                    return False
                # A lane that had no worker in this moment gets one when KEDA next sees its backlog.
                hashes = {pod["metadata"]["annotations"][TEMPLATE_HASH] for pod in await site.pods("worker", one.lane)}
                if hashes != {template["metadata"]["annotations"][TEMPLATE_HASH]}:
                    return False
            return True

        await eventually(rolled, within=240, pause=1.0)
        for one in members:
            await site.rolled_out(f"deployment/{lane_object_name(one.lane)}")
    await verify(site, *books)
    await site.deploy()


async def test_a_chart_with_another_definition_leaves_tenants_as_they_are(site: Site, tmp_path: Path) -> None:
    member = await site.tenant("redefined")
    newer = tmp_path / "sluice"
    shutil.copytree(CHART, newer)
    file = newer / "files/crds/tenants.yaml"
    definition = yaml.safe_load(file.read_text())
    (version,) = definition["spec"]["versions"]
    version["additionalPrinterColumns"].append({"name": "Secret", "type": "string", "jsonPath": ".status.secretName"})
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["owner"] = {"type": "string"}
    file.write_text(yaml.safe_dump(definition))
    await site.deploy(chart=newer)

    async def shown() -> bool:
        return "redefined-sluice" in await site.kubectl("get", "tenant", "redefined", "-n", member.namespace)

    await eventually(shown, within=60, pause=0.5)
    assert await site.ready("redefined") == member
    await verify(site, await post_one_by_one(site, member, 5))
    await site.deploy()
    assert "owner" not in await site.kubectl("get", "crd", "tenants.sluice.dev", "-o", "yaml")
    assert await site.ready("redefined") == member


async def test_uninstalling_keeps_what_tenants_have_and_installing_adopts_it(site: Site) -> None:
    members = [await site.tenant("stayed"), await site.tenant("stayed-own", lane="Dedicated")]
    books = [await post_one_by_one(site, member, 20) for member in members]
    await verify(site, *books)
    await command("helm", "uninstall", "sluice", "-n", NAMESPACE, "--wait", timeout=300)

    async def lanes_are_gone() -> bool:
        return not await site.objects("deployments") and not await site.objects("scaledobjects")

    await eventually(lanes_are_gone, within=120, pause=1.0)
    assert {one["metadata"]["name"] for one in await site.objects("tenants", members[0].namespace)} >= {
        "stayed",
        "stayed-own",
    }

    seconds = await site.deploy()
    site.say(f"  installed again, tenants adopted: {seconds:.0f} s")
    assert [await site.ready(member.name) for member in members] == members, "the same ids, keys and addresses"
    for member, book in zip(members, books, strict=True):
        more = await post_one_by_one(site, member, 5)
        assert len(more.ids(Outcome.ACCEPTED)) == 5
        book.records |= more.records
    await verify(site, *books)
