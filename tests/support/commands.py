"""Running a command of the system to its end."""

import asyncio
from pathlib import Path


async def command(*words: str | Path) -> str:
    """What it printed. Fails with it when the command does."""
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, f"{words[0]} ended with {process.returncode}: {printed.decode(errors='replace')}"
    return printed.decode(errors="replace")
