"""Preparing: a record that raises, or ends the process, costs its mates nothing."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice_core.envelope import Record
from sluice_core.reasons import CRASHED_WORKER
from sluice_core.tenant import TenantConfig
from sluice_core.version import Version
from sluice_redact import Redactor
from sluice_worker.breadcrumb import NOTE_RECORDS, Breadcrumb, open_breadcrumb
from sluice_worker.documents import Prepared
from sluice_worker.handle import Item, Message, items
from sluice_worker.preparation import SLICE_RECORDS, Preparation
from sluice_worker.sink import Outcome
from unit.fakes import config, delivery, envelope, submission
from unit.virtual import run, settle
from unit.worker_rig import PREPARERS, Worker, part, work

_STARTED = datetime(2025, 1, 1, tzinfo=UTC)


class _Died(BaseException):
    """Stands for the end of the process."""


def _batch(*ids: str, sequence: int = 1) -> list[Item]:
    parts = items(Message(delivery(envelope(submission(*(Record(log_id, log_id) for log_id in ids))), sequence)))
    return [item for _, part_ in parts for item in part_]


class _Process:
    """One process after the other on one file; a text with `kill` in it ends one, `raise` makes redaction raise."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = str(directory)
        self.redacted: list[list[str]] = []
        redact = Redactor.redact

        def dangerous(redactor: Redactor, texts: list[str]) -> Any:
            self.redacted.append(list(texts))
            if any("kill" in text for text in texts):
                raise _Died
            if any("raise" in text for text in texts):
                raise RuntimeError("a bug")
            return redact(redactor, texts)

        monkeypatch.setattr(Redactor, "redact", dangerous)
        self.crumb: Breadcrumb | None = None
        self.restart()

    def restart(self) -> None:
        self.redacted.clear()
        if self.crumb is not None:
            self.crumb.close()
        self.crumb = open_breadcrumb(self._directory)
        self.preparation = Preparation(PREPARERS, self.crumb)

    def prepare(self, batch: list[Item]) -> dict[str, str]:
        prepared = self.preparation.prepare(config(), batch, _STARTED)
        assert sorted(id(one.item) for one in prepared) == sorted(map(id, batch))
        return {one.log_id: "good" if one.failure is None else one.failure.reason.code for one in prepared}

    def dies(self, batch: list[Item]) -> bool:
        """Whether the process ends; it is then another one."""
        assert self.crumb is not None
        end, self.crumb.end = self.crumb.end, lambda: None  # type: ignore[method-assign]
        try:
            self.prepare(batch)
        except _Died:
            self.restart()
            return True
        self.crumb.end = end  # type: ignore[method-assign]
        self.crumb.end()
        return False


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Process]:
    one = _Process(tmp_path, monkeypatch)
    yield one
    assert one.crumb is not None
    one.crumb.close()


def test_others_get_their_turn_while_a_large_batch_is_prepared() -> None:
    async def main() -> None:
        batch = _batch(*map(str, range(3 * SLICE_RECORDS + 1)))
        preparation = Preparation(PREPARERS, None)
        turns: list[int] = []

        async def another() -> None:
            while True:
                turns.append(len(turns))
                await asyncio.sleep(0)

        task = asyncio.create_task(another())
        prepared = await preparation.prepare_in_slices(config(), batch, _STARTED)
        task.cancel()
        assert [one.item for one in prepared] == batch
        assert len(turns) == 4, "between the slices, and before what comes after them"

    run(main())


def test_in_no_round_of_the_event_loop_is_more_than_one_slice_prepared_whoever_they_are() -> None:
    class Counted(Preparation):
        def prepare(self, config: TenantConfig, batch: list[Item], started: datetime) -> list[Prepared]:
            slices.append((rounds, config.tenant_id))
            return super().prepare(config, batch, started)

    slices: list[tuple[int, str]] = []
    rounds = 0

    async def main() -> None:
        async def count() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await asyncio.sleep(0)

        preparation = Counted(PREPARERS, None)
        large = _batch(*map(str, range(5 * SLICE_RECORDS)))
        counting = asyncio.create_task(count())
        await asyncio.gather(
            *(preparation.prepare_in_slices(config(name), large, _STARTED) for name in ("acme", "beta", "gamma"))
        )
        counting.cancel()

    run(main())
    assert len({number for number, _ in slices}) == len(slices) == 15
    assert [name for _, name in slices] == ["acme", "beta", "gamma"] * 5, "each in turn"


def test_a_good_batch_is_prepared_in_one_go(process: _Process) -> None:
    assert process.prepare(_batch("a", "b", "c")) == dict.fromkeys("abc", "good")
    assert process.redacted == [["a", "b", "c"]]


def test_a_large_batch_is_prepared_in_parts_that_a_note_can_hold(process: _Process) -> None:
    ids = [str(number) for number in range(NOTE_RECORDS + 10)]
    assert set(process.prepare(_batch(*ids)).values()) == {"good"}
    assert [len(texts) for texts in process.redacted] == [NOTE_RECORDS, 10]


def test_a_record_that_ends_the_process_twice_is_a_dead_letter_and_its_mates_are_not(process: _Process) -> None:
    ids = ("a", "kill", "b")
    assert process.dies(_batch(*ids)), "the first time nobody knows"
    assert process.dies(_batch(*ids)), "the second time it is alone"
    assert ["kill"] not in process.redacted
    assert process.prepare(_batch(*ids)) == {"a": "good", "b": "good", "kill": "crashed_worker"}
    assert all("kill" not in texts for texts in process.redacted), "native code does not see it again"
    process.redacted.clear()
    assert process.prepare(_batch("a", "b", "c", sequence=2)) == dict.fromkeys("abc", "good")
    assert process.redacted == [["a", "b", "c"]]


def test_suspects_are_tried_alone_once_and_then_with_the_others(process: _Process) -> None:
    process.dies(_batch("a", "kill", "b"))
    mates = [item for item in _batch("a", "kill", "b", "c") if item.submission.records[item.position].text != "kill"]
    assert process.prepare(mates) == dict.fromkeys("abc", "good")
    assert process.redacted == [["a"], ["b"], ["c"]]
    process.redacted.clear()
    process.prepare(mates)
    assert process.redacted == [["a", "b", "c"]]


def test_two_culprits_in_one_batch_end_two_processes_more_and_are_both_found(process: _Process) -> None:
    ids = ("kill 1", "a", "kill 2", "b")
    deaths = 0
    while process.dies(_batch(*ids)):
        deaths += 1
        assert deaths <= 3
    assert process.prepare(_batch(*ids)) == {
        "kill 1": "crashed_worker",
        "kill 2": "crashed_worker",
        "a": "good",
        "b": "good",
    }


def test_a_process_that_is_killed_from_outside_makes_suspects_that_are_then_prepared(process: _Process) -> None:
    assert process.crumb is not None
    process.crumb.begin([item.version for item in _batch("a", "b")])
    process.restart()
    assert process.prepare(_batch("a", "b")) == dict.fromkeys("ab", "good")
    process.restart()
    assert not process.crumb.watching


def test_a_culprit_is_forgotten_when_its_dead_letter_is_written(process: _Process) -> None:
    batch = _batch("kill")
    process.dies(batch)
    process.dies(batch)
    [prepared] = process.preparation.prepare(config(), batch, _STARTED)
    process.preparation.buried(Outcome(prepared, CRASHED_WORKER))
    assert process.dies(_batch("kill")), "when it is replayed, it may be tried again"


def test_a_record_at_which_redaction_raises_is_a_dead_letter_alone(process: _Process) -> None:
    assert process.prepare(_batch("a", "raise", "b")) == {"a": "good", "raise": "redaction_failed", "b": "good"}
    process.restart()
    assert process.crumb is not None
    assert not process.crumb.watching, "an exception is no crash"


def test_without_a_file_a_record_that_raises_is_a_dead_letter_alone_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = _Process(tmp_path, monkeypatch)
    process.preparation = Preparation(PREPARERS, None)
    assert process.prepare(_batch("a", "raise", "b")) == {"a": "good", "raise": "redaction_failed", "b": "good"}


def test_a_version_that_no_note_can_hold_is_a_dead_letter(process: _Process) -> None:
    batch = _batch("a", "b")
    batch[0].version = Version(-1, 1, 1)
    assert process.prepare(batch) == {"a": "redaction_failed", "b": "good"}


def test_in_the_loop_such_a_record_is_buried_and_its_message_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = _Process(tmp_path, monkeypatch)

    async def scenario(worker: Worker) -> None:
        worker.send(1, part("a", text="fine"), part("b", text="raise"))
        await settle()
        assert worker.letters.reasons() == [("dlq.acme", "redaction_failed")]
        assert worker.ids() == {"a"}
        assert worker.lane.acknowledged == [1]

    work(scenario, breadcrumb=process.crumb)


def test_a_culprit_in_the_loop_is_buried_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = _Process(tmp_path, monkeypatch)
    culprit = Version(1, 1, 1)
    for _ in range(2):
        assert process.crumb is not None
        process.crumb.begin([culprit])
        process.restart()

    async def scenario(worker: Worker) -> None:
        assert process.crumb is not None
        assert process.crumb.is_culprit(culprit)
        worker.send(1, part("a", "b", "c"))
        await settle()
        assert worker.letters.reasons() == [("dlq.acme", "crashed_worker")]
        assert worker.letters.records("dlq.acme") == ["b"]
        assert worker.ids() == {"a", "c"}
        assert worker.lane.acknowledged == [1]
        assert not process.crumb.watching

    work(scenario, breadcrumb=process.crumb)
