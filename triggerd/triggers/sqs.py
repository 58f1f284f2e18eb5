"""The trigger that waits for messages in an SQS queue."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from weakref import WeakKeyDictionary

from triggerd.errors import AwsCallError, message_of
from triggerd.trigger import BaseTrigger, TriggerEvent
from triggerd.triggers.arguments import attempts, changed, flag, name, number, text, whole
from triggerd.triggers.client_calls import SHORTEST_DELAY_S, send
from triggerd.triggers.looks import gave_up, looks
from triggerd.triggers.sqs_filters import body_filter, match_values, size_bytes
from triggerd.triggers.wait_checkpoints import stored

_DELAY_S = 60.0
_MAX_EVENT_BYTES = 190 * 1024  # an event's envelope carries 256 KiB, the continuation included
_DELETED_AT_ONCE = 10
_DELETE_ROUNDS = 3
_DELETE_PAUSE_S = 0.2
# Half of the connections that a client has by default. Were all of them held for up to 20 s, the deletes would stand
# in line for longer than the 10 s that they have, and every message would come again.
_HELD_AT_ONCE = 32
_held: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

Message = dict[str, Any]


class SqsSensorTrigger(BaseTrigger):
    """Waits for messages that fit, and takes them out of the queue once its event is published.

    Fires ``{"status": "success", "message_batch": [{"MessageId": ..., "Body": ..., ...}]}``, the messages as SQS gives
    them. An error of AWS fails the trigger; a throttle or an outage is waited through.

    Nothing is deleted before the event is stored, so no message is lost; where the daemon dies in between, or SQS does
    not delete one, it comes again, as SQS's own promise is at least once. Messages that do not fit, and those for
    which one event has no room (190 KiB), stay in the queue and are visible again after its visibility timeout.

    Args:
        sqs_queue: The queue's URL, or its name.
        max_messages: Of one call, 1 to 10. num_batches: calls of one look. wait_time_seconds: 0 to 20, of each call; 0
            while 32 calls of this daemon are held by SQS.
        visibility_timeout: Seconds for which nobody else gets the messages; the queue's own where None.
        message_filtering: None, ``literal``, ``jsonpath`` or ``jsonpath-ext``; see `triggerd.triggers.jsonpath`.
        message_filtering_match_values: The body, or what the expression finds in it, is one of these.
        message_filtering_config: The JSONPath expression. A body that is no JSON does not fit.
        delete_message_on_reception: False: they stay in the queue.
        delay: Seconds between looks. max_attempts: with `delay` a budget of time; None: until the deadline. Beyond it
            ``{"status": "error", "message": ...}`` is fired.
    """

    def __init__(
        self,
        sqs_queue: str,
        *,
        max_messages: int = 5,
        num_batches: int = 1,
        wait_time_seconds: int = 1,
        visibility_timeout: int | None = None,
        message_filtering: str | None = None,
        message_filtering_match_values: Any = None,
        message_filtering_config: str | None = None,
        delete_message_on_reception: bool = True,
        delay: float = _DELAY_S,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        self.sqs_queue = text("sqs_queue", sqs_queue)
        self.max_messages = whole("max_messages", max_messages, 1, 10)
        self.num_batches = whole("num_batches", num_batches, 1, 100)
        self.wait_time_seconds = whole("wait_time_seconds", wait_time_seconds, 0, 20)
        self.visibility_timeout = visibility_timeout
        if visibility_timeout is not None:
            whole("visibility_timeout", visibility_timeout, 0, 43_200)
        self.message_filtering = message_filtering
        self.message_filtering_match_values = match_values(message_filtering_match_values)
        self.message_filtering_config = message_filtering_config
        self.delete_message_on_reception = flag("delete_message_on_reception", delete_message_on_reception)
        self.delay = number("delay", delay) or _DELAY_S
        self.max_attempts = attempts(max_attempts)
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)
        self._fits = body_filter(message_filtering, self.message_filtering_match_values, message_filtering_config)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.sqs.SqsSensorTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        aws = self.context.aws
        async with aws.client("sqs", connection=self.connection, region=self.region) as client:
            url = await self._url(client)
            messages: list[Message] = []
            polls = 0
            delay = max(self.delay, SHORTEST_DELAY_S)
            async for polls in looks(delay, self.max_attempts, stored(self.context), self.context.checkpoint):
                messages = await self._receive(client, url)
                self.context.log.debug("looked for messages", look=polls, messages=len(messages))
                if messages:
                    break
        if not messages:
            yield gave_up(f"no message that fits came within {polls} looks")
            return
        yield TriggerEvent({"status": "success", "message_batch": messages}, {"polls": polls})
        if self.delete_message_on_reception:
            await self._delete(client, url, messages)

    async def _url(self, client: Any) -> str:
        if "://" in self.sqs_queue:
            return self.sqs_queue
        found = await self._patiently(client, "get_queue_url", QueueName=self.sqs_queue)
        return str(found["QueueUrl"])

    async def _patiently(self, client: Any, method: str, **parameters: Any) -> dict[str, Any]:
        async for _ in looks(self.delay, None, None, self.context.checkpoint):
            found = await send(self.context.aws, client, method, **parameters)
            if found is not None:
                return found
        raise AssertionError("without max_attempts there is no last look")

    async def _receive(self, client: Any, url: str) -> list[Message]:
        """The messages of one look that fit; of one that came twice, the later."""
        parameters = {"QueueUrl": url, "MaxNumberOfMessages": self.max_messages}
        parameters["WaitTimeSeconds"] = self.wait_time_seconds
        if self.visibility_timeout is not None:
            parameters["VisibilityTimeout"] = self.visibility_timeout
        taken: dict[str, Message] = {}
        left_bytes = _MAX_EVENT_BYTES
        for _ in range(self.num_batches):
            answer = await self._ask(client, parameters)
            if answer is None:
                self.context.log.info("SQS cannot be reached or throttles, it is asked again")
                break
            for message in answer.get("Messages") or ():
                await asyncio.sleep(0)  # a large body takes 100 ms to search
                if not self._fits(message.get("Body", "")):
                    continue
                left_bytes -= size_bytes(message)
                if left_bytes >= 0 or not taken:
                    taken[message["MessageId"]] = message
            if left_bytes < 0:
                break
        return list(taken.values())

    async def _ask(self, client: Any, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """ReceiveMessage, which SQS holds until there is a message; without that where too many are held already."""
        held = _held.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_HELD_AT_ONCE))
        if held.locked() or not self.wait_time_seconds:
            return await send(self.context.aws, client, "receive_message", **parameters | {"WaitTimeSeconds": 0})
        async with held:
            return await send(self.context.aws, client, "receive_message", **parameters)

    async def _delete(self, client: Any, url: str, messages: list[Message]) -> None:
        """Delete them as well as can be; what SQS keeps comes again."""
        left = {str(number): message["ReceiptHandle"] for number, message in enumerate(messages)}
        why: set[str] = set()
        try:
            for attempt in range(_DELETE_ROUNDS):
                await asyncio.sleep(_DELETE_PAUSE_S * attempt)
                ids = list(left)
                for start in range(0, len(ids), _DELETED_AT_ONCE):
                    some = {each: left[each] for each in ids[start : start + _DELETED_AT_ONCE]}
                    deleted, refused = await self._delete_some(client, url, some)
                    why |= refused
                    for each in deleted:
                        left.pop(each, None)
        finally:  # it may also be cut off, after the 10 s that the daemon gives it
            if left:
                self.context.log.warning(
                    "messages were delivered but not deleted, SQS will give them again",
                    messages=len(left),
                    why=sorted(why),
                )

    async def _delete_some(self, client: Any, url: str, handles: dict[str, str]) -> tuple[list[str], set[str]]:
        """The ids of those that are deleted, and why others are not."""
        entries = [{"Id": each, "ReceiptHandle": handle} for each, handle in handles.items()]
        try:
            answer = await send(self.context.aws, client, "delete_message_batch", QueueUrl=url, Entries=entries)
        except AwsCallError as error:
            return [], {message_of(error)}
        if answer is None:
            return [], {"SQS throttles or cannot be reached"}
        refused = {f"{each.get('Code')}: {each.get('Message')}" for each in answer.get("Failed") or ()}
        return [each["Id"] for each in answer.get("Successful") or ()], refused
