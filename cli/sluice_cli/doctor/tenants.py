"""Each tenant: the registry against the bucket, the database and its rights, and what is set aside. Pure."""

from collections.abc import Iterator

import msgspec

from sluice_cli.doctor.broker import apply_again, check_clock, start_again
from sluice_cli.doctor.facts import Facts
from sluice_cli.doctor.finding import Finding, command, problem, unless, warning
from sluice_cli.doctor.machine import MEASURED_MONGODB, check_version
from sluice_cli.output import plural
from sluice_core.edge.access import DAY_SECONDS, WORKER_ACTIONS
from sluice_core.edge.inspection import StoreFacts
from sluice_core.edge.registry import Claim
from sluice_core.names import (
    DLQ_STREAM,
    LOGS_COLLECTION,
    TENANTS_STREAM,
    UNREADABLE,
    WORKER_ROLE,
    reader_user,
    tenant_config_subject,
    tenant_database,
)
from sluice_core.tenant import decode_config
from sluice_ingest.upkeep import SET_ASIDE_SHARE


def check_store(facts: Facts) -> list[Finding]:
    """Whether the database answers, and gives each living tenant, its reader and the workers what they need."""
    store = facts.store
    if isinstance(store, str):
        if not facts.machine.running:
            return []  # that says it
        return [problem("database", f"the database cannot be looked at: {store}", command(facts.machine.data, "up"))]
    found = [check_version("database", "MongoDB", store.version, MEASURED_MONGODB), check_clock("database", store.skew)]
    if not store.primary:
        sentence = "the database is no primary now: nothing can be stored"
        found.append(problem("database", sentence, "mongosh --eval 'rs.status()', and bring the other members back"))
    living = facts.living()
    drift = [*_shared(facts, store), *(one for claim in living for one in _database(facts, store, claim))]
    found += unless(
        [*drift, *_excess(facts, store)],
        "database",
        f"databases, indexes, readers and the workers' rights are as {plural(len(living), 'living tenant')} need them",
    )
    return found


def _shared(facts: Facts, store: StoreFacts) -> Iterator[Finding]:
    fix = start_again(facts)
    if not store.worker_role:
        yield problem("database", "the workers' role is missing: nothing can be stored", fix)
    if not store.worker_user:
        yield problem("database", "the workers' user is missing: nothing can be stored", fix)


def _database(facts: Facts, store: StoreFacts, claim: Claim) -> Iterator[Finding]:
    fix = apply_again(facts, claim.id)
    about, name = "database", tenant_database(claim.id)
    found = store.databases.get(claim.id)
    if found is None or claim.config is None:
        return
    days = claim.config.retention_days
    if not found.exists:
        yield problem(about, f"tenant {claim.id}: {name}.{LOGS_COLLECTION} is missing", fix)
    elif found.ttl_seconds is None:
        yield problem(about, f"tenant {claim.id}: the retention index is missing, so nothing is ever deleted", fix)
    elif found.ttl_seconds != days * DAY_SECONDS:
        sentence = f"documents are kept for {found.ttl_seconds:,} s where its manifest says {plural(days, 'day')}"
        yield problem(about, f"tenant {claim.id}: {sentence}", fix)
    if found.uid != claim.uid:
        yield problem(about, f"tenant {claim.id}: its database does not say that it is this tenant's", fix)
    if f"{name}.{reader_user(claim.id)}" not in store.users:
        yield problem(about, f"tenant {claim.id}: its read-only user is missing", fix)
    actions = store.privileges.get(f"{name}.{LOGS_COLLECTION}", ())
    if lacking := sorted(set(WORKER_ACTIONS) - set(actions)):
        yield problem(about, f"tenant {claim.id}: workers may not {', '.join(lacking)} in its database", fix)


def _excess(facts: Facts, store: StoreFacts) -> Iterator[Finding]:
    """Rights of the workers that no tenant needs: with them a late worker could bring a dropped database back."""
    # One that is going keeps its privilege until its lane is finished.
    entitled = {
        f"{tenant_database(claim.id)}.{LOGS_COLLECTION}"
        for claim in facts.claims.values()
        if claim.state in {"Active", "Deleting"} or claim.id in facts.moving
    }
    for place, actions in store.privileges.items():
        surplus = sorted(set(actions) - set(WORKER_ACTIONS)) if place in entitled else sorted(actions)
        if surplus:
            database, _, collection = place.partition(".")
            what = f"{{resource: {{db: '{database}', collection: '{collection}'}}, actions: {surplus}}}"
            fix = f"mongosh, as administrator, in admin: db.revokePrivilegesFromRole('{WORKER_ROLE}', [{what}])"
            yield problem("database", f"workers may {', '.join(surplus)} in {place}, which no tenant needs", fix)


def check_bucket(facts: Facts) -> list[Finding]:
    """Whether ingest and workers are told of each tenant what the registry says."""
    if isinstance(facts.broker, str) or isinstance(facts.store, str):
        return []
    return unless(
        _bucket(facts), "tenants", f"the bucket says of {plural(len(facts.claims), 'tenant')} what the registry says"
    )


def _bucket(facts: Facts) -> Iterator[Finding]:
    assert not isinstance(facts.broker, str)  # noqa: S101 - whoever calls has looked
    entries = facts.broker.entries
    for claim in facts.claims.values():
        if claim.id in facts.moving:
            continue
        fix = apply_again(facts, claim.id) if claim.state == "Active" else start_again(facts)
        if claim.config is None:
            if claim.state == "Active":
                yield warning("tenants", f"tenant {claim.id} was never completely provisioned", fix)
            continue
        entry = entries.get(claim.id)
        if entry is None:
            yield problem("tenants", f"the bucket has no entry for tenant {claim.id}: nobody knows of it", fix)
            continue
        try:
            told = decode_config(entry.value)
        except msgspec.DecodeError:
            yield problem("tenants", f"the bucket's entry for tenant {claim.id} cannot be read", fix)
            continue
        if told != claim.config:
            how = _compare(told.revision, claim.config.revision)
            yield problem("tenants", f"the bucket's entry for tenant {claim.id} is {how} the registry's", fix)
    for key in sorted(entries.keys() - facts.claims.keys() - facts.moving):
        sentence = f"the bucket has an entry {key} that is of no tenant in the registry"
        yield problem(
            "tenants", sentence, f"nats stream purge {TENANTS_STREAM} --subject '{tenant_config_subject(key)}'"
        )


def _compare(told: int, wanted: int) -> str:
    if told == wanted:
        return "another than"
    return "older than" if told < wanted else "newer than"


def check_letters(facts: Facts) -> list[Finding]:
    """What is set aside, and whether a tenant is at its cap."""
    if isinstance(facts.broker, str):
        return []
    return unless(_letters(facts), "letters", "nothing is parked, and there are no dead letters")


def _letters(facts: Facts) -> Iterator[Finding]:
    assert not isinstance(facts.broker, str)  # noqa: S101 - whoever calls has looked
    stream = facts.broker.streams.get(DLQ_STREAM)
    most = stream.config.get("max_msgs_per_subject", 0) if stream else 0
    for counts, noun, options in (
        (facts.broker.dead, "dead letter", ()),
        (facts.broker.parked, "parked letter", ("--parked",)),
    ):
        for tenant_id, count in counts.items():
            who = "messages without a tenant" if tenant_id == UNREADABLE else f"tenant {tenant_id}"
            if most > 0 and count >= SET_ASIDE_SHARE * most:
                sentence = f"{who}: {plural(count, noun)} of at most {most:,}, so ingest refuses more of it with 429"
                fix = command(facts.machine.data, "dlq", "replay", tenant_id, "--all", *options)
                yield problem("letters", sentence, fix)
            else:
                fix = command(facts.machine.data, "dlq", "list", tenant_id, *options)
                yield warning("letters", f"{who}: {plural(count, noun)}", fix)
