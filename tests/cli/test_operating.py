"""`sluice tenants`, `keys`, `dlq` and `logs` on a running stack."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.commands import TENANT, Stack, Started, eventually, sluice

SAMPLE = Path(__file__).parents[2] / "k8s" / "samples" / "tenant.yaml"


def test_a_tenant_is_applied_listed_shown_and_deleted(stack: Stack) -> None:
    file = stack.directory / "life.yaml"
    spec = "{retention: {days: 3}, deletionPolicy: Delete, redaction: {detectors: {ipv4: Keep}}}"
    file.write_text(TENANT.format(name="life", spec=spec))
    [first] = stack.ask("tenants", "apply", "-f", file)
    assert first["result"] == "created"
    [second] = stack.ask("tenants", "apply", "-f", file)
    assert second["result"] == "unchanged"
    assert second["revision"] == first["revision"]
    eventually(lambda: "life" in stack.endpoints["tenants"])
    assert stack.post("life", "mail to a@example.com from 192.0.2.1").status_code == 202
    eventually(lambda: stack.stored("life"))
    [line] = stack.logs("life")
    assert line["modified_data"] == "mail to [REDACTED] from 192.0.2.1"

    row = next(row for row in stack.ask("tenants", "list") if row["id"] == "life")
    assert row == {
        "id": "life", "state": "Active", "lane": "standard", "keys": 1, "stored": 1, "parked": 0,
        "dead_letters": 0, "retention_days": 3,
    }  # fmt: skip
    assert "3 days" in stack.run("tenants", "list")
    key = stack.endpoints["tenants"]["life"]["key"]
    assert key not in stack.run("tenants", "show", "life")
    assert key in stack.run("tenants", "show", "life", "--secrets")

    assert "add --yes" in stack.fail("tenants", "delete", "life", code=2)
    deleted = stack.ask("tenants", "delete", "life", "--yes")
    assert deleted == {"tenant": "life", "state": "Erased", "erased": {"documents": 1, "parked": 0, "dead_letters": 0}}
    assert "no tenant life" in stack.fail("tenants", "delete", "life", "--yes")
    assert "no tenant nobody" in stack.fail("tenants", "show", "nobody")
    eventually(lambda: "life" not in stack.endpoints["tenants"])
    assert "no tenant life" in stack.fail("logs", "life")


def test_tenants_are_taken_from_standard_input(stack: Stack) -> None:
    [result] = stack.ask("tenants", "apply", "-f", "-", stdin=TENANT.format(name="from-stdin", spec="{}"))
    assert result["result"] == "created"
    assert "No such file" in stack.fail("tenants", "apply", "-f", stack.directory / "no-such.yaml", code=2)


def test_a_policy_that_fails_its_own_tests_is_refused_by_number(stack: Stack) -> None:
    cases = "[{input: a@b.co, expect: '[REDACTED]'}, {input: keep-me-secret, expect: x}]"
    wrong = stack.directory / "failing.yaml"
    wrong.write_text(TENANT.format(name="failing", spec=f"{{redaction: {{tests: {cases}}}}}"))
    sentence = stack.fail("tenants", "apply", "-f", wrong)
    assert "1 case did not come out as expected: number 2" in sentence
    assert "keep-me" not in sentence


def test_the_sample_manifest_is_valid_and_a_wrong_one_changes_nothing(stack: Stack) -> None:
    [result] = stack.ask("tenants", "apply", "-f", SAMPLE)
    assert result["result"] == "created"
    assert result["lane"] == "standard"
    wrong = stack.directory / "wrong.yaml"
    good = TENANT.format(name="wrong-first", spec="{}")
    wrong.write_text(
        good + "---\n" + TENANT.format(name="wrong-second", spec="{redaction: {detectors: {emial: Keep}}}")
    )
    sentence = stack.fail("tenants", "apply", "-f", wrong)
    assert "wrong.yaml" in sentence
    assert "emial" in sentence
    assert not any(row["id"].startswith("wrong") for row in stack.ask("tenants", "list"))


def test_a_key_works_once_added_and_stops_working_once_revoked(stack: Stack) -> None:
    key = stack.run("keys", "add", "keyed", "laptop").strip()
    eventually(lambda: stack.post("keyed", "with the new key", key).status_code == 202, 3)
    listing = stack.run("keys", "list", "keyed")
    assert "laptop" in listing
    assert key not in listing
    assert [entry["name"] for entry in stack.ask("keys", "list", "keyed")] == ["default", "laptop"]
    assert "has a key laptop already" in stack.fail("keys", "add", "keyed", "laptop")
    assert stack.ask("keys", "add", "keyed")["name"] == "key-1"

    stack.run("keys", "revoke", "keyed", "laptop")
    eventually(lambda: stack.post("keyed", "with the revoked key", key).status_code == 401, 3)
    assert stack.post("keyed", "with the first key").status_code == 202
    assert "no key laptop" in stack.fail("keys", "revoke", "keyed", "laptop")


def test_logs_are_filtered_limited_and_followed(stack: Stack, start: Callable[..., Started]) -> None:
    stack.run("send", "-", "--tenant", "read", stdin="one apple\ntwo pears\nthree apples\n\x1b[31mred\n")
    eventually(lambda: stack.stored("read") == 4)
    assert [line["modified_data"] for line in stack.logs("read")][:3] == ["one apple", "two pears", "three apples"]
    printed = stack.run("logs", "read", "--grep", "apples?$")
    assert [line.rpartition("  ")[2] for line in printed.splitlines()] == ["one apple", "three apples"]
    assert "\\x1b[31mred" in stack.run("logs", "read", "--limit", 1)
    assert stack.run("logs", "read", "--since", "2099-01-01") == ""

    following = start("logs", "read", "--follow", "--grep", "new", "--data", stack.data)

    def sent_and_seen() -> bool:
        stack.post("read", "old")
        stack.post("read", "new")
        return "new" in following.output

    eventually(sent_and_seen)
    assert following.end() == 130
    assert "old" not in following.output
    assert "Traceback" not in following.output


@pytest.mark.parametrize("command", [["tenants", "list"], ["keys", "list", "t"], ["dlq", "list"], ["logs", "t"]])
def test_without_a_stack_every_command_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    done = sluice(*command, "--data", tmp_path / "none")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "sluice up" in done.stderr
    assert "Traceback" not in done.stderr
