"""What is asked about the server and about a queue's keys, for `triggerd doctor` and the daemon's start; reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triggerd.keys import BATCH, QueueKeys
from triggerd.streams.script import Call, nothing, script_call, text


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """An entry of the server's slow log."""

    command: str
    at_s: int
    took_us: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A page of `inspect`; `next_after` is "" at the end of what was handed out."""

    next_after: str
    entries: int
    orphans: int
    deadlines: int
    without_record: int
    replies: list[str]


@dataclass(frozen=True, slots=True)
class ScanPage:
    """A page of keys; `cursor` is 0 at the end."""

    cursor: int
    keys: list[str]


def server_time_ms() -> Call[float]:
    """The server's wall clock."""
    return Call("time", ("TIME",), lambda reply: int(reply[0]) * 1000 + int(reply[1]) / 1000)


def config(name: str) -> Call[str]:
    """A setting of the server, "" where it has none of that name. Managed servers forbid to ask."""
    return Call("config", ("CONFIG", "GET", name), lambda reply: text(reply[1]) if reply else "")


def slow_commands(count: int) -> Call[list[SlowCommand]]:
    """The newest entries of the slow log, without their arguments: these hold what users sent."""

    def read(reply: Sequence[Any]) -> list[SlowCommand]:
        return [SlowCommand(text(row[3][0]), int(row[1]), int(row[2])) for row in reply]

    return Call("slowlog", ("SLOWLOG", "GET", count), read)


def key_type(key: str) -> Call[str]:
    """``stream``, ``zset``, ...; ``none`` where there is no such key."""
    return Call("type", ("TYPE", key), text)


def length(stream: str) -> Call[int]:
    """How many entries a stream holds."""
    return Call("xlen", ("XLEN", stream), int)


def memory_bytes(key: str) -> Call[int]:
    """What a key takes of the server's memory, estimated from a few samples."""
    return Call("memory", ("MEMORY", "USAGE", key), lambda reply: int(reply or 0))


def scan(pattern: str, cursor: int, count: int) -> Call[ScanPage]:
    """Those that match out of about `count` keys."""
    command = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
    return Call("scan", command, lambda reply: ScanPage(int(reply[0]), [text(key) for key in reply[1]]))


def delete(keys: Sequence[str]) -> Call[None]:
    """These keys go."""
    return Call("del", ("DEL", *keys), nothing)


def inspect(queue: str, after: str = "", count: int = BATCH) -> Call[Sample]:
    """A page of what was handed out of a queue, and with the first page its earliest deadlines."""

    def read(reply: Sequence[Any]) -> Sample:
        after, entries, orphans, deadlines, without_record, *replies = reply
        return Sample(text(after), entries, orphans, deadlines, without_record, [text(name) for name in replies])

    return script_call("inspect", QueueKeys(queue).triggers, [after, min(count, BATCH)], read)
