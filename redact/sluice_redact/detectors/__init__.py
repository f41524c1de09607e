"""The detectors there are, one module for each family.

It exists as the one place to add a detector to. Invariant: the order is the rank by which two equally long,
overlapping hits are decided, so what knows a secret by its shape stands before what knows it by its surroundings.
"""

from typing import Final

from sluice_redact.detectors.assignment import PASSWORD_ASSIGNMENT
from sluice_redact.detectors.cards import CREDIT_CARD
from sluice_redact.detectors.credentials import AUTHORIZATION, URL_CREDENTIALS
from sluice_redact.detectors.iban import IBAN
from sluice_redact.detectors.mac import MAC
from sluice_redact.detectors.mail import EMAIL
from sluice_redact.detectors.model import Detector
from sluice_redact.detectors.network import IPV4, IPV6
from sluice_redact.detectors.phone import PHONE
from sluice_redact.detectors.ssn import US_SSN
from sluice_redact.detectors.tokens import (
    AWS_ACCESS_KEY,
    AZURE_KEY,
    GCP_KEY,
    GITHUB_TOKEN,
    JWT,
    PRIVATE_KEY,
    SLACK_TOKEN,
)

REGISTRY: Final[tuple[Detector, ...]] = (
    EMAIL,
    PHONE,
    CREDIT_CARD,
    US_SSN,
    IBAN,
    IPV4,
    IPV6,
    MAC,
    JWT,
    PRIVATE_KEY,
    AWS_ACCESS_KEY,
    GCP_KEY,
    AZURE_KEY,
    GITHUB_TOKEN,
    SLACK_TOKEN,
    AUTHORIZATION,
    URL_CREDENTIALS,
    PASSWORD_ASSIGNMENT,
)

__all__ = ["REGISTRY", "Detector"]
