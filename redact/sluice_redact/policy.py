"""Policy: which detector does what to what it finds.

It exists so that a policy is refused when it is applied, not when the first record meets it. Invariant: the `actions`
of a constructed `Policy` have an entry for every detector, in the order of `DETECTORS`, and cannot be changed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from sluice_redact.detectors import REGISTRY
from sluice_redact.errors import PolicyError

DETECTORS: Final = tuple(detector.name for detector in REGISTRY)
ACTIONS: Final = ("Replace", "Keep")
_DEFAULT_ACTION: Final = "Replace"


class Policy(msgspec.Struct, frozen=True):
    """What happens to the hits of each detector.

    `actions` maps a detector's name to `Replace` or `Keep`; detectors it leaves out get `Replace`. `Keep` means that
    the detector does not run at all: its values stay and are not counted.

    Raises `PolicyError` for a detector or an action that is not known.
    """

    actions: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        unknown = sorted(str(name) for name in self.actions if name not in DETECTORS)
        if unknown:
            raise PolicyError(f"There is no detector {', '.join(unknown)}. Known detectors: {', '.join(DETECTORS)}.")
        for name, action in self.actions.items():
            if action not in ACTIONS:
                raise PolicyError(f"Detector {name} has no action {action}. Known actions: {', '.join(ACTIONS)}.")
        complete = {name: self.actions.get(name, _DEFAULT_ACTION) for name in DETECTORS}
        msgspec.structs.force_setattr(self, "actions", MappingProxyType(complete))

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the detectors that run, in the order of `DETECTORS`."""
        return tuple(name for name, action in self.actions.items() if action != "Keep")
