"""Our own log lines: JSON, and nothing in them that an exception's message may quote."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_core.errors import BrokerFull, StoreUnavailable
from sluice_core.telemetry import JsonFormatter, describe

_SECRET = "hunter2"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("ingest"))
    loggers = [logging.getLogger(name) for name in ("sluice.test", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    logging.getLogger("sluice.test").setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True


def _log(output: io.StringIO, *args: Any, **kwargs: Any) -> dict[str, Any]:
    logging.getLogger("sluice.test").info(*args, **kwargs)
    [line, end] = output.getvalue().split("\n")
    assert end == ""
    read: dict[str, Any] = json.loads(line)
    return read


def test_a_line_is_one_json_object(output: io.StringIO) -> None:
    line = _log(output, "stored %d", 5, extra={"tenant": "acme"})
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "part": "ingest",
        "logger": "sluice.test",
        "message": "stored 5",
        "tenant": "acme",
    }


def test_line_ends_in_a_message_do_not_make_two_lines(output: io.StringIO) -> None:
    assert _log(output, "a\nb\u2028c\x85")["message"] == "a\nb\u2028c\x85"


def _fail(message: str) -> None:
    try:
        raise KeyError(f"inner {message}")
    except KeyError as error:
        raise ValueError(message) from error


def test_an_exception_is_its_class_and_its_places_never_its_message(output: io.StringIO) -> None:
    try:
        _fail(_SECRET)
    except ValueError:
        line = _log(output, "failed", exc_info=True)
    assert line["error"] == "ValueError"
    assert any(place.startswith("test_core_telemetry.py:") and place.endswith(" _fail") for place in line["at"])
    assert _SECRET not in output.getvalue()


def test_our_own_errors_are_sentences_and_are_printed(output: io.StringIO) -> None:
    error = BrokerFull("the stream is at its limit")
    assert _log(output, "failed", exc_info=error)["error"] == "BrokerFull: the stream is at its limit"


def test_exc_info_without_an_exception_is_fine(output: io.StringIO) -> None:
    assert "error" not in _log(output, "failed", exc_info=True)


def test_a_task_that_failed_unseen_does_not_print_its_message(output: io.StringIO) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(asyncio.sleep(0))
        await task
        error = ValueError(_SECRET)
        failed: asyncio.Future[None] = loop.create_future()
        failed.set_exception(error)
        loop.call_exception_handler(
            {"message": "Task exception was never retrieved", "exception": error, "future": failed}
        )
        assert failed.exception() is error

    asyncio.run(main())
    [line] = output.getvalue().splitlines()
    assert json.loads(line)["error"] == "ValueError"
    assert _SECRET not in line


@pytest.mark.parametrize(
    "value", [object(), ValueError(_SECRET), {1, 2}, b"\xff", float("nan"), 2**70, "\ud800", {"a": object()}]
)
def test_a_field_that_json_cannot_hold_loses_no_line(
    output: io.StringIO, capsys: pytest.CaptureFixture[str], value: object
) -> None:
    assert _log(output, "failed", extra={"field": value})["message"] == "failed"
    assert _SECRET not in output.getvalue() + capsys.readouterr().err


@given(st.text(), st.dictionaries(st.sampled_from(["tenant", "error", "count"]), st.text() | st.integers()))
def test_any_text_makes_a_line(message: str, fields: dict[str, Any]) -> None:
    record = logging.LogRecord("n", logging.INFO, "p", 1, message, None, None)
    vars(record).update(fields)
    line = JsonFormatter("worker").format(record)
    assert "\n" not in line
    json.loads(line)


def test_only_our_own_errors_describe_themselves() -> None:
    assert describe(ValueError(_SECRET)) == "ValueError"
    assert describe(StoreUnavailable("the database did not answer")) == (
        "StoreUnavailable: the database did not answer"
    )


def test_places_are_bounded(output: io.StringIO) -> None:
    def deeper(levels: int) -> None:
        if levels == 0:
            raise RuntimeError(_SECRET)
        deeper(levels - 1)

    try:
        deeper(100)
    except RuntimeError:
        assert len(_log(output, "failed", exc_info=sys.exc_info())["at"]) <= 8
