"""What a deferral sends, worked out before Redis is asked: so bad input fails at the caller, with a clear error."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from triggerd.airflow_pairs import AIRFLOW, ready_kwargs
from triggerd.clock import wall_ms
from triggerd.deferrable import Deferrable, OnTimeout, check_on_timeout
from triggerd.envelope import encode_trigger, sign_trigger
from triggerd.errors import EnvelopePackError, RedisRefusedError
from triggerd.event import Continuation, Event
from triggerd.keys import BATCH, check_id, check_name
from triggerd.signing import SigningKeys
from triggerd.streams.trigger_queue import DEFAULT_TIMEOUT_MS, NewTrigger

LONGEST_TIMEOUT_MS = 366 * 24 * 3600 * 1000
_ID_BYTES = 16


@dataclass(slots=True)
class Deferral(NewTrigger):
    """One trigger on its way to its queue. `enqueued` is what the queue has answered."""

    queue: str = "default"
    enqueued: str = ""


def new_id() -> str:
    """A trigger id that nobody else has."""
    return os.urandom(_ID_BYTES).hex()


def _new_ids() -> Iterator[str]:
    """New trigger ids, drawn many at a time: asking the kernel is what takes long about them."""
    while True:
        drawn = os.urandom(_ID_BYTES * BATCH).hex()
        yield from (drawn[start : start + 2 * _ID_BYTES] for start in range(0, len(drawn), 2 * _ID_BYTES))


def plan_deferrals(deferrals: Iterable[Mapping[str, Any]], keys: SigningKeys | None) -> list[Deferral]:
    """The deferrals that `Client.defer_many` sends; each mapping holds the arguments of one `plan_deferral`."""
    draw_id = _new_ids().__next__
    return [plan_deferral(**deferral, keys=keys, draw_id=draw_id) for deferral in deferrals]


def plan_deferral(
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
    leg: int = 1,
    root: str | None = None,
    resumed_ms: int = 0,
    keys: SigningKeys | None = None,
    draw_id: Callable[[], str] = new_id,
) -> Deferral:
    """The deferral that `Client.defer` sends; its arguments are explained there. `keys` are the client's.

    Raises:
        EnvelopePackError, EnvelopeTooLargeError: Something cannot be put on the wire.
        NameNotValidError: id, queue or reply_to cannot name a key.
        ValueError: `timeout` or `on_timeout` is none.
    """
    check_name("queue", queue)
    trigger_id = draw_id() if id is None else check_id(id)
    if reply_to is None and getattr(trigger, "multi_event", False):
        raise ValueError(
            "reply_to=None keeps the final event only, and this trigger fires several: name a result stream"
        )
    classpath, trigger_kwargs = serialized(trigger, "trigger")
    task_pair = serialized(task, "task") if task is not None else None
    continuation = Continuation(method_name, kwargs or {}, task_pair, context, leg, root or trigger_id, resumed_ms)
    env = encode_trigger(classpath, trigger_kwargs, continuation.encode(queue, keys))
    if keys is not None:
        env = sign_trigger(env, queue, keys)
    reply = "" if reply_to is None else check_name("reply_to", reply_to)
    stop_by = "cancel" if check_on_timeout(on_timeout) == "cancel" else ""
    return Deferral(trigger_id, reply, timeout_ms(timeout), env, stop_by, queue)


def serialized(thing: Any, what: str) -> tuple[str, Mapping[str, Any]]:
    """``(classpath, kwargs)`` of a trigger or task, or of one that is given as that pair already."""
    pair = thing.serialize() if hasattr(thing, "serialize") and not isinstance(thing, type) else thing
    if isinstance(pair, (tuple, list)) and len(pair) == 2:
        classpath, kwargs = pair
        if isinstance(classpath, str) and classpath and (type(kwargs) is dict or isinstance(kwargs, Mapping)):
            if classpath.startswith(AIRFLOW):
                kwargs = ready_kwargs(thing, classpath, kwargs)
            return classpath, kwargs
    raise EnvelopePackError(
        what, f"{thing!r} is none: an object whose serialize() returns (classpath, kwargs), or that pair, is expected"
    )


def next_leg(task: Deferrable, continuation: Continuation, event: Event) -> dict[str, Any]:
    """The arguments of a deferral that the continuation of `event` makes.

    Its id follows from the first leg's id, so a continuation that is delivered twice defers once. Later events of a
    multi_event trigger begin a line of their own.
    """
    root, leg = continuation.root or event.trigger_id, continuation.leg + 1
    trigger_id = f"{root}+{leg}"
    if event.seq > 1:
        trigger_id = root = f"{trigger_id}.{event.seq}"
        leg = 1
    return {
        "id": trigger_id, "task": task, "context": continuation.context, "leg": leg, "root": root,
        "resumed_ms": event.fired_ms,
    }  # fmt: skip


def step_id(continuation: Continuation, event: Event) -> str:
    """What `Deferrable.start_token` follows from in the continuation of `event`, however often that is delivered."""
    # With the instant, so that another run of a task whose caller uses the id again gets other tokens.
    return f"{continuation.root or event.trigger_id}+{continuation.leg + 1}.{event.seq}@{event.fired_ms}"


def timeout_ms(timeout: float | timedelta | None) -> int:
    """A time-out in ms; None is the 10 days that every trigger has at least."""
    if timeout is None:
        return DEFAULT_TIMEOUT_MS
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"timeout = {timeout!r}: seconds over 0, a timedelta, or None (10 days) is expected")
    if seconds * 1000 > LONGEST_TIMEOUT_MS:
        raise ValueError(f"timeout = {timeout!r}: at most 366 days; defer again from the continuation for longer waits")
    return max(1, int(seconds * 1000))


def deadline_ms(deadline: datetime | timedelta | float) -> int:
    """An instant in epoch ms from an aware datetime, a duration from now, or epoch seconds."""
    if isinstance(deadline, timedelta):
        return int((datetime.now(UTC) + deadline).timestamp() * 1000)
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise ValueError(f"deadline = {deadline!r}: an aware datetime is expected, such as datetime.now(UTC) + ...")
        return int(deadline.timestamp() * 1000)
    if not isinstance(deadline, (int, float)) or deadline * 1000 < wall_ms() / 2:
        raise ValueError(f"deadline = {deadline!r}: an instant is expected (a timedelta is a duration from now)")
    return int(deadline * 1000)


def note_enqueued(batch: Sequence[Deferral], answers: Sequence[str]) -> None:
    """Keep the answers of `enqueue` with their deferrals.

    Raises:
        RedisRefusedError: One of them is Redis's error.
    """
    for item, answer in zip(batch, answers, strict=True):
        if answer not in ("new", "in_flight", "finished"):
            raise RedisRefusedError(f"Redis refused trigger {item.id!r}: {answer}")
        item.enqueued = answer
