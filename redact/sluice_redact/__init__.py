"""Redaction as a pure library: text and policy in, redacted text and hit counts out.

It exists apart from the worker so that the worker, the CLI and the operator judge text by the same code. Invariant:
nothing here does I/O, and no error raised here carries a piece of the text it was given.
"""

from sluice_redact.errors import PolicyError, RedactionError
from sluice_redact.policy import ACTIONS, DETECTORS, Policy
from sluice_redact.redactor import MARK, Hit, Redacted, Redactor

__all__ = [
    "ACTIONS",
    "DETECTORS",
    "MARK",
    "Hit",
    "Policy",
    "PolicyError",
    "Redacted",
    "RedactionError",
    "Redactor",
]
