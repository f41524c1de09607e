"""What is stored: every field of design section 4, redacted, under the policy in force."""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from sluice_core.envelope import Record, encode_content
from sluice_core.names import STANDARD_LANE
from support.sluice import TEXT, Account, Sluice, line
from support.waiting import eventually

LINE = "User 555-0199 accessed from IP 192.168.1.100"
REDACTED = "User [REDACTED] accessed from IP [REDACTED]"
SECRETS = {
    "email": "jane.doe@example.org",
    "phone": "555-0199",
    "us_ssn": "078-05-1120",
    "credit_card": "4111 1111 1111 1111",
    "ipv4": "192.168.1.100",
    "ipv6": "2001:db8::8a2e:370:7334",
}


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_document_has_every_field_and_no_other(sluice: Sluice, tenant: Account) -> None:
    before = now() - timedelta(milliseconds=1)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    record = {
        "log_id": "id-1",
        "text": LINE,
        "timestamp": "2024-03-05T01:02:03.004Z",
        "attributes": {"level": "info", "n": 2},
    }
    answer = await sluice.send(tenant, record, headers={"X-Request-Id": "req-1", "traceparent": trace})
    assert answer.status_code == 202
    sequence = await sluice.published()
    document = await sluice.document(tenant)
    # Dates and numbers that cannot be foretold first; the rest is compared whole.
    received, processed = document.pop("received_at"), document.pop("processed_at")
    assert before <= received <= processed <= now()
    duration = document.pop("processing_time")
    assert isinstance(duration, float)
    assert 0 <= duration < 30
    content_hash = document.pop("content_hash")
    assert len(content_hash) == 64
    assert int(content_hash, 16)
    version = document.pop("version")
    assert list(version) == ["time", "sequence", "position"]
    assert all(isinstance(part, int) for part in version.values())
    assert (version["sequence"], version["position"]) == (sequence, 0)
    assert abs(version["time"] / 1e9 - received.timestamp()) < 30
    assert document == {
        "_id": "id-1",
        "source": "json_upload",
        "original_text": LINE,
        "modified_data": REDACTED,
        "redactions": {"phone": 1, "ipv4": 1},
        "timestamp": datetime(2024, 3, 5, 1, 2, 3, 4000, tzinfo=UTC),
        "char_count": len(LINE),
        "correlation_id": "req-1",
        "attributes": {"level": "info", "n": 2},
        "traceparent": trace,
        "policy_revision": tenant.config.policy_revision,
    }


async def test_what_was_not_sent_is_filled_in(sluice: Sluice, tenant: Account) -> None:
    answer = await sluice.send(tenant, text := line(), TEXT)
    document = await sluice.document(tenant)
    assert document["_id"] == answer.json()["log_id"]
    assert document["timestamp"] == document["received_at"]
    assert document["correlation_id"] == answer.json()["request_id"]
    assert (document["attributes"], document["redactions"]) == ({}, {})
    assert document["original_text"] == document["modified_data"] == text
    assert "traceparent" not in document


async def test_records_of_one_envelope_have_versions_in_their_order(sluice: Sluice, tenant: Account) -> None:
    ids = [f"{number:02}" for number in range(20)]
    await sluice.send(tenant, [{"log_id": log_id, "text": line()} for log_id in ids])
    versions = [document["version"] for document in await sluice.documents(tenant)]
    assert [version["position"] for version in versions] == list(range(20))
    assert len({(version["time"], version["sequence"]) for version in versions}) == 1


async def test_every_kind_of_secret_is_blotted_out_and_counted(sluice: Sluice, tenant: Account) -> None:
    text = "; ".join(f"{name}: {secret}" for name, secret in SECRETS.items())
    await sluice.send(tenant, text, TEXT)
    document = await sluice.document(tenant)
    assert document["redactions"] == dict.fromkeys(SECRETS, 1)
    assert document["modified_data"] == "; ".join(f"{name}: [REDACTED]" for name in SECRETS)


async def test_attributes_are_blotted_out_too(sluice: Sluice, tenant: Account) -> None:
    attributes = {"user": {"mail": SECRETS["email"], "logins": [SECRETS["ipv4"], 7, None]}, "plain": "fine"}
    await sluice.send(tenant, {"text": LINE, "attributes": attributes, "client": f"from {SECRETS['ipv4']}"})
    document = await sluice.document(tenant)
    assert document["attributes"] == {
        "user": {"mail": "[REDACTED]", "logins": ["[REDACTED]", 7, None]},
        "plain": "fine",
        "client": "from [REDACTED]",
    }
    assert document["redactions"] == {"phone": 1, "ipv4": 3, "email": 1}


async def test_where_the_original_is_dropped_nothing_of_it_is_left(sluice: Sluice) -> None:
    tenant = await sluice.tenant("drop", original="Drop")
    await sluice.send(tenant, {"text": LINE, "attributes": {"from": SECRETS["ipv4"]}})
    document = await sluice.document(tenant)
    assert "original_text" not in document
    assert document["modified_data"] == REDACTED
    whole = repr(document)
    assert not [secret for secret in SECRETS.values() if secret in whole]
    # Nor can it be looked up: a plain hash of the text, or of what the hash covers, is another one.
    content = encode_content(Record(None, LINE, None, {"from": SECRETS["ipv4"]}))
    assert document["content_hash"] not in {sha256(data).hexdigest() for data in (LINE.encode(), content)}


async def test_the_same_content_has_the_same_hash_for_one_tenant_only(
    sluice: Sluice, tenant: Account, other: Account
) -> None:
    text = line()
    for who in (tenant, other):
        await sluice.send(who, [{"log_id": "a", "text": text}, {"log_id": "b", "text": text}])
        await sluice.send(who, {"log_id": "c", "text": text, "attributes": {"x": 1}})
    mine, theirs = [[d["content_hash"] for d in await sluice.documents(who)] for who in (tenant, other)]
    assert mine[0] == mine[1] != mine[2]
    assert not set(mine) & set(theirs)


async def test_what_is_stored_is_no_longer_in_the_broker(sluice: Sluice, tenant: Account) -> None:
    await sluice.send(tenant, line(), TEXT)
    await sluice.documents(tenant)

    async def empty() -> bool:
        info = await sluice.broker.api("STREAM.INFO.SLUICE_LANE_standard")
        return bool(info["state"]["messages"] == 0)

    await eventually(empty, within=5)


# -- policies --------------------------------------------------------------------------------------------------------


async def test_a_detector_that_is_kept_leaves_its_values(sluice: Sluice) -> None:
    tenant = await sluice.tenant("keep", redaction={"detectors": {"ipv4": "Keep", "phone": "Replace"}})
    await sluice.send(tenant, {"text": LINE, "attributes": {"ip": "10.0.0.1", "mail": SECRETS["email"]}})
    document = await sluice.document(tenant)
    assert document["modified_data"] == "User [REDACTED] accessed from IP 192.168.1.100"
    assert document["attributes"] == {"ip": "10.0.0.1", "mail": "[REDACTED]"}
    assert document["redactions"] == {"phone": 1, "email": 1}


async def test_a_changed_policy_holds_for_what_comes_after_it(sluice: Sluice) -> None:
    tenant = await sluice.tenant("policy")
    await sluice.send(tenant, {"log_id": "before", "text": LINE})
    await sluice.idle()
    changed = await sluice.tenant(tenant.id, exactly=True, redaction={"detectors": {"phone": "Keep"}})
    assert changed.config.policy_revision > tenant.config.policy_revision

    async def in_force() -> bool:
        await sluice.send(tenant, {"log_id": "probe", "text": f"{LINE} {line()}"})
        documents = await sluice.documents(tenant)
        return bool(documents[-1]["policy_revision"] == changed.config.policy_revision)

    await eventually(in_force, within=3, pause=0.1)
    await sluice.send(tenant, {"log_id": "after", "text": LINE})
    after, before, _ = await sluice.documents(tenant)
    assert (before["modified_data"], before["policy_revision"]) == (REDACTED, tenant.config.policy_revision)
    assert after["modified_data"] == "User 555-0199 accessed from IP [REDACTED]"
    assert after["policy_revision"] == changed.config.policy_revision


async def test_masks_hashes_and_rules_of_the_tenants_own(sluice: Sluice) -> None:
    redaction = {
        "detectors": {"email": "Hash", "phone": "Mask"},
        "style": "Named",
        "custom": [{"name": "employee", "pattern": r"EMP-\d+"}],
    }
    one = await sluice.tenant("hashes", redaction=redaction)
    other = await sluice.tenant("hashes", redaction=redaction)
    text = "ann@example.com EMP-4711 555-0199 10.0.0.1"
    attributes = {"password": "hunter2", "who": "ann@example.com"}
    for tenant in (one, other):
        await sluice.send(tenant, {"text": text, "attributes": attributes})
    first, second = await sluice.document(one), await sluice.document(other)
    token = first["attributes"]["who"]
    assert first["modified_data"] == f"{token} [EMPLOYEE] ****0199 [IPV4]"
    assert first["attributes"]["password"] == "[PASSWORD_ASSIGNMENT]"
    assert first["redactions"] == {"email": 2, "employee": 1, "phone": 1, "ipv4": 1, "password_assignment": 1}
    assert re.fullmatch(r"\[EMAIL:[a-p]{16}\]", token)
    assert second["attributes"]["who"] != token  # of equal values nobody can tell between tenants


async def test_other_changes_keep_the_policys_revision(sluice: Sluice) -> None:
    tenant = await sluice.tenant("policy")
    changed = await sluice.tenant(tenant.id, exactly=True, original="Drop", limits={"maxRecordBytes": 5000})
    assert changed.config.revision > tenant.config.revision
    assert changed.config.policy_revision == tenant.config.policy_revision


async def test_documents_expire_by_when_they_were_received(sluice: Sluice) -> None:
    async def retention(who: Account) -> dict[str, Any]:
        found: dict[str, Any] = (await sluice.logs(who).index_information())["retention"]
        return found

    tenant = await sluice.tenant("retention", retention={"days": 7})
    await sluice.send(tenant, {"log_id": "kept", "text": line()})
    index = await retention(tenant)
    assert (index["key"], index["expireAfterSeconds"]) == ([("received_at", 1)], 7 * 86_400)
    await sluice.tenant(tenant.id, exactly=True, retention={"days": 365})
    assert (await retention(tenant))["expireAfterSeconds"] == 365 * 86_400
    assert (await retention(await sluice.tenant("default")))["expireAfterSeconds"] == 30 * 86_400
    assert len(await sluice.documents(tenant)) == 1


async def test_a_tenant_with_a_lane_of_its_own_travels_in_it(sluice: Sluice) -> None:
    tenant = await sluice.tenant("own-lane", lane="Dedicated")
    assert tenant.lane == f"t-{tenant.id}"
    async with sluice.nothing_published(STANDARD_LANE):
        answer = await sluice.send(tenant, LINE, TEXT)
        assert answer.status_code == 202
    assert (await sluice.document(tenant))["modified_data"] == REDACTED
    assert await sluice.published(tenant.lane) == 1
