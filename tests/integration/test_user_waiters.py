"""Waiters of the user's own folder: said at the start where they are wrong, and waited by where they are right."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws import FakeAws
from tests.support.servers import REPOSITORY
from triggerd.aws.local import open_aws
from triggerd.errors import WaiterDefinitionError, WaiterFailedError
from triggerd.trigger import WaitResponse

STATE = "flowExecutions[?executionId=='{{ EXECUTION_ID }}'].executionStatus | [0]"
EXPECTED = {"Successful": "success", "Error": "failure", "Canceled": "failure", "InProgress": "retry"}
RUN_DONE = {
    "operation": "DescribeFlowExecutionRecords",
    "delay": 0.05,
    "maxAttempts": 100,
    "acceptors": [
        {"matcher": "path", "argument": STATE, "expected": value, "state": state} for value, state in EXPECTED.items()
    ],
}


def write(folder: Path, service: str, **waiters: Any) -> Path:
    path = folder / f"{service}.json"
    path.write_text(json.dumps({"version": 2, "waiters": waiters}))
    return path


def env(folder: Path) -> dict[str, str]:
    return {"TRIGGERD_AWS__WAITER_FOLDERS": str(folder), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


def triggerd(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "triggerd", *arguments], capture_output=True, text=True, timeout=60, cwd=REPOSITORY,
        env=env(folder), check=False,
    )  # fmt: skip


def test_a_daemon_starts_with_a_warning_for_each_waiter_that_cannot_be_used(redis_url: str, tmp_path: Path) -> None:
    path = write(tmp_path, "appflow", run_done=RUN_DONE, broken={**RUN_DONE, "delay": "soon"})
    with DaemonProcess(redis_url, env=env(tmp_path)) as daemon:
        lines = [line["found"] for line in daemon.log_records() if line.get("about") == "waiters"]
    assert lines[0] == f"{path}: broken: delay = 'soon': must be a number of seconds above 0"
    assert lines[1].startswith(f"{path}: run_done: acceptors: no acceptor expects 'CancelStarted' of flowExecutions")
    assert len(lines) == 2


@pytest.mark.parametrize("broken", [True, False])
def test_a_daemon_does_not_start_with_a_file_or_folder_that_it_cannot_read(
    redis_url: str, tmp_path: Path, broken: bool
) -> None:
    folder = tmp_path if broken else tmp_path / "none"
    (tmp_path / "glue.json").write_text('{"version": 2, "waiters": {"a": {}, "a": {}}}')
    done = triggerd("run", "--redis", redis_url, "--http-port", "0", folder=folder)
    wanted = f"{folder}/glue.json: not JSON: key 'a' is there twice: " if broken else f"{folder} is not a folder: "
    assert (done.returncode, done.stderr.splitlines()[-1].startswith(f"triggerd: aws.waiter_folders: {wanted}")) == (
        2,
        True,
    )


def test_the_doctor_says_what_the_start_would_say(redis_url: str, tmp_path: Path) -> None:
    write(tmp_path, "appflow", broken={**RUN_DONE, "delay": "soon"})
    done = triggerd("doctor", "--redis", redis_url, "--json", folder=tmp_path)
    assert done.returncode == 0
    [found] = [finding for finding in json.loads(done.stdout) if finding["about"] == "waiters"]
    assert (found["level"], found["found"].endswith("must be a number of seconds above 0")) == ("warn", True)
    (tmp_path / "glue.json").write_text("{")
    assert triggerd("doctor", "--redis", redis_url, folder=tmp_path).returncode == 1


async def test_two_runs_of_one_flow_are_told_apart_by_their_parameters(tmp_path: Path) -> None:
    """Both waits share each call: its answer has every run of the flow."""
    write(tmp_path, "appflow", run_done=RUN_DONE)
    going = {"flowExecutions": [{"executionId": f"e-{n}", "executionStatus": "InProgress"} for n in (1, 2)]}
    ended = {
        "flowExecutions": [
            {"executionId": "e-2", "executionStatus": "Canceled"},
            {"executionId": "e-1", "executionStatus": "Successful"},
        ]
    }
    async with FakeAws("appflow") as fake, open_aws(fake.settings(waiter_folders=(str(tmp_path),))) as aws:
        fake.script("DescribeFlowExecutionRecords", going, going, ended)

        def run(execution: str) -> Coroutine[Any, Any, WaitResponse]:
            return aws.wait("appflow", "run_done", {"flowName": "f"}, parameters={"EXECUTION_ID": execution})

        both = [asyncio.create_task(run(execution)) for execution in ("e-1", "e-2")]
        await asyncio.wait(both)
        succeeded, cancelled = both[0].result(), both[1].exception()
        assert (succeeded.last_status, succeeded.polls) == ("Successful", 3)
        assert isinstance(cancelled, WaiterFailedError)
        assert str(cancelled).endswith("[?executionId=='e-2'].executionStatus | [0] is Canceled")
        assert fake.calls.total() == 3
        for parameters in (None, {}, {"EXECUTION_ID": "e' || 'e"}, {"EXECUTIONID": "e"}):
            with pytest.raises(WaiterDefinitionError, match="waiter appflow run_done: parameters"):
                await aws.wait("appflow", "run_done", {"flowName": "f"}, parameters=parameters)
        assert fake.calls.total() == 3, "nothing is asked for what cannot be waited for"


async def test_a_parameter_is_given_at_a_shell(tmp_path: Path) -> None:
    write(tmp_path, "appflow", run_done=RUN_DONE)
    wait = ("wait", "appflow", "run_done", "flowName=f", "--region", "us-east-1")
    async with FakeAws("appflow") as fake:
        answer = {"flowExecutions": [{"executionId": "e=1", "executionStatus": "Successful"}]}
        fake.script("DescribeFlowExecutionRecords", answer)
        arguments = (*wait, "--endpoint-url", fake.url, "--parameter", "EXECUTION_ID=e=1")
        done = await asyncio.to_thread(triggerd, *arguments, folder=tmp_path)
        assert (done.returncode, done.stdout.endswith("1 poll, status Successful\n")) == (0, True), done.stderr
    done = await asyncio.to_thread(triggerd, *wait, folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "triggerd: waiter appflow run_done: parameters: EXECUTION_ID missing\n",
    )
