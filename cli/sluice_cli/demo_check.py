"""What the demo found out, and whether that is as it must be. Pure, but for showing it.

Invariant: the report fails unless every single check was made and held.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sluice_cli.lines import LineReader, holds_text
from sluice_cli.output import counts_text, make_table, plural, seconds_text

if TYPE_CHECKING:
    from sluice_cli.session import Session
    from sluice_core.edge.logs import StoredLog

LABELS_SUFFIX = ".labels.jsonl"
_MOST_EXAMPLES = 3


class TenantResult:
    """What happened to one tenant's lines."""

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.accepted_ids: set[str] = set()
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        """Lines not accepted, by reason."""
        self.stored = 0
        self.redactions: Counter[str] = Counter()
        self.dead_letters = 0
        self.parked = 0
        """Parked letters, of records that are not stored yet."""
        self.missing: set[str] = set()
        self.foreign = 0
        """Documents that nobody accepted for this tenant."""
        self.changed = 0
        """Documents whose original text is not what was sent under their id."""
        self.leaks = 0
        """Labelled values that are still readable in redacted text."""

    def begin_check(self) -> None:
        """Forget an earlier check."""
        self.missing = set(self.accepted_ids)
        self.stored = self.foreign = self.changed = self.leaks = 0
        self.redactions = Counter()

    def check(self, document: "StoredLog", labels: Mapping[str, list[str]]) -> None:
        """Take one stored document into account; `labels` are values that must not be readable, by place."""
        self.stored += 1
        if document.log_id in self.missing:
            self.missing.remove(document.log_id)
        else:
            self.foreign += 1
        if not isinstance(document.original_text, str) or not holds_text(document.log_id, document.original_text):
            self.changed += 1
        self.redactions.update(document.redactions)
        self.leaks += sum(
            value in document.modified_data for value in labels.get(document.log_id.rpartition("-")[0], ())
        )

    def failures(self) -> list[str]:
        """What is not as it must be, a sentence each."""
        name = f"tenant {self.tenant_id}"
        found: list[str] = []
        if self.accepted != len(self.accepted_ids):
            found.append(f"{name}: {self.accepted} lines were accepted under {len(self.accepted_ids)} different ids")
        if self.missing:
            examples = ", ".join(sorted(self.missing)[:_MOST_EXAMPLES])
            found.append(f"{name}: {plural(len(self.missing), 'accepted line')} not stored, such as {examples}")
        if self.foreign:
            found.append(f"{name}: {plural(self.foreign, 'document')} in its database that it did not send")
        if self.changed:
            found.append(f"{name}: {plural(self.changed, 'line')} stored with another text than was sent")
        if self.leaks:
            found.append(f"{name}: {plural(self.leaks, 'labelled value')} still readable after redaction")
        if self.dead_letters:
            found.append(f"{name}: {plural(self.dead_letters, 'dead letter')}")
        if self.parked:
            found.append(f"{name}: {plural(self.parked, 'parked letter')}")
        if not self.accepted:
            found.append(f"{name}: not one line was accepted")
        return found


class Report:
    """The result of the whole demo."""

    def __init__(self, files: list[Path], tenants: list[TenantResult]) -> None:
        self.files = files
        self.tenants = tenants
        self.seconds = 0.0
        """From the first request until the last line was stored."""
        self.p50: float | None = None
        self.p99: float | None = None
        self.expected_redactions: Counter[str] | None = None
        """By detector, when every file has labels."""
        self.failures: list[str] = []

    @property
    def lines_per_second(self) -> float:
        """Lines of all tenants together, from the first request until the last was stored."""
        return sum(tenant.stored for tenant in self.tenants) / self.seconds if self.seconds else 0.0

    def judge(self, places: Mapping[str, Mapping[str, int]], databases: Mapping[str, str]) -> None:
        """Fill `failures`.

        `places` says how many ids of each tenant each database holds; `databases` which is whose.
        """
        for tenant in self.tenants:
            self.failures += tenant.failures()
            if self.expected_redactions is not None and tenant.redactions != self.expected_redactions:
                self.failures.append(
                    f"tenant {tenant.tenant_id}: redacted {counts_text(tenant.redactions)} "
                    f"where the labels say {counts_text(self.expected_redactions)}"
                )
        for database, counts in places.items():
            for tenant_id, count in counts.items():
                if databases[tenant_id] != database:
                    self.failures.append(f"{plural(count, 'document')} of tenant {tenant_id} in database {database}")

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "ok": not self.failures,
            "failures": self.failures,
            "files": [str(file) for file in self.files],
            "tenants": {
                tenant.tenant_id: {
                    "accepted": tenant.accepted,
                    "stored": tenant.stored,
                    "refused": dict(tenant.refused),
                    "redactions": dict(tenant.redactions),
                    "dead_letters": tenant.dead_letters,
                    "lines_per_second": round(tenant.stored / self.seconds, 1) if self.seconds else 0.0,
                }
                for tenant in self.tenants
            },
            "seconds": round(self.seconds, 3),
            "lines_per_second": round(self.lines_per_second, 1),
            "accept_to_store_seconds": {"p50": self.p50, "p99": self.p99},
        }

    def show(self, session: "Session") -> None:
        """For a person."""
        rows = [
            [
                tenant.tenant_id,
                tenant.accepted,
                counts_text(tenant.refused),
                tenant.stored,
                tenant.dead_letters,
                counts_text(tenant.redactions),
                round(tenant.stored / self.seconds) if self.seconds else 0,
            ]
            for tenant in self.tenants
        ]
        columns = ["tenant", "accepted", "refused", "stored", "dead letters", "redactions", "lines/s"]
        session.show(make_table(columns, rows, right=["accepted", "stored", "dead letters", "lines/s"]))
        session.say(
            f"Accept to store: p50 {seconds_text(self.p50)}, p99 {seconds_text(self.p99)}: from a request's receipt "
            "until the last of its lines was stored, both tenants, by the worker's histogram."
        )
        session.say(
            f"Both together {self.lines_per_second:,.0f} lines/s, from the first request until the last line was "
            f"stored, which took {seconds_text(self.seconds)}."
        )
        if not self.failures:
            session.say(
                "Verified: every accepted line is stored exactly once, unchanged, in its own tenant's database and in "
                "no other; no dead letters."
            )


def read_labels(file: Path) -> list[tuple[int, dict[str, list[str]]]] | None:
    """The labelled values of a file by the offset of their line, and by detector; None for a file without labels."""
    path = file.with_name(file.stem + LABELS_SUFFIX)
    if not path.is_file():
        return None
    offsets = [0]
    for line in file.read_bytes().splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    labels: list[dict[str, Any]] = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    return [(offsets[label.pop("line") - 1], label) for label in labels]


def count_sendable(readers: Iterable[LineReader]) -> Counter[str]:
    """Lines that were not sent, by reason, of all readers."""
    total: Counter[str] = Counter()
    for reader in readers:
        total += reader.refused
    return total
