"""Credentials at the places where protocols put them: the Authorization header, and user and password in a URL.

Invariant: scheme, header name and host stay readable; only what authenticates is a hit.
"""

import base64
import binascii
import re
from typing import Final

from sluice_redact.detectors.model import Detector, Expression, Refusal, Span
from sluice_redact.detectors.secrecy import is_placeholder, looks_random

_LONGEST: Final = 4096
_HEADER_VALUE: Final = re.compile(
    r"[\"'\\\])]{0,4}(?:\s{1,3}value=|,?\s{0,3}\(?b?(?=[\"'])|\s{0,3}(?:=>|[:=,])|%3A|\s)(?:\s|%20|\+){0,3}[\[(]?[\"'\\]{0,4}"
    r"(?:(?P<scheme>bearer|basic|token|api-?key|splunk|negotiate|ntlm|key|jwt|oauth|discogs|ssws|genieKey|github)"
    r"(?:\s|%20|\+|:\s?|=|[\"'],\s?){1,3}[\"'\\]{0,2}(?:[a-z_]{0,20}token=[\"'\\]{0,2})?|(?P<other>digest|aws4-hmac-sha256|hawk|signature)\b)?",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(r"[A-Za-z0-9._~+/:%-]+=*")
_LONGEST_USER: Final = 512
_HOST: Final = re.compile(r"[\w\[%${]")

_NO_CREDENTIALS: Final = Refusal("no credentials follow")
_TALK: Final = Refusal("it is a word or a placeholder, no credential")
_DIGEST: Final = Refusal("the scheme never sends the secret itself")
_NO_PASSWORD: Final = Refusal("there is no password in front of the host")


def _judge_header(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is behind the name of the header."""
    head = _HEADER_VALUE.match(text, end, end + 48)
    if head is None:
        return _NO_CREDENTIALS
    if head["other"]:
        return _DIGEST
    value = _VALUE.match(text, head.end(), head.end() + _LONGEST)
    if value is None:
        return _NO_CREDENTIALS
    return _credential(text, value, header=True)


def _judge_scheme(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is behind the first character of what follows `Bearer` or `Basic`, without a header's name."""
    value = _VALUE.match(text, end - 1, end + _LONGEST)
    if value is None:
        return _NO_CREDENTIALS
    if text[end - 3].lower() == "c":  # Basic
        return value.span() if _is_basic(value[0]) else _TALK
    return _credential(text, value, header=False)


def _credential(text: str, value: re.Match[str], *, header: bool) -> Span | Refusal:
    start, end = value.span()
    written = value[0].rstrip(".:%") if end == len(text) or text[end].isspace() else value[0]
    fewest = 6 if header else 16
    if len(written) < fewest or is_placeholder(written) or not looks_random(written):
        return _TALK
    return start, start + len(written)


def _is_basic(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


def _judge_url(text: str, start: int, end: int) -> Span | Refusal:
    """From the `://` to an @, of which a careless password can hold some."""
    first, last = start + 3 + 2 * (text[start + 1] == "\\"), end - 1
    if last - first > _LONGEST_USER:
        return _NO_PASSWORD
    _, _, password = text[first:last].partition(":")
    if not password or _is_masked(password) or not _HOST.match(text, end):
        return _NO_PASSWORD
    return first, last


def _is_masked(password: str) -> bool:
    return (password[0] in "${<%" and password[-1] in "}>%)") or not password.strip("*x•.") or password[0] == "$"


AUTHORIZATION: Final = Detector(
    "authorization",
    (
        Expression("authorization", _judge_header, "the header", caseless=True, anchor=True),
        Expression(
            r"\b(?:bearer|basic)(?:\s|%20)[A-Za-z0-9._~+/-]",
            _judge_scheme,
            "a scheme and a value",
            caseless=True,
            anchor=True,
        ),
    ),
)
URL_CREDENTIALS: Final = Detector(
    "url_credentials",
    (Expression(r":(?://|\\/\\/)[^\s/?#\"'<>`\xff]+@", _judge_url, "user and password in front of a host"),),
)
