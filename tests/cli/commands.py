"""The real `sluice` as a user runs it, and a running stack to try it on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from pymongo import MongoClient

from sluice_core.edge.lanes import lane_progress
from sluice_local.operator_rights import operator_rights

SLUICE = Path(sys.executable).with_name("sluice")
READY_SECONDS = 40.0

TENANT = """\
apiVersion: sluice.dev/v1alpha1
kind: Tenant
metadata: {{name: {name}}}
spec: {spec}
"""


def eventually(check: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true result of `check`."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return result


class Started:
    """A `sluice` that runs in the background, and what it printed so far."""

    def __init__(self, *arguments: object, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [SLUICE, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def wait_for(self, text: str, seconds: float = READY_SECONDS) -> None:
        eventually(lambda: text in self.output or self.process.poll() is not None, seconds)
        assert text in self.output, self.output

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(40)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Stack:
    """A running `sluice up`, and the commands against it."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.up = Started("up", "--port", 0, "--data", self.data, *arguments, cwd=directory)
        try:
            self.up.wait_for("Sluice is ready")
        except BaseException:
            self.up.end(signal.SIGKILL)
            raise
        self._database: MongoClient[dict[str, Any]] = MongoClient(self.endpoints["mongodb"])

    @property
    def endpoints(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.data / "endpoints.json").read_bytes())
        return content

    def run(self, *arguments: object, code: int = 0, stdin: str = "", **variables: str) -> str:
        """Run a command on this stack; its standard output."""
        done = sluice(*arguments, "--data", self.data, cwd=self.directory, stdin=stdin, variables=variables)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    def ask(self, *arguments: object, code: int = 0, stdin: str = "") -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json", code=code, stdin=stdin))

    def fail(self, *arguments: object, code: int = 1) -> str:
        """Run a command that must fail; what it says on standard error."""
        done = sluice(*arguments, "--data", self.data, cwd=self.directory)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stderr

    def note(self, *arguments: object) -> str:
        """Run a command; what it says on standard error."""
        done = sluice(*arguments, "--data", self.data, cwd=self.directory)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stderr

    def post(self, tenant: str, text: str, key: str | None = None, **fields: Any) -> httpx.Response:
        endpoints = self.endpoints
        headers = {"Authorization": f"Bearer {key or endpoints['tenants'][tenant]['key']}"}
        return httpx.post(f"{endpoints['ingest']}/ingest", json={"text": text, **fields}, headers=headers, timeout=20)

    def logs(self, tenant: str) -> list[dict[str, Any]]:
        printed = self.run("logs", tenant, "--json", "--limit", 100_000)
        return [json.loads(line) for line in printed.splitlines()]

    def stored(self, tenant: str) -> int:
        """How many documents the tenant has, by a look past the command."""
        return int(self._database[f"tenant_{tenant}"]["processed_logs"].count_documents({}))

    def document(self, tenant: str, log_id: str) -> dict[str, Any] | None:
        """One of the tenant's documents, by a look past the command."""
        return self._database[f"tenant_{tenant}"]["processed_logs"].find_one({"_id": log_id})

    def lane_finished(self, lane: str) -> bool:
        """Whether everything that the lane ever took is finished."""

        async def ask() -> bool:
            async with operator_rights(self.data) as rights:
                progress = await lane_progress(rights.broker, lane)
                return progress.finished >= progress.last

        # The tests' own event loop may be running in this thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, ask()).result()

    def validate(self, tenant: str, validator: dict[str, Any]) -> None:
        """What a tenant's administrator may do to the collection: refuse documents that are not like this."""
        self._database[f"tenant_{tenant}"].command("collMod", "processed_logs", validator=validator)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self._database.close()
        return self.up.end(number)


def sluice(
    *arguments: object, cwd: Path | None = None, stdin: str = "", variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [SLUICE, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **(variables or {})},
    )
