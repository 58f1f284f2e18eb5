"""Connections to Redis, with every time-out, retry and protocol setting spelt out.

redis-py's defaults change between releases (8.0 brought a socket time-out of 5 s and 10 hidden retries), so none of
them is relied on. Retries are safe here because every verb may be sent twice; a blocking read gets none. They are
made here and not by redis-py, which retries the handshake of each of its retries: 7 time-outs in place of 3.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.utils import HIREDIS_AVAILABLE

from triggerd.errors import RedisRefusedError, RedisUnavailableError, StreamMissingError
from triggerd.streams.pipeline import Pipeline, without
from triggerd.streams.script import Call

T = TypeVar("T")

COMMAND_TIMEOUT_MS = 5_000
BLOCK_MS = 1_000
"""How long a blocking read waits. Well below any socket time-out: a BLOCK at or over it never answers."""

_FIRST_PAUSE_S = 0.1
_UNAVAILABLE = (RedisConnectionError, RedisTimeoutError, OSError)
_WORTH_A_RETRY = (*_UNAVAILABLE, ReadOnlyError)
_AWAY = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")


def _settings(name: str, timeout_ms: int) -> dict[str, Any]:
    return {
        "client_name": name,
        "protocol": 2,
        "decode_responses": False,
        "encoding": "utf-8",
        "encoding_errors": "surrogateescape",
        "socket_timeout": timeout_ms / 1000,
        "socket_connect_timeout": timeout_ms / 1000,
        "health_check_interval": 0,
        "retry_on_timeout": False,
        # Nothing was done, and after a failover the address may mean another server: redis-py closes the connection.
        "retry_on_error": [ReadOnlyError],
    }


@functools.cache
def _packing_in_c(kind: type[Any]) -> type[Any]:
    """The same kind of connection, which leaves the packing of a script's arguments to hiredis where that is installed.

    redis-py does it in Python on the asyncio side, argument by argument: 5 us of the 50 that a trigger costs.
    """
    if not HIREDIS_AVAILABLE:
        return kind
    pack_in_c = HiredisRespSerializer().pack

    class PackingInC(kind):  # type: ignore[misc]  # chosen by the URL's scheme
        def pack_command(self, *args: Any) -> Any:
            try:
                return pack_in_c(*args)
            except UnicodeEncodeError:  # a foreign producer's stray bytes, as surrogates
                return super().pack_command(*args)

    return PackingInC


def _pauses_s(retries: int) -> Iterator[float | None]:
    """The pause after each attempt, a growing one; None: it was the last."""
    yield from (_FIRST_PAUSE_S * 2**number for number in range(retries))
    yield None


def _raise(verb: str, error: Exception) -> NoReturn:
    message = f"{verb}: {error}"
    if isinstance(error, _UNAVAILABLE) or str(error).startswith(_AWAY):
        raise RedisUnavailableError(message) from error
    if "NOGROUP" in str(error) or "UNBLOCKED" in str(error):
        raise StreamMissingError(message) from error
    raise RedisRefusedError(message) from error


class SyncRedis:
    """Carries calls out for code without an event loop; threads may share it.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        name: Shown by CLIENT LIST.
        command_timeout_ms: No answer within this time (per attempt) raises RedisUnavailableError.
        retries: Attempts after the first where the connection failed or timed out.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        command_timeout_ms: int = COMMAND_TIMEOUT_MS,
        retries: int = 2,
        max_connections: int = 50,
    ) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=command_timeout_ms / 1000,
            retry=redis.retry.Retry(NoBackoff(), 0),
            **_settings(name, command_timeout_ms),
        )
        self._redis: Any = redis.Redis(connection_pool=pool)
        self._retries = retries

    def run(self, call: Call[T]) -> T:
        """Carry out one call.

        Raises:
            RedisUnavailableError: No answer; whether the call was carried out is unknown.
            StreamMissingError, RedisRefusedError: Redis answered with an error.
        """
        return self._attempt(call, self._retries)

    def run_all(self, calls: Sequence[Call[T]]) -> list[T]:
        """Carry out calls, in order, several of them under way on one connection before the first is answered.

        Errors as in `run`, in the same time; the calls after one that failed may have been carried out.
        """
        answers: dict[int, T] = {}
        retries = self._retries
        while left := without(answers, calls):
            # The first one by itself: with a server that is away, or does not know the script, no other is begun.
            first = min(left)
            answers[first] = self._attempt(left.pop(first), retries)
            pipeline = Pipeline(left)
            try:
                self._carry_out(pipeline)
                retries = self._retries
            except (RedisError, OSError):
                retries = max(0, self._retries - 1)  # this was the first attempt of those that are left
            answers |= pipeline.answers
        return [answers[number] for number in range(len(calls))]

    def _attempt(self, call: Call[T], retries: int) -> T:
        for pause_s in _pauses_s(retries):
            try:
                return call.read(self._send(call))
            except (RedisError, OSError) as error:
                if pause_s is None or not isinstance(error, _WORTH_A_RETRY):
                    _raise(call.verb, error)
            time.sleep(pause_s)
        raise AssertionError("the last attempt has raised")

    def _carry_out(self, pipeline: Pipeline[Any]) -> None:
        if not pipeline:
            return
        with self._redis.client() as client:
            line = client.connection
            try:
                while pipeline:
                    for packed in pipeline.writes(line.pack_command):
                        line.send_packed_command(packed)
                    try:
                        reply = line.read_response()
                    except ResponseError as error:
                        reply = error
                    pipeline.answered(reply)
            finally:
                if pipeline.waits:  # or the next user of the connection would read them
                    line.disconnect()

    def _send(self, call: Call[Any]) -> Any:
        try:
            return self._redis.execute_command(*call.command)
        except NoScriptError:
            return self._redis.execute_command(*call.whole_script)

    def close(self) -> None:
        """Close every connection."""
        self._redis.connection_pool.disconnect()
        self._redis.close()


class AsyncRedis:
    """`SyncRedis` for an event loop; tasks of one loop may share it. Arguments and errors are the same."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        command_timeout_ms: int = COMMAND_TIMEOUT_MS,
        retries: int = 2,
        max_connections: int = 50,
    ) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=command_timeout_ms / 1000,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
            **_settings(name, command_timeout_ms),
        )
        kind: Any = pool.connection_class
        pool.connection_class = _packing_in_c(kind)
        self._redis: Any = redis.asyncio.Redis(connection_pool=pool)
        self._retries = retries

    async def run(self, call: Call[T]) -> T:
        """Carry out one call; errors as in `SyncRedis.run`."""
        return await self._attempt(call, self._retries)

    async def run_all(self, calls: Sequence[Call[T]]) -> list[T]:
        """As `SyncRedis.run_all`."""
        answers: dict[int, T] = {}
        retries = self._retries
        while left := without(answers, calls):
            # The first one by itself: with a server that is away, or does not know the script, no other is begun.
            first = min(left)
            answers[first] = await self._attempt(left.pop(first), retries)
            pipeline = Pipeline(left)
            try:
                await self._carry_out(pipeline)
                retries = self._retries
            except (RedisError, OSError):
                retries = max(0, self._retries - 1)  # this was the first attempt of those that are left
            answers |= pipeline.answers
        return [answers[number] for number in range(len(calls))]

    async def _attempt(self, call: Call[T], retries: int) -> T:
        for pause_s in _pauses_s(retries):
            try:
                return call.read(await self._send(call))
            except (RedisError, OSError) as error:
                if pause_s is None or not isinstance(error, _WORTH_A_RETRY):
                    _raise(call.verb, error)
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt has raised")

    async def _carry_out(self, pipeline: Pipeline[Any]) -> None:
        if not pipeline:
            return
        async with self._redis.client() as client:
            line, task = client.connection, asyncio.current_task()
            cancels = task.cancelling() if task else 0
            try:
                while pipeline:
                    for packed in pipeline.writes(line.pack_command):
                        await line.send_packed_command(packed)
                    if task and task.cancelling() > cancels:
                        raise asyncio.CancelledError  # Python 3.11's wait_for, with which redis-py sends, swallows some
                    try:
                        reply = await line.read_response()
                    except ResponseError as error:
                        reply = error
                    pipeline.answered(reply)
            finally:
                if pipeline.waits:  # or the next user of the connection would read them
                    await line.disconnect(nowait=True)

    async def _send(self, call: Call[Any]) -> Any:
        try:
            return await self._redis.execute_command(*call.command)
        except NoScriptError:
            return await self._redis.execute_command(*call.whole_script)

    async def info(self, *sections: str) -> dict[str, Any]:
        """The server's INFO, for start-up checks: versions, role, memory policy."""
        try:
            answers = [await self._redis.info(section) for section in sections]
        except (RedisError, OSError) as error:
            _raise("info", error)
        return {key: value for answer in answers for key, value in answer.items()}

    async def hints(self, channel: str) -> AsyncGenerator[bytes, None]:
        """The messages of a pub/sub channel, until the iterator is closed. Hints only: some may be lost."""
        pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(channel)
            while True:
                message = await pubsub.get_message(timeout=BLOCK_MS / 1000)
                if message is not None:
                    yield message["data"]
        except (RedisError, OSError) as error:
            _raise("subscribe", error)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()

    async def close(self) -> None:
        """Close every connection."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()
