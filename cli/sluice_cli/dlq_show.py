"""What of a letter a person or a script gets to see. Pure.

Invariants: a summary never holds text; a record's text and attributes are redacted with its tenant's policy or not
shown at all.
"""

from datetime import UTC, datetime
from typing import Any

from sluice_cli.output import moment_text
from sluice_core.letter import StoredLetter
from sluice_redact import PolicyError, RedactionError, Redactor, WrittenPolicy, read_policy

HIDDEN = "[NOT SHOWN: IT CANNOT BE REDACTED]"
LISTED = ["sequence", "tenant", "reason", "log id", "records", "attempts", "set aside", "detail"]


def summary(stored: StoredLetter) -> dict[str, Any]:
    """A letter without its content."""
    head = stored.letter
    return {
        "sequence": stored.sequence,
        "tenant": head.tenant_id,
        "reason": head.reason,
        "detail": head.detail,
        "log_id": head.log_id,
        "records": head.records,
        "attempts": head.attempts,
        "received_at": _received(stored),
        "set_aside_at": _set_aside(stored),
        "request_id": head.request_id,
        "source": head.source,
        "uid": head.uid,
        "version": head.version,
    }


def listed(stored: StoredLetter) -> list[object]:
    """A letter as a row under `LISTED`."""
    head = stored.letter
    number = str(stored.sequence)
    return [
        number, head.tenant_id, head.reason, head.log_id, head.records, head.attempts, _set_aside(stored), head.detail
    ]  # fmt: skip


def redacted_records(stored: StoredLetter, policy: WrittenPolicy, most: int) -> list[dict[str, Any]] | None:
    """The first records of a letter as far as they may be shown; None when the letter cannot be read."""
    submissions = stored.submissions()
    if submissions is None:
        return None
    try:
        redactor = Redactor(read_policy(policy))
    except PolicyError:
        redactor = None
    places = [(submission, place) for submission in submissions for place in range(len(submission.records))]
    return [
        {
            "log_id": submission.log_id(place),
            "text": _redacted_text(redactor, submission.records[place].text),
            "attributes": _redacted_values(redactor, submission.records[place].attributes or {}),
        }
        for submission, place in places[:most]
    ]


def _redacted_text(redactor: Redactor | None, text: str) -> str:
    if redactor is None:
        return HIDDEN
    [result] = redactor.redact([text])
    return HIDDEN if isinstance(result, RedactionError) else result.text


def _redacted_values(redactor: Redactor | None, attributes: dict[str, Any]) -> Any:
    if redactor is None:
        return HIDDEN
    [result] = redactor.redact_values([attributes])
    return HIDDEN if isinstance(result, RedactionError) else result.value


def _received(stored: StoredLetter) -> str:
    micros = stored.letter.received_at
    return moment_text(datetime.fromtimestamp(micros / 1_000_000, UTC)) if micros else "-"


def _set_aside(stored: StoredLetter) -> str:
    return moment_text(datetime.fromisoformat(stored.stored_at))
