"""The clocks of ingest and workers jump an hour under load: what is waited for by them, and which record is newer."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import support.skewed
from sluice_core.names import STANDARD_LANE
from support.ledger import Ledger
from support.load import load
from support.sluice import line, running

pytestmark = pytest.mark.faults

HOUR = 3600
NEARLY = timedelta(minutes=55)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_clocks_that_jump_lose_nothing_and_decide_no_order(
    tmp_path: Path, tell: Callable[[str], None], jump: int
) -> None:
    skew = tmp_path / "skew"
    skew.write_text("0")
    environ = {"PYTHONPATH": str(Path(*support.skewed.__path__)), "SKEW_FILE": str(skew)}
    answers: Counter[str] = Counter()
    async with running(tmp_path / "data", environ=environ) as sluice:
        book = Ledger(sluice)
        tenant, other = await sluice.tenant("clock"), await sluice.tenant("clock", original="Drop")
        aside = await sluice.tenant("aside", suspension="Buffer")
        await book.send_lines(aside, 5)
        async with load(book, tenant, other, answers=answers):
            await book.send(tenant, [{"log_id": "x", "text": line("older")}])
            await asyncio.sleep(1)
            skew.write_text(str(jump))
            await book.send(tenant, [{"log_id": "x", "text": (newer := line("newer"))}])
            await book.send_lines(aside, 5)
            # Whoever did not notice the jump would prove nothing.
            answer, _ = await book.send(tenant, [{"log_id": "late", "text": line()}])
            assert answer.status_code == 202
            await asyncio.sleep(1)
        await sluice.tenant(aside.id, exactly=True)
        await book.check(within=60)
        documents = {document["_id"]: document for document in await sluice.documents(tenant)}
        assert documents["x"]["original_text"] == newer
        for name in ("received_at", "processed_at"):
            off = documents["late"][name] - datetime.now(UTC)
            assert abs(off) > NEARLY
            assert (off > timedelta()) == (jump > 0)
        # What comes now is not held up by what came an hour later.
        skew.write_text("0")
        await book.send_lines(tenant, 5)
        await book.check(within=30)
        tell(f"{book.summary()}; {dict(answers)}")
        assert await sluice.metric(f"worker-{STANDARD_LANE}", "sluice_worker_parked_total") == 0
