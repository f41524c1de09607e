"""IPv4 and IPv6 addresses, told apart from versions, OIDs, times, MACs, fingerprints and C++ names.

Invariant: a hit is a whole address and only it: never a piece of a longer dotted or coloned run, never the port,
prefix length or brackets around it.
"""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from sluice_redact.detectors.model import PART_OF_MORE, Detector, Expression, Refusal, Span, char_at, is_word

_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_QUAD: Final = rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}\b"
_PRODUCT: Final = (
    r"(?:applewebkit|chrom(?:e|ium)|crios|edge?|edga|firefox|fxios|headlesschrome|mozilla|op(?:r|era)|safari"
    r"|samsungbrowser|version|curl|wget|nginx|apache|openssl|php|python|java|okhttp|ua)/"
    r"|(?:kernel|glibc|java|jdk|jre|python|openssl) v?"
)
_VERSION_WORD: Final = (
    r"(?:\b|_)(?:ver|versions?|release|revision|rev|build|firmware|driver|upgrad(?:e|ed|ing)|oid|section|chapter|clause|paragraph)"
    r"(?:[^A-Za-z0-9\xff]{1,2}(?:is|of|number|no|from|to))?[^A-Za-z0-9,;\xff]{1,4}"
)

# The longest written IPv6 address has 45 characters; a longer run is a dump or a fingerprint.
_LONGEST: Final = 45
_IMPLAUSIBLE: Final = Refusal("it is no address: a time, a name of a program, an EUI-64, or too many groups")
_TIME: Final = re.compile(r"::\d\d:\d\d:\d\d$|^\d\d:\d\d:\d\d::", re.ASCII)
_RUN_REVERSED: Final = re.compile(r"[0-9A-Fa-f:]+", re.ASCII)
_RUN: Final = re.compile(r"[0-9A-Fa-f:]+(?:(?:\.\d{1,3}){3}(?![\w.]*\d))?", re.ASCII)
_ZONE: Final = re.compile(r"%[0-9A-Za-z][0-9A-Za-z_.-]{0,14}(?<![.-])(?!\w)", re.ASCII)


def _judge_ipv4(text: str, start: int, end: int) -> Span | Refusal:
    before = text[start - 1] if start else " "
    if (
        before in ".~"
        or text[max(0, start - 2) : start] == "=="
        or (before == "-" and text[start - 2 : start - 1].isalpha())
    ):
        return PART_OF_MORE  # a dotted chain, name-1.2.3.4, name~1.2.3.4, or name==1.2.3.4
    after = text[end : end + 2]
    if before == "<" and after[:1] == ">" and text.startswith("0.", start):
        return PART_OF_MORE  # a process of Erlang
    # 1.2.3.4.5, 1.2.3.4.jar, 1.2.3.4-rc1; but 10.0.0.1-10.0.0.9 is a range of two addresses
    chained = (after[:1] == "." and after[1:].isalnum()) or (after[:1] == "-" and after[1:].isalpha())
    return PART_OF_MORE if chained else (start, end)


def _judge_ipv6(text: str, _start: int, end: int) -> Span | Refusal:
    """`end` is within or at the end of the address."""
    end -= text[end - 1] == "."
    back = _RUN_REVERSED.match(text[max(0, end - _LONGEST - 1) : end][::-1])
    if back is None:
        return PART_OF_MORE
    start = end - back.end()
    if is_word(char_at(text, start - 1)):
        # `interface:fe80::1`: the end of a word and one colon are not part of the address
        colon = text.find(":", start, end)
        if colon < 0 or text[colon + 1 : colon + 2] == ":":
            return PART_OF_MORE
        start = colon + 1
    elif text[start] == ":" and text[start + 1 : start + 2] != ":":
        start += 1
    run = _RUN.match(text, start, start + _LONGEST + 7)
    if run is None:
        return PART_OF_MORE
    written = run[0]
    if written.endswith(":") and not written.endswith("::"):
        written = written[:-1]
    elif is_word(char_at(text, run.end())):
        return PART_OF_MORE
    if written.count(":") == 8 and "::" not in written:
        # Java writes address and port as 0:0:0:0:0:0:0:0:2181
        written, _, port = written.rpartition(":")
        if not port.isdigit() or len(port) > 5:
            return PART_OF_MORE
    if not _plausible_ipv6(written):
        return _IMPLAUSIBLE
    stop = start + len(written)
    zone = _ZONE.match(text, stop) if written[:2].lower() in ("fe", "ff") else None
    return start, zone.end() if zone else stop


def _plausible_ipv6(written: str) -> bool:
    groups = [group for group in written.split(":") if group]
    if len(groups) == 8 and all(len(group) == 2 for group in groups):
        return False  # an EUI-64 or a world wide name
    if not any(char.isdigit() for char in written) and len(groups) < 3:
        return False  # dead::beef, a::b: names of a program, more likely; `::` says nothing of anybody
    if "::" in written[1:] and len(groups[0]) < 3 and len(groups) < 3:
        return False  # a::1, of a program too
    if all(group.isdigit() for group in groups) and _TIME.search(written):
        return False
    if written.endswith("::") and all(group.isdigit() and len(group) == 2 for group in groups):
        return False  # 12:34:56:: is a time
    try:
        IPv6Address(written)
    except AddressValueError:
        return False
    return True


IPV4: Final = Detector(
    "ipv4",
    (
        Expression(rf"\b{_QUAD}", _judge_ipv4, "four numbers up to 255"),
        Expression(rf"{_VERSION_WORD}{_QUAD}", None, "a version or OID", caseless=True),
        Expression(rf"\b(?:{_PRODUCT}){_QUAD}", None, "the version of a product", caseless=True),
    ),
)
IPV6: Final = Detector(
    "ipv6",
    (
        Expression(r"\b[0-9A-Fa-f]{1,4}::|::[0-9A-Fa-f]{1,4}\b", _judge_ipv6, "a double colon", anchor=True),
        Expression(r"(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]", _judge_ipv6, "eight groups", anchor=True),
        Expression(r"(?:[0-9A-Fa-f]{1,4}:){6}\d{1,3}\.", _judge_ipv6, "six groups and an IPv4 address", anchor=True),
    ),
)
