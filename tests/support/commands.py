"""Running a command of the system, or a program such as kubectl, to its end."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

_LAST = 2_000
"""Characters of what a command complained of."""


class CommandFailed(AssertionError):
    """It ended with something else than 0, or not in time; the message has the last of what it said."""


async def command(
    *words: str | Path, stdin: str | None = None, timeout: float | None = None, env: Mapping[str, str] | None = None
) -> str:
    """What it printed. `env` is added to the environment. Raises CommandFailed."""
    said = " ".join(map(str, words[:8]))
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(None if stdin is None else stdin.encode()), timeout)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandFailed(f"{said} took longer than {timeout:g} s") from None
    if process.returncode:
        complaint = (err or out).decode(errors="replace")[-_LAST:]
        raise CommandFailed(f"{said} ended with {process.returncode}: {complaint}")
    return out.decode(errors="replace")
