"""What one wait, one parent or one page must not do to the polls of all the others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.parsers import ResponseParserError

from tests.support.scripted_poller import AnyClient, World, fault, shared
from triggerd.aws.local import open_aws
from triggerd.errors import WaiterDefinitionError


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as found:
        yield found


async def ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_more_ids_than_a_listing_is_read_for_at_once_are_asked_for_all_the_same(world: World) -> None:
    asked: list[int] = []

    def answer(_: str, params: dict[str, Any]) -> Any:
        asked.append(len(params.get("InstanceIds", ())))
        return {"InstanceStatuses": [{"InstanceStatus": {"Status": "ok"}}]}

    client = shared(AnyClient(answer), "ec2")
    for waits in (1, 2):
        ids = [[f"i-{waits}-{wait}-{number}" for number in range(2001)] for wait in range(waits)]
        tasks = [world.start_any(client, "instance_status_ok", {"InstanceIds": each}) for each in ids]
        await world.begin()
        for _ in range(5):
            await world.settle(1.0)
        assert all(task.done() for task in tasks), "a wait is left, or the poller stands"
        for task in tasks:
            task.result()
    assert max(asked) == 2001


async def test_a_second_page_that_does_not_come_holds_up_no_merged_answer_of_others(world: World) -> None:
    comes, asked = asyncio.Event(), asyncio.Event()
    machine = "arn:aws:states:eu-west-1:123456789012:stateMachine:m"
    arns = [f"{machine.replace('stateMachine', 'execution')}:{number}" for number in range(10)]

    class Slow:
        async def list_executions(self, **params: Any) -> Any:
            if "nextToken" in params:
                asked.set()
                await comes.wait()
            return {"executions": [{"executionArn": arns[0], "status": "RUNNING"}], "nextToken": "more"}

    def tasks(_: str, params: dict[str, Any]) -> Any:
        return {"tasks": [{"taskArn": name, "lastStatus": "RUNNING"} for name in params["tasks"]]}

    slow, ecs = shared(Slow(), "stepfunctions"), shared(AnyClient(tasks), "ecs")
    waiting = [world.start_any(slow, "execution_complete", {"executionArn": arn}) for arn in arns]
    await world.begin()
    assert asked.is_set(), "the second page is under way"
    others = [world.start_any(ecs, "tasks_running", {"tasks": [f"t{number}"]}) for number in range(10)]
    await world.begin()
    await world.settle(0.1)
    assert all(task.done() for task in others), "they wait for another service's page"
    await ended(*waiting)
    comes.set()


async def test_a_throttled_second_page_is_not_made_up_for_by_hundreds_of_single_calls(world: World) -> None:
    machine = "arn:aws:states:eu-west-1:123456789012:stateMachine:m"
    arns = [f"{machine.replace('stateMachine', 'execution')}:{number}" for number in range(300)]
    throttles = True

    def answer(_: str, params: dict[str, Any]) -> Any:
        if "nextToken" in params and throttles:
            return fault("ThrottlingException", 400, "ListExecutions")
        page = arns[200:] if "nextToken" in params else arns[:200]
        more = {} if "nextToken" in params else {"nextToken": "more"}
        return {"executions": [{"executionArn": arn, "status": "RUNNING"} for arn in page], **more}

    client, polls = AnyClient(answer), dict.fromkeys(arns, 0)
    waiting = [
        world.start_any(
            found, "execution_complete", {"executionArn": arn}, delay=100,
            on_poll=lambda progress, arn=arn: polls.update({arn: progress.polls}),
        )
        for found in [shared(client, "stepfunctions")] for arn in arns
    ]  # fmt: skip
    await world.begin()
    for _ in range(5):
        await world.settle(1.0)
    assert sum(count == 1 for count in polls.values()) == 200
    throttles = False
    for _ in range(5):
        await world.settle(1.0)
    assert set(polls.values()) == {1}
    assert client.count("describe_execution") == 0
    await ended(*waiting)


@pytest.mark.parametrize("service", ["../../etc/secrets", "x" * 300])
async def test_a_service_that_is_none_opens_no_file(service: str) -> None:
    async with open_aws() as aws:
        with pytest.raises(WaiterDefinitionError, match="botocore has no service"):
            await aws.wait(service, "tasks_running", {})


async def test_an_expression_that_cannot_be_computed_costs_nobody_a_poll(world: World) -> None:
    def tasks(_: str, params: dict[str, Any]) -> Any:
        return {"tasks": [{"taskArn": name, "lastStatus": "PENDING"} for name in params["tasks"]]}

    client = AnyClient(tasks)
    told: list[Any] = []
    ecs, query = shared(client, "ecs"), 'ceil(to_number(`"inf"`))'
    same = world.start_any(ecs, "tasks_running", {"tasks": ["t"]}, on_poll=told.append)
    bad = world.start_any(ecs, "tasks_running", {"tasks": ["t"]}, (query,))
    await world.begin()
    for _ in range(60):
        await world.settle(1.0)
    assert told[-1].polls >= 5
    assert len(client.calls) < 12
    await ended(same, bad)


async def test_an_answer_that_cannot_be_read_is_lost_and_asked_for_ever_more_seldom(world: World) -> None:
    class NotXml(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise ResponseParserError("not XML")

    client, told = AnyClient(lambda *_: NotXml(Reservations=[])), list[Any]()
    waiting = world.start_any(shared(client, "ec2"), "InstanceRunning", {"InstanceIds": ["i-1"]}, on_poll=told.append)
    await world.begin()
    for _ in range(300):
        await world.settle(1.0)
    assert told[-1].polls == 0
    assert "not XML" in told[-1].trouble
    assert 5 < len(client.calls) < 60
    await ended(waiting)


@pytest.mark.parametrize("query", ["[@, @][] | [@, @][] | [@, @][]", "a" * 501, "to_string([to_string([@])])"])
async def test_a_status_query_that_could_grow_without_end_is_refused(query: str) -> None:
    async with open_aws() as aws:
        with pytest.raises(WaiterDefinitionError, match="at most"):
            await aws.wait("ecs", "tasks_running", {"tasks": ["t"]}, status_queries=[query])


@pytest.mark.parametrize("code", ["ClusterNotFoundException", "AccessDeniedException"])
async def test_a_parent_that_is_gone_or_denied_costs_no_other_its_merged_calls(world: World, code: str) -> None:
    def tasks(_: str, params: dict[str, Any]) -> Any:
        if params["cluster"] == "gone":
            return fault(code, 400, "DescribeTasks")
        return {"tasks": [{"taskArn": name, "lastStatus": "PENDING"} for name in params["tasks"]]}

    client = AnyClient(tasks)
    ecs = shared(client, "ecs")
    gone = [world.start_any(ecs, "tasks_running", {"cluster": "gone", "tasks": [f"t{n}"]}) for n in range(2)]
    await world.begin()
    await world.settle(0.1)
    assert all(task.done() for task in gone)
    client.calls.clear()
    here = [world.start_any(ecs, "tasks_running", {"cluster": "here", "tasks": [f"t{n}"]}) for n in range(100)]
    await world.begin()
    assert len(client.calls) == 1
    await ended(*gone, *here)
