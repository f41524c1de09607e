"""Secrets that show by their own shape: JWTs, private keys, keys of clouds, tokens of GitHub and Slack.

Invariant: their prefix is distinctive enough that nothing has to stand around them, so they are found inside of any
text, glued to other words too.
"""

import re
from typing import Final

from sluice_redact.detectors.model import Detector, Expression, Judge, Refusal, Span, char_at

_LONGEST_TOKEN: Final = 4096
_LONGEST_KEY: Final = 16_384
"""An RSA key of 16,384 bits takes 12.5 KB in PEM."""

_CHECKSUM: Final = Refusal("it is a checksum", final=True)
_TOKEN_RUNS_ON: Final = Refusal("it runs on, so it is none of these")


def _extend(characters: str) -> Judge:
    """A judge that takes all of the characters that follow, up to a bound."""
    more = re.compile(f"[{characters}]*+", re.ASCII)

    def judge(text: str, start: int, end: int) -> Span | Refusal:
        run = more.match(text, end, end + _LONGEST_TOKEN)
        return start, run.end() if run else end

    return judge


def _extend_value(characters: str) -> Judge:
    """The same for an anchor that ends behind the first character of the value."""
    extend = _extend(characters)
    return lambda text, _start, end: extend(text, end - 1, end)


def _whole(text: str, start: int, end: int) -> Span | Refusal:
    return start, end


def _alone(text: str, start: int, end: int) -> Span | Refusal:
    """Of a fixed length: one letter or digit more, and it is something else."""
    after = char_at(text, end)
    if text[max(0, start - 7) : start] in ("sha512-", "sha512:"):
        return _CHECKSUM
    return _TOKEN_RUNS_ON if after.isascii() and (after.isalnum() or after in ("/", "+", "=")) else (start, end)


_JWT_REST: Final = re.compile(r"[\w-]*+(?:\.[\w-]*+){0,2}", re.ASCII)
_PEM_BODY: Final = re.compile(r"(?:[A-Za-z0-9+/=:,\s-]|\\[nrt/])*+")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_SECRET_VALUE: Final = re.compile(r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")


def _judge_jwt(text: str, start: int, end: int) -> Span | Refusal:
    rest = _JWT_REST.match(text, end, end + _LONGEST_KEY)
    stop = rest.end() if rest else end
    while text[stop - 1] == "." and stop > end:
        stop -= 1  # of a sentence
    return start, stop


def _judge_private_key(text: str, start: int, end: int) -> Span | Refusal:
    """Up to its last line; of a key that was cut off, everything that can belong to one."""
    last = _PEM_END.search(text, end, end + _LONGEST_KEY)
    if last is not None:
        return start, last.end()
    body = _PEM_BODY.match(text, end, end + _LONGEST_KEY)
    return start, body.end() if body else end


def _account_key(_text: str, _start: int, end: int) -> Span | Refusal:
    return end - 88, end


def _signature(text: str, _start: int, end: int) -> Span | Refusal:
    return _extend("A-Za-z0-9%+/=")(text, end - 40, end)


def _judge_named_secret(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is behind the first character of the value."""
    value = _SECRET_VALUE.match(text, end - 1)
    return _TOKEN_RUNS_ON if value is None else value.span()


JWT: Final = Detector(
    "jwt",
    (
        Expression(
            r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{2,}\.",
            _judge_jwt,
            "a JSON header in base64, and two dots",
            greedy=True,
        ),
    ),
)
PRIVATE_KEY: Final = Detector(
    "private_key",
    (
        Expression(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
            _judge_private_key,
            "the first line of a key",
            greedy=True,
        ),
    ),
)
AWS_ACCESS_KEY: Final = Detector(
    "aws_access_key",
    (
        Expression(r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}", _whole, "an access key id"),
        Expression(
            r"(?:aws|secret)[a-z0-9_.-]{0,24}(?:secret|access)[a-z_.-]{0,8}key(?:_?id)?[\"'\\\]]{0,3}\s{0,3}(?:=>|:=|[:=>])?\s{0,3}"
            r"[\"'\\]{0,3}[A-Za-z0-9/+]",
            _judge_named_secret,
            "40 characters after its name",
            caseless=True,
            anchor=True,
        ),
    ),
)
GCP_KEY: Final = Detector(
    "gcp_key",
    (
        Expression(r"AIza[A-Za-z0-9_-]{35}", _whole, "an API key"),
        Expression(r"ya29\.[A-Za-z0-9_-]{20}", _extend(r"\w.-"), "an access token", greedy=True),
        Expression(r"GOCSPX-[A-Za-z0-9_-]{28}", _whole, "a client secret"),
    ),
)
AZURE_KEY: Final = Detector(
    "azure_key",
    (
        Expression(r"[A-Za-z0-9+/]{86}==", _alone, "512 bits in base64"),
        Expression(
            r"accountkey\s{0,2}[=:]\s{0,2}\"?[A-Za-z0-9+/]{86}==",
            _account_key,
            "512 bits after their name",
            caseless=True,
            anchor=True,
        ),
        Expression(
            r"(?:[?&;]|\\u0026|%26)sig(?:=|%3D)[A-Za-z0-9%+/]{40}", _signature, "a shared access signature", anchor=True
        ),
        Expression(r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31}", _extend(r"\w~-"), "a client secret", greedy=True),
    ),
)
GITHUB_TOKEN: Final = Detector(
    "github_token",
    (
        Expression(r"gh[oprsu]_[A-Za-z0-9]{36}", _extend(r"\w"), "a token", greedy=True),
        Expression(r"github_pat_[A-Za-z0-9_]{30}", _extend(r"\w"), "a fine-grained token", greedy=True),
    ),
)
SLACK_TOKEN: Final = Detector(
    "slack_token",
    (
        Expression(r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10}", _extend(r"\w-"), "a token", greedy=True),
        Expression(r"xapp-\d-[A-Za-z0-9-]{10}", _extend(r"\w-"), "an app's token", greedy=True),
        Expression(
            r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9]",
            _extend_value(r"\w/-"),
            "the path of a webhook",
            anchor=True,
        ),
    ),
)
