"""The main path on every flavour of server: defer -> claim -> run -> publish -> resume, with a real daemon process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.resuming import running
from tests.support.waiting import eventually_sync
from triggerd import (
    AwsWaiterTrigger,
    Client,
    DateTimeTrigger,
    Deferrable,
    Event,
    Resumer,
    TimeDeltaTrigger,
    TriggerCancelledError,
    TriggerFailedError,
    TriggerTimeoutError,
)
from triggerd.embedded import EmbeddedServer
from triggerd.triggers.testing import FailureTrigger, SuccessTrigger

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PAYLOAD = {
    "when": MOMENT,
    "took": timedelta(seconds=1),
    "ids": {1, 2},
    "raw": b"\x00",
    "big": 2**63 - 1,
    "pair": (1, 2),
}


class Task(Deferrable):
    """Defers whatever it is given; keeps what it is resumed with."""

    resumed: dict[str, Event]

    def __init__(self, name: str) -> None:
        self.name = name

    def execute(self, context: dict[str, Any]) -> None:
        self.defer(trigger=context["trigger"], timeout=60)

    def execute_complete(self, context: dict[str, Any], event: Event) -> None:
        assert self.name not in self.resumed, "resumed twice"
        self.resumed[self.name] = event


@pytest.fixture
def redshift(moto_url: str) -> Iterator[Any]:
    client = boto3.client("redshift", endpoint_url=moto_url)
    for name in ("there", "forever"):
        client.create_cluster(
            ClusterIdentifier=name, NodeType="ra3.large", MasterUsername="u", MasterUserPassword="Pw123456"
        )
    client.pause_cluster(ClusterIdentifier="there")
    yield client
    client.close()


@pytest.fixture
def daemon(server: EmbeddedServer, moto_url: str) -> Iterator[DaemonProcess]:
    with DaemonProcess(server.url, env={"AWS_ENDPOINT_URL": moto_url}) as daemon:
        yield daemon


def paused(cluster: str, **options: Any) -> AwsWaiterTrigger:
    return AwsWaiterTrigger(
        "redshift", "cluster_paused", {"ClusterIdentifier": cluster}, return_value=cluster, **options
    )


def test_every_bundled_trigger_resumes_its_task_once(
    server: EmbeddedServer, daemon: DaemonProcess, redshift: Any
) -> None:
    class AnyTask(Task):  # a fresh one, so that nothing is shared between the flavours
        resumed: dict[str, Event] = {}  # noqa: RUF012

    triggers: dict[str, Any] = {
        "success": SuccessTrigger(PAYLOAD),
        "failure": FailureTrigger("on purpose"),
        "moment": DateTimeTrigger(MOMENT),
        "delta": TimeDeltaTrigger(0.1),
        "aws": paused("there"),
        "aws refused": paused("nowhere"),
        "aws without such a waiter": AwsWaiterTrigger("redshift", "cluster_pawsed", {"ClusterIdentifier": "there"}),
        "not allowed": ("os.system", {"command": "true"}),
        "refused arguments": ("triggerd.triggers.testing.SuccessTrigger", {"pay": 1}),
    }
    with Client(server.url) as td:
        # The context travels, so the trigger in it goes as its serialized pair.
        handles = {}
        for name, trigger in triggers.items():
            pair = trigger if isinstance(trigger, tuple) else trigger.serialize()
            handles[name] = td.start(AnyTask(name), {"trigger": pair}, id=f"id {name}")
            assert td.start(AnyTask(name), {"trigger": pair}, id=f"id {name}").enqueued in ("in_flight", "finished")
        resumer = Resumer(td)
        resumer.register(AnyTask)
        with running(resumer):
            eventually_sync(
                lambda: set(AnyTask.resumed) == set(triggers), 30, f"only {set(AnyTask.resumed)} were resumed"
            )
        assert {name: handle.status() for name, handle in handles.items()} == {
            name: event.outcome for name, event in AnyTask.resumed.items()
        }
    got = AnyTask.resumed
    assert got["success"].payload == PAYLOAD
    assert type(got["success"].payload["pair"]) is tuple
    assert got["moment"].payload == MOMENT
    assert got["aws"].payload == {"status": "success", "value": "there"}
    assert got["aws"].details["last_status"] == "paused"
    assert got["aws refused"]["status"] == "error"
    assert got["aws refused"].details["error_code"] == "ClusterNotFound"
    assert "cluster_paused" in got["aws without such a waiter"]["message"], "a close match is named"
    for name, words in {
        "failure": "on purpose", "not allowed": "os.system", "refused arguments": "pay",
    }.items():  # fmt: skip
        assert got[name].outcome == "failed"
        with pytest.raises(TriggerFailedError, match=words):
            got[name].raise_for_status()


def test_timeout_cancel_and_extend_reach_a_running_wait(
    server: EmbeddedServer, daemon: DaemonProcess, redshift: Any
) -> None:
    with Client(server.url) as td:
        short = td.defer(paused("forever", delay=0.2), timeout=0.5)
        with pytest.raises(TriggerTimeoutError):
            short.result(timeout=20).raise_for_status()
        stop_call = ("pause_cluster", {"ClusterIdentifier": "forever"})
        long = td.defer(paused("forever", delay=600, max_attempts=2, cancel_call=stop_call), timeout=3600)
        eventually_sync(lambda: long.status() == "running")
        assert long.extend(timedelta(hours=2))
        assert long.cancel(by="ann") == "requested"
        with pytest.raises(TriggerCancelledError, match="ann"):
            long.result(timeout=20).raise_for_status()
    status = redshift.describe_clusters(ClusterIdentifier="forever")["Clusters"][0]["ClusterStatus"]
    assert status == "paused", "the cancel_call was made"


def test_a_daemon_restarted_in_mid_flight_loses_nothing(redis_url: str, moto_url: str, redshift: Any) -> None:
    env = {"AWS_ENDPOINT_URL": moto_url, "TRIGGERD_LEASE_MS": "1500"}
    with Client(redis_url) as td:
        handles = td.defer_many({"trigger": paused("forever", delay=0.5), "timeout": 120} for _ in range(200))
        for end in (DaemonProcess.kill, DaemonProcess.stop):
            with DaemonProcess(redis_url, env=env) as daemon:
                eventually_sync(lambda: {handle.status() for handle in handles} == {"running"}, 20)
                end(daemon)
        redshift.pause_cluster(ClusterIdentifier="forever")
        with DaemonProcess(redis_url, env=env):
            payloads = [handle.result(timeout=40).payload for handle in handles]
    assert payloads == [{"status": "success", "value": "forever"}] * 200
