"""Promises of the S3, SQS, DynamoDB and Kinesis triggers against moto's real API shapes."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.moto_account import Boto, Polls, aws_of
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.envelope import MAX_ENVELOPE_BYTES, pack
from triggerd.event import Event
from triggerd.testing import LocalContext, run_trigger
from triggerd.triggers.dynamodb import DynamoDBValueSensorTrigger
from triggerd.triggers.kinesis import KinesisTrigger
from triggerd.triggers.s3 import S3KeyTrigger
from triggerd.triggers.s3_keys_unchanged import S3KeysUnchangedTrigger
from triggerd.triggers.sqs import SqsSensorTrigger


@pytest.fixture
def polls() -> Polls:
    return Polls()


@pytest.fixture
async def aws(moto_url: str, polls: Polls) -> AsyncIterator[Aws]:
    async with aws_of(moto_url, polls) as opened:
        yield opened


@pytest.fixture
def boto(moto_url: str) -> Boto:
    return Boto(moto_url)


@pytest.fixture
async def put(boto: Boto) -> Any:
    """``await put("data/a", b"body")`` puts an object into the bucket `lake`."""
    await boto.s3("create_bucket", Bucket="lake")

    async def put_object(key: str, body: bytes = b"1", **more: Any) -> None:
        await boto.s3("put_object", Bucket="lake", Key=key, Body=body, **more)

    return put_object


# --- S3 keys ----------------------------------------------------------------------------------------------------


def _keys(aws: Aws, bucket: str | None, key: Any, *, delay: float = 0.05, **more: Any) -> asyncio.Task[Event]:
    return asyncio.create_task(run_trigger(S3KeyTrigger(bucket, key, delay=delay, **more), aws=aws, timeout=30))


@pytest.mark.parametrize(
    ("bucket", "key", "more"),
    [
        ("lake", "data/_SUCCESS", {}),
        (None, "s3://lake/data/_SUCCESS", {}),
        ("lake", "data/*", {"wildcard_match": True}),
        (None, "s3://lake/d?ta/*", {"wildcard_match": True}),
        ("lake", "data/_[A-Z]+$", {"use_regex": True}),
        ("lake", "data/_SUCCESS", {"hook_params": {"hook_params": {"requester_pays": True}}}),
    ],
)
async def test_a_key_is_waited_for(
    aws: Aws, polls: Polls, put: Any, bucket: str | None, key: str, more: dict[str, Any]
) -> None:
    await put("other/_SUCCESS")
    waiting = _keys(aws, bucket, key, **more)
    await polls.in_vain(waiting)
    await put("data/_SUCCESS")
    assert (await waiting).payload == {"status": "success"}


async def test_all_of_several_keys_must_be_there_in_one_look(aws: Aws, polls: Polls, boto: Boto, put: Any) -> None:
    await put("a")
    waiting = _keys(aws, "lake", ["a", "b"])
    await polls.in_vain(waiting)
    await boto.s3("delete_object", Bucket="lake", Key="a")
    await put("b")
    await polls.in_vain(waiting)
    await put("a")
    assert (await waiting).payload == {"status": "success"}


@pytest.mark.parametrize("key", ["a b+ü/€.csv", "a/%2F&<x>.csv", "a//b/../c"])
async def test_a_key_with_strange_characters_is_found_exactly_and_by_wildcard(aws: Aws, put: Any, key: str) -> None:
    await put(key)
    assert (await _keys(aws, "lake", key)).payload == {"status": "success"}
    event = await _keys(aws, "lake", f"{key[:2]}*", wildcard_match=True, should_check_fn=True)
    assert event.payload == {"status": "running", "files": [{"Size": 1, "Key": key}]}


async def test_a_check_function_gets_what_fits_the_pattern_and_no_more(aws: Aws, put: Any) -> None:
    for key in ("data/a/1.csv", "data/b/2.csv", "data/3.txt", "data/1.csv.gz"):
        await put(key, key.encode())
    event = await _keys(aws, "lake", "data/*.csv", wildcard_match=True, should_check_fn=True)
    assert event.payload == {
        "status": "running",
        "files": [{"Size": 12, "Key": "data/a/1.csv"}, {"Size": 12, "Key": "data/b/2.csv"}],
    }
    event = await _keys(aws, "lake", r"data/\d\.", use_regex=True, should_check_fn=True, metadata_keys=["ETag", "Nope"])
    assert [file["Key"] for file in event.payload["files"]] == ["data/1.csv.gz", "data/3.txt"]
    assert event.payload["files"][0]["ETag"].startswith('"')
    assert event.payload["files"][0]["Nope"] is None


async def test_a_check_function_of_an_exact_key_or_url_gets_that_key_only(aws: Aws, put: Any) -> None:
    await put("data/1", b"xy")
    await put("data/10")
    for bucket, key in (("lake", "data/1"), (None, "s3://lake/data/1")):
        event = await _keys(aws, bucket, key, should_check_fn=True)
        assert event.payload == {"status": "running", "files": [{"Size": 2, "Key": "data/1"}]}


@pytest.mark.parametrize("more", [{}, {"wildcard_match": True}])
async def test_all_metadata_travels(aws: Aws, put: Any, more: dict[str, Any]) -> None:
    await put("data/1", b"xy", Metadata={"origin": "sap"}, ContentType="text/csv")
    event = await _keys(aws, "lake", "data/1", should_check_fn=True, metadata_keys=["*"], **more)
    (file,) = event.payload["files"]
    assert (file["Key"], file["ContentLength"], file["ContentType"]) == ("data/1", 2, "text/csv")
    assert file["Metadata"] == {"origin": "sap"}
    assert isinstance(file["LastModified"], datetime)
    assert file["LastModified"].tzinfo == UTC
    assert "ResponseMetadata" not in file


async def test_an_error_of_aws_ends_the_wait_with_an_error_event(aws: Aws) -> None:
    event = await _keys(aws, "nobodys", "data/*", wildcard_match=True)
    assert event.payload["status"] == "error"
    assert "NoSuchBucket" in event.payload["message"]
    assert event.details["error_code"] == "NoSuchBucket"
    assert (await _keys(aws, "lake", "(", use_regex=True, connection="nope")).payload["status"] == "error"


async def test_a_budget_that_is_used_up_says_what_is_missing(aws: Aws, put: Any) -> None:
    await put("a")
    event = await _keys(aws, "lake", ["a", "b"], max_attempts=3, delay=0.05)
    assert event.payload["status"] == "error"
    assert "s3://lake/b was not there" in event.payload["message"]
    assert event.details["error_type"] == "waiter_exhausted"


async def test_a_regex_that_is_none_is_an_error_event(aws: Aws, put: Any) -> None:
    await put("a(")
    event = await _keys(aws, "lake", "a(", use_regex=True)
    assert "is no regular expression" in event.payload["message"]


# --- S3 keys unchanged ------------------------------------------------------------------------------------------


def _unchanged(aws: Aws, period_s: float, **more: Any) -> asyncio.Task[Event]:
    trigger = S3KeysUnchangedTrigger("lake", "data/", inactivity_period=period_s, delay=0.05, **more)
    return asyncio.create_task(run_trigger(trigger, aws=aws, timeout=30))


async def test_keys_that_do_not_change_are_waited_for(aws: Aws, put: Any) -> None:
    await put("data/a")
    await put("other/a")
    event = await _unchanged(aws, 0.3)
    assert event.payload["status"] == "success"
    assert "1 objects at s3://lake/data/" in event.payload["message"]
    assert 2 < event.details["polls"] < 12


async def test_a_new_and_a_replaced_object_begin_the_period_anew(aws: Aws, polls: Polls, put: Any) -> None:
    await put("data/a", b"1")
    waiting = _unchanged(aws, 1.0)
    for body in (b"2", b"3", b"4"):
        await polls.in_vain(waiting, 12)  # 0.6 s
        await put("data/a", body)  # as many objects as before
    await polls.in_vain(waiting)
    assert (await waiting).payload["status"] == "success"


async def test_too_few_objects_are_waited_for(aws: Aws, polls: Polls, put: Any) -> None:
    await put("data/a")
    waiting = _unchanged(aws, 0.1, min_objects=2)
    await polls.in_vain(waiting)
    await put("data/b")
    assert "2 objects" in (await waiting).payload["message"]


async def test_a_deleted_object_is_an_error_where_it_must_not_be(aws: Aws, polls: Polls, boto: Boto, put: Any) -> None:
    await put("data/a")
    await put("data/b")
    waiting = _unchanged(aws, 20, allow_delete=False)
    await polls.in_vain(waiting)
    await put("data/c")
    await boto.s3("delete_object", Bucket="lake", Key="data/a")
    event = await waiting
    assert event.payload["status"] == "error"
    assert "were deleted" in event.payload["message"]


async def test_a_deleted_object_begins_the_period_anew_where_it_may_be(
    aws: Aws, polls: Polls, boto: Boto, put: Any
) -> None:
    await put("data/a")
    await put("data/b")
    waiting = _unchanged(aws, 0.8)
    await polls.in_vain(waiting)
    await boto.s3("delete_object", Bucket="lake", Key="data/a")
    assert "1 objects" in (await waiting).payload["message"]


# --- SQS --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def queue(boto: Boto) -> str:
    return str((await boto.sqs("create_queue", QueueName="jobs"))["QueueUrl"])


async def _send(boto: Boto, queue: str, *bodies: str) -> None:
    for body in bodies:
        await boto.sqs("send_message", QueueUrl=queue, MessageBody=body)


async def _left(boto: Boto, queue: str) -> int:
    """Messages of the queue, visible or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = await boto.sqs("get_queue_attributes", QueueUrl=queue, AttributeNames=names)
    return sum(int(found["Attributes"][each]) for each in names)


def _sqs(aws: Aws, queue: str, **more: Any) -> asyncio.Task[Event]:
    trigger = SqsSensorTrigger(queue, **{"delay": 0.05, "wait_time_seconds": 0, **more})
    return asyncio.create_task(run_trigger(trigger, aws=aws, timeout=30))


@pytest.mark.parametrize("by_name", [False, True])
async def test_messages_are_waited_for_and_deleted(aws: Aws, boto: Boto, queue: str, by_name: bool) -> None:
    waiting = _sqs(aws, "jobs" if by_name else queue, max_messages=10)
    await _send(boto, queue, "one")
    event = await waiting
    assert event.payload["status"] == "success"
    (message,) = event.payload["message_batch"]
    assert (message["Body"], set(message)) == ("one", {"Body", "MD5OfBody", "MessageId", "ReceiptHandle"})
    assert await _left(boto, queue) == 0


async def test_several_batches_make_one_event(aws: Aws, boto: Boto, queue: str) -> None:
    await _send(boto, queue, *(str(number) for number in range(25)))
    event = await _sqs(aws, queue, max_messages=10, num_batches=3)
    assert sorted(int(message["Body"]) for message in event.payload["message_batch"]) == [*range(25)]
    assert await _left(boto, queue) == 0


async def test_messages_are_not_deleted_before_their_event_is_published(aws: Aws, boto: Boto, queue: str) -> None:
    await _send(boto, queue, "one")
    trigger = SqsSensorTrigger(queue, wait_time_seconds=0)
    trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
    run: Any = trigger.run()
    assert (await anext(run)).payload["message_batch"][0]["Body"] == "one"
    assert await _left(boto, queue) == 1
    await run.aclose()  # as where the publish was refused
    assert await _left(boto, queue) == 1


async def test_messages_stay_where_they_shall(aws: Aws, boto: Boto, queue: str) -> None:
    await _send(boto, queue, "one")
    assert (await _sqs(aws, queue, delete_message_on_reception=False)).payload["status"] == "success"
    assert await _left(boto, queue) == 1


async def test_messages_that_do_not_fit_are_left(aws: Aws, boto: Boto, queue: str) -> None:
    waiting = _sqs(
        aws, queue, max_messages=10, message_filtering="jsonpath-ext", message_filtering_config="$[?(@.size > 5)].name",
        message_filtering_match_values=["b"],
    )  # fmt: skip
    await _send(boto, queue, "no json", '{"x": {"size": 6, "name": "a"}}', '{"x": {"size": 6, "name": "b"}}')
    event = await waiting
    assert [message["Body"] for message in event.payload["message_batch"]] == ['{"x": {"size": 6, "name": "b"}}']
    assert await _left(boto, queue) == 2


async def test_messages_for_which_an_event_has_no_room_stay(aws: Aws, boto: Boto, queue: str) -> None:
    await _send(boto, queue, *("x" * 100_000 for _ in range(3)))
    event = await _sqs(aws, queue, num_batches=3, max_messages=1)
    assert len(event.payload["message_batch"]) == 1
    assert await _left(boto, queue) == 2


async def test_a_message_that_came_twice_is_given_and_deleted_once(aws: Aws, boto: Boto, queue: str) -> None:
    await _send(boto, queue, "one")
    event = await _sqs(aws, queue, num_batches=3, visibility_timeout=0)
    assert [message["Body"] for message in event.payload["message_batch"]] == ["one"]
    assert await _left(boto, queue) == 0


async def test_a_queue_that_is_not_there_fails_the_trigger(aws: Aws, queue: str) -> None:
    for name in ("nobodys", f"{queue}x"):
        event = await _sqs(aws, name)
        assert event.outcome == "failed"
        assert event.error is not None
        assert "NonExistentQueue" in event.error.message


async def test_no_message_within_the_budget_is_an_error_event(aws: Aws, queue: str) -> None:
    event = await _sqs(aws, queue, max_attempts=3)
    assert event.payload == {"status": "error", "message": "no message that fits came within 3 looks"}


# --- DynamoDB ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def table(boto: Boto) -> str:
    keys = [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}]
    kinds = [{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "at", "AttributeType": "N"}]
    await boto.dynamodb(
        "create_table", TableName="jobs", KeySchema=keys, AttributeDefinitions=kinds, BillingMode="PAY_PER_REQUEST"
    )
    return "jobs"


def _item(aws: Aws, value: Any, **more: Any) -> asyncio.Task[Event]:
    key = {"partition_key_name": "id", "partition_key_value": "5", "sort_key_name": "at", "sort_key_value": 0}
    arguments = {"table_name": "jobs", "attribute_name": "the.state", "attribute_value": value, **key, **more}
    trigger = DynamoDBValueSensorTrigger(**{"delay": 0.05, **arguments})
    return asyncio.create_task(run_trigger(trigger, aws=aws, timeout=30))


@pytest.mark.parametrize(
    ("attribute", "wanted"),
    [({"S": "done"}, "done"), ({"N": "7"}, ["6", "7"]), ({"N": "7.50"}, 7.5), ({"B": b"x"}, b"x")],
)
async def test_a_value_of_an_item_is_waited_for(
    aws: Aws, polls: Polls, boto: Boto, table: str, attribute: Any, wanted: Any
) -> None:
    waiting = _item(aws, wanted)
    await polls.in_vain(waiting)  # no item
    item = {"id": {"S": "5"}, "at": {"N": "0"}}
    await boto.dynamodb("put_item", TableName=table, Item=item)
    await polls.in_vain(waiting)  # no attribute
    await boto.dynamodb("put_item", TableName=table, Item={**item, "the.state": {"S": "running"}})
    await polls.in_vain(waiting)
    await boto.dynamodb("put_item", TableName=table, Item={**item, "the.state": attribute})
    assert (await waiting).payload == {"status": "success"}


async def test_no_table_and_a_key_that_does_not_fit_are_error_events(aws: Aws, table: str) -> None:
    for more, code in (
        ({"table_name": "nobodys"}, "ResourceNotFoundException"),
        ({"sort_key_value": None}, "ValidationException"),
    ):
        event = await _item(aws, "done", **more)
        assert event.payload["status"] == "error"
        assert code in event.payload["message"]
        assert event.details["error_code"] == code


async def test_a_value_that_does_not_come_within_the_budget_is_an_error_event(aws: Aws, table: str) -> None:
    event = await _item(aws, "done", max_attempts=2)
    assert event.payload == {"status": "error", "message": "the.state was not there after 2 looks"}


# --- Kinesis ----------------------------------------------------------------------------------------------------


class Reading:
    """A KinesisTrigger that runs: its events as they come, its checkpoints, `move` to go on elsewhere."""

    def __init__(self, aws: Aws, restored: Any = None, **more: Any) -> None:
        self.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=restored)
        self.records: list[dict[str, Any]] = []
        self._aws, self._more = aws, more
        trigger = KinesisTrigger("clicks", **{"delay": 0.05, **more})
        trigger.context = self.context
        self._run: Any = trigger.run()
        self._task = asyncio.create_task(self._drive())

    async def _drive(self) -> None:
        async for event in self._run:
            assert event.payload["status"] == "success"
            assert len(pack(event.payload)) < MAX_ENVELOPE_BYTES
            self.records += event.payload["message_batch"]

    async def until(self, *data: str) -> None:
        await eventually(lambda: self._task.done() or len(self.records) >= len(data))
        assert sorted(base64.b64decode(record["Data"]).decode() for record in self.records) == sorted(data)

    async def begun(self) -> "Reading":
        await eventually(lambda: self._task.done() or self.context.checkpoints)
        return self

    async def stop(self) -> Any:
        """The checkpoint that it leaves behind."""
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._run.aclose()
        return self.context.checkpoints[-1]


@pytest.fixture
async def stream(boto: Boto) -> Any:
    await boto.kinesis("create_stream", StreamName="clicks", ShardCount=3)

    async def put_records(*data: str) -> None:
        for each in data:
            await boto.kinesis("put_record", StreamName="clicks", Data=each.encode(), PartitionKey=each[:9])

    return put_records


async def test_records_are_given_as_they_come(aws: Aws, stream: Any) -> None:
    await stream("before")
    reading = await Reading(aws).begun()
    await stream("a", "b")
    await reading.until("a", "b")
    await stream(*"cdefgh")
    await reading.until(*"abcdefgh")
    record = reading.records[0]
    assert set(record) == {"ShardId", "SequenceNumber", "PartitionKey", "ApproximateArrivalTimestamp", "Data"}
    assert datetime.fromisoformat(record["ApproximateArrivalTimestamp"]).tzinfo == UTC
    await reading.stop()


async def test_all_that_the_stream_still_has_is_read_in_batches(aws: Aws, stream: Any) -> None:
    await stream(*"abcdefgh")
    reading = Reading(aws, shard_iterator_type="TRIM_HORIZON", batch_size=2)
    await reading.until(*"abcdefgh")
    await reading.stop()


async def test_a_move_loses_no_record_and_repeats_none(aws: Aws, stream: Any) -> None:
    await stream("before")
    reading = await Reading(aws).begun()
    await stream("a")
    await reading.until("a")
    cursor = await reading.stop()
    await stream("b", "c", "d", "e")  # while nobody reads, some of them on shards of which nothing was read
    reading = Reading(aws, restored=cursor)
    await reading.until("b", "c", "d", "e")
    await reading.stop()


async def test_the_cursor_moves_only_after_the_event_is_published(aws: Aws, stream: Any) -> None:
    await stream("a")
    trigger = KinesisTrigger("clicks", shard_iterator_type="TRIM_HORIZON")
    trigger.context = context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
    run: Any = trigger.run()
    assert (await anext(run)).payload["message_batch"][0]["PartitionKey"] == "a"
    await run.aclose()  # as where the publish was refused
    assert [cursor[1] for cursor in context.checkpoints] == [[]]


async def test_an_answer_too_large_for_an_event_makes_several(aws: Aws, stream: Any) -> None:
    await stream(*(str(number) * 100_000 for number in range(1, 4)))
    reading = Reading(aws, shard_iterator_type="TRIM_HORIZON")
    await eventually(lambda: len(reading.records) == 3)
    await reading.stop()


async def test_a_stream_that_is_not_there_fails_the_trigger(aws: Aws, stream: Any) -> None:
    event = await run_trigger(KinesisTrigger("nobodys"), aws=aws, timeout=30)
    assert event.outcome == "failed"
    assert event.error is not None
    assert "ResourceNotFoundException" in event.error.message
