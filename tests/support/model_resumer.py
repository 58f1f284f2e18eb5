"""A virtual resumer of the protocol's model: it takes events, counts what it hands to continuations, and acks."""

import itertools
from dataclasses import dataclass, field
from typing import TypeVar

from tests.support.model import LEASE_MS, LEASES, RESULTS, AnswerLostError, Fate, World
from triggerd.streams.result_stream import DeliveredEvent
from triggerd.streams.script import Call

T = TypeVar("T")


@dataclass
class Resumer:
    """One incarnation of a resumer. `events` are in its hands, handled or not."""

    world: World
    name: str
    doubt: bool = True
    events: dict[str, DeliveredEvent] = field(default_factory=dict)

    def renew(self, fate: Fate) -> None:
        renewal = self._ask(LEASES.renew(self.name, LEASE_MS), fate)
        self.doubt |= renewal is None or renewal.lapsed

    def claim(self, fate: Fate) -> None:
        claimed = self._ask(RESULTS.claim(self.name, 2), fate)
        if claimed is not None:
            self.doubt |= not claimed.lease_held
            self._take(claimed.events)

    def adopt(self, fate: Fate) -> None:
        for dead in self.world.redis.run(LEASES.dead(self.name, RESULTS.reply_to)):
            adopted = self._ask(RESULTS.adopt(self.name, dead.name, 2), fate)
            self._take(adopted.events if adopted else [])

    def audit(self, fate: Fate) -> None:
        after, self.doubt = "", False
        while True:
            page = self._ask(RESULTS.adopt(self.name, self.name, 2, after), fate)
            if page is None or page.status != "ok":
                self.doubt |= page is None or page.status != "done"
                return
            self._take(page.events)
            after = page.last_entry

    def handle(self, entry: str, how: str, fate: Fate) -> None:
        """Hand an event to its continuation, then ack it; or give it back, or make a dead letter of it."""
        event = self.events.pop(entry)
        if not self._ask(RESULTS.begin(self.name, entry), fate):
            return
        if how == "ack":
            self.world.unread.discard((event.trigger_id, event.seq))
            self._ask(RESULTS.ack([entry]), fate)
        elif how == "release":
            self._ask(RESULTS.release(self.name, [entry]), fate)
        else:
            self._ask(RESULTS.bury(self.name, entry, "code", "why"), fate)

    def _take(self, events: list[DeliveredEvent]) -> None:
        self.events |= {event.entry: event for event in events}

    def _ask(self, call: Call[T], fate: Fate) -> T | None:
        try:
            return self.world.send(call, fate)
        except AnswerLostError:
            self.doubt = True
            return None

    def finish(self) -> None:
        """Handle everything that this resumer can reach."""
        self.renew("heard")
        self.audit("heard")
        for rounds in itertools.count():
            assert rounds < 100, "there is no end"
            self.claim("heard")
            self.adopt("heard")
            if not self.events:
                return
            for entry in list(self.events):
                self.handle(entry, "ack", "heard")
