"""The broker against its definitions: streams, consumers, lanes. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from sluice_cli.doctor.facts import Facts
from sluice_cli.doctor.finding import Finding, command, ok, problem, unless, warning
from sluice_cli.doctor.machine import MEASURED_NATS, check_version
from sluice_cli.output import plural
from sluice_core.heartbeat import IngestHeartbeat, WorkerHeartbeat
from sluice_core.names import STANDARD_LANE, lane_stream

SKEW_SECONDS = 1.0
"""Clocks further apart make the time from acceptance to store, and retention, wrong by as much."""
_LANES = lane_stream("")
_WORKER = "worker-"


def check_broker(facts: Facts) -> list[Finding]:
    """Whether it answers, and holds the streams and consumers it should."""
    broker = facts.broker
    if isinstance(broker, str):
        if not facts.machine.running:
            return []  # that says it
        return [problem("broker", f"the broker cannot be looked at: {broker}", command(facts.machine.data, "up"))]
    found = [check_version("broker", "nats-server", broker.version, MEASURED_NATS)]
    if broker.skew is not None:
        found.append(check_clock("broker", broker.skew))
    found += unless(
        _streams(facts), "broker", f"{plural(len(facts.streams), 'stream')} and their consumers are as defined"
    )
    # Without the registry nobody knows whose a lane is.
    return found if isinstance(facts.store, str) else [*found, *_strays(facts)]


def check_clock(about: str, skew: float) -> Finding:
    """Whether a server's clock agrees with this machine's."""
    if abs(skew) <= SKEW_SECONDS:
        return ok(about, "its clock agrees with this machine's")
    direction = "ahead of" if skew > 0 else "behind"
    sentence = f"its clock is {abs(skew):.1f} s {direction} this machine's: times of acceptance and retention are wrong"
    return warning(about, sentence, "timedatectl set-ntp true, on both machines")


def differences(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The settings that are not as wanted, by name."""
    return sorted(name for name, value in wanted.items() if current.get(name) != value)


def _streams(facts: Facts) -> Iterator[Finding]:
    assert not isinstance(facts.broker, str)  # noqa: S101 - whoever calls has looked
    for name, wanted in facts.streams.items():
        stream = facts.broker.streams.get(name)
        fix = _mend(facts, name)
        if stream is None:
            yield problem("broker", f"stream {name} is missing", fix)
            continue
        if different := differences(stream.config, wanted):
            yield problem("broker", f"stream {name} is not as defined: {', '.join(different)}", fix)
        if not name.startswith(_LANES):
            continue
        if stream.consumer is None:
            yield problem("broker", f"stream {name} has no consumer: nothing of it gets to any worker", fix)
        elif different := differences(stream.consumer.config, facts.consumer):
            yield problem("broker", f"the consumer of stream {name} is not as defined: {', '.join(different)}", fix)
    if not facts.broker.sealed:
        sentence = "the bucket of tenants is not sealed: ingest and workers take it for incomplete and do not start"
        yield problem("broker", sentence, start_again(facts))


def _mend(facts: Facts, stream: str) -> str:
    """What makes a stream right again: for a lane of one's own applying its tenant, for what all share a new start."""
    for claim in facts.living():
        if claim.config and lane_stream(claim.config.lane) == stream and claim.config.lane != STANDARD_LANE:
            return apply_again(facts, claim.id)
    return start_again(facts)


def start_again(facts: Facts) -> str:
    """The command that brings everything tenants share to what it should be."""
    return f"{command(facts.machine.data, 'up')}   (one that runs mends this within seconds; if not, start it again)"


def apply_again(facts: Facts, tenant_id: str) -> str:
    """The command that brings a tenant to what its manifest says; only its owner knows where that is."""
    return command(facts.machine.data, "tenants", "apply", "-f", f"{tenant_id}.yaml")


def _strays(facts: Facts) -> Iterator[Finding]:
    """Lanes that no tenant uses."""
    assert not isinstance(facts.broker, str)  # noqa: S101 - whoever calls has looked
    used = {
        lane_stream(claim.config.lane)
        for claim in facts.claims.values()
        if claim.config and claim.state in {"Active", "Deleting"}
    }
    for name, stream in facts.broker.streams.items():
        if name.startswith(_LANES) and name not in facts.streams and name not in used:
            sentence = f"stream {name} is the lane of no tenant, and holds {plural(stream.messages, 'message')}"
            yield warning("broker", sentence, f"nats stream rm {name}, once you know that nobody needs it")


def check_parts(facts: Facts) -> list[Finding]:
    """Ingest and workers: who answers, who is heard, and whether each lane has somebody to work on it."""
    return [*_answering(facts), *_hearing(facts), *_backlogs(facts)]


def _answering(facts: Facts) -> Iterator[Finding]:
    for part in facts.parts:
        if part.ready:
            yield ok("parts", f"{part.name} is ready at {part.url}")
        else:
            log = facts.machine.data / "logs" / f"{part.name}.log"
            yield problem("parts", f"{part.name} is not ready at {part.url}", f"tail {log}")


def _hearing(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.broker, str):
        return
    lanes = {heartbeat.lane for heartbeat in facts.heard if isinstance(heartbeat, WorkerHeartbeat)}
    ingests = sum(isinstance(heartbeat, IngestHeartbeat) for heartbeat in facts.heard)
    up = [part.name for part in facts.parts if part.ready]
    silent = [name for name in up if name.startswith(_WORKER) and name.removeprefix(_WORKER) not in lanes]
    # Which is which a heartbeat does not say, so of several one is as good as another to begin with.
    silent += [name for name in up if not name.startswith(_WORKER)][ingests:]
    for name in silent:
        sentence = f"{name} is up, but no sign of life of it is heard: limits and deletions do not count it"
        yield warning("parts", sentence, f"tail {facts.machine.data / 'logs' / f'{name}.log'}")
    for heartbeat in facts.heard:
        who = f"the worker of lane {heartbeat.lane}" if isinstance(heartbeat, WorkerHeartbeat) else "ingest"
        if heartbeat.seen < facts.broker.newest:
            sentence = f"{who} ({heartbeat.instance}) has not read the newest change of the tenants"
            yield warning("parts", sentence, command(facts.machine.data, "doctor"))
        if isinstance(heartbeat, WorkerHeartbeat):
            for tenant_id in sorted(heartbeat.refusing):
                sentence = f"the database of tenant {tenant_id} does not take what {who} writes: it is parked"
                yield warning("parts", sentence, command(facts.machine.data, "dlq", "list", tenant_id, "--parked"))
    if facts.heard:
        who = ", ".join([f"{ingests} ingest", *(f"{_WORKER}{lane}" for lane in sorted(lanes))])
        yield ok("parts", f"signs of life are heard of {who}")


def _backlogs(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.broker, str):
        return
    lanes = {heartbeat.lane for heartbeat in facts.heard if isinstance(heartbeat, WorkerHeartbeat)}
    lanes |= {part.name.removeprefix(_WORKER) for part in facts.parts if part.ready}
    for name, stream in facts.broker.streams.items():
        lane, messages = name.removeprefix(_LANES), stream.messages
        if name.startswith(_LANES) and messages and lane not in lanes:
            sentence = f"{plural(messages, 'message')} in lane {lane}, and no worker for it"
            yield problem("parts", sentence, command(facts.machine.data, "up"))
