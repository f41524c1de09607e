"""From an empty cluster to a line that its tenant finds in its database."""

import httpx

from support.cluster import NAMESPACE
from support.commands import command
from support.ledger import Outcome
from support.shipping import post_one_by_one, verify
from support.site import Member, Site
from support.waiting import eventually

LINE = "User 555-0199 accessed from IP 192.168.1.100"


async def test_a_line_through_the_ingress_is_found_redacted_with_the_secrets_own_address(
    site: Site, sample: Member
) -> None:
    secret = await site.secret("team-shop-sluice", sample.namespace)
    assert secret["INGEST_URL"] == f"{site.url}/ingest"
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            secret["INGEST_URL"],
            json={"log_id": "first", "text": LINE},
            headers={"Authorization": f"Bearer {sample.key}"},
        )
    assert answer.status_code == 202, answer.text

    async def found() -> object:
        return await site.read("one", sample, id="first")

    document = await eventually(found, within=120, pause=0.5)
    assert document == {"_id": "first", "modified_data": "User [REDACTED] accessed from IP 192.168.1.100"}
    await site.no_workers(sample.lane)


async def test_nobody_posts_without_a_key_and_metrics_are_not_for_the_outside(site: Site, sample: Member) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{site.url}/ingest", json={"text": "x"})).status_code == 401
        headers = {"Authorization": f"Bearer {sample.key}x"}
        assert (await client.post(f"{site.url}/ingest", json={"text": "x"}, headers=headers)).status_code == 401
        for path in ("/metrics", "/healthz", "/readyz"):
            assert (await client.get(f"{site.url}{path}")).status_code == 404


async def test_two_teams_lines_go_to_two_databases(site: Site) -> None:
    members = [await site.tenant(f"apart-{team[-1]}", team) for team in ("sluice-e2e-a", "sluice-e2e-b")]
    books = [await post_one_by_one(site, member, 20) for member in members]
    assert all(len(book.ids(Outcome.ACCEPTED)) == 20 for book in books)
    await verify(site, *books)


async def test_helm_test_passes(site: Site) -> None:
    await command("helm", "test", "sluice", "-n", NAMESPACE, "--timeout", "4m", timeout=300)
