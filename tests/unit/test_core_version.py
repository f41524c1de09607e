"""Versions: one order, in Python and in the database."""

from hypothesis import given
from hypothesis import strategies as st

from sluice_core.version import Version

# Few values, so that fields are often equal and the later ones decide.
_number = st.sampled_from([0, 1, 2, 2**31 - 1, 2**31, 2**32, 1_700_000_000_000_000_000, 2**63 - 1])
_versions = st.builds(Version, _number, _number, _number)


def _compare_as_the_database(one: dict[str, int], other: dict[str, int]) -> int:
    """MongoDB compares sub-documents field by field in their order: name first, then value."""
    for (name, value), (other_name, other_value) in zip(one.items(), other.items(), strict=True):
        if name != other_name:
            return -1 if name < other_name else 1
        if value != other_value:
            return -1 if value < other_value else 1
    return 0


@given(_versions, _versions)
def test_the_stored_form_compares_as_the_tuple_does(one: Version, other: Version) -> None:
    order = (one > other) - (one < other)
    assert _compare_as_the_database(one.document(), other.document()) == order


def test_time_decides_before_sequence_and_sequence_before_position() -> None:
    assert Version(1, 9, 9) < Version(2, 0, 0)
    assert Version(1, 1, 9) < Version(1, 2, 0)
    assert Version(1, 1, 1) < Version(1, 1, 2)


def test_the_stored_form_names_the_fields_in_the_order_they_are_compared() -> None:
    assert list(Version(1, 2, 3).document().items()) == [("time", 1), ("sequence", 2), ("position", 3)]
