"""What the property-based tests draw from."""

from typing import Any

from hypothesis import strategies as st

from sluice_core.envelope import Record
from sluice_core.names import TENANT_ID

tenant_ids = st.from_regex(TENANT_ID, fullmatch=True)

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=30)
"""Any text that UTF-8 can hold, NUL and line ends included."""

int64s = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | int64s | st.floats(allow_nan=False, allow_infinity=False) | texts
keys = st.text(characters.filter(lambda character: character != "\0"), max_size=10)
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
attributes: st.SearchStrategy[dict[str, Any]] = st.dictionaries(keys, values, max_size=4)
"""What a record's attributes may be once they were admitted."""

records = st.builds(
    Record,
    st.none() | st.text(characters, min_size=1, max_size=40),
    st.text(characters, min_size=1, max_size=40),
    st.none() | st.integers(0, 253_402_300_799_999_999),
    st.none() | attributes.filter(bool),
)
