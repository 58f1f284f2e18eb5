"""The trigger queue: its stream, its consumer group, and the record of each trigger in flight.

The pending-entries list of the group is the only owner of a trigger. Every verb may be sent twice; every answer may
be lost (the daemon then audits: `pending` against what it runs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from triggerd.clock import wall_ms
from triggerd.errors import EnvelopeDecodeError
from triggerd.event import EventError, Outcome, ended_prefix
from triggerd.keys import BATCH, TRIGGER_GROUP, QueueKeys, check_actor
from triggerd.streams.script import Call, nothing, number, script_call, text

DEFAULT_TIMEOUT_MS = 10 * 24 * 3600 * 1000
"""Every trigger has a deadline: this far off where the caller named none."""
DEAF_OWNER_MS = 60_000
"""An owner that has not acted on a cancel for this long is deaf: the trigger ends without it."""

Enqueued = Literal["new", "in_flight", "finished"]
PUBLISHED, PUBLISHED_BEFORE, FINISHED_BY_ANOTHER, UNKNOWN, NOT_OWNER = 1, 0, -1, -2, -3


# Not frozen, as what is made less often: one for every trigger, and a frozen one takes four times as long to make.
@dataclass(slots=True)
class NewTrigger:
    """A trigger on its way onto the queue.

    `reply_to` is "" where the event stays in the `done` string only; `on_timeout` is "cancel" where a time-out is to
    stop the remote work, else "".
    """

    id: str
    reply_to: str
    timeout_ms: int
    env: bytes
    on_timeout: str = ""


@dataclass(slots=True)  # as `NewTrigger`
class ClaimedTrigger:
    """A trigger that a consumer has just become the owner of.

    Attributes:
        cancel: Who has asked to cancel it; None: nobody.
        seq: Of the last event that was published.
        adoptions: How often its owner died, since it was last absolved.
        stopping: It has timed out and had its final event; all that is left to do is to stop the remote work.
        quarantined: How often it has survived a quarantine.
    """

    entry: str
    id: str
    env: bytes
    reply_to: str
    deadline_ms: int
    cancel: str | None
    seq: int
    checkpoint: bytes | None
    adoptions: int
    deferred_ms: int
    stopping: bool = False
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer of `claim`. Without `lease_held` nothing was claimed: renew the lease, then audit."""

    lease_held: bool
    triggers: list[ClaimedTrigger]
    last_entry: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """The answer of `repair`: entries that nobody owned, and where the walk goes on ("" at its end)."""

    lease_held: bool
    triggers: list[ClaimedTrigger]
    last_entry: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A trigger that `expire` has ended. `stopping`: its owner has its remote work to stop."""

    id: str
    outcome: Outcome
    stopping: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A small value to keep with a trigger's record."""

    id: str
    entry: str
    value: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.value)


@dataclass(slots=True)  # as `NewTrigger`
class Publication:
    """One event on its way to the result stream."""

    id: str
    entry: str
    seq: int
    outcome: Outcome
    event: bytes
    final: bool

    @property
    def size_bytes(self) -> int:
        return len(self.event)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How much a queue holds: waiting to be claimed, owned by a consumer, dead letters."""

    waiting: int
    pending: int
    dead: int


@dataclass(frozen=True, slots=True)
class TriggerInFlight:
    """What Redis knows of a trigger that has not finished. `owner` is "" while nobody has claimed it."""

    id: str
    entry: str
    reply_to: str
    deferred_ms: int
    deadline_ms: int
    owner: str
    seq: int
    cancel: str
    adoptions: int
    env: bytes


@dataclass(frozen=True, slots=True)
class TriggerFinished:
    """What Redis keeps of a finished trigger for `result_ttl`."""

    id: str
    outcome: Outcome
    seq: int
    finished_ms: int
    by: str
    event: bytes


class TriggerQueue:
    """The verbs of one queue. Each returns a `Call` for `SyncRedis.run` or `AsyncRedis.run`."""

    def __init__(self, queue: str) -> None:
        self.keys = QueueKeys(queue)

    def prepare(self, consumer: str = "") -> Call[None]:
        """Make the stream and its consumer group where they are missing, and `consumer` a member of it."""
        return self._call("prepare", ["", consumer], nothing)

    def enqueue(self, items: Sequence[NewTrigger]) -> Call[list[str]]:
        """Put at most `BATCH` triggers in flight. Answer per trigger: an `Enqueued`, or Redis's error text."""
        args: list[Any] = []
        for item in items[:BATCH]:
            args += (item.id, item.reply_to, item.timeout_ms, item.env, item.on_timeout)
        return self._call("enqueue", args, lambda reply: [text(answer) for answer in reply])

    def claim(self, consumer: str, count: int) -> Call[Claimed]:
        """Become the owner of at most `count` (up to `BATCH`) new triggers."""
        return self._call("claim", [consumer, min(count, BATCH)], _read_claimed)

    def wait_for_new(self, last_entry: str, block_ms: int) -> Call[None]:
        """Return when there is an entry after `last_entry`, or after `block_ms`. Owns nothing: may be lost."""
        command = ("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", self.keys.triggers, last_entry)
        return Call("wait_for_new", command, nothing)

    def pending(self, consumer: str, after: str = "", count: int = 1000) -> Call[list[str]]:
        """One page of the consumer's own pending entries, in order, for the audit."""
        return self._call("pending", [consumer, after, count], lambda reply: [text(entry) for entry in reply])

    def load(self, consumer: str, entries: Sequence[str]) -> Call[list[ClaimedTrigger]]:
        """What the owner must know of entries (at most `BATCH`) that it owns and does not run."""
        return self._call("load", [consumer, *entries[:BATCH]], read_triggers)

    def repair(self, consumer: str, after: str = "", count: int = BATCH) -> Call[Repaired]:
        """Take the entries that nobody owns out of one page of the stream."""
        return self._call("repair", [consumer, after, min(count, BATCH)], _read_repaired)

    def publish(self, consumer: str, items: Sequence[Publication], retention_ms: int) -> Call[list[int | str]]:
        """Publish at most `BATCH` events.

        Answer per event: `PUBLISHED`, `PUBLISHED_BEFORE`; `FINISHED_BY_ANOTHER`, `UNKNOWN`, `NOT_OWNER` (release the
        run); or Redis's error text (keep the event, send it again).
        """
        args: list[Any] = [consumer, retention_ms]
        for item in items[:BATCH]:
            args += (item.id, item.entry, item.seq, int(item.final), item.outcome, item.event)
        return self._call("publish", args, read_codes)

    def cancel(self, trigger_id: str, by: str, retention_ms: int) -> Call[int]:
        """Ask for the end of a trigger. Answer: 1 it ended, 2 its owner was told, -1 finished before, -2 unknown."""
        check_actor(by)
        error = EventError("cancelled", f"cancelled by {by} before it ran")
        return self._call("cancel", [trigger_id, by, retention_ms, ended_prefix(error, wall_ms())], int)

    def extend(self, trigger_id: str, deadline_ms: int) -> Call[int]:
        """Move a deadline. Answer: 1 moved, -1 finished before, -2 unknown."""
        return self._call("extend", [trigger_id, deadline_ms], int)

    def expire(self, by: str, retention_ms: int, count: int = BATCH) -> Call[list[Ended]]:
        """End at most `count` triggers whose deadline has passed."""
        timed_out = ended_prefix(EventError("timed_out", "the deadline passed"), wall_ms())
        deaf = "cancelled, but its daemon did not answer: the work on AWS may go on"
        cancelled = ended_prefix(EventError("cancelled_unconfirmed", deaf), wall_ms())
        return self._call("expire", [by, retention_ms, count, DEAF_OWNER_MS, timed_out, cancelled], _read_ended)

    def checkpoint(self, consumer: str, items: Sequence[Checkpoint]) -> Call[list[int | str]]:
        """Keep values with at most `BATCH` records.

        Answer each: 1 kept, `FINISHED_BY_ANOTHER`, `NOT_OWNER`, or Redis's error text.
        """
        args = [part for item in items[:BATCH] for part in (item.id, item.entry, item.value)]
        return self._call("checkpoint", [consumer, *args], read_codes)

    def absolve(self, consumer: str, trigger_id: str, entry: str) -> Call[bool]:
        """Hold past adoptions against a trigger no longer. Answer False: not the owner (any more)."""
        return self._call("absolve", [consumer, trigger_id, entry], bool)

    def stopped(self, consumer: str, trigger_id: str, entry: str) -> Call[bool]:
        """The remote work of a trigger that timed out was stopped: its entry goes. False: not the owner (any more)."""
        return self._call("stopped", [consumer, trigger_id, entry], bool)

    def show(self, trigger_id: str) -> Call[TriggerInFlight | TriggerFinished | None]:
        """What is known of a trigger id; None where nothing is (any more)."""
        return self._call("show", [trigger_id], lambda reply: _read_shown(trigger_id, reply))

    def done(self, trigger_id: str) -> Call[TriggerFinished | None]:
        """The kept result of a trigger, None while it is in flight or unknown. Cheap enough to ask often."""
        return Call("done", ("GET", self.keys.done(trigger_id)), lambda reply: read_done(trigger_id, reply))

    def depth(self) -> Call[QueueDepth]:
        """How much the queue holds."""
        return self._call("depth", [], lambda reply: QueueDepth(reply[0] - reply[1], reply[1], reply[2]))

    def _call(self, name: str, args: Sequence[Any], read: Any) -> Call[Any]:
        return script_call(name, self.keys.triggers, args, read)

    def __repr__(self) -> str:
        return f"TriggerQueue({self.keys.queue!r}, group={TRIGGER_GROUP!r})"


def read_triggers(reply: Sequence[Any]) -> list[ClaimedTrigger]:
    """The triggers in the answer of a script that gives entries to an owner."""
    return [
        ClaimedTrigger(
            entry=text(row[0]), id=text(row[1]), env=row[2], reply_to=text(row[3]), deadline_ms=int(float(row[4])),
            cancel=text(row[5]) if row[5] is not None else None, seq=int(row[6]), checkpoint=row[7],
            adoptions=int(row[8]), deferred_ms=int(row[9]), stopping=row[10] == 1, quarantined=int(row[11]),
        )
        for row in reply
    ]  # fmt: skip


def read_codes(reply: Sequence[Any]) -> list[int | str]:
    """Per item a number, or the error text of Redis."""
    return [answer if isinstance(answer, int) else text(answer) for answer in reply]


def read_done(trigger_id: str, value: bytes | None) -> TriggerFinished | None:
    """The parts of a `done` string.

    Raises:
        EnvelopeDecodeError: Somebody else has written it.
    """
    if value is None:
        return None
    head, _, event = value.partition(b"\n")
    try:
        outcome, seq, finished_ms, by = text(head).split(" ", 3)
        return TriggerFinished(trigger_id, cast("Outcome", outcome), int(seq), int(finished_ms), by, event)
    except ValueError as error:
        raise EnvelopeDecodeError(f"what is kept of trigger {trigger_id!r} is no result: {error}") from error


def _read_claimed(reply: Sequence[Any]) -> Claimed:
    if reply[0] == 0:
        return Claimed(lease_held=False, triggers=[], last_entry="")
    return Claimed(lease_held=True, triggers=read_triggers(reply[2]), last_entry=text(reply[1]))


def _read_repaired(reply: Sequence[Any]) -> Repaired:
    if reply[0] == 0:
        return Repaired(lease_held=False, triggers=[], last_entry="")
    return Repaired(lease_held=True, triggers=read_triggers(reply[2]), last_entry=text(reply[1]))


def _read_ended(reply: Sequence[Any]) -> list[Ended]:
    return [
        Ended(text(reply[i]), cast("Outcome", text(reply[i + 1])), stopping=reply[i + 2] == 1)
        for i in range(0, len(reply), 3)
    ]


def _read_shown(trigger_id: str, reply: Sequence[Any]) -> TriggerInFlight | TriggerFinished | None:
    match reply:
        case [b"finished", done]:
            return read_done(trigger_id, done)
        case [b"in_flight", entry, reply_to, deferred, seq, cancel, adoptions, deadline, owner, env]:
            return TriggerInFlight(
                id=trigger_id, entry=text(entry), reply_to=text(reply_to), deferred_ms=number(deferred),
                deadline_ms=number(deadline), owner=text(owner), seq=number(seq), cancel=text(cancel),
                adoptions=number(adoptions), env=env,
            )  # fmt: skip
    return None
