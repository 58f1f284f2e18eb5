"""Connections to Redis, with every time-out, retry and protocol setting spelt out.

redis-py's defaults change between releases (8.0 brought a socket time-out of 5 s and 10 hidden retries), so none of
them is relied on. Retries are safe here because every verb may be sent twice; a blocking read gets none.
"""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, NoReturn, TypeVar

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from triggerd.errors import RedisRefusedError, RedisUnavailableError, StreamMissingError
from triggerd.streams.script import Call

T = TypeVar("T")

COMMAND_TIMEOUT_MS = 5_000
BLOCK_MS = 1_000
"""How long a blocking read waits. Well below any socket time-out: a BLOCK at or over it never answers."""

_UNAVAILABLE = (RedisConnectionError, RedisTimeoutError, OSError)
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
            retry=redis.retry.Retry(ExponentialBackoff(cap=0.5, base=0.05), retries),
            **_settings(name, command_timeout_ms),
        )
        self._redis: Any = redis.Redis(connection_pool=pool)

    def run(self, call: Call[T]) -> T:
        """Carry out one call.

        Raises:
            RedisUnavailableError: No answer; whether the call was carried out is unknown.
            StreamMissingError, RedisRefusedError: Redis answered with an error.
        """
        try:
            try:
                reply = self._redis.execute_command(*call.command)
            except NoScriptError:
                reply = self._redis.execute_command(*call.whole_script)
        except (RedisError, OSError) as error:
            _raise(call.verb, error)
        return call.read(reply)

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
            retry=redis.asyncio.retry.Retry(ExponentialBackoff(cap=0.5, base=0.05), retries),
            **_settings(name, command_timeout_ms),
        )
        self._redis: Any = redis.asyncio.Redis(connection_pool=pool)

    async def run(self, call: Call[T]) -> T:
        """Carry out one call; errors as in `SyncRedis.run`."""
        try:
            try:
                reply = await self._redis.execute_command(*call.command)
            except NoScriptError:
                reply = await self._redis.execute_command(*call.whole_script)
        except (RedisError, OSError) as error:
            _raise(call.verb, error)
        return call.read(reply)

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
