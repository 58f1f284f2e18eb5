"""`triggerd quiet` and SIGTSTP: a daemon takes nothing new, and does everything else."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from tests.support.daemon_process import DaemonProcess
from tests.support.owner import Owner
from tests.support.triggers import FileTrigger
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.cli.main import main
from triggerd.keys import TRIGGER_GROUP, QueueKeys
from triggerd.streams.leases import ConsumerInfo, Leases
from triggerd.triggers.testing import SuccessTrigger

ENV = {"TRIGGERD_ALLOW": "tests.support.triggers.*", "TRIGGERD_LEASE_MS": "1500"}


def quiet(redis_url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["quiet", *arguments, "--redis", redis_url], prog_name="triggerd")


def readiness(daemon: DaemonProcess) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{daemon.http_url}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def consumers(td: Client) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = td.caller.redis.run(Leases("default").consumers())
    return found


def by_command(redis_url: str, _daemon: DaemonProcess, name: str) -> None:
    done = quiet(redis_url, name)
    assert (done.exit_code, done.stdout) == (0, f"{name} was asked to take nothing new from queue 'default'\n")


def by_signal(_redis_url: str, daemon: DaemonProcess, _name: str) -> None:
    daemon.signal(signal.SIGTSTP)


@pytest.fixture
def first(redis_url: str) -> Iterator[DaemonProcess]:
    with DaemonProcess(redis_url, env=ENV) as daemon:
        yield daemon


@pytest.mark.parametrize("ask", [by_command, by_signal])
def test_a_quiet_daemon_finishes_what_it_runs_and_leaves_the_rest_to_others(
    redis_url: str, td: Client, tmp_path: Path, first: DaemonProcess, ask: Callable[[str, DaemonProcess, str], None]
) -> None:
    go = tmp_path / "go"
    running = td.defer(FileTrigger(path=str(go)), reply_to=None)
    eventually_sync(lambda: running.status() == "running")
    [me] = consumers(td)
    ask(redis_url, first, me.name)
    eventually_sync(lambda: "nothing new is taken" in first.log_text)
    status, text = readiness(first)
    assert (status, "[-]not quiet" in text) == (503, True)
    eventually_sync(lambda: [info.state for info in consumers(td)] == ["quiet"])
    left = td.defer(SuccessTrigger(7), reply_to=None)
    go.touch()
    assert running.result(timeout=10).outcome == "fired"
    assert left.status() == "queued"
    with DaemonProcess(redis_url, env=ENV):
        assert left.result(timeout=10).payload == 7
    assert first.stop() == 0


def test_a_quiet_daemon_still_audits(redis_url: str, td: Client, first: DaemonProcess) -> None:
    eventually_sync(lambda: consumers(td))
    assert quiet(redis_url, "--all").exit_code == 0
    eventually_sync(lambda: "nothing new is taken" in first.log_text)
    [me] = consumers(td)
    handle = td.defer(SuccessTrigger(7), reply_to=None)
    keys = QueueKeys("default")
    with redis.Redis.from_url(redis_url) as raw:
        raw.xreadgroup(TRIGGER_GROUP, me.name, {keys.triggers: ">"})  # a claim whose answer was lost
        raw.delete(keys.consumer(me.name))  # the reason to audit: the lease has lapsed
    assert handle.result(timeout=10).payload == 7


def test_without_a_name_the_daemons_are_listed(redis_url: str, td: Client, owner: Owner) -> None:
    assert quiet(redis_url).stdout == "no daemon on queue 'default'\n"
    td.defer(SuccessTrigger(), queue="etl")
    assert quiet(redis_url, "--queue", "etl", "--queue", "x").stdout == "no daemon on the queues 'etl', 'x'\n"
    owner.claim("etl")
    td.caller.redis.run(Leases("etl").drain("gone"))
    listed = quiet(redis_url, "--queue", "etl").stdout
    assert f"{owner.name}  etl    alive  1\n" in listed
    assert "until their restart" in listed
    facts = {"consumer": owner.name, "queue": "etl", "state": "alive", "pending": 1}
    assert json.loads(quiet(redis_url, "--queue", "etl", "--json").stdout) == [facts]
    asked = quiet(redis_url, owner.name, "--queue", "etl", "--json")
    assert json.loads(asked.stdout) == [facts | {"state": "quiet"}]
    assert "quiet  1\n" in quiet(redis_url, "--queue", "etl").stdout


def test_a_daemon_can_be_named_before_its_group_knows_it(redis_url: str, td: Client) -> None:
    td.caller.redis.run(Leases("default").renew("idle", 60_000))
    assert quiet(redis_url, "idle").exit_code == 0
    assert td.caller.redis.run(Leases("default").renew("idle", 60_000)).quiet


def test_who_does_not_live_is_named_beside_those_who_do(redis_url: str, owner: Owner) -> None:
    owner.claim()
    done = quiet(redis_url, "nobody", owner.name)
    assert (done.exit_code, owner.name in done.stdout) == (1, True)
    assert done.stderr == f"triggerd: no daemon nobody lives (living are {owner.name}) on queue 'default'\n"
    nobody = quiet(redis_url, "--all", "--queue", "empty")
    assert (nobody.exit_code, nobody.stderr) == (1, "triggerd: no daemon lives on queue 'empty'\n")
    assert quiet(redis_url, "--all", owner.name).exit_code == 2
