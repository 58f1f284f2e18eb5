"""Promises of the S3, SQS, DynamoDB and Kinesis triggers when AWS throttles, fails, refuses and moves things about."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import aiohttp
import boto3
import pytest
from aiohttp import web

from tests.support.fake_aws import Drop, FakeAws, Fault
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.clock import monotonic_s, wall_ms
from triggerd.errors import EnvelopeDecodeError
from triggerd.event import Event
from triggerd.settings import AwsSettings, ConnectionSettings, QuotaSettings
from triggerd.testing import LocalContext, run_trigger
from triggerd.triggers.dynamodb import DynamoDBValueSensorTrigger
from triggerd.triggers.kinesis import KinesisTrigger
from triggerd.triggers.s3 import S3KeyTrigger
from triggerd.triggers.s3_keys_unchanged import S3KeysUnchangedTrigger
from triggerd.triggers.sqs import SqsSensorTrigger

URL = "https://sqs.us-east-1.amazonaws.com/1/q"


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("sqs", "dynamodb", "kinesis") as server:
        yield server


@pytest.fixture
async def aws(fake: FakeAws) -> AsyncIterator[Aws]:
    async with open_aws(fake.settings()) as opened:
        yield opened


async def _outcome(aws: Aws, trigger: Any, **options: Any) -> Event:
    return await run_trigger(trigger, aws=aws, timeout=30, **options)


# --- SQS --------------------------------------------------------------------------------------------------------


def _messages(*numbers: int) -> dict[str, Any]:
    return {"Messages": [{"MessageId": f"m{each}", "ReceiptHandle": f"r{each}", "Body": "x"} for each in numbers]}


def _deleted(*but: str, code: str = "InternalError") -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An answer of DeleteMessageBatch: all are deleted but for the entries with these handles."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        kept = [entry["Id"] for entry in params["Entries"] if entry["ReceiptHandle"] in but]
        gone = [entry["Id"] for entry in params["Entries"] if entry["Id"] not in kept]
        failed = [{"Id": each, "Code": code, "SenderFault": False} for each in kept]
        return {"Successful": [{"Id": each} for each in gone], "Failed": failed}

    return answer


async def test_a_throttle_and_an_outage_do_not_end_the_wait_for_messages(fake: FakeAws, aws: Aws) -> None:
    lost: list[Any] = [Fault("RequestThrottled")] * 4 + [Fault("KmsThrottled"), Fault("OverLimit", status=403), Drop()]
    fake.script("ReceiveMessage", *lost, {}, _messages(1))
    fake.script("DeleteMessageBatch", _deleted())
    event = await _outcome(aws, SqsSensorTrigger(URL, delay=0.02))
    assert [message["MessageId"] for message in event.payload["message_batch"]] == ["m1"]


async def test_entries_that_sqs_does_not_delete_are_tried_again_alone(fake: FakeAws, aws: Aws) -> None:
    fake.script("ReceiveMessage", _messages(*range(10)), _messages(*range(10, 20)), _messages(20))
    fake.script("DeleteMessageBatch", _deleted("r3"), _deleted(), _deleted(), _deleted())
    event = await _outcome(aws, SqsSensorTrigger(URL, num_batches=3, max_messages=10))
    assert len(event.payload["message_batch"]) == 21
    sent = [[entry["ReceiptHandle"] for entry in seen.params["Entries"]] for seen in fake.mutations[3:]]
    assert [len(each) for each in sent[:-1]] == [10, 10, 1]
    assert sent[-1] == ["r3"]


@pytest.mark.parametrize("answer", [Fault("AccessDenied"), Fault("RequestThrottled"), _deleted("r1", code="Invalid")])
async def test_messages_that_cannot_be_deleted_are_delivered_all_the_same_and_logged(
    fake: FakeAws, aws: Aws, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    fake.script("ReceiveMessage", _messages(1))
    fake.script("DeleteMessageBatch", answer)
    event = await _outcome(aws, SqsSensorTrigger(URL))
    assert (event.outcome, event.payload["status"]) == ("fired", "success")
    assert "messages were delivered but not deleted" in caplog.text


async def test_what_was_received_before_a_throttle_is_delivered(fake: FakeAws, aws: Aws) -> None:
    fake.script("ReceiveMessage", _messages(1), Fault("RequestThrottled"))
    fake.script("DeleteMessageBatch", _deleted())
    event = await _outcome(aws, SqsSensorTrigger(URL, num_batches=5))
    assert len(event.payload["message_batch"]) == 1


@pytest.mark.parametrize("trigger", [SqsSensorTrigger(URL, delay=1e-300), KinesisTrigger("clicks", delay=1e-300)])
async def test_a_delay_of_next_to_nothing_takes_no_core(fake: FakeAws, aws: Aws, trigger: Any) -> None:
    fake.script("ReceiveMessage", {})
    fake.script("ListShards", SHARDS)
    fake.script("GetShardIterator", {"ShardIterator": "i"})
    fake.script("GetRecords", NOTHING)
    await run_trigger(trigger, aws=aws, timeout=0.5)
    assert fake.calls["ReceiveMessage"] + fake.calls["GetRecords"] <= 7  # 700 they were


async def test_long_polls_leave_connections_for_deletes(fake: FakeAws, aws: Aws) -> None:
    fake.script("ReceiveMessage", {})
    fake.latency_s = 0.3
    triggers = [SqsSensorTrigger(f"{URL}{number}", wait_time_seconds=20, max_attempts=1) for number in range(40)]
    events = await asyncio.gather(*(_outcome(aws, trigger) for trigger in triggers))
    assert {event.outcome for event in events} == {"fired"}
    waits = [seen.params.get("WaitTimeSeconds") for seen in fake.seen if seen.operation == "ReceiveMessage"]
    assert (waits.count(20), waits.count(0)) == (32, 8)


async def test_a_denied_receive_fails_the_trigger(fake: FakeAws, aws: Aws) -> None:
    fake.script("ReceiveMessage", Fault("AccessDenied", "not you"))
    event = await _outcome(aws, SqsSensorTrigger(URL))
    assert event.outcome == "failed"
    assert event.error is not None
    assert "not you" in event.error.message


# --- DynamoDB ---------------------------------------------------------------------------------------------------


_DONE = DynamoDBValueSensorTrigger("jobs", "id", "5", "state", "done")


def _item(aws: Aws, **more: Any) -> Any:
    trigger = DynamoDBValueSensorTrigger("jobs", "id", "5", "state", "done", **{"delay": 0.02, **more})
    return _outcome(aws, trigger, restored=more.pop("restored", None))


async def test_a_throttled_read_of_an_item_is_waited_through(fake: FakeAws, aws: Aws) -> None:
    fake.script(
        "GetItem", Fault("ProvisionedThroughputExceededException"), Drop(), {}, {"Item": {"state": {"S": "done"}}}
    )
    assert (await _item(aws)).payload == {"status": "success"}


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
async def test_an_error_that_will_not_pass_ends_the_wait_for_an_item(fake: FakeAws, aws: Aws, code: str) -> None:
    fake.script("GetItem", {}, Fault(code, "no way"))
    event = await _item(aws)
    assert event.payload["status"] == "error"
    assert "no way" in event.payload["message"]
    assert event.details["error_code"] == code


async def test_a_large_attribute_is_read_once_and_not_for_each_value(fake: FakeAws, aws: Aws) -> None:
    fake.script("GetItem", {"Item": {"state": {"L": [{"N": "1"}] * 20_000}}})
    began_s = monotonic_s()
    event = await _outcome(
        aws, DynamoDBValueSensorTrigger("jobs", "id", "5", "state", [*range(1_000)], delay=0.02, max_attempts=1)
    )
    assert event.details["error_type"] == "waiter_exhausted"
    assert monotonic_s() - began_s < 5  # it was a thousand times 20 ms


async def test_a_checkpoint_that_cannot_be_read_begins_the_wait_anew(fake: FakeAws, aws: Aws) -> None:
    class Unreadable(LocalContext):
        @property
        def restored(self) -> Any:
            raise EnvelopeDecodeError("written by a later version")

        @restored.setter
        def restored(self, value: Any) -> None: ...

    fake.script("GetItem", {"Item": {"state": {"S": "done"}}})
    fake.script("ReceiveMessage", _messages(1))
    for trigger in (_DONE, SqsSensorTrigger(URL, delete_message_on_reception=False)):
        trigger.context = Unreadable(aws, trigger_id="t", deadline_ms=0, restored=None)
        assert [event.payload["status"] async for event in trigger.run()] == ["success"]


async def test_waits_for_one_item_share_their_reads(fake: FakeAws, aws: Aws) -> None:
    fake.script("GetItem", {"Item": {"state": {"S": "done"}}})
    fake.latency_s = 0.1
    events = await asyncio.gather(*(_item(aws) for _ in range(20)))
    assert {event.payload["status"] for event in events} == {"success"}
    assert fake.calls["GetItem"] < 20


async def test_a_budget_survives_a_move_and_does_not_begin_anew(fake: FakeAws, aws: Aws) -> None:
    fake.script("GetItem", {})
    trigger = DynamoDBValueSensorTrigger("jobs", "id", "5", "state", "done", delay=60, max_attempts=100)
    trigger.context = context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
    run: Any = trigger.run()
    first = asyncio.create_task(anext(run))
    await eventually(lambda: context.checkpoints)
    first.cancel()
    await asyncio.wait({first})
    (ends_ms,) = context.checkpoints
    assert abs(ends_ms - wall_ms() - 99 * 60_000) < 30_000
    trigger = DynamoDBValueSensorTrigger("jobs", "id", "5", "state", "done", delay=60, max_attempts=100)
    event = await _outcome(aws, trigger, restored=wall_ms() - 1_000)
    assert event.details["error_type"] == "waiter_exhausted"
    assert fake.calls["GetItem"] == 2


# --- Kinesis ----------------------------------------------------------------------------------------------------

SHARDS = {"Shards": [{"ShardId": "shardId-000000000000", "SequenceNumberRange": {"StartingSequenceNumber": "1"}}]}
CHILD = {"ShardId": "shardId-000000000001", "ParentShards": ["shardId-000000000000"]}
NOTHING = {"Records": [], "NextShardIterator": "next", "MillisBehindLatest": 0}


def _records(*numbers: int, **more: Any) -> dict[str, Any]:
    data, now_s = base64.b64encode(b"x").decode(), wall_ms() / 1000
    records = [
        {
            "SequenceNumber": str(each),
            "PartitionKey": "p",
            "Data": data,
            "ApproximateArrivalTimestamp": now_s,
        }
        for each in numbers
    ]
    return {"Records": records, "MillisBehindLatest": 0, "NextShardIterator": "next", **more}


async def _sequences(aws: Aws, wanted: int, restored: Any = None, **more: Any) -> list[tuple[str, str]]:
    """The first records of a trigger, as (shard's number, sequence number)."""
    trigger = KinesisTrigger("clicks", **{"delay": 0.02, **more})
    trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=restored)
    found: list[tuple[str, str]] = []
    run: Any = trigger.run()
    while len(found) < wanted:
        event = await asyncio.wait_for(anext(run), 20)
        found += [(each["ShardId"][-1], each["SequenceNumber"]) for each in event.payload["message_batch"]]
    await run.aclose()
    return found


async def test_an_expired_iterator_is_got_anew_after_the_last_record(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", SHARDS)
    fake.script("GetShardIterator", {"ShardIterator": "first"}, {"ShardIterator": "second"})
    fake.script("GetRecords", _records(7), Fault("ExpiredIteratorException"), _records(8))
    assert await _sequences(aws, 2) == [("0", "7"), ("0", "8")]
    asked = [seen.params for seen in fake.seen if seen.operation == "GetShardIterator"]
    assert [each["ShardIteratorType"] for each in asked] == ["LATEST", "AFTER_SEQUENCE_NUMBER"]
    assert asked[1]["StartingSequenceNumber"] == "7"


async def test_a_throughput_that_is_exceeded_and_an_outage_are_waited_through(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", Fault("LimitExceededException"), SHARDS)
    fake.script("GetShardIterator", *[Drop()] * 4, {"ShardIterator": "first"})
    fake.script("GetRecords", *[Fault("ProvisionedThroughputExceededException")] * 4, _records(7))
    assert await _sequences(aws, 1) == [("0", "7")]


async def test_the_children_of_a_shard_are_read_from_their_beginning_when_it_has_ended(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", SHARDS)
    fake.script("GetShardIterator", {"ShardIterator": "first"}, {"ShardIterator": "child"})
    fake.script("GetRecords", _records(7, NextShardIterator=None, ChildShards=[CHILD]), _records(8))
    assert await _sequences(aws, 2) == [("0", "7"), ("1", "8")]
    assert fake.seen[-2].params["ShardIteratorType"] == "TRIM_HORIZON"


async def test_all_pages_of_a_streams_shards_are_read(fake: FakeAws, aws: Aws) -> None:
    more = {"Shards": [{"ShardId": "shardId-000000000001", "SequenceNumberRange": {"StartingSequenceNumber": "1"}}]}
    fake.script("ListShards", {**SHARDS, "NextToken": "t"}, more)
    fake.script("GetShardIterator", {"ShardIterator": "i"})
    fake.script("GetRecords", _records(7))
    assert sorted(await _sequences(aws, 2)) == [("0", "7"), ("1", "7")]
    assert [seen.params for seen in fake.seen if seen.operation == "ListShards"][1] == {"NextToken": "t"}


async def test_after_a_move_a_shard_goes_on_after_its_last_record(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", SHARDS)
    fake.script("GetShardIterator", Fault("InvalidArgumentException", "trimmed"), {"ShardIterator": "i"})
    fake.script("GetRecords", _records(9))
    assert await _sequences(aws, 1, restored=[1, [0, (12).to_bytes(1, "big")], []]) == [("0", "9")]
    asked = [seen.params for seen in fake.seen if seen.operation == "GetShardIterator"]
    assert [(each["ShardIteratorType"], each.get("StartingSequenceNumber")) for each in asked] == [
        ("AFTER_SEQUENCE_NUMBER", "12"),
        ("TRIM_HORIZON", None),  # a cursor that is not valid any more loses nothing
    ]


async def test_a_cursor_that_cannot_be_read_begins_anew(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", SHARDS)
    fake.script("GetShardIterator", {"ShardIterator": "i"})
    fake.script("GetRecords", _records(9))
    assert await _sequences(aws, 1, restored={"somebody": "else's"}) == [("0", "9")]


async def test_a_stream_whose_last_shard_has_ended_ends_the_trigger(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", SHARDS)
    fake.script("GetShardIterator", {"ShardIterator": "i"})
    fake.script("GetRecords", {"Records": [], "MillisBehindLatest": 0, "NextShardIterator": None})
    event = await _outcome(aws, KinesisTrigger("clicks"))
    assert (event.outcome, event.payload) == ("fired", None)


async def test_a_stream_whose_last_shard_had_ended_before_a_move_ends_the_trigger(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", SHARDS)
    event = await _outcome(aws, KinesisTrigger("clicks"), restored=[0, [], [0]])
    assert (event.outcome, event.payload) == ("fired", None)


async def test_a_split_does_not_have_quiet_shards_read_from_their_beginning_after_a_move(
    fake: FakeAws, aws: Aws
) -> None:
    quiet = {"ShardId": "shardId-000000000002", "SequenceNumberRange": {"StartingSequenceNumber": "1"}}
    fake.script("ListShards", {"Shards": [*SHARDS["Shards"], quiet]})
    fake.script("GetShardIterator", lambda asked: {"ShardIterator": asked["ShardId"][-1]})
    ended = iter([_records(7, NextShardIterator=None, ChildShards=[CHILD])])
    fake.script(
        "GetRecords",
        lambda asked: next(ended) if asked["ShardIterator"] == "0" else NOTHING | {"NextShardIterator": "1"},
    )
    trigger = KinesisTrigger("clicks", delay=0.02)
    trigger.context = context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
    run: Any = trigger.run()
    await anext(run)
    reading = asyncio.create_task(anext(run))
    await eventually(lambda: context.checkpoints and context.checkpoints[-1][2] == [0] and context.checkpoints[-1][0])
    reading.cancel()
    await asyncio.wait({reading})
    assert abs(context.checkpoints[-1][0] - wall_ms()) < 60_000


async def test_a_shard_that_is_behind_is_read_again_before_the_delay(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListShards", SHARDS)
    fake.script("GetShardIterator", {"ShardIterator": "i"})
    fake.script("GetRecords", _records(7, MillisBehindLatest=5_000), _records(8))
    assert await _sequences(aws, 2, delay=200) == [("0", "7"), ("0", "8")]


# --- S3, with something between moto and the trigger --------------------------------------------------------------


class Front:
    """Stands before moto: `before` may answer a request itself; listings come in pages of two keys."""

    def __init__(self, moto_url: str) -> None:
        self._moto_url = moto_url
        self.before: Callable[[web.Request], web.Response | None] = lambda request: None
        self.requests: list[str] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.rel_url}")
        if (answer := self.before(request)) is not None:
            return answer
        url = f"{self._moto_url}{request.rel_url}" + ("&max-keys=2" if "list-type" in request.query else "")
        sent = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with self._session.request(request.method, url, headers=sent) as reply:
            headers = {name: value for name, value in reply.headers.items() if name.lower() != "transfer-encoding"}
            return web.Response(status=reply.status, body=await reply.read(), headers=headers)


@pytest.fixture
async def front(moto_url: str) -> AsyncIterator[Front]:
    async with Front(moto_url) as server:
        yield server


@pytest.fixture
async def s3(front: Front) -> AsyncIterator[Aws]:
    connection = ConnectionSettings(region="us-east-1", endpoint_url=front.url)
    quotas = {"*": QuotaSettings(rate_per_s=10_000.0, burst=10_000.0)}
    async with open_aws(AwsSettings(connections={"default": connection}, quotas=quotas)) as opened:
        yield opened


@pytest.fixture
def boto(moto_url: str) -> Any:
    """A client of moto itself; the bucket `lake` is there."""
    client = boto3.client("s3", endpoint_url=moto_url, region_name="us-east-1")
    client.create_bucket(Bucket="lake")
    yield client
    client.close()


def _put(boto: Any, *keys: str) -> None:
    for key in keys:
        boto.put_object(Bucket="lake", Key=key, Body=b"1")


def _slow_down() -> web.Response:
    body = "<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
    return web.Response(status=503, text=body, content_type="application/xml")


@pytest.mark.parametrize("more", [{}, {"wildcard_match": True}])
async def test_slow_down_is_waited_through(front: Front, s3: Aws, boto: Any, more: dict[str, Any]) -> None:
    _put(boto, "a")
    front.before = lambda request: _slow_down() if len(front.requests) < 4 else None
    event = await _outcome(s3, S3KeyTrigger("lake", "a", delay=0.02, **more))
    assert event.payload == {"status": "success"}
    assert len(front.requests) == 4


async def test_a_listing_is_read_page_by_page_to_its_end(front: Front, s3: Aws, boto: Any) -> None:
    _put(boto, *(f"data/{number}" for number in range(5)), "data/+ü", "other/9")
    trigger = S3KeyTrigger("lake", "data/*", wildcard_match=True, should_check_fn=True, delay=0.02)
    event = await _outcome(s3, trigger)
    assert [file["Key"] for file in event.payload["files"]] == ["data/+ü", *(f"data/{number}" for number in range(5))]
    assert len(front.requests) == 3
    assert all("prefix=data%2F" in request for request in front.requests)


async def test_an_object_that_vanishes_between_list_and_head_is_not_there_yet(front: Front, s3: Aws, boto: Any) -> None:
    _put(boto, "data/a")
    files: dict[str, Any] = {"wildcard_match": True, "should_check_fn": True, "metadata_keys": ["ContentType"]}
    trigger = S3KeyTrigger("lake", "data/*", delay=0.02, **files)
    waiting = asyncio.create_task(_outcome(s3, trigger))
    front.before = lambda request: web.Response(status=404) if request.method == "HEAD" else None
    await eventually(lambda: waiting.done() or len(front.requests) > 6)
    assert not waiting.done()
    front.before = lambda request: None
    (file,) = (await waiting).payload["files"]
    assert file["Key"] == "data/a"


async def test_a_machine_without_a_process_to_match_keys_in_is_waited_through(
    s3: Aws, boto: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, started = asyncio.create_subprocess_exec, []

    async def begin(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(options["start_new_session"])
        if len(started) == 1:
            raise BlockingIOError("Resource temporarily unavailable")
        process = await begun(*arguments, **options)
        if len(started) == 2:
            process.terminate()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin)
    _put(boto, "data/7.csv")
    event = await _outcome(s3, S3KeyTrigger("lake", "data/\\d+\\.csv", use_regex=True, delay=0.02))
    assert event.payload == {"status": "success"}
    assert started == [True, True, True]


async def test_a_denied_head_says_what_it_may_mean(front: Front, s3: Aws, boto: Any) -> None:
    front.before = lambda request: web.Response(status=403)
    event = await _outcome(s3, S3KeyTrigger("lake", "a"))
    assert event.payload["status"] == "error"
    assert "where s3:ListBucket is not allowed" in event.payload["message"]


async def test_the_requester_pays(front: Front, s3: Aws, boto: Any) -> None:
    seen: list[str | None] = []

    def before(request: web.Request) -> None:
        seen.append(request.headers.get("x-amz-request-payer"))

    front.before = before
    _put(boto, "a")
    for wildcard in (False, True):
        trigger = S3KeyTrigger("lake", "a", wildcard_match=wildcard, hook_params={"requester_pays": True})
        await _outcome(s3, trigger)
    assert seen == ["requester", "requester"]


async def test_keys_unchanged_do_not_make_a_busy_loop(front: Front, s3: Aws, boto: Any) -> None:
    trigger = S3KeysUnchangedTrigger("lake", "", inactivity_period=2, min_objects=0)
    assert (await _outcome(s3, trigger)).payload["status"] == "success"
    assert len(front.requests) <= 4


async def test_the_period_of_keys_unchanged_goes_on_after_a_move(front: Front, s3: Aws, boto: Any) -> None:
    _put(boto, "data/a", "data/b")
    trigger = S3KeysUnchangedTrigger("lake", "data/", inactivity_period=100, delay=0.02, allow_delete=False)
    trigger.context = context = LocalContext(s3, trigger_id="t", deadline_ms=0, restored=None)
    run: Any = trigger.run()
    first = asyncio.create_task(anext(run))
    await eventually(lambda: len(front.requests) >= 5)
    first.cancel()
    await asyncio.wait({first})
    assert len(context.checkpoints) == 1
    *state, changed_ms, ends_ms = context.checkpoints[0]
    moved = [*state, changed_ms - 101_000, ends_ms]

    event = await _outcome(s3, S3KeysUnchangedTrigger("lake", "data/", inactivity_period=100), restored=moved)
    assert event.payload["status"] == "success"
    assert event.details["polls"] == 1

    boto.delete_object(Bucket="lake", Key="data/a")
    _put(boto, "data/c")  # as many as before
    trigger = S3KeysUnchangedTrigger("lake", "data/", inactivity_period=100, allow_delete=False)
    event = await _outcome(s3, trigger, restored=moved)
    assert "were deleted" in event.payload["message"]


async def test_what_an_earlier_wait_for_unchanged_keys_has_seen_counts(front: Front, s3: Aws, boto: Any) -> None:
    _put(boto, "data/a")
    seen: dict[str, Any] = {"previous_objects": {"data/a"}, "last_activity_time": "2024-01-01T00:00:00"}
    event = await _outcome(s3, S3KeysUnchangedTrigger("lake", "data/", inactivity_period=3600, **seen))
    assert (event.payload["status"], event.details["polls"]) == ("success", 1)
