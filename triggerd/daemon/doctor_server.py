"""What the doctor finds out about the server: version, role, memory, durability, limits, clock."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from triggerd.clock import monotonic_s, wall_ms
from triggerd.daemon.finding import Asker, Finding
from triggerd.streams.server import config, server_time_ms, slow_commands

_OLDEST = (6, 2)
_FULL_SHARE = 0.8
_CLOCK_OFF_MS = 1_000.0
_ROUND_TRIP_MS = 5.0
_ROUND_TRIPS = 5
_SLOW_US = 5_000
_SLOW_ENTRIES = 64
_SLOW_WITHIN_S = 3_600.0
_LAG_BYTES = 10 * 1024 * 1024
_HINTS_BYTES = 1024 * 1024
_CLIENTS_SHARE = 0.8

Info = Mapping[str, Any]


def check_role(info: Info) -> Iterator[Finding]:
    """Whether it can be written to now. What is wrong here passes: a failover ends, a data set is loaded."""
    role = info.get("role", "master")
    if role != "master":
        yield Finding("wait", "role", f"{role}, it cannot be written to", "name the master, or wait for the failover")
    elif info.get("loading") or info.get("async_loading"):
        yield Finding("wait", "role", "master, loading its data", "wait until it has loaded them")
    else:
        yield Finding("ok", "role", "master")


def check_version(info: Info) -> Iterator[Finding]:
    """Valkey reports the Redis version whose behaviour it has, 7.2.4, besides its own."""
    version = str(info.get("redis_version", ""))
    parts = version.split(".")[:2]
    shown = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    if not all(part.isdigit() for part in parts):
        yield Finding("unchecked", "version", "the server does not tell")
    elif tuple(map(int, parts)) < _OLDEST:
        yield Finding("refuse", "version", shown, "Redis 6.2 or newer, or Valkey, is needed")
    else:
        yield Finding("ok", "version", shown)


def check_memory(info: Info) -> Iterator[Finding]:
    """Whether it evicts, and how full it is."""
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if limit == 0:
        yield Finding("warn", "memory", f"no maxmemory; {used / 1e6:,.0f} MB are used", (
            "set `maxmemory` with `maxmemory-policy noeviction`: a full server refuses new triggers and goes on with "
            "the old ones, one without a limit is killed by its machine"
        ))  # fmt: skip
    elif policy != "noeviction":
        advice = "it deletes leases and results when memory is full; set `maxmemory-policy noeviction`"
        yield Finding("refuse", "memory", f"maxmemory-policy {policy}", advice)
    else:
        shown = f"{used / 1e6:,.0f} of {limit / 1e6:,.0f} MB are used"
        full = used > _FULL_SHARE * limit
        advice = "when it is full, new triggers are refused: raise `maxmemory`, or shorten result_ttl_s"
        yield Finding("warn", "memory", shown, advice) if full else Finding("ok", "memory", shown)


def check_durability(info: Info, appendfsync: str | None) -> Iterator[Finding]:
    """What a power cut costs."""
    if "aof_enabled" not in info:
        yield Finding("unchecked", "durability", "the server does not tell")
    elif not info["aof_enabled"]:
        advice = "set `appendonly yes`, or a restart of the server loses every trigger in flight"
        yield Finding("warn", "durability", "no append-only file", advice)
    elif info.get("aof_last_write_status", "ok") != "ok":
        advice = "the disk is full or broken: what is acknowledged now may be lost"
        yield Finding(
            "warn", "durability", f"the last write of the append-only file: {info['aof_last_write_status']}", advice
        )
    elif appendfsync is not None and appendfsync != "always":
        advice = "a power cut loses up to 2 s of deferrals, or repeats events; `appendfsync always` costs little"
        yield Finding("warn", "durability", f"appendfsync {appendfsync}", advice)
    else:
        yield Finding("ok", "durability", f"append-only file, appendfsync {appendfsync or 'unknown'}")


def check_replicas(info: Info, min_replicas: str | None) -> Iterator[Finding]:
    """How much a failover would cost."""
    count = int(info.get("connected_slaves", 0))
    if count == 0:
        yield Finding("ok", "replicas", "none")
        return
    written = int(info.get("master_repl_offset", 0))
    behind = False
    for number in range(count):
        replica = info.get(f"slave{number}", {})
        lag_bytes = written - int(replica.get("offset", written))
        if replica.get("state") != "online" or lag_bytes > _LAG_BYTES:
            behind = True
            shown = f"{replica.get('ip')}:{replica.get('port')} is {replica.get('state')}, {lag_bytes:,} bytes behind"
            yield Finding("warn", "replicas", shown, "a failover to it loses what it has not got yet")
    if min_replicas == "0":
        advice = "set `min-replicas-to-write 1`: it narrows what a failover loses"
        yield Finding("warn", "replicas", f"{count}, min-replicas-to-write 0", advice)
    elif not behind:
        yield Finding("ok", "replicas", f"{count}, none behind")


async def check_limits(asker: Asker, info: Info) -> AsyncIterator[Finding]:
    """Limits of the server that cut connections off."""
    timeout_s = await asker.ask(config("timeout"))
    if timeout_s and timeout_s != "0":
        yield Finding(
            "warn", "idle connections", f"timeout {timeout_s}", "set `timeout 0`: it cuts connections that wait"
        )
    buffers = (await asker.ask(config("client-output-buffer-limit")) or "").split()
    hard = buffers[buffers.index("pubsub") + 1] if "pubsub" in buffers else "0"
    if hard.isdigit() and 0 < int(hard) < _HINTS_BYTES:
        advice = "hints are cut off: set `client-output-buffer-limit pubsub 32mb 8mb 60`"
        yield Finding("warn", "pub/sub buffer", f"{int(hard):,} bytes", advice)
    most = int(info.get("maxclients") or await asker.ask(config("maxclients")) or 0)
    there = int(info.get("connected_clients", 0))
    if most and there > _CLIENTS_SHARE * most:
        yield Finding("warn", "clients", f"{there:,} of {most:,} are connected", "raise `maxclients`")


async def check_clock(asker: Asker) -> AsyncIterator[Finding]:
    """Clock and distance. Leases and deadlines are instants of the server's clock."""
    trips_ms, off_ms = [], 0.0
    for _ in range(_ROUND_TRIPS):
        began_s, here_ms = monotonic_s(), wall_ms()
        there_ms = await asker.ask(server_time_ms())
        if there_ms is None:
            return
        trips_ms.append((monotonic_s() - began_s) * 1000)
        off_ms = there_ms - here_ms - trips_ms[-1] / 2
    if abs(off_ms) > _CLOCK_OFF_MS:
        shown = f"the server's is {abs(off_ms) / 1000:,.1f} s {'ahead' if off_ms > 0 else 'behind'}"
        yield Finding(
            "warn", "clock", shown, "keep both machines in time (NTP): deadlines and leases go by the server's"
        )
    else:
        yield Finding("ok", "clock", f"{abs(off_ms):.0f} ms apart")
    nearest_ms = min(trips_ms)
    if nearest_ms > _ROUND_TRIP_MS:
        yield Finding(
            "warn", "round trip", f"{nearest_ms:.1f} ms", "run the daemon near its server: each batch waits for it"
        )
    else:
        yield Finding("ok", "round trip", f"{nearest_ms:.1f} ms")


async def check_slow_log(asker: Asker) -> AsyncIterator[Finding]:
    """Commands that have held the server up within the last hour, whoever sent them."""
    entries = await asker.ask(slow_commands(_SLOW_ENTRIES))
    if entries is None:
        return
    since_s = wall_ms() / 1000 - _SLOW_WITHIN_S
    slow = [entry for entry in entries if entry.took_us > _SLOW_US and entry.at_s >= since_s]
    if not slow:
        yield Finding("ok", "slow log", "nothing over 5 ms within the hour")
        return
    worst = max(slow, key=lambda entry: entry.took_us)
    shown = f"{len(slow)} over 5 ms within the hour, the worst {worst.command} with {worst.took_us / 1000:,.0f} ms"
    yield Finding("warn", "slow log", shown, "each held up every daemon; SLOWLOG GET says who sent them")
