"""What the operator shows, may do, and never lets out."""

from collections.abc import Iterator
from typing import Any

import httpx
import yaml

from sluice_core.names import STANDARD_LANE
from sluice_operator.kube.client import Object
from sluice_operator.kube.kinds import CONFIG_MAP, TENANT
from sluice_operator.manifests import read_secret
from support.cluster import OPERATOR, RULES
from support.operating import Rig
from support.tenants import SOON
from support.waiting import eventually


async def numbers(rig: Rig, name: str) -> tuple[int, int, int]:
    tenant = await rig.get(name)
    assert tenant is not None
    status = tenant["status"]
    return status["backlog"], status["stored"], status["deadLetters"]


async def test_backlog_and_stored_are_counted_in_both_kinds_of_lanes(running: Rig) -> None:
    shared, own = await running.tenant("counted"), await running.tenant("counted-own", lane="Dedicated")
    assert await numbers(running, shared) == (0, 0, 0)
    async with running.data_plane() as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        for name in (shared, own):
            key = await running.key(name)

            async def post(key: str = key) -> bool:
                answer = await http.post("/ingest", headers={"Authorization": f"Bearer {key}"}, json={"text": "hello"})
                return answer.status_code == 202

            await eventually(post, within=SOON, pause=0.1)
            assert await post()

        async def waits() -> bool:
            return all([(await numbers(running, name))[0] > 0 for name in (shared, own)])

        await eventually(waits, within=SOON, pause=0.1)
        async with running.data_plane(STANDARD_LANE, f"t-{own}"):

            async def stored() -> bool:
                return [await numbers(running, name) for name in (shared, own)] == [(0, 2, 0), (0, 2, 0)]

            await eventually(stored, within=SOON, pause=0.1)
    listing = await running.cluster.kubectl("get", "tenants", "-n", running.namespace, shared, "--no-headers")
    assert listing.split()[1:6] == ["True", "standard", "0", "2", "0"]


async def test_tenants_are_counted_by_condition_and_it_says_that_it_is_well(running: Rig) -> None:
    await running.tenant("well")
    assert await running.metric("sluice_operator_tenants", condition="Ready", status="True") >= 1
    await running.more_looks()
    assert await running.metric("sluice_operator_last_timer_timestamp_seconds") > 0
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"http://127.0.0.1:{running.part.port}/health")).text == "ok\n"


async def test_keys_and_passwords_are_in_the_secret_and_nowhere_else(running: Rig) -> None:
    name = await running.tenant("secretive", keys=[{"name": "default"}, {"name": "other"}])
    found = await running.secret(name)
    assert found is not None
    secret = read_secret(found)
    tenant = await running.get(name)
    await running.more_looks()
    shown = f"{tenant} {await running.events(name)} {running.part.process.log.read_text()}"
    document = await running.client.sluice.tenants.find_one({"_id": name})
    for hidden in (*secret.keys.values(), secret.reader_password):
        assert hidden not in shown
        assert hidden not in str(document)


def _rules() -> Iterator[tuple[str, str, str, str]]:
    for scope, rules in yaml.safe_load(RULES.read_text()).items():
        for rule in rules:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        yield scope, group, resource, verb


def _used(requests: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """What was asked for, in the terms of the rules: inside a release's namespace, as rigs have them, or elsewhere."""
    for one in requests:
        reference = one.get("objectRef")
        if one["user"]["username"] != OPERATOR or not reference:
            continue
        resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
        scope = "release" if reference.get("namespace", "").startswith("sluice-") else "cluster"
        group = reference.get("apiGroup", "")
        yield scope, group, resource, one["verb"]
        if one["verb"] == "patch" and one["responseStatus"]["code"] == 201:  # server-side apply made it
            yield scope, group, resource, "create"


async def test_it_may_do_what_it_does_and_no_more(running: Rig) -> None:
    name = await running.tenant("rights", lane="Dedicated", deletionPolicy="Delete", erasureReceipt=True)
    await running.apply(
        name, lane="Dedicated", deletionPolicy="Delete", erasureReceipt=True, keys=[{"name": "a"}, {"name": "b"}]
    )
    await running.becomes(name)
    await running.delete(name)
    await running.kube.delete(CONFIG_MAP, running.namespace, f"{name}-sluice-erasure")
    requests = running.cluster.audited()
    refused = [
        (one["verb"], one["requestURI"])
        for one in requests
        if one["user"]["username"] == OPERATOR
        and one["responseStatus"]["code"] == 403
        and "being terminated" not in one["responseStatus"].get("message", "")
    ]
    assert refused == []
    assert set(_used(requests)) == set(_rules())


async def test_an_uninstalled_chart_takes_the_lanes_objects_along(running: Rig) -> None:
    """They are children of the workers' template; collected by the cluster once that is gone."""
    deployment, scaler = await running.lane_objects(STANDARD_LANE)
    template = await running.kube.get(CONFIG_MAP, running.release, "sluice-worker-template")
    assert deployment is not None
    assert scaler is not None
    assert template is not None
    for child in (deployment, scaler):
        [owner] = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("ConfigMap", template["metadata"]["uid"])
    async with running.without_operator():
        await running.kube.delete(CONFIG_MAP, running.release, "sluice-worker-template")

        async def collected() -> bool:
            return not any(await running.lane_objects(STANDARD_LANE))

        await eventually(collected, within=60, pause=0.3)
        made: Object = {**template, "metadata": {"name": "sluice-worker-template", "namespace": running.release}}
        await running.kube.create(CONFIG_MAP, made)

    async def back() -> bool:
        return all(await running.lane_objects(STANDARD_LANE))

    await eventually(back, within=SOON, pause=0.2)


async def test_without_a_template_a_lane_of_ones_own_waits_and_says_so(running: Rig) -> None:
    template = await running.kube.get(CONFIG_MAP, running.release, "sluice-worker-template")
    assert template is not None
    name = running.unique("templateless")
    await running.kube.delete(CONFIG_MAP, running.release, "sluice-worker-template")
    try:
        await running.apply(name, lane="Dedicated")
        await running.becomes(name, "False", "TemplateMissing", kind="LaneReady")
        assert (await running.claim(name)).config is None
    finally:
        made: Object = {**template, "metadata": {"name": "sluice-worker-template", "namespace": running.release}}
        await running.kube.create(CONFIG_MAP, made)
    await running.becomes(name)
    await running.kube.delete(TENANT, running.namespace, name)
    await running.gone(name)
