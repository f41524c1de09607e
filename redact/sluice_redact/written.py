"""A policy as manifests and configs write it, whatever their types are.

It exists so that worker, operator and command line read one policy in one way, although this library knows nothing of
Tenants. Invariant: whatever a policy can say is read here, and nowhere else.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sluice_redact.policy import Policy, Rule


class WrittenRule(Protocol):
    """A rule of the tenant's own."""

    @property
    def name(self) -> str:
        """In counts and marks."""

    @property
    def pattern(self) -> str:
        """In RE2's syntax."""

    @property
    def action(self) -> str:
        """What becomes of a hit."""


class WrittenCase(Protocol):
    """A line and what must become of it; where a value is hashed, `aaaaaaaaaaaaaaaa` stands for its token."""

    @property
    def input(self) -> str:
        """The line as it is sent."""

    @property
    def expect(self) -> str:
        """The line as it is stored."""


class WrittenPolicy(Protocol):
    """A policy."""

    @property
    def detectors(self) -> Mapping[str, str]:
        """Actions by detector."""

    @property
    def style(self) -> str:
        """What `Replace` writes."""

    @property
    def custom(self) -> Sequence[WrittenRule]:
        """The tenant's own rules."""


def read_policy(written: WrittenPolicy) -> Policy:
    """The policy that is written there. Raises `PolicyError`."""
    rules = tuple(Rule(rule.name, rule.pattern, rule.action) for rule in written.custom)
    return Policy(dict(written.detectors), rules, written.style)
