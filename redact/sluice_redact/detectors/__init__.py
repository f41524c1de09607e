"""The detectors there are, one module for each family.

It exists as the one place to add a detector to. Invariant: the order is the rank by which two equally long,
overlapping hits are decided, so it only ever grows at the end.
"""

from typing import Final

from sluice_redact.detectors.cards import CREDIT_CARD
from sluice_redact.detectors.mail import EMAIL
from sluice_redact.detectors.model import Detector
from sluice_redact.detectors.network import IPV4, IPV6
from sluice_redact.detectors.phone import PHONE
from sluice_redact.detectors.ssn import US_SSN

REGISTRY: Final[tuple[Detector, ...]] = (EMAIL, PHONE, US_SSN, CREDIT_CARD, IPV4, IPV6)

__all__ = ["REGISTRY", "Detector"]
