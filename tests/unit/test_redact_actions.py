"""What each action leaves of a value, and that a redacted text is at rest whatever the actions are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_redact import DETECTORS, Policy, Redacted, Redactor, Rule

_KEY = bytes(range(32))
_SECRETS = [
    "bob.smith@example.com",
    "+1 (415) 555-2671",
    "555-0199",
    "020 7946 0958",
    "123-45-6789",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "192.168.1.100",
    "fe80::1%eth0",
    "00:11:22:33:44:55",
    "AKIAIOSFODNN7EXAMPLE",
    "password=hunter22",
    "token: f3a9c2d17b44",
    "https://a:b@host.example.org",
    "Authorization: Bearer abcdef123456",
    "EMP-123456789",
]
_PIECES = st.one_of(
    st.sampled_from(_SECRETS),
    st.sampled_from(
        [
            "[REDACTED]",
            "[EMAIL]",
            "[PHONE:abcdefghijklmnop]",
            "****",
            "****1111",
            "**",
            "*",
            "phone ",
            '"',
            "\\n",
            "{",
            ": ",
        ]
    ),
    st.text(alphabet='0123456789 .-:/@+()abcdef%_=é日*[]{}"\\\n', max_size=8),
)
_TEXT = st.lists(_PIECES, max_size=8).map("".join)
_ACTIONS = [
    Policy(dict.fromkeys(DETECTORS, "Replace"), style="Named"),
    Policy(dict.fromkeys(DETECTORS, "Mask")),
    Policy(dict.fromkeys(DETECTORS, "Hash")),
    Policy(
        {"email": "Hash", "phone": "Mask", "ipv4": "Keep"},
        (Rule("employee", r"EMP-\d+", "Mask"), Rule("word", "[a-f]{3,}", "Hash")),
    ),
]
_REDACTORS = [Redactor(policy, _KEY) for policy in _ACTIONS]


def _redact(text: str, policy: Policy, key: bytes | None = _KEY) -> str:
    [result] = Redactor(policy, key).redact([text])
    assert isinstance(result, Redacted)
    return result.text


def test_replace_can_name_what_it_replaced() -> None:
    assert _redact("from 10.0.0.1 by a@b.co", Policy(style="Named")) == "from [IPV4] by [EMAIL]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card 4111 1111 1111 1111.", "card ****1111."),
        ("call 555-0199", "call ****0199"),
        ("password=abcdefg", "password=****"),  # half of a short value would be too much
        ('{"password":"ab\\"c\\\\d12"}', '{"password":"****d12"}'),
    ],
)
def test_mask_keeps_the_last_four_characters_of_what_is_long_enough(text: str, expected: str) -> None:
    assert _redact(text, Policy(dict.fromkeys(DETECTORS, "Mask"))) == expected


def test_hash_gives_equal_values_equal_tokens_under_one_key_and_others_under_another() -> None:
    policy = Policy({"email": "Hash"})
    text = "a@b.co wrote to c@d.io, a@b.co answered"
    first, second, third = (part for part in _redact(text, policy).split() if part.startswith("[EMAIL:"))
    assert first == third.rstrip()
    assert first != second.rstrip(",")
    assert len(first) == len("[EMAIL:]") + 16
    assert _redact(text, policy, bytes(32)).split()[0] != first


def test_the_same_value_of_two_kinds_has_two_tokens() -> None:
    policy = Policy({"phone": "Hash"}, (Rule("extension", "555-0199", "Hash"),))
    assert _redact("555-0199", policy).startswith("[PHONE:")  # a detector goes before a rule
    assert _redact("x555-0199", policy)[1:].startswith("[EXTENSION:")
    assert _redact("555-0199", policy)[7:-1] != _redact("x555-0199", policy)[12:-1]


def test_hash_without_a_key_shows_only_where_a_token_would_be() -> None:
    assert _redact("a@b.co", Policy({"email": "Hash"}), None) == "[EMAIL:aaaaaaaaaaaaaaaa]"


@pytest.mark.parametrize("policy", _ACTIONS, ids=["named", "mask", "hash", "mixed"])
def test_json_stays_json(policy: Policy) -> None:
    record = {
        "msg": 'from\nbob@example.com\t"quoted" \\ 10.0.0.1',
        "password": 'a"b\\c',
        "card": 4111111111111111,
        "ids": [4111111111111111, 5],
        "nested": json.dumps({"api_key": "k-1234567", "to": "ann@example.com"}),
    }
    for text in (
        json.dumps(record),
        json.dumps(record, indent=2),
        json.dumps(record, ensure_ascii=False, separators=(",", ":")),
    ):
        redacted = json.loads(_redact(text, policy))
        assert redacted["ids"][1] == 5
        assert redacted["card"] != record["card"]
        nested = json.loads(redacted["nested"])
        assert nested["api_key"] != "k-1234567"
        assert "bob@" not in redacted["msg"]


@given(_TEXT)
def test_redacting_the_result_changes_nothing(text: str) -> None:
    for redactor in _REDACTORS:
        [once] = redactor.redact([text])
        assert isinstance(once, Redacted)
        assert redactor.redact([once.text]) == [(once.text, {})]


@given(_TEXT)
def test_hits_are_where_the_marks_are(text: str) -> None:
    for redactor in _REDACTORS:
        [result] = redactor.redact([text])
        assert isinstance(result, Redacted)
        hits = redactor.scan(text)
        counts: dict[str, int] = {}
        for hit in hits:
            counts[hit.detector] = counts.get(hit.detector, 0) + 1
        assert counts == dict(result.hits)
        kept = _outside(text, [(hit.start, hit.end) for hit in hits])
        assert all(piece in result.text for piece in kept)


def _outside(text: str, spans: list[tuple[int, int]]) -> list[str]:
    pieces = []
    position = 0
    for start, end in [*spans, (len(text), len(text))]:
        pieces.append(text[position:start])
        position = end
    return pieces


def test_a_mark_that_somebody_else_wrote_hides_nothing() -> None:
    forged: Any = "[EMAIL:4111111111111111] ****4111111111111111 [REDACTED 4111111111111111]"
    assert "4111111111111111" not in _redact(forged, Policy())
