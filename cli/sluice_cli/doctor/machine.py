"""This machine: versions, the data directory, room on the disks. Pure."""

import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from sluice_cli.doctor.facts import Facts, MonitorFacts, PathFacts
from sluice_cli.doctor.finding import Finding, command, ok, problem, unless, warning
from sluice_core.limits import MIB

MEASURED_PYTHON = (3, 11)
MEASURED_NATS = "2.15.1"
MEASURED_MONGODB = "6.0.5"
"""What the figures and the promises of the documents were tried with."""

SPARE_BYTES = 1024 * MIB
"""What should stay free beside everything the broker may still write: logs, the database's journal and oplog."""

_OTHERS = 0o077
_OTHERS_WRITE = 0o022
_MOST_NAMED = 3

SYNC_LINE = "jetstream { sync_interval: always }"


def check_machine(facts: Facts) -> list[Finding]:
    """Sluice, Python, and what lies in the data directory."""
    machine = facts.machine
    found = [ok("sluice", f"this is sluice {machine.sluice}"), _python(machine.python)]
    if not machine.running:
        sentence = f"no stack is ready on {machine.data}" if machine.known else f"no stack ever ran on {machine.data}"
        found.append(problem("stack", f"{sentence}: start one, or name another by --data", command(machine.data, "up")))
    if machine.known:
        found += unless(_paths(machine.data, machine.paths), "data", f"nobody else can read what is in {machine.data}")
    return found


def _python(version: tuple[int, int, int]) -> Finding:
    text = ".".join(map(str, version))
    if version[:2] < MEASURED_PYTHON:
        oldest = ".".join(map(str, MEASURED_PYTHON))
        return warning("python", f"Python {text} is older than what Sluice was measured with", f"use Python {oldest}")
    return ok("python", f"this is Python {text}")


def _paths(data: Path, paths: tuple[PathFacts, ...]) -> Iterator[Finding]:
    """A directory that is closed closes what is in it, so open files count in an open one only."""
    quoted = shlex.quote(str(data))
    if foreign := [path for path in paths if not path.ours]:
        yield problem("data", f"{_some(foreign)} belong to another user", f'sudo chown -R "$USER" {quoted}')
    top = [path for path in paths if path.path == data]
    if any(path.mode & _OTHERS_WRITE for path in top):
        yield problem("data", f"other users may put files into {data}", f"chmod go= {quoted}")
    inner = [path for path in paths if path.path != data and path.mode & _OTHERS]
    if inner and any(path.mode & _OTHERS for path in top):
        sentence = f"other users may read {_some(inner)}, which hold secrets or log text"
        yield problem("data", sentence, f"chmod -R go= {quoted}")


def _some(paths: list[PathFacts]) -> str:
    names = ", ".join(str(path.path) for path in paths[:_MOST_NAMED])
    return names if len(paths) <= _MOST_NAMED else f"{names} and {len(paths) - _MOST_NAMED:,} more"


def check_version(about: str, name: str, version: str, measured: str) -> Finding:
    """Whether a server is at least what Sluice was measured with."""
    if _numbers(version) < _numbers(measured):
        return warning(
            about, f"{name} {version} is older than the {measured} that Sluice was measured with", f"upgrade {name}"
        )
    return ok(about, f"{name} {version} answers")


def _numbers(version: str) -> list[int]:
    """The leading numbers of `2.15.1-rc.1`."""
    return [int("".join(digits)) for is_digit, digits in groupby(version.partition("-")[0], str.isdigit) if is_digit]


def check_monitor(facts: Facts) -> list[Finding]:
    """What only the broker's monitoring tells: when it flushes, and how much it may hold."""
    monitor = facts.monitor
    if isinstance(monitor, str):
        if isinstance(facts.broker, str):
            return []  # that it is not there at all has been said
        sentence = f"whether the broker flushes before it acknowledges cannot be seen from here ({monitor})"
        return [warning("broker", sentence, f"see that its configuration says {SYNC_LINE}")]
    return [_sync(monitor), *_reservations(monitor)]


def _sync(monitor: MonitorFacts) -> Finding:
    if monitor.sync_always is None:
        sentence = "whether the broker flushes before it acknowledges cannot be seen from here"
        return warning("broker", sentence, f"see that its configuration says {SYNC_LINE}")
    if not monitor.sync_always:
        sentence = "the broker acknowledges before it flushes: a power failure loses what got a 202"
        return problem("broker", sentence, f"in the broker's configuration: {SYNC_LINE}")
    return ok("broker", "it flushes to disk before it acknowledges (sync_interval: always)")


def _reservations(monitor: MonitorFacts) -> list[Finding]:
    if monitor.max_storage <= 0:
        return []
    reserved, most = size_text(monitor.reserved), size_text(monitor.max_storage)
    sentence = f"the streams' limits add up to {reserved} of the {most} that the broker may hold"
    if monitor.reserved > monitor.max_storage:
        fix = f"in the broker's configuration: jetstream {{ max_file_store: {monitor.reserved} }}"
        return [problem("broker", f"{sentence}: it is full before they are", fix)]
    return [ok("broker", sentence)]


def check_disks(facts: Facts) -> list[Finding]:
    """Whether what was promised fits onto the disks."""
    found: list[Finding] = []
    machine = facts.machine
    if machine.broker_disk is not None and not isinstance(facts.broker, str):
        disk = machine.broker_disk
        owed = sum(max(0, stream.config.get("max_bytes", 0) - stream.size) for stream in facts.broker.streams.values())
        sentence = f"{size_text(disk.free)} are free in {disk.path}, and the streams may still take {size_text(owed)}"
        if disk.free < owed:
            fix = f"free at least {size_text(owed + SPARE_BYTES - disk.free)} there"
            found.append(problem("disk", f"{sentence}: a full disk stops the broker until it is restarted", fix))
        elif disk.free < owed + SPARE_BYTES:
            fix = f"free at least {size_text(owed + SPARE_BYTES - disk.free)} there"
            found.append(warning("disk", f"{sentence}, which leaves next to nothing", fix))
        else:
            found.append(ok("disk", sentence))
    if machine.store_disk is not None:
        disk = machine.store_disk
        sentence = f"{size_text(disk.free)} are free in {disk.path} for documents"
        if disk.free < SPARE_BYTES:
            fix = f"free at least {size_text(SPARE_BYTES - disk.free)} there, or lower spec.retention.days of tenants"
            found.append(problem("disk", sentence, fix))
        else:
            found.append(ok("disk", sentence))
    return found


def size_text(size: int) -> str:
    """Bytes as a person reads them, a problem's need never rounded to nothing."""
    for unit, name in ((1024**4, "TiB"), (1024**3, "GiB"), (MIB, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1024:.1f} KiB"
