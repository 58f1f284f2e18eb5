"""The daemon's start: it waits for Redis, and serves from no server that would cost it a trigger.

What is wrong with the user's waiters is said before any of them is used.
"""

import asyncio

from triggerd.daemon.consumer import Backoff
from triggerd.daemon.doctor import examine
from triggerd.daemon.doctor_waiters import check_waiters
from triggerd.daemon.finding import Finding
from triggerd.errors import ConfigError, RedisUnavailableError
from triggerd.logs import get_logger
from triggerd.settings import Settings
from triggerd.streams.connection import AsyncRedis

_SAY_EVERY = 20  # attempts
_CONNECTIONS = 3

log = get_logger("triggerd.startup")


async def look_at_waiters(settings: Settings) -> None:
    """Warn of what is wrong in the user's waiter folders.

    Raises:
        ConfigError: One of them, or a file in it, cannot be read.
    """
    folders = settings.aws.waiter_folders
    if not folders:
        return
    findings = await asyncio.to_thread(lambda: list(check_waiters(folders)))
    for finding in findings:
        if finding.level == "refuse":
            raise ConfigError("aws.waiter_folders", ..., f"{finding.found}: {finding.advice}")
    _warn(findings)


async def wait_for_redis(settings: Settings) -> None:
    """Return once the server answers as a master and is fit to hold queues. Waits as long as it takes, and says so.

    Raises:
        ConfigError: The doctor refuses the server.
    """
    redis = AsyncRedis(
        settings.redis.url,
        name="triggerd-startup",
        command_timeout_ms=settings.redis.command_timeout_ms,
        retries=0,
        max_connections=_CONNECTIONS,
    )
    pause_s = settings.redis.connect_retry_ms / 1000
    backoff = Backoff(first_s=pause_s, longest_s=pause_s)
    findings: list[Finding] | None = None
    try:
        while findings is None:
            findings = await _fit_server(redis, settings, backoff)
    finally:
        await redis.close()
    _tell(findings)


async def _fit_server(redis: AsyncRedis, settings: Settings, backoff: Backoff) -> list[Finding] | None:
    """What the doctor finds; None, after a pause, where it has to be tried again."""
    try:
        findings = await examine(redis, settings)
        _check_servable(findings)
    except RedisUnavailableError as error:
        if backoff.failures % _SAY_EVERY == 0:
            log.warning("waiting for Redis", url=settings.redis.url, error=str(error))
        await asyncio.sleep(backoff.next_s())
        return None
    return findings


def _check_servable(findings: list[Finding]) -> None:
    for finding in findings:
        if finding.level == "wait":  # a failover under way: it ends without our doing
            raise RedisUnavailableError(f"{finding.about}: {finding.found}")
    refusals = [finding for finding in findings if finding.level == "refuse"]
    if refusals:
        for also in refusals[1:]:
            log.error("the server is not fit", about=also.about, found=also.found, advice=also.advice)
        first = refusals[0]
        raise ConfigError("redis.url", ..., f"{first.about}: {first.found}: {first.advice} (`triggerd doctor`)")


def _tell(findings: list[Finding]) -> None:
    """A line per warning, and one for all that is well."""
    _warn(findings)
    unchecked = [finding.about for finding in findings if finding.level == "unchecked"]
    version = next((finding.found for finding in findings if finding.about == "version"), "")
    log.info("Redis answers", server=version, not_checked=unchecked)


def _warn(findings: list[Finding]) -> None:
    for finding in findings:
        if finding.level == "warn":
            log.warning("doctor", about=finding.about, found=finding.found, advice=finding.advice)
