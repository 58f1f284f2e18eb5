"""What the daemon is told: frozen structs, every field with its unit, its default and why."""

from collections.abc import Iterator
from typing import Literal

import msgspec
import redis

from triggerd.connection_settings import ConnectionSettings as ConnectionSettings  # noqa: PLC0414 - it is one of the settings
from triggerd.connection_settings import rules_of
from triggerd.envelope import MAX_ENVELOPE_BYTES
from triggerd.errors import ConfigError, NameNotValidError
from triggerd.keys import check_name
from triggerd.redact import redacted
from triggerd.signing import SigningKeys

_REDIS_SCHEMES = ("redis", "rediss", "unix")


class QuotaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rate that polls may use of one of AWS's quotas, taken as it stands, `AwsSettings.quota_share` left aside."""

    rate_per_s: float
    """Calls per second in the long run."""

    burst: float
    """Calls at once, after a pause."""


class AwsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the daemon talks to AWS."""

    connections: dict[str, ConnectionSettings] = {}
    """Connections by name. ``default`` exists even where it is not listed."""

    waiter_folders: tuple[str, ...] = ()
    """Folders with your own ``<service>.json`` waiters; they go before the shipped ones, in this order. In the
    config file a relative one is relative to that file."""

    max_concurrent_calls: int = 64
    """AWS calls in flight at once, all services together. 64 calls of 100 ms are 640 calls/s, far above any
    default quota; more would only hold memory and sockets while AWS is slow."""

    connect_timeout_s: float = 5.0
    """Seconds to open a connection. Short: a poll that could not be sent is simply sent again."""

    read_timeout_s: float = 20.0
    """Seconds to wait for an answer. Describe calls answer within one or two."""

    keepalive_s: float = 18.0
    """Seconds that an idle connection is kept. AWS closes it after 20."""

    transport: Literal["prepared", "botocore"] = "prepared"
    """How a poll is sent: by the cheap way, which falls back to botocore wherever a request or an answer is unusual,
    or always by botocore, ten times dearer. The second is for finding out whether the first is at fault."""

    unmerged: tuple[str, ...] = ()
    """Services whose waits are polled one by one, as ``("ecs",)``; ``("*",)`` for all. A merged call needs another
    permission (`ecs:DescribeTasks` on all tasks, `glue:GetJobRuns`); where that is denied, single calls
    are made anyway."""

    quotas: dict[str, QuotaSettings] = {}
    """Rates by quota, as ``{"ecs.cluster-read": {"rate_per_s": 40, "burst": 100}}``, where AWS gives your account
    others than the defaults; ``"*"`` stands for every quota that is not named."""

    quota_share: float = 0.65
    """The part of a default quota that polls may use. Your other programs live on the rest."""

    long_polls: int = 32
    """Redshift Data statements at once that are waited for by a call which AWS answers when they end, of up to
    `read_timeout_s` less five seconds. Each holds a connection; beyond this number they are polled like any other.
    0: none."""


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one Redis or Valkey server (>= 6.2) that holds the queues."""

    url: str = "redis://localhost:6379/0"
    """``redis://``, ``rediss://`` (TLS) or ``unix://``, with user and password where the server asks for them."""

    command_timeout_ms: int = 5_000
    """Milliseconds until an unanswered command counts as lost. The longest script takes 10 ms; five seconds
    outlast a slow fsync and a failover's reconnect, and are below `drain_timeout_s`, so a drain can still end."""

    connect_retry_ms: int = 500
    """Milliseconds between attempts while Redis is away; the daemon waits for it for ever and says so."""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The endpoint for Prometheus and health checks: /metrics, /livez, /readyz."""

    enabled: bool = True
    """Serve it at all."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback, because it asks nobody for a password."""

    port: int = 9464
    """TCP port; 0 takes any free one and logs it. 9464 is the port registered for OpenTelemetry's exporter."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes to stderr."""

    format: Literal["json", "console", "auto"] = "auto"
    """One JSON object a line, or lines for people. auto: for people on a terminal, else JSON."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written. Each single trigger's start and end are `debug`, its failure `warning`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the daemon is told."""

    queues: tuple[str, ...] = ("default",)
    """Trigger queues to serve. They share `capacity`; each costs four connections to Redis."""

    capacity: int = 100_000
    """Triggers that run at once. An AWS wait takes up to 4 KiB, so these are 400 MB; the excess stays in Redis."""

    allow: tuple[str, ...] = ()
    """Classpaths of your triggers, exact or with ``*`` as in ``acme.triggers.*``. The bundled triggers and those
    that an installed package announces (entry points ``triggerd.triggers``) are always allowed; nothing else is
    ever imported, whatever stands on the queue."""

    lease_ms: int = 10_000
    """Milliseconds after which a silent daemon's triggers are taken over. It is renewed every third of this, so
    two renewals may be lost; shorter moves work after a mere pause, longer delays it after a crash."""

    result_ttl_s: int = 3_600
    """Seconds that a finished trigger's result is kept and its id recognised. At least 300: a producer that
    retries a defer after that would start a second trigger. 1,000/s for an hour hold about 1.2 GB in Redis."""

    max_envelope_bytes: int = MAX_ENVELOPE_BYTES
    """Bytes of one trigger at most; larger ones are buried undecoded. The SDK refuses what is over the default."""

    signing_keys: tuple[str, ...] = ()
    """Keys of at least 16 bytes that producers sign with, any of which may have been used. With them, what is unsigned
    or wrongly signed is buried undecoded; without, signatures are not looked at. Better from the environment
    (TRIGGERD_SIGNING_KEYS) than from a file; shown nowhere."""

    quarantine_after: int = 3
    """Deaths of its owners after which a trigger runs in a child process first, with others like it; only one that
    ends that process all alone is buried. A drain is no death. 0: never; then a trigger that kills its daemon kills
    one after the other."""

    drain_timeout_s: float = 20.0
    """Seconds from SIGTERM to the exit. Handing over takes one; the rest is for events not yet published and for
    clean-ups. Longer than `redis.command_timeout_ms`, shorter than systemd's TimeoutStopSec (30 in our unit)."""

    redis: RedisSettings = RedisSettings()
    http: HttpSettings = HttpSettings()
    logs: LogSettings = LogSettings()
    aws: AwsSettings = AwsSettings()

    def __repr__(self) -> str:
        return f"Settings({redacted(msgspec.to_builtins(self))})"  # keys and passwords end up in no log


def check(settings: Settings) -> None:
    """Check each value's range and how the values fit together.

    Raises:
        ConfigError: Names the key, its value and why it cannot be.
    """
    for key, value, sound, why in _rules(settings):
        if not sound:
            raise ConfigError(key, value, why)
    _check_url(settings.redis.url)
    if settings.signing_keys:
        SigningKeys(settings.signing_keys)
    for queue in settings.queues:
        try:
            check_name("queue", queue)
        except NameNotValidError as error:
            raise ConfigError("queues", queue, str(error)) from error


def _check_url(url: str) -> None:
    try:
        redis.ConnectionPool.from_url(url).make_connection()  # parsed and built; nothing is connected
    except Exception:  # noqa: BLE001 - redis-py raises what it likes, and repeats parts of the URL: a password, maybe
        why = "not understood; redis://[user[:password]@]host[:port][/db], rediss://..., or unix://path[?db=0]"
        raise ConfigError("redis.url", ..., why) from None


def _rules(settings: Settings) -> Iterator[tuple[str, object, bool, str]]:
    """Every rule as (key, value, whether it holds, what it says)."""
    server, http, aws = settings.redis, settings.http, settings.aws
    yield "queues", settings.queues, bool(settings.queues), "name at least one queue"
    yield ("queues", settings.queues, len(set(settings.queues)) == len(settings.queues), "a queue is named twice")
    yield "capacity", settings.capacity, settings.capacity >= 1, "at least 1"
    yield (
        "lease_ms",
        settings.lease_ms,
        500 <= settings.lease_ms <= 600_000,
        "500 ms to 10 minutes: shorter and a mere pause costs the lease, longer and a crash goes unnoticed",
    )
    yield (
        "result_ttl_s",
        settings.result_ttl_s,
        settings.result_ttl_s >= 300,
        "at least 300 s, or a producer's retried defer becomes a second trigger",
    )
    yield (
        "max_envelope_bytes",
        settings.max_envelope_bytes,
        1024 <= settings.max_envelope_bytes <= MAX_ENVELOPE_BYTES,
        f"1,024 to {MAX_ENVELOPE_BYTES:,} bytes",
    )
    yield "quarantine_after", settings.quarantine_after, settings.quarantine_after >= 0, "0 or more"
    # The URL itself is not repeated: it may hold a password.
    scheme = server.url.partition("://")[0]
    yield (
        "redis.url",
        f"{scheme[:10]}://...",
        scheme in _REDIS_SCHEMES,
        f"begins with one of {', '.join(_REDIS_SCHEMES)}",
    )
    yield ("redis.command_timeout_ms", server.command_timeout_ms, server.command_timeout_ms >= 100, "at least 100 ms")
    yield ("redis.connect_retry_ms", server.connect_retry_ms, server.connect_retry_ms >= 10, "at least 10 ms")
    yield (
        "drain_timeout_s",
        settings.drain_timeout_s,
        86_400 >= settings.drain_timeout_s > server.command_timeout_ms / 1000,
        f"longer than redis.command_timeout_ms ({server.command_timeout_ms} ms), or the last publish is cut off",
    )
    yield "http.port", http.port, 0 <= http.port <= 65_535, "0 to 65535"
    yield "aws.max_concurrent_calls", aws.max_concurrent_calls, aws.max_concurrent_calls >= 1, "at least 1"
    for key in ("connect_timeout_s", "read_timeout_s", "keepalive_s"):
        value = getattr(aws, key)
        yield f"aws.{key}", value, 0 < value < float("inf"), "more than 0"
    yield "aws.quota_share", aws.quota_share, 0 < aws.quota_share <= 1, "above 0, at most 1"
    yield "aws.long_polls", aws.long_polls, aws.long_polls >= 0, "0 or more"
    for name, connection in aws.connections.items():
        for field, sound, why in rules_of(connection):
            yield f"aws.connections.{name}.{field}", ..., sound, why
    for name, quota in aws.quotas.items():
        yield (
            f"aws.quotas.{name}",
            quota,
            quota.rate_per_s > 0 and quota.burst >= 1,
            "a rate above 0, a burst of 1 or more",
        )
