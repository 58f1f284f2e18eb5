"""Resume: read a result stream and let each event's task go on, at least once.

One reader thread per queue: claim or adopt events, rebuild the task, call its continuation, ack. An event is acked
after the continuation returned; one whose continuation raised goes back to the stream and is delivered again, up to
`max_deliveries` times; then it is a dead letter. A keeper thread renews the lease that says this Resumer lives (so
continuations may run as long as they like) and sweeps deadlines (so a trigger times out even with no daemon alive).
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from triggerd.client import Client
from triggerd.clock import monotonic_s
from triggerd.deferrable import Deferrable, call_task, classpath_of
from triggerd.deferral import next_leg
from triggerd.errors import (
    EnvelopeError,
    EnvelopeVersionError,
    RedisUnavailableError,
    StreamMissingError,
    TaskNotRegisteredError,
    TriggerdError,
    message_of,
)
from triggerd.event import Continuation, Event, decode_event
from triggerd.streams.connection import BLOCK_MS, SyncRedis
from triggerd.streams.leases import Leases, consumer_name
from triggerd.streams.result_stream import DeliveredEvent, ResultStream
from triggerd.streams.trigger_queue import TriggerQueue

AUDIT_EVERY_S = 600.0

_log = logging.getLogger("triggerd.resume")

EventHandler = Callable[[Event, Continuation], Any]


class Resumer:
    """Resumes the tasks whose events arrive at one result stream.

    Args:
        client: Where Redis is.
        reply_to: The result stream.
        queues: The trigger queues whose result streams of that name are read.
        max_deliveries: How often an event is handed to a continuation before it becomes a dead letter.
        lease_ms: Another Resumer adopts this one's events when it has not been heard of for so long.
    """

    def __init__(self, client: Client, reply_to: str = "default", queues: Sequence[str] = ("default",), *,
                 max_deliveries: int = 5, lease_ms: int = 15_000) -> None:  # fmt: skip
        self.client, self.name = client, consumer_name()
        self.max_deliveries, self.lease_ms = max_deliveries, lease_ms
        self._readers = [_Reader(self, queue, reply_to) for queue in dict.fromkeys(queues)]
        self._tasks: dict[str, type[Deferrable]] = {}
        self._on_event: EventHandler | None = None
        self._stopping, self._left = threading.Event(), threading.Event()
        self._failure: BaseException | None = None

    def register(self, task: type[Deferrable], classpath: str | None = None) -> type[Deferrable]:
        """Resume tasks of this class here; usable as a decorator. `classpath` where it has moved since the deferral."""
        if not (isinstance(task, type) and issubclass(task, Deferrable)):
            raise TypeError(f"{task!r} is no Deferrable class")
        self._tasks[classpath or classpath_of(task)] = task
        return task

    def on_event(self, handler: EventHandler) -> EventHandler:
        """Call ``handler(event, continuation)`` for triggers deferred without a task; usable as a decorator."""
        self._on_event = handler
        return handler

    def run(self) -> None:
        """Resume tasks until `stop`, SIGTERM or SIGINT; the continuation in hand is finished first. Call it once.

        Never returns on Redis trouble: it is logged and tried again.
        """
        if self._left.is_set():
            raise RuntimeError("a Resumer runs once: its name in Redis is never used again; make another one")
        loops = {f"resume-{reader.queue}": reader.run for reader in self._readers}
        threads = [threading.Thread(target=self._guard, args=(loop,), name=name) for name, loop in loops.items()]
        keeper = threading.Thread(target=self._guard, args=(self._keep,), name="resume-keeper")
        previous = _stop_on_signals(self.stop)
        try:
            for thread in (keeper, *threads):
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(timeout=0.5)  # in pieces, so that a signal handler gets its turn
        finally:
            self.stop()
            for thread in threads:
                thread.join()
            self._left.set()  # only now: a continuation that is still running must keep its lease
            keeper.join()
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let `run` return; may be called from any thread and from a continuation."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until `stop`."""
        self._stopping.wait(seconds)

    def resume(self, queue: str, reply_to: str, event: Event) -> None:
        """Call the continuation of one event; enqueue what it defers.

        Raises:
            TaskNotRegisteredError: The event's task is not known here. Otherwise whatever the continuation raises.
        """
        continuation = Continuation.decode(event.resume)
        if continuation.task is None:
            if self._on_event is None:
                raise TaskNotRegisteredError(
                    f"trigger {event.trigger_id!r} has no task, and no on_event handler is set"
                )
            self._on_event(event, continuation)
            return
        task = self._rebuild(*continuation.task)
        _, deferred = call_task(task, lambda: task.resume_execution(continuation, event))
        if deferred is not None:
            leg = next_leg(task, continuation, event)
            self.client.defer_many([deferred.arguments() | leg | {"queue": queue, "reply_to": reply_to}])

    def _rebuild(self, classpath: str, kwargs: Mapping[str, Any]) -> Deferrable:
        # Only registered classes: nothing is ever imported because an event names it.
        if classpath not in self._tasks:
            raise TaskNotRegisteredError(f"{classpath} is not registered with this Resumer: resumer.register(...)")
        return self._tasks[classpath](**kwargs)

    def _guard(self, loop: Callable[[], None]) -> None:
        # A thread that dies must not leave a Resumer behind that looks alive: the others stop, and `run` raises.
        try:
            loop()
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self._failure = error
            self.stop()

    def _keep(self) -> None:
        """Renew the leases every third of their time, sweep the deadlines every second."""
        redis = SyncRedis(self.client.url, name=self.name, command_timeout_ms=self.lease_ms // 4, retries=0)
        renewed_s = float("-inf")
        while not self._left.is_set():
            try:
                if monotonic_s() - renewed_s >= self.lease_ms / 3000:
                    for reader in self._readers:
                        reader.renew(redis)
                    renewed_s = monotonic_s()
                for reader in self._readers:
                    redis.run(TriggerQueue(reader.queue).expire(self.name, self.client.caller.retention_ms))
            except TriggerdError as error:
                _log.warning("the lease of this Resumer was not renewed: %s", error)
            self._left.wait(min(1.0, self.lease_ms / 3000))
        for reader in self._readers:  # after the last renewal, which would put an expiry on the farewell
            reader.leave(redis)
        redis.close()


class _Reader:
    """Reads the result stream of one queue. Everything here runs in one thread, but for `renew`."""

    COUNT = 10  # events taken at once: enough to spare round trips, few enough to leave work to the peers

    def __init__(self, resumer: Resumer, queue: str, reply_to: str) -> None:
        self.queue = queue
        self._resumer = resumer
        self._stream, self._leases = ResultStream(queue, reply_to), Leases(queue)
        self._audit_due = threading.Event()  # set by the keeper when the lease had lapsed
        self._held_since_s = float("inf")  # written by the keeper too
        self._audit_due_s = 0.0

    def renew(self, redis: SyncRedis) -> None:
        """Keep the lease (called by the keeper)."""
        if redis.run(self._leases.renew(self._resumer.name, self._resumer.lease_ms)).lapsed:
            self._held_since_s = monotonic_s()
            self._audit_due.set()

    def run(self) -> None:
        """Read until the Resumer stops; Redis trouble is logged and tried again with a growing pause."""
        resumer = self._resumer
        redis = SyncRedis(resumer.client.url, name=resumer.name, retries=0)
        trouble = 0
        try:
            while not resumer.stopping:
                try:
                    self._read(redis)
                    trouble = 0
                except (RedisUnavailableError, StreamMissingError) as error:
                    _log.warning("result stream %s: %s; trying again", self._stream.reply_to, error)
                    trouble += 1
                    resumer.pause(min(0.1 * 2**trouble, 5.0))
                except TriggerdError:
                    _log.exception("result stream %s: unexpected; trying again", self._stream.reply_to)
                    resumer.pause(5.0)
        finally:
            redis.close()

    def _read(self, redis: SyncRedis) -> None:
        """Rounds of claim, adopt and wait, until something goes wrong or the Resumer stops."""
        redis.run(self._stream.prepare())
        self.renew(redis)
        self._audit_due.set()
        adopted_s = float("-inf")
        while not self._resumer.stopping:
            if self._audit_due.is_set() or monotonic_s() >= self._audit_due_s:
                self._audit(redis)
            claimed = redis.run(self._stream.claim(self._resumer.name, self.COUNT))
            if not claimed.lease_held:
                self.renew(redis)
                continue
            self._handle_all(redis, claimed.events)
            # On a clock, not when something new comes: a dead Resumer's events wait for nobody's traffic.
            if monotonic_s() - adopted_s >= self._resumer.lease_ms / 3000:
                self._adopt(redis)
                adopted_s = monotonic_s()
            if not claimed.events and not self._resumer.stopping:
                redis.run(self._stream.wait_for_new(claimed.last_entry, BLOCK_MS))

    def _audit(self, redis: SyncRedis) -> None:
        """Take what is pending for this Resumer although nothing is in hand: the answer of a claim was lost."""
        self._audit_due.clear()
        self._audit_due_s = monotonic_s() + AUDIT_EVERY_S
        self._take_over(redis, self._resumer.name)

    def _adopt(self, redis: SyncRedis) -> None:
        # After an outage every lease is gone: let each Resumer get its own back before anyone counts as dead.
        settled = monotonic_s() - self._held_since_s >= self._resumer.lease_ms / 1000
        for dead in redis.run(self._leases.dead(self._resumer.name, self._stream.reply_to)):
            if settled or dead.drained:
                self._take_over(redis, dead.name)

    def _take_over(self, redis: SyncRedis, owner: str) -> None:
        """Handle all events of `owner`, page by page: what is released again meanwhile waits for the next round."""
        page = redis.run(self._stream.adopt(self._resumer.name, owner, self.COUNT))
        while page.status == "ok" and not self._resumer.stopping:
            self._handle_all(redis, page.events)
            page = redis.run(self._stream.adopt(self._resumer.name, owner, self.COUNT, page.last_entry))

    def _handle_all(self, redis: SyncRedis, events: Sequence[DeliveredEvent]) -> None:
        for index, delivered in enumerate(events):
            if self._resumer.stopping:
                redis.run(self._stream.release(self._resumer.name, [event.entry for event in events[index:]]))
                return
            self._handle(redis, delivered)

    def _handle(self, redis: SyncRedis, delivered: DeliveredEvent) -> None:
        deliveries = redis.run(self._stream.begin(self._resumer.name, delivered.entry))
        if deliveries == 0:
            return  # this Resumer was silent for too long, and a peer has taken the event over
        if deliveries > self._resumer.max_deliveries:
            why = f"its Resumer ended while handling it, {deliveries - 1} times"
            self._bury(redis, delivered, "resumer_ended", why)
            return
        try:
            event = decode_event(delivered.trigger_id, delivered.seq, delivered.outcome, delivered.event)
        except EnvelopeVersionError as error:
            self._refused(redis, delivered, deliveries, error)  # a newer Resumer can read it
            return
        except EnvelopeError as error:
            self._bury(redis, delivered, error.code, message_of(error))
            return
        try:
            self._resumer.resume(self.queue, self._stream.reply_to, event)
        except BaseException as error:  # noqa: BLE001 - a continuation may raise anything, exit too; it harms only itself
            self._refused(redis, delivered, deliveries, error)
        else:
            redis.run(self._stream.ack([delivered.entry]))

    def _refused(self, redis: SyncRedis, delivered: DeliveredEvent, deliveries: int, error: BaseException) -> None:
        why = f"{type(error).__name__}: {message_of(error)}"
        if deliveries >= self._resumer.max_deliveries:
            code = error.code if isinstance(error, TriggerdError) else "continuation_raised"
            self._bury(redis, delivered, code, why)
            return
        _log.error(
            "event %s:%s was not handled (delivery %d of %d) and will be delivered again: %s",
            delivered.trigger_id, delivered.seq, deliveries, self._resumer.max_deliveries, why,
            exc_info=None if isinstance(error, TaskNotRegisteredError) else error,
        )  # fmt: skip
        redis.run(self._stream.release(self._resumer.name, [delivered.entry]))

    def _bury(self, redis: SyncRedis, delivered: DeliveredEvent, code: str, why: str) -> None:
        _log.error("event %s:%s is a dead letter now: %s", delivered.trigger_id, delivered.seq, why)
        redis.run(self._stream.bury(self._resumer.name, delivered.entry, code, why))

    def leave(self, redis: SyncRedis) -> None:
        """Say that this Resumer is gone, so that peers take over at once what it leaves."""
        try:
            redis.run(self._leases.drain(self._resumer.name))
        except TriggerdError as error:
            _log.warning("could not say good-bye: %s; peers take over when the lease ends", error)


def _stop_on_signals(stop: Callable[[], None]) -> dict[int, Any]:
    """SIGTERM and SIGINT call `stop`, where this is the main thread; answers what they did before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = (signal.SIGTERM, signal.SIGINT)
    return {number: signal.signal(number, lambda *_: stop()) for number in numbers}
