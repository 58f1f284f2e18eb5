"""Dead letters: what cannot be run, or whose event cannot be handled, kept with its reason and its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triggerd.keys import BATCH, BYTES, CODE, ENTRY, EVENT, ID, REPLY, TIME, WHY, QueueKeys
from triggerd.streams.script import Call, script_call, text
from triggerd.streams.trigger_queue import read_codes


@dataclass(frozen=True, slots=True)
class Burial:
    """A trigger on its way to the dead letters, with the final `failed` event for its caller."""

    id: str
    entry: str
    seq: int
    code: str
    why: str
    event: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `bytes` is the trigger envelope, or the event envelope where an event could not be handled."""

    letter: str
    id: str
    entry: str
    reply_to: str
    code: str
    why: str
    buried_ms: int
    bytes: bytes


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(self, queue: str) -> None:
        self._keys = QueueKeys(queue)

    def bury(self, consumer: str, items: Sequence[Burial], retention_ms: int) -> Call[list[int | str]]:
        """Bury at most `BATCH` triggers that `consumer` owns; answers as of `TriggerQueue.publish`."""
        args: list[Any] = [consumer, retention_ms]
        for item in items[:BATCH]:
            args += (item.id, item.entry, item.seq, item.code, item.why, item.event)
        return script_call("bury", self._keys.triggers, args, read_codes)

    def ls(self, count: int = BATCH, before: str = "+") -> Call[list[DeadLetter]]:
        """The newest dead letters first, at most `count`, older than the letter `before`."""
        end = before if before == "+" else f"({before}"
        return Call("dead_letters", ("XREVRANGE", self._keys.dead, end, "-", "COUNT", count), _read_letters)


def _read_letters(reply: Sequence[Any]) -> list[DeadLetter]:
    return [_read_letter(text(letter), fields) for letter, fields in reply]


def _read_letter(letter: str, raw: Any) -> DeadLetter:
    # redis-py hands the fields of a stream entry over as a dict, whatever the protocol.
    fields = {text(name): value for name, value in raw.items()}
    return DeadLetter(
        letter=letter, id=text(fields.get(ID)), entry=text(fields.get(ENTRY)), reply_to=text(fields.get(REPLY)),
        code=text(fields.get(CODE)), why=text(fields.get(WHY)), buried_ms=int(fields.get(TIME) or 0),
        bytes=fields.get(BYTES) or fields.get(EVENT) or b"",
    )  # fmt: skip
