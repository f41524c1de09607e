"""Nobody who posts notices that pods are replaced, and nothing is lost with them."""

import json

from support.cluster import NAMESPACE
from support.load import NO_ANSWER
from support.shipping import Book, shipping, verify
from support.site import SOON, Site
from support.waiting import eventually

NEXT = "e2e-next"
FEW = 0.001
"""Of all requests: as many may be told to come again."""


async def enough_requests(books: list[Book]) -> None:
    """Wait until there are so many that one 503 would be few."""

    async def many() -> bool:
        return sum(book.answers.total() for book in books) > 1.1 / FEW

    await eventually(many, within=SOON, pause=0.5)


def check_answers(site: Site, books: list[Book]) -> None:
    """All were taken, but for very few that were told to come again."""
    answers: dict[str, int] = {}
    for book in books:
        for status, number in book.answers.items():
            answers[status] = answers.get(status, 0) + number
    total = sum(answers.values())
    site.say(f"  {total} requests: {dict(sorted(answers.items()))}")
    assert answers.keys() <= {"202", "503"}, answers
    assert NO_ANSWER not in answers
    assert answers.get("503", 0) < FEW * total, answers


async def test_other_images_roll_out_under_load(site: Site) -> None:
    members = [await site.tenant("rolled"), await site.tenant("rolled-own", lane="Dedicated")]
    await site.load_images(NEXT)
    async with shipping(site, *members) as books:
        seconds = await site.deploy(tag=NEXT)
        site.say(f"  other images, everywhere: {seconds:.0f} s")
        for part in ("ingest", "worker", "operator"):

            async def only_new(part: str = part) -> bool:
                pods = await site.pods(part)
                images = {one["image"] for pod in pods for one in pod["spec"]["containers"]}
                return bool(pods) and all(image.endswith(f":{NEXT}") for image in images)

            await eventually(only_new, within=180, pause=2.0)
        await enough_requests(books)
    check_answers(site, books)
    await verify(site, *books)


async def test_pods_are_evicted_one_by_one_under_load(site: Site) -> None:
    members = [await site.tenant("evicted"), await site.tenant("evicted-own", lane="Dedicated")]
    async with shipping(site, *members) as books:

        async def working() -> bool:
            return all([await site.workers(member.lane) for member in members])

        await eventually(working, within=120, pause=1.0)
        for part in ("ingest", "worker"):
            gone = [pod["metadata"]["name"] for pod in await site.pods(part)]
            for name in gone:
                await evict(site, name)
                if part == "ingest":
                    await site.rolled_out("deployment/sluice-ingest")
            site.say(f"  evicted: {len(gone)} of {part}")
            assert gone
        await enough_requests(books)
    check_answers(site, books)
    await verify(site, *books)


async def evict(site: Site, name: str) -> None:
    """By the Eviction API, which heeds the budget; wait until it is gone."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    await site.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
    await site.kubectl("wait", f"pod/{name}", "-n", NAMESPACE, "--for=delete", "--timeout=120s", timeout=130)
