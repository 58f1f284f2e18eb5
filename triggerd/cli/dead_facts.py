"""What a dead letter says to people and scripts, without its secrets, and its envelope signed anew."""

import json
from typing import Any

from triggerd.cli.show import event_facts
from triggerd.envelope import TriggerReader, decode_trigger, encode_trigger, read_resume, sign_resume, sign_trigger
from triggerd.errors import EnvelopeError, EnvelopeSignatureError, EnvelopeUnsignedError
from triggerd.event import decode_event
from triggerd.redact import redacted
from triggerd.signing import SigningKeys
from triggerd.streams.dead_letter import DeadLetter, replay_id

SIGNATURE_CODES = (EnvelopeUnsignedError.code, EnvelopeSignatureError.code)
_PREVIEW_BYTES = 24
_LONGEST_FIELD = 200


def summary(letter: DeadLetter, queue: str) -> dict[str, Any]:
    """What a list shows of it."""
    return {
        "letter": letter.letter,
        "queue": queue,
        "id": letter.id,
        "kind": "event" if letter.is_event else "trigger",
        "code": letter.code,
        "why": redacted(letter.why),
        "buried_ms": letter.buried_ms,
        "size_bytes": len(letter.bytes),
    }


def full_facts(letter: DeadLetter, queue: str) -> dict[str, Any]:
    """All that is known of it."""
    facts = summary(letter, queue) | {"reply_to": letter.reply_to or None, "entry": letter.entry}
    if (fields := _fields(letter)) is not None:
        return facts | {"fields": fields}
    try:
        facts |= _event(letter) if letter.is_event else _trigger(letter)
    except EnvelopeError as error:
        facts |= {"undecodable": redacted(str(error)), "begins": preview(letter.bytes)}
    return facts | ({"replay_as": replay_id(letter)} if letter.id and not letter.is_event else {})


def preview(data: bytes) -> str:
    """The first bytes in hex."""
    return data[:_PREVIEW_BYTES].hex(" ") + (" ..." if len(data) > _PREVIEW_BYTES else "")


def signed_anew(letter: DeadLetter, queue: str, keys: SigningKeys, *, vouched: bool) -> bytes:
    """The envelope of a dead letter with a signature of today's key; b"" where it is an event, which has none.

    Replaying must not turn forged bytes into signed ones: only `vouched` signs what none of the keys has signed.

    Raises:
        EnvelopeUnsignedError, EnvelopeSignatureError: None of the keys has signed it, and it is not `vouched` for.
        EnvelopeError: It cannot be read, so no daemon would run it either.
    """
    if letter.is_event:
        return b""
    envelope = TriggerReader(queue, keys=None if vouched else keys).read(letter.bytes)
    resume = sign_resume(read_resume(envelope.resume, queue, None), queue, keys)
    return sign_trigger(encode_trigger(envelope.classpath, envelope.kwargs(), resume), queue, keys)


def _trigger(letter: DeadLetter) -> dict[str, Any]:
    envelope = decode_trigger(letter.bytes)
    return {"classpath": envelope.classpath, "kwargs": redacted(envelope.kwargs())}


def _event(letter: DeadLetter) -> dict[str, Any]:
    event = decode_event(letter.id, letter.seq, letter.outcome, letter.bytes)
    return {"outcome": event.outcome} | event_facts(event)


def _fields(letter: DeadLetter) -> dict[str, str] | None:
    """The fields of an entry that had no envelope: kept as a JSON list, and no envelope begins like one."""
    if letter.is_event or not letter.bytes.startswith(b"["):
        return None
    try:
        flat = json.loads(letter.bytes.decode(errors="backslashreplace"))
    except ValueError:
        return None
    shown = {str(name): str(value) for name, value in zip(flat[::2], flat[1::2], strict=False)}
    return {
        name: value if len(value) <= _LONGEST_FIELD else f"{value[:_LONGEST_FIELD]}... ({len(value):,} characters)"
        for name, value in redacted(shown).items()
    }
