"""Uninstalling with `crds.keep=false` goes on only if the API server says that there are no Tenants."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

from support.chart import CHART

GUARD = CHART / "files/uninstall_guard.py"


class Outcome(NamedTuple):
    code: int
    said: str
    left_behind: str
    """What `kubectl describe pod` would show."""


@contextmanager
def api_server(status: int, body: object) -> Iterator[tuple[str, list[str]]]:
    """One that gives this answer, and the requests that it got."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Authorization']}")
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def ask(folder: Path, url: str) -> Outcome:
    (folder / "token").write_text("secret-token\n")
    note = folder / "note"
    note.touch()
    environ = {"ACCOUNT_DIR": str(folder), "API_SERVER": url, "TERMINATION_LOG": str(note)}
    done = subprocess.run([sys.executable, GUARD], env=environ, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stderr, note.read_text())


def tenants(*names: str) -> dict[str, object]:
    return {"items": [{"metadata": {"namespace": "team", "name": name}} for name in names]}


def test_without_tenants_it_goes_on(tmp_path: Path) -> None:
    with api_server(200, tenants()) as (url, asked):
        assert ask(tmp_path, url) == (0, "", "")
    assert asked == ["/apis/sluice.dev/v1alpha1/tenants?limit=500 Bearer secret-token"]


def test_without_the_definition_there_is_nothing_to_protect(tmp_path: Path) -> None:
    with api_server(404, {}) as (url, _):
        assert ask(tmp_path, url).code == 0


def test_with_tenants_it_refuses_names_some_and_says_what_to_do(tmp_path: Path) -> None:
    with api_server(200, tenants("a", "b", "c", "d", "e", "f")) as (url, _):
        outcome = ask(tmp_path, url)
    assert outcome.code == 1
    assert "there are Tenants (team/a, team/b, team/c, team/d, team/e ...)" in outcome.said
    assert "upgrade with crds.keep=true" in outcome.said
    assert outcome.left_behind == outcome.said


@pytest.mark.parametrize(("status", "body"), [(403, {}), (500, {}), (200, b"no json"), (200, {})])
def test_an_answer_that_proves_nothing_refuses(tmp_path: Path, status: int, body: object) -> None:
    with api_server(status, body) as (url, _):
        outcome = ask(tmp_path, url)
    assert outcome.code == 1
    assert "secret-token" not in outcome.said


def test_no_answer_refuses(tmp_path: Path) -> None:
    assert ask(tmp_path, "http://127.0.0.1:9").code == 1
