"""Health, readiness and metrics of a worker, on a port of their own and a thread of their own.

Invariant: it answers while the loop is busy, and `/health` says whether the loop still turns.
"""

import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

STALLED_SECONDS = 60.0


class Monitor:
    """The state that `/health` and `/readiness` report, and the server that does."""

    def __init__(self, host: str, port: int) -> None:
        self._turned = time.monotonic()
        self.is_ready: Callable[[], bool] = lambda: False
        self._server = make_server(host, port, self._answer, _Server, _QuietHandler)
        Thread(target=self._server.serve_forever, name="monitor", daemon=True).start()

    def turn(self) -> None:
        """Called by the event loop every second or so: it is alive."""
        self._turned = time.monotonic()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                status, kind, body = "200 OK", CONTENT_TYPE_LATEST, generate_latest()
            case "/health":
                alive = time.monotonic() - self._turned < STALLED_SECONDS
                status, kind, body = _state(alive, "alive", "stalled")
            case "/readiness":
                status, kind, body = _state(self.is_ready(), "ready", "not_ready")
            case _:
                status, kind, body = "404 Not Found", "application/json", b'{"status":"not_found"}'
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]


def _state(good: bool, yes: str, no: str) -> tuple[str, str, bytes]:
    status, word = ("200 OK", yes) if good else ("503 Service Unavailable", no)
    return status, "application/json", f'{{"status":"{word}"}}'.encode()


class _Server(WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Probes are not worth a line each."""
