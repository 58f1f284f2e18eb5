"""The world of the protocol's model: one queue on a real server, all events that it ever saw, the invariants.

`World.observe` looks at the whole queue after each step and holds it against what it saw before.
"""

import contextlib
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from triggerd.errors import StreamMissingError
from triggerd.keys import TRIGGER_GROUP, QueueKeys
from triggerd.streams.connection import SyncRedis
from triggerd.streams.dead_letter import DeadLetters
from triggerd.streams.leases import Leases
from triggerd.streams.result_stream import ResultStream
from triggerd.streams.script import Call, Script
from triggerd.streams.trigger_queue import TriggerQueue, read_done

T = TypeVar("T")

Fate = Literal["heard", "lost", "late"]
"""What becomes of a call: carried out and answered; carried out, but its answer is lost; carried out much later."""

KEYS, QUEUE, LEASES, DEAD, RESULTS = (
    QueueKeys("m"),
    TriggerQueue("m"),
    Leases("m"),
    DeadLetters("m"),
    ResultStream("m", "r"),
)
RETENTION_MS = LEASE_MS = 3_600_000
"""Nothing ends by the clock: the model takes leases and deadlines away itself."""

_SOURCE = Path(__file__).with_name("model_snapshot.lua").read_text()
_SNAPSHOT = Script("snapshot", _SOURCE, hashlib.sha1(_SOURCE.encode(), usedforsecurity=False).hexdigest())


class AnswerLostError(Exception):
    """Whoever sent the call will never know whether it was carried out."""


def _text(value: bytes) -> str:
    return value.decode()


def _fields(flat: list[bytes]) -> dict[str, str]:
    return {_text(flat[i]): flat[i + 1].decode(errors="surrogateescape") for i in range(0, len(flat), 2)}


def age(entry: str) -> tuple[int, int]:
    """A stream entry id as something that sorts."""
    ms, _, seq = entry.partition("-")
    return int(ms), int(seq)


@dataclass(frozen=True)
class Event:
    """An event that was appended to the result stream."""

    id: str
    seq: int
    outcome: str
    body: bytes

    @property
    def final(self) -> bool:
        return self.outcome != "fired" or self.body.startswith(b"final ")


@dataclass
class Snapshot:
    """What the queue held after a step."""

    events: list[tuple[str, Event]] = field(default_factory=list)
    entries: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    last_delivered: str = "0-0"
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    stopping: dict[str, dict[str, str]] = field(default_factory=dict)
    done: dict[str, bytes] = field(default_factory=dict)
    deadlines: set[str] = field(default_factory=set)
    cancels: set[str] = field(default_factory=set)
    letters: int = 0


def _read_snapshot(reply: Any) -> Snapshot:
    events, entries, pending, last, records, stopping, done, deadlines, cancels, letters = reply
    read = []
    for entry, flat in events:
        raw = dict(zip(flat[::2], flat[1::2], strict=True))
        event = Event(_text(raw[b"id"]), int(raw[b"seq"]), _text(raw[b"outcome"]), raw[b"event"])
        read.append((_text(entry), event))
    return Snapshot(
        read, {_text(entry): _fields(flat).get("id", "") for entry, flat in entries},
        {_text(row[0]): _text(row[1]) for row in pending}, _text(last),
        {_text(name): _fields(flat) for name, flat in records},
        {_text(name): _fields(flat) for name, flat in stopping},
        {_text(name): value for name, value in done}, set(map(_text, deadlines)), set(map(_text, cancels)), letters,
    )  # fmt: skip


class World:
    """One queue, and everything that was ever seen there."""

    def __init__(self, redis: SyncRedis) -> None:
        self.redis = redis
        self.late: list[Call[Any]] = []
        self.before, self.now = Snapshot(), Snapshot()
        self.deferred: set[str] = set()
        self.events: dict[tuple[str, int], Event] = {}
        self.finals: dict[str, Event] = {}
        self.again: Counter[Event] = Counter()
        """Events that lay among the dead letters and may stand on the result stream once more."""
        self.unread: set[tuple[str, int]] = set()
        """Events that no resumer has handled and no operator has dropped."""
        self.orphans: set[str] = set()
        """Entries that somebody took from their owner by hand."""
        self.deleted: set[str] = set()
        """Entries that somebody deleted by hand."""
        self._last_event = ""
        self._returned: set[str] = set()
        redis.run(Call("flushall", ("FLUSHALL",), bool))
        redis.run(QUEUE.prepare())
        redis.run(RESULTS.prepare())

    def send(self, call: Call[T], fate: Fate = "heard") -> T:
        """Carry a call out, as its fate will have it.

        Raises:
            AnswerLostError: Its sender does not hear what came of it.
        """
        if fate == "late":
            self.late.append(call)
            raise AnswerLostError
        answer = self.redis.run(call)
        if fate == "lost":
            raise AnswerLostError
        return answer

    def by_hand(self, *command: object) -> Any:
        """A plain command, as an operator types it."""
        return self.redis.run(Call("by_hand", command, lambda reply: reply))

    def observe(self) -> None:
        """Look at the queue, and check all that must always be true."""
        args = (KEYS.triggers, KEYS.prefix, self._last_event)
        call = Call("snapshot", ("EVALSHA", _SNAPSHOT.sha, 1, *args), _read_snapshot, _SNAPSHOT)
        self.before, self.now = self.now, self.redis.run(call)
        for entry, event in self.now.events:
            self._last_event = entry
            self._appended(event)
        now = self.now
        self.deferred |= {name for name in (*now.records, *now.stopping, *now.done, *now.entries.values()) if name}
        self._check_finished(now)
        self._check_in_flight(now)
        self._check_owners(now)

    def _appended(self, event: Event) -> None:
        key = event.id, event.seq
        self.unread.add(key)
        if self.again[event]:
            self.again[event] -= 1
            return
        assert key not in self.events, f"{key} appended twice: {self.events[key]} and {event}"
        assert event.id not in self.finals, f"{event} after the final {self.finals[event.id]}"
        earlier = [seq for name, seq in self.events if name == event.id]
        assert event.seq == max(earlier, default=0) + 1, f"{event} after {earlier}"
        self.events[key] = event
        if event.final:
            self.finals[event.id] = event
        if event.outcome == "fired":
            publisher = event.body.split()[1].decode()
            entry = self.before.records[event.id]["entry"]
            owner = self.before.owners.get(entry)
            assert owner == publisher, f"{event} published by {publisher}, while the owner was {owner}"

    def _check_finished(self, now: Snapshot) -> None:
        for name, value in now.done.items():
            assert name not in now.records, f"{name} is finished and in flight"
            if name in self.before.done:
                assert value == self.before.done[name], f"done changed for {name}"
                continue
            done = read_done(name, value)
            assert done is not None
            kept = Event(name, done.seq, done.outcome, done.event)
            assert kept.final
            assert self.finals.setdefault(name, kept) == kept, f"done says {kept}, told was {self.finals[name]}"
        assert self.before.done.keys() <= now.done.keys()
        assert self.finals.keys() == now.done.keys(), "a final event and no `done`"

    def _check_in_flight(self, now: Snapshot) -> None:
        assert now.deadlines == now.records.keys()
        asked = {name for name, record in now.records.items() if "cancel" in record}
        assert now.cancels == asked | now.stopping.keys()
        assert not now.records.keys() & now.stopping.keys()
        assert now.stopping.keys() <= now.done.keys()
        for name, record in (*now.records.items(), *now.stopping.items()):
            entry = record["entry"]
            assert now.entries.get(entry) == name or entry in self.deleted, f"{name} has lost its entry"

    def _check_owners(self, now: Snapshot) -> None:
        delivered = {entry for entry in now.entries if age(entry) <= age(now.last_delivered)}
        self.orphans &= delivered - now.owners.keys()
        assert delivered - now.owners.keys() == self.orphans, "entries that nobody owns"

    def deliver(self, number: int) -> None:
        """One of the late calls is carried out; nobody hears the answer."""
        with contextlib.suppress(StreamMissingError):
            self.redis.run(self.late.pop(number % len(self.late)))

    def may_return(self, letter: str, event: Event) -> None:
        """This dead letter may bring its event back onto the result stream, once."""
        if letter not in self._returned:
            self._returned.add(letter)
            self.again[event] += 1

    def damage(self, kind: str, number: int) -> None:
        """What somebody does by hand who does not know better."""
        now = self.now
        owned = sorted(now.owners)
        known = sorted({held["entry"] for held in (*now.records.values(), *now.stopping.values())} & now.entries.keys())
        if kind == "consumer" and owned:
            name = now.owners[owned[number % len(owned)]]
            self.by_hand("XGROUP", "DELCONSUMER", KEYS.triggers, TRIGGER_GROUP, name)
            self.orphans |= {entry for entry, owner in now.owners.items() if owner == name}
        elif kind == "xack" and owned:
            self.by_hand("XACK", KEYS.triggers, TRIGGER_GROUP, owned[number % len(owned)])
            self.orphans.add(owned[number % len(owned)])
        elif kind == "xdel" and known:
            self.by_hand("XDEL", KEYS.triggers, known[number % len(known)])
            self.deleted.add(known[number % len(known)])
        elif kind in ("group", "group_gone"):
            self.by_hand("XGROUP", "DESTROY", KEYS.triggers, TRIGGER_GROUP)
            if kind == "group":
                self.redis.run(QUEUE.prepare())

    def entryless(self) -> list[str]:
        """Ids whose entry somebody has deleted: their callers hear at the deadline, and nobody stops their work."""
        kept = (*self.now.records.items(), *self.now.stopping.items())
        return [name for name, record in kept if record["entry"] not in self.now.entries]

    def check_end(self) -> None:
        """Exactly one final event for each id, and nothing left behind."""
        now = self.now
        assert self.finals.keys() == self.deferred, "not every deferred id has had its final event"
        left = (now.entries, now.owners, now.records, now.stopping, now.deadlines, now.cancels)
        assert not any(left), f"left behind: {left}"

    def check_handled(self) -> None:
        """Every event was handled, dropped, or lies among the dead letters; the result stream is empty."""
        assert self.by_hand("XLEN", KEYS.events("r")) == 0
        letters = {(letter.id, letter.seq) for letter in self.redis.run(DEAD.ls(1000)) if letter.is_event}
        assert self.unread <= letters, f"{self.unread - letters} reached no continuation"
