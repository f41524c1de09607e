"""Redaction as a pure library: text and policy in, redacted text and hit counts out.

It exists apart from the worker so that the worker, the CLI and the operator judge text by the same code. Invariant:
nothing here does I/O, and no error raised here carries a piece of the text it was given.
"""

from sluice_redact.errors import PolicyError, RedactionError
from sluice_redact.marks import MARK
from sluice_redact.policy import ACTIONS, DETECTORS, STYLES, Policy, Rule
from sluice_redact.redactor import Hit, Redacted, RedactedValue, Redactor
from sluice_redact.trial import failing_cases
from sluice_redact.written import WrittenCase, WrittenPolicy, read_policy

__all__ = [
    "ACTIONS",
    "DETECTORS",
    "MARK",
    "STYLES",
    "Hit",
    "Policy",
    "PolicyError",
    "Redacted",
    "RedactedValue",
    "RedactionError",
    "Redactor",
    "Rule",
    "WrittenCase",
    "WrittenPolicy",
    "failing_cases",
    "read_policy",
]
