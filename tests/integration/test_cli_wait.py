"""`triggerd wait` and `triggerd waiters` as somebody at a shell uses them, against moto; each exit status."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import boto3
import pytest

from tests.support.command import triggerd
from tests.support.servers import REPOSITORY
from triggerd.data import data_path


@pytest.fixture
def redshift(moto_url: str) -> Iterator[Any]:
    client = boto3.client("redshift", endpoint_url=moto_url)
    client.create_cluster(
        ClusterIdentifier="dwh", NodeType="ra3.large", MasterUsername="u", MasterUserPassword="Pw123456"
    )
    yield client
    client.close()


def wait(moto_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return triggerd("wait", *arguments, "--endpoint-url", moto_url)


def test_success_is_exit_0(moto_url: str, redshift: Any) -> None:
    done = wait(moto_url, "redshift", "cluster_available", "ClusterIdentifier=dwh")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"success after \d s, 1 poll, status available\n", done.stdout)
    assert "\x1b" not in done.stdout + done.stderr, "no colour off a terminal"


def test_a_state_that_changes_is_told_and_ends_the_wait(moto_url: str, redshift: Any) -> None:
    arguments = ("redshift", "cluster_paused", "ClusterIdentifier=dwh", "--delay", "100ms", "--endpoint-url", moto_url)
    with subprocess.Popen(
        [sys.executable, "-m", "triggerd", "wait", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=REPOSITORY,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert re.fullmatch(r"\d s, 1 poll, available\n", process.stderr.readline())
        redshift.pause_cluster(ClusterIdentifier="dwh")
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert re.fullmatch(r"\d s, \d+ polls, paused\n", err)
    assert re.fullmatch(r"success after \d s, \d+ polls, status paused\n", out)


def test_a_terminal_state_that_is_not_the_wanted_one_is_exit_1(moto_url: str) -> None:
    role = "arn:aws:iam::123456789012:role/any"
    definition = '{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": true}}}'
    client = boto3.client("stepfunctions", endpoint_url=moto_url)
    machine = client.create_state_machine(name="nightly", definition=definition, roleArn=role)["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine)["executionArn"]
    client.stop_execution(executionArn=execution)
    client.close()
    done = wait(moto_url, "stepfunctions", "execution_complete", f"executionArn={execution}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "0 s, 1 poll, ABORTED",
        "failure: stepfunctions execution_complete: status is ABORTED",
    ]


def test_an_error_that_the_waiter_calls_a_failure_is_exit_1(moto_url: str, redshift: Any) -> None:
    done = wait(moto_url, "redshift", "cluster_paused", "ClusterIdentifier=gone", "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["outcome"] == "failure"
    assert result["aws_code"] == "ClusterNotFound"
    assert result["polls"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["redshif", "cluster_paused"], "redshift"),
        (["redshift", "cluster_pawsed"], "did you mean 'cluster_paused'"),
        (["redshift", "cluster_paused", "clusteridentifier=dwh"], "did you mean 'ClusterIdentifier'"),
        (["redshift", "cluster_paused", "dwh"], "'dwh' is no KEY=VALUE, such as ClusterIdentifier=..."),
        (["redshift", "cluster_paused", "MaxRecords=many"], "MaxRecords=many: an integer is expected"),
        (["redshift", "cluster_paused", "ClusterIdentifier=a", "ClusterIdentifier=b"], "given 2 times"),
        (["glue", "job_complete", "JobName=etl"], "GetJobRun needs RunId"),
        (["redshift", "cluster_paused", "--timeout", "soon"], "'soon' is no duration"),
        (["redshift", "cluster_paused", "--connection", "finanse"], "finanse"),
        (["redshift", "cluster_paused", "--connection", "finanse", "--profile", "x"], "finanse"),
        (["redshift", "cluster_paused", "--status-query", "Clusters["], "Invalid jmespath"),
        (["ec2", "instance_running", "InstanceIds=[1]"], "Invalid type for parameter InstanceIds[0]"),
        (["redshift"], "Missing argument 'WAITER'"),
    ],
)
def test_usage_is_exit_2_and_says_the_way_out(arguments: list[str], words: str) -> None:
    done = triggerd("wait", *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("triggerd: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("limit", [["--timeout", "2s"], ["--delay", "100ms", "--max-attempts", "2"]])
def test_a_time_out_and_a_budget_used_up_are_exit_3(moto_url: str, redshift: Any, limit: list[str]) -> None:
    done = wait(moto_url, "redshift", "cluster_paused", "ClusterIdentifier=dwh", "--json", *limit)
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["status"]) == ("timed_out", "available")
    assert result["polls"] >= 1


def test_an_aws_error_that_no_acceptor_expects_is_exit_4(moto_url: str) -> None:
    done = wait(moto_url, "stepfunctions", "execution_complete", "executionArn=not-an-arn")
    assert done.returncode == 4, done.stderr
    assert "InvalidArn" in done.stderr


def test_missing_credentials_are_exit_4_at_once() -> None:
    done = triggerd("wait", "redshift", "cluster_paused", env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
    assert done.returncode == 4, done.stderr
    assert "credentials" in done.stderr.lower()


def test_a_network_that_is_away_is_waited_through_until_the_time_out() -> None:
    arguments = ("redshift", "cluster_paused", "--endpoint-url", "http://127.0.0.1:1", "--timeout", "1s")
    done = triggerd("wait", *arguments)
    assert done.returncode == 3
    assert "Could not connect" in done.stderr
    assert "Traceback" not in done.stderr


def test_lists_and_status_queries(moto_url: str) -> None:
    done = wait(moto_url, "ecs", "services_inactive", "services=a", "services=b", "--json", "--timeout", "2s",
                "--status-query", "failures[].reason")  # fmt: skip
    result = json.loads(done.stdout)
    assert result["outcome"] in ("failure", "aws_error")


def test_off_a_terminal_each_status_is_one_plain_line(moto_url: str, redshift: Any) -> None:
    done = wait(moto_url, "redshift", "cluster_paused", "ClusterIdentifier=dwh", "--delay", "50ms", "--timeout", "2s")
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"\d s, 1 poll, available", lines[0])
    assert len(lines) == 2, "said once, however many polls"
    assert re.fullmatch(
        r"timed out: redshift cluster_paused: still available after \d+ polls, --timeout of 2 s passed", lines[1]
    )
    assert (
        wait(moto_url, "redshift", "cluster_paused", "ClusterIdentifier=dwh", "--timeout", "200ms", "--quiet").stdout
        == ""
    )


class Terminal:
    """`triggerd wait` with a terminal of so many columns around it."""

    def __init__(self, *arguments: str, columns: int = 80, env: Mapping[str, str] | None = None) -> None:
        self.fd, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "triggerd", "wait", *arguments], stdin=follower, stdout=follower, stderr=follower,
            cwd=REPOSITORY, start_new_session=True, env=os.environ | {"TERM": "xterm"} | dict(env or {}),
        )  # fmt: skip
        os.close(follower)
        self.seen = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def read(self, until: str | None = None, deadline_s: float = 20) -> str:
        """What the terminal showed so far, up to `until` or to the command's end."""
        end_s = time.monotonic() + deadline_s
        while (until is None or until not in self.seen) and time.monotonic() < end_s:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode()
                except OSError:  # Linux's way to say that the other end is closed
                    break
        return self.seen


def test_on_a_terminal_one_line_is_rewritten_and_ctrl_c_is_exit_130(moto_url: str, redshift: Any) -> None:
    arguments = ("redshift", "cluster_paused", "ClusterIdentifier=dwh", "--endpoint-url", moto_url)
    with Terminal(*arguments) as terminal:
        terminal.read(until="next poll in")
        terminal.read(until="\r\x1b[K1 s, 1 poll, available, next poll in")
        terminal.process.send_signal(signal.SIGINT)
        seen = terminal.read()
        assert terminal.process.wait(10) == 130
    assert re.search(r"\r\x1b\[K[01] s, 1 poll, available, next poll in \d+ s\r", seen)
    assert re.search(r"\r\x1b\[Kinterrupted: \d s, 1 poll, available\r\n$", seen), "the line is gone"
    assert "Traceback" not in seen


def test_the_live_line_tells_of_trouble_and_never_wraps() -> None:
    arguments = ("redshift", "cluster_paused", "--endpoint-url", "http://127.0.0.1:1", "--timeout", "2s")
    with Terminal(*arguments, columns=60) as terminal:
        seen = terminal.read()
        assert terminal.process.wait(10) == 3
    drawn = seen.split("\r\x1b[K")
    assert any("0 polls, no status yet, next poll in" in line and "(Endpoint" in line for line in drawn)
    assert max(map(len, drawn[:-1])) == 59, "cut to the terminal"
    assert "Could not connect" in drawn[-1], "the last line says it all"


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_only_where_they_are_wanted(moto_url: str, redshift: Any, no_color: str) -> None:
    arguments = ("redshift", "cluster_available", "ClusterIdentifier=dwh", "--endpoint-url", moto_url)
    with Terminal(*arguments, env={"NO_COLOR": no_color}) as terminal:
        seen = terminal.read()
        assert terminal.process.wait(10) == 0
    success = "success" if no_color else "\x1b[32msuccess\x1b[0m"
    assert re.search(re.escape(f"\r\x1b[K{success}") + r" after \d s, 1 poll, status available\r\n$", seen)


def test_waiters_are_listed_shown_and_checked(tmp_path: Path) -> None:
    listed = json.loads(triggerd("waiters", "ls", "--json").stdout)
    assert len(listed) > 400
    assert {"botocore", "shipped"} == {row["source"] for row in listed}
    assert "cluster_paused" in triggerd("waiters", "ls", "redshift").stdout
    shown = triggerd("waiters", "show", "glue", "job_complete").stdout
    assert "with others of its kind by GetJobRuns, all in one call" in shown
    assert "triggerd wait glue job_complete JobName=... RunId=..." in shown
    assert re.search(r'success +path +JobRun.JobRunState +"SUCCEEDED"', shown)
    assert re.search(r"RunId +string +required", shown)
    assert json.loads(triggerd("waiters", "show", "glue", "job_complete", "--json").stdout)["operation"] == "GetJobRun"
    assert triggerd("waiters", "check", str(data_path("waiters"))).returncode == 0
    wrong = tmp_path / "glue.json"
    wrong.write_text(
        '{"version": 2, "waiters": {"mine": {"operation": "GetJobRnu", "delay": 1, "maxAttempts": 1, "acceptors": []}}}'
    )
    done = triggerd("waiters", "check", str(wrong), "--json")
    assert done.returncode == 1
    assert "GetJobRun" in json.dumps(json.loads(done.stdout))
    assert triggerd("waiters", "show", "glue", "job_compleet").returncode == 2
    unknown = triggerd("waiters", "ls", "gleu")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "did you mean 'glue'" in unknown.stderr


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "redshift.json").write_text((data_path("waiters") / "redshift.json").read_text())
    env = {"TRIGGERD_AWS__WAITER_FOLDERS": str(tmp_path)}
    listed = json.loads(triggerd("waiters", "ls", "redshift", "--json", env=env).stdout)
    assert {row["source"] for row in listed if row["waiter"] == "cluster_paused"} == {"user"}
    assert triggerd("waiters", "check", env=env).stdout == "1 file checked, nothing wrong\n"
    nothing = triggerd("waiters", "check", env={"TRIGGERD_AWS__WAITER_FOLDERS": str(tmp_path / "..")})
    assert nothing.returncode == 2
    assert triggerd("waiters", "check").returncode == 2, "no folder is configured, none is named"
