"""Resume: let the task of each event of a result stream go on, at least once.

One thread per queue reads events (`delivery.Reader`) and calls `Resumer.resume` with each. A keeper thread renews the
lease that says this Resumer lives (so continuations may run as long as they like), gives back what waits behind a long
one, and sweeps deadlines (so a trigger times out even with no daemon alive).
"""

import asyncio
import inspect
import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from triggerd.client import Client
from triggerd.clock import monotonic_s
from triggerd.deferrable import Deferrable, call_task, classpath_of
from triggerd.deferral import next_leg, step_id
from triggerd.delivery import Reader
from triggerd.envelope import decode_trigger
from triggerd.errors import EnvelopeError, RedisUnavailableError, TaskNotRegisteredError, TriggerdError
from triggerd.event import Continuation, Event, decode_event
from triggerd.handle import Handle
from triggerd.signing import SigningKeys
from triggerd.streams.connection import SyncRedis
from triggerd.streams.leases import consumer_name
from triggerd.streams.trigger_queue import TriggerFinished, TriggerInFlight, TriggerQueue

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
        retry_delay: Seconds between the first delivery that failed and the second; each further pause is four times as
            long, at most a minute: 1, 4, 16, 60, ...
    """

    def __init__(self, client: Client, reply_to: str = "default", queues: Sequence[str] = ("default",), *,
                 max_deliveries: int = 5, lease_ms: int = 15_000, retry_delay: float = 1.0) -> None:  # fmt: skip
        self.client, self.name = client, consumer_name()
        self.max_deliveries, self.lease_ms, self.retry_delay = max_deliveries, lease_ms, retry_delay
        self._readers = [Reader(self, queue, reply_to) for queue in dict.fromkeys(queues)]
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
        """Call ``handler(event, continuation)`` for triggers deferred without a task; usable as a decorator.

        It may be a coroutine function, as a continuation may.
        """
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
            TaskNotRegisteredError: The event's task is not known here.
            EnvelopeError: Its continuation cannot be read; or the client has keys, and none of them has signed it.
            Otherwise whatever the continuation raises.
        """
        continuation = Continuation.decode(event.resume, queue, self.client.caller.keys)
        if continuation.task is None:
            if self._on_event is None:
                raise TaskNotRegisteredError(
                    f"trigger {event.trigger_id!r} has no task, and no on_event handler is set"
                )
            _finish(self._on_event(event, continuation))
            return
        task = self._rebuild(*continuation.task)
        step = step_id(continuation, event)
        result, deferred = call_task(task, lambda: task.resume_execution(continuation, event), step)
        _finish(result)
        if deferred is not None:
            self._defer_leg(deferred.arguments() | next_leg(task, continuation, event), queue, reply_to)

    def _defer_leg(self, leg: dict[str, Any], queue: str, reply_to: str) -> None:
        """Enqueue what a continuation has deferred, once however often its event is delivered."""
        leg |= {"queue": queue, "reply_to": reply_to}
        [handle] = self.client.defer_many([leg])
        if handle.enqueued != "new" and _resumed_ms(handle, self.client.caller.keys) != leg["resumed_ms"]:
            # The caller has used the id again, and this leg of the run before it is still known.
            self.client.defer_many([leg | {"id": f"{leg['id']}@{leg['resumed_ms']}"}])

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
        renew_due_s = dict.fromkeys(self._readers, 0.0)
        while not self._left.is_set():
            for reader in self._readers:
                try:
                    if monotonic_s() >= renew_due_s[reader]:
                        reader.renew(redis)
                        renew_due_s[reader] = monotonic_s() + self.lease_ms / 3000
                    reader.give_back(redis)
                    redis.run(TriggerQueue(reader.queue).expire(self.name, self.client.caller.retention_ms))
                except TriggerdError as error:
                    _log.warning("this Resumer could not tell queue %s that it lives: %s", reader.queue, error)
                    if isinstance(error, RedisUnavailableError):
                        break  # to the other queues too; any other trouble is this queue's own
            self._left.wait(min(1.0, self.lease_ms / 3000))
        for reader in self._readers:  # after the last renewal, which would put an expiry on the farewell
            reader.leave(redis)
        redis.close()


def _finish(result: Any) -> None:
    """Whatever a continuation returned, it has run when this returns: only then is its event acked."""
    if inspect.iscoroutine(result):
        asyncio.run(result)
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError("a continuation with a 'yield' in it is a generator: nothing of it has run")


def _resumed_ms(leg: Handle, keys: SigningKeys | None) -> int | None:
    """Which event a leg that had been deferred before goes on from; None where nothing can be read of it (any more)."""
    try:
        match leg.info():
            case TriggerInFlight(env=env):
                resume = decode_trigger(env).resume
            case TriggerFinished(id=id_, seq=seq, outcome=outcome, event=event):
                resume = decode_event(id_, seq, outcome, event).resume
            case _:
                return None
        return Continuation.decode(resume, leg.queue, keys).resumed_ms
    except EnvelopeError:
        return None


def _stop_on_signals(stop: Callable[[], None]) -> dict[int, Any]:
    """SIGTERM and SIGINT call `stop`, where this is the main thread; answers what they did before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = (signal.SIGTERM, signal.SIGINT)
    return {number: signal.signal(number, lambda *_: stop()) for number in numbers}
