"""The vocabulary of reasons."""

import re

import pytest

from sluice_core import reasons
from sluice_core.errors import Refusal
from sluice_core.reasons import ALL, Reason

_EVERY = [value for value in vars(reasons).values() if isinstance(value, Reason)]
_REFUSALS = [reason for reason in _EVERY if reason.status]


def test_codes_are_unique() -> None:
    assert len({reason.code for reason in _EVERY}) == len(_EVERY)
    assert list(ALL.values()) == _EVERY


@pytest.mark.parametrize("name", [name for name, value in vars(reasons).items() if isinstance(value, Reason)])
def test_a_reason_is_named_as_its_code(name: str) -> None:
    reason: Reason = getattr(reasons, name)
    assert reason.code == name.lower()
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", reason.code)


@pytest.mark.parametrize("reason", _REFUSALS, ids=lambda reason: reason.code)
def test_a_refusal_is_retryable_exactly_where_its_status_says_so(reason: Reason) -> None:
    assert 400 <= reason.status <= 599
    assert reason.retryable == (reason.status in {408, 429, 503})


@pytest.mark.parametrize("reason", [reason for reason in _EVERY if not reason.status], ids=lambda reason: reason.code)
def test_what_happens_behind_the_202_is_nobodys_to_retry(reason: Reason) -> None:
    assert not reason.retryable


@pytest.mark.parametrize("reason", _EVERY, ids=lambda reason: reason.code)
def test_a_sentence_is_one_for_a_person(reason: Reason) -> None:
    assert reason.sentence.endswith(".")
    assert reason.sentence[0].isupper()
    assert reason.sentence.count("\n") == 0
    assert len(reason.sentence) <= 120
    assert "{" not in reason.sentence


@pytest.mark.parametrize("reason", _REFUSALS, ids=lambda reason: reason.code)
def test_the_sentence_of_a_refusal_says_what_to_do(reason: Reason) -> None:
    """Either an imperative follows a colon, or the sentence names what is needed."""
    known = {"missing_field", "truncated_body", "other_tenant", "method_not_allowed"}
    opens_with_imperative = reason.sentence.split()[0] in {"Send", "Use"}
    assert ": " in reason.sentence or opens_with_imperative or reason.code in known


def test_a_refusal_without_detail_is_explained_by_its_reason() -> None:
    assert Refusal(reasons.EMPTY_BODY).detail == reasons.EMPTY_BODY.sentence
    assert Refusal(reasons.EMPTY_BODY, "At index 3.").detail == "At index 3."
    assert str(Refusal(reasons.EMPTY_BODY, "At index 3.")) == "empty_body"
