"""Ingest keys: form, checksum, digest."""

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_core.keys import (
    ALPHABET,
    CRC_LENGTH,
    KEY_ID_LENGTH,
    SECRET_LENGTH,
    compose_key,
    generate_key,
    is_key,
    key_digest,
    key_id,
)

_KEY = compose_key("0123456789ab", "A" * SECRET_LENGTH)
_parts = st.tuples(
    st.text(ALPHABET, min_size=KEY_ID_LENGTH, max_size=KEY_ID_LENGTH),
    st.text(ALPHABET, min_size=SECRET_LENGTH, max_size=SECRET_LENGTH),
)


def test_a_key_has_the_form_that_secret_scanners_look_for() -> None:
    assert re.fullmatch(r"slk_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", generate_key())


def test_generated_keys_are_keys_and_never_repeat() -> None:
    made = [generate_key() for _ in range(200)]
    assert all(map(is_key, made))
    assert len(set(made)) == len(made)
    assert len({key_id(key) for key in made}) == len(made)


@given(_parts)
def test_a_composed_key_is_a_key_and_gives_its_id_back(parts: tuple[str, str]) -> None:
    key = compose_key(*parts)
    assert is_key(key)
    assert key_id(key) == parts[0]


@given(_parts, st.data())
def test_any_single_changed_character_is_noticed(parts: tuple[str, str], data: st.DataObject) -> None:
    key = compose_key(*parts)
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw((st.sampled_from(ALPHABET) | st.characters()).filter(lambda one: one != key[place]))
    assert not is_key(key[:place] + other + key[place + 1 :])


@given(_parts, st.data())
def test_swapped_neighbours_are_noticed(parts: tuple[str, str], data: st.DataObject) -> None:
    key = compose_key(*parts)
    place = data.draw(st.integers(0, len(key) - 2))
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert is_key(swapped) == (swapped == key)


@given(st.text() | st.text(ALPHABET + "_", min_size=50, max_size=60).map("slk_".__add__))
@example(_KEY + "\n")
@example(" " + _KEY)
@example(_KEY[:-1])
@example(_KEY + "0")
@example(_KEY.upper())
@example(_KEY.replace("0", "\uff10"))
@example("slk_" + "é" * 51)
@example("\ud800")
def test_anything_else_is_no_key_and_raises_nothing(value: str) -> None:
    assert not is_key(value)


def test_the_id_of_what_is_no_key_is_an_error_that_does_not_repeat_it() -> None:
    with pytest.raises(ValueError, match="not a Sluice key") as caught:
        key_id("slk_hunter2")
    assert "hunter2" not in str(caught.value)


def test_the_digest_is_sha256_of_the_whole_key() -> None:
    assert key_digest(_KEY) == hashlib.sha256(_KEY.encode()).hexdigest()


def test_the_checksum_holds_every_crc32() -> None:
    assert len(ALPHABET) ** CRC_LENGTH > 2**32
