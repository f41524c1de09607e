"""Whether a redaction policy may take effect: the one seam between the operator and the redaction library.

A policy that cannot be used, or whose own tests fail, does not take effect: the one before stays in force. Invariant:
what is said names fields, numbers and names, never a pattern's or a test's text, since status and logs are read by
many.
"""

from typing import NamedTuple

from sluice_core.reasons import POLICY_INVALID, POLICY_TEST_FAILED, Reason
from sluice_core.tenant import Redaction
from sluice_redact import Policy, PolicyError, RedactionError, Redactor


class Fault(NamedTuple):
    """Why a policy may not take effect."""

    reason: Reason
    message: str


def judge(redaction: Redaction) -> Fault | None:
    """What is wrong with a policy, None when nothing is."""
    if redaction.custom:
        return Fault(POLICY_INVALID, "redaction.custom is not supported by this release: remove it.")
    try:
        redactor = Redactor(Policy(dict(redaction.detectors)))
    except PolicyError as error:
        return Fault(POLICY_INVALID, f"redaction.detectors: {error}")
    failed = [number for number, passed in enumerate(_passed(redactor, redaction)) if not passed]
    if failed:
        names = ", ".join(f"tests[{number}]" for number in failed)
        return Fault(POLICY_TEST_FAILED, f"What becomes of the input is not what is expected: redaction.{names}.")
    return None


def _passed(redactor: Redactor, redaction: Redaction) -> list[bool]:
    results = redactor.redact([test.input for test in redaction.tests])
    return [
        not isinstance(result, RedactionError) and result.text == test.expect
        for result, test in zip(results, redaction.tests, strict=True)
    ]
