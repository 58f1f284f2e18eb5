"""The shards of a Kinesis stream that a trigger reads, and its cursor: where it stands, in at most 4 KiB.

The cursor is ``[since_ms, [shard, sequence number, ...], [finished shard, ...]]``. A shard that has an own entry goes
on after that record. All others were read up to `since_ms`, and go on there. Some 100 entries find room: where more
shards have been read, those that were read longest ago keep theirs, and of the busiest ones records since `since_ms`
come twice after a move. Nothing is left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triggerd.clock import wall_ms

MAX_ENTRIES_BYTES, MAX_FINISHED_BYTES = 3_200, 800
_NUMBERED = re.compile(r"shardId-(\d{12})", re.ASCII)
_NUMBER = re.compile(r"[1-9]\d{0,200}", re.ASCII)

Short = int | str | bytes


@dataclass(slots=True)
class Shard:
    """One shard that is read.

    Attributes:
        sequence: Of the last record that was published; None before the first.
        until_ms: All that arrived before has been published, or was not wanted; 0: nothing is known to be.
        latest: Not opened yet, and only what comes from now on is wanted.
        iterator: For the next read; None where it has to be got first.
        behind: There was more to read.
    """

    id: str
    sequence: str | None = None
    until_ms: int = 0
    latest: bool = False
    iterator: str | None = None
    behind: bool = False

    def published(self, sequence: str, arrived_ms: int) -> None:
        """Its records up to this one are published."""
        self.sequence, self.until_ms = sequence, max(self.until_ms, arrived_ms)

    def position(self) -> dict[str, Any]:
        """From where to read, as GetShardIterator has it."""
        if self.sequence is not None:
            return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self.sequence}
        if self.latest:
            return {"ShardIteratorType": "LATEST"}
        if self.until_ms:
            return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": self.until_ms / 1000}
        return {"ShardIteratorType": "TRIM_HORIZON"}


@dataclass(slots=True)
class Shards:
    """All shards of a stream: `live` are read, by their ids; `finished` have nothing more to read."""

    live: dict[str, Shard] = field(default_factory=dict)
    finished: dict[str, None] = field(default_factory=dict)

    @classmethod
    def begin(cls, listed: Sequence[Mapping[str, Any]], *, latest: bool) -> "Shards":
        """Of a stream that was not read before.

        Args:
            listed: As ListShards describes them. latest: what has come before now is not wanted.
        """
        shards = cls()
        if latest:
            shards.finished = {each["ShardId"]: None for each in listed if _is_closed(each)}
        for each in shards._without_parents(listed):
            shards.live[each] = Shard(each, latest=latest, until_ms=wall_ms() if latest else 0)
        return shards

    @classmethod
    def restore(cls, listed: Sequence[Mapping[str, Any]], cursor: Any) -> "Shards":
        """Of a stream of which an earlier run has stored this cursor. Raises ValueError where it is none."""
        match cursor:
            case [int(since_ms), list(entries), list(finished)] if len(entries) % 2 == 0:
                known = {str(each["ShardId"]) for each in listed}
                pairs = zip(entries[::2], entries[1::2], strict=True)
                read = {_long_id(shard): _long_number(number) for shard, number in pairs}
                shards = cls(finished={each: None for each in map(_long_id, finished) if each in known})
                shards.live = {each: Shard(each, sequence=read[each]) for each in read if each in known}
                for each in shards._without_parents(listed):
                    shards.live.setdefault(each, Shard(each, until_ms=since_ms))
                return shards
        raise ValueError("not the cursor of a stream")

    def _without_parents(self, listed: Sequence[Mapping[str, Any]]) -> list[str]:
        """Those that need not wait until a parent is read to its end: its records come before theirs."""
        unread = {str(each["ShardId"]) for each in listed} - self.finished.keys()
        return [str(each["ShardId"]) for each in listed if each["ShardId"] in unread and not _parents(each) & unread]

    def cursor(self) -> list[Any]:
        """What to store."""
        entries: list[Short] = []
        left_bytes = MAX_ENTRIES_BYTES
        since_ms = wall_ms()
        for shard in sorted(self.live.values(), key=lambda each: each.until_ms):
            entry = None if shard.sequence is None else (_short_id(shard.id), _short_number(shard.sequence))
            size = 0 if entry is None else sum(_size(part) for part in entry)
            if entry is None or size > left_bytes:
                since_ms = min(since_ms, shard.until_ms)
            else:
                left_bytes -= size
                entries.extend(entry)
        return [since_ms, entries, self._last_finished()]

    def _last_finished(self) -> list[Short]:
        """One that is forgotten here costs a read in vain after a move."""
        finished: list[Short] = []
        left_bytes = MAX_FINISHED_BYTES
        for short in map(_short_id, reversed(self.finished)):
            left_bytes -= _size(short)
            if left_bytes < 0:
                break
            finished.insert(0, short)
        return finished

    def end(self, shard: Shard, children: Iterable[Mapping[str, Any]]) -> None:
        """A shard has no more records: its children are read, each once all its parents have ended."""
        del self.live[shard.id]
        self.finished[shard.id] = None
        # What a child has came after what its parent had: read up to there is enough, where nothing of it was read.
        until_ms = shard.until_ms if shard.sequence is None else 0
        for child in children:
            name = str(child["ShardId"])
            waits = any(parent in self.live for parent in child.get("ParentShards") or ())
            if not waits and name not in self.live and name not in self.finished:
                self.live[name] = Shard(name, until_ms=until_ms, behind=True)


def _is_closed(listed: Mapping[str, Any]) -> bool:
    return "EndingSequenceNumber" in (listed.get("SequenceNumberRange") or {})


def _parents(listed: Mapping[str, Any]) -> set[str]:
    return {str(listed[name]) for name in ("ParentShardId", "AdjacentParentShardId") if listed.get(name)}


def _short_id(shard: str) -> Short:
    numbered = _NUMBERED.fullmatch(shard)
    return int(numbered[1]) if numbered else shard


def _long_id(short: object) -> str:
    if isinstance(short, int) and not isinstance(short, bool):
        return f"shardId-{short:012}"
    if isinstance(short, str):
        return short
    raise ValueError(f"not a shard: {short!r:.50}")


def _short_number(sequence: str) -> Short:
    number = int(sequence) if _NUMBER.fullmatch(sequence) else 0
    return number.to_bytes((number.bit_length() + 7) // 8, "big") if number else sequence


def _long_number(short: object) -> str:
    if isinstance(short, bytes):
        return str(int.from_bytes(short, "big"))
    if isinstance(short, str):
        return short
    raise ValueError(f"not a sequence number: {short!r:.50}")


def _size(part: Short) -> int:
    """At most what it takes on the wire."""
    if isinstance(part, int):
        return 3 if part < 2**16 else 9
    return 3 + len(part if isinstance(part, bytes) else part.encode())
