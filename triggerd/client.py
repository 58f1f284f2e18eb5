"""The producer's side: defer triggers, ask about them, cancel them. `Client` blocks, `AsyncClient` is awaited."""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self

from triggerd.deferrable import Deferrable, OnTimeout, call_task
from triggerd.deferral import Deferral, new_id, note_enqueued, plan_deferral, plan_deferrals
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.handle import AsyncHandle, Caller, Handle
from triggerd.keys import BATCH
from triggerd.local import run_task_here
from triggerd.signing import SigningKeys, keys_of_text
from triggerd.streams.leases import consumer_name
from triggerd.streams.trigger_queue import TriggerQueue

RESULT_TTL_S = 3600.0
_SHORTEST_TTL_S = 300.0
_BATCH_BYTES = 1024 * 1024


def default_url() -> str:
    """Where Redis is, for a client and a daemon that are not told."""
    return os.environ.get("TRIGGERD_REDIS__URL", "redis://localhost:6379/0")


def _caller(
    kind: str, url: str, result_ttl: float, command_timeout: float, keys: Sequence[str | bytes] | None
) -> Caller:
    from triggerd.streams import connection  # noqa: PLC0415 - redis-py costs 0.3 s: only who builds a client pays

    if result_ttl < _SHORTEST_TTL_S:
        raise ValueError(f"result_ttl = {result_ttl!r}: at least {_SHORTEST_TTL_S:g} s, so that a retry is recognised")
    name = consumer_name()
    redis = getattr(connection, kind)(url, name=name, command_timeout_ms=int(command_timeout * 1000))
    chosen = keys_of_text(os.environ.get("TRIGGERD_SIGNING_KEYS", "")) if keys is None else keys
    return Caller(redis, name, int(result_ttl * 1000), SigningKeys(chosen) if chosen else None)


@contextmanager
def _naming(planned: Sequence[Deferral]) -> Iterator[None]:
    """Put the ids onto an error of Redis, so that the same triggers can be deferred again."""
    try:
        yield
    except (RedisUnavailableError, RedisRefusedError) as error:
        error.trigger_ids = tuple(item.id for item in planned)
        raise


def _batches(planned: Sequence[Deferral]) -> Iterator[tuple[str, list[Deferral]]]:
    """Deferrals by queue, at most `BATCH` and about `_BATCH_BYTES` at a time: no script holds the server long."""
    for queue in dict.fromkeys(item.queue for item in planned):
        batch: list[Deferral] = []
        size_bytes = 0
        for item in planned:
            if item.queue != queue:
                continue
            if batch and (len(batch) == BATCH or size_bytes + len(item.env) > _BATCH_BYTES):
                yield queue, batch
                batch, size_bytes = [], 0
            batch.append(item)
            size_bytes += len(item.env)
        yield queue, batch


class Client:
    """Defers triggers from a worker. Threads may share one; nothing is connected before the first verb.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` of the Redis that the daemon uses. None: what the environment
            variable TRIGGERD_REDIS__URL says (the daemon reads it too), or redis://localhost:6379/0.
        result_ttl: Seconds for which the result of a trigger that this client ends (cancel, expire) is kept; the
            daemon has its own setting. At least 300.
        command_timeout: Seconds after which a command that Redis does not answer is retried, twice, and then raises
            RedisUnavailableError.
        signing_keys: Keys (text or bytes, at least 16 of them) with which deferrals are signed, by the first, and what
            a Resumer gets is verified, by each; see the guide. Empty: no signatures. None: what the environment
            variable TRIGGERD_SIGNING_KEYS says, comma-separated (the daemon reads it too), or no signatures.

    Raises:
        ConfigError: A signing key is too short.
    """

    def __init__(self, url: str | None = None, *, result_ttl: float = RESULT_TTL_S,
                 command_timeout: float = 5.0, signing_keys: Sequence[str | bytes] | None = None) -> None:  # fmt: skip
        self.url = url or default_url()
        self.caller = _caller("SyncRedis", self.url, result_ttl, command_timeout, signing_keys)

    def defer(
        self,
        trigger: Any,
        method_name: str = "execute_complete",
        timeout: float | timedelta | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the SDK's word
        task: Any = None,
        queue: str = "default",
        reply_to: str | None = "default",
        context: Any = None,
        on_timeout: OnTimeout = "leave",
    ) -> Handle:
        """Put a trigger onto the queue. Once this has returned, it reaches exactly one final event.

        Args:
            trigger: The trigger, or its ``(classpath, kwargs)``.
            method_name: The method of the task that goes on.
            timeout: Seconds, or a timedelta, until the trigger ends with ``timed_out``; None: 10 days.
            kwargs: Keyword arguments for that method.
            id: The trigger id; deferring one id twice is one deferral. None: a new one.
            task: The `Deferrable` to resume, or its ``(classpath, kwargs)``; None: the Resumer's `on_event` handler.
            queue: The trigger queue.
            reply_to: The result stream; None: the event is kept for `Handle.result` only.
            context: Given to the method as its context; plain data.
            on_timeout: ``leave``: a passed deadline never touches AWS. ``cancel``: the event ``timed_out`` goes out at
                once, then a daemon calls the trigger's `on_cancel`, which stops the remote work.

        Raises:
            EnvelopePackError, EnvelopeTooLargeError, NameNotValidError, ValueError: Before anything was sent.
            RedisUnavailableError: Unknown whether it was enqueued; defer again with the id of `error.trigger_ids`.
            RedisRefusedError: Redis is full or read-only; nothing was enqueued.
        """
        planned = plan_deferral(
            trigger, method_name, timeout, kwargs, id=id, task=task, queue=queue, reply_to=reply_to, context=context,
            on_timeout=on_timeout, keys=self.caller.keys,
        )  # fmt: skip
        return self._enqueue([planned])[0]

    def defer_many(self, deferrals: Iterable[Mapping[str, Any]]) -> list[Handle]:
        """Put many triggers onto their queues; each mapping holds the arguments of one `defer`.

        All are checked before the first is sent; they go in batches of 100, several under way at a time.
        """
        return self._enqueue(plan_deferrals(deferrals, self.caller.keys))

    def start(
        self,
        task: Deferrable,
        context: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the SDK's word
        queue: str = "default",
        reply_to: str | None = "default",
    ) -> Any:
        """Run a task's `execute`. Where it defers, enqueue the trigger and return its `Handle`; else its result.

        A task with ``deferrable = False`` runs to its end in place, without Redis.

        Args:
            id: The trigger id of what it defers, and what `Deferrable.start_token` follows from; None: a new one.

        Raises:
            DeferSwallowedError: The task caught what `defer` raised; nothing was enqueued.
        """
        if not task.deferrable:
            return asyncio.run(run_task_here(task, context, id=id))
        id = id or new_id()  # noqa: A001
        result, deferred = call_task(task, lambda: task.execute(context), id)
        if deferred is None:
            return result
        return self.defer(**deferred.arguments(), id=id, task=task, queue=queue, reply_to=reply_to, context=context)

    def handle(self, id: str, queue: str = "default") -> Handle:  # noqa: A002 - the SDK's word
        """The handle of a trigger that was deferred earlier, here or elsewhere."""
        return Handle(self.caller, id, queue)

    def close(self) -> None:
        """Close the connections. One that is needed again, by a handle say, is opened anew."""
        self.caller.redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enqueue(self, planned: list[Deferral]) -> list[Handle]:
        batches = list(_batches(planned))
        with _naming(planned):
            answers = self.caller.redis.run_all([TriggerQueue(queue).enqueue(batch) for queue, batch in batches])
            for (_, batch), found in zip(batches, answers, strict=True):
                note_enqueued(batch, found)
        return [Handle(self.caller, item.id, item.queue, item.enqueued) for item in planned]


class AsyncClient:
    """`Client` for an event loop: the same verbs, awaited; `start` runs the task's `execute` in a thread."""

    def __init__(self, url: str | None = None, *, result_ttl: float = RESULT_TTL_S,
                 command_timeout: float = 5.0, signing_keys: Sequence[str | bytes] | None = None) -> None:  # fmt: skip
        self.url = url or default_url()
        self.caller = _caller("AsyncRedis", self.url, result_ttl, command_timeout, signing_keys)

    async def defer(
        self,
        trigger: Any,
        method_name: str = "execute_complete",
        timeout: float | timedelta | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the SDK's word
        task: Any = None,
        queue: str = "default",
        reply_to: str | None = "default",
        context: Any = None,
        on_timeout: OnTimeout = "leave",
    ) -> AsyncHandle:
        """As `Client.defer`."""
        planned = plan_deferral(
            trigger, method_name, timeout, kwargs, id=id, task=task, queue=queue, reply_to=reply_to, context=context,
            on_timeout=on_timeout, keys=self.caller.keys,
        )  # fmt: skip
        return (await self._enqueue([planned]))[0]

    async def defer_many(self, deferrals: Iterable[Mapping[str, Any]]) -> list[AsyncHandle]:
        """As `Client.defer_many`."""
        return await self._enqueue(plan_deferrals(deferrals, self.caller.keys))

    async def start(
        self,
        task: Deferrable,
        context: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the SDK's word
        queue: str = "default",
        reply_to: str | None = "default",
    ) -> Any:
        """As `Client.start`."""
        if not task.deferrable:
            return await run_task_here(task, context, id=id)
        id = id or new_id()  # noqa: A001
        result, deferred = await asyncio.to_thread(call_task, task, lambda: task.execute(context), id)
        if deferred is None:
            return result
        return await self.defer(
            **deferred.arguments(), id=id, task=task, queue=queue, reply_to=reply_to, context=context
        )

    def handle(self, id: str, queue: str = "default") -> AsyncHandle:  # noqa: A002 - the SDK's word
        """As `Client.handle`; nothing to await."""
        return AsyncHandle(self.caller, id, queue)

    async def close(self) -> None:
        """Close the connections."""
        await self.caller.redis.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _enqueue(self, planned: list[Deferral]) -> list[AsyncHandle]:
        batches = list(_batches(planned))
        with _naming(planned):
            answers = await self.caller.redis.run_all([TriggerQueue(queue).enqueue(batch) for queue, batch in batches])
            for (_, batch), found in zip(batches, answers, strict=True):
                note_enqueued(batch, found)
        return [AsyncHandle(self.caller, item.id, item.queue, item.enqueued) for item in planned]
