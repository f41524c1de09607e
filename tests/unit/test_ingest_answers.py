"""Answers: the 202 and the problem body."""

from typing import Any

import msgspec
import pytest

from sluice_core.errors import Refusal
from sluice_core.reasons import (
    ALL,
    BODY_TOO_LARGE,
    KEY_INVALID,
    KEY_MISSING,
    METHOD_NOT_ALLOWED,
    MISSING_FIELD,
    OVERLOADED,
    RATE_LIMITED,
    Reason,
)
from sluice_ingest.admit import Rejection
from sluice_ingest.answers import MAX_LISTED_REJECTIONS, Accepted, Answer, accepted, list_rejections, problem

_REFUSALS = [reason for reason in ALL.values() if reason.status]


def _body(answer: Answer) -> dict[str, Any]:
    read: dict[str, Any] = msgspec.json.decode(answer.body)
    return read


def _accepted(**fields: Any) -> dict[str, Any]:
    given = {"status": "accepted", "tenant_id": "acme", "message_id": "m", "request_id": "r", "accepted": 1}
    return _body(accepted(Accepted(**{**given, **fields})))


def test_the_202_of_a_single_record() -> None:
    assert _accepted(log_id="7") == {
        "status": "accepted",
        "tenant_id": "acme",
        "log_id": "7",
        "message_id": "m",
        "request_id": "r",
        "accepted": 1,
    }


def test_what_does_not_apply_is_left_out() -> None:
    assert not {"log_id", "log_ids", "rejected", "rejected_total"} & _accepted().keys()


def test_the_202_carries_the_request_id_as_a_header() -> None:
    answer = accepted(Accepted(status="accepted", tenant_id="a", message_id="m", request_id="r-1", accepted=1))
    assert answer.status == 202
    assert (b"x-request-id", b"r-1") in answer.headers
    assert (b"content-type", b"application/json") in answer.headers


@pytest.mark.parametrize("reason", _REFUSALS, ids=lambda reason: reason.code)
def test_every_refusal_is_a_problem_body(reason: Reason) -> None:
    answer = problem(Refusal(reason, "What to mend."), "r-1")
    assert answer.status == reason.status
    assert _body(answer) == {
        "type": f"urn:sluice:reason:{reason.code}",
        "title": reason.sentence,
        "status": reason.status,
        "detail": "What to mend.",
        "code": reason.code,
        "retryable": reason.retryable,
        "request_id": "r-1",
    }
    headers = dict(answer.headers)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"x-request-id"] == b"r-1"


@pytest.mark.parametrize("reason", _REFUSALS, ids=lambda reason: reason.code)
def test_exactly_what_may_be_retried_says_when_and_that_is_soon(reason: Reason) -> None:
    seconds = dict(problem(Refusal(reason), "r").headers).get(b"retry-after")
    assert (seconds is not None) == reason.retryable
    assert seconds is None or 1 <= int(seconds) <= 5


@pytest.mark.parametrize("reason", _REFUSALS, ids=lambda reason: reason.code)
def test_a_401_says_how_to_authenticate_and_a_405_how_to_ask(reason: Reason) -> None:
    headers = dict(problem(Refusal(reason), "r").headers)
    assert (b"www-authenticate" in headers) == (reason in {KEY_MISSING, KEY_INVALID}) == (reason.status == 401)
    assert (b"allow" in headers) == (reason is METHOD_NOT_ALLOWED)


def test_a_body_left_unread_ends_the_connection() -> None:
    assert (b"connection", b"close") in problem(Refusal(BODY_TOO_LARGE), "r", close=True).headers
    assert b"connection" not in dict(problem(Refusal(BODY_TOO_LARGE), "r").headers)


def _rejections(count: int) -> list[Rejection]:
    return [Rejection(index, Refusal(MISSING_FIELD, f"At {index}.")) for index in range(count)]


def test_rejected_records_are_listed_by_their_index() -> None:
    body = _body(problem(Refusal(MISSING_FIELD), "r", _rejections(2)))
    assert body["rejected"] == [
        {"index": 0, "code": "missing_field", "detail": "At 0."},
        {"index": 1, "code": "missing_field", "detail": "At 1."},
    ]
    assert "rejected_total" not in body


def test_none_rejected_is_no_list() -> None:
    assert list_rejections([]) == (None, None)


def test_a_body_of_bad_records_is_not_answered_by_a_larger_one() -> None:
    listed, total = list_rejections(_rejections(MAX_LISTED_REJECTIONS + 5))
    assert listed is not None
    assert len(listed) == MAX_LISTED_REJECTIONS
    assert total == MAX_LISTED_REJECTIONS + 5
    assert list_rejections(_rejections(MAX_LISTED_REJECTIONS))[1] is None


def test_the_answer_says_all_a_client_needs_to_retry() -> None:
    assert _body(problem(Refusal(OVERLOADED), "r"))["retryable"] is True


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.01, b"2"), (17.3, b"18"), (60.1, b"60"), (1e9, b"60")],
)
def test_a_retry_is_invited_for_when_it_can_succeed_and_within_a_minute(seconds: float, said: bytes) -> None:
    answer = problem(Refusal(RATE_LIMITED, retry_after=seconds), "r")
    assert dict(answer.headers)[b"retry-after"] == said
