"""A Tenant's conditions and the rest of its status, as values.

Invariant: pure. A condition's `lastTransitionTime` moves only with its status, and what is as it was is not patched, so
that a look that finds nothing new writes nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sluice_core.reasons import CAPPED, PROVISIONED, WAITING, Reason

READY = "Ready"
LANE_READY = "LaneReady"
STORE_READY = "StoreReady"
CREDENTIALS_READY = "CredentialsReady"
REDACTION_VALID = "RedactionValid"
PARTS = (LANE_READY, STORE_READY, CREDENTIALS_READY, REDACTION_VALID)
"""What Ready depends on, in the order in which a person should look at them."""

Status = Literal["True", "False", "Unknown"]
_LONGEST_MESSAGE = 4096


class Condition(NamedTuple):
    """One condition, without its times."""

    type: str
    status: Status
    reason: Reason
    message: str = ""


def good(kind: str, message: str = "") -> Condition:
    """It is so."""
    return Condition(kind, "True", PROVISIONED, message)


def bad(kind: str, reason: Reason, message: str = "") -> Condition:
    """It is not so, for this reason."""
    return Condition(kind, "False", reason, message or reason.sentence)


def waiting(kind: str) -> Condition:
    """Nobody looked, since something that comes before is not there."""
    return Condition(kind, "Unknown", WAITING, WAITING.sentence)


def summarize(parts: Iterable[Condition], *, capped: Iterable[str] = (), trouble: Condition | None = None) -> Condition:
    """Ready, which says the first thing that is wrong. `trouble` comes before all parts."""
    wrong = [trouble] if trouble is not None else [part for part in parts if part.status != "True"]
    wrong.sort(key=lambda part: part.status == "Unknown")  # what is waited for explains what waits
    if wrong:
        return Condition(READY, "False", wrong[0].reason, wrong[0].message)
    if names := ", ".join(capped):
        return Condition(READY, "True", CAPPED, f"The platform's caps hold instead of {names}.")
    return good(READY, PROVISIONED.sentence)


def render(
    conditions: Iterable[Condition], before: Iterable[Mapping[str, Any]], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions as the status has them, given those of the status before."""
    earlier = {one.get("type"): one for one in before}
    return [_render(one, earlier.get(one.type, {}), generation, now) for one in conditions]


def _render(one: Condition, before: Mapping[str, Any], generation: int, now: datetime) -> dict[str, Any]:
    same = before.get("status") == one.status
    return {
        "type": one.type,
        "status": one.status,
        "reason": one.reason.word,
        "message": one.message[:_LONGEST_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if same else now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a merge patch must say so that `before` becomes `after` where it has something; empty: nothing."""
    return {name: value for name, value in after.items() if before.get(name) != value}
