"""Which of two records with one id is newer.

A version is (broker timestamp, stream sequence, position in the envelope): one clock, order of acceptance, the same on
every redelivery. Invariant: comparing versions and comparing the stored sub-documents give the same answer, since
MongoDB compares sub-documents field by field in this order.
"""

import msgspec


class Version(msgspec.Struct, frozen=True, order=True, gc=False):
    """Position of a record in the order of acceptance; compares as the tuple of its numbers."""

    time: int
    """Nanoseconds since the epoch, by the broker's clock."""
    sequence: int
    position: int
    """Of the record within its envelope."""

    def document(self) -> dict[str, int]:
        """The form in which it is stored and compared in the database."""
        return {"time": self.time, "sequence": self.sequence, "position": self.position}

    def numbers(self) -> tuple[int, int, int]:
        """The three of them."""
        return self.time, self.sequence, self.position
