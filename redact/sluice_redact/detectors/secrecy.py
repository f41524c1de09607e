"""What a value looks like: a secret somebody made, or a word, a reference, a mask in its place.

Invariant: a judgement is about the value alone and reads a bounded piece of it.
"""

import re
from typing import Final

_SHORTEST: Final = 3
_SHORTEST_RANDOM: Final = 6
_LOOK: Final = 200
_TALK: Final = frozenset(
    """
    - -- ... ? ! * # n/a nil no none not null ok off on yes true false undefined unknown unset empty missing absent
    required optional invalid valid incorrect correct wrong expired expires expiring rejected accepted denied failed
    failure success changed updated reset revoked rotated generated created deleted removed set unchanged provided
    present redacted masked hidden filtered obfuscated sanitized string str bytes int bool boolean object text type
    value values password passwd token secret key apikey placeholder example your_password your-password
    yourpassword your_token your_api_key your-api-key the this for is was has must should will can cannot basic
    bearer digest enabled disabled default prompt ask stdin file env md5 sha1 sha256 bcrypt scram-sha-256 plaintext
    read write erforderlich ungültig falsch abgelaufen requis invalide expiré requerido inválida caducada
    """.split()  # noqa: SIM905 - a list of words is read as one
)
# Whole references only, since a password may begin with any of these characters.
_REFERENCE: Final = re.compile(
    r"\$[A-Z_][A-Z0-9_]*|\$?\$?\{[^}]*\}\}?|\$?\([^)]*\)|\$?\[\[[^\]]*\]\]"
    r"|%[A-Z_][A-Z0-9_]*%|%\([a-z_]+\)s|%[-0-9.]*[sdrvqx]|@[A-Za-z_]\w*|:[a-z_]\w*"
    r"|<[A-Za-z][\w .:/-]*>|\[[A-Za-z][\w .-]*\]|\?"
    r"|(?:process\.env|os\.environ|environ|getenv|env|vars?|self|this|config|settings|options|opts|params|args|kwargs"
    r"|request|req|data|user|ctx|secrets?|vault|ssm|ref|local|module)(?:\.[A-Za-z_]\w*|\[[^\]]*\])+"
    r"|(?:vault|ssm|arn|file|sm|op|awssm|gcpsm):/?/?[\w./:#-]+|projects/[\w./-]+"
    r"|/(?:var|run|etc|home|root|usr|opt|tmp|mnt|srv|secrets?|app|dev)(?:/[\w.@-]*)*"
    r"|[A-Za-z]:\\[\w\\. -]*|\.\.?/[\w./-]+\.[a-z]{2,4}|~/[\w./-]*|error:.*|[A-Z]+(?:_[A-Z]+){2,}"
)
_CALL: Final = re.compile(
    r"(?:new )?[A-Za-z_][\w.:$]*(?:\([\"'\w, .:()-]*\)|\[[\"'\w-]*\])"
    r"|[A-Za-z_$][\w.$]*@[0-9a-f]{4,16}|[A-Za-z]\w*(?:\.\w+)*::[A-Za-z]\w*"
)
_REPEATED: Final = re.compile(r"(.)\1*|[*x•.#-]{3,}.{0,4}|.{0,2}\*{3,}.{0,4}|\.\.\..*", re.IGNORECASE)
_CLOSING: Final = frozenset(",;)]}>.&|\"'")
_OBJECT: Final = re.compile(r"[A-Z][a-z]+[{(\[]")
_NAME_LIKE: Final = re.compile(
    r"[a-z]+(?:[-_./:][a-z0-9]+)*|[A-Z][a-z]+|[A-Z]+(?:_[A-Z]+)*|[a-z]+(?:[A-Z][a-z]+)+|(?:[A-Z][a-z]+)+"
)
_NUMBER: Final = re.compile(r"[\d.,:%/-]+[a-zA-Z]{0,2}")


def is_placeholder(value: str) -> bool:
    """Whether nothing secret stands there: a mask, a variable, a call, a path, or a word that talks of the value."""
    head = value[:_LOOK]
    return (
        len(value) < _SHORTEST
        or value.lower() in _TALK
        or _REFERENCE.fullmatch(head) is not None
        or _CALL.fullmatch(head) is not None
        or _REPEATED.fullmatch(head) is not None
    )


def begins_with_reference(text: str, start: int) -> bool:
    """Whether a variable, a call or a path stands there in a text, whole, whatever comes behind it."""
    for pattern in (_REFERENCE, _CALL):
        found = pattern.match(text, start, start + _LOOK)
        if found is not None and (
            found.end() == len(text) or text[found.end()] in _CLOSING or text[found.end()].isspace()
        ):
            return True
    return False


def looks_random(value: str) -> bool:
    """Whether a machine or a careful person made it up: neither a word or name, nor a number, date or amount."""
    head = value[:_LOOK]
    if len(value) < _SHORTEST_RANDOM or " " in head or _OBJECT.match(head):
        return False
    return not _NAME_LIKE.fullmatch(head) and not _NUMBER.fullmatch(head)
