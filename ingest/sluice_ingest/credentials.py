"""Who is asking: the key in a request's Authorization header.

Invariants: a key that has the wrong form or checksum is refused here, so that guessing never reaches a lookup; and no
key is kept in memory beyond its request.
"""

import binascii
from base64 import b64decode
from hashlib import sha256

from sluice_core.errors import Refusal
from sluice_core.keys import is_key, key_digest
from sluice_core.reasons import KEY_INVALID, KEY_MISSING

_MOST_KEPT = 4096
_kept: dict[bytes, str] = {}
"""By digest of a header, the digest of its key: a shipper sends the same with every request, and reading it anew takes
five times as long. Emptied when full, so headers that nobody sends again cost nothing for long."""


def read_key_digest(authorization: bytes | None) -> str:
    """Digest of the key in `Bearer <key>` or, as the password, in `Basic <base64>`.

    Raises Refusal with KEY_MISSING or KEY_INVALID.
    """
    if not authorization:
        raise Refusal(KEY_MISSING)
    header = sha256(authorization).digest()
    digest = _kept.get(header)
    if digest is None:
        digest = key_digest(_read_key(authorization))
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[header] = digest
    return digest


def _read_key(authorization: bytes) -> str:
    scheme, _, value = authorization.partition(b" ")
    credential = value.strip()
    match scheme.lower():
        case b"bearer":
            pass
        case b"basic":
            try:
                credential = b64decode(credential, validate=True).partition(b":")[2]
            except binascii.Error:
                raise Refusal(KEY_INVALID, "The Basic credentials are not base64 of `user:key`.") from None
        case _:
            raise Refusal(KEY_MISSING, "Send `Authorization: Bearer <key>`, or the key as Basic password.")
    try:
        key = credential.decode("ascii")
    except UnicodeDecodeError:
        raise Refusal(KEY_INVALID) from None
    if not is_key(key):
        raise Refusal(KEY_INVALID, "This is not a whole Sluice key (`slk_...`): copy it again.")
    return key
