"""Phone numbers of the whole world, with another library's examples as the judge of ours.

`phonenumbers` knows every country's plan. It is too slow and too large to detect with (150 µs a candidate and country),
and right to test with.
"""

from collections.abc import Iterator

import phonenumbers
import pytest
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from sluice_redact import Redactor

_REDACTOR = Redactor()
_KINDS = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE, PhoneNumberType.FIXED_LINE_OR_MOBILE)


def _examples() -> Iterator[PhoneNumber]:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in _KINDS:
            number = phonenumbers.example_number_for_type(region, kind)
            if number is not None:
                yield number


def _is_found(written: str, text: str) -> bool:
    return any(text[hit.start : hit.end] == written for hit in _REDACTOR.scan(text) if hit.detector == "phone")


@pytest.mark.parametrize("form", [PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.E164])
def test_a_number_with_its_country_code_is_found_wherever_it_is_from(form: int) -> None:
    written = [phonenumbers.format_number(number, form) for number in _examples()]
    assert [number for number in written if not _is_found(number, f"reach us: {number}, any time")] == []


def test_a_national_number_after_a_word_for_a_phone_is_found_nearly_wherever_it_is_from() -> None:
    written = [phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL) for number in _examples()]
    long_enough = [number for number in written if sum(map(str.isdigit, number)) >= 7]
    missed = [number for number in long_enough if not _is_found(number, f"phone {number}, any time")]
    assert len(missed) / len(long_enough) < 0.03, missed
