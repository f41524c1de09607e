"""Finding the letters that a command is about.

Invariant: letters outlive their tenants, so whatever was ever a tenant can be looked up.
"""

from typing import TYPE_CHECKING

from sluice_cli.letter_filter import LetterFilter
from sluice_core.errors import TenantNotFound
from sluice_core.letter import StoredLetter
from sluice_core.names import UNREADABLE, dead_letter_subject, parked_subject

if TYPE_CHECKING:
    from sluice_local.operator_rights import OperatorRights


class Tally:
    """The letters that a command is about, counted."""

    def __init__(self) -> None:
        self.letters = 0
        self.records = 0
        self.sequences: set[int] = set()

    def take(self, stored: StoredLetter) -> None:
        """Count one letter."""
        self.letters += 1
        self.records += stored.letter.records
        self.sequences.add(stored.sequence)


async def require_known(rights: "OperatorRights", tenant_id: str) -> None:
    """Raises TenantNotFound where there never was a tenant of this id."""
    if tenant_id != UNREADABLE and await rights.provisioner.registry.get(tenant_id) is None:
        raise TenantNotFound(f"there is no tenant {tenant_id}: `sluice tenants list` shows those there are")


def subject_of(tenant_id: str, parked: bool) -> str:
    """Where a tenant's letters of one kind lie."""
    return parked_subject(tenant_id) if parked else dead_letter_subject(tenant_id)


def noun_of(parked: bool) -> str:
    """What a letter of one kind is called."""
    return "parked letter" if parked else "dead letter"


def missing(chosen: LetterFilter, found: set[int]) -> str:
    """The sequences that were asked for and are not there."""
    return ", ".join(str(sequence) for sequence in sorted(chosen.sequences - found))
