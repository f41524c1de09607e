"""Trying a policy before it takes effect, on the cases its author wrote down.

Invariant: what is said of a case is its number, never its text.
"""

from collections.abc import Sequence

from sluice_redact.policy import Policy
from sluice_redact.redactor import Redacted, Redactor
from sluice_redact.written import WrittenCase


def failing_cases(policy: Policy, cases: Sequence[WrittenCase]) -> list[int]:
    """The numbers, from 1, of the cases that do not come out as expected.

    Raises `PolicyError` for a policy that cannot be compiled.
    """
    results = Redactor(policy).redact([case.input for case in cases])
    return [
        number
        for number, (case, result) in enumerate(zip(cases, results, strict=True), 1)
        if not isinstance(result, Redacted) or result.text != case.expect
    ]
