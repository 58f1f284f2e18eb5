"""The event of a trigger as its caller sees it, and its envelope.

An event envelope is a msgpack array ``[version, body, resume]``. Trigger id, seq and outcome stand beside it, in the
fields of the stream entry or in the `done` string, so that they have one place only. `resume` is last, so that a Lua
script which ends a trigger (expire, cancel, bury) can append it to a body that was made beforehand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from triggerd.envelope import (
    PACKED_VERSION,
    check_size,
    pack,
    pack_binary,
    read_resume,
    sign_resume,
    unpack,
    unpack_versioned,
)
from triggerd.errors import (
    EnvelopeDecodeError,
    EventStatusError,
    OutcomeError,
    TriggerCancelledError,
    TriggerFailedError,
    TriggerTimeoutError,
)
from triggerd.signing import SigningKeys
from triggerd.trigger import TriggerEvent

Outcome = Literal["fired", "failed", "timed_out", "cancelled"]
OUTCOMES: tuple[Outcome, ...] = ("fired", "failed", "timed_out", "cancelled")


@dataclass(frozen=True, slots=True)
class EventError:
    """Why a trigger did not fire: a stable code, the exception's type where there was one, and a sentence."""

    code: str
    message: str
    type: str = ""


@dataclass(slots=True)  # not frozen: one for every deferral, and a frozen one takes four times as long to make
class Continuation:
    """What the caller asked to be resumed with.

    Attributes:
        method_name: The method of the task to call.
        kwargs: Its keyword arguments besides context and event.
        task: ``(classpath, kwargs)`` of the task, None where a trigger was deferred without one.
        context: The context `Client.start` was given.
        leg: 1 for the first deferral of a task, 2 for the one its continuation made, ...
        root: The trigger id of leg 1.
        resumed_ms: `fired_ms` of the event whose continuation made this leg, 0 for leg 1. By it a leg that is deferred
            twice is told from one of an earlier run, where the caller uses an id again.
    """

    method_name: str = "execute_complete"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    task: tuple[str, Mapping[str, Any]] | None = None
    context: Any = None
    leg: int = 1
    root: str = ""
    resumed_ms: int = 0

    def encode(self, queue: str = "", keys: SigningKeys | None = None) -> bytes:
        """These values as the `resume` part of a trigger envelope, with `keys` signed for `queue`."""
        task = list(self.task) if self.task else None
        resume = pack(
            {
                "method_name": self.method_name,
                "kwargs": dict(self.kwargs),
                "task": task,
                "context": self.context,
                "leg": self.leg,
                "root": self.root,
                "resumed_ms": self.resumed_ms,
            },
            "resume",
        )
        return sign_resume(resume, queue, keys) if keys else resume

    @classmethod
    def decode(cls, data: bytes, queue: str = "", keys: SigningKeys | None = None) -> "Continuation":
        """The reverse of `encode`; empty bytes give the default continuation.

        Raises:
            EnvelopeDecodeError: These bytes are not a continuation.
            EnvelopeUnsignedError, EnvelopeSignatureError: There are keys, and none of them has signed this for `queue`.
        """
        resume = read_resume(data, queue, keys)
        fields = unpack(resume) if resume else {}
        try:
            task = fields.pop("task", None)
            return cls(task=(str(task[0]), dict(task[1])) if task else None, **fields)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise EnvelopeDecodeError(f"the resume part of an event is not a continuation: {error}") from error


@dataclass(frozen=True, slots=True)
class Event(TriggerEvent):
    """An event as the caller gets it. Reads like its payload: ``event["status"]``, ``event.get("value")``.

    Attributes:
        payload: What the trigger yielded. Where it did not fire: ``{"status": "error", "message": ...}``.
        details: Facts beside the payload, see `TriggerEvent`.
        outcome: ``fired``, ``failed``, ``timed_out`` or ``cancelled``.
        seq: 1 for the first event of a trigger, 2 for the next, ...
        final: Whether this was the trigger's last event.
        error: Why it did not fire, None if it fired.
        fired_ms: The instant at which it fired or was ended, epoch ms.
    """

    trigger_id: str = ""
    seq: int = 1
    outcome: Outcome = "fired"
    final: bool = True
    error: EventError | None = None
    fired_ms: int = 0
    resume: bytes = field(default=b"", repr=False)

    _ERRORS: ClassVar[dict[str, type[OutcomeError]]] = {
        "failed": TriggerFailedError,
        "timed_out": TriggerTimeoutError,
        "cancelled": TriggerCancelledError,
    }

    @property
    def event_id(self) -> str:
        """``<trigger id>:<seq>``, the same for every delivery: a continuation can be idempotent by it."""
        return f"{self.trigger_id}:{self.seq}"

    def raise_for_status(self) -> "Event":
        """Return this event if it fired without an error status.

        Raises:
            TriggerFailedError, TriggerTimeoutError, TriggerCancelledError: By the outcome.
            EventStatusError: It fired, and its payload says ``"status": "error"``.
        """
        if self.outcome != "fired":
            why = self.error.message if self.error else "no reason was given"
            ended = self.outcome.replace("_", " ")
            raise self._ERRORS[self.outcome](f"trigger {self.trigger_id!r} {ended}: {why}", self)
        if self.get("status") == "error":
            raise EventStatusError(f"trigger {self.trigger_id!r}: {self.get('message', 'status is error')}", self)
        return self

    def get(self, key: Any, default: Any = None) -> Any:
        """The payload's value of `key`, or `default` where the payload is no dict or lacks it."""
        return self.payload.get(key, default) if isinstance(self.payload, dict) else default

    def __getitem__(self, key: Any) -> Any:
        return self.payload[key]

    def __contains__(self, key: object) -> bool:
        return isinstance(self.payload, dict) and key in self.payload

    def __iter__(self) -> Iterator[Any]:
        return iter(self.payload)


def encode_event(
    payload: Any,
    *,
    resume: bytes,
    details: Mapping[str, Any] | None = None,
    error: EventError | None = None,
    fired_ms: int = 0,
    final: bool = True,
) -> bytes:
    """The envelope of an event.

    Raises:
        EnvelopePackError: The payload cannot be put on the wire. EnvelopeTooLargeError: over the limit.
    """
    prefix = event_prefix(payload, details=details, error=error, fired_ms=fired_ms, final=final)
    envelope = prefix + pack_binary(resume)
    check_size("the event", envelope)
    return envelope


def event_prefix(
    payload: Any,
    *,
    details: Mapping[str, Any] | None = None,
    error: EventError | None = None,
    fired_ms: int = 0,
    final: bool = True,
) -> bytes:
    """An event envelope without its last field, which a Lua script appends from the trigger's own envelope."""
    body: dict[str, Any] = {"payload": payload, "final": final, "fired_ms": fired_ms}
    if details:
        body["details"] = dict(details)
    if error:
        body["error"] = [error.code, error.message, error.type]
    return b"\x93" + PACKED_VERSION + pack_binary(pack(body, "event"))


def ended_prefix(error: EventError, fired_ms: int) -> bytes:
    """The `event_prefix` of a trigger that was ended by somebody else than its run."""
    return event_prefix({"status": "error", "message": error.message}, error=error, fired_ms=fired_ms)


def decode_event(trigger_id: str, seq: int, outcome: str, envelope: bytes) -> Event:
    """The event of a stream entry or of a `done` string.

    Raises:
        EnvelopeVersionError, EnvelopeDecodeError: This is no event of this triggerd.
    """
    if seq < 1:
        raise EnvelopeDecodeError(f"events are numbered from 1, not {seq}")
    if outcome not in OUTCOMES:
        raise EnvelopeDecodeError(f"{outcome!r} is no outcome: {', '.join(OUTCOMES)}")
    match unpack_versioned(envelope):
        case [_, bytes() as body_bytes, bytes() as resume]:
            body = unpack(body_bytes)
        case _:
            raise EnvelopeDecodeError("an event envelope is [version, body, resume]")
    try:
        error = EventError(*body["error"]) if body.get("error") else None
        return Event(
            body["payload"], body.get("details", {}), trigger_id=trigger_id, seq=seq, outcome=outcome,
            final=bool(body.get("final", True)), error=error, fired_ms=int(body.get("fired_ms", 0)), resume=resume,
        )  # fmt: skip
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as wrong:
        raise EnvelopeDecodeError(f"the body of an event is not one: {wrong!r}") from wrong
