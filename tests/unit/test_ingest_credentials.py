"""The key in the Authorization header."""

from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.errors import Refusal
from sluice_core.keys import compose_key, key_digest
from sluice_core.reasons import KEY_INVALID, KEY_MISSING
from sluice_ingest import credentials
from sluice_ingest.credentials import read_key_digest
from unit.fakes import refused

_KEY = compose_key("0123456789ab", "A" * 32)
_RAW = _KEY.encode()
_DIGEST = key_digest(_KEY)


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER"])
def test_a_bearer_token_is_a_key(scheme: bytes) -> None:
    assert read_key_digest(scheme + b" " + _RAW) == _DIGEST
    assert read_key_digest(scheme + b"   " + _RAW + b" ") == _DIGEST


@pytest.mark.parametrize("user", [b"", b"acme", "ä".encode(), b"a b"])
def test_a_basic_password_is_a_key_whoever_the_user_is(user: bytes) -> None:
    assert read_key_digest(b"Basic " + b64encode(user + b":" + _RAW)) == _DIGEST


@pytest.mark.parametrize("header", [None, b""])
def test_no_header_is_no_key(header: bytes | None) -> None:
    with refused(KEY_MISSING):
        read_key_digest(header)


@pytest.mark.parametrize("header", [_RAW, b"Token " + _RAW, b"Digest x", b" Bearer " + _RAW, b"Bearer:" + _RAW])
def test_another_scheme_is_told_which_to_use(header: bytes) -> None:
    with refused(KEY_MISSING) as caught:
        read_key_digest(header)
    assert "Bearer" in caught.value.detail


@pytest.mark.parametrize(
    "header",
    [
        b"Bearer",
        b"Bearer ",
        b"Bearer " + _RAW[:-1],
        b"Bearer " + _RAW + b"0",
        b"Bearer " + _RAW + b"," + _RAW,
        b"Bearer " + _RAW.lower(),
        b"Bearer \xff\xfe",
        b"Bearer " + "\uff53lk".encode(),
        b"Basic",
        b"Basic not base64",
        b"Basic ====",
        b"Basic \xff",
        b"Basic " + b64encode(_RAW),
        b"Basic " + b64encode(b"acme:"),
        b"Basic " + b64encode(b"acme:" + _RAW + b"\n"),
        b"Basic " + b64encode(_RAW + b":acme"),
        b"Basic " + b64encode(b"a:b:" + _RAW),
    ],
)
def test_a_key_that_is_not_whole_is_refused_before_any_lookup(header: bytes) -> None:
    with refused(KEY_INVALID):
        read_key_digest(header)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(b64encode).map(b"Basic ".__add__))
@example(b"Bearer slk_hunter2hunter2")
def test_a_header_of_any_bytes_is_refused_and_not_repeated(header: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_key_digest(header)
    assert caught.value.reason in {KEY_MISSING, KEY_INVALID}
    assert "hunter2" not in caught.value.detail


def test_no_key_is_kept_and_what_is_kept_is_bounded() -> None:
    for number in range(2 * credentials._MOST_KEPT):
        key = compose_key(f"{number:012}", "A" * 32)
        assert read_key_digest(b"Bearer " + key.encode()) == key_digest(key)
    assert len(credentials._kept) <= credentials._MOST_KEPT
    assert not any(_RAW in header or b"slk_" in header for header in credentials._kept)
