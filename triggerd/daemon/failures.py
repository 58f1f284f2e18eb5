"""What a caller hears where its trigger did not fire: an exception as an `EventError`, and the final event's bytes."""

from dataclasses import replace

from triggerd.clock import wall_ms
from triggerd.envelope import pack_binary
from triggerd.errors import TriggerdError, message_of
from triggerd.event import EventError, ended_prefix
from triggerd.redact import redacted


def described(error: BaseException) -> EventError:
    """`error` for the wire. Our own errors have a code; whatever else a trigger raised is ``trigger_raised``.

    Without secrets, as far as they can be told from other text: it is stored, with a dead letter for good.
    """
    # Only ours: other libraries' exceptions have codes of their own (SQLAlchemy's "e3q8").
    code = error.code if isinstance(error, TriggerdError) else "trigger_raised"
    return EventError(code, redacted(message_of(error)), type(error).__name__)


def ended_event(error: EventError, resume: bytes) -> bytes:
    """The final event of a trigger that did not fire.

    Not held to the size limit of events: `resume` came with an envelope that was within it, and the caller must hear.
    """
    error = replace(error, message=redacted(error.message))
    return ended_prefix(error, wall_ms()) + pack_binary(resume)
