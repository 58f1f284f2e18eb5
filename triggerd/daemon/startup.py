"""Checks of the Redis server before the daemon serves from it."""

import asyncio
from typing import Any

from triggerd.daemon.consumer import Backoff
from triggerd.errors import ConfigError, RedisRefusedError, RedisUnavailableError
from triggerd.logs import get_logger
from triggerd.settings import RedisSettings
from triggerd.streams.connection import AsyncRedis

_OLDEST = (6, 2)

log = get_logger("triggerd.startup")


async def wait_for_redis(settings: RedisSettings) -> None:
    """Return once the server answers as a master and is fit to hold queues. Waits as long as it takes, and says so.

    Raises:
        ConfigError: The server is too old, or throws keys away when its memory is full.
    """
    redis = AsyncRedis(
        settings.url,
        name="triggerd-startup",
        command_timeout_ms=settings.command_timeout_ms,
        retries=0,
        max_connections=1,
    )
    backoff = Backoff(first_s=settings.connect_retry_ms / 1000, longest_s=settings.connect_retry_ms / 1000)
    try:
        while True:
            try:
                info = await redis.info("server", "memory", "replication")
                _check(info)
            except RedisUnavailableError as error:
                if backoff.failures % 20 == 0:
                    log.warning("waiting for Redis", url=settings.url, error=str(error))
                await asyncio.sleep(backoff.next_s())
                continue
            except RedisRefusedError as error:
                log.warning("the server cannot be checked (INFO is refused)", error=str(error))
                return
            return
    finally:
        await redis.close()


def _check(info: dict[str, Any]) -> None:
    if info.get("role", "master") != "master":  # a failover under way: it ends without our doing
        raise RedisUnavailableError("this server is a replica, it cannot be written to")
    # Valkey reports the Redis version whose behaviour it has, 7.2.4, besides its own.
    version = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise ConfigError("redis.url", f"Redis {version}", "Redis 6.2 or newer, or Valkey, is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if int(info.get("maxmemory", 0)) > 0 and policy != "noeviction":
        raise ConfigError(
            "redis.url",
            f"maxmemory-policy {policy}",
            "it deletes leases and results when memory is full; set `maxmemory-policy noeviction`",
        )
    log.info("Redis answers", version=info.get("valkey_version", version), server=info.get("server_name", "redis"))
