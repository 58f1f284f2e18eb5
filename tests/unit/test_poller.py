"""Promises of the poller on a clock that the test moves and a client that it scripts: no socket, no sleep."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from tests.support.scripted_poller import JOB, Client, World, fault, run, shared
from triggerd.aws import Progress
from triggerd.aws.acceptors import Acceptor, Acceptors, compiled
from triggerd.aws.budget import QuotaGroup
from triggerd.aws.waits import Wait
from triggerd.errors import AwsCallError, WaiterDefinitionError, WaiterExhaustedError, WaiterFailedError
from triggerd.trigger import WaitResponse


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as found:
        yield found


@pytest.mark.parametrize(
    "trouble",
    [fault("ThrottlingException"), fault("InternalFailure", 500), ConnectTimeoutError(endpoint_url="https://x")],
    ids=["throttle", "5xx", "network"],
)
async def test_an_hour_of_trouble_moves_the_end_of_the_budget_by_an_hour(world: World, trouble: Exception) -> None:
    client = Client(run("RUNNING"))
    task = world.start(shared(client))  # a budget of 30 s
    await world.settle()
    assert client.calls == 1
    client.script = [trouble]
    for _ in range(360):
        await world.settle(10)
    assert not task.done()
    client.script = [run("RUNNING")]
    left_s = await world.until(task)
    with pytest.raises(WaiterExhaustedError) as error:
        await task
    assert 20 <= left_s <= 62 + 32  # what the trouble left of the budget, after the last pause
    assert error.value.polls <= 5  # 30 s hold four polls, five where the jitter brought them early
    assert error.value.waited_s >= 3600


async def test_retry_after_is_honoured_by_the_whole_group(world: World) -> None:
    client = Client(fault("ThrottlingException", retry_after="40"), run("SUCCEEDED"))
    tasks = [world.start(shared(client), run_id=str(number)) for number in range(5)]
    await world.settle()
    asked = client.calls
    await world.settle(39)
    assert client.calls == asked
    for task in tasks:
        await world.until(task)
    assert world.results["throttled"] >= 1


async def test_a_throttled_group_does_not_hold_back_another_identity(world: World) -> None:
    throttled, fine = Client(fault("ThrottlingException")), Client(run("SUCCEEDED"))
    held_back = world.start(shared(throttled))
    await world.settle()
    assert await world.until(world.start(shared(fine, profile="other"))) == 0
    assert not held_back.done()


async def test_many_waits_of_one_request_are_one_call_a_round(world: World) -> None:
    client = shared(Client(run("RUNNING")))
    tasks = [world.start(client) for _ in range(100)]
    await world.settle()
    calls = [client.client.calls]
    for _ in range(2):
        await world.settle(11)
        calls.append(client.client.calls)
    assert calls == [1, 2, 3]
    client.client.script = [run("SUCCEEDED")]
    await world.settle(11)
    assert {(await task).polls for task in tasks} == {4}
    assert world.poller.waits == 0


async def test_neither_an_answer_nor_an_error_is_shared_by_reference(world: World) -> None:
    client = shared(Client(run("SUCCEEDED", PredecessorRuns=[{"RunId": "a"}])))
    first, second = await asyncio.gather(world.start(client), world.start(client))
    first["JobRun"]["PredecessorRuns"].clear()
    assert second["JobRun"]["PredecessorRuns"] == [{"RunId": "a"}]

    client = shared(Client(run("FAILED", ErrorMessage="boom")))
    errors = await asyncio.gather(world.start(client), world.start(client), return_exceptions=True)
    assert all(isinstance(error, WaiterFailedError) for error in errors)
    one, two = errors[0], errors[1]
    assert isinstance(one, WaiterFailedError)
    assert isinstance(two, WaiterFailedError)
    assert one is not two
    one.response["JobRun"]["ErrorMessage"] = "changed"
    assert two.response["JobRun"]["ErrorMessage"] == "boom"


async def test_waits_of_one_request_read_its_answer_each_in_their_own_way(world: World) -> None:
    client = shared(Client(run("SUCCEEDED", Id="jr_1")))
    other = dataclasses.replace(JOB, acceptors=Acceptors("w", [Acceptor("failure", "path", "jr_1", "JobRun.Id")]))
    waits = [
        Wait(JOB, 10, 4, (), None), Wait(JOB, 10, 4, (compiled("JobRun.Id"),), None), Wait(other, 10, 4, (), None),
    ]  # fmt: skip
    plain, queried, failed = await asyncio.gather(
        *(world.ended(wait, client, {}) for wait in waits), return_exceptions=True
    )
    assert client.client.calls == 1
    assert isinstance(plain, WaitResponse)
    assert isinstance(queried, WaitResponse)
    assert (plain.last_status, queried.last_status) == ("SUCCEEDED", "jr_1")
    assert isinstance(failed, WaiterFailedError)


async def test_what_a_caller_does_to_its_arguments_later_reaches_nobody(world: World) -> None:
    sent: list[Any] = []

    class Recording(Client):
        async def get_job_run(self, **parameters: Any) -> Any:
            sent.append(str(parameters))
            return await super().get_job_run(**parameters)

    arguments: dict[str, Any] = {"JobName": "j", "RunId": "r", "Extra": ["a"]}
    client = shared(Recording(run("RUNNING")))
    task = asyncio.create_task(world.ended(Wait(JOB, 10, 4, (), None), client, arguments))
    await world.settle()
    arguments["Extra"].append("b")
    await world.settle(11)
    assert len(sent) == 2
    assert sent[0] == sent[1]
    task.cancel()


async def test_a_refused_role_is_no_answer_of_the_polled_service(world: World) -> None:
    """Nor where an acceptor expects that very code of it."""
    client = shared(Client(fault("EntityNotFoundException", operation="AssumeRole")))
    expected = Acceptors("w", [Acceptor("success", "error", "EntityNotFoundException")])
    definition = dataclasses.replace(JOB, acceptors=expected)
    task = asyncio.create_task(world.ended(Wait(definition, 10, 4, (), None), client, {}))
    with pytest.raises(AwsCallError, match="AssumeRole: EntityNotFoundException: as scripted") as error:
        await task
    assert error.value.aws_code == "EntityNotFoundException"
    assert error.value.polls == 0
    assert not world.results


async def test_every_wait_has_a_next_due_time_and_late_ones_are_counted(world: World) -> None:
    client = shared(Client(run("RUNNING")))
    tasks = [world.start(client, run_id=str(number), max_attempts=100) for number in range(20)]
    for _ in range(50):
        await world.settle(1)
        waits = [wait for request in world.poller._requests.values() for wait in request.waits]
        assert len(waits) == 20
        assert all(wait.due_s <= world.now_s + 11 for wait in waits)
        assert world.poller.overdue() == 0
    world.now_s += 45  # a stall: nothing ran
    assert world.poller.overdue() == 20
    await world.settle()
    assert world.poller.overdue() == 0
    assert not any(task.done() for task in tasks)


async def test_progress_is_told_after_each_poll_also_where_it_brought_no_answer(world: World) -> None:
    seen: list[Progress] = []
    client = Client(run("RUNNING"), fault("ThrottlingException"), run("SUCCEEDED"))
    await world.until(world.start(shared(client), on_poll=seen.append))
    assert [(progress.polls, progress.last_status) for progress in seen] == [
        (1, "RUNNING"), (1, "RUNNING"), (2, "SUCCEEDED"),
    ]  # fmt: skip
    assert [progress.trouble is None for progress in seen] == [True, False, True]
    assert "ThrottlingException" in (seen[1].trouble or "")


async def test_a_definition_that_cannot_be_evaluated_fails_each_wait_with_its_own_error(world: World) -> None:
    broken = Acceptors("w", [Acceptor("success", "path", True, "length(Nothing) == `0`")])
    definition = dataclasses.replace(JOB, acceptors=broken)
    client = shared(Client({}))
    waits = [world.ended(Wait(definition, 10, 4, (), None), client, {}) for _ in range(2)]
    one, two = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(one, WaiterDefinitionError)
    assert isinstance(two, WaiterDefinitionError)
    assert one is not two


async def test_a_poller_that_crashes_takes_its_waits_along(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = world.start(shared(Client(run("RUNNING"))))
    await world.settle()

    def crash(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(QuotaGroup, "take", crash)
    await world.settle(11)
    with pytest.raises(RuntimeError, match=r"crashed.*a bug"):
        await task
    assert "aws poller crashed" in caplog.text
    with pytest.raises(RuntimeError, match="not open"):
        await world.start(shared(Client(run("RUNNING"))))


async def test_a_stall_of_the_process_is_caught_up_with_in_pieces(world: World) -> None:
    client = shared(Client(run("RUNNING")))
    tasks = [world.start(client, run_id=str(number), max_attempts=100) for number in range(3000)]
    for _ in range(400):  # the first round is spread over 15 s
        await world.settle(0.1)
    before = client.client.calls
    world.now_s += 100
    world.poller._wake.set()
    await asyncio.sleep(0)
    sent = sum(request.on_its_way for request in world.poller._requests.values())
    assert sent <= 64
    for _ in range(400):
        await world.settle()
    assert client.client.calls >= before + 3000
    for task in tasks:
        task.cancel()
