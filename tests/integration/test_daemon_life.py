"""A daemon's life as a process: start, health, drain, crash, and a Redis that comes and goes."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.servers import REPOSITORY, free_port
from tests.support.triggers import FileTrigger
from tests.support.waiting import eventually, eventually_sync
from triggerd import Client
from triggerd.daemon.consumer import end_task
from triggerd.daemon.daemon import Daemon
from triggerd.embedded import EmbeddedServer
from triggerd.keys import QueueKeys
from triggerd.settings import HttpSettings, RedisSettings, Settings
from triggerd.triggers.testing import SuccessTrigger

ENV = {"TRIGGERD_ALLOW": "tests.support.triggers.*", "TRIGGERD_LEASE_MS": "1500"}


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_sigterm_hands_over_and_a_second_daemon_finishes(redis_url: str, td: Client, tmp_path: Path) -> None:
    go, stopped = tmp_path / "go", tmp_path / "stopped"
    with DaemonProcess(redis_url, env=ENV) as first:
        handles = [td.defer(FileTrigger(path=str(go), cancelled=str(stopped)), reply_to=None) for _ in range(200)]
        eventually_sync(lambda: all(handle.status() == "running" for handle in handles))
        with DaemonProcess(redis_url, env=ENV) as second:
            began_s = time.monotonic()
            assert first.stop(deadline_s=10) == 0
            eventually_sync(lambda: [line for line in second.log_records() if line["event"] == "adopted"], 5)
            assert time.monotonic() - began_s < 2.0
            adopted = [line for line in second.log_records() if line["event"] == "adopted"]
            assert sum(line["triggers"] for line in adopted) == 200
            assert all(line["drained"] for line in adopted)
            go.touch()
            assert {handle.result(timeout=20).outcome for handle in handles} == {"fired"}
    assert not stopped.exists()


def test_an_event_that_redis_refuses_keeps_no_other_trigger_from_being_handed_over(
    redis_url: str, td: Client, tmp_path: Path
) -> None:
    env = {**ENV, "TRIGGERD_LEASE_MS": "60000", "TRIGGERD_DRAIN_TIMEOUT_S": "6"}
    with redis.Redis.from_url(redis_url) as raw, DaemonProcess(redis_url, env=env) as first:
        raw.set(QueueKeys("default").events("taken"), "by somebody else")
        td.defer(SuccessTrigger(), reply_to="taken")
        handle = td.defer(FileTrigger(path=str(tmp_path / "go")), reply_to=None)
        eventually_sync(lambda: handle.status() == "running" and "refused by Redis" in first.log_text)
        assert first.stop(deadline_s=10) == 0
        assert "handed over" in {record["event"] for record in first.log_records()}


def test_a_killed_daemons_triggers_are_finished_by_its_successor(redis_url: str, td: Client, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with DaemonProcess(redis_url, env=ENV) as first:
        handles = [td.defer(FileTrigger(path=str(go)), reply_to=None) for _ in range(200)]
        eventually_sync(lambda: all(handle.status() == "running" for handle in handles))
        first.kill()
    go.touch()
    with DaemonProcess(redis_url, env=ENV):
        assert {handle.result(timeout=30).outcome for handle in handles} == {"fired"}


@pytest.mark.deadline(120)
def test_10_000_triggers_survive_a_daemon_killed_in_mid_flight(redis_url: str, td: Client) -> None:
    handles = td.defer_many([{"trigger": SuccessTrigger(n), "reply_to": None} for n in range(10_000)])
    with DaemonProcess(redis_url, env=ENV) as first:
        eventually_sync(lambda: handles[2_000].status() == "fired")
        first.kill()
    with DaemonProcess(redis_url, env=ENV):
        assert {handle.result(timeout=60).outcome for handle in handles} == {"fired"}


def test_a_second_signal_ends_the_process_at_once(redis_url: str, td: Client, own_redis: EmbeddedServer) -> None:
    with DaemonProcess(own_redis.url, env=ENV) as daemon, Client(own_redis.url) as client:
        assert client.defer(SuccessTrigger(1), reply_to=None).result(timeout=10).payload == 1
        os.kill(own_redis.pid, signal.SIGSTOP)  # it answers nothing, so a drain lasts until the time-out
        try:
            daemon.signal(signal.SIGTERM)
            eventually_sync(lambda: "draining" in daemon.log_text)
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(2) == 128 + signal.SIGTERM
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)


def test_a_drain_without_redis_ends_in_time_with_status_0(own_redis: EmbeddedServer) -> None:
    env = {**ENV, "TRIGGERD_DRAIN_TIMEOUT_S": "3", "TRIGGERD_REDIS__COMMAND_TIMEOUT_MS": "1000"}
    with DaemonProcess(own_redis.url, env=env) as daemon:
        own_redis.stop()
        assert daemon.stop(deadline_s=6) == 0
        own_redis.start()


def test_a_daemon_waits_for_redis_at_its_start_and_says_so(own_redis: EmbeddedServer) -> None:
    own_redis.stop()
    daemon = DaemonProcess(own_redis.url, env=ENV)
    with contextlib.closing(daemon.start(wait=False)):
        eventually_sync(lambda: "waiting for Redis" in daemon.log_text, 20)
        assert get(f"{daemon.http_url}/livez")[0] == 200
        status, text = get(f"{daemon.http_url}/readyz")
        assert (status, "[-]started" in text) == (503, True)
        own_redis.start()
        daemon.wait_ready()
        eventually_sync(lambda: get(f"{daemon.http_url}/readyz")[0] == 200)


@pytest.mark.deadline(120)
def test_a_daemon_outlives_redis_and_goes_on_with_its_runs(own_redis: EmbeddedServer, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with DaemonProcess(own_redis.url, env=ENV) as daemon, Client(own_redis.url) as client:
        handles = [client.defer(FileTrigger(path=str(go)), reply_to=None) for _ in range(20)]
        eventually_sync(lambda: all(handle.status() == "running" for handle in handles))
        own_redis.stop()
        go.touch()
        eventually_sync(lambda: get(f"{daemon.http_url}/readyz")[0] == 503)
        assert get(f"{daemon.http_url}/livez")[0] == 200
        assert "triggerd_redis_up 0.0" in get(f"{daemon.http_url}/metrics")[1]
        own_redis.start()
        assert {handle.result(timeout=20).outcome for handle in handles} == {"fired"}
        eventually_sync(lambda: get(f"{daemon.http_url}/readyz")[0] == 200)


def test_a_flushed_server_is_served_again_with_a_new_group(own_redis: EmbeddedServer) -> None:
    with DaemonProcess(own_redis.url, env=ENV), Client(own_redis.url) as client:
        with redis.Redis.from_url(own_redis.url) as server:
            server.flushall()
        assert client.defer(SuccessTrigger(2), reply_to=None).result(timeout=20).payload == 2


def test_the_endpoint_serves_metrics_and_health(redis_url: str, td: Client) -> None:
    with DaemonProcess(redis_url, env=ENV) as daemon:
        td.defer(SuccessTrigger(1), reply_to=None).result(timeout=10)
        assert get(f"{daemon.http_url}/livez?verbose") == (200, "[+]loop\nok\n")
        eventually_sync(lambda: get(f"{daemon.http_url}/readyz")[0] == 200)
        checks = "[+]started\n[+]not draining\n[+]not quiet\n[+]redis\nok\n"
        assert get(f"{daemon.http_url}/readyz?verbose")[1] == checks
        text = get(f"{daemon.http_url}/metrics")[1]
        assert 'triggerd_triggers_finished_total{outcome="fired",trigger="SuccessTrigger"} 1.0' in text
        assert 'triggerd_triggers_finished_total{outcome="failed",trigger="AwsWaiterTrigger"} 0.0' in text
        for name in (
            "triggers_capacity 100000.0",
            "resume_latency_seconds_count 1.0",
            "redis_up 1.0",
            "pickup_latency_seconds_count 1.0",
            "loop_lag_seconds_count",
            'queue_depth{queue="default"}',
        ):
            assert f"triggerd_{name}" in text
        assert "_created" not in text


def test_systemd_hears_ready_status_and_stopping(redis_url: str) -> None:
    with DaemonProcess(redis_url, env={**ENV, "WATCHDOG_USEC": "400000"}) as daemon:
        eventually_sync(lambda: {"WATCHDOG": "1"} in daemon.notifications)
        assert daemon.stop() == 0
        assert any("STOPPING" in message for message in daemon.notifications)


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "triggerd", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
        check=False,
    )


def test_an_unknown_setting_stops_the_start_with_one_line_and_status_2(tmp_path: Path) -> None:
    config = tmp_path / "triggerd.toml"
    config.write_text("capasity = 3\n")
    done = run("run", "--config", str(config))
    assert done.returncode == 2
    assert done.stderr.startswith("triggerd: capasity = 3: unknown key in ")
    assert "did you mean 'capacity'?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--queue", "{x}"], "triggerd: queues"),
        (["run", "--redis", "http://x"], "triggerd: redis.url"),
        (["run", "--embedded", "--redis", "redis://x"], "exclude each other"),
        (["run", "--nonsense"], "No such option"),
    ],
)
def test_a_flag_that_cannot_be_ends_with_status_2(arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert (done.returncode, says in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_named_and_is_no_usage_error_so_systemd_tries_again(redis_url: str) -> None:
    with DaemonProcess(redis_url, env=ENV) as daemon:
        port = daemon.http_url.rpartition(":")[2]
        done = run("run", "--redis", redis_url, "--http-port", port)
    assert done.returncode == 1
    assert f"triggerd: http: cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_server_that_evicts_keys_is_refused(own_redis: EmbeddedServer) -> None:
    with redis.Redis.from_url(own_redis.url) as server:
        server.config_set("maxmemory", "100mb")
        server.config_set("maxmemory-policy", "allkeys-lru")
    done = run("run", "--redis", own_redis.url, "--http-port", "0")
    assert done.returncode == 2
    assert "noeviction" in done.stderr


def test_embedded_prints_its_url_and_serves_producers() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "triggerd", "run", "--embedded", "--http-port", str(free_port())],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with Client(url) as client:
            assert client.defer(SuccessTrigger({"a": 1}), reply_to=None).result(timeout=20).payload == {"a": 1}
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.startswith("triggerd, version ")) == (0, True)


def test_console_logs_off_a_terminal_have_no_colour(redis_url: str) -> None:
    with DaemonProcess(redis_url, env=ENV, flags=["--log-format", "console"]) as daemon:
        assert daemon.stop() == 0
        assert "daemon started" in daemon.log_text
        assert "\x1b" not in daemon.log_text
        assert not [line for line in daemon.log_text.splitlines() if _is_json(line)]


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


async def test_a_daemon_stopped_at_any_moment_of_its_start_ends(redis_url: str) -> None:
    # redis-py can lose a cancellation while it connects; whatever is lost, `run` must return.
    settings = Settings(redis=RedisSettings(url=redis_url), http=HttpSettings(enabled=False))
    for step in range(30):
        daemon = Daemon(settings, {})
        running = asyncio.create_task(daemon.run())
        await asyncio.sleep(step * 0.001)
        daemon.stop()
        async with asyncio.timeout(5):
            await running


async def test_a_loop_that_dies_ends_the_daemon(redis_url: str) -> None:
    settings = Settings(redis=RedisSettings(url=redis_url), http=HttpSettings(enabled=False))
    running = asyncio.create_task(Daemon(settings, {}).run())
    (loop,) = await eventually(lambda: [task for task in asyncio.all_tasks() if task.get_name() == "sweep default"])
    await end_task(loop)
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="'sweep default' has ended"):
            await running
