"""Headers and the query string: what is taken over, and in which form only."""

from typing import get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.errors import Refusal
from sluice_core.limits import MAX_LOG_ID_BYTES
from sluice_core.reasons import INVALID_HEADER, OTHER_TENANT
from sluice_ingest.headers import (
    RequestHeaders,
    check_repeated,
    check_tenant,
    read_headers,
    read_query,
    read_request_id,
)
from unit.fakes import refused

_TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_nothing_sent_is_nothing_known() -> None:
    assert read_headers({}) == RequestHeaders(None, None, None, None, (), None, None, None)
    assert read_request_id({}) is None


def test_every_header_is_read() -> None:
    headers = read_headers(
        {
            b"authorization": b"Bearer x",
            b"content-type": b"text/plain",
            b"content-encoding": b"gzip",
            b"content-length": b"12",
            b"x-tenant-id": b"acme",
            b"x-scope-orgid": b"beta",
            b"x-log-id": "ä1".encode(),
            b"idempotency-key": b"k",
            b"traceparent": _TRACE,
        }
    )
    assert headers == RequestHeaders(
        b"Bearer x", b"text/plain", b"gzip", 12, ("acme", "beta"), "ä1", "k", _TRACE.decode()
    )


@pytest.mark.parametrize("value", [b"a", b"A1._:/=@+-", b"x" * 128])
def test_a_request_id_of_ours_is_taken_over(value: bytes) -> None:
    assert read_request_id({b"x-request-id": value}) == value.decode()


@pytest.mark.parametrize(
    "value", [b"", b"x" * 129, b"a b", b"a\n", b"a\r\nx: y", b'"', b"<script>", b"\xff", "ä".encode()]
)
def test_any_other_request_id_is_replaced(value: bytes) -> None:
    assert read_request_id({b"x-request-id": value}) is None


@pytest.mark.parametrize("value", [b"acme ", b"Acme", b"", b"a.b", b"*", b"acme\n", b"acme,beta", "ä".encode(), b"a|b"])
@pytest.mark.parametrize("name", [b"x-tenant-id", b"x-scope-orgid"])
def test_a_tenant_header_must_hold_a_tenant_id(name: bytes, value: bytes) -> None:
    with refused(INVALID_HEADER):
        read_headers({name: value})


@pytest.mark.parametrize("name", [b"x-log-id", b"idempotency-key"])
@pytest.mark.parametrize("value", [b"", b"\xff", b"x" * 257])
def test_ids_must_be_text_of_bounded_length(name: bytes, value: bytes) -> None:
    with refused(INVALID_HEADER):
        read_headers({name: value})


def test_the_length_of_a_log_id_counts_bytes() -> None:
    longest = "ä" * (MAX_LOG_ID_BYTES // 2)
    assert read_headers({b"x-log-id": longest.encode()}).log_id == longest
    with refused(INVALID_HEADER):
        read_headers({b"x-log-id": (longest + "a").encode()})


@pytest.mark.parametrize(
    "value", [b"", b"x", _TRACE[:-1], _TRACE.upper(), _TRACE + b"\n", b" " + _TRACE, _TRACE + b"-" + b"x" * 65]
)
def test_a_traceparent_of_another_form_is_left_out(value: bytes) -> None:
    assert read_headers({b"traceparent": value}).traceparent is None


def test_a_traceparent_of_a_later_version_is_kept() -> None:
    assert read_headers({b"traceparent": b"cc" + _TRACE[2:] + b"-what-comes"}).traceparent is not None


@pytest.mark.parametrize("value", [b"", b"-1", b"+5", b"1.5", b"0x5", b"1e3", b" 5", "\uff11".encode(), b"abc"])
def test_a_content_length_that_is_no_number_is_unknown(value: bytes) -> None:
    assert read_headers({b"content-length": value}).content_length is None


_names = st.sampled_from([name.replace("_", "-").encode() for name in get_type_hints(RequestHeaders)])
_sent = st.dictionaries(
    _names | st.sampled_from([b"x-tenant-id", b"x-scope-orgid", b"x-log-id"]), st.binary(max_size=80)
)


@given(_sent)
@example({b"content-length": b"9" * 5000})
@example({b"x-log-id": b"\xed\xa0\x80"})
@example({b"traceparent": _TRACE + b"-\xff"})
def test_headers_of_any_bytes_are_read_or_refused_and_never_worse(sent: dict[bytes, bytes]) -> None:
    try:
        headers = read_headers(sent)
    except Refusal as refusal:
        assert refusal.reason is INVALID_HEADER  # noqa: PT017 - any other exception is the failure
        return
    for text in (headers.log_id, headers.idempotency_key, headers.traceparent):
        assert text is None or len(text.encode()) <= 300


@given(st.binary(max_size=60))
@example(b"split=%FF&split=%ED%A0%80&&&=&a")
def test_a_query_of_any_bytes_is_read(query: bytes) -> None:
    for name, value in read_query(query).items():
        assert isinstance(name + value, str)


def test_the_last_of_a_repeated_parameter_counts() -> None:
    assert read_query(b"split=lines&split=none&return=ids") == {"split": "none", "return": "ids"}
    assert read_query(b"") == {}


def test_other_tenants_are_refused_and_the_own_one_is_not() -> None:
    check_tenant("acme", ())
    check_tenant("acme", ("acme", "acme"))
    for named in (("beta",), ("acme", "beta"), ("beta", "acme")):
        with refused(OTHER_TENANT):
            check_tenant("acme", named)


@pytest.mark.parametrize("name", [b"authorization", b"x-tenant-id", b"x-log-id", b"idempotency-key", b"content-type"])
def test_a_header_with_a_meaning_may_stand_once(name: bytes) -> None:
    check_repeated([(name, b"a"), (b"accept", b"b"), (b"accept", b"c")])
    for second in (b"a", b"b"):
        with refused(INVALID_HEADER):
            check_repeated([(name, b"a"), (b"accept", b"b"), (name, second)])
