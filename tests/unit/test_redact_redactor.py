"""What holds for redaction as a whole: order, isolation of texts from each other, offsets, counts, failure."""

from typing import Any

import hyperscan
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_redact import MARK, Policy, PolicyError, Redacted, RedactionError, Redactor
from sluice_redact.policy import DETECTORS
from sluice_redact.scanner import RANK, Scanner
from sluice_redact.spans import absorb, resolve

_REDACTOR = Redactor()
_SECRETS = [
    "bob.smith@example.com",
    "+1 (415) 555-2671",
    "415-555-2671",
    "+44 20 7946 0958",
    "123-45-6789",
    "4111 1111 1111 1111",
    "4111111111111111",
    "192.168.1.100",
    "2001:db8::1",
    "DE89370400440532013000",
    "00:11:22:33:44:55",
]
# Found by their own shape, whatever they are glued to.
_TOKENS = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "GOCSPX-1234567890abcdefghijklmnopqr",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-123456789012-abcdefABCDEF",
]
# Text that is rich in what the expressions look for.
_CROWDED = st.text(alphabet="0123456789 .-:/@+()abcfx%_é日\x00\n", max_size=80)
_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    _CROWDED,
    st.lists(st.one_of(st.sampled_from(_SECRETS), _CROWDED.map(lambda text: text[:4])), max_size=8).map("".join),
)


def _text(result: Redacted | RedactionError) -> str:
    assert isinstance(result, Redacted)
    return result.text


def test_the_readme_example() -> None:
    [result] = _REDACTOR.redact(["User 555-0199 accessed from IP 192.168.1.100"])
    assert result == ("User [REDACTED] accessed from IP [REDACTED]", {"phone": 1, "ipv4": 1})


def test_a_text_without_hits_is_the_same_object_with_the_shared_empty_counts() -> None:
    texts = ["nothing here", "nor here 12345"]
    first, second = _REDACTOR.redact(texts)
    assert isinstance(first, Redacted)
    assert isinstance(second, Redacted)
    assert first.text is texts[0]
    assert first.hits is second.hits
    assert first.hits == {}


def test_counts_every_hit() -> None:
    [result] = _REDACTOR.redact(["10.0.0.1 10.0.0.2 a@b.co"])
    assert result == (f"{MARK} {MARK} {MARK}", {"ipv4": 2, "email": 1})


def test_nothing_in_nothing_out() -> None:
    assert _REDACTOR.redact([]) == []
    assert _REDACTOR.redact(["", ""]) == [("", {}), ("", {})]


def test_a_secret_may_not_be_put_together_from_two_texts() -> None:
    texts = ["192.168.1", ".100", "bob@", "example.com", "\x00", "4111 1111", " 1111 1111\n", "phone", " 4155552671"]
    assert [_text(result) for result in _REDACTOR.redact(texts)] == texts


def test_offsets_are_characters() -> None:
    text = "é日𝄞 10.0.0.1 \u00a0 bob@example.com 𝄞"
    assert [text[hit.start : hit.end] for hit in _REDACTOR.scan(text)] == ["10.0.0.1", "bob@example.com"]


def test_a_text_that_utf8_cannot_write_fails_alone_and_its_error_quotes_nothing() -> None:
    results = _REDACTOR.redact(["a 10.0.0.1", "secret \ud800", "b 10.0.0.2"])
    assert isinstance(results[1], RedactionError)
    assert "secret" not in str(results[1])
    assert [results[0], results[2]] == [(f"a {MARK}", {"ipv4": 1}), (f"b {MARK}", {"ipv4": 1})]
    with pytest.raises(RedactionError):
        _REDACTOR.scan("\udcff")


def test_something_other_than_text_fails_alone() -> None:
    texts: Any = ["10.0.0.1", None, 7]
    first, second, third = _REDACTOR.redact(texts)
    assert first == (MARK, {"ipv4": 1})
    assert isinstance(second, RedactionError)
    assert isinstance(third, RedactionError)


def test_a_failing_judge_costs_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor()
    judge = Scanner._judge

    def failing(self: Scanner, text: str, *rest: Any) -> Any:
        if "bad" in text:
            raise ValueError(text)
        return judge(self, text, *rest)

    monkeypatch.setattr(Scanner, "_judge", failing)
    good, bad = redactor.redact(["10.0.0.1", "bad 10.0.0.1"])
    assert isinstance(good, Redacted)
    assert isinstance(bad, RedactionError)
    assert "10.0.0.1" not in str(bad)


def test_a_failing_engine_is_asked_again_text_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    redactor = Redactor()
    matches = redactor.scanner._matches

    def failing(data: bytes) -> Any:
        if b"bad" in data:
            raise hyperscan.error
        return matches(data)

    monkeypatch.setattr(redactor.scanner, "_matches", failing)
    first, bad, last = redactor.redact(["10.0.0.1", "bad", "10.0.0.2"])
    assert isinstance(bad, RedactionError)
    assert first == last == (MARK, {"ipv4": 1})


def test_texts_beyond_one_chunk_keep_their_places() -> None:
    texts = [f"{'x' * 300_000} 10.0.0.{index}" if index % 2 else "plain" for index in range(12)]
    results = [_text(result) for result in _REDACTOR.redact(texts)]
    assert results == [f"{'x' * 300_000} {MARK}" if index % 2 else "plain" for index in range(12)]


def test_kept_detectors_do_not_run() -> None:
    redactor = Redactor(Policy({"ipv4": "Keep"}))
    assert redactor.redact(["10.0.0.1 a@b.co"]) == [(f"10.0.0.1 {MARK}", {"email": 1})]
    nothing = Redactor(Policy(dict.fromkeys(Policy().actions, "Keep")))
    assert nothing.redact(["10.0.0.1"]) == [("10.0.0.1", {})]


def test_a_policy_is_complete_and_cannot_be_changed() -> None:
    actions: Any = Policy({"email": "Keep"}).actions
    assert list(actions) == list(DETECTORS)
    with pytest.raises(TypeError):
        actions["email"] = "Replace"


@pytest.mark.parametrize(
    ("actions", "sentence"), [({"iris": "Keep"}, "Known detectors: email,"), ({"email": "Burn"}, "Known actions: Repl")]
)
def test_a_policy_with_unknown_names_says_which_are_known(actions: dict[str, str], sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence):
        Policy(actions)


def test_the_longest_of_overlapping_spans_stays() -> None:
    assert resolve([(0, 4, "phone"), (2, 9, "ipv6"), (9, 12, "email")], RANK) == [(2, 9, "ipv6"), (9, 12, "email")]
    assert resolve([(0, 4, "ipv6"), (0, 4, "email")], RANK) == [(0, 4, "email")]
    assert resolve([(2, 6, "email"), (0, 4, "ipv6")], RANK) == [(0, 4, "ipv6")]
    assert resolve([(0, 3, "email"), (2, 9, "ipv6"), (8, 10, "email")], RANK) == [(2, 9, "ipv6")]


def test_what_is_found_later_takes_in_what_it_touches() -> None:
    assert absorb([(0, 4, "ipv4"), (8, 9, "email")], [(2, 6, "phone")]) == [(0, 6, "phone"), (8, 9, "email")]
    assert absorb([(0, 4, "ipv4")], [(4, 6, "phone")]) == [(0, 4, "ipv4"), (4, 6, "phone")]


@given(st.lists(_TEXT, max_size=6))
def test_never_fails_and_together_is_the_same_as_one_by_one(texts: list[str]) -> None:
    together = _REDACTOR.redact(texts)
    assert together == [_REDACTOR.redact([text])[0] for text in texts]
    assert all(isinstance(result, Redacted) for result in together)


@given(st.text())
def test_any_string_is_redacted_or_refused(text: str) -> None:
    [result] = _REDACTOR.redact([text])
    assert isinstance(result, Redacted | RedactionError)


@given(_TEXT)
def test_redacting_the_result_changes_nothing(text: str) -> None:
    [once] = _REDACTOR.redact([text])
    assert _REDACTOR.redact([_text(once)]) == [(_text(once), {})]


@given(_TEXT)
def test_hits_are_in_order_and_apart(text: str) -> None:
    reach = 0
    for hit in _REDACTOR.scan(text):
        assert reach <= hit.start < hit.end <= len(text)
        reach = hit.end


@given(
    st.text(st.characters(exclude_categories=["Cs", "Nd"])),
    st.sampled_from(_SECRETS),
    st.text(st.characters(exclude_categories=["Cs", "Nd"])),
    st.sampled_from([" {} ", '"{}"', "({})", "={},", "\n{}\n", "é{}é", "日{}日", "\x00{}\x00", "<{}>", "'{}';"]),
)
def test_a_secret_within_any_text_does_not_survive(before: str, secret: str, after: str, border: str) -> None:
    [result] = _REDACTOR.redact([before + border.format(secret) + after])
    assert secret not in _text(result)


@given(_TEXT, st.sampled_from(_TOKENS), _TEXT)
def test_a_token_glued_to_anything_does_not_survive(before: str, token: str, after: str) -> None:
    [result] = _REDACTOR.redact([before + token + after])
    assert token not in _text(result)
