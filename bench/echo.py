"""The ceiling of HTTP: a bare echo on the very server and framework that ingest runs on.

Invariant: same uvicorn configuration, same kind of Litestar route, an answer of the same size; the difference to
ingest is only what ingest does.
"""

import asyncio
import sys

import uvicorn
import uvloop
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send

from sluice_core.allocator import tune_allocator
from sluice_core.collector import tune_collector
from sluice_ingest.server import server_config
from sluice_ingest.settings import IngestSettings

_BODY = b"." * 230
"""As long as ingest's usual 202."""
_LENGTH = str(len(_BODY)).encode()


@asgi("/ingest", copy_scope=False)
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", _LENGTH)]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY, "more_body": False})


def main() -> None:
    tune_allocator()
    tune_collector()
    settings = IngestSettings(nats_url="", nats_password="", host="127.0.0.1", port=int(sys.argv[1]))
    app = Litestar([echo], openapi_config=None, logging_config=None)
    uvloop.run(asyncio.wait_for(uvicorn.Server(server_config(app, settings)).serve(), None))


if __name__ == "__main__":
    main()
