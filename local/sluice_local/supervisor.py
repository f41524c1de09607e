"""Keeping servers running: one that dies is started again.

Invariant: a server is only restarted while it is supervised; stopping it on purpose begins with ending that.
"""

import asyncio
import logging

from sluice_core.errors import SluiceError
from sluice_local.server import Server

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


async def supervise(server: Server) -> None:
    """Start `server` again whenever it ends. Ends when cancelled, and by nothing else."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        code = await server.process.wait()
        log.warning("a part died and is started again", extra={"name_of_part": server.name, "exit_code": code})
        while not server.running:
            await asyncio.sleep(pause)
            try:
                await server.start()
            # Also what setting it up raises, when it dies in the middle of that; and a disk may be full for a while.
            except (SluiceError, OSError) as error:
                log.warning("a part could not be started", extra={"name_of_part": server.name, "error": str(error)})
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                pause = _FIRST_PAUSE_SECONDS
