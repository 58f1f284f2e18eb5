"""The SDK when Redis is away: typed errors in bounded time, and nothing given up that goes on."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.owner import Owner
from tests.support.servers import free_port, redis_binaries
from tests.support.waiting import eventually_sync
from triggerd import AsyncClient, Client
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.keys import QueueKeys
from triggerd.triggers.testing import SuccessTrigger

TRIGGERS = QueueKeys("default").triggers
COMMAND_TIMEOUT_S = 0.5
LONGEST_S = 3 * COMMAND_TIMEOUT_S + 0.1 + 0.2 + 1.2
"""Three attempts, the pauses between them, and slack for a busy machine; the seven of redis-py do not fit in."""


def test_a_result_is_waited_for_through_a_restart_of_redis(own_redis: EmbeddedServer) -> None:
    with Client(own_redis.url, command_timeout=1) as td, Owner(own_redis.url) as owner:
        handle = td.defer(SuccessTrigger(), id="t1")
        [trigger] = owner.claim()
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(handle.result, 40)
            assert not wait([result], timeout=0.3).done
            own_redis.stop()
            assert not wait([result], timeout=1.5).done
            own_redis.start()
            owner.fire(trigger, "after all")
            assert result.result(20).payload == "after all"


@pytest.fixture
def slow_to_load(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the test's own that keeps its data over a restart, and takes its time to load them."""
    with EmbeddedServer(
        binary=redis_binaries()["valkey9"],
        folder=tmp_path / "redis",
        appendonly=True,
        options=["--appendfsync", "always", "--key-load-delay", "100"],
    ) as server:
        yield server


@contextmanager
def frozen(server: EmbeddedServer, raw: Any) -> Iterator[type[Exception]]:
    os.kill(server.pid, signal.SIGSTOP)
    yield RedisUnavailableError
    os.kill(server.pid, signal.SIGCONT)


@contextmanager
def gone(server: EmbeddedServer, raw: Any) -> Iterator[type[Exception]]:
    server.stop()
    yield RedisUnavailableError
    server.start()


@contextmanager
def loading(server: EmbeddedServer, raw: Any) -> Iterator[type[Exception]]:
    with raw.pipeline(transaction=False) as filling:
        for number in range(30_000):
            filling.set(f"filler:{number}", number)
        filling.execute()
    server.stop()
    starting = threading.Thread(target=server.start)
    starting.start()
    eventually_sync(lambda: _is_loading(raw))
    yield RedisUnavailableError
    starting.join()


@contextmanager
def read_only(server: EmbeddedServer, raw: Any) -> Iterator[type[Exception]]:
    raw.replicaof("127.0.0.1", free_port())
    yield RedisRefusedError
    raw.replicaof("NO", "ONE")


@contextmanager
def full(server: EmbeddedServer, raw: Any) -> Iterator[type[Exception]]:
    raw.config_set("maxmemory", 1)
    yield RedisRefusedError
    raw.config_set("maxmemory", 0)


@contextmanager
def wrong_type(server: EmbeddedServer, raw: Any) -> Iterator[type[Exception]]:
    raw.rename(TRIGGERS, "aside")
    raw.set(TRIGGERS, "no stream")
    yield RedisRefusedError
    raw.rename("aside", TRIGGERS)


def _is_loading(raw: Any) -> bool:
    try:
        return bool(raw.info("persistence")["loading"])
    except redis.ConnectionError:
        return False


Trouble = Callable[[EmbeddedServer, Any], AbstractContextManager[type[Exception]]]
TROUBLES = pytest.mark.parametrize("trouble", [frozen, gone, loading, read_only, full, wrong_type])


@TROUBLES
def test_a_defer_in_trouble_is_a_typed_error_soon_and_its_ids_can_be_deferred_again(
    slow_to_load: EmbeddedServer, trouble: Trouble
) -> None:
    with Client(slow_to_load.url, command_timeout=COMMAND_TIMEOUT_S) as td, redis.from_url(slow_to_load.url) as raw:
        td.defer(SuccessTrigger(), id="before")
        with trouble(slow_to_load, raw) as kind:
            began_s = monotonic_s()
            with pytest.raises(kind) as raised:
                td.defer_many({"trigger": SuccessTrigger()} for _ in range(3))
            assert monotonic_s() - began_s <= LONGEST_S
        assert isinstance(raised.value, (RedisUnavailableError, RedisRefusedError))
        ids = raised.value.trigger_ids
        assert len(set(ids)) == 3
        for _ in range(2):
            td.defer_many({"trigger": SuccessTrigger(), "id": name} for name in ids)
        found = [fields[b"id"].decode() for _, fields in raw.xrange(TRIGGERS)]
        assert sorted(found) == sorted(["before", *ids])


@TROUBLES
async def test_the_async_client_says_the_same_in_the_same_time(slow_to_load: EmbeddedServer, trouble: Trouble) -> None:
    async with AsyncClient(slow_to_load.url, command_timeout=COMMAND_TIMEOUT_S) as td:
        with redis.from_url(slow_to_load.url) as raw:
            await td.defer(SuccessTrigger(), id="before")
            with trouble(slow_to_load, raw) as kind:
                began_s = monotonic_s()
                with pytest.raises(kind) as raised:
                    await td.defer(SuccessTrigger(), id="t1")
                assert monotonic_s() - began_s <= LONGEST_S
            assert getattr(raised.value, "trigger_ids", ()) == ("t1",)
            await td.defer(SuccessTrigger(), id="t1")
            assert raw.xlen(TRIGGERS) == 2


def test_every_verb_of_a_handle_is_bounded(own_redis: EmbeddedServer) -> None:
    with Client(own_redis.url, command_timeout=COMMAND_TIMEOUT_S) as td:
        handle = td.defer(SuccessTrigger(), id="t1")
        verbs: list[Callable[[], object]] = [
            handle.status, handle.info, handle.cancel, lambda: handle.extend(60.0 + 2e9), lambda: handle.result(60),
        ]  # fmt: skip
        os.kill(own_redis.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(len(verbs)) as pool:
            began_s = monotonic_s()
            asked = [pool.submit(verb) for verb in verbs]
            errors = [call.exception(30) for call in asked]
            assert monotonic_s() - began_s <= LONGEST_S
        os.kill(own_redis.pid, signal.SIGCONT)
        assert [type(error) for error in errors] == [RedisUnavailableError] * len(verbs)


async def test_a_host_that_answers_nothing_at_all_is_given_up_in_time() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # one connection waits to be accepted; what comes after that is dropped, as by a firewall
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, command_timeout=COMMAND_TIMEOUT_S) as td:
            began_s = monotonic_s()
            with pytest.raises(RedisUnavailableError):
                await asyncio.to_thread(td.defer, SuccessTrigger())
            assert monotonic_s() - began_s <= LONGEST_S
        async with AsyncClient(url, command_timeout=COMMAND_TIMEOUT_S) as async_td:
            began_s = monotonic_s()
            with pytest.raises(RedisUnavailableError):
                await async_td.defer(SuccessTrigger())
            assert monotonic_s() - began_s <= LONGEST_S


def test_a_server_that_has_lost_its_scripts_is_given_them_again(own_redis: EmbeddedServer) -> None:
    with Client(own_redis.url) as td, redis.from_url(own_redis.url) as raw:
        td.defer(SuccessTrigger(), id="before")
        raw.script_flush()
        assert td.defer(SuccessTrigger(), id="after").enqueued == "new"
        own_redis.stop()
        own_redis.start()
        assert td.handle("after").status() == "queued"
