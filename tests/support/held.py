"""A Sluice whose workers take 0.05 s for each character, with records in it from the start."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.sluice import CANARY, Account, Sluice, running

SECONDS_PER_CHARACTER = 0.05
LONG_CHARACTERS = 700
"""35 s: longer than the 30 s after which the broker delivers again what shows no sign of life."""


class SlowLane:
    """The slow stack, and the record that was sent when it started."""

    def __init__(self, sluice: Sluice, patient: Account, sent_at: float) -> None:
        self.sluice = sluice
        self.patient = patient
        """Its lane is its own, so that nothing disturbs its one long record."""
        self.sent_at = sent_at
        """By time.monotonic()."""


@asynccontextmanager
async def slow_lane(data_dir: Path) -> AsyncIterator[SlowLane]:
    """The stack without keys, as `auth: none` runs it, with the long record on its way."""
    environ = {"SLUICE_SIMULATED_SECONDS_PER_CHAR": str(SECONDS_PER_CHARACTER)}
    async with running(data_dir, environ=environ, auth="none") as sluice:
        patient = await sluice.tenant("patient", lane="Dedicated")
        text = CANARY.ljust(LONG_CHARACTERS, ".")
        answer = await sluice.send(None, {"tenant_id": patient.id, "log_id": "long", "text": text})
        assert answer.status_code == 202, answer.text
        yield SlowLane(sluice, patient, time.monotonic())
