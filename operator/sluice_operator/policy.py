"""Whether a redaction policy may take effect: the one seam between the operator and the redaction library.

A policy that cannot be used, or whose own tests fail, does not take effect: the one before stays in force. Invariant:
what is said names fields, numbers and names, never a pattern's or a test's text, since status and logs are read by
many.
"""

from typing import NamedTuple

from sluice_core.reasons import POLICY_INVALID, POLICY_TEST_FAILED, Reason
from sluice_core.tenant import Redaction
from sluice_redact import PolicyError, failing_cases, read_policy


class Fault(NamedTuple):
    """Why a policy may not take effect."""

    reason: Reason
    message: str


def judge(redaction: Redaction) -> Fault | None:
    """What is wrong with a policy, None when nothing is."""
    try:
        failed = failing_cases(read_policy(redaction), redaction.tests)
    except PolicyError as error:
        return Fault(POLICY_INVALID, f"redaction: {error}")
    if failed:
        names = ", ".join(f"tests[{number - 1}]" for number in failed)
        return Fault(POLICY_TEST_FAILED, f"What becomes of the input is not what is expected: redaction.{names}.")
    return None
