"""Promises of AwsWaiterTrigger when it runs: the payloads of the Airflow guide, and what stands beside them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_aws import FakeAws, Fault
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.clock import wall_ms
from triggerd.errors import AwsCallError
from triggerd.testing import LocalContext, run_trigger
from triggerd.triggers.aws import AwsWaiterTrigger

CRAWLER = {"Name": "nightly"}


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("glue", "ecs") as server:
        yield server


@pytest.fixture
async def aws(fake: FakeAws) -> AsyncIterator[Aws]:
    async with open_aws(fake.settings()) as opened:
        yield opened


def _trigger(**more: Any) -> AwsWaiterTrigger:
    arguments: dict[str, Any] = {"delay": 0.02, "return_key": "crawler", "return_value": "nightly", **more}
    return AwsWaiterTrigger("glue", arguments.pop("waiter_name", "crawler_ready"), CRAWLER, **arguments)


def _crawler(state: str, **last: str) -> dict[str, Any]:
    return {"Crawler": {"State": state, "LastCrawl": last}}


async def test_success_gives_the_value_back_and_how_the_wait_went(fake: FakeAws, aws: Aws) -> None:
    fake.script("GetCrawler", _crawler("RUNNING"), _crawler("READY", Status="SUCCEEDED"))
    event = await run_trigger(_trigger(), aws=aws)
    assert event.payload == {"status": "success", "crawler": "nightly"}
    assert event.details["last_status"] == "READY"
    assert event.details["polls"] == 2
    assert event.details["waited_s"] > 0
    assert fake.mutating == 0


@pytest.mark.parametrize(
    ("answer", "change", "error_type", "error_code", "said"),
    [
        (_crawler("READY", Status="FAILED", ErrorMessage="no s3"), {}, "waiter_failed", None, "no s3"),
        (_crawler("RUNNING"), {"max_attempts": 2}, "waiter_exhausted", None, "still RUNNING"),
        (Fault("EntityNotFoundException", "gone"), {}, "aws_error", "EntityNotFoundException", "Exception: gone"),
        (_crawler("READY"), {"waiter_name": "crawler_redy"}, "waiter_definition", None, "did you mean 'crawler_ready'"),
        (_crawler("READY"), {"connection": "defalt"}, "config", None, "did you mean 'default'"),
    ],
)
async def test_each_way_to_fail_is_an_error_event(
    fake: FakeAws, aws: Aws, answer: Any, change: dict[str, Any], error_type: str, error_code: str, said: str
) -> None:
    fake.script("GetCrawler", answer)
    event = await run_trigger(_trigger(failure_message="the crawl is lost", **change), aws=aws)
    assert event.payload["status"] == "error"
    assert event.payload["crawler"] == "nightly"
    assert event.payload["message"].startswith("the crawl is lost: ")
    assert said in event.payload["message"]
    assert event.details["error_type"] == error_type
    assert event.details["error_code"] == error_code
    answered = error_type not in ("waiter_definition", "config")
    assert (event.details["polls"] > 0) is (event.details["waited_s"] > 0) is answered
    assert (event.details["last_status"] is not None) is (answered and error_code is None)


async def test_a_restored_wait_goes_on_and_a_foreign_checkpoint_begins_it_anew(
    fake: FakeAws, aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    fake.script("GetCrawler", _crawler("READY", Status="SUCCEEDED"))
    moved = [wall_ms() - 60_000, wall_ms() - 1, 5, "RUNNING"]
    event = await run_trigger(_trigger(), aws=aws, restored=moved)
    assert (event.details["polls"], event.details["last_status"]) == (6, "READY")
    assert 60 <= event.details["waited_s"] < 90
    assert "begins anew" not in caplog.text
    event = await run_trigger(_trigger(), aws=aws, restored={"somebody": "else's"})
    assert (event.payload["status"], event.details["polls"]) == ("success", 1)
    assert "waiter glue crawler_ready begins anew: what was restored is not the state of a wait" in caplog.text


def _held(aws: Aws, trigger: AwsWaiterTrigger) -> AwsWaiterTrigger:
    trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
    return trigger


async def test_only_an_explicit_cancel_stops_the_remote_work_throttled_or_not(fake: FakeAws, aws: Aws) -> None:
    fake.script("StopCrawler", Fault("ThrottlingException"), {})
    trigger = _held(aws, _trigger(cancel_call=("stop_crawler", CRAWLER)))
    await trigger.cleanup()
    assert fake.mutating == 0
    await trigger.on_cancel()
    assert fake.calls["StopCrawler"] == 2
    assert fake.seen[-1].params == CRAWLER


async def test_the_ready_made_cancel_call_needs_no_asking_for(fake: FakeAws, aws: Aws) -> None:
    fake.script("StopCrawler", {}, Fault("CrawlerNotRunningException", "it has ended"))
    for _ in range(2):
        await _held(aws, _trigger()).on_cancel()
    assert [(seen.operation, seen.params) for seen in fake.seen] == [("StopCrawler", CRAWLER)] * 2


async def test_a_user_can_leave_the_remote_work_alone(fake: FakeAws, aws: Aws) -> None:
    await _held(aws, _trigger(cancel_call=False)).on_cancel()
    assert fake.calls.total() == 0


async def test_all_calls_are_tried_and_what_was_not_stopped_is_told(fake: FakeAws, aws: Aws) -> None:
    def stop(parameters: dict[str, Any]) -> Any:
        number = int(parameters["task"])
        return Fault("InvalidParameterException", f"no task {number}") if number in (3, 17) else {}

    fake.script("StopTask", stop)
    tasks = {"cluster": "c", "tasks": [str(number) for number in range(25)]}
    with pytest.raises(AwsCallError, match=r"ecs stop_task: .*no task 3.*no task 17"):
        await _held(aws, AwsWaiterTrigger("ecs", "tasks_stopped", tasks)).on_cancel()
    assert fake.calls["StopTask"] == 25
    assert {seen.params["reason"] for seen in fake.seen} == {"cancelled in triggerd"}
    assert fake.most_in_flight <= 10


async def test_a_run_that_glue_refuses_to_stop_is_told(fake: FakeAws, aws: Aws) -> None:
    detail = {"ErrorCode": "InternalServiceException", "ErrorMessage": "try again"}
    fake.script("BatchStopJobRun", {"Errors": [{"JobName": "j", "JobRunId": "r", "ErrorDetail": detail}]})
    with pytest.raises(AwsCallError, match="r: InternalServiceException: try again"):
        await _held(aws, AwsWaiterTrigger("glue", "job_complete", {"JobName": "j", "RunId": "r"})).on_cancel()


async def test_a_wait_for_infrastructure_has_no_cancel_call(fake: FakeAws, aws: Aws) -> None:
    await _held(aws, AwsWaiterTrigger("redshift", "cluster_paused", {"ClusterIdentifier": "dwh"})).on_cancel()
    assert fake.calls.total() == 0
