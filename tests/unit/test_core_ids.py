"""Ids that Sluice makes up."""

from itertools import pairwise
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from sluice_core.envelope import encode_content
from sluice_core.ids import count_ids, format_id, idempotent_id, uuid7
from unit.strategies import records, tenant_ids, texts

_MOST_INDEX = 2**61 - 1
_times = st.integers(0, 2**48 - 1)


@given(_times)
def test_a_generated_id_is_a_uuid_of_version_7(now_ms: int) -> None:
    made = UUID(int=uuid7(now_ms))
    assert made.version == 7
    assert made.variant == RFC_4122


@given(_times)
def test_a_generated_id_begins_with_its_time(now_ms: int) -> None:
    assert uuid7(now_ms) >> 80 == now_ms


@given(_times, st.integers(0, _MOST_INDEX))
def test_counting_up_never_carries(now_ms: int, index: int) -> None:
    base = uuid7(now_ms)
    base -= base & _MOST_INDEX
    for low in (0, base & _MOST_INDEX, _MOST_INDEX):
        counted = UUID(int=base + low + index)
        assert counted.int >> 62 == base >> 62
        assert (counted.version, counted.variant) == (7, RFC_4122)


@given(_times, st.sets(st.integers(0, 100_000), min_size=2, max_size=20))
def test_the_records_of_a_request_have_ids_of_their_own_in_their_order(now_ms: int, indexes: set[int]) -> None:
    base = uuid7(now_ms)
    ids = [format_id(base + index) for index in sorted(indexes)]
    assert ids == sorted(set(ids))


@given(st.integers(0, 2**127) | st.integers(0, 2**79).map(lambda high: (high << 48) | (2**48 - 2)), st.integers(0, 5))
def test_counted_ids_are_those_of_the_numbers(first: int, position: int) -> None:
    assert count_ids(first)(position) == format_id(first + position)


def test_requests_of_one_millisecond_get_ids_far_apart() -> None:
    bases = sorted(uuid7(1) for _ in range(2000))
    gaps = [later - earlier for earlier, later in pairwise(bases)]
    assert min(gaps) > 10_000_000, "no batch is so large that it would count into its neighbour"


@given(_times, _times)
def test_later_ids_sort_behind_earlier_ones(one: int, other: int) -> None:
    if one < other:
        assert format_id(uuid7(one) + _MOST_INDEX) < format_id(uuid7(other))


@given(st.integers(0, 2**128 - 1))
def test_an_id_is_written_as_uuids_are(value: int) -> None:
    assert format_id(value) == str(UUID(int=value))


@given(tenant_ids, texts, st.integers(0, 10**6), records.map(encode_content))
def test_an_idempotent_id_is_a_uuid_of_version_8_and_always_the_same(
    tenant_id: str, key: str, index: int, content: bytes
) -> None:
    made = idempotent_id(tenant_id, key, index, content)
    assert (UUID(made).version, UUID(made).variant) == (8, RFC_4122)
    assert made == str(UUID(made))
    assert idempotent_id(tenant_id, key, index, content) == made


_inputs = st.tuples(
    st.sampled_from(["a", "b", "a0"]),
    st.sampled_from(["k", "k\0", "k\x001", "", "1", "\0", "k\x000\0"]) | texts,
    st.integers(0, 20),
    records.map(encode_content),
)


@given(_inputs, _inputs)
def test_an_idempotent_id_depends_on_tenant_key_index_and_content(
    one: tuple[str, str, int, bytes], other: tuple[str, str, int, bytes]
) -> None:
    for place in range(4):
        changed = (*one[:place], other[place], *one[place + 1 :])
        assert (idempotent_id(*changed) == idempotent_id(*one)) == (changed == one)  # type: ignore[arg-type]
    assert (idempotent_id(*other) == idempotent_id(*one)) == (other == one)
