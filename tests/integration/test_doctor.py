"""The doctor and the daemon's start, on real servers with real troubles."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from tests.support.daemon_process import DaemonProcess
from tests.support.owner import Owner
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.cli.main import main
from triggerd.clock import wall_ms
from triggerd.daemon.doctor import check_environment, examine
from triggerd.daemon.doctor_queue import COMMANDS
from triggerd.daemon.finding import Finding
from triggerd.embedded import EmbeddedServer
from triggerd.keys import TRIGGER_GROUP, QueueKeys
from triggerd.settings import RedisSettings, Settings
from triggerd.streams.connection import AsyncRedis
from triggerd.streams.leases import Leases
from triggerd.streams.probe import Probe
from triggerd.triggers.testing import SuccessTrigger

KEYS = QueueKeys("default")


@pytest.fixture
def raw(server: EmbeddedServer) -> Iterator[Any]:
    """redis-py itself on a server of each flavour, whose settings and users are put back afterwards."""
    with redis.Redis.from_url(server.url) as raw:
        before = raw.config_get("*")
        yield raw
        for name, value in before.items():
            if raw.config_get(name) != {name: value}:
                raw.config_set(name, value)
        raw.execute_command("ACL", "DELUSER", "worker")
        raw.replicaof("NO", "ONE")


def doctor(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--redis", url, *arguments], prog_name="triggerd")


def findings(url: str, *arguments: str) -> list[Finding]:
    return [Finding(**found) for found in json.loads(doctor(url, "--json", *arguments).stdout)]


def told(url: str, level: str) -> str:
    return "\n".join(f"{item.about}: {item.found}" for item in findings(url) if item.level == level)


def as_worker(raw: Any, url: str, *rules: str) -> str:
    """The url of a user who may do what these rules say, on the queue `default` only."""
    raw.execute_command("ACL", "SETUSER", "worker", "reset", "on", ">pw", "resetchannels", f"~{KEYS.prefix}*", *rules)
    return url.replace("unix://", "unix://worker:pw@")


def all_keys(raw: Any) -> set[bytes]:
    return set(raw.scan_iter())


def test_a_fit_server_is_exit_0_and_nothing_is_left_behind(server: EmbeddedServer, raw: Any) -> None:
    with Client(server.url) as td, Owner(server.url) as owner:
        td.defer(SuccessTrigger(), id="t1")
        td.defer(SuccessTrigger(), id="t2")
        owner.claim()
        before = {key: raw.dump(key) for key in all_keys(raw) if not key.endswith(b"consumer:" + owner.name.encode())}
        done = doctor(server.url)
        assert done.exit_code == 0, done.output
        for words in ("ok       role           master", "every verb works", "0 wait, 2 run", "1 daemon serves it"):
            assert words in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 100
        after = {key: raw.dump(key) for key in all_keys(raw) if not key.endswith(b"consumer:" + owner.name.encode())}
        assert after == before


def test_peers_hear_nothing_of_the_probe(server: EmbeddedServer, raw: Any) -> None:
    with raw.pubsub(ignore_subscribe_messages=True) as heard:
        heard.psubscribe("triggerd:*")
        assert doctor(server.url).exit_code == 0
        heard.get_message(timeout=0.1)
        channels = set()
        while message := heard.get_message(timeout=0.1):
            channels.add(message["channel"])
    assert channels
    assert KEYS.control.encode() not in channels


def test_a_user_with_just_the_commands_that_we_name_may_do_everything(server: EmbeddedServer, raw: Any) -> None:
    url = as_worker(raw, server.url, f"&{KEYS.prefix}*", *(f"+{command}" for command in COMMANDS.split()))
    found = findings(url)
    assert [item for item in found if item.level == "refuse"] == []
    unchecked = {item.about for item in found if item.level == "unchecked"}
    assert unchecked == {"config", "slowlog", "info", "type", "scan", "version", "durability"}
    assert doctor(url).exit_code == 0
    assert all_keys(raw) == set()


async def test_each_missing_right_is_found_before_it_costs_a_trigger(redis_url: str) -> None:
    unfound = []
    with redis.Redis.from_url(redis_url) as raw:
        for missing in sorted(set(COMMANDS.split()) - {"client|setname", "select", "unsubscribe", "eval"}):
            allowed = [f"+{command}" for command in COMMANDS.split() if command != missing]
            client = AsyncRedis(as_worker(raw, redis_url, f"&{KEYS.prefix}*", *allowed), name="t", max_connections=3)
            result = await Probe(client, "default").run()
            if not result.refusals and not result.oddities:
                unfound.append(missing)
            await client.close()
        raw.execute_command("ACL", "DELUSER", "worker")
    assert unfound == []


def test_a_missing_right_is_named_on_every_server_and_the_daemon_does_not_start(
    server: EmbeddedServer, raw: Any
) -> None:
    url = as_worker(raw, server.url, f"&{KEYS.prefix}*", "+@all", "-xclaim", "-config")
    refused = told(url, "refuse")
    assert "the verb adopt is refused: " in refused
    assert doctor(url).exit_code == 1
    with DaemonProcess(url).start(wait=False) as daemon:
        assert daemon.wait(20) == 2
        assert "queue default: the verb" in daemon.log_text
        assert "+xclaim" in daemon.log_text
    assert all_keys(raw) == set()


def test_a_forbidden_channel_is_found(server: EmbeddedServer, raw: Any) -> None:
    url = as_worker(raw, server.url, "+@all")
    assert "the verb subscribe is refused: " in told(url, "refuse")


def test_a_server_that_evicts_is_refused(server: EmbeddedServer, raw: Any) -> None:
    raw.config_set("maxmemory", "100mb")
    raw.config_set("maxmemory-policy", "volatile-lru")
    assert told(server.url, "refuse") == "memory: maxmemory-policy volatile-lru"
    assert doctor(server.url).exit_code == 1


def test_a_key_of_another_type_is_refused_and_named(server: EmbeddedServer, raw: Any) -> None:
    raw.set(KEYS.triggers, "x")
    raw.rpush(KEYS.deadlines, "x")
    assert told(server.url, "refuse").splitlines() == [
        f"queue default: the key {KEYS.triggers} is a string", f"queue default: the key {KEYS.deadlines} is a list",
    ]  # fmt: skip


def test_a_replica_is_waited_for(server: EmbeddedServer, raw: Any) -> None:
    raw.replicaof("127.0.0.1", "1")
    done = doctor(server.url)
    assert (done.exit_code, "WAITS" in done.stdout) == (1, True)
    with DaemonProcess(server.url).start(wait=False) as daemon:
        eventually_sync(lambda: "role: slave, it cannot be written to" in daemon.log_text, 20)
        raw.replicaof("NO", "ONE")
        daemon.wait_ready()


def test_a_full_server_is_no_reason_to_stay_away(server: EmbeddedServer, raw: Any) -> None:
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", "1mb")
    warned = told(server.url, "warn")
    assert "of 1 MB are used" in warned
    assert "queue default: the verbs could not be tried: " in warned
    assert "used memory > 'maxmemory'" in warned
    assert doctor(server.url).exit_code == 0
    raw.config_set("maxmemory", "0")


def test_settings_of_the_server_are_warned_of(server: EmbeddedServer, raw: Any) -> None:
    raw.config_set("timeout", "300")
    raw.config_set("client-output-buffer-limit", "pubsub 1000 1000 60")
    raw.config_set("slowlog-log-slower-than", "0")
    raw.eval("local n = 0 for i = 1, 30000000 do n = n + i end return n", 0)
    warned = told(server.url, "warn")
    for words in ("durability: no append-only file", "memory: no maxmemory", "idle connections: timeout 300",
                  "pub/sub buffer: 1,000 bytes", "over 5 ms within the hour, the worst EVAL"):  # fmt: skip
        assert words in warned
    raw.slowlog_reset()
    raw.config_set("appendonly", "yes")
    assert "durability: appendfsync everysec" in told(server.url, "warn")
    raw.config_set("appendfsync", "always")
    assert "durability: append-only file, appendfsync always" in told(server.url, "ok")


def test_what_lies_about_in_a_queue_is_warned_of(server: EmbeddedServer, raw: Any) -> None:
    with Client(server.url) as td, Owner(server.url) as owner:
        run = td.caller.redis.run
        for number in range(6):
            td.defer(SuccessTrigger(), id=f"t{number}", reply_to="etl")
        triggers = owner.claim()
        owner.fire(triggers[0], 1)
        raw.xack(KEYS.triggers, TRIGGER_GROUP, triggers[1].entry)
        raw.delete(KEYS.record("t2"))
        raw.xadd(KEYS.dead, {"id": "x"})
        raw.delete(KEYS.consumer(owner.name))
        raw.set(KEYS.events("wrong"), "x")
        left_behind = f"{KEYS.prefix}probe-{wall_ms() - 4_000_000}-0a:dead"
        raw.set(left_behind, "x")
        warned = told(server.url, "warn")
        for words in (
            "queue default: 1 dead letters",
            f"queue default: 4 triggers of dead consumers ({owner.name})",
            "queue default: 1 of the 5 oldest entries were handed out and belong to nobody",
            "queue default: 1 of the 5 earliest deadlines are of no trigger",
            "result stream etl: 1 events, and no Resumer",
            f"result stream wrong: the key {KEYS.events('wrong')} is a string",
        ):
            assert words in warned
        assert not raw.exists(left_behind)
        run(Leases("default").renew("resumer", 60_000))
        raw.xgroup_create(KEYS.events("etl"), "resumers", "0")
        raw.xreadgroup("resumers", "resumer", {KEYS.events("etl"): ">"})
        assert "result stream etl: 1 events, 1 Resumers" in told(server.url, "ok")


def test_long_streams_and_large_entries_are_warned_of(server: EmbeddedServer, raw: Any) -> None:
    with raw.pipeline(transaction=False) as pipe:
        for _ in range(10_001):
            pipe.xadd(KEYS.events("etl"), {"id": "x"})
        for _ in range(1_000):
            pipe.xadd(KEYS.triggers, {"id": "x", "env": b"x" * 3_000})
        pipe.execute()
    raw.xgroup_create(KEYS.events("etl"), "resumers", "0")
    with Client(server.url) as td:
        td.caller.redis.run(Leases("default").renew("resumer", 60_000))
    raw.xreadgroup("resumers", "resumer", {KEYS.events("etl"): ">"}, count=1)
    warned = told(server.url, "warn")
    assert "result stream etl: 10,001 events" in warned
    assert "bytes per entry of its stream" in warned


def test_the_daemon_says_each_warning_in_one_line_and_starts(redis_url: str) -> None:
    with DaemonProcess(redis_url) as daemon:
        lines = [line for line in daemon.log_records() if line["event"] == "doctor"]
        # The slow log is the whole server's, which earlier tests have kept busy.
        assert [line["about"] for line in lines if line["about"] != "slow log"] == ["memory", "durability"]
        [answers] = [line for line in daemon.log_records() if line["event"] == "Redis answers"]
        assert answers["server"].startswith("Valkey")


def test_no_server_is_exit_4(redis_url: str) -> None:
    done = doctor("redis://ann:hunter2@127.0.0.1:1")
    assert (done.exit_code, done.stderr.count("\n"), "hunter2" in done.stderr) == (4, 1, False)
    assert doctor(redis_url, "--queue", "a b").exit_code == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://:pw@redis-1:6379/0", "in the clear"),
        ("redis://redis-1/3", "database 3"),
        ("unix:///run/redis.sock?db=2", "database 2"),
        ("rediss://:pw@redis-1/0", ""),
        ("redis://:pw@localhost", ""),
    ],
)
def test_what_a_url_says_about_the_connection(url: str, words: str) -> None:
    found = " ".join(item.found for item in check_environment(Settings(redis=RedisSettings(url=url))))
    assert words in found
    assert bool(found) == bool(words)


async def test_a_probe_that_is_refused_midway_leaves_nothing_behind(redis_url: str) -> None:
    client = AsyncRedis(redis_url, name="t", retries=0, max_connections=3)
    with redis.Redis.from_url(redis_url) as raw:
        raw.execute_command("ACL", "SETUSER", "default", "-xreadgroup")
        try:
            result = await Probe(client, "default").run()
        finally:
            raw.execute_command("ACL", "SETUSER", "default", "+xreadgroup")
        assert "claim" in result.refusals
        assert all_keys(raw) == set()
        found = await examine(client, Settings(redis=RedisSettings(url=redis_url)))
        assert "refuse" not in {item.level for item in found}
    await client.close()
