"""The embedded broker's configuration."""

import json
from pathlib import Path
from typing import Any

from sluice_core.edge.lanes import bucket_definition, dead_letters_definition, lane_definition
from sluice_core.edge.provision import Platform
from sluice_core.limits import ENVELOPE_BYTES
from sluice_local.nats_server import MAX_FILE, PERMISSIONS, render_config
from sluice_local.operator_rights import DEDICATED_LANE_BYTES
from sluice_local.ports import Ports

PORTS = Ports(nats=20001, nats_monitor=20002, mongod=20003)
PASSWORDS = {"ingest": "i-secret", "worker": "w-secret", "operator": "o-secret"}


def config(**changes: Any) -> dict[str, Any]:
    text = render_config(ports=PORTS, store_dir=Path("/data/a b/nats"), passwords=PASSWORDS, **changes)
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def user(name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [user for user in config()["authorization"]["users"] if user["user"] == name]
    return found


def test_every_acknowledged_message_is_flushed_to_disk_first() -> None:
    assert config()["jetstream"]["sync_interval"] == "always"


def test_it_listens_on_loopback_only() -> None:
    assert (config()["host"], config()["port"], config()["http"]) == ("127.0.0.1", 20001, "127.0.0.1:20002")


def test_streams_go_into_the_store_directory_up_to_a_limit() -> None:
    jetstream = config(max_file=123_456_789)["jetstream"]
    assert (jetstream["store_dir"], jetstream["max_file_store"]) == ("/data/a b/nats", 123_456_789)


def test_messages_are_limited_to_two_mebibytes() -> None:
    assert config()["max_payload"] == 2 * 1024 * 1024


def test_there_is_no_way_in_without_a_password() -> None:
    users = config()["authorization"]["users"]
    assert {user["user"]: user["password"] for user in users} == PASSWORDS
    assert all(user["permissions"] for user in users)


def test_ingest_publishes_logs_and_reads_tenants_and_manages_nothing() -> None:
    permissions = user("ingest")["permissions"]
    assert "logs.>" in permissions["publish"]
    assert "sluice.provision" in permissions["publish"]
    assert "$KV.sluice_tenants.>" in permissions["subscribe"]
    assert not any("$JS.API.STREAM.CREATE" in subject or subject == ">" for subject in permissions["publish"])


def test_ingest_parks_and_takes_back_and_cannot_bury_purge_or_read_lanes() -> None:
    publish = user("ingest")["permissions"]["publish"]
    assert "parked.>" in publish
    api = {subject for subject in publish if subject.startswith("$JS")}
    assert api == {
        "$JS.API.DIRECT.GET.KV_sluice_tenants",
        "$JS.API.DIRECT.GET.SLUICE_DLQ",
        "$JS.API.STREAM.MSG.DELETE.SLUICE_DLQ",
        "$JS.API.STREAM.INFO.SLUICE_DLQ",
    }
    assert not any(subject.startswith("dlq") for subject in publish)


def test_the_streams_reserve_no_more_than_there_is() -> None:
    platform = Platform(mongodb_hosts="h", worker_password="p")
    lane = lane_definition("standard", max_bytes=platform.lane_max_bytes, replicas=1)
    dead = dead_letters_definition(max_bytes=platform.dead_letters_max_bytes, replicas=1)
    shared = sum(stream["max_bytes"] for stream in (lane, dead, bucket_definition(replicas=1)))
    assert (MAX_FILE - shared) // DEDICATED_LANE_BYTES == 38
    both_caps = 2 * dead["max_msgs_per_subject"] * ENVELOPE_BYTES
    assert both_caps < dead["max_bytes"] / 2, "one tenant must leave the others room"


def test_the_worker_fetches_and_acknowledges_and_cannot_publish_logs() -> None:
    permissions = user("worker")["permissions"]
    assert "$JS.API.CONSUMER.MSG.NEXT.*.workers" in permissions["publish"]
    assert "$JS.ACK.*.workers.>" in permissions["publish"]
    assert not any(subject.startswith(("logs", ">")) for subject in permissions["publish"])


def test_neither_may_write_a_tenant_config() -> None:
    for name in ("ingest", "worker"):
        assert not any(subject.startswith("$KV") for subject in user(name)["permissions"]["publish"])


def test_no_part_can_read_another_parts_replies() -> None:
    inboxes = {
        name: [subject for subject in user(name)["permissions"]["subscribe"] if subject.startswith("_INBOX")]
        for name in ("ingest", "worker")
    }
    assert inboxes == {"ingest": ["_INBOX_ingest.>"], "worker": ["_INBOX_worker.>"]}


def test_the_operator_may_everything_but_the_system_account() -> None:
    assert PERMISSIONS["operator"] == {
        "publish": {"allow": [">"], "deny": ["$SYS.>"]},
        "subscribe": {"allow": [">"], "deny": ["$SYS.>"]},
    }
