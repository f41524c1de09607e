"""The doctor's judgement: nothing to say of what is well, and each thing that is not is found and named."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice_cli.doctor.broker import check_broker, check_parts
from sluice_cli.doctor.facts import DiskFacts, Facts, MachineFacts, MonitorFacts, PartFacts, PathFacts
from sluice_cli.doctor.finding import Finding, command
from sluice_cli.doctor.gather import changed
from sluice_cli.doctor.machine import check_disks, check_machine, check_monitor, size_text
from sluice_cli.doctor.tenants import check_bucket, check_letters, check_store
from sluice_core.edge.bucket import Entry
from sluice_core.edge.inspection import (
    BrokerFacts,
    ConsumerFacts,
    DatabaseFacts,
    StoreFacts,
    StreamFacts,
    clock_skew,
)
from sluice_core.edge.lanes import (
    bucket_definition,
    consumer_definition,
    dead_letters_definition,
    lane_definition,
)
from sluice_core.edge.registry import Claim, Owner
from sluice_core.heartbeat import IngestHeartbeat, WorkerHeartbeat
from sluice_core.limits import MIB
from sluice_core.tenant import TenantConfig, encode_config

DATA = Path(".sluice")
GIB = 1024 * MIB
WANTED: dict[str, dict[str, Any]] = {
    definition["name"]: definition
    for definition in (
        bucket_definition(replicas=1),
        dead_letters_definition(max_bytes=GIB, replicas=1),
        lane_definition("standard", max_bytes=GIB, replicas=1),
        lane_definition("t-own", max_bytes=GIB, replicas=1),
    )
}
SERVERS_OWN = {"metadata": {"_nats.ver": "2.15.1"}, "duplicate_window": 120}


def claim(tenant_id: str, lane: str = "standard", **more: Any) -> Claim:
    config = TenantConfig(tenant_id=tenant_id, uid=f"u-{tenant_id}", revision=3, lane=lane, retention_days=2)
    fields = {"state": "Active", "config": config, **more}
    return Claim(
        id=tenant_id,
        uid=f"u-{tenant_id}",
        owner=Owner("default", tenant_id),
        revision=3,
        claimed_at=datetime(2026, 1, 1, tzinfo=UTC),
        **fields,
    )


CLAIMS = {"acme": claim("acme"), "own": claim("own", "t-own")}


def entry(tenant_id: str, **changes: Any) -> Entry:
    config = CLAIMS[tenant_id].config
    assert config is not None
    return Entry(5, encode_config(msgspec.structs.replace(config, **changes)))


def stream(name: str) -> StreamFacts:
    lane = ConsumerFacts(config={**consumer_definition(), **SERVERS_OWN}, waiting=0, unfinished=0)
    consumer = lane if name.startswith("SLUICE_LANE_") else None
    return StreamFacts(config={**WANTED[name], **SERVERS_OWN}, size=0, messages=0, consumer=consumer)


BROKER = BrokerFacts(
    version="2.15.1",
    skew=0.0,
    streams={name: stream(name) for name in WANTED},
    sealed=True,
    entries={"acme": entry("acme"), "own": entry("own")},
    newest=9,
    dead={},
    parked={},
)
STORE = StoreFacts(
    version="6.0.5",
    primary=True,
    skew=0.0,
    worker_role=True,
    worker_user=True,
    privileges={f"tenant_{name}.processed_logs": ("find", "insert", "update") for name in CLAIMS},
    users=frozenset(f"tenant_{name}.tenant_{name}_reader" for name in CLAIMS) | {"admin.sluice_worker"},
    databases={name: DatabaseFacts(exists=True, ttl_seconds=172_800, uid=f"u-{name}") for name in CLAIMS},
)
HEALTHY = Facts(
    machine=MachineFacts(
        data=DATA,
        python=(3, 11, 7),
        sluice="0.1.0",
        known=True,
        running=True,
        paths=(
            PathFacts(path=DATA, mode=0o700, ours=True),
            PathFacts(path=DATA / "credentials.json", mode=0o600, ours=True),
            PathFacts(path=DATA / "state", mode=0o755, ours=True),
        ),
        broker_disk=DiskFacts(path=DATA / "nats", free=100 * GIB),
        store_disk=DiskFacts(path=DATA / "mongod", free=100 * GIB),
    ),
    broker=BROKER,
    store=STORE,
    monitor=MonitorFacts(sync_always=True, max_storage=8 * GIB, reserved=4 * GIB),
    claims=CLAIMS,
    streams=WANTED,
    consumer=consumer_definition(),
    parts=tuple(
        PartFacts(name=name, url="http://127.0.0.1:1", ready=True)
        for name in ("ingest", "worker-standard", "worker-t-own")
    ),
    heard=(
        IngestHeartbeat(instance="i", number=1, seen=9),
        WorkerHeartbeat(instance="w", number=1, seen=9, lane="standard"),
        WorkerHeartbeat(instance="x", number=1, seen=9, lane="t-own"),
    ),
)
CHECKS: tuple[Callable[[Facts], list[Finding]], ...] = (
    check_machine, check_broker, check_monitor, check_disks, check_store, check_bucket, check_parts, check_letters
)  # fmt: skip


def findings(facts: Facts) -> list[Finding]:
    """All that is not ok."""
    every = [finding for check in CHECKS for finding in check(facts)]
    assert all(bool(finding.fix) == (finding.level != "ok") for finding in every), "what is not ok says what mends it"
    return [finding for finding in every if finding.level != "ok"]


def the_finding(facts: Facts) -> Finding:
    [found] = findings(facts)
    return found


def with_broker(**changes: Any) -> Facts:
    return msgspec.structs.replace(HEALTHY, broker=msgspec.structs.replace(BROKER, **changes))


def with_stream(name: str, **changes: Any) -> Facts:
    changed_stream = msgspec.structs.replace(BROKER.streams[name], **changes)
    return with_broker(streams={**BROKER.streams, name: changed_stream})


def with_entry(key: str, value: Entry) -> Facts:
    return with_broker(entries={**BROKER.entries, key: value})


def with_store(**changes: Any) -> Facts:
    return msgspec.structs.replace(HEALTHY, store=msgspec.structs.replace(STORE, **changes))


def with_database(**changes: Any) -> Facts:
    database = msgspec.structs.replace(STORE.databases["acme"], **changes)
    return with_store(databases={**STORE.databases, "acme": database})


def with_machine(**changes: Any) -> Facts:
    return msgspec.structs.replace(HEALTHY, machine=msgspec.structs.replace(HEALTHY.machine, **changes))


def with_paths(*paths: PathFacts) -> Facts:
    return with_machine(paths=paths)


def with_claims(*claims: Claim, **changes: Any) -> Facts:
    return msgspec.structs.replace(HEALTHY, claims={**CLAIMS, **{one.id: one for one in claims}}, **changes)


def without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


LANE = "SLUICE_LANE_standard"
OTHER_CONSUMER = ConsumerFacts(config={**consumer_definition(), "max_deliver": 3}, waiting=0, unfinished=0)
OPEN = PathFacts(path=DATA, mode=0o755, ours=True)
SECRET = PathFacts(path=DATA / "credentials.json", mode=0o644, ours=True)
UNREADY = PartFacts(name="worker-t-x", url="u", ready=False)
ACME = "tenant_acme.processed_logs"
BEATS = HEALTHY.heard


def test_nothing_is_said_of_a_healthy_stack_but_that_it_is() -> None:
    assert findings(HEALTHY) == []
    assert len([finding for check in CHECKS for finding in check(HEALTHY)]) > len(CHECKS)


@pytest.mark.parametrize(
    ("facts", "level", "says", "fix"),
    [
        # -- this machine ------------------------------------------------------------------------------------------
        (with_machine(python=(3, 10, 1)), "warning", "Python 3.10.1", "3.11"),
        (with_paths(OPEN, SECRET), "problem", "may read .sluice/credentials.json", "chmod -R go= .sluice"),
        (with_paths(PathFacts(path=DATA, mode=0o770, ours=True)), "problem", "put files", "chmod go= .sluice"),
        (with_paths(PathFacts(path=DATA, mode=0o700, ours=False)), "problem", "another user", "chown"),
        (with_machine(broker_disk=DiskFacts(path=DATA, free=3 * GIB)), "problem", "a full disk stops", "free at least"),
        (with_machine(broker_disk=DiskFacts(path=DATA, free=int(3.5 * GIB))), "warning", "next to", "free at least"),
        (with_machine(store_disk=DiskFacts(path=DATA, free=GIB // 2)), "problem", "documents", "at least 512.0 MiB"),
        # -- the broker --------------------------------------------------------------------------------------------
        (with_broker(version="2.11.9"), "warning", "nats-server 2.11.9 is older", "upgrade"),
        (with_broker(skew=-7.0), "warning", "7.0 s behind", "set-ntp"),
        (with_broker(streams=without(BROKER.streams, LANE)), "problem", f"{LANE} is missing", "sluice up"),
        (with_broker(streams=without(BROKER.streams, "SLUICE_LANE_t-own")), "problem", "t-own is missing", "own.yaml"),
        (with_broker(streams=without(BROKER.streams, "SLUICE_DLQ")), "problem", "SLUICE_DLQ is missing", "sluice up"),
        (
            with_stream(LANE, config={**WANTED[LANE], "discard": "old", "max_bytes": 5}),
            "problem", f"{LANE} is not as defined: discard, max_bytes", "sluice up",
        ),
        (with_stream(LANE, consumer=None), "problem", f"{LANE} has no consumer", "sluice up"),
        (
            with_stream(LANE, consumer=OTHER_CONSUMER),
            "problem", "consumer of stream SLUICE_LANE_standard is not as defined: max_deliver", "sluice up",
        ),
        (with_broker(sealed=False), "problem", "not sealed", "sluice up"),
        (
            with_broker(streams={**BROKER.streams, "SLUICE_LANE_t-old": stream("SLUICE_LANE_standard")}),
            "warning", "t-old is the lane of no tenant", "nats stream rm",
        ),
        (
            msgspec.structs.replace(HEALTHY, monitor=MonitorFacts(sync_always=False, max_storage=1, reserved=0)),
            "problem", "power failure", "sync_interval: always",
        ),
        (
            msgspec.structs.replace(HEALTHY, monitor=MonitorFacts(sync_always=None, max_storage=1, reserved=0)),
            "warning", "cannot be seen from here", "sync_interval: always",
        ),
        (msgspec.structs.replace(HEALTHY, monitor="no answer"), "warning", "from here (no answer)", "always"),
        (
            msgspec.structs.replace(HEALTHY, monitor=MonitorFacts(sync_always=True, max_storage=GIB, reserved=2 * GIB)),
            "problem", "full before they are", f"max_file_store: {2 * GIB}",
        ),
        # -- the database ------------------------------------------------------------------------------------------
        (with_store(version="5.0.14"), "warning", "MongoDB 5.0.14 is older", "upgrade"),
        (with_store(skew=90.0), "warning", "90.0 s ahead of", "set-ntp"),
        (with_store(primary=False), "problem", "no primary", "rs.status"),
        (with_store(worker_role=False), "problem", "workers' role is missing", "sluice up"),
        (with_store(worker_user=False), "problem", "workers' user is missing", "sluice up"),
        (with_database(exists=False), "problem", "tenant_acme.processed_logs is missing", "acme.yaml"),
        (with_database(ttl_seconds=None), "problem", "tenant acme: the retention index is missing", "acme.yaml"),
        (with_database(ttl_seconds=5), "problem", "tenant acme: documents are kept for 5 s", "acme.yaml"),
        (with_database(uid="other"), "problem", "tenant acme: its database does not say", "acme.yaml"),
        (with_database(uid=None), "problem", "tenant acme: its database does not say", "acme.yaml"),
        (
            with_store(users=STORE.users - {"tenant_acme.tenant_acme_reader"}),
            "problem", "tenant acme: its read-only user is missing", "acme.yaml",
        ),
        (
            with_store(privileges=without(STORE.privileges, ACME)),
            "problem", "tenant acme: workers may not find, insert, update", "acme.yaml",
        ),
        (
            with_store(privileges={**STORE.privileges, ACME: ("find", "insert")}),
            "problem", "tenant acme: workers may not update", "acme.yaml",
        ),
        (
            with_store(privileges={**STORE.privileges, ACME: ("find", "insert", "remove", "update")}),
            "problem", f"workers may remove in {ACME}", "revokePrivilegesFromRole",
        ),
        (
            with_store(privileges={**STORE.privileges, "tenant_gone.processed_logs": ("insert",)}),
            "problem", "workers may insert in tenant_gone.processed_logs", "revokePrivilegesFromRole",
        ),
        # -- the bucket against the registry -------------------------------------------------------------------------
        (with_broker(entries=without(BROKER.entries, "acme")), "problem", "no entry for tenant acme", "acme.yaml"),
        (with_entry("acme", entry("acme", revision=2)), "problem", "acme is older", "acme.yaml"),
        (with_entry("acme", entry("acme", revision=4)), "problem", "acme is newer", "acme.yaml"),
        (with_entry("acme", entry("acme", retention_days=9)), "problem", "is another", "acme.yaml"),
        (with_entry("acme", Entry(5, b"{")), "problem", "acme cannot be read", "acme.yaml"),
        (with_entry("who", entry("acme")), "problem", "who that is of no tenant", "tenants.who"),
        (with_claims(claim("half", config=None)), "warning", "half was never completely", "half.yaml"),
        # -- ingest and workers --------------------------------------------------------------------------------------
        (
            msgspec.structs.replace(HEALTHY, parts=(*HEALTHY.parts, UNREADY)),
            "problem", "worker-t-x is not ready", "worker-t-x.log",
        ),
        (msgspec.structs.replace(HEALTHY, heard=BEATS[1:]), "warning", "ingest is up, but no sign", "ingest.log"),
        (msgspec.structs.replace(HEALTHY, heard=BEATS[:2]), "warning", "worker-t-own is up, but no sign", "t-own.log"),
        (
            msgspec.structs.replace(HEALTHY, heard=(*BEATS[1:], IngestHeartbeat(instance="i", number=1, seen=8))),
            "warning", "ingest (i) has not read the newest change", "doctor",
        ),
        (
            msgspec.structs.replace(
                HEALTHY,
                heard=(*BEATS[:2], WorkerHeartbeat(instance="x", number=1, seen=9, lane="t-own", refusing=["own"])),
            ),
            "warning", "database of tenant own does not take", "sluice dlq list own --parked",
        ),
        (
            msgspec.structs.replace(with_stream(LANE, messages=4), parts=HEALTHY.parts[::2], heard=BEATS[::2]),
            "problem", "4 messages in lane standard, and no worker", "sluice up",
        ),
        # -- what is set aside ---------------------------------------------------------------------------------------
        (with_broker(dead={"acme": 3}), "warning", "tenant acme: 3 dead letters", "sluice dlq list acme"),
        (with_broker(parked={"acme": 1}), "warning", "tenant acme: 1 parked letter", "sluice dlq list acme --parked"),
        (with_broker(dead={"acme": 1800}), "problem", "1,800 dead letters of at most 2,000", "replay acme --all"),
        (with_broker(dead={"acme": 1799}), "warning", "1,799 dead letters", "sluice dlq list acme"),
        (with_broker(dead={"_unreadable": 1}), "warning", "messages without a tenant", "sluice dlq list _unreadable"),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong_is_the_one_thing_found(facts: Facts, level: str, says: str, fix: str) -> None:
    found = the_finding(facts)
    assert found.level == level
    assert says in found.sentence
    assert fix in found.fix


def test_without_a_stack_the_first_thing_to_do_is_the_only_one_said() -> None:
    facts = msgspec.structs.replace(
        with_machine(known=False, running=False, paths=(), broker_disk=None, store_disk=None),
        broker="no stack",
        store="no stack",
        monitor="no stack",
        parts=(),
        heard=(),
    )
    found = the_finding(facts)
    assert (found.level, found.fix) == ("problem", "sluice up")
    assert the_finding(msgspec.structs.replace(facts, machine=HEALTHY.machine, store=STORE)).about == "broker"
    # Without the registry no lane is called a stranger's.
    blind = msgspec.structs.replace(HEALTHY, store="no answer", claims={}, streams=without(WANTED, "SLUICE_LANE_t-own"))
    assert the_finding(blind).about == "database"


def test_a_tenant_that_is_being_changed_is_left_alone() -> None:
    before, after = CLAIMS, {**CLAIMS, "acme": claim("acme", deletion_policy="Delete"), "new": claim("new")}
    assert changed(before, after) == {"acme", "new"}
    assert changed(before, before) == frozenset()
    drifted = with_broker(entries={**without(BROKER.entries, "acme"), "new": entry("acme")})
    facts = msgspec.structs.replace(drifted, moving=changed(before, after))
    assert findings(facts) == []
    assert len(findings(msgspec.structs.replace(facts, moving=frozenset()))) == 2


def test_a_tenant_that_is_going_keeps_what_it_needs_until_it_is_gone() -> None:
    going = claim("own", "t-own", state="Deleting")
    wanted = without(WANTED, "SLUICE_LANE_t-own")
    assert findings(with_claims(going, streams=wanted)) == []
    retained = with_claims(claim("own", "t-own", state="Retained"), streams=wanted)
    said = " ".join(found.sentence for found in findings(retained))
    assert "t-own is the lane of no tenant" in said
    assert "workers may find, insert, update in tenant_own" in said


def test_clocks_differ_by_no_more_than_can_be_known() -> None:
    assert clock_skew(10.0, 10.5, 11.0) == 0.0
    assert clock_skew(10.0, 13.0, 11.0) == 2.0
    assert clock_skew(10.0, 9.0, 11.0) == -1.0


def test_commands_name_the_data_directory_unless_it_is_the_usual_one() -> None:
    assert command(DATA, "up") == "sluice up"
    assert command(Path("a b"), "dlq", "list", "t") == "sluice dlq list t --data 'a b'"


def test_sizes_are_never_rounded_to_nothing() -> None:
    assert [size_text(size) for size in (1, 5 * MIB, 3 * GIB // 2, 2 * 1024 * GIB)] == [
        "0.0 KiB", "5.0 MiB", "1.5 GiB", "2.0 TiB"
    ]  # fmt: skip
