"""`defer_many` has several batches under way: trouble in the middle loses none, and none is enqueued twice."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from tests.fault.test_client_faults import COMMAND_TIMEOUT_S, LONGEST_S, TRIGGERS, Trouble, frozen, full, gone
from tests.support.proxy import Proxy
from tests.support.waiting import eventually_sync
from triggerd import AsyncClient, Client
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.keys import ENV, ID
from triggerd.streams.script import script
from triggerd.triggers.testing import SuccessTrigger

Many = list[dict[str, Any]]
Defer = Callable[[str, Many], list[str]]
SLOWLY_S = 0.01
"""How long a proxy holds each batch back, so that there is a middle."""


def many(count: int) -> Many:
    return [{"trigger": SuccessTrigger(), "id": f"t{number}"} for number in range(count)]


def by_client(url: str, deferrals: Many) -> list[str]:
    with Client(url, command_timeout=COMMAND_TIMEOUT_S) as td:
        return [handle.enqueued for handle in td.defer_many(deferrals)]


def by_async_client(url: str, deferrals: Many) -> list[str]:
    async def defer() -> list[str]:
        async with AsyncClient(url, command_timeout=COMMAND_TIMEOUT_S) as td:
            return [handle.enqueued for handle in await td.defer_many(deferrals)]

    return asyncio.run(defer())


BOTH = pytest.mark.parametrize("defer", [by_client, by_async_client])


def ids_there(raw: Any) -> list[str]:
    return [fields[ID.encode()].decode() for _, fields in raw.xrange(TRIGGERS)]


@BOTH
@pytest.mark.parametrize("after_bytes", [0, 3])
def test_a_reply_lost_in_the_middle(own_redis: EmbeddedServer, defer: Defer, after_bytes: int) -> None:
    with Proxy(own_redis.socket_path) as proxy, redis.from_url(own_redis.url) as raw:
        raw.script_load(script("enqueue").source)
        lost = proxy.lose_reply(b"t1550\r\n", after_bytes=after_bytes)
        answers = defer(proxy.url, many(3_000))
        lost.wait()
        assert len(answers) == 3_000
        assert set(answers) <= {"new", "in_flight"}
        assert sorted(ids_there(raw)) == sorted(each["id"] for each in many(3_000))


@BOTH
def test_scripts_that_are_flushed_all_the_time(own_redis: EmbeddedServer, defer: Defer) -> None:
    done = threading.Event()

    def flush() -> None:
        with redis.from_url(own_redis.url) as raw:
            while not done.is_set():
                raw.script_flush()

    with ThreadPoolExecutor(1) as pool, redis.from_url(own_redis.url) as raw:
        flushing = pool.submit(flush)
        try:
            answers = defer(own_redis.url, many(3_000))
        finally:
            done.set()
        flushing.result()
        assert answers == ["new"] * 3_000, "no reply was lost, so none was sent twice"
        assert raw.xlen(TRIGGERS) == 3_000


@BOTH
def test_triggers_stand_in_the_order_in_which_they_were_deferred(own_redis: EmbeddedServer, defer: Defer) -> None:
    deferrals = many(1_050)
    defer(own_redis.url, deferrals)
    with redis.from_url(own_redis.url) as raw:
        assert ids_there(raw) == [each["id"] for each in deferrals]


@BOTH
@pytest.mark.parametrize("trouble", [frozen, gone, full])
def test_trouble_in_the_middle_is_a_typed_error_soon_and_all_can_be_deferred_again(
    own_redis: EmbeddedServer, defer: Defer, trouble: Trouble
) -> None:
    deferrals = many(5_000)
    with ThreadPoolExecutor(1) as pool, redis.from_url(own_redis.url) as raw, Proxy(own_redis.socket_path) as proxy:
        proxy.to_server_s = SLOWLY_S
        deferring = pool.submit(defer, proxy.url, deferrals)
        eventually_sync(lambda: raw.xlen(TRIGGERS) >= 500)
        with trouble(own_redis, raw) as kind:
            began_s = monotonic_s()
            error = deferring.exception(30)
            assert monotonic_s() - began_s <= LONGEST_S
        assert type(error) is kind
        assert isinstance(error, (RedisUnavailableError, RedisRefusedError))
        assert error.trigger_ids == tuple(each["id"] for each in deferrals)
        defer(own_redis.url, deferrals)
        assert len(set(ids_there(raw))) == raw.xlen(TRIGGERS) == 5_000


async def test_replies_that_a_cancelled_defer_many_left_unread_are_nobodys_answer(own_redis: EmbeddedServer) -> None:
    with Proxy(own_redis.socket_path) as proxy, redis.from_url(own_redis.url) as raw:
        proxy.to_server_s = SLOWLY_S
        async with AsyncClient(proxy.url) as td:
            deferring = asyncio.create_task(td.defer_many(many(5_000)))
            await asyncio.to_thread(eventually_sync, lambda: raw.xlen(TRIGGERS) >= 500)
            deferring.cancel()
            with pytest.raises(asyncio.CancelledError):
                await deferring
            assert (await td.defer(SuccessTrigger(), id="after")).enqueued == "new"
            assert await td.handle("t0").status() == "queued"


@BOTH
def test_large_deferrals_are_bounded_in_bytes_and_all_arrive(own_redis: EmbeddedServer, defer: Defer) -> None:
    deferrals = [{"trigger": SuccessTrigger("x" * 200_000), "id": f"t{number}"} for number in range(60)]
    assert defer(own_redis.url, deferrals) == ["new"] * 60
    with redis.from_url(own_redis.url) as raw:
        assert all(len(fields[ENV.encode()]) > 200_000 for _, fields in raw.xrange(TRIGGERS))
