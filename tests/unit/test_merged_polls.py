"""Merged polls on a clock that the test moves: what is asked, what each wait is told, what a fault costs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.scripted_poller import AnyClient, World, fault, shared
from triggerd.errors import AwsCallError, WaiterFailedError
from triggerd.settings import QuotaSettings
from triggerd.trigger import WaitResponse

MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:nightly"
DENIED = fault("AccessDeniedException", 400, "ListExecutions")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as found:
        yield found


def execution(number: int) -> str:
    return f"{MACHINE.replace('stateMachine', 'execution')}:{number}"


class Executions:
    """Step Functions: executions by ARN, the listing of those that run, and one page of it at a time."""

    def __init__(self, count: int) -> None:
        self.status = {execution(number): "RUNNING" for number in range(count)}
        self.list_fault: Exception | None = None
        self.page = 1000

    def __call__(self, method: str, params: dict[str, Any]) -> Any:
        if method == "describe_execution":
            arn = params["executionArn"]
            return {"executionArn": arn, "status": self.status[arn], "output": f"of {arn}"}
        assert method == "list_executions"
        assert params["stateMachineArn"] == MACHINE
        if self.list_fault is not None:
            return self.list_fault
        running = [arn for arn, status in self.status.items() if status == "RUNNING"]
        start = int(params.get("nextToken", 0))
        token = {"nextToken": str(start + self.page)} if start + self.page < len(running) else {}
        return {"executions": [
            {"executionArn": arn, "stateMachineArn": MACHINE, "name": arn, "status": "RUNNING"}
            for arn in running[start : start + self.page]
        ], **token}  # fmt: skip


class Tasks:
    """ECS: tasks by name; whoever is not in `status` is missing."""

    def __init__(self, count: int) -> None:
        self.status = {f"t{number}": "RUNNING" for number in range(count)}
        self.fault: Exception | None = None

    def __call__(self, _: str, params: dict[str, Any]) -> Any:
        if self.fault is not None:
            return self.fault
        found = [{"taskArn": name, "lastStatus": self.status[name]} for name in params["tasks"] if name in self.status]
        failures = [{"arn": name, "reason": "MISSING"} for name in params["tasks"] if name not in self.status]
        return {"tasks": found, "failures": failures}


def wait_for_executions(world: World, client: AnyClient, count: int, **more: Any) -> list[asyncio.Task[WaitResponse]]:
    found = shared(client, "stepfunctions")
    return [
        world.start_any(found, "execution_complete", {"executionArn": execution(number)}, **more)
        for number in range(count)
    ]


def wait_for_tasks(world: World, client: AnyClient, count: int, **more: Any) -> list[asyncio.Task[WaitResponse]]:
    found = shared(client, "ecs")
    return [
        world.start_any(found, "TasksStopped", {"cluster": "c", "tasks": [f"t{number}"]}, **more)
        for number in range(count)
    ]  # fmt: skip


async def ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_hundred_and_fifty_tasks_are_three_calls_a_round_and_each_ends_by_its_own_state(world: World) -> None:
    tasks = Tasks(250)
    client = AnyClient(tasks)
    waits = wait_for_tasks(world, client, 250)
    await world.begin()
    assert [len(params["tasks"]) for _, params in client.calls] == [100, 100, 50]
    tasks.status["t7"] = "STOPPED"
    for _ in range(12):
        await world.settle(1)
    assert len(client.calls) in (6, 7)
    assert [number for number, wait in enumerate(waits) if wait.done()] == [7]
    assert (await waits[7])["tasks"] == [{"taskArn": "t7", "lastStatus": "STOPPED"}]
    assert (await waits[7])["failures"] == []
    await ended(*waits)
    assert world.poller.waits == 0


async def test_a_lone_wait_makes_the_plain_single_call(world: World) -> None:
    client = AnyClient(Executions(1))
    waits = wait_for_executions(world, client, 1)
    await world.begin()
    assert [method for method, _ in client.calls] == ["describe_execution"]
    await ended(*waits)


async def test_running_executions_are_listed_and_the_one_that_ended_is_confirmed_by_its_own_call(world: World) -> None:
    executions = Executions(500)
    client = AnyClient(executions)
    waits = wait_for_executions(world, client, 500)
    await world.begin()
    await world.settle(12)
    assert (client.count("list_executions"), client.count("describe_execution")) == (2, 0)
    executions.status[execution(3)] = "SUCCEEDED"
    await world.settle(12)
    await world.settle()
    assert (client.count("list_executions"), client.count("describe_execution")) == (3, 1)
    assert (await waits[3])["output"] == f"of {execution(3)}"
    assert sum(wait.done() for wait in waits) == 1
    await ended(*waits)


async def test_a_wait_that_reads_what_the_listing_lacks_is_asked_singly(world: World) -> None:
    client = AnyClient(Executions(4))
    waits = wait_for_executions(world, client, 4, queries=("output",))
    await world.begin()
    assert client.count("describe_execution") == 4
    await ended(*waits)


async def test_pages_are_read_on_only_while_that_costs_less_than_single_calls(world: World) -> None:
    executions = Executions(30)
    executions.page = 10
    client = AnyClient(executions)
    waits = wait_for_executions(world, client, 30)
    await world.begin()
    await world.settle()
    assert (client.count("list_executions"), client.count("describe_execution")) == (3, 0)
    await ended(*waits[:28])
    client.calls.clear()
    for _ in range(4):  # the last two stand on page 3
        await world.settle(11)
    assert len(client.calls) <= 4 * 2 + 2
    await ended(*waits)


async def test_where_the_merged_call_is_denied_single_calls_are_made_and_it_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    executions = Executions(20)
    executions.list_fault = DENIED
    client = AnyClient(executions)
    waits = wait_for_executions(world, client, 20)
    for _ in range(60):
        await world.settle(1)
    assert client.count("list_executions") == 1
    assert client.count("describe_execution") >= 100
    assert caplog.text.count("merged polls off for now") == 1
    assert world.results["merge denied"] == 1
    executions.list_fault = None  # the permission is given
    for _ in range(37):
        await world.settle(100)
    client.calls.clear()
    for _ in range(12):
        await world.settle(1)
    assert client.count("list_executions") >= 1
    assert client.count("describe_execution") == 0
    await ended(*waits)


async def test_one_request_that_aws_refuses_does_not_take_the_others_along(world: World) -> None:
    tasks = Tasks(10)
    invalid = fault("InvalidParameterException", 400, "DescribeTasks")
    client = AnyClient(lambda method, params: invalid if "t3" in params["tasks"] else tasks(method, params))
    waits = wait_for_tasks(world, client, 10, delay=100)
    for _ in range(5):
        await world.settle(1)
    assert [wait.done() for wait in waits] == [number == 3 for number in range(10)]  # as its single call has it
    client.calls.clear()
    for _ in range(15):
        await world.settle(10)
    assert {len(params["tasks"]) for _, params in client.calls} == {9}  # merged again
    await ended(*waits[:3], *waits[4:])
    with pytest.raises(Exception, match="InvalidParameterException"):
        await waits[3]


async def test_new_requests_that_aws_refuses_one_after_another_do_not_keep_the_others_from_being_merged(
    world: World,
) -> None:
    tasks = Tasks(100)
    invalid = fault("InvalidParameterException", 400, "DescribeTasks")
    client = AnyClient(lambda method, params: invalid if "bad" in str(params["tasks"]) else tasks(method, params))
    found = shared(client, "ecs")
    waits = wait_for_tasks(world, client, 100)
    for _ in range(15):
        await world.settle(1)
    client.calls.clear()
    refused = []
    for number in range(20):
        refused.append(world.start_any(found, "TasksStopped", {"cluster": "c", "tasks": [f"bad{number}"]}))
        for _ in range(6):
            await world.settle(1)
    assert all(isinstance(wait.exception(), AwsCallError) for wait in refused)
    assert len(client.calls) <= 100  # 12 rounds, and three calls for each that is refused
    assert world.poller.overdue() == 0
    await ended(*waits)


async def test_a_throttled_or_unanswered_merged_call_fails_no_wait_and_is_sent_merged_again(world: World) -> None:
    tasks = Tasks(50)
    client = AnyClient(tasks)
    waits = wait_for_tasks(world, client, 50, max_attempts=3)
    away = ReadTimeoutError(endpoint_url="http://x"), fault("InternalFailure", 500)
    for tasks.fault in (fault("ThrottlingException"), *away, fault("X", 429)):
        for _ in range(300):
            await world.settle(1)
        assert not any(wait.done() for wait in waits)
    tasks.fault, tasks.status = None, dict.fromkeys(tasks.status, "STOPPED")
    client.calls.clear()
    for _ in range(120):
        await world.settle(1)
    assert all(wait.done() and not wait.exception() for wait in waits)
    assert not any("merge" in result for result in world.results), "the single calls had no answer either"
    assert {len(params["tasks"]) for _, params in client.calls} == {50}


async def test_merged_calls_that_alone_stay_unanswered_give_way_to_single_ones_for_a_while(world: World) -> None:
    executions = Executions(20)
    executions.list_fault = ReadTimeoutError(endpoint_url="http://x")
    client = AnyClient(executions)
    waits = wait_for_executions(world, client, 20)
    for _ in range(60):
        await world.settle(1)
    assert client.count("list_executions") == 2  # the second one after a single call was answered
    assert client.count("describe_execution") >= 60
    assert world.results["merge error"] == 1
    executions.list_fault = None
    for _ in range(60):
        await world.settle(1)
    client.calls.clear()
    for _ in range(12):
        await world.settle(1)
    assert (client.count("list_executions") >= 1, client.count("describe_execution")) == (True, 0)
    await ended(*waits)


async def test_a_merged_answer_that_the_form_cannot_read_is_asked_for_singly(world: World) -> None:
    tasks = Tasks(5)
    client = AnyClient(lambda method, params: {"tasks": 7} if len(params["tasks"]) > 1 else tasks(method, params))
    waits = wait_for_tasks(world, client, 5)
    for _ in range(3):
        await world.settle(1)
    assert [len(params["tasks"]) for _, params in client.calls] == [5, 1, 1, 1, 1, 1]
    await ended(*waits)


async def test_two_identities_never_share_a_call(world: World) -> None:
    clients = [AnyClient(Tasks(20)), AnyClient(Tasks(20))]
    pairs = [shared(client, "ecs", profile=name) for client, name in zip(clients, "ab", strict=True)]
    waits = [
        world.start_any(found, "TasksStopped", {"tasks": [f"t{number}"]}) for number in range(20) for found in pairs
    ]
    await world.begin()
    assert [[len(params["tasks"]) for _, params in client.calls] for client in clients] == [[20], [20]]
    await ended(*waits)


async def test_a_wait_for_several_tasks_is_never_split_and_reads_its_own_only(world: World) -> None:
    tasks = Tasks(150)
    client = AnyClient(tasks)
    found = shared(client, "ecs")
    pairs = [
        world.start_any(found, "TasksStopped", {"cluster": "c", "tasks": [f"t{number}", f"t{number + 1}"]})
        for number in range(0, 150, 2)
    ]
    await world.begin()
    assert sorted(len(params["tasks"]) for _, params in client.calls) == [50, 100]
    tasks.status |= {"t0": "STOPPED", "t1": "STOPPED", "t2": "STOPPED"}
    for _ in range(12):
        await world.settle(1)
    assert [wait.done() for wait in pairs[:3]] == [True, False, False]
    assert [task["taskArn"] for task in (await pairs[0])["tasks"]] == ["t0", "t1"]
    await ended(*pairs)


async def test_a_failure_state_ends_its_own_wait_with_its_own_reason(world: World) -> None:
    tasks = Tasks(10)
    client = AnyClient(tasks)
    found = shared(client, "ecs")
    waits = [world.start_any(found, "TasksRunning", {"tasks": [name]}) for name in tasks.status]
    tasks.status = dict.fromkeys(tasks.status, "PENDING") | {"t4": "STOPPED"}
    await world.begin()
    await world.settle()
    with pytest.raises(WaiterFailedError, match="STOPPED"):
        await waits[4]
    assert sum(wait.done() for wait in waits) == 1
    await ended(*waits)


async def test_the_oldest_due_goes_first_and_all_are_stretched_alike_where_the_budget_is_short() -> None:
    tasks = Tasks(400)
    client = AnyClient(tasks)
    quotas = {"*": QuotaSettings(rate_per_s=1.0, burst=1)}
    async with World(quotas=quotas, unmerged=("ecs",)) as world:
        found = shared(client, "ecs")
        polls: dict[str, int] = {}
        waits = []
        for number in range(60):  # 60 waits, each every 10 s, at one call a second: one poll a minute each

            def seen(_: object, name: str = f"t{number}") -> None:
                polls[name] = polls.get(name, 0) + 1

            params = {"tasks": [f"t{number}"], "cluster": str(number)}
            waits.append(world.start_any(found, "TasksStopped", params, on_poll=seen))
        for _ in range(600):
            await world.settle(1)
        assert len(client.calls) <= 602
        assert min(polls.values()) >= 8
        assert max(polls.values()) <= 12
        assert max(world.lags) <= 75
        assert not any(wait.done() for wait in waits)
        await ended(*waits)


async def test_a_short_budget_fills_the_merged_calls() -> None:
    client = AnyClient(Tasks(1000))
    async with World(quotas={"*": QuotaSettings(rate_per_s=0.5, burst=1)}) as world:
        waits = wait_for_tasks(world, client, 1000)  # 10 full calls a round: one a second is asked for
        for _ in range(120):
            await world.settle(1)
        sizes = [len(params["tasks"]) for _, params in client.calls]
        assert set(sizes) == {100}
        assert len(sizes) <= 62
        await ended(*waits)


async def test_redshift_data_statements_are_waited_for_by_calls_that_aws_holds() -> None:
    status = {"Status": "STARTED"}
    client = AnyClient(lambda method, params: dict(status))
    async with World() as world:
        wait = world.start_any(shared(client, "redshift-data"), "statement_finished", {"Id": "s1"}, delay=5.0)
        await world.begin()
        await world.settle()
        assert client.calls[0] == ("describe_statement", {"Id": "s1"})
        assert client.calls[1] == ("describe_statement", {"Id": "s1", "WaitTimeSeconds": 5})
        for _ in range(60):  # a stand-in for AWS that does not hold the call: no more of them than polls otherwise
            await world.settle(1)
        assert len(client.calls) <= 15
        status["Status"] = "FINISHED"
        await world.until(wait)
    async with World(long_polls=0) as world:
        client.calls.clear()
        status["Status"] = "STARTED"
        wait = world.start_any(shared(client, "redshift-data"), "statement_finished", {"Id": "s1"}, delay=5.0)
        for _ in range(20):
            await world.settle(1)
        assert all("WaitTimeSeconds" not in params for _, params in client.calls)
        await ended(wait)


ANY_WAITS = st.lists(
    st.tuples(
        st.sampled_from([("ecs", "TasksStopped"), ("stepfunctions", "execution_complete"), ("glue", "job_complete")]),
        st.integers(0, 30),  # begins at
        st.integers(2, 60),  # delay
    ),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(waits=ANY_WAITS)
def test_no_wait_is_overdue_by_three_intervals_while_budget_is_left(waits: list[tuple[Any, int, int]]) -> None:
    asyncio.run(_never_overdue(waits))


async def _never_overdue(waits: list[tuple[Any, int, int]]) -> None:
    executions, tasks = Executions(40), Tasks(40)

    def answer(method: str, params: dict[str, Any]) -> Any:
        if method.startswith("get_job_run"):
            runs = [{"Id": f"r{number}", "JobName": "j", "JobRunState": "RUNNING"} for number in range(40)]
            return {"JobRuns": runs} if method.endswith("s") else {"JobRun": runs[0]}
        return (tasks if method == "describe_tasks" else executions)(method, params)

    started = []
    async with World() as world:
        clients = {service: shared(AnyClient(answer), service) for service in ("ecs", "stepfunctions", "glue")}
        for now in range(200):
            for number, ((service, waiter), begins, delay) in enumerate(waits):
                if begins == now:
                    known: dict[str, dict[str, Any]] = {
                        "ecs": {"tasks": [f"t{number}"]},
                        "stepfunctions": {"executionArn": execution(number)},
                        "glue": {"JobName": "j", "RunId": f"r{number}"},
                    }
                    started.append(world.start_any(clients[service], waiter, known[service], delay=float(delay)))
            await world.settle(1)
            assert world.poller.overdue() == 0
        assert max(world.lags) <= 3.0  # seconds: the clock moves by one
        assert not any(task.done() for task in started)
        await ended(*started)
