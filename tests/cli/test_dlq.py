"""`sluice dlq` on a running stack: what was set aside is seen, put back, or thrown away."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cli.commands import Stack, eventually
from sluice_core.edge.letters import write_letter
from sluice_core.envelope import Record, Submission
from sluice_core.letter import Letter, enclose, pick_out
from sluice_core.names import dead_letter_subject, parked_subject
from sluice_core.reasons import REDACTION_FAILED, STORE_REFUSES, WRITE_REFUSED, Reason
from sluice_core.version import Version
from sluice_local.operator_rights import operator_rights

NO_POISON = {"modified_data": {"$not": {"$regex": "poison"}}}


async def set_aside(
    stack: Stack,
    tenant: str,
    *records: Record,
    reason: Reason = WRITE_REFUSED,
    uid: str | None = None,
    parked: bool = False,
) -> None:
    """A letter as a worker would write it."""
    async with operator_rights(stack.data) as rights:
        claim = await rights.provisioner.find(tenant)
        received = int(datetime.now(UTC).timestamp() * 1_000_000)
        submission = Submission(tenant, uid or claim.uid, "req-1", "json_upload", received, bytes(16), 0, list(records))
        versions = [Version(1_000, 7, place) for place in range(len(records))]
        letter, payload = enclose([pick_out(submission, range(len(records)), versions)], reason, "because", 2)
        subject = parked_subject(tenant) if parked else dead_letter_subject(tenant)
        await write_letter(rights.broker, subject, letter, payload)


def ids(letters: Sequence[dict[str, object]]) -> list[object]:
    return [letter["log_id"] for letter in letters]


async def test_letters_are_listed_without_text_and_shown_redacted(stack: Stack) -> None:
    await set_aside(
        stack,
        "buried",
        Record("id-1", "mail to a@example.com", None, {"from": "192.0.2.1"}),
        Record("id-2", "and to b@example.com"),
    )
    [entry] = [entry for entry in stack.ask("dlq", "list") if entry["tenant"] == "buried"]
    assert (entry["reason"], entry["log_id"], entry["records"], entry["attempts"]) == ("write_refused", "id-1", 2, 2)
    listing = stack.run("dlq", "list", "buried")
    assert "write_refused" in listing
    assert "example.com" not in listing + str(entry)
    shown = stack.ask("dlq", "show", "buried", entry["sequence"])
    assert [(record["log_id"], record["text"]) for record in shown["contents"]] == [
        ("id-1", "mail to [REDACTED]"), ("id-2", "and to [REDACTED]")
    ]  # fmt: skip
    assert shown["contents"][0]["attributes"] == {"from": "[REDACTED]"}
    printed = stack.run("dlq", "show", "buried", entry["sequence"], "--limit", 1)
    assert "mail to [REDACTED]" in printed
    assert "and to" not in printed
    assert "no letter" in stack.fail("dlq", "show", "demo", entry["sequence"])
    row = next(row for row in stack.ask("tenants", "list") if row["id"] == "buried")
    assert (row["dead_letters"], row["parked"]) == (1, 0)
    assert stack.ask("tenants", "show", "buried")["dead_letters"] == 1


async def test_a_listing_has_what_the_filters_leave(stack: Stack) -> None:
    await set_aside(stack, "chosen", Record("a", "text"))
    await set_aside(stack, "chosen", Record("b", "text"), Record("c", "text"), reason=REDACTION_FAILED)
    between = datetime.now(UTC).isoformat()
    await set_aside(stack, "chosen", Record("d", "text"))

    def listed(*filters: object) -> list[object]:
        return ids(stack.ask("dlq", "list", "chosen", *filters))

    assert listed() == ["a", "b", "d"]
    assert listed("--reason", "redaction_failed") == ["b"]
    assert listed("--since", between) == ["d"]
    assert listed("--until", between) == ["a", "b"]
    assert listed("--until", "2h") == []
    assert listed("--id", "c") == ["b"]
    assert listed("--limit", 2) == ["a", "b"]
    assert listed("--parked") == []
    assert "no dead letters" in stack.note("dlq", "list", "chosen", "--id", "z")
    assert "no tenant nobody" in stack.fail("dlq", "list", "nobody")


def test_what_was_refused_is_stored_once_nothing_refuses_it_and_a_newer_record_wins(stack: Stack) -> None:
    stack.validate("replayed", NO_POISON)
    for log_id in ("only", "twice"):
        assert stack.post("replayed", f"poison {log_id}", log_id=log_id).status_code == 202
    dead = eventually(lambda: len(found := stack.ask("dlq", "list", "replayed")) == 2 and found)
    stack.validate("replayed", {})
    assert stack.post("replayed", "newer", log_id="twice").status_code == 202
    eventually(lambda: stack.document("replayed", "twice"))

    assert "add --yes" in stack.fail("dlq", "replay", "replayed", "--all", code=2)
    planned = stack.ask("dlq", "replay", "replayed", "--all", "--dry-run")
    assert (planned["replayed"], planned["records"], planned["lane"]) == (2, 2, "standard")
    assert len(stack.ask("dlq", "list", "replayed")) == 2

    done = stack.ask("dlq", "replay", "replayed", "--reason", "write_refused", "--yes")
    assert (done["replayed"], done["left"], done["stopped"]) == (2, {}, "")
    document = eventually(lambda: stack.document("replayed", "only"))
    version = document["version"]
    # Which of the two was buried first is chance.
    assert {letter["log_id"]: letter["version"] for letter in dead}["only"] == (
        f"{version['time']}.{version['sequence']}.{version['position']}"
    )
    assert document["modified_data"] == "poison only"
    eventually(lambda: stack.lane_finished("standard"))
    newer = stack.document("replayed", "twice")
    assert newer is not None
    assert newer["modified_data"] == "newer"
    assert stack.ask("dlq", "list", "replayed") == []
    assert stack.stored("replayed") == 2
    # Nothing is left to be put back, and that is no failure.
    assert "0 dead letters" in stack.run("dlq", "replay", "replayed", "--all")


async def test_letters_of_an_earlier_tenant_and_unreadable_ones_stay(stack: Stack) -> None:
    await set_aside(stack, "reborn", Record("mine", "mine"))
    await set_aside(stack, "reborn", Record("theirs", "theirs"), uid="an-earlier-uid")
    async with operator_rights(stack.data) as rights:
        letter = Letter(tenant_id="reborn", reason="unreadable_message", log_id="noise")
        await write_letter(rights.broker, dead_letter_subject("reborn"), letter, b"\xc1")
    done = stack.ask("dlq", "replay", "reborn", "--all", "--yes", code=1)
    assert (done["replayed"], done["left"]) == (1, {"earlier": 1, "unreadable": 1})
    assert ids(stack.ask("dlq", "list", "reborn")) == ["theirs", "noise"]
    eventually(lambda: stack.document("reborn", "mine"))
    eventually(lambda: stack.lane_finished("standard"))
    assert stack.document("reborn", "theirs") is None
    assert "no tenant nobody" in stack.fail("dlq", "replay", "nobody", "--all", "--yes")
    assert "no dead letter 999999" in stack.fail("dlq", "replay", "reborn", 999_999, "--yes")


async def test_parked_records_can_be_seen_and_put_back_at_once(stack: Stack) -> None:
    await set_aside(stack, "purged", Record("parked", "parked"), reason=STORE_REFUSES, parked=True)
    stack.ask("dlq", "replay", "purged", "--parked", "--all", "--yes")
    # Ingest puts parked records back by itself, so either of the two did it, or both; it is stored once in any case.
    eventually(lambda: stack.document("purged", "parked"))
    eventually(lambda: stack.ask("dlq", "list", "purged", "--parked") == [])
    assert stack.stored("purged") == 1


async def test_only_what_was_asked_for_is_thrown_away(stack: Stack) -> None:
    for log_id, reason in (("a", WRITE_REFUSED), ("b", REDACTION_FAILED), ("c", WRITE_REFUSED), ("d", WRITE_REFUSED)):
        await set_aside(stack, "purged", Record(log_id, "text"), reason=reason)
    letters = stack.ask("dlq", "list", "purged")
    assert "add --yes" in stack.fail("dlq", "purge", "purged", "--all", code=2)
    assert stack.ask("dlq", "purge", "purged", "--reason", "redaction_failed", "--yes")["purged"] == 1
    assert ids(stack.ask("dlq", "list", "purged")) == ["a", "c", "d"]
    assert stack.ask("dlq", "purge", "purged", letters[0]["sequence"], "--yes")["purged"] == 1
    assert "no dead letter" in stack.fail("dlq", "purge", "purged", letters[0]["sequence"], "--yes")
    assert "2 dead letters of tenant purged thrown away" in stack.run("dlq", "purge", "purged", "--all", "--yes")
    assert stack.ask("dlq", "list", "purged") == []
    assert "no tenant nobody" in stack.fail("dlq", "purge", "nobody", "--all", "--yes")
