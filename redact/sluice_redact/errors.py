"""What can go wrong while redacting, in words that are safe to log.

Invariant: a message names detectors, actions, kinds and sizes, never any of the text that was being redacted; the
text may hold the very secret that redaction is for.
"""


class PolicyError(ValueError):
    """The policy names something this library does not know; the message lists what it does know."""


class RedactionError(Exception):
    """One text could not be redacted. It must not be stored; its batch mates are unaffected."""
