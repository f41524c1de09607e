"""Names whose values are secret: `password`, `apiKey`, `X-Auth-Token`, `DB_PASSWORD`, in any way of writing.

Invariant: a name is judged by its last words, so whatever stands before them does not matter.
"""

import re
from typing import Final

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[.\-$@ ]+")
_EDGE: Final = r"(?:\b|_)"
# Of names in snake case. Where a boundary is asked for, the word is a part of other names as well.
_STRONG: Final = re.compile(
    r"(?:pass_?word|passwd|pass_?phrase|passcode|passwort|kennwort|contrase[nñ]a|passe"
    r"|api_?key|api_?secret|secret_?key|secret_key_base|(?:client|app|consumer|shared|signing|webhook)_?secret"
    r"|(?:access|auth|refresh|bearer|session|bot|personal|private|deploy|vault|api)_?token"
    rf"|(?:private|encryption|master|signing)_?key|{_EDGE}(?:pwd|psw|pw|pass))$"
)
_WEAK: Final = re.compile(
    rf"(?<!next)(?<!page)(?<!cursor)(?<!continuation)(?<!public_key)(?<!sync){_EDGE}"
    r"(?:token|secret|credentials?|access_?key|auth_?key|service_?key)$"
)


def snake_case(name: str) -> str:
    """`clientSecret`, `Client-Secret` and `client.secret` are one name, `client_secret`."""
    return _HUMP.sub("_", name).lower()


def is_secret_name(snake: str) -> bool | None:
    """Whether the name in snake case is that of a secret for sure, or only when the value looks like one; else None."""
    if _STRONG.search(snake):
        return True
    return False if _WEAK.search(snake) else None
