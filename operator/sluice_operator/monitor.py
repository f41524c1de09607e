"""Health and metrics over HTTP.

`/health` fails when the timers have died (see `pulse`), so that the kubelet starts the pod again; `/metrics` is for
Prometheus. Invariant: neither waits for anything.
"""

from collections import Counter
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sluice_operator.metrics import TENANTS


class Monitor:
    """Serves them. `census` counts tenants by condition and status."""

    def __init__(
        self, host: str, port: int, alive: Callable[[], bool], census: Callable[[], Counter[tuple[str, str]]]
    ) -> None:
        self._host, self._port = host, port
        self._alive = alive
        self._census = census
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Answer from now on."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Answer no longer."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n") if self._alive() else web.Response(status=503, text="the timers are silent\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        TENANTS.clear()
        for (condition, status), count in self._census().items():
            TENANTS.labels(condition, status).set(count)
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
