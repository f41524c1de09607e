"""Child processes: started, watched and stopped."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from sluice_local import tether
from sluice_local.errors import LocalStackError, ProcessFailedError
from sluice_local.ports import free_port
from sluice_local.probes import accepts_connections, answers_ok
from sluice_local.process import ChildProcess

Start = Callable[[str], Awaitable[ChildProcess]]

SERVE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/fine" else 503)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""
IGNORE_SIGTERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:

        async def start_python(code: str) -> ChildProcess:
            command = [sys.executable, "-c", code]
            child = await ChildProcess.start(
                "child", command, log=tmp_path / "logs" / "child.log", env={"GREETING": "hello"}
            )
            stack.push_async_callback(child.kill)
            return child

        yield start_python


async def printed(child: ChildProcess, text: str) -> None:
    async def probe() -> bool:
        return text in child.log_tail()

    await child.wait_ready(probe, 10)


async def test_all_it_prints_is_in_its_log(start: Start) -> None:
    child = await start("import os, sys; print(os.environ['GREETING']); print('trouble', file=sys.stderr)")
    assert await child.wait() == 0
    assert sorted(child.log.read_text().split()) == ["hello", "trouble"]
    assert child.log.stat().st_mode & 0o777 == 0o600


async def test_the_log_is_continued_and_its_tail_is_of_this_start_only(start: Start) -> None:
    await (await start("print('first')")).wait()
    child = await start("print('second')")
    await child.wait()
    assert child.log.read_text().split() == ["first", "second"]
    assert child.log_tail() == "second"


async def test_it_gets_exactly_the_environment_it_is_given(start: Start) -> None:
    child = await start("import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))")
    await child.wait()
    assert child.log_tail() == "['GREETING']"


async def test_it_is_ready_when_the_probe_says_so(start: Start) -> None:
    port = free_port()
    child = await start(SERVE.format(port=port))
    await child.wait_ready(accepts_connections(port), 10)
    await child.wait_ready(answers_ok(port, "/fine"), 10)
    with pytest.raises(ProcessFailedError, match="not ready after"):
        await child.wait_ready(answers_ok(port, "/sick"), 0.2)


async def test_an_early_end_fails_readiness_at_once_and_shows_the_log(start: Start) -> None:
    child = await start("print('no such database'); raise SystemExit(3)")
    begun = time.monotonic()
    with pytest.raises(ProcessFailedError, match="ended with exit code 3") as caught:
        await child.wait_ready(accepts_connections(free_port()), 60)
    assert time.monotonic() - begun < 30
    assert caught.value.log_tail == "no such database"
    assert str(child.log) in str(caught.value)


async def test_an_end_by_a_signal_is_named(start: Start) -> None:
    child = await start("import os; os.abort()")
    with pytest.raises(ProcessFailedError, match="was ended by SIGABRT"):
        await child.wait_ready(accepts_connections(free_port()), 60)


async def test_a_command_that_cannot_be_run_says_so_in_the_log(tmp_path: Path) -> None:
    child = await ChildProcess.start("child", [tmp_path / "nothing"], log=tmp_path / "log", env={})
    with pytest.raises(ProcessFailedError, match="exit code 127") as caught:
        await child.wait_ready(accepts_connections(free_port()), 10)
    assert caught.value.log_tail == f"{tmp_path}/nothing cannot be run: No such file or directory"


async def test_a_log_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="cannot be written"):
        await ChildProcess.start("child", [sys.executable], log=tmp_path, env={})


async def test_stop_lets_it_end_in_order(start: Start) -> None:
    child = await start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('goodbye'))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    await printed(child, "up")
    assert await child.stop(grace=30) == 1
    assert child.log_tail().endswith("goodbye")
    assert not child.running


async def test_stop_kills_what_does_not_end_in_time(start: Start) -> None:
    child = await start(IGNORE_SIGTERM + "time.sleep(60)")
    await printed(child, "deaf")
    assert await child.stop(grace=0.2) == -signal.SIGKILL


async def test_stop_reaches_a_process_that_was_suspended(start: Start) -> None:
    child = await start("import time; print('up', flush=True); time.sleep(60)")
    await printed(child, "up")
    child.send_signal(signal.SIGSTOP)
    assert await child.stop(grace=30) == -signal.SIGTERM


async def test_a_cancelled_stop_kills_at_once(start: Start) -> None:
    child = await start(IGNORE_SIGTERM + "time.sleep(60)")
    await printed(child, "deaf")
    stopping = asyncio.create_task(child.stop(grace=60))
    await asyncio.sleep(0.1)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert await child.wait() == -signal.SIGKILL


async def test_kill_ends_its_own_children_too(start: Start) -> None:
    child = await start(
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; print(\"grandchild\", flush=True); time.sleep(60)'])\n"
        "time.sleep(60)"
    )
    await printed(child, "grandchild")
    (grandchild,) = psutil.Process(child.pid).children()
    assert await child.kill() == -signal.SIGKILL
    grandchild.wait(timeout=10)


async def test_signals_while_it_ends_do_not_hide_how_it_ended(start: Start) -> None:
    for _ in range(10):
        child = await start("import time; print('up', flush=True); time.sleep(60)")
        await printed(child, "up")
        child.send_signal(signal.SIGTERM)
        for _ in range(500):
            child.send_signal(signal.SIGCONT)
        assert await child.wait() == -signal.SIGTERM


async def test_stopping_what_has_ended_changes_nothing(start: Start) -> None:
    child = await start("raise SystemExit(7)")
    assert await child.wait() == 7
    assert await child.stop(grace=1) == 7
    assert await child.kill() == 7


async def test_ctrl_c_on_the_terminal_does_not_reach_it(start: Start) -> None:
    child = await start("import time; print('up', flush=True); time.sleep(60)")
    await printed(child, "up")
    assert psutil.Process(child.pid).terminal() is None
    assert os.getsid(child.pid) == child.pid


async def test_usual_signal_handling_is_not_inherited_from_python(start: Start) -> None:
    child = await start("print(next(line for line in open('/proc/self/status') if line.startswith('SigIgn')))")
    await child.wait()
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25), and the C library lets nobody touch its own 32 and 33.
    beyond_reach = {13, 25, 32, 33}
    ignored = int(child.log_tail().split()[1], 16)
    assert {number for number in range(1, 65) if ignored >> (number - 1) & 1} <= beyond_reach


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends the children of a killed parent")
async def test_a_child_whose_parent_died_before_it_was_tied_never_becomes_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", tether.__file__, "999999999", "/usr/bin/touch", tmp_path / "ran"]
    orphan = await asyncio.create_subprocess_exec(*map(str, command))
    assert await orphan.wait() == 127
    assert not (tmp_path / "ran").exists()
