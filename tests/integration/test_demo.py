"""The demo, small, as `make demo` runs it: what it shows, that it fails when it must, that it leaves nobody behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import REPOSITORY

_JOBS = 40
# What somebody may have set for work of their own: the demo must not care.
_ELSEWHERE = {
    "AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "TRIGGERD_QUEUES": "other",
    "TRIGGERD_REDIS__URL": "redis://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": "",
}  # fmt: skip
_PID = re.compile(r"^  (\w+) is process (\d+)$")


@contextmanager
def _demo(folder: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """A demo that puts its temporary files under `folder`; it is told to end where the test fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo", "--jobs", str(_JOBS), *options],
        cwd=REPOSITORY, env={**os.environ, **_ELSEWHERE, "TMPDIR": str(folder)}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.terminate()


def _processes_until(process: "subprocess.Popen[str]", line: str) -> dict[str, int]:
    """The demo's processes by name, read from what it says until it says `line`."""
    assert process.stdout is not None
    pids = {}
    for said in process.stdout:
        if found := _PID.match(said):
            pids[found[1]] = int(found[2])
        if line in said:
            return pids
    raise AssertionError(f"the demo never said {line!r}")


def _still_there(pids: dict[str, int]) -> list[str]:
    found = []
    for name, pid in pids.items():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        found.append(name)
    return found


@pytest.mark.deadline(150)
def test_the_demo_resumes_every_task_once_and_shows_the_table(tmp_path: Path) -> None:
    with _demo(tmp_path) as demo:
        pids = _processes_until(demo, "started ")
        out, err = demo.communicate()
    assert demo.returncode == 0, out + err
    assert set(pids) == {"valkey", "moto", "daemon", "resumer", "worker"}
    table = {line.split()[0]: line.split()[1:] for line in out.splitlines() if re.match(r"\w+ +\d+ +\d+", line)}
    assert list(table) == ["ecs", "glue", "stepfunctions", "s3", "athena", "redshift", "all"]
    assert table["all"][:2] == ["40", "40"]
    failed = {service for service, cells in table.items() if cells[2] != "0"}
    assert failed == {"stepfunctions", "s3", "athena", "all"}
    calls, unshared = (int(cell.replace(",", "")) for cell in table["s3"][3:5])
    assert calls < unshared, "waits for one object share their polls"
    assert out.rstrip().endswith("OK: all 40 tasks were resumed, each event exactly once, with the right payload.")
    assert "\x1b" not in out, "no colour and no moving line on a pipe"
    assert _still_there(pids) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.deadline(150)
def test_the_demo_fails_when_one_resumption_is_missing(tmp_path: Path) -> None:
    with _demo(tmp_path, "--json", "--sabotage", "lose") as demo:
        out, err = demo.communicate()
    report = json.loads(out)
    assert demo.returncode == 1, err
    assert report["ok"] is False
    (problem,) = report["problems"]
    assert "was never resumed" in problem
    assert "the last lines of the daemon" in err


@pytest.mark.parametrize(("killed", "status"), [("daemon", 1), ("resumer", 1), ("", 130)])
def test_a_demo_that_ends_early_leaves_nothing_behind(tmp_path: Path, killed: str, status: int) -> None:
    with _demo(tmp_path) as demo:
        pids = _processes_until(demo, "started ")
        if killed:
            os.kill(pids[killed], signal.SIGKILL)
        else:  # Ctrl-C, twice
            demo.send_signal(signal.SIGINT)
            demo.send_signal(signal.SIGINT)
        out, err = demo.communicate()
    assert demo.returncode == status, out + err
    assert "the last lines of the daemon" in out
    assert (f"the {killed} ended with status -9" if killed else "Interrupted") in err
    assert _still_there(pids) == []
    assert list(tmp_path.iterdir()) == []
