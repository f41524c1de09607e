"""A tenant's own patterns: what they find, which are refused and why, and that none can do harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.tenant import PolicyTest
from sluice_redact import Policy, PolicyError, Redacted, Redactor, Rule, failing_cases

_NOTHING_BUILT_IN = dict.fromkeys(Policy().actions, "Keep")


def _redact(text: str, *rules: Rule, actions: dict[str, str] | None = None) -> Redacted:
    [result] = Redactor(Policy(_NOTHING_BUILT_IN if actions is None else actions, rules)).redact([text])
    assert isinstance(result, Redacted)
    return result


def test_a_rule_finds_what_its_pattern_matches_greedily_and_from_the_left() -> None:
    result = _redact("EMP-12345 and EMP-6", Rule("employee", r"EMP-\d+"))
    assert result == ("[REDACTED] and [REDACTED]", {"employee": 2})


def test_a_group_named_secret_is_all_that_is_hit() -> None:
    rule = Rule("badge", r"badge (?:no )?(?P<secret>\d+)")
    assert _redact("badge no 4711, badge 12", rule).text == "badge no [REDACTED], badge [REDACTED]"


def test_offsets_are_characters() -> None:
    assert _redact("é日𝄞 EMP-1 日", Rule("employee", r"EMP-\d")).text == "é日𝄞 [REDACTED] 日"


def test_the_longest_of_rules_and_detectors_stays() -> None:
    rule = Rule("peer", r"peer \S+")
    assert _redact("peer 10.0.0.1 10.0.0.2", rule, actions={}) == ("[REDACTED] [REDACTED]", {"peer": 1, "ipv4": 1})


def test_several_rules_with_flags_and_the_same_group_names_work_together() -> None:
    rules = [Rule("a", r"(?i)foo=(?P<secret>\w+)"), Rule("b", r"bar=(?P<secret>\w+)"), Rule("c", r"(?P<x>q+)")]
    assert _redact("FOO=1 bar=2 BAR=3 qq", *rules).hits == {"a": 1, "b": 1, "c": 1}


def test_a_kept_rule_does_not_run() -> None:
    assert _redact("EMP-1", Rule("employee", "EMP", "Keep")) == ("EMP-1", {})


def test_a_rule_cannot_match_across_a_mark() -> None:
    result = _redact("id 10.0.0.1 id", Rule("both", "id.*id|id $"), actions={})
    assert result.text == "[REDACTED]"
    again = _redact("id [REDACTED] id", Rule("both", "id.*id"), actions={})
    assert again.text == "id [REDACTED] id"


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("a" * 257, "longer than 256"),
        ("(a", "missing"),
        (r"(?=x)y", "no look-around"),
        (r"(a)\1", "no look-around"),
        (r"(?:\pL{1,1000}){1,900}", "small when repeated"),
        (r"[\p{L}\p{N}]{1,1000}[\p{L}\p{N}]{1,1000}[\p{L}\p{N}]{1,1000}", "small when repeated"),
        ("x*", "matches the empty text"),
        ("|secret", "matches the empty text"),
    ],
)
def test_what_cannot_run_in_linear_time_and_little_memory_is_refused(
    pattern: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PolicyError, match=sentence) as refusal:
        Redactor(Policy(rules=(Rule("mine", pattern),)))
    assert "mine" in str(refusal.value)
    assert pattern not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(a|aa)+$", "(.*){10}z", "(?:a?){30}a{30}"])
def test_what_hangs_other_engines_does_not_hang_this_one(pattern: str) -> None:
    try:
        redactor = Redactor(Policy(rules=(Rule("hostile", pattern),)))
    except PolicyError:
        return
    [result] = redactor.redact(["x" * 20_000 + "a" * 20_000])
    assert isinstance(result, Redacted)


def test_there_is_a_most_of_rules() -> None:
    with pytest.raises(PolicyError, match="at most 16"):
        Redactor(Policy(rules=tuple(Rule(f"r{n}", f"x{n}") for n in range(17))))


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ((Rule("email", "x"),), "name of a detector"),
        ((Rule("a", "x"), Rule("a", "y")), "Two rules"),
        ((Rule("a", "x", "Burn"),), "Known actions"),
    ],
)
def test_rules_that_contradict_are_refused(rules: tuple[Rule, ...], sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence):
        Policy(rules=rules)


@given(st.text(alphabet="ab(|)[]{}?*+.\\dw1,3^$-", max_size=30), st.text(max_size=60))
def test_any_pattern_is_refused_or_harmless(pattern: str, text: str) -> None:
    try:
        redactor = Redactor(Policy(rules=(Rule("any", pattern),)))
    except PolicyError:
        return
    [result] = redactor.redact([text])
    assert isinstance(result, Redacted)


@given(
    st.lists(st.sampled_from(["EMP-12", "id=7;", " ", "10.0.0.1", "[REDACTED]", "****", "x", "-3", ";"]), max_size=8)
)
def test_what_rules_left_is_at_rest(pieces: list[str]) -> None:
    rules = (Rule("employee", r"EMP-\d+", "Mask"), Rule("id", "id=(?P<secret>[^;]*);"), Rule("x", "x.*", "Hash"))
    redactor = Redactor(Policy(rules=rules), bytes(32))
    [once] = redactor.redact(["".join(pieces)])
    assert isinstance(once, Redacted)
    assert redactor.redact([once.text]) == [(once.text, {})]


def test_a_policy_is_tried_on_its_own_cases() -> None:
    policy = Policy({"email": "Hash", "ipv4": "Keep"}, (Rule("employee", r"EMP-\d+", "Mask"),))
    cases = [
        PolicyTest(input="a@b.co at 10.0.0.1", expect="[EMAIL:aaaaaaaaaaaaaaaa] at 10.0.0.1"),
        PolicyTest(input="EMP-12345", expect="****2345"),
        PolicyTest(input="EMP-12345", expect="[REDACTED]"),
        PolicyTest(input="\ud800", expect="x"),
    ]
    assert failing_cases(policy, cases) == [3, 4]
