"""`sluice up`: starting, being used, surviving, stopping."""

import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from cli.commands import Stack, Started, eventually, sluice

LINE = "User 555-0199 accessed from IP 192.168.1.100"


def test_a_line_sent_by_the_printed_curl_is_read_back_redacted_and_ctrl_c_leaves_nothing_running(
    own_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = own_stack()
    output = stack.up.output
    assert all(f" {part}" in output for part in ("nats-server", "mongod", "ingest", "worker-standard"))
    assert output.count("ready  ") == 4
    url = re.search(r"^curl -sS (\S+)", output, re.MULTILINE)
    key = re.search(r"Authorization: Bearer (slk_\w+)", output)
    body = re.search(r"-d '(.*)'", output)
    assert url
    assert key
    assert body
    answer = httpx.post(
        url[1], content=body[1], headers={"Authorization": f"Bearer {key[1]}", "Content-Type": "application/json"}
    )
    assert answer.status_code == 202
    eventually(lambda: stack.stored("demo"))
    [stored] = stack.logs("demo")
    assert stored["modified_data"] == "User [REDACTED] accessed from IP [REDACTED]"
    assert "original_text" not in stored
    assert "User [REDACTED] accessed from IP [REDACTED]" in stack.run("logs", "demo")
    children = [psutil.Process(pid) for pid in stack.endpoints["pids"].values()]

    assert stack.end(signal.SIGINT) == 0
    assert "Stopping" in stack.up.output
    assert "Stopped" in stack.up.output
    assert not any(child.is_running() for child in children)
    assert not (stack.data / "endpoints.json").exists()

    # Data, tenants and keys outlive it.
    again = own_stack()
    assert [line["log_id"] for line in again.logs("demo")] == [answer.json()["log_id"]]
    assert again.endpoints["tenants"]["demo"]["key"] == key[1]
    assert again.end(signal.SIGTERM) == 0


def test_a_killed_ingest_is_started_again_and_its_new_pid_is_in_endpoints(stack: Stack) -> None:
    before = stack.endpoints["pids"]
    psutil.Process(before["ingest"]).kill()
    eventually(lambda: stack.endpoints["pids"]["ingest"] != before["ingest"])
    now = stack.endpoints["pids"]
    assert now == {**before, "ingest": now["ingest"]}
    eventually(lambda: answers(stack))
    eventually(lambda: f"ingest was started again, now with pid {now['ingest']}" in stack.up.output)


def answers(stack: Stack) -> bool:
    try:
        return stack.post("demo", "after the restart").status_code == 202
    except httpx.TransportError:
        return False


def test_a_second_stack_on_the_same_data_is_refused_and_the_first_goes_on_undisturbed(stack: Stack) -> None:
    sentence = stack.fail("up", "--port", 0)
    assert "another Sluice" in sentence
    assert stack.endpoints["ingest"]


def test_a_port_in_use_is_said_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = sluice("up", "--port", port, "--data", tmp_path / "data", cwd=tmp_path)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    mine = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info["cmdline"])]
    assert not mine


def test_without_authentication_a_tenant_is_made_by_the_first_record_that_names_it(
    own_stack: Callable[..., Stack],
) -> None:
    stack = own_stack("--auth", "none")
    assert "Authorization" not in stack.up.output

    def taken() -> bool:
        # On a machine with something else to do it may take longer than a request may.
        body = {"tenant_id": "fresh", "log_id": "first", "text": LINE}
        answer = httpx.post(f"{stack.endpoints['ingest']}/ingest", json=body, timeout=20)
        if answer.status_code == 503:
            assert answer.json()["code"] == "provisioning_failed", answer.text
            time.sleep(int(answer.headers["Retry-After"]))
            return False
        assert answer.status_code == 202, answer.text
        return True

    eventually(taken, 30)
    eventually(lambda: "fresh" in stack.endpoints["tenants"])
    eventually(lambda: stack.stored("fresh"))
    assert stack.logs("fresh")[0]["modified_data"].count("[REDACTED]") == 2
    # `send` needs no key either, also for a tenant that nobody has heard of.
    assert stack.ask("send", "-", "--tenant", "fresher", stdin="one\ntwo\n")["accepted"] == 2


def test_ctrl_c_while_starting_ends_it_without_a_traceback(start: Callable[..., Started], tmp_path: Path) -> None:
    up = start("up", "--port", 0, "--data", tmp_path / "data")
    up.wait_for("are starting")
    assert up.end(signal.SIGINT) == 130
    assert "Traceback" not in up.output


def test_tenants_of_a_file_are_there_when_it_is_ready_and_a_wrong_file_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tenant.yaml"
    file.write_text("apiVersion: sluice.dev/v1alpha1\nkind: Tenant\nmetadata: {name: a}\nspec: {lane: Fast}\n")
    done = sluice("up", "--data", tmp_path / "data", "-f", file)
    assert done.returncode == 1
    assert "tenant.yaml" in done.stderr
    assert "lane" in done.stderr
    assert not (tmp_path / "data").exists()
