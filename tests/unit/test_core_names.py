"""Tenant ids, and the names that are built from them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core import names
from unit.strategies import tenant_ids

_NAMES: list[Callable[[str], str]] = [
    lambda tenant_id: names.lane_stream(names.dedicated_lane(tenant_id)),
    lambda tenant_id: names.lane_subject(names.dedicated_lane(tenant_id)),
    names.dedicated_lane,
    names.dead_letter_subject,
    names.tenant_config_subject,
    names.tenant_database,
    names.reader_user,
]
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_HOSTILE = st.text(st.sampled_from("ab0-_.*>$/\\ \t\r\n\0AZäß\u0131Kﬀ\uff11²\u200b\u202e\ud800"), max_size=45)


@pytest.mark.parametrize("tenant_id", ["a", "0", "acme", "acme_corp", "a-b", "a--b", "a__b", "0-0", "a" * 40])
def test_a_tenant_id_is_letters_digits_hyphens_and_underscores(tenant_id: str) -> None:
    assert names.is_tenant_id(tenant_id)


@pytest.mark.parametrize(
    "value",
    [
        *["", "-", "_", "-a", "a-", "_a", "a_", "a" * 41, "a" * 100_000],
        *["A", "Acme", "aCme", "acme corp", " acme", "acme "],
        *["acme\n", "\nacme", "acme\r", "acme\0", "a\0b", "acme\u200b", "a\u202eb"],
        *["a.b", ".", "..", "*", ">", "a*", "a>", "a/b", "../a", "a\\b", "$a", "a$b", "a:b", "a%2fb", 'a"b', "a'b"],
        *["ä", "ß", "\u0131", "\u212a", "ﬀ", "\uff11", "²", "é", "日本", "\ud800", "🙂"],
    ],
)
def test_nothing_else_is_a_tenant_id(value: str) -> None:
    assert not names.is_tenant_id(value)


@given(_HOSTILE | st.text(max_size=45))
def test_what_passes_needs_no_escaping_anywhere(value: str) -> None:
    if names.is_tenant_id(value):
        assert 1 <= len(value) <= 40
        assert set(value) <= _ALLOWED


@given(tenant_ids, st.sampled_from(["\n", "\r\n", "\0", " ", "\t", "-", "_", ".", "*", ">", "É"]))
def test_an_id_with_anything_after_it_is_no_id(tenant_id: str, tail: str) -> None:
    assert not names.is_tenant_id(tenant_id + tail)


@pytest.mark.parametrize("name", _NAMES)
@given(one=tenant_ids, other=tenant_ids)
def test_distinct_ids_never_share_a_name(name: Callable[[str], str], one: str, other: str) -> None:
    # MongoDB refuses two databases that differ in case only, so names must differ beyond that.
    assert (name(one).casefold() == name(other).casefold()) == (one == other)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize(
    ("one", "other"), [("a-b", "a_b"), ("a", "a_reader"), ("t-a", "a"), ("a--b", "a-b"), ("standard", "t-standard")]
)
def test_ids_that_look_alike_do_not_share_a_name(name: Callable[[str], str], one: str, other: str) -> None:
    assert name(one) != name(other)


@given(tenant_ids)
def test_a_dedicated_lane_is_never_the_shared_one(tenant_id: str) -> None:
    assert names.dedicated_lane(tenant_id) != names.STANDARD_LANE
    assert names.lane_stream(names.dedicated_lane(tenant_id)) != names.lane_stream(names.STANDARD_LANE)


@given(tenant_ids)
def test_a_subject_has_one_token_for_the_tenant(tenant_id: str) -> None:
    assert names.dead_letter_subject(tenant_id).split(".") == ["dlq", tenant_id]
    assert names.lane_subject(names.dedicated_lane(tenant_id)).split(".") == ["logs", f"t-{tenant_id}"]
    assert names.tenant_config_subject(tenant_id).split(".") == ["$KV", names.TENANTS_BUCKET, tenant_id]


@given(tenant_ids)
def test_no_tenant_reaches_a_database_or_user_of_our_own(tenant_id: str) -> None:
    own = {"admin", "local", "config", names.REGISTRY_DATABASE}
    assert names.tenant_database(tenant_id) not in own
    assert names.reader_user(tenant_id) != names.WORKER_USER
    assert len(names.tenant_database(tenant_id).encode()) <= 63, "MongoDB's limit of a database name"


@pytest.mark.parametrize("reserved", [names.SEAL_KEY, names.UNREADABLE])
def test_what_stands_beside_tenants_is_no_tenant_id(reserved: str) -> None:
    assert not names.is_tenant_id(reserved)
