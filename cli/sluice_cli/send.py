"""`sluice send`: a file or a stream of lines into one tenant.

Invariant: exit code 0 means that every line that is not blank was accepted.
"""

import os
import secrets
import stat
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.output import counts_text, plural
from sluice_cli.session import DEFAULT_DATA, DataDir, Json, Session, find_endpoints, run, session_of

if TYPE_CHECKING:
    from sluice_cli.client import Answer
    from sluice_cli.lines import Batch

_CONCURRENCY = 4
_SAVE_SECONDS = 0.2
_STANDARD_INPUT = "-"


def send(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Text file, - for standard input.", show_default=False)],
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Tenant id to send to.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Option(help="Base URL of ingest; without it, that of the stack on --data.", show_default=False),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Ingest key; better in the variable SLUICE_KEY, where `ps` does not show it. Without either, the "
            "tenant's first key of the stack on --data.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Most lines in one request.")] = 500,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Most lines a second; all there are without it.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds one batch may take, retries included.")] = 60.0,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Keep the progress in FILE.sluice-progress, and go on from what is kept there."),
    ] = False,
    state: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Keep the progress here; implies --resume.", show_default=False)
    ] = None,
    data: DataDir = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Send the lines of FILE, one record each, and wait until each is accepted or refused.

    What fails for the moment (a broker down, a quota, no connection) is tried again; nothing is ever stored twice,
    also when the same file is sent again: a line's id is made of its file, its place and its text. Lines that are
    not valid UTF-8 are not sent, since they could only be stored changed. Exit code 1 when any line was refused.
    """
    session = session_of(context)
    if (resume or state) and (file == _STANDARD_INPUT or not _is_regular(Path(file))):
        raise typer.BadParameter("only a regular file can be resumed", param_hint="--resume")
    if file != _STANDARD_INPUT and not _is_readable(Path(file)):
        raise typer.BadParameter(f"{file} cannot be read as a file", param_hint="FILE")
    if url is None or not (key or session.environ.get("SLUICE_KEY")):
        url, key = _from_stack(session, data, tenant, url, key)
    sending = Sending(
        session,
        file,
        tenant,
        url=url,
        key=key or session.environ.get("SLUICE_KEY"),
        batch=batch if rate is None else max(1, min(batch, int(rate / 10))),
        rate=rate,
        timeout=timeout,
        state=state or (Path(file + ".sluice-progress") if resume else None),
    )
    try:
        run(sending.run())
    finally:
        sending.report(json=json)
    if sending.refused:
        session.fail(f"{plural(sending.refused.total(), 'line')} not accepted: {counts_text(sending.refused)}")
        raise typer.Exit(1)


class Sending:
    """One run of `send`, and what became of it so far."""

    def __init__(
        self,
        session: Session,
        file: str,
        tenant_id: str,
        *,
        url: str,
        key: str | None,
        batch: int,
        rate: float | None,
        timeout: float,
        state: Path | None,
    ) -> None:
        from sluice_cli.client import Answer, Client
        from sluice_cli.lines import LineReader
        from sluice_cli.progress import Floor, ProgressFile, make_bar, source_of_file

        self._session = session
        self._path = None if file == _STANDARD_INPUT else Path(file)
        self._regular = self._path is not None and _is_regular(self._path)
        self._batch, self._rate = batch, rate
        source = source_of_file(self._path) if self._path and self._regular else secrets.token_hex(8)
        self._progress: ProgressFile | None = None
        self.resumed_at = 0
        if state is not None and self._path is not None:
            self._progress = ProgressFile(state, self._path, tenant_id, source)
            self.resumed_at = self._progress.load()
        self._reader = LineReader(self.resumed_at)
        self._floor = Floor(self.resumed_at)
        self._saved_at = 0.0
        self.answer = Answer()
        self._bar = make_bar(session.err)
        total = self._path.stat().st_size if self._path and self._regular else None
        self._task = self._bar.add_task(f"to {tenant_id}", total=total, completed=self.resumed_at, state="")
        self._client = Client(url, tenant_id, key, source=source, timeout=timeout, retrying=self._retrying)
        self._told: set[str] = set()

    @property
    def refused(self) -> Counter[str]:
        """Lines not accepted, by reason."""
        return self.answer.rejected + self._reader.refused

    async def run(self) -> None:
        """Send everything. Raises SendError."""
        from sluice_cli.client import send_all
        from sluice_cli.lines import read_batches

        if self.resumed_at:
            self._session.note(f"going on at byte {self.resumed_at:,}, where the last run was")
        try:
            with self._bar:
                async with self._client as client:
                    batches = read_batches(self._chunks(), self._reader, self._batch)
                    await send_all(client, batches, concurrency=_CONCURRENCY, rate=self._rate, settled=self._settled)
        finally:
            self._save()

    def report(self, *, json: bool) -> None:
        """Print the counts."""
        accepted, refused = self.answer.accepted, self.refused
        if json:
            self._session.json(
                {
                    "accepted": accepted,
                    "rejected": refused.total(),
                    "reasons": dict(refused),
                    "blank": self._reader.blank,
                    "resumed_at": self.resumed_at,
                    "offset": self._floor.offset,
                }
            )
        else:
            self._session.say(f"{plural(accepted, 'line')} accepted, {refused.total():,} rejected")

    def _chunks(self) -> AsyncIterator[bytes]:
        from sluice_cli.lines import read_file, read_stream

        if self._path is None:
            return read_stream(sys.stdin.fileno())
        if self._regular:
            return read_file(self._path, self.resumed_at)
        return read_stream(os.open(self._path, os.O_RDONLY))

    def _settled(self, batch: "Batch", answer: "Answer") -> None:
        self.answer.add(answer)
        self._floor.settle(batch)
        self._bar.update(self._task, completed=self._floor.offset, state="")
        if time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        if self._progress is not None:
            self._progress.save(self._floor.offset)
            self._saved_at = time.monotonic()

    def _retrying(self, why: str) -> None:
        self._bar.update(self._task, state=why)
        if why not in self._told:
            self._told.add(why)
            self._session.note(f"trying again: {why}")


def _from_stack(session: Session, data: Path, tenant: str, url: str | None, key: str | None) -> tuple[str, str | None]:
    """What was not given, from the stack on `data`; without a stack, a URL alone has to do."""
    from sluice_core.errors import SluiceError

    if url is not None:
        with suppress(SluiceError):
            endpoints = find_endpoints(data)
            # A key is only ever sent to the stack that made it.
            if url.rstrip("/").removesuffix("/ingest") == endpoints.ingest and tenant in endpoints.tenants:
                return url, key or endpoints.tenants[tenant].key
        return url, key
    endpoints = find_endpoints(data)
    access = endpoints.tenants.get(tenant)
    given = key or session.environ.get("SLUICE_KEY")
    return endpoints.ingest, given or (access.key if access else None)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _is_readable(path: Path) -> bool:
    return not path.is_dir() and os.access(path, os.R_OK)
