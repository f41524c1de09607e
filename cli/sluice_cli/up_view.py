"""What `sluice up` says. Pure.

Invariant: commands are printed so that they work when they are copied, and only the tenant's own key is shown.
"""

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.table import Table

from sluice_cli.output import make_table
from sluice_cli.session import DEFAULT_DATA

SAMPLE_TEXT = "User 555-0199 accessed from IP 192.168.1.100"
_EXTRAS = ("name_of_part", "exit_code", "tenant", "error")


class PartHealth(msgspec.Struct, frozen=True):
    """One part of the stack as it is now."""

    name: str
    ready: bool
    pid: int
    address: str
    log: Path


def health_table(parts: list[PartHealth]) -> Table:
    """One row for each part."""
    rows = [
        (part.name, "ready" if part.ready else "not ready", str(part.pid), part.address, part.log) for part in parts
    ]
    return make_table(["part", "health", "pid", "address", "log"], rows)


def curl_command(ingest: str, tenant_id: str, key: str | None) -> str:
    """A command that sends one record; without a key the body names the tenant."""
    body = {"text": SAMPLE_TEXT} if key else {"tenant_id": tenant_id, "text": SAMPLE_TEXT}
    lines = [f"curl -sS {ingest}/ingest"]
    if key:
        lines.append(f"-H {shlex.quote(f'Authorization: Bearer {key}')}")
    lines.append("-H 'Content-Type: application/json'")
    lines.append(f"-d {shlex.quote(msgspec.json.encode(body).decode())}")
    return " \\\n    ".join(lines)


def logs_command(tenant_id: str, data_dir: Path, program: str = "sluice") -> str:
    """The command that reads a tenant's logs back; `program` is how this one is called here."""
    words = [program, "logs", tenant_id]
    if data_dir != DEFAULT_DATA:
        words += ["--data", str(data_dir)]
    return shlex.join(words)


def summary(
    ingest: str, data_dir: Path, tenants: Mapping[str, str], chosen: str | None, *, keys: bool, program: str
) -> list[str]:
    """The lines below the table of parts. `tenants` are keys by tenant id, `chosen` is the one to try."""
    lines = [f"tenants: {', '.join(sorted(tenants)) or 'none yet'}", ""]
    key = tenants.get(chosen) if chosen is not None else None
    if not keys:
        lines += [
            "Authentication is off: a tenant is made when the first record names it. Try it:",
            curl_command(ingest, chosen or "demo", None),
        ]
    elif chosen is not None and key:
        lines += ["Try it:", curl_command(ingest, chosen, key)]
    elif chosen is not None:
        lines += [f"Tenant {chosen} has no key: make one with `sluice keys add {chosen}`."]
    lines += [
        "",
        "Read it back, redacted:",
        logs_command(chosen or "demo", data_dir, program),
        "",
        f"API at {ingest}/docs, everything for scripts in {data_dir / 'endpoints.json'}.",
        "Sluice is ready. Ctrl-C stops it.",
    ]
    return lines


def pid_changes(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """What happened to the parts, a line each."""
    lines = [
        f"{name} was started again, now with pid {pid}" if name in before else f"{name} was started, pid {pid}"
        for name, pid in now.items()
        if before.get(name) != pid
    ]
    return lines + [f"{name} was stopped" for name in before if name not in now]


def warning_text(record: logging.LogRecord) -> str:
    """A warning of the stack's own, with what it is about."""
    extras = [f"{name.removesuffix('_of_part')} {value}" for name in _EXTRAS if (value := vars(record).get(name))]
    return f"{record.getMessage()} ({', '.join(extras)})" if extras else record.getMessage()
