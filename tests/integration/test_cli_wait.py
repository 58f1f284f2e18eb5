"""`triggerd wait` and `triggerd waiters` as somebody at a shell uses them, against moto; each exit status."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_a_failure_state_is_exit_1(moto_url: str, redshift: Any) -> None:
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
        (["redshift"], "Missing argument 'WAITER'"),
    ],
)
def test_usage_is_exit_2_and_says_the_way_out(arguments: list[str], words: str) -> None:
    done = triggerd("wait", *arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("limit", [["--timeout", "300ms"], ["--delay", "100ms", "--max-attempts", "2"]])
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
    done = wait(
        moto_url, "redshift", "cluster_paused", "ClusterIdentifier=dwh", "--delay", "50ms", "--timeout", "500ms"
    )
    lines = done.stderr.splitlines()
    assert [line for line in lines if "available" in line] == lines[:1], "said once, however many polls"
    assert (
        wait(moto_url, "redshift", "cluster_paused", "ClusterIdentifier=dwh", "--timeout", "200ms", "--quiet").stdout
        == ""
    )


def test_on_a_terminal_one_line_is_rewritten_and_ctrl_c_is_exit_130(moto_url: str, redshift: Any) -> None:
    command = [sys.executable, "-m", "triggerd", "wait", "redshift", "cluster_paused", "ClusterIdentifier=dwh"]
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*command, "--endpoint-url", moto_url], stdin=follower, stdout=follower, stderr=follower, cwd=REPOSITORY,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(follower)
        seen = _read_until(leader, b"next poll in", 20)
        process.send_signal(signal.SIGINT)
        seen += _read_until(leader, None, 10)
    os.close(leader)
    assert process.returncode == 130
    assert re.search(rb"\r\x1b\[K\d s, 1 poll, available, next poll in \d+ s", seen)
    assert b"Traceback" not in seen
    assert seen.endswith(b"\r\x1b[K"), "the line is left empty"


def _read_until(fd: int, wanted: bytes | None, deadline_s: float) -> bytes:
    """What a terminal shows until `wanted` is in it, or until its other end is closed."""
    seen, end_s = b"", time.monotonic() + deadline_s
    while (wanted is None or wanted not in seen) and time.monotonic() < end_s:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                chunk = os.read(fd, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not chunk:
                break
            seen += chunk
    return seen


def test_waiters_are_listed_shown_and_checked(tmp_path: Path) -> None:
    listed = json.loads(triggerd("waiters", "ls", "--json").stdout)
    assert len(listed) > 400
    assert {"botocore", "shipped"} == {row["source"] for row in listed}
    assert "cluster_paused" in triggerd("waiters", "ls", "redshift").stdout
    shown = triggerd("waiters", "show", "glue", "job_complete").stdout
    assert "triggerd wait glue job_complete JobName=... RunId=..." in shown
    assert "success where path of JobRun.JobRunState is 'SUCCEEDED'" in shown
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


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "redshift.json").write_text((data_path("waiters") / "redshift.json").read_text())
    env = {"TRIGGERD_AWS__WAITER_FOLDERS": str(tmp_path)}
    listed = json.loads(triggerd("waiters", "ls", "redshift", "--json", env=env).stdout)
    assert {row["source"] for row in listed if row["waiter"] == "cluster_paused"} == {"user"}
