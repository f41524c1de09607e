"""`sluice demo`: ends by itself, and its exit code can be believed."""

import json
from pathlib import Path

import psutil

from cli.commands import sluice


def processes_in(directory: Path) -> list[str]:
    """The programs that run with something of the directory on their command line."""
    found = psutil.process_iter(["name", "cmdline"])
    return [one.info["name"] for one in found if any(str(directory) in word for word in one.info["cmdline"] or ())]


def test_the_sample_is_stored_redacted_as_labelled_and_the_exit_code_is_0(tmp_path: Path) -> None:
    done = sluice("demo", "--json", cwd=tmp_path, variables={"TMPDIR": str(tmp_path)})
    assert processes_in(tmp_path) == []
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert not report["failures"]
    assert set(report["tenants"]) == {"demo-blue", "demo-green"}
    for tenant in report["tenants"].values():
        assert tenant["accepted"] == tenant["stored"] == 210
        assert tenant["refused"] == {}
        assert tenant["dead_letters"] == 0
        assert tenant["redactions"]["email"] == 30
    assert 0 < report["accept_to_store_seconds"]["p50"] <= report["accept_to_store_seconds"]["p99"]
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_directory_are_sent_refused_lines_are_shown_and_kept_data_starts_again(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    (logs / "a.log").write_bytes(b"same line\nsame line\nnot \xff utf-8\n\n")
    (logs / "deep" / "b.log").write_text("same line")
    (logs / "LICENSE").write_text("not a log\n")
    done = sluice("demo", logs, "--keep", tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    assert "LICENSE" in done.stderr
    row = next(line for line in done.stdout.splitlines() if "demo-blue" in line)
    assert row.split()[:5] == ["demo-blue", "3", "invalid_text", "1", "3"]
    assert (tmp_path / "kept" / "mongod").is_dir()


def test_a_directory_without_logs_is_wrong_usage(tmp_path: Path) -> None:
    done = sluice("demo", tmp_path)
    assert done.returncode == 2
    assert "*.log" in done.stderr
