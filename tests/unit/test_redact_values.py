"""Structured values: every string in them is judged, names that give a secret away are enough, keys stay."""

from typing import Any

import pytest

from sluice_redact import MARK, Policy, RedactedValue, RedactionError, Redactor

_REDACTOR = Redactor()


def _redact(value: Any, policy: Policy | None = None) -> RedactedValue:
    [result] = (Redactor(policy) if policy else _REDACTOR).redact_values([value])
    assert isinstance(result, RedactedValue)
    return result


def test_values_are_redacted_at_any_depth_and_keys_stay() -> None:
    value = {"10.0.0.1": ["from 10.0.0.1", 7, None, {"who": "bob@example.com", "ok": True, "x": 1.5}], "n": "10.0.0.2"}
    redacted, hits = _redact(value)
    assert redacted == {"10.0.0.1": [f"from {MARK}", 7, None, {"who": MARK, "ok": True, "x": 1.5}], "n": MARK}
    assert hits == {"ipv4": 2, "email": 1}
    assert value["n"] == "10.0.0.2"


def test_values_without_hits_are_the_same_object() -> None:
    value = {"a": ["b", 1]}
    redacted, hits = _redact(value)
    assert redacted is value
    assert hits == {}


def test_each_value_is_judged_by_itself() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    results = _REDACTOR.redact_values([{"a": "10.0.0.1"}, {"a": "\ud800"}, deep, "x@y.io", {}])
    assert results[0] == ({"a": MARK}, {"ipv4": 1})
    assert isinstance(results[1], RedactionError)
    assert isinstance(results[2], RedactionError)
    assert results[3:] == [(MARK, {"email": 1}), ({}, {})]


@pytest.mark.parametrize(
    ("name", "value", "detector"),
    [
        ("password", "any thing at all", "password_assignment"),
        ("password", "required", "password_assignment"),
        ("passWord", "$ecr3t", "password_assignment"),
        ("new_password_2", "12", "password_assignment"),
        ("dbPassword", {"even": "this"}, "password_assignment"),
        ("X-Api-Key", 12345, "password_assignment"),
        ("user.ssn", 123456789, "us_ssn"),
        ("cardNumber", "unreadable", "credit_card"),
        ("Authorization", "Basic zzz", "authorization"),
        ("set-cookie", "sid=1", "authorization"),
        ("phone_number", "2079460958", "phone"),
        ("token", "f3a9c2d17b", "password_assignment"),
    ],
)
def test_a_name_can_be_enough(name: str, value: Any, detector: str) -> None:
    assert _redact({name: value, "b": "10.0.0.1"}) == ({name: MARK, "b": MARK}, {detector: 1, "ipv4": 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", None),
        ("password", ""),
        ("password", True),
        ("password", MARK),
        ("phone", "iPhone 14"),
        ("token", "expired"),
        ("next_token", "f3a9c2d17b"),
        ("password_hash_algorithm", "argon2"),
        ("tokens", 512),
    ],
)
def test_what_such_a_name_says_of_nothing_secret_stays(name: str, value: Any) -> None:
    assert _redact({name: value}) == ({name: value}, {})


def test_under_a_name_that_is_not_enough_each_value_has_to_look_like_a_secret() -> None:
    value = {"token": ["a1b2c3d4e5f6", "expired", {"value": "x9y8z7w6v5u4"}], "phones": {"home": "2079460958", "n": 2}}
    assert _redact(value) == (
        {"token": [MARK, "expired", {"value": MARK}], "phones": {"home": MARK, "n": 2}},
        {"password_assignment": 2, "phone": 1},
    )


def test_a_pair_of_name_and_value_is_a_named_value() -> None:
    plain = {"name": "x", "value": "y"}
    value = [{"key": "db_password", "value": "hunter2"}, {"name": "ssn", "value": {"stringValue": "1"}}, plain]
    assert _redact(value).value == [{"key": "db_password", "value": MARK}, {"name": "ssn", "value": MARK}, plain]


def test_a_value_that_nobody_can_read_fails_alone() -> None:
    results = _REDACTOR.redact_values([{"n": 10**5000}, {"a": "10.0.0.1"}])
    assert isinstance(results[0], RedactionError)
    assert results[1] == ({"a": MARK}, {"ipv4": 1})


def test_a_detector_that_is_kept_keeps_what_stands_under_its_names() -> None:
    value = {"ssn": "123-45-6789", "password": "hunter2"}
    assert _redact(value, Policy({"us_ssn": "Keep"})).value == {"ssn": "123-45-6789", "password": MARK}


def test_the_action_of_the_detector_holds_for_names_too() -> None:
    assert _redact({"ssn": "123-45-6789"}, Policy({"us_ssn": "Mask"})).value == {"ssn": "****6789"}


def test_an_integer_that_is_a_card_number_becomes_a_mark() -> None:
    assert _redact({"pan": 4111111111111111, "id": 4111111111111112, "flag": True}) == (
        {"pan": f"{MARK}", "id": 4111111111111112, "flag": True},
        {"credit_card": 1},
    )


def test_what_was_redacted_once_is_at_rest() -> None:
    value = {"password": "hunter2", "a": {"card": 4111111111111111, "ssn": "123456789"}, "t": "10.0.0.1 555-0199"}
    once = _redact(value).value
    assert _redact(once) == (once, {})
