"""What a value looks like: a secret somebody made, or a word, a reference, a mask in its place.

Invariant: a judgement is about the value alone and reads a bounded piece of it.
"""

import re
from typing import Final

_SHORTEST: Final = 6
_TALK: Final = frozenset(
    [
        "-",
        "--",
        "...",
        "?",
        "!",
        "*",
        "#",
        "n/a",
        "na",
        "nil",
        "no",
        "none",
        "not",
        "null",
        "ok",
        "off",
        "on",
        "yes",
        "true",
        "false",
        "undefined",
        "unknown",
        "unset",
        "empty",
        "missing",
        "absent",
        "required",
        "optional",
        "invalid",
        "valid",
        "incorrect",
        "correct",
        "wrong",
        "expired",
        "expires",
        "expiring",
        "rejected",
        "accepted",
        "denied",
        "failed",
        "failure",
        "success",
        "changed",
        "updated",
        "reset",
        "revoked",
        "rotated",
        "generated",
        "created",
        "deleted",
        "removed",
        "set",
        "unchanged",
        "provided",
        "present",
        "redacted",
        "masked",
        "hidden",
        "filtered",
        "obfuscated",
        "sanitized",
        "secret_value",
        "string",
        "str",
        "bytes",
        "int",
        "bool",
        "boolean",
        "object",
        "text",
        "type",
        "value",
        "values",
        "password",
        "passwd",
        "token",
        "secret",
        "key",
        "apikey",
        "placeholder",
        "example",
        "changeit",
        "your_password",
        "your-password",
        "yourpassword",
        "your_token",
        "your_api_key",
        "your-api-key",
        "the",
        "this",
        "for",
        "is",
        "was",
        "has",
        "must",
        "should",
        "will",
        "can",
        "cannot",
        "basic",
        "bearer",
        "digest",
        "enabled",
        "disabled",
        "default",
        "prompt",
        "ask",
        "stdin",
        "file",
        "env",
        "md5",
        "sha1",
        "sha256",
        "bcrypt",
        "scram-sha-256",
        "plaintext",
        "erforderlich",
        "ungültig",
        "falsch",
        "abgelaufen",
        "requis",
        "invalide",
        "expiré",
        "requerido",
        "inválida",
        "caducada",
    ]
)
_REFERENCE: Final = re.compile(
    r"[$%@]?[{<\[(]|[$%][A-Za-z_(]|<|\{\{|(?:process\.env|os\.environ|environ|getenv|env|var|vars|vault|secrets?|self|this|config|settings"
    r"|options|opts|params|args|request|req|data|user|ctx|ref|arn|ssm|file|sm|op)[.:/\[(]|error:|projects/|/(?:var|run|etc|home|root|usr|opt|tmp|mnt|secrets?|app)(?:/|$)"
    r"|[A-Za-z]:\\|\.\.?/|~/"
)
_CALL: Final = re.compile(r"[A-Za-z_][\w.]*\(|[A-Za-z_$][\w.$]*@[0-9a-f]{4,16}$|[\w.]+::[\w.]+$")
_REPEATED: Final = re.compile(
    r"(.)\1*|[*x•.#-]{3,}.{0,4}|.{0,2}\*{3,}.{0,4}|<.*>|\[.*\]|\{.*\}|%[sdrv]|:\w+|\.\.\..*", re.IGNORECASE
)
_NAME_LIKE: Final = re.compile(
    r"[a-z]+(?:[-_./:][a-z0-9]+)*|[A-Z][a-z]+|[A-Z]+(?:_[A-Z]+)*|[a-z]+(?:[A-Z][a-z]+)+|(?:[A-Z][a-z]+)+"
)
_NUMBER: Final = re.compile(r"[\d.,:%/-]+[a-zA-Z]{0,2}")


def is_placeholder(value: str) -> bool:
    """Whether nothing secret stands there: a mask, a variable, a call, a path, or a word that talks of the value."""
    return (
        len(value) < 3
        or value.lower() in _TALK
        or _REFERENCE.match(value) is not None
        or _CALL.match(value) is not None
        or _REPEATED.fullmatch(value[:200]) is not None
    )


def looks_random(value: str) -> bool:
    """Whether a machine or a careful person made it up: neither a word or name, nor a number, date or amount."""
    head = value[:200]
    return (
        len(value) >= _SHORTEST and not _NAME_LIKE.fullmatch(head) and not _NUMBER.fullmatch(head) and " " not in head
    )
