"""Promises of the AWS side against a scripted AWS: what ends a wait, what does not, and how many calls it costs."""

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_aws import Drop, FakeAws, Fault
from tests.support.waiting import eventually
from triggerd.aws import Aws, Progress
from triggerd.aws.local import open_aws
from triggerd.clock import monotonic_s
from triggerd.errors import (
    AwsCallError,
    ConfigError,
    WaiterDefinitionError,
    WaiterExhaustedError,
    WaiterFailedError,
)
from triggerd.settings import AwsSettings, ConnectionSettings

RUN = {"JobName": "j", "RunId": "r"}


def run(state: str, **more: Any) -> dict[str, Any]:
    return {"JobRun": {"JobRunState": state, **more}}


class Counted:
    """Metrics that a test can read."""

    def __init__(self) -> None:
        self.polls: list[tuple[str, str, str, int]] = []

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        assert seconds >= 0
        self.polls.append((service, operation, result, waits))

    def poll_lag(self, service: str, seconds: float) -> None:
        assert seconds >= 0

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        self.polls.append((service, operation, f"merge {why}", 0))


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("glue", "redshift", "batch", "sts") as server:
        yield server


async def _job(aws: Aws, delay: float = 0.02, **more: Any) -> Any:
    return await aws.wait("glue", "job_complete", RUN, **{"delay": delay, "max_attempts": 50, **more})


async def test_a_wait_gives_the_last_answer_and_how_it_went(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("RUNNING"), run("RUNNING"), run("SUCCEEDED", ExecutionTime=5))
    async with open_aws(fake.settings()) as aws:
        answer = await _job(aws)
    assert answer["JobRun"]["ExecutionTime"] == 5
    assert (answer.last_status, answer.polls) == ("SUCCEEDED", 3)
    assert answer.waited_s > 0.036
    assert fake.mutating == 0


async def test_the_query_and_rest_protocols_are_waited_for_as_well(fake: FakeAws) -> None:
    fake.script(
        "DescribeClusters", {"Clusters": [{"ClusterStatus": "available"}]}, {"Clusters": [{"ClusterStatus": "paused"}]}
    )
    fake.script("DescribeJobs", {"jobs": [{"jobId": "j", "status": "SUCCEEDED"}]})
    async with open_aws(fake.settings()) as aws:
        answer = await aws.wait("redshift", "cluster_paused", {"ClusterIdentifier": "c"}, delay=0.02)
        assert (answer.last_status, answer.polls) == ("paused", 2)
        assert (await aws.wait("batch", "batch_job_complete", {"jobs": ["j"]})).last_status == "SUCCEEDED"


async def test_throttles_5xx_and_dropped_connections_never_fail_a_wait_nor_count(fake: FakeAws) -> None:
    fake.script(
        "GetJobRun",
        Fault("ThrottlingException"), run("RUNNING"), Fault("InternalFailure", status=500), run("RUNNING"), Drop(),
        Drop(), run("RUNNING"), Fault("X", status=429), run("SUCCEEDED"),
    )  # fmt: skip
    metrics, seen = Counted(), list[Progress]()
    async with open_aws(fake.settings(), metrics) as aws:
        answer = await _job(aws, delay=0.5, max_attempts=4, on_poll=seen.append)
    assert answer.polls == 4
    results = [result for _, _, result, _ in metrics.polls]
    assert results == ["throttled", "ok", "unavailable", "ok", "unavailable", "ok", "throttled", "ok"]
    assert [progress.trouble is not None for progress in seen] == [True, False] * 4


async def test_the_budget_ends_at_an_answered_poll(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("RUNNING"))
    async with open_aws(fake.settings()) as aws:
        with pytest.raises(WaiterExhaustedError, match="still RUNNING") as error:
            await _job(aws, delay=0.05, max_attempts=4)
    assert 2 <= error.value.polls <= 5  # a slow answer is time of the budget, too
    assert error.value.waited_s >= 0.15


async def test_polls_keep_their_distance(fake: FakeAws) -> None:
    fake.script("GetJobRun", *[run("RUNNING")] * 6, run("SUCCEEDED"))
    async with open_aws(fake.settings()) as aws:
        await _job(aws, delay=0.1)
    times = [seen.at_s for seen in fake.seen]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 0.085  # 0.9 delays, less what the first request took longer on its way


async def test_each_kind_of_end_is_its_own_error(fake: FakeAws) -> None:
    async with open_aws(fake.settings()) as aws:
        fake.script("GetJobRun", run("FAILED", ErrorMessage="boom"))
        with pytest.raises(WaiterFailedError, match="JobRunState is FAILED: boom"):
            await _job(aws)
        fake.script("GetJobRun", Fault("AccessDeniedException", "not you"))
        with pytest.raises(AwsCallError, match="AccessDeniedException: not you") as error:
            await _job(aws)
        assert error.value.aws_code == "AccessDeniedException"
        assert error.value.polls == 1
        calls = fake.calls.total()
        with pytest.raises(WaiterDefinitionError, match="did you mean"):
            await aws.wait("glue", "job_complet", RUN)
        with pytest.raises(WaiterDefinitionError, match="RunId"):
            await aws.wait("glue", "job_complete", {"JobName": "j"})
        with pytest.raises(WaiterDefinitionError, match="status query"):
            await _job(aws, status_queries=["a["])
        with pytest.raises(ConfigError, match="did you mean 'default'"):
            await _job(aws, connection="defalt")
        assert fake.calls.total() == calls


async def test_missing_credentials_end_a_wait_at_once(fake: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with open_aws(fake.settings()) as aws:
        with pytest.raises(AwsCallError, match="no AWS credentials found"):
            await _job(aws)
    assert fake.calls.total() == 0


async def test_identical_requests_are_one_call_a_round(fake: FakeAws) -> None:
    fake.script("GetJobRun", *[run("RUNNING")] * 4, run("SUCCEEDED", Attempt=1))
    metrics = Counted()
    async with open_aws(fake.settings(), metrics) as aws:
        answers = await asyncio.gather(*(_job(aws, delay=0.1) for _ in range(200)))
        assert aws.waits == 0
    assert fake.calls["GetJobRun"] <= 6  # 5 rounds; the first wait alone may be a round before the others
    assert {answer.last_status for answer in answers} == {"SUCCEEDED"}
    answers[0]["JobRun"]["Attempt"] = 99
    assert answers[1]["JobRun"]["Attempt"] == 1  # nobody sees what another does with the answer
    assert max(waits for *_, waits in metrics.polls) == 200


async def test_a_wait_that_joins_a_call_in_flight_gets_a_fresh_answer(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("SUCCEEDED", Attempt=1), run("SUCCEEDED", Attempt=2))
    fake.gate = asyncio.Event()
    async with open_aws(fake.settings()) as aws:
        first = asyncio.create_task(_job(aws))
        await eventually(lambda: fake.calls["GetJobRun"] == 1)
        second = asyncio.create_task(_job(aws))
        await eventually(lambda: aws.waits == 2)
        fake.gate.set()
        assert (await first)["JobRun"]["Attempt"] == 1
        assert (await second)["JobRun"]["Attempt"] == 2
    assert fake.most_in_flight == 1


async def test_answers_are_not_shared_between_identities(fake: FakeAws) -> None:
    expiry = "2099-01-01T00:00:00Z"
    credentials = {"AccessKeyId": "ROLEKEY", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": expiry}
    fake.script("AssumeRole", {"Credentials": credentials})
    fake.script("GetJobRun", run("SUCCEEDED"))
    role = ConnectionSettings(
        region="us-east-1", endpoint_url=fake.url, role_arn="arn:aws:iam::123456789012:role/x", external_id="ext"
    )
    async with open_aws(fake.settings(connections={"role": role, "same": role})) as aws:
        await asyncio.gather(*(_job(aws, connection=name) for name in ("default", "role", "same", "role")))
    assert fake.calls["AssumeRole"] == 1
    assert fake.calls["GetJobRun"] == 2
    assert {seen.access_key for seen in fake.seen if seen.operation == "GetJobRun"} == {"testing", "ROLEKEY"}
    assert next(seen for seen in fake.seen if seen.operation == "AssumeRole").params["ExternalId"] == "ext"


async def test_a_cancelled_wait_is_gone_and_the_others_go_on(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("SUCCEEDED"))
    fake.gate = asyncio.Event()
    async with open_aws(fake.settings()) as aws:
        waits = [asyncio.create_task(_job(aws)) for _ in range(3)]
        await eventually(lambda: fake.calls["GetJobRun"] == 1)
        waits[0].cancel()
        await eventually(lambda: aws.waits == 2)
        fake.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await waits[0]
        assert (await waits[1]).last_status == "SUCCEEDED"
        await waits[2]
        assert aws.waits == 0


async def test_closing_cancels_what_still_waits(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("RUNNING"))
    async with open_aws(fake.settings()) as aws:
        wait = asyncio.create_task(_job(aws))
        await eventually(lambda: fake.calls["GetJobRun"] >= 1)
    with pytest.raises(asyncio.CancelledError):
        await wait


async def test_calls_in_flight_are_bounded(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("SUCCEEDED"))
    fake.latency_s = 0.02
    async with open_aws(fake.settings(max_concurrent_calls=3)) as aws:
        await asyncio.gather(*(
            aws.wait("glue", "job_complete", {"JobName": "j", "RunId": str(number)}) for number in range(20)
        ))  # fmt: skip
    assert fake.most_in_flight <= 3
    assert fake.calls["GetJobRun"] == 20


async def test_a_callback_that_raises_hurts_nobody(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("RUNNING"), run("SUCCEEDED"))
    async with open_aws(fake.settings()) as aws:
        assert (await _job(aws, on_poll=lambda _: 1 / 0)).polls == 2


async def test_a_late_wait_is_counted_as_overdue(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("RUNNING"))
    fake.gate = asyncio.Event()
    async with open_aws(fake.settings()) as aws:
        wait = asyncio.create_task(_job(aws))
        assert await eventually(aws.overdue) == 1
        wait.cancel()


async def test_clients_are_shared_and_survive_their_block(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("SUCCEEDED"))
    async with open_aws(fake.settings()) as aws:
        async with aws.client("glue") as one:
            pass
        async with aws.client("glue", region="us-east-1") as two:
            assert one is two
            assert (await two.get_job_run(**RUN))["JobRun"]["JobRunState"] == "SUCCEEDED"


async def test_building_a_client_leaves_the_loop_alone(fake: FakeAws) -> None:
    """Prints the worst lag; only a loop that is plainly blocked fails.

    Frozen as the daemon's heap is: a full collection over the heap of a long test session takes longer than any build.
    """
    gc.collect()
    gc.freeze()
    worst_s = 0.0

    async def watch() -> None:
        nonlocal worst_s
        while True:
            before_s = monotonic_s()
            await asyncio.sleep(0.001)
            worst_s = max(worst_s, monotonic_s() - before_s - 0.001)

    async with open_aws(fake.settings()) as aws:
        watcher = asyncio.create_task(watch())
        for service in ("glue", "redshift", "ec2"):
            async with aws.client(service):
                print(f"worst loop lag building {service}: {worst_s * 1000:.0f} ms")
            worst, worst_s = worst_s, 0.0
            assert worst < 0.5
        watcher.cancel()
    gc.unfreeze()


@pytest.mark.deadline(90)
async def test_ten_thousand_waits_need_no_tasks_of_their_own(fake: FakeAws) -> None:
    fake.script("GetJobRun", run("RUNNING"))
    async with open_aws(fake.settings()) as aws:
        async with aws.client("glue"):
            before = len(asyncio.all_tasks())
        tracemalloc.start()
        waits = [
            asyncio.create_task(aws.wait("glue", "job_complete", {"JobName": "j", "RunId": f"jr_{number}"}, delay=600))
            for number in range(10_000)
        ]
        await eventually(lambda: aws.waits == 10_000, 45)
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        ours = len(asyncio.all_tasks()) - len(waits) - before
        print(f"tasks beside the callers' own: {ours}; memory per wait: {used / 10_000:.0f} bytes, its task included")
        assert ours <= 64
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert aws.waits == 0


async def test_a_service_that_is_not_to_be_merged_is_asked_singly() -> None:
    async with FakeAws("ecs") as ecs:
        ecs.script("DescribeTasks", lambda asked: {"tasks": [{"taskArn": asked["tasks"][0], "lastStatus": "STOPPED"}]})
        async with open_aws(ecs.settings(unmerged=("glue", "ecs"))) as aws:
            waits = [aws.wait("ecs", "tasks_stopped", {"tasks": [f"t{number}"]}) for number in range(10)]
            answers = await asyncio.gather(*waits)
        assert [answer["tasks"][0]["taskArn"] for answer in answers] == [f"t{number}" for number in range(10)]
        assert ecs.calls["DescribeTasks"] == 10


async def test_a_service_that_there_is_not_cannot_be_left_unmerged() -> None:
    with pytest.raises(ConfigError, match=r"aws\.unmerged = 'esc'.*no such service, did you mean"):
        async with open_aws(AwsSettings(unmerged=("esc",))):
            pass
