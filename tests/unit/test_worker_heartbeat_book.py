"""What a worker says of itself: sums that never fall, of the tenants for whom they changed lately."""

from hypothesis import given
from hypothesis import strategies as st

from sluice_core.heartbeat import WorkerHeartbeat, decode_heartbeat, encode_heartbeat
from sluice_worker.heartbeat_book import NAMED_SECONDS, HeartbeatBook


def _make(book: HeartbeatBook, now: float) -> WorkerHeartbeat:
    return book.make(now, seen=3, refusing=["beta"], idle=True)


def test_a_heartbeat_says_who_and_where_and_counts_up() -> None:
    book = HeartbeatBook("abc", "standard")
    first = _make(book, 0)
    assert first == WorkerHeartbeat(instance="abc", number=1, seen=3, lane="standard", refusing=["beta"], idle=True)
    last = book.make(0.5, seen=4, refusing=[], idle=False, stopping=True)
    assert (last.number, last.seen, last.idle, last.stopping) == (2, 4, False, True)
    assert decode_heartbeat(encode_heartbeat(last)) == last


def test_sums_are_since_the_start() -> None:
    book = HeartbeatBook("abc", "standard")
    book.settle([("acme", 10), ("beta", 1), ("acme", 5)], 0)
    assert _make(book, 0).settled == {"acme": 15, "beta": 1}
    book.settle([("acme", 1)], 1)
    assert _make(book, 1).settled == {"acme": 16, "beta": 1}


def test_who_has_not_changed_lately_is_not_named_and_not_forgotten() -> None:
    book = HeartbeatBook("abc", "standard")
    book.settle([("acme", 10)], 0)
    assert _make(book, NAMED_SECONDS).settled == {"acme": 10}
    assert _make(book, NAMED_SECONDS + 0.1).settled == {}
    book.settle([("acme", 1)], 60)
    assert _make(book, 60).settled == {"acme": 11}


@given(st.lists(st.tuples(st.floats(0, 5), st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=3))))
def test_whoever_hears_one_heartbeat_in_ten_seconds_knows_every_sum(
    steps: list[tuple[float, list[tuple[str, int]]]],
) -> None:
    book = HeartbeatBook("abc", "standard")
    sums: dict[str, int] = {}
    heard: dict[str, int] = {}
    now = heard_at = 0.0
    for pause, volumes in steps:
        now += pause
        book.settle(volumes, now)
        for tenant_id, size in volumes:
            sums[tenant_id] = sums.get(tenant_id, 0) + size
        heartbeat = _make(book, now)
        if now - heard_at >= NAMED_SECONDS / 2:
            heard.update(heartbeat.settled)
            heard_at = now
            assert heard == sums
