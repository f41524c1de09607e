"""Policy: which detector does what to what it finds, and the tenant's own rules.

It exists so that a policy is refused when it is applied, not when the first record meets it. Invariant: the `actions`
of a constructed `Policy` have an entry for every detector, in the order of `DETECTORS`, and cannot be changed.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from sluice_redact.detectors import REGISTRY
from sluice_redact.errors import PolicyError

DETECTORS: Final = tuple(detector.name for detector in REGISTRY)
ACTIONS: Final = ("Replace", "Mask", "Hash", "Keep")
STYLES: Final = ("Plain", "Named")
_RULE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_DEFAULT_ACTION: Final = "Replace"


class Rule(msgspec.Struct, frozen=True):
    """A pattern of the tenant's own, in RE2's syntax.

    Where it has a group named `secret`, only what that group matched is the hit.
    """

    name: str
    pattern: str
    action: str = _DEFAULT_ACTION


class Policy(msgspec.Struct, frozen=True):
    """What happens to the hits of each detector and rule.

    `actions` maps a detector's name to one of `ACTIONS`; detectors it leaves out get `Replace`. `Keep` means that the
    detector does not run at all: its values stay and are not counted. `style` says whether `Replace` writes
    `[REDACTED]` (Plain) or the detector's name (Named).

    Raises `PolicyError` for a detector, an action or a style that is not known, and for two rules of one name.
    """

    actions: Mapping[str, str] = {}
    rules: tuple[Rule, ...] = ()
    style: str = "Plain"

    def __post_init__(self) -> None:
        unknown = sorted(str(name) for name in self.actions if name not in DETECTORS)
        if unknown:
            raise PolicyError(f"There is no detector {', '.join(unknown)}. Known detectors: {', '.join(DETECTORS)}.")
        written = [*self.actions.items(), *((rule.name, rule.action) for rule in self.rules)]
        for name, action in written:
            if action not in ACTIONS:
                raise PolicyError(f"{name} has no action {action}. Known actions: {', '.join(ACTIONS)}.")
        if self.style not in STYLES:
            raise PolicyError(f"There is no style {self.style}. Known styles: {', '.join(STYLES)}.")
        names = [rule.name for rule in self.rules]
        for name in names:
            if not _RULE_NAME.fullmatch(name):
                raise PolicyError("A rule's name is of a-z, 0-9 and _, and begins with a letter.")
            if name in DETECTORS:
                raise PolicyError(f"Rule {name} has the name of a detector: give it another.")
            if names.count(name) > 1:
                raise PolicyError(f"Two rules have the name {name}.")
        complete = {name: self.actions.get(name, _DEFAULT_ACTION) for name in DETECTORS}
        msgspec.structs.force_setattr(self, "actions", MappingProxyType(complete))

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the detectors that run, in the order of `DETECTORS`."""
        return tuple(name for name, action in self.actions.items() if action != "Keep")

    @property
    def active_rules(self) -> tuple[Rule, ...]:
        """The rules that run."""
        return tuple(rule for rule in self.rules if rule.action != "Keep")

    @property
    def all_actions(self) -> dict[str, str]:
        """The action of every detector and rule."""
        return {**self.actions, **{rule.name: rule.action for rule in self.rules}}
