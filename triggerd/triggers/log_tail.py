"""CloudWatch log streams, copied into a trigger's log while it waits."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triggerd.errors import TriggerdError, message_of
from triggerd.trigger import TriggerContext, TriggerEvent
from triggerd.triggers.beside import BesideWaiterTrigger
from triggerd.triggers.client_calls import code_of

_PAGES, _LINES = 5, 1_000  # of a stream in one look; a page is at most 1 MB
_AT_ONCE = 100  # lines, and then others have their turn
_LINE_CHARS, _JSON_CHARS = 4_000, 20_000
_MAX_MS = 2**53
_LEVEL = re.compile(r"\s*\[?(DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b", re.IGNORECASE)
_METHODS = {"WARN": "warning", "FATAL": "critical"}  # the others are called as the level is


@dataclass(slots=True)
class LogStream:
    """One stream, and how far it has been read.

    Attributes:
        begin_ms: Lines before it are left out: an earlier run has copied them.
        seen_ms: When the last line was written that was copied.
        token: Where AWS goes on reading, None at the begin.
        trouble: The code of the error that the log has a line for.
    """

    group: str
    name: str
    begin_ms: int = 0
    seen_ms: int = 0
    token: str | None = None
    trouble: str | None = None


class LogTail:
    """Copies what is new in some streams; each line has the level that it begins with, or has as JSON's ``level``."""

    def __init__(
        self, context: TriggerContext, streams: Sequence[LogStream], connection: str, region: str | None
    ) -> None:
        self._context, self.streams = context, streams
        self._connection, self._region = connection, region

    async def look(self) -> None:
        """Copy at most `_PAGES` of each stream; what is wrong with a stream is logged."""
        async with self._context.aws.client("logs", self._connection, self._region) as client:
            for stream in self.streams:
                try:
                    await self._read(client, stream)
                except Exception as error:  # noqa: BLE001 - the other streams may be better off
                    self._failed(stream, error)

    async def _read(self, client: Any, stream: LogStream) -> None:
        for _ in range(_PAGES):
            asked = {"logGroupName": stream.group, "logStreamName": stream.name, "startFromHead": True}
            if stream.begin_ms:
                asked["startTime"] = stream.begin_ms
            if stream.token is not None:
                asked["nextToken"] = stream.token
            answer = await client.get_log_events(**asked, limit=_LINES)
            stream.trouble = None
            await self._copy(stream, answer["events"])
            if stream.token == answer["nextForwardToken"]:
                return  # an empty page alone is no end
            stream.token = answer["nextForwardToken"]
        self._context.log.info("there is more of a log than one look copies", stream=f"{stream.group}/{stream.name}")

    async def _copy(self, stream: LogStream, lines: Sequence[Mapping[str, Any]]) -> None:
        for number, line in enumerate(lines, start=1):
            at_ms, text = line.get("timestamp", 0), line.get("message", "").rstrip()
            at = datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
            log = getattr(self._context.log, level_of(text))
            log("remote log", at=at, stream=f"{stream.group}/{stream.name}", line=text[:_LINE_CHARS])
            stream.seen_ms = max(stream.seen_ms, at_ms)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _failed(self, stream: LogStream, error: Exception) -> None:
        transient = self._context.aws.transient(error)
        code = code_of(error) or type(error).__name__
        if not transient and stream.token is not None:  # it may be the token: they expire
            stream.token, stream.begin_ms = None, stream.seen_ms
        if code == stream.trouble:
            return
        stream.trouble = code
        where = f"{stream.group}/{stream.name}"
        if code == "ResourceNotFoundException":
            self._context.log.info("there is no such log stream, or not yet", stream=where)
        elif transient:
            self._context.log.debug("a log stream was not read, later again", stream=where, error=message_of(error))
        else:
            self._context.log.warning("a log stream cannot be read", stream=where, error=message_of(error))


def level_of(text: str) -> str:
    """The logger's method for a line: of the level that it names, else ``info``."""
    if text.startswith("{") and len(text) <= _JSON_CHARS:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = {}
        text = str(fields.get("levelname") or fields.get("level"))
    found = _LEVEL.match(text)
    level = found[1].upper() if found else "INFO"
    return _METHODS.get(level, level.lower())


class LogTailTrigger(BesideWaiterTrigger):
    """A wait whose remote logs are copied into the trigger's log.

    They can neither fail nor delay it, but for the last look of a few seconds. After a move to another daemon the
    copy goes on with the last line, which comes twice, or with an earlier one where the daemon had crashed.
    """

    _tail: LogTail | None = None

    def _streams(self) -> list[LogStream]:
        """What is to be copied; nothing where empty."""
        raise NotImplementedError(f"{type(self).__qualname__} must define _streams()")

    def _logs_region(self) -> str | None:
        return self.region

    def run(self) -> AsyncIterator[TriggerEvent]:
        streams = self._streams()
        if streams:
            context = self.context
            self.context = _WithPositions(context, streams)
            self._tail = LogTail(context, streams, self.connection, self._logs_region())
        return super().run()

    def _beside(self) -> Callable[[], Awaitable[None]] | None:
        return None if self._tail is None else self._tail.look


class _WithPositions:
    """The context of a run; how far the streams were read stands in its checkpoint, behind the state of the wait."""

    def __init__(self, context: TriggerContext, streams: Sequence[LogStream]) -> None:
        self._context, self._streams = context, streams
        self.trigger_id, self.deadline_ms = context.trigger_id, context.deadline_ms
        self.log, self.aws = context.log, context.aws
        try:
            restored = context.restored
        except TriggerdError:
            return  # the wait says so
        positions = restored[-1] if isinstance(restored, list) and restored else None
        if isinstance(positions, list) and len(positions) == len(streams):
            for stream, at_ms in zip(streams, positions, strict=True):
                if type(at_ms) is int and 0 <= at_ms < _MAX_MS:
                    stream.begin_ms = stream.seen_ms = at_ms

    @property
    def restored(self) -> Any:
        value = self._context.restored
        return value[:-1] if isinstance(value, list) and value and isinstance(value[-1], list) else value

    async def checkpoint(self, value: Any) -> None:
        await self._context.checkpoint([*value, [stream.seen_ms for stream in self._streams]])
