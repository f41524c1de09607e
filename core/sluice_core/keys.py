"""Ingest keys: how they are made, recognised and compared.

Form: `slk_<key id>_<secret><crc>`, so that secret scanners can find a leaked one and a mistyped one is refused without
a lookup. Invariant: only the SHA-256 digest of a key is ever stored or sent; 190 random bits need no slow hash.
"""

import re
import secrets
import zlib
from hashlib import sha256

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_ID_LENGTH = 12
SECRET_LENGTH = 32
CRC_LENGTH = 6
"""62**6 > 2**32: every CRC-32 fits."""

_FORM = re.compile(
    rf"slk_([0-9A-Za-z]{{{KEY_ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CRC_LENGTH}}})"
)


def generate_key() -> str:
    """A new key from the system's random source."""
    key_id = "".join(secrets.choice(ALPHABET) for _ in range(KEY_ID_LENGTH))
    secret = "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    return compose_key(key_id, secret)


def compose_key(key_id: str, secret: str) -> str:
    """The key of these two parts, with its checksum."""
    body = f"slk_{key_id}_{secret}"
    return body + _checksum(body)


def is_key(value: str) -> bool:
    """Whether `value` has a key's form and checksum; says nothing about whether anybody issued it."""
    return _FORM.fullmatch(value) is not None and _checksum(value[:-CRC_LENGTH]) == value[-CRC_LENGTH:]


def key_id(key: str) -> str:
    """The public part of a key, to tell keys apart in listings.

    Raises ValueError for what is not a key.
    """
    match = _FORM.fullmatch(key)
    if match is None:
        raise ValueError("not a Sluice key")
    return match[1]


def key_digest(key: str) -> str:
    """SHA-256 of the whole key, in hexadecimal: what is stored, and what keys are looked up by."""
    return sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(CRC_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
