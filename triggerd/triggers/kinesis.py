"""The trigger that gives the records of a Kinesis stream, as they come."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

from triggerd.clock import wall_ms
from triggerd.errors import AwsCallError, TriggerdError, message_of
from triggerd.trigger import BaseTrigger, TriggerEvent
from triggerd.triggers.arguments import changed, name, number, whole
from triggerd.triggers.client_calls import SHORTEST_DELAY_S, send
from triggerd.triggers.kinesis_shards import Shard, Shards
from triggerd.triggers.paced import paced

_DELAY_S = 10.0
_LONGEST_DELAY_S = 299.0  # an iterator is good for 5 minutes
_CATCH_UP_S = 1.0  # of the 5 reads a second that a shard allows all its readers together
_AT_ONCE = 5
_MAX_EVENT_BYTES = 190 * 1024  # an event's envelope carries 256 KiB, the continuation included
_RECORD_BYTES = 350  # what a record takes beside its data and its key, at most
_ARRIVES_WITHIN_MS = 10_000  # a record may be stamped a little before it can be read

_OPENED_TIMES = 3

Answer = dict[str, Any]


class KinesisTrigger(BaseTrigger):
    """Gives the records of a stream, until the trigger's deadline or a cancel.

    Fires many events, ``{"status": "success", "message_batch": [{"ShardId": ..., "SequenceNumber": ..., "PartitionKey":
    ..., "ApproximateArrivalTimestamp": ISO 8601 text, "Data": base64 text}]}``: one for each answer of a shard, more
    where an answer is over 190 KiB. A record over that cannot be carried, and fails the trigger. So does an error of
    AWS; a throttle or an outage is waited through.

    Each record is given at least once. The cursor is stored after each event, and a run that moves to another daemon
    goes on there; only where over a hundred shards are read some records come twice then (see `kinesis_shards`).
    Shards that a split or a merge makes are read from their beginning, once their parents are read to their end.

    Args:
        shard_iterator_type: ``LATEST``: what comes from now on; ``TRIM_HORIZON``: all that the stream still has.
        batch_size: Records of one read and event, 1 to 10,000.
        delay: Seconds between reads of a shard that has nothing more; one that has is read again after 1 s.
    """

    multi_event: ClassVar[bool] = True

    def __init__(
        self,
        stream_name: str,
        *,
        shard_iterator_type: str = "LATEST",
        batch_size: int = 100,
        delay: float = _DELAY_S,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        if shard_iterator_type not in ("LATEST", "TRIM_HORIZON"):
            raise ValueError(f"shard_iterator_type = {shard_iterator_type!r}: LATEST or TRIM_HORIZON is expected")
        self.stream_name = name("stream_name", stream_name)
        self.shard_iterator_type = shard_iterator_type
        self.batch_size = whole("batch_size", batch_size, 1, 10_000)
        self.delay = number("delay", delay) or _DELAY_S
        if self.delay > _LONGEST_DELAY_S:
            raise ValueError(f"delay = {delay!r}: at most {_LONGEST_DELAY_S:g} s, the life of a shard iterator")
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.kinesis.KinesisTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async with self.context.aws.client("kinesis", connection=self.connection, region=self.region) as client:
            shards = await self._begin()
            await self._each(client, list(shards.live.values()), self._open)
            await self.context.checkpoint(shards.cursor())
            async with aclosing(self._sweeps(shards)) as sweeps:
                async for some in sweeps:
                    for shard, answer in await self._each(client, some, self._read):
                        for records in _batches(shard.id, answer):
                            yield TriggerEvent({"status": "success", "message_batch": records})
                            shard.published(records[-1]["SequenceNumber"], _arrival_ms(records[-1]))
                            await self.context.checkpoint(shards.cursor())
                        await self._go_on(shards, shard, answer)

    async def _sweeps(self, shards: Shards) -> AsyncGenerator[list[Shard]]:
        """All shards, a few at a time: every `delay`, those that have more to read sooner."""
        delay = max(self.delay, SHORTEST_DELAY_S)
        async for _ in paced(delay):
            if not shards.live:
                return  # the last shard has ended, and none follows
            due = list(shards.live.values())
            while due:
                for start in range(0, len(due), _AT_ONCE):
                    yield due[start : start + _AT_ONCE]
                if not shards.live:
                    return
                due = [shard for shard in shards.live.values() if shard.behind]
                if due:
                    await asyncio.sleep(min(delay, _CATCH_UP_S))

    async def _begin(self) -> Shards:
        """Where an earlier run has stopped, or anew."""
        listed = await self._listed()
        try:
            restored = self.context.restored
            if restored is not None:
                return Shards.restore(listed, restored)
        except (TriggerdError, ValueError) as error:
            self.context.log.warning("the stream is read anew, its cursor is unreadable", error=message_of(error))
        return Shards.begin(listed, latest=self.shard_iterator_type == "LATEST")

    async def _listed(self) -> list[Answer]:
        listed: list[Answer] = []
        params = {"StreamName": self.stream_name}
        while params:
            answer = await self.context.aws.poll(
                "kinesis", "ListShards", params, connection=self.connection, region=self.region
            )
            listed += answer.get("Shards") or ()
            params = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        return listed

    async def _each(
        self, client: Any, shards: Sequence[Shard], step: Callable[[Any, Shard], Awaitable[Answer | None]]
    ) -> list[tuple[Shard, Answer]]:
        """One step of some shards, a few at once; the answers that came."""
        found: list[tuple[Shard, Answer]] = []
        for start in range(0, len(shards), _AT_ONCE):
            some = shards[start : start + _AT_ONCE]
            answers = await asyncio.gather(*(step(client, shard) for shard in some), return_exceptions=True)
            for shard, answer in zip(some, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                if answer is not None:
                    found.append((shard, answer))
        return found

    async def _open(self, client: Any, shard: Shard) -> Answer | None:
        """Get the iterator of a shard; where a throttle or an outage prevents it, its next read does that."""
        position = shard.position()
        shard.latest = False
        asked = {"StreamName": self.stream_name, "ShardId": shard.id, **position}
        try:
            answer = await send(self.context.aws, client, "get_shard_iterator", **asked)
        except AwsCallError as error:
            if error.aws_code != "InvalidArgumentException" or shard.sequence is None:
                raise
            self.context.log.warning("a cursor is not valid any more, its shard is read from the start", shard=shard.id)
            shard.sequence = None
            return await self._open(client, shard)
        if answer is not None:
            shard.iterator = answer["ShardIterator"]
            if position["ShardIteratorType"] == "LATEST":
                shard.until_ms = _server_ms(answer)
        return answer

    async def _read(self, client: Any, shard: Shard) -> Answer | None:
        for _ in range(_OPENED_TIMES):
            if shard.iterator is None and await self._open(client, shard) is None:
                return None
            asked = {"ShardIterator": shard.iterator, "Limit": self.batch_size}
            try:
                return await send(self.context.aws, client, "get_records", **asked)
            except AwsCallError as error:
                if error.aws_code != "ExpiredIteratorException":
                    raise
                shard.iterator = None
        return None

    async def _go_on(self, shards: Shards, shard: Shard, answer: Answer) -> None:
        """All records of an answer are published."""
        shard.iterator = answer.get("NextShardIterator")
        shard.behind = bool(answer.get("MillisBehindLatest"))
        if shard.iterator is None:
            children = answer.get("ChildShards") or ()
            shards.end(shard, children)
            self.context.log.info("a shard has ended", shard=shard.id, children=[each["ShardId"] for each in children])
            await self.context.checkpoint(shards.cursor())
        elif not answer.get("Records") and not shard.behind:
            unknown = not shard.until_ms  # and as long as it is, the cursor has the whole stream read anew
            shard.until_ms = max(shard.until_ms, _server_ms(answer) - _ARRIVES_WITHIN_MS)
            if unknown:
                await self.context.checkpoint(shards.cursor())


def _batches(shard: str, answer: Answer) -> Iterator[list[dict[str, Any]]]:
    """The records of an answer, as many at a time as an event has room for."""
    batch: list[dict[str, Any]] = []
    left_bytes = _MAX_EVENT_BYTES
    for record in answer.get("Records") or ():
        arrived = record.get("ApproximateArrivalTimestamp")
        data = base64.b64encode(record["Data"]).decode("ascii")
        size = len(data) + len(record["PartitionKey"].encode()) + _RECORD_BYTES
        if batch and size > left_bytes:
            yield batch
            batch, left_bytes = [], _MAX_EVENT_BYTES
        left_bytes -= size
        batch.append({
            "ShardId": shard,
            "SequenceNumber": record["SequenceNumber"],
            "PartitionKey": record["PartitionKey"],
            "ApproximateArrivalTimestamp": arrived and arrived.astimezone(UTC).isoformat(),
            "Data": data,
        })  # fmt: skip
    if batch:
        yield batch


def _arrival_ms(record: Mapping[str, Any]) -> int:
    arrived = record["ApproximateArrivalTimestamp"]
    return int(datetime.fromisoformat(arrived).timestamp() * 1000) if arrived else 0


def _server_ms(answer: Answer) -> int:
    """The time by AWS's clock, to the second."""
    headers = (answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}
    try:
        return int(parsedate_to_datetime(headers["date"]).timestamp() * 1000)
    except (KeyError, ValueError):
        return wall_ms()
