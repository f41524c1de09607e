"""`sluice redact`: a filter, a count, a comparison, an explanation, and JSON for scripts."""

import json
from pathlib import Path

import pytest

from cli.commands import sluice

LINES = 'User 555-0199 from 10.0.0.1\nplain line\n\nGrüße {"password":"hunter2"} an ann@example.com\n'
REDACTED = 'User [REDACTED] from [REDACTED]\nplain line\n\nGrüße {"password":"[REDACTED]"} an [REDACTED]\n'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text(LINES, encoding="utf-8")
    return path


def _run(*arguments: object, stdin: str = "", code: int = 0) -> tuple[str, str]:
    done = sluice("redact", *arguments, stdin=stdin)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_it_is_a_filter_that_counts_on_standard_error(log: Path) -> None:
    out, err = _run(log)
    assert out == REDACTED
    assert "4 lines, 2 with hits" in err
    assert _run("-", stdin=LINES)[0] == REDACTED


def test_stats_are_all_that_is_printed(log: Path) -> None:
    out, _ = _run(log, "--stats")
    assert [row.split() for row in out.splitlines() if row.split()[:1] == ["ipv4"]] == [["ipv4", "1"]]
    assert "hunter2" not in out


def test_diff_shows_lines_with_hits_before_and_after(log: Path) -> None:
    out, _ = _run(log, "--diff")
    assert [row.split(maxsplit=2) for row in out.splitlines()][:2] == [
        ["1", "-", "User 555-0199 from 10.0.0.1"],
        ["+", "User", "[REDACTED] from [REDACTED]"],
    ]
    assert "plain line" not in out


def test_json_is_one_object_a_line_with_offsets_in_characters(log: Path) -> None:
    out, _ = _run(log, "--json")
    rows = [json.loads(row) for row in out.splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 3, 4]
    assert [row["text"] for row in rows] == REDACTED.splitlines()
    assert rows[1]["hits"] == []
    original = LINES.splitlines()[3]
    found = {hit["detector"]: original[hit["start"] : hit["end"]] for hit in rows[3]["hits"]}
    assert found == {"password_assignment": "hunter2", "email": "ann@example.com"}


def test_a_policy_comes_from_a_tenant_or_stands_alone(log: Path, tmp_path: Path) -> None:
    alone = tmp_path / "policy.yaml"
    policy = "detectors: {ipv4: Keep, phone: Mask}, style: Named, custom: [{name: greeting, pattern: Gr..e}]"
    alone.write_text(f"{{{policy}}}")
    expected = 'User ****0199 from 10.0.0.1\nplain line\n\n[GREETING] {"password":"[PASSWORD_ASSIGNMENT]"} an [EMAIL]\n'
    assert _run(log, "--policy", alone)[0] == expected
    tenant = tmp_path / "tenant.yaml"
    tenant.write_text(
        f"apiVersion: sluice.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: a}}\nspec: {{redaction: {{{policy}}}}}\n"
    )
    assert _run(log, "--policy", tenant)[0] == expected


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("detectors: {emial: Keep}", "There is no detector emial"),
        ("custom: [{name: a, pattern: '(?=x)'}]", "no look-around"),
        ("custom: [{name: a, pattern: x, action: Burn}]", "custom[0].action"),
        ("tests: [{input: secret-line, expect: x}]", "number 1"),
        ("rules: []", "rules"),
        ("{", "not one document of YAML"),
    ],
)
def test_a_policy_that_is_wrong_is_explained(log: Path, tmp_path: Path, policy: str, sentence: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(policy)
    _, err = _run(log, "--policy", path, code=1)
    assert sentence in err
    assert "secret-line" not in err


def test_a_line_that_is_not_utf8_is_left_out_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "latin.log"
    path.write_bytes(b"caf\xe9 10.0.0.1\r\nok\r\n")
    out, err = _run(path, code=1)
    assert out == "ok\n"
    assert "1 line left out" in err


def test_explain_says_what_was_considered_and_why_not() -> None:
    out, _ = _run("--explain", "card 4111 1111 1111 1112 or 4111 1111 1111 1111, v1.2.3.4")
    assert "Luhn" in out
    assert any(row.split()[-1] == "hit" for row in out.splitlines() if "credit_card" in row)
    assert "card 4111 1111 1111 1112 or [REDACTED], v1.2.3.4" in out
    _, err = _run("--explain", "nothing here")
    assert "nothing in it" in err


@pytest.mark.parametrize("arguments", [[], ["-", "--explain", "x"], ["-", "--stats", "--json"], ["no-such-file"]])
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str]) -> None:
    _run(*arguments, code=2)
