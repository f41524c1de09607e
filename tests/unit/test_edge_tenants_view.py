"""The view of tenants: absence is not refusal, and a lower revision never replaces a higher one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.edge.tenants_view import MIN_REREAD_SECONDS, REREAD_SECONDS, STALE_SECONDS, TenantsView
from sluice_core.tenant import KeyConfig, TenantConfig, encode_config
from unit.fakes import FakeBucket, config
from unit.virtual import now, run, settle


def _follow(bucket: FakeBucket, scenario: Callable[[TenantsView], Awaitable[None]]) -> None:
    async def main() -> None:
        view = TenantsView(cast("Any", bucket))
        following = asyncio.create_task(view.run())
        await settle()
        try:
            await scenario(view)
            assert not following.done(), "the view stopped following"
        finally:
            following.cancel()

    run(main())


def test_a_complete_snapshot_makes_the_view_complete() -> None:
    async def scenario(view: TenantsView) -> None:
        assert view.complete
        assert view.tenant("acme") == config()
        assert view.tenant("other") is None

    _follow(FakeBucket(config()), scenario)


def test_before_anything_was_read_the_view_is_not_complete() -> None:
    bucket = FakeBucket(config())
    bucket.down = True

    async def scenario(view: TenantsView) -> None:
        assert not view.complete
        await asyncio.sleep(30)
        assert not view.complete
        assert view.tenant("acme") is None
        bucket.down = False
        assert await view.confirm(5)
        assert view.complete

    _follow(bucket, scenario)


@pytest.mark.parametrize("configs", [[], [config()]], ids=["empty", "with a tenant"])
def test_a_bucket_without_its_seal_is_not_complete(configs: list[TenantConfig]) -> None:
    bucket = FakeBucket(*configs, sealed=False)

    async def scenario(view: TenantsView) -> None:
        await asyncio.sleep(10)
        assert not view.complete
        assert not await view.confirm(3)
        bucket.seal()
        assert await view.confirm(3)
        assert view.complete

    _follow(bucket, scenario)


def test_an_empty_bucket_that_is_sealed_is_complete() -> None:
    async def scenario(view: TenantsView) -> None:
        assert view.complete
        assert view.tenants() == []

    _follow(FakeBucket(), scenario)


def test_a_bucket_that_lost_its_seal_takes_no_tenant_away() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        bucket.entries.clear()
        await asyncio.sleep(10)
        assert view.complete
        assert view.tenant("acme") == config()

    _follow(bucket, scenario)


def test_a_broker_that_is_away_takes_no_tenant_away() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        bucket.down = True
        await asyncio.sleep(60)
        assert view.complete
        assert view.tenant("acme") == config()

    _follow(bucket, scenario)


def test_a_change_is_seen_within_a_second_without_any_hint() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        bucket.write(config(revision=2, retention_days=7))
        await asyncio.sleep(REREAD_SECONDS + MIN_REREAD_SECONDS)
        assert view.tenant("acme") == config(revision=2, retention_days=7)

    _follow(bucket, scenario)


def test_a_hint_is_seen_at_once() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        await bucket.hint("acme", encode_config(config(revision=2)))
        assert view.tenant("acme") == config(revision=2)

    _follow(bucket, scenario)


def test_a_tenant_that_left_a_complete_bucket_is_unknown() -> None:
    bucket = FakeBucket(config(keys=(KeyConfig("default", "d1"),)))

    async def scenario(view: TenantsView) -> None:
        bucket.remove("acme")
        assert await view.confirm(5)
        assert view.tenant("acme") is None
        assert view.holder("d1") is None

    _follow(bucket, scenario)


def test_a_tombstone_is_known_and_counts_as_no_living_tenant() -> None:
    async def scenario(view: TenantsView) -> None:
        found = view.tenant("acme")
        assert found is not None
        assert found.state == "gone"
        assert view.tenants() == [config("other")]

    _follow(FakeBucket(config(state="gone"), config("other")), scenario)


def test_a_lower_revision_never_replaces_a_higher_one() -> None:
    bucket = FakeBucket(config(revision=5))

    async def scenario(view: TenantsView) -> None:
        await bucket.hint("acme", encode_config(config(revision=4, retention_days=1)))
        assert view.tenant("acme") == config(revision=5)
        bucket.write(config(revision=3, retention_days=1))
        assert await view.confirm(5)
        assert view.tenant("acme") == config(revision=5)

    _follow(bucket, scenario)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=8))
def test_the_highest_revision_ever_seen_is_the_one_that_holds(changes: list[tuple[bool, int]]) -> None:
    bucket = FakeBucket(config(revision=3))

    async def scenario(view: TenantsView) -> None:
        highest = 3
        for by_hint, revision in changes:
            changed = config(revision=revision, retention_days=revision)
            if by_hint:
                await bucket.hint("acme", encode_config(changed))
            else:
                bucket.write(changed)
                assert await view.confirm(5)
            highest = max(highest, revision)
            found = view.tenant("acme")
            assert found is not None
            assert found.revision == highest

    _follow(bucket, scenario)


def test_a_revoked_key_is_forgotten_and_a_new_one_found() -> None:
    bucket = FakeBucket(config(keys=(KeyConfig("a", "d1"), KeyConfig("b", "d2"))))

    async def scenario(view: TenantsView) -> None:
        changed = config(revision=2, keys=(KeyConfig("b", "d2"), KeyConfig("c", "d3")))
        await bucket.hint("acme", encode_config(changed))
        assert view.holder("d1") is None
        assert view.holder("d2") is view.holder("d3") is view.tenant("acme")

    _follow(bucket, scenario)


def test_a_hint_that_comes_during_a_re_read_is_not_forgotten() -> None:
    bucket = FakeBucket(config())

    async def arrive() -> None:
        bucket.before_answer = None
        bucket.write(config("fresh"))
        await bucket.hint("fresh", encode_config(config("fresh")))
        await bucket.hint("acme", encode_config(config(revision=2)))

    async def scenario(view: TenantsView) -> None:
        reads = bucket.reads
        bucket.before_answer = arrive
        await asyncio.sleep(REREAD_SECONDS + MIN_REREAD_SECONDS / 2)
        assert bucket.reads == reads + 1
        assert view.tenant("fresh") == config("fresh"), "the snapshot was older than the hint"
        assert view.tenant("acme") == config(revision=2)

    _follow(bucket, scenario)


@pytest.mark.parametrize("value", [b"nonsense", b"{}", b"\xff", encode_config(config("other"))])
def test_an_entry_that_cannot_be_read_changes_nothing(value: bytes) -> None:
    bucket = FakeBucket(config(), config("other"))

    async def scenario(view: TenantsView) -> None:
        await bucket.hint("acme", value)
        bucket.put("acme", value)
        assert await view.confirm(5)
        assert view.tenant("acme") == config()
        assert view.tenant("other") == config("other")

    _follow(bucket, scenario)


def test_hints_about_the_seal_and_deletions_are_no_tenants() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        await bucket.hint("_seal", b"{}")
        await bucket.hint("acme", b"")
        assert view.tenant("_seal") is None
        assert view.tenant("acme") == config()

    _follow(bucket, scenario)


def test_more_tenants_than_a_page_holds_are_all_read() -> None:
    for count in (499, 500, 1001):
        bucket = FakeBucket(*(config(f"t{number}") for number in range(count)))

        async def scenario(view: TenantsView, count: int = count) -> None:
            assert len(view.tenants()) == count

        _follow(bucket, scenario)


def test_confirm_waits_for_a_re_read_that_began_after_the_call() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        confirmed: list[asyncio.Task[bool]] = []

        async def ask() -> None:
            # The page under way was decided before: what is written and asked now must come from another one.
            bucket.before_answer = None
            bucket.write(config(revision=2))
            confirmed.append(asyncio.create_task(view.confirm(5)))
            await settle()

        bucket.before_answer = ask
        reads = bucket.reads
        await asyncio.sleep(REREAD_SECONDS)
        while not confirmed:
            await asyncio.sleep(0.01)
        assert await confirmed[0]
        assert bucket.reads == reads + 2
        assert view.tenant("acme") == config(revision=2)

    _follow(bucket, scenario)


def test_confirm_does_not_wait_for_the_next_interval() -> None:
    bucket = FakeBucket()

    async def scenario(view: TenantsView) -> None:
        await asyncio.sleep(0.5)
        started = now()
        assert await view.confirm(5)
        assert now() - started <= MIN_REREAD_SECONDS

    _follow(bucket, scenario)


def test_confirm_that_cannot_be_answered_says_so_in_time() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        bucket.down = True
        started = now()
        assert not await view.confirm(3)
        assert now() - started == pytest.approx(3)

    _follow(bucket, scenario)


def test_many_who_ask_at_once_share_re_reads() -> None:
    bucket = FakeBucket()

    async def scenario(view: TenantsView) -> None:
        reads = bucket.reads
        assert all(await asyncio.gather(*(view.confirm(5) for _ in range(200))))
        assert bucket.reads - reads <= 2

    _follow(bucket, scenario)


def test_who_asks_without_end_causes_no_more_than_ten_re_reads_a_second() -> None:
    bucket = FakeBucket()

    async def scenario(view: TenantsView) -> None:
        reads, started = bucket.reads, now()
        while now() - started < 10:
            assert await view.confirm(5)
        assert bucket.reads - reads <= 10 / MIN_REREAD_SECONDS + 1

    _follow(bucket, scenario)


def test_who_stops_asking_disturbs_nobody() -> None:
    bucket = FakeBucket()

    async def scenario(view: TenantsView) -> None:
        others = [asyncio.create_task(view.confirm(5)) for _ in range(3)]
        await asyncio.sleep(0)
        others[0].cancel()
        assert await asyncio.gather(*others[1:]) == [True, True]

    _follow(bucket, scenario)


def test_a_view_that_cannot_be_read_again_says_that_it_is_stale() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        for _ in range(50):
            await asyncio.sleep(0.1)
            assert not view.stale
        bucket.down = True
        await asyncio.sleep(STALE_SECONDS + REREAD_SECONDS)
        assert view.stale
        assert view.tenant("acme") == config(), "what was known is known; it is only old"
        bucket.down = False
        assert await view.confirm(3)
        assert not view.stale

    _follow(bucket, scenario)


def test_before_the_first_snapshot_a_view_is_stale() -> None:
    bucket = FakeBucket(sealed=False)

    async def scenario(view: TenantsView) -> None:
        assert view.stale

    _follow(bucket, scenario)


def test_the_view_says_up_to_where_it_has_read() -> None:
    bucket = FakeBucket(config())

    async def scenario(view: TenantsView) -> None:
        before = view.seen
        bucket.write(config(revision=2))
        written = bucket.entries["acme"][0]
        await bucket.hint("acme", encode_config(config(revision=2)))
        assert view.seen == before < written, "a hint proves nothing about what came before it"
        assert await view.confirm(3)
        assert view.seen == written

    _follow(bucket, scenario)
