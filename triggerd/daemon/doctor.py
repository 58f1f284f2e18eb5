"""The doctor: everything about a server and its queues that could cost a trigger, found before it does.

`triggerd doctor` prints what it finds; the daemon's start refuses, waits or warns by it. It costs the server some 20 ms
in a hundred commands, none over 2 ms, however much is in flight: every look is bounded.
"""

import resource
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from triggerd.daemon.doctor_queue import QueueCheck
from triggerd.daemon.doctor_server import (
    check_clock,
    check_durability,
    check_limits,
    check_memory,
    check_replicas,
    check_role,
    check_slow_log,
    check_version,
)
from triggerd.daemon.finding import Asker, Finding
from triggerd.errors import RedisRefusedError
from triggerd.settings import Settings
from triggerd.streams.connection import AsyncRedis
from triggerd.streams.server import config

_INFO = ("server", "clients", "memory", "persistence", "replication")
_FILES_PER_QUEUE = 12
_FILES_BESIDES = 100
_NEAR = ("localhost", "127.0.0.1", "::1", None)


async def examine(redis: AsyncRedis, settings: Settings) -> list[Finding]:
    """All findings, in the order in which they matter to each other.

    Args:
        redis: With room for three connections at least.

    Raises:
        RedisUnavailableError: The server does not answer.
    """
    asker = Asker(redis)
    info = await _info(asker)
    findings = [*check_role(info), *check_version(info)]
    if any(finding.level in ("wait", "refuse") for finding in findings):
        return findings  # nothing else can be found out
    findings += check_memory(info)
    findings += check_durability(info, await asker.ask(config("appendfsync")))
    findings += check_replicas(info, await asker.ask(config("min-replicas-to-write")))
    for part in (check_limits(asker, info), check_clock(asker), check_slow_log(asker)):
        findings += [finding async for finding in part]
    findings += check_environment(settings)
    for queue in settings.queues:
        findings += [finding async for finding in QueueCheck(asker, queue).findings()]
    return findings + [Finding("unchecked", verb, f"not allowed: {why}") for verb, why in asker.refused.items()]


async def _info(asker: Asker) -> Mapping[str, Any]:
    try:
        return await asker.redis.info(*_INFO)
    except RedisRefusedError as error:
        asker.refused["info"] = str(error)
        return {}


def check_environment(settings: Settings) -> Iterator[Finding]:
    """What this side of the connection is like."""
    url = urlsplit(settings.redis.url)
    if url.scheme == "redis" and url.password and url.hostname not in _NEAR:
        yield Finding("warn", "connection", "the password goes over the network in the clear", "use rediss:// (TLS)")
    database = (parse_qs(url.query).get("db") or [url.path.strip("/") if url.scheme != "unix" else ""])[0]
    if database not in ("", "0"):
        advice = "hints go to every database of a server: tell installations apart by queue names, not by databases"
        yield Finding("warn", "connection", f"database {database}", advice)
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_QUEUE * len(settings.queues) + settings.aws.max_concurrent_calls + _FILES_BESIDES
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        advice = "raise it (LimitNOFILE= of the unit, `ulimit -n`)"
        yield Finding("warn", "open files", f"at most {allowed:,}, up to {needed:,} are needed", advice)
