"""The world's dialling plan, as far as a written number can be checked without a database.

Invariant: every assigned country code (ITU E.164) is here; a code without a known plan gets generous lengths, so a
wrong entry costs precision and not a leaked number.
"""

import re
from typing import Final

COUNTRY_CODE: Final = re.compile(
    r"1|7|2[07]|2[1-689]\d|3[0-469]|3[578]\d|4[013-9]|42\d|5[1-8]|5[09]\d|6[0-6]|6[7-9]\d|8[1246]|8[0578]\d|9[0-58]"
    r"|9[679]\d",
    re.ASCII,
)
NORTH_AMERICAN: Final = re.compile(r"1?[2-9]\d\d[2-9]\d{6}", re.ASCII)
_ANY: Final = range(6, 12)
# Digits after the country code, where the plan is known to be narrow or wide.
_NATIONAL: Final = {
    "1": range(10, 11),
    "7": range(10, 11),
    "20": range(8, 11),
    "27": range(9, 10),
    "30": range(10, 11),
    "31": range(9, 10),
    "32": range(8, 10),
    "33": range(9, 10),
    "34": range(9, 10),
    "36": range(8, 10),
    "40": range(9, 10),
    "41": range(9, 10),
    "43": range(7, 14),
    "44": range(9, 11),
    "45": range(8, 9),
    "46": range(7, 11),
    "47": range(8, 9),
    "48": range(9, 10),
    "49": range(6, 13),
    "52": range(10, 12),
    "55": range(10, 12),
    "56": range(9, 10),
    "57": range(10, 11),
    "61": range(9, 10),
    "62": range(8, 13),
    "65": range(8, 9),
    "86": range(10, 12),
    "90": range(10, 11),
    "91": range(10, 11),
    "98": range(10, 11),
    "351": range(9, 10),
    "380": range(9, 10),
    "420": range(9, 10),
    "852": range(8, 9),
    # Islands with a few thousand subscribers.
    **dict.fromkeys(("247", "290", "500", "676", "677", "678", "682", "683", "685", "686", "688", "690"), range(4, 9)),
}


def national_lengths(country_code: str) -> range:
    """How many digits may follow the country code."""
    return _NATIONAL.get(country_code, _ANY)
