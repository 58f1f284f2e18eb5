"""The SDK's verbs against a real server, as a worker and its caller use them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.owner import Owner
from triggerd import (
    AsyncClient,
    Client,
    Deferrable,
    EnvelopePackError,
    EnvelopeTooLargeError,
    Handle,
    RedisUnavailableError,
    ResultTimeoutError,
    TriggerTimeoutError,
    UnknownTriggerError,
)
from triggerd.errors import EnvelopeDecodeError, NameNotValidError
from triggerd.keys import QueueKeys
from triggerd.streams.script import Call
from triggerd.triggers.testing import SuccessTrigger


def test_a_deferral_can_be_followed_from_queued_to_fired(td: Client, owner: Owner) -> None:
    handle = td.defer(SuccessTrigger(5), timeout=60, id="t1")
    assert (handle.id, handle.queue, handle.enqueued, handle.status()) == ("t1", "default", "new", "queued")
    [trigger] = owner.claim()
    assert handle.status() == "running"
    owner.fire(trigger, {"status": "success", "value": 5})
    assert handle.status() == "fired"
    event = handle.result()
    assert (event.payload, event.event_id, event.outcome) == ({"status": "success", "value": 5}, "t1:1", "fired")
    assert td.handle("t1").result().payload == event.payload
    assert td.defer(SuccessTrigger(5), id="t1").enqueued == "finished"


def test_result_gives_up_in_time_and_the_trigger_goes_on(td: Client) -> None:
    handle = td.defer(SuccessTrigger())
    with pytest.raises(ResultTimeoutError, match="still in flight"):
        handle.result(timeout=0.05)
    assert handle.status() == "queued"


def test_result_of_an_unknown_trigger_says_so_at_once(td: Client) -> None:
    handle = td.handle("never")
    assert handle.status() == "unknown"
    for ask in (handle.result, handle.cancel, lambda: handle.extend(timedelta(hours=1))):
        with pytest.raises(UnknownTriggerError, match="'never' on queue 'default'"):
            ask()


def test_a_waiting_handle_sweeps_the_deadline_though_no_daemon_lives(td: Client) -> None:
    event = td.defer(SuccessTrigger(), timeout=0.01).result(timeout=10)
    with pytest.raises(TriggerTimeoutError):
        event.raise_for_status()


def test_cancel_and_extend_answer_what_happened(td: Client, owner: Owner) -> None:
    waiting, running = td.defer(SuccessTrigger(), id="w"), td.defer(SuccessTrigger(), id="r", queue="other")
    assert waiting.extend(datetime.now(UTC) + timedelta(days=20))
    assert waiting.extend(timedelta(hours=1))
    assert waiting.cancel(by="ann") == "cancelled"
    assert waiting.cancel() == "finished"
    assert not waiting.extend(timedelta(hours=1))
    assert waiting.result().outcome == "cancelled"
    owner.claim("other")
    assert running.cancel() == "requested"


def test_many_deferrals_are_checked_before_the_first_is_sent(td: Client) -> None:
    good = [{"trigger": SuccessTrigger(n), "id": f"t{n}", "queue": f"q{n % 2}"} for n in range(250)]
    with pytest.raises(EnvelopePackError):
        td.defer_many([*good, {"trigger": SuccessTrigger(object())}])
    assert td.handle("t0", queue="q0").status() == "unknown"
    handles = td.defer_many(good)
    assert [handle.id for handle in handles] == [f"t{n}" for n in range(250)]
    assert {handle.status() for handle in handles} == {"queued"}
    assert {handle.enqueued for handle in td.defer_many(good)} == {"in_flight"}


def test_bad_input_fails_at_the_caller_before_anything_is_sent() -> None:
    td = Client("redis://127.0.0.1:1")  # whatever were sent would raise another error
    with pytest.raises(EnvelopePackError, match=r"kwargs\['payload'\]"):
        td.defer(SuccessTrigger(object()))
    with pytest.raises(EnvelopePackError, match="resume"):
        td.defer(SuccessTrigger(), kwargs={"x": object()})
    with pytest.raises(EnvelopeTooLargeError):
        td.defer(SuccessTrigger("x" * 300_000))
    with pytest.raises(EnvelopePackError, match="serialize"):
        td.defer("no trigger")
    with pytest.raises(EnvelopePackError, match="serialize"):
        td.defer(SuccessTrigger)
    with pytest.raises(NameNotValidError, match="queue"):
        td.defer(SuccessTrigger(), queue="a b")
    with pytest.raises(NameNotValidError, match="trigger id"):
        td.defer(SuccessTrigger(), id="")
    for timeout in (0, -1, float("nan"), True, "5"):
        with pytest.raises(ValueError, match="timeout"):
            td.defer(SuccessTrigger(), timeout=timeout)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="result_ttl"):
        Client(result_ttl=10)


def test_no_redis_is_a_typed_error_in_bounded_time() -> None:
    td = Client("redis://127.0.0.1:1", command_timeout=0.2)
    with pytest.raises(RedisUnavailableError):
        td.defer(SuccessTrigger())


class Pause(Deferrable):
    def __init__(self, cluster: str) -> None:
        self.cluster = cluster

    def execute(self, context: dict[str, str]) -> None:
        self.defer(trigger=SuccessTrigger(self.cluster), timeout=60)

    def execute_complete(self, context: dict[str, str], event: object) -> None: ...


def test_start_runs_the_task_and_enqueues_what_it_defers(td: Client) -> None:
    handle = td.start(Pause("dwh"), {"run": "7"}, id="t1")
    assert isinstance(handle, Handle)
    assert handle.status() == "queued"


async def test_the_async_client_has_the_same_verbs(redis_url: str) -> None:
    async with AsyncClient(redis_url) as td:
        handle = await td.defer(SuccessTrigger(1), id="t1", timeout=60)
        [second] = await td.defer_many([{"trigger": SuccessTrigger(2), "id": "t2"}])
        started = await td.start(Pause("dwh"), id="t3")
        assert [await h.status() for h in (handle, second, started)] == ["queued"] * 3
        result = asyncio.create_task(td.handle("t1").result(timeout=10))
        with Owner(redis_url) as owner:
            for trigger in owner.claim():
                owner.fire(trigger, trigger.id)
        assert (await result).payload == "t1"
        assert not await handle.extend(timedelta(hours=1))
        assert await handle.cancel() == "finished"
        with pytest.raises(UnknownTriggerError):
            await td.handle("never").result()
        with pytest.raises(ResultTimeoutError):
            await (await td.defer(SuccessTrigger())).result(timeout=0.02)


def test_an_error_of_redis_names_the_ids_to_defer_again() -> None:
    td = Client("redis://127.0.0.1:1", command_timeout=0.2)
    with pytest.raises(RedisUnavailableError) as unavailable:
        td.defer_many([{"trigger": SuccessTrigger(), "id": "a"}, {"trigger": SuccessTrigger()}])
    named, made = unavailable.value.trigger_ids
    assert named == "a"
    assert len(made) == 32


def test_what_somebody_has_written_by_hand_is_a_typed_error_or_shown_as_far_as_it_goes(td: Client) -> None:
    keys = QueueKeys("default")
    for command in (
        ("SET", keys.done("garbage"), "no result"),
        ("SET", keys.done("words"), "fired one today me\nevent"),
        ("HSET", keys.record("odd"), "entry", "1-1", "deferred", "soon", "seq", "x", "adoptions", "y"),
        ("ZADD", keys.deadlines, "inf", "odd"),
    ):
        td.caller.redis.run(Call("write", command, lambda reply: None))
    for name in ("garbage", "words"):
        for ask in (td.handle(name).status, td.handle(name).result):
            with pytest.raises(EnvelopeDecodeError, match="is no result"):
                ask()
    assert td.handle("odd").status() == "queued"


def test_who_cancels_is_named_in_one_line(td: Client) -> None:
    handle = td.defer(SuccessTrigger())
    with pytest.raises(NameNotValidError, match="by"):
        handle.cancel(by="ann\nIT")
    assert handle.cancel(by="ann of IT") == "cancelled"
    assert handle.result().outcome == "cancelled"


def test_a_multi_event_trigger_needs_a_result_stream() -> None:
    class Several(SuccessTrigger):
        multi_event = True

    with pytest.raises(ValueError, match="name a result stream"):
        Client("redis://127.0.0.1:1").defer(Several(), reply_to=None)
