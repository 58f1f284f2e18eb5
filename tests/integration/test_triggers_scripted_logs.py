"""Promises of the ECS and Glue triggers, and of the logs that they copy, on scripted answers.

The numbers in brackets are those of the defects that Airflow's triggers of the same name have.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.fake_aws import Drop, FakeAws, Fault
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.event import Event
from triggerd.testing import LocalContext, run_trigger
from triggerd.triggers import beside
from triggerd.triggers.ecs import TaskDoneTrigger
from triggerd.triggers.glue import GlueJobCompleteTrigger

ARN = "arn:aws:ecs:us-east-1:1:task/etl/abc"
GONE = {"tasks": [], "failures": [{"arn": ARN, "reason": "MISSING"}]}


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("ecs", "glue", "logs") as server:
        yield server


@pytest.fixture
async def aws(fake: FakeAws) -> AsyncIterator[Aws]:
    async with open_aws(fake.settings()) as opened:
        yield opened


async def _outcome(aws: Aws, trigger: Any, **options: Any) -> Event:
    return await run_trigger(trigger, aws=aws, timeout=30, **options)


def _task(status: str, **more: Any) -> dict[str, Any]:
    return {"tasks": [{"taskArn": ARN, "lastStatus": status, **more}], "failures": []}


def _done(**change: Any) -> TaskDoneTrigger:
    logs = {"log_group": "/ecs/etl", "log_stream": "etl/main/abc"}
    return TaskDoneTrigger(**{"cluster": "etl", "task_arn": ARN, "delay": 0.05, "max_attempts": 200, **logs, **change})


def _lines(*texts: str, token: str) -> dict[str, Any]:
    events = [{"timestamp": 1_700_000_000_000 + n, "message": text, "ingestionTime": 0} for n, text in enumerate(texts)]
    return {"events": events, "nextForwardToken": token, "nextBackwardToken": "b"}


def _stream(pages: dict[str | None, dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A stream as CloudWatch gives it: by the token asked with; at the end the same token and nothing."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        token = params.get("nextToken")
        return pages.get(token) or _lines(token=str(token))

    return answer


class Copied:
    """The lines of a trigger's log that come from a remote one, as (level, text)."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level("DEBUG", "triggerd.trigger")

    def __call__(self) -> list[tuple[str, str]]:
        said = [(record.levelname, record.getMessage()) for record in self._caplog.records]
        return [(level, text.partition("line=")[2].strip("'")) for level, text in said if "remote log" in text]

    def said(self, level: str) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.levelname == level]


@pytest.fixture
def copied(caplog: pytest.LogCaptureFixture) -> Copied:
    return Copied(caplog)


# --- ECS --------------------------------------------------------------------------------------------------------


async def test_a_task_that_stopped_is_told_with_its_exit_codes_and_its_log(
    fake: FakeAws, aws: Aws, copied: Copied
) -> None:
    end = {
        "stoppedReason": "Essential container in task exited", "stopCode": "EssentialContainerExited",
        "containers": [{"name": "main", "exitCode": 3}, {"name": "sidecar"}],
    }  # fmt: skip
    fake.script("DescribeTasks", _task("PENDING"), _task("RUNNING"), _task("STOPPED", **end))
    pages = {None: _lines("begin", "ERROR: no disk", token="1"), "1": _lines(token="2"), "2": _lines("end", token="3")}
    fake.script("GetLogEvents", _stream(pages))
    event = await _outcome(aws, _done())
    assert event.payload == {"status": "success", "task_arn": ARN, "cluster": "etl"}
    assert event.details["exit_codes"] == {"main": 3, "sidecar": None}
    assert event.details["stop_code"] == "EssentialContainerExited"
    assert event.details["stopped_reason"] == "Essential container in task exited"
    assert event.details["last_status"] == "STOPPED"
    assert copied() == [("INFO", "begin"), ("ERROR", "ERROR: no disk"), ("INFO", "end")]  # behind an empty page, too


async def test_a_task_that_ecs_does_not_know_any_more_fails_and_says_so(fake: FakeAws, aws: Aws) -> None:  # [1b 10]
    fake.script("DescribeTasks", _task("RUNNING"), GONE)
    event = await _outcome(aws, _done(log_group=None))
    assert event.outcome == "failed"
    assert event.error is not None
    assert event.error.code == "waiter_failed"
    assert f"the task {ARN} is gone, or was never in cluster etl" in event.error.message


async def test_a_task_that_ecs_does_not_know_yet_is_waited_for(fake: FakeAws, aws: Aws) -> None:
    fake.script("DescribeTasks", GONE, GONE, GONE, _task("PENDING"), _task("STOPPED"))
    event = await _outcome(aws, _done(log_group=None))
    assert event.payload == {"status": "success", "task_arn": ARN, "cluster": "etl"}


async def test_a_task_that_was_seen_and_has_vanished_fails_at_once(fake: FakeAws, aws: Aws) -> None:
    fake.script("DescribeTasks", _task("RUNNING"), GONE)
    event = await _outcome(aws, _done(log_group=None))
    assert event.error is not None
    assert "is gone, or was never in cluster" in event.error.message
    assert fake.calls["DescribeTasks"] == 2


async def test_a_task_that_does_not_stop_raises_at_the_end_of_its_budget(fake: FakeAws, aws: Aws) -> None:
    fake.script("DescribeTasks", _task("RUNNING"))
    event = await _outcome(aws, _done(max_attempts=3, log_stream=""))
    assert event.error is not None
    assert event.error.code == "waiter_exhausted"
    assert "still RUNNING" in event.error.message
    assert not fake.calls["GetLogEvents"]


@pytest.mark.parametrize(
    ("trouble", "level"),
    [
        (Fault("ThrottlingException"), "DEBUG"),
        (Fault("ServiceUnavailableException", status=503), "DEBUG"),
        (Drop(), "DEBUG"),
        (Fault("ResourceNotFoundException"), "INFO"),
        (Fault("AccessDeniedException"), "WARNING"),
        (Fault("InvalidParameterException", "The specified nextToken is invalid"), "WARNING"),
    ],
)
async def test_trouble_with_the_logs_never_ends_a_wait(
    fake: FakeAws, aws: Aws, copied: Copied, monkeypatch: pytest.MonkeyPatch, trouble: Any, level: str
) -> None:  # [1c 6]
    monkeypatch.setattr(beside, "LAST_WITHIN_S", 0.5)  # the client's own retries take longer
    running = asyncio.Event()
    fake.script("DescribeTasks", lambda _: _task("STOPPED" if running.is_set() else "RUNNING"))
    fake.script("GetLogEvents", trouble)
    waiting = asyncio.create_task(_outcome(aws, _done()))
    await eventually(lambda: fake.calls["GetLogEvents"] > 2)
    running.set()
    assert (await waiting).payload["status"] == "success"
    about = [line for line in copied.said(level) if "log stream" in line]
    assert len(about) == 1 or (level == "DEBUG" and not about), "said once, not after each poll"


async def test_a_log_that_does_not_answer_neither_delays_a_poll_nor_the_event_for_long(
    fake: FakeAws, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LAST_WITHIN_S", 0.1)
    fake.script("DescribeTasks", *(_task("RUNNING"),) * 5, _task("STOPPED"))
    stuck: Any = _Stuck(aws)
    async with asyncio.timeout(10):
        assert (await _outcome(stuck, _done())).payload["status"] == "success"
    assert stuck.asked


class _Stuck:
    """AWS, but for a client of CloudWatch Logs that is never had."""

    def __init__(self, aws: Aws) -> None:
        self._aws, self.asked = aws, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aws, name)

    def client(self, *_: Any) -> Any:
        self.asked += 1
        return self

    async def __aenter__(self) -> Any:
        await asyncio.Event().wait()

    async def __aexit__(self, *_: object) -> None: ...


async def test_the_log_may_be_in_another_region(fake: FakeAws, aws: Aws) -> None:
    regions: list[Any] = []

    class Noted(_Stuck):
        def client(self, service: str, connection: str = "default", region: str | None = None) -> Any:
            regions.append((service, connection, region))
            return self._aws.client(service, connection, region)

    fake.script("DescribeTasks", _task("STOPPED"))
    fake.script("GetLogEvents", _stream({}))
    noted: Any = Noted(aws)
    await _outcome(noted, _done(log_region_name="eu-west-1", region="us-west-2"))
    await _outcome(noted, _done(region="us-west-2"))
    assert regions == [("logs", "default", "eu-west-1"), ("logs", "default", "us-west-2")]


async def test_a_log_that_never_ends_is_read_a_bounded_piece_at_a_time(fake: FakeAws, aws: Aws, copied: Copied) -> None:
    fake.script("DescribeTasks", _task("STOPPED"))
    fake.script("GetLogEvents", lambda params: _lines("x" * 9_000, token=f"{params.get('nextToken', '')}1"))
    await _outcome(aws, _done())
    assert copied() == [("INFO", "x" * 4_000)] * 5
    assert any("more of a log than one look copies" in line for line in copied.said("INFO"))
    assert {seen.params["limit"] for seen in fake.seen if seen.operation == "GetLogEvents"} == {1_000}


async def test_a_token_that_expired_is_no_end_of_the_copy(fake: FakeAws, aws: Aws, copied: Copied) -> None:
    expired = Fault("InvalidParameterException", "The specified nextToken is invalid")
    over = False
    fake.script("DescribeTasks", lambda _: _task("STOPPED" if over else "RUNNING"))
    fake.script("GetLogEvents", _lines("a", "b", token="1"), expired, _lines("b", "c", token="2"), _lines(token="2"))
    waiting = asyncio.create_task(_outcome(aws, _done()))
    await eventually(lambda: fake.calls["GetLogEvents"] > 3)
    over = True
    await waiting
    assert [line for _, line in copied()] == ["a", "b", "b", "c"]
    again = [seen.params for seen in fake.seen if seen.operation == "GetLogEvents"][2]
    assert "nextToken" not in again
    assert again["startTime"] == 1_700_000_000_001


async def test_after_a_move_the_copy_goes_on_with_the_last_line(fake: FakeAws, aws: Aws) -> None:
    over = False
    fake.script("DescribeTasks", lambda _: _task("STOPPED" if over else "RUNNING"))
    fake.script("GetLogEvents", _stream({None: _lines("a", "b", token="1")}))
    trigger = _done()
    trigger.context = context = LocalContext(aws, trigger_id="t1", deadline_ms=0, restored=None)
    moved = asyncio.ensure_future(anext(trigger.run()))
    await eventually(lambda: fake.calls["GetLogEvents"] > 3)
    moved.cancel()
    await asyncio.gather(moved, return_exceptions=True)
    assert context.checkpoints[-1][-1] == [1_700_000_000_001]

    over, fake.seen[:] = True, []
    event = await _outcome(aws, _done(), restored=context.checkpoints[-1])
    assert event.details["polls"] > 1, "the wait goes on, too"
    first = next(seen.params for seen in fake.seen if seen.operation == "GetLogEvents")
    assert first["startTime"] == 1_700_000_000_001
    assert fake.mutating == 0, "a move stops no task"
    fake.script("StopTask", {})
    await trigger.on_cancel()
    assert [(seen.operation, seen.params["task"]) for seen in fake.mutations] == [("StopTask", ARN)]


# --- Glue -------------------------------------------------------------------------------------------------------


def _run(state: str, **more: Any) -> dict[str, Any]:
    return {"JobRun": {"Id": "jr_1", "JobName": "nightly", "JobRunState": state, **more}}


def _job(**change: Any) -> GlueJobCompleteTrigger:
    return GlueJobCompleteTrigger(**{"job_name": "nightly", "run_id": "jr_1", "delay": 0.05, **change})


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "STOPPED", "ERROR", "EXPIRED"])
async def test_every_bad_end_of_a_job_run_is_an_error_at_once(
    fake: FakeAws, aws: Aws, state: str, verbose: bool
) -> None:  # [1b 4, 1c 7]
    fake.script("GetJobRun", _run("RUNNING"), _run(state, ErrorMessage="out of memory"))
    fake.script("GetLogEvents", _stream({}))
    event = await _outcome(aws, _job(verbose=verbose))
    assert event.payload["status"] == "error"
    assert event.payload["run_id"] == "jr_1"
    assert state in event.payload["message"]
    assert "out of memory" in event.payload["message"]
    assert event.payload.keys() == {"status", "message", "run_id"}


async def test_a_verbose_job_copies_both_its_logs(fake: FakeAws, aws: Aws, copied: Copied) -> None:
    group = {"LogGroupName": "/aws-glue/jobs-own/"}
    fake.script("GetJobRun", _run("RUNNING", **group), _run("RUNNING", **group), _run("SUCCEEDED", **group))
    fake.script("GetLogEvents", lambda asked: _stream({None: _lines(asked["logGroupName"], token="1")})(asked))
    event = await _outcome(aws, _job(verbose=True))
    assert event.payload == {"status": "success", "run_id": "jr_1"}
    assert copied() == [("INFO", "/aws-glue/jobs-own/output"), ("INFO", "/aws-glue/jobs-own/error")]
    assert {seen.params["logStreamName"] for seen in fake.seen if seen.operation == "GetLogEvents"} == {"jr_1"}


async def test_a_job_run_without_a_log_group_has_its_logs_where_glue_puts_them(
    fake: FakeAws, aws: Aws, copied: Copied
) -> None:  # [1c 7]
    fake.script("GetJobRun", _run("SUCCEEDED"))
    fake.script("GetLogEvents", lambda asked: _stream({None: _lines(asked["logGroupName"], token="1")})(asked))
    assert (await _outcome(aws, _job(verbose=True))).payload == {"status": "success", "run_id": "jr_1"}
    assert [line for _, line in copied()] == ["/aws-glue/jobs/output", "/aws-glue/jobs/error"]


async def test_a_throttle_of_a_verbose_job_is_waited_through(fake: FakeAws, aws: Aws) -> None:  # [1c 6, 1c 7]
    fake.script("GetJobRun", Fault("ThrottlingException"), _run("RUNNING"), Fault("Throttling"), _run("SUCCEEDED"))
    fake.script("GetLogEvents", Fault("ThrottlingException"), Fault("ThrottlingException"), _stream({}))
    assert (await _outcome(aws, _job(verbose=True))).payload == {"status": "success", "run_id": "jr_1"}
