"""The result stream: events of one `reply_to` on their way to the Resumers of one consumer group.

Delivery is at least once: an event is pending for the resumer that took it until it is acked; of a dead resumer the
others adopt. Acked events are deleted, unacked ones never are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triggerd.keys import BATCH, QueueKeys, check_name
from triggerd.streams.leases import ADOPT_STATUS, AdoptStatus
from triggerd.streams.script import Call, nothing, number, script_call, text


@dataclass(frozen=True, slots=True)
class DeliveredEvent:
    """An event entry that a resumer has taken. `event` is the event envelope; `seq` is 0 where it is no number."""

    entry: str
    trigger_id: str
    seq: int
    outcome: str
    event: bytes


@dataclass(frozen=True, slots=True)
class ClaimedEvents:
    """The answer of `claim`. Without `lease_held` nothing was taken."""

    lease_held: bool
    events: list[DeliveredEvent]
    last_entry: str


@dataclass(frozen=True, slots=True)
class AdoptedEvents:
    """The answer of `adopt`, statuses as of `Leases.adopt`."""

    status: AdoptStatus
    events: list[DeliveredEvent]
    last_entry: str = ""


class ResultStream:
    """The verbs of one result stream."""

    def __init__(self, queue: str, reply_to: str) -> None:
        self._keys = QueueKeys(queue)
        self.reply_to = check_name("reply_to", reply_to)

    def prepare(self) -> Call[None]:
        """Make the stream and its consumer group where they are missing."""
        return self._call("prepare", [""], nothing)

    def claim(self, consumer: str, count: int) -> Call[ClaimedEvents]:
        """Take at most `count` (up to `BATCH`) new events."""
        return self._call("claim_events", [consumer, min(count, BATCH)], _read_claimed)

    def wait_for_new(self, last_entry: str, block_ms: int) -> Call[None]:
        """Return when there is an event after `last_entry`, or after `block_ms`. Owns nothing."""
        key = self._keys.events(self.reply_to)
        return Call("wait_for_new", ("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", key, last_entry), nothing)

    def adopt(self, me: str, owner: str, count: int, after: str = "", retry_ms: int = 0) -> Call[AdoptedEvents]:
        """Take a page of a dead resumer's events, or with ``owner == me`` of one's own (audit).

        Call again with ``after=last_entry`` while the status is ``ok``; with ``after=""`` the end of it deletes the
        dead one's name. Of `RELEASED` events only those are taken whose pause is over: `retry_ms` after the first
        delivery, four times as long after each further one, a minute at most.
        """
        return self._call("adopt_events", [me, owner, min(count, BATCH), after, retry_ms], _read_adopted)

    def begin(self, me: str, entry: str, handled: Sequence[str] = ()) -> Call[int]:
        """Count a hand-over to the continuation, and `ack` those before it: one round trip for both.

        Answer: how many hand-overs it makes; 0: the event is not mine (any more).
        """
        return self._call("begin_event", [me, entry, *handled[:BATCH]], int)

    def ack(self, entries: Sequence[str]) -> Call[None]:
        """These events (at most `BATCH`) have been handled."""
        return self._call("ack", entries[:BATCH], nothing)

    def release(self, me: str, entries: Sequence[str], *, uncounted: bool = False) -> Call[None]:
        """Give events back: this resumer could not handle them now, another one may, or this one later.

        `uncounted`: the hand-over that `begin` has counted is not to count.
        """
        return self._call("release_events", [me, int(uncounted), *entries[:BATCH]], nothing)

    def bury(self, me: str, entry: str, code: str, why: str) -> Call[bool]:
        """Make a dead letter of an event that no handler could take. Answer False: it is not mine (any more)."""
        return self._call("bury_event", [me, entry, code, why], bool)

    def _call(self, name: str, args: Sequence[Any], read: Any) -> Call[Any]:
        return script_call(name, self._keys.triggers, [self.reply_to, *args], read)


def _read_events(reply: Sequence[Any]) -> list[DeliveredEvent]:
    return [
        DeliveredEvent(text(entry), text(trigger_id), number(seq), text(outcome), event or b"")
        for entry, trigger_id, seq, outcome, event in reply
    ]


def _read_claimed(reply: Sequence[Any]) -> ClaimedEvents:
    if reply[0] == 0:
        return ClaimedEvents(lease_held=False, events=[], last_entry="")
    return ClaimedEvents(lease_held=True, events=_read_events(reply[2:]), last_entry=text(reply[1]))


def _read_adopted(reply: Sequence[Any]) -> AdoptedEvents:
    if reply[0] != 1:
        return AdoptedEvents(ADOPT_STATUS[reply[0]], [])
    return AdoptedEvents("ok", _read_events(reply[2:]), text(reply[1]))
