"""The reader of one result stream: take events, hand each to its continuation, ack it, or give it back for later.

An event is acked after its continuation has returned. One whose continuation raised goes back to the stream and is due
again after a pause that grows with each delivery; the pause is kept by Redis, so it outlives this Resumer and any other
one may go on. After `max_deliveries` the event is a dead letter.
"""

import logging
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from triggerd.client import Client
from triggerd.clock import monotonic_s
from triggerd.errors import (
    EnvelopeError,
    EnvelopeVersionError,
    RedisRefusedError,
    RedisUnavailableError,
    TaskNotRegisteredError,
    TriggerdError,
    message_of,
)
from triggerd.event import Continuation, Event, decode_event
from triggerd.keys import RELEASED
from triggerd.redact import redacted
from triggerd.streams.connection import BLOCK_MS, SyncRedis
from triggerd.streams.leases import Leases
from triggerd.streams.result_stream import DeliveredEvent, ResultStream

AUDIT_EVERY_S = 600.0
RETRY_EVERY_S = 0.5
"""How often what was given back is looked at."""
HOLD_S = 1.0
"""How long an event may wait behind those that were taken with it; then it goes back, for whoever is free."""
LONGEST_TROUBLE_PAUSE_S = 5.0

_log = logging.getLogger("triggerd.resume")


class Resuming(Protocol):
    """What a reader asks of its Resumer."""

    client: Client
    name: str
    max_deliveries: int
    lease_ms: int
    retry_delay: float

    @property
    def stopping(self) -> bool: ...

    def pause(self, seconds: float) -> None: ...

    def resume(self, queue: str, reply_to: str, event: Event) -> None: ...


class Reader:
    """Reads the result stream of one queue. All of it runs in one thread, but for `renew`, `give_back` and `leave`,
    which the Resumer's keeper calls."""

    COUNT = 10  # events taken at once: enough to spare round trips, few enough to leave work to the peers

    def __init__(self, resumer: Resuming, queue: str, reply_to: str) -> None:
        self.queue = queue
        self._resumer = resumer
        self._stream, self._leases = ResultStream(queue, reply_to), Leases(queue)
        self._count = self.COUNT
        self._taking = threading.Lock()  # held while an event is begun or given back: never both
        self._waiting: deque[DeliveredEvent] = deque()  # taken, not yet begun
        self._waiting_since_s = float("inf")
        self._handled: set[str] = set()  # not acked yet: that goes with the next event, or when there is none
        self._audit_due = threading.Event()  # set by the keeper when the lease had lapsed
        self._held_since_s = float("inf")  # written by the keeper too
        self._audit_due_s = self._adopt_due_s = self._retry_due_s = 0.0
        self._retry_after = ""  # where the walk over what was given back goes on; "" between two walks
        self._trouble = 0

    def renew(self, redis: SyncRedis) -> None:
        """Keep the lease."""
        if redis.run(self._leases.renew(self._resumer.name, self._resumer.lease_ms)).lapsed:
            self._held_since_s = monotonic_s()
            self._audit_due.set()

    def give_back(self, redis: SyncRedis) -> None:
        """Release what has waited for `HOLD_S` behind a continuation: others take it, or this one later."""
        if monotonic_s() - self._waiting_since_s < HOLD_S or not self._taking.acquire(blocking=False):
            return
        try:
            entries = [delivered.entry for delivered in self._waiting]
            self._waiting.clear()
            if entries:
                self._audit_due.set()  # finds them again, should the release not arrive
                redis.run(self._stream.release(self._resumer.name, entries))
        finally:
            self._taking.release()

    def leave(self, redis: SyncRedis) -> None:
        """Say that this Resumer is gone, so that peers take over at once what it leaves."""
        try:
            redis.run(self._leases.drain(self._resumer.name))
        except TriggerdError as error:
            _log.warning("could not say good-bye: %s; peers take over when the lease ends", error)

    def run(self) -> None:
        """Read until the Resumer stops; Redis trouble is logged and tried again with a growing pause."""
        resumer = self._resumer
        redis = SyncRedis(resumer.client.url, name=resumer.name, retries=0)
        try:
            while not resumer.stopping:
                try:
                    self._read(redis)
                except (RedisUnavailableError, RedisRefusedError) as error:
                    self._trouble += 1
                    pause_s = min(0.1 * 2 ** min(self._trouble, 10), LONGEST_TROUBLE_PAUSE_S)
                    _log.warning("result stream %s: %s; again in %.1f s", self._stream.reply_to, error, pause_s)
                    resumer.pause(pause_s)
                except TriggerdError:
                    _log.exception("result stream %s: unexpected; trying again", self._stream.reply_to)
                    resumer.pause(LONGEST_TROUBLE_PAUSE_S)
        finally:
            redis.close()

    def _read(self, redis: SyncRedis) -> None:
        """Rounds of claim, adopt, retry and wait, until something goes wrong or the Resumer stops."""
        redis.run(self._stream.prepare())
        self.renew(redis)
        self._audit_due.set()
        while not self._resumer.stopping:
            if self._audit_due.is_set() or monotonic_s() >= self._audit_due_s:
                self._audit(redis)
            claimed = redis.run(self._stream.claim(self._resumer.name, self._count))
            if not claimed.lease_held:
                self.renew(redis)
                self._resumer.pause(0.05)  # should something take the lease away again and again
                continue
            self._handle_all(redis, claimed.events)
            # On a clock, not when something new comes: a dead Resumer's events wait for nobody's traffic.
            self._adopt(redis)
            self._retry(redis)
            self._trouble = 0
            if not claimed.events and not self._retry_after and not self._resumer.stopping:
                redis.run(self._stream.wait_for_new(claimed.last_entry, BLOCK_MS))

    def _audit(self, redis: SyncRedis) -> None:
        """Take what is pending for this Resumer although nothing is in hand: the answer of a claim was lost."""
        self._audit_due.clear()
        self._audit_due_s = monotonic_s() + AUDIT_EVERY_S
        self._take_over(redis, self._resumer.name)

    def _adopt(self, redis: SyncRedis) -> None:
        """Take over from the dead, every third of the lease."""
        if monotonic_s() < self._adopt_due_s:
            return
        # After an outage every lease is gone: let each Resumer get its own back before anyone counts as dead.
        settled = monotonic_s() - self._held_since_s >= self._resumer.lease_ms / 1000
        for dead in redis.run(self._leases.dead(self._resumer.name, self._stream.reply_to)):
            if dead.name != RELEASED and (settled or dead.drained):
                self._take_over(redis, dead.name)
        self._adopt_due_s = monotonic_s() + self._resumer.lease_ms / 3000

    def _take_over(self, redis: SyncRedis, owner: str) -> None:
        """Handle all events of `owner`, page by page."""
        page = redis.run(self._stream.adopt(self._resumer.name, owner, self._count))
        while page.status == "ok" and not self._resumer.stopping:
            self._handle_all(redis, page.events)
            page = redis.run(self._stream.adopt(self._resumer.name, owner, self._count, page.last_entry))

    def _retry(self, redis: SyncRedis) -> None:
        """Handle what was given back and is due: one page, so that new events get their turn in between."""
        if not self._retry_after and monotonic_s() < self._retry_due_s:
            return
        retry_ms = int(self._resumer.retry_delay * 1000)
        page = redis.run(self._stream.adopt(self._resumer.name, RELEASED, self._count, self._retry_after, retry_ms))
        self._retry_after = page.last_entry
        self._handle_all(redis, page.events)
        if not self._retry_after:
            self._retry_due_s = monotonic_s() + RETRY_EVERY_S

    def _handle_all(self, redis: SyncRedis, events: Sequence[DeliveredEvent]) -> None:
        """Hand one event after the other over, and take as many next time as fit into `HOLD_S`."""
        if not events:
            return
        started_s = self._waiting_since_s = monotonic_s()
        self._waiting.extend(events)
        handled = 0
        try:
            while self._waiting and not self._resumer.stopping:
                self._handle_next(redis)
                handled += 1
            if self._handled:
                redis.run(self._stream.ack(list(self._handled)))
                self._handled.clear()
            if self._waiting:
                redis.run(self._stream.release(self._resumer.name, [delivered.entry for delivered in self._waiting]))
        finally:
            self._waiting_since_s = float("inf")
            self._waiting.clear()
        pace_s = (monotonic_s() - started_s) / max(handled, 1)
        self._count = max(1, min(self.COUNT, int(HOLD_S / max(pace_s, 1e-6))))

    def _handle_next(self, redis: SyncRedis) -> None:
        with self._taking:
            if not self._waiting:
                return  # the keeper has just given it back
            delivered = self._waiting.popleft()
            begin = self._stream.begin(self._resumer.name, delivered.entry, list(self._handled))
            deliveries = redis.run(begin)
            self._handled.clear()
        if deliveries == 0:
            return  # this Resumer was silent for too long, and a peer has taken the event over
        if deliveries > self._resumer.max_deliveries:
            why = f"its Resumer ended while handling it, {deliveries - 1} times"
            self._bury(redis, delivered, "resumer_ended", why)
            return
        try:
            event = decode_event(delivered.trigger_id, delivered.seq, delivered.outcome, delivered.event)
            # Decoded here as well: bytes that are no continuation, or nobody signed, are not tried five times.
            Continuation.decode(event.resume, self.queue, self._resumer.client.caller.keys)
        except EnvelopeVersionError as error:
            self._refused(redis, delivered, deliveries, error)  # a newer Resumer can read it
        except EnvelopeError as error:
            self._bury(redis, delivered, error.code, redacted(message_of(error)))
        else:
            self._hand_over(redis, delivered, deliveries, event)

    def _hand_over(self, redis: SyncRedis, delivered: DeliveredEvent, deliveries: int, event: Event) -> None:
        try:
            self._resumer.resume(self.queue, self._stream.reply_to, event)
        except (RedisUnavailableError, RedisRefusedError):
            # What it defers cannot be enqueued: no failure of the continuation's, and no use in going on with others.
            redis.run(self._stream.release(self._resumer.name, [delivered.entry], uncounted=True))
            raise
        except BaseException as error:  # noqa: BLE001 - a continuation may raise anything, exit too; it harms only itself
            self._refused(redis, delivered, deliveries, error)
        else:
            self._handled.add(delivered.entry)

    def _refused(self, redis: SyncRedis, delivered: DeliveredEvent, deliveries: int, error: BaseException) -> None:
        why = redacted(f"{type(error).__name__}: {message_of(error)}")
        if deliveries >= self._resumer.max_deliveries:
            code = error.code if isinstance(error, TriggerdError) else "continuation_raised"
            self._bury(redis, delivered, code, why)
            return
        _log.error(
            "event %s:%s was not handled (delivery %d of %d) and will be delivered again: %s",
            delivered.trigger_id, delivered.seq, deliveries, self._resumer.max_deliveries,
            why if isinstance(error, TaskNotRegisteredError) else redacted("".join(traceback.format_exception(error))),
        )  # fmt: skip
        redis.run(self._stream.release(self._resumer.name, [delivered.entry]))

    def _bury(self, redis: SyncRedis, delivered: DeliveredEvent, code: str, why: str) -> None:
        _log.error("event %s:%s is a dead letter now: %s", delivered.trigger_id, delivered.seq, why)
        redis.run(self._stream.bury(self._resumer.name, delivered.entry, code, why))
