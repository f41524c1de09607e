"""`sluice send`: every line once, whatever happens on the way."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from cli.commands import Stack, Started, eventually, sluice


def write_lines(path: Path, count: int) -> Path:
    path.write_text("".join(f"line {number} of this file\n" for number in range(count)))
    return path


def test_what_is_sent_twice_is_stored_once(stack: Stack, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "app.log", 1200)
    for _ in range(2):
        assert stack.ask("send", file, "--tenant", "send-twice", "--batch", 100)["accepted"] == 1200
    eventually(lambda: stack.stored("send-twice") == 1200)
    texts = [line["modified_data"] for line in stack.logs("send-twice")]
    assert len(texts) == len(set(texts)) == 1200


def test_an_interrupted_send_goes_on_where_it_was_and_stores_nothing_twice(
    stack: Stack, start: Callable[..., Started], tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "app.log", 400)
    arguments = ["send", file, "--tenant", "send-resume", "--resume", "--data", stack.data]
    first = start(*arguments, "--rate", 100)
    state = tmp_path / "app.log.sluice-progress"
    eventually(lambda: state.exists() and json.loads(state.read_bytes())["offset"] > 500)
    assert first.end(signal.SIGINT) == 130
    assert "Traceback" not in first.output

    second = stack.ask("send", file, "--tenant", "send-resume", "--resume")
    assert 500 < second["resumed_at"] < file.stat().st_size
    assert second["offset"] == file.stat().st_size
    assert second["accepted"] < 400
    eventually(lambda: stack.stored("send-resume") == 400)
    assert stack.ask("send", file, "--tenant", "send-resume", "--resume")["accepted"] == 0

    with file.open("a") as more:
        more.write("one more line\n")
    assert stack.ask("send", file, "--tenant", "send-resume", "--resume")["accepted"] == 1
    file.write_text("another file by now\n" * 1000)
    assert "another file" in stack.fail("send", file, "--tenant", "send-resume", "--resume")


def test_ingest_dying_under_a_send_costs_no_line_and_doubles_none(
    stack: Stack, start: Callable[..., Started], tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "app.log", 600)
    sending = start("send", file, "--tenant", "send-crash", "--data", stack.data, "--rate", 300)
    eventually(lambda: stack.stored("send-crash") > 0)
    psutil.Process(stack.endpoints["pids"]["ingest"]).kill()
    assert sending.process.wait(60) == 0, sending.output
    eventually(lambda: "600 lines accepted, 0 rejected" in sending.output)
    assert "trying again" in sending.output
    eventually(lambda: stack.stored("send-crash") == 600)


def test_lines_that_cannot_be_accepted_are_counted_by_reason_and_the_others_are_in(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "app.log"
    good = [f"good {number}".encode() for number in range(100)]
    file.write_bytes(b"\r\n".join([b"x" * 200, b"not \xff utf-8", b"", *good, b"y" * 2_000_000, b"last"]))
    printed = stack.ask("send", file, "--tenant", "send-refused", code=1)
    assert printed["accepted"] == 101
    assert printed["reasons"] == {"record_too_large": 2, "invalid_text": 1}
    assert printed["blank"] == 1
    assert "record_too_large 2" in stack.fail("send", file, "--tenant", "send-refused")
    eventually(lambda: stack.stored("send-refused") == 101)
    assert {line["modified_data"] for line in stack.logs("send-refused")} >= {"good 0", "good 99", "last"}


def test_a_stream_is_sent_as_it_comes(stack: Stack) -> None:
    assert "3 lines accepted" in stack.run("send", "-", "--tenant", "send-stream", stdin="one\ntwo\nthree")
    eventually(lambda: stack.stored("send-stream") == 3)


def test_another_tenants_key_and_a_missing_tenant_are_said_in_a_sentence(stack: Stack, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "app.log", 1)
    key = stack.endpoints["tenants"]["demo"]["key"]
    assert "belongs to another tenant" in stack.fail("send", file, "--tenant", "send-other", "--key", key)
    assert "no key for tenant nobody" in stack.fail("send", file, "--tenant", "nobody")
    assert "no stack is ready" in sluice("send", file, "--tenant", "demo", "--data", tmp_path).stderr
    assert "not an http" in stack.fail("send", file, "--tenant", "demo", "--url", "ftp://x", "--key", key)


def test_the_key_may_come_from_the_environment(stack: Stack) -> None:
    key = stack.endpoints["tenants"]["send-env"]["key"]
    url = stack.endpoints["ingest"]
    done = sluice("send", "-", "--tenant", "send-env", "--url", url, stdin="one\n", variables={"SLUICE_KEY": key})
    assert done.returncode == 0, done.stderr
    assert key not in done.stdout + done.stderr


class _Moody(BaseHTTPRequestHandler):
    answers: ClassVar[list[tuple[int, dict[str, str], dict[str, Any]]]]
    seen: ClassVar[list[tuple[str | None, bytes]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.headers["Idempotency-Key"], body))
        status, headers, answer = self.answers.pop(0)
        encoded = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(encoded))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def moody() -> Iterator[str]:
    """A server that answers as `_Moody.answers` says; its URL."""
    _Moody.answers, _Moody.seen = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Moody)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_retry_is_the_same_request_again(moody: str) -> None:
    _Moody.answers = [
        (503, {"Retry-After": "1"}, {"code": "broker_full", "retryable": True}),
        (429, {}, {"code": "quota", "retryable": True}),
        (502, {}, {}),
        (202, {}, {"accepted": 2}),
    ]
    done = sluice("send", "-", "--tenant", "t", "--url", moody, "--key", "k", "--json", stdin="one\ntwo\n")
    assert json.loads(done.stdout)["accepted"] == 2, done.stderr
    assert len(_Moody.seen) == 4
    assert len(set(_Moody.seen)) == 1
    assert _Moody.seen[0][0]


def test_a_server_that_never_takes_it_is_given_up_and_one_that_is_no_ingest_at_once(moody: str) -> None:
    _Moody.answers = [(503, {}, {"code": "draining", "retryable": True})] * 50
    arguments = ["send", "-", "--tenant", "t", "--url", moody, "--key", "k"]
    done = sluice(*arguments, "--timeout", 0.5, stdin="one\n")
    assert done.returncode == 1
    assert "gave up after 0.5 s" in done.stderr
    assert "draining" in done.stderr
    _Moody.answers = [(404, {}, {})]
    done = sluice(*arguments, stdin="one\n")
    assert done.returncode == 1
    assert "no Sluice ingest" in done.stderr
