"""Who is asking: the key in a request's Authorization header.

Invariant: a key that has the wrong form or checksum is refused here, so that guessing never reaches a lookup.
"""

import binascii
from base64 import b64decode
from functools import lru_cache

from sluice_core.errors import Refusal
from sluice_core.keys import is_key, key_digest
from sluice_core.reasons import KEY_INVALID, KEY_MISSING


@lru_cache(maxsize=4096)  # a shipper sends the same header with every request; refusals are not kept
def read_key_digest(authorization: bytes | None) -> str:
    """Digest of the key in `Bearer <key>` or, as the password, in `Basic <base64>`.

    Raises Refusal with KEY_MISSING or KEY_INVALID.
    """
    if not authorization:
        raise Refusal(KEY_MISSING)
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
    return key_digest(key)
