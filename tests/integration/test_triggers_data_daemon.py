"""Promises of triggers that act past their event, with a real daemon, Valkey and moto: SQS deletes, Kinesis goes on."""

import base64
from collections.abc import Iterator
from contextlib import closing
from typing import Any, ClassVar

import boto3
import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.resuming import running
from tests.support.waiting import eventually_sync
from triggerd import Client, Deferrable, Event, Resumer
from triggerd.triggers.kinesis import KinesisTrigger
from triggerd.triggers.s3 import S3KeyTrigger
from triggerd.triggers.sqs import SqsSensorTrigger


@pytest.fixture
def sqs(moto_url: str) -> Iterator[Any]:
    with closing(boto3.client("sqs", endpoint_url=moto_url)) as client:
        yield client


@pytest.fixture
def kinesis(moto_url: str) -> Iterator[Any]:
    with closing(boto3.client("kinesis", endpoint_url=moto_url)) as client:
        yield client


@pytest.fixture
def start(redis_url: str, moto_url: str) -> Iterator[Any]:
    """Starts a daemon."""
    daemons: list[DaemonProcess] = []

    def begin() -> DaemonProcess:
        daemons.append(DaemonProcess(redis_url, env={"AWS_ENDPOINT_URL": moto_url}).start())
        return daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.close()


def test_messages_leave_the_queue_once_their_event_is_in_redis(td: Client, start: Any, sqs: Any) -> None:
    url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    start()
    event = td.defer(SqsSensorTrigger(url, max_messages=10, wait_time_seconds=0)).result(timeout=20)
    assert sorted(message["Body"] for message in event.payload["message_batch"]) == ["0", "1", "2"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def left() -> int:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    eventually_sync(lambda: left() == 0)


def test_a_hostile_regex_does_not_stall_the_daemon(td: Client, start: Any, moto_url: str) -> None:
    with closing(boto3.client("s3", endpoint_url=moto_url)) as s3:
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="a" * 60 + "b", Body=b"")
    start()
    hostile = td.defer(S3KeyTrigger("lake", "(a+)+$", use_regex=True))
    exact = td.defer(S3KeyTrigger("lake", "a" * 60 + "b"))
    assert exact.result(timeout=4).payload == {"status": "success"}
    assert "takes more than 5 s" in hostile.result(timeout=30).payload["message"]


class Clicks(Deferrable):
    """Keeps the data of each record that it is resumed with."""

    seen: ClassVar[list[str]] = []

    def execute(self, context: Any) -> None:
        trigger = KinesisTrigger("clicks", shard_iterator_type="TRIM_HORIZON", delay=0.1)
        self.defer(trigger=trigger, timeout=3600)

    def execute_complete(self, context: Any, event: Event) -> None:
        for record in (event.payload or {}).get("message_batch", ()):
            self.seen.append(base64.b64decode(record["Data"]).decode())


@pytest.mark.parametrize("crash", [False, True])
def test_a_stream_is_read_on_by_the_next_daemon(td: Client, start: Any, kinesis: Any, crash: bool) -> None:
    Clicks.seen.clear()
    kinesis.create_stream(StreamName="clicks", ShardCount=2)

    def put(*data: str) -> None:
        for each in data:
            kinesis.put_record(StreamName="clicks", Data=each.encode(), PartitionKey=each)

    first = start()
    resumer = Resumer(td)
    resumer.register(Clicks)
    with running(resumer):
        handle = td.start(Clicks())
        put("a", "b")
        eventually_sync(lambda: len(Clicks.seen) >= 2, 20)
        if crash:
            first.kill()
        else:
            assert first.stop() == 0
        put("c", "d", "e")
        start()
        eventually_sync(lambda: set(Clicks.seen) == {"a", "b", "c", "d", "e"}, 30)
        assert crash or len(Clicks.seen) == 5  # a crash may be between an event and its cursor
        assert handle.cancel() == "requested"
        eventually_sync(lambda: handle.status() == "cancelled", 20)
