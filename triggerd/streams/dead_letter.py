"""Dead letters: what cannot be run, or whose event cannot be handled, kept with its reason and its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triggerd.keys import (
    BATCH,
    BYTES,
    CODE,
    ENTRY,
    EVENT,
    FIELDS,
    ID,
    OUTCOME,
    REPLY,
    SEQ,
    TIME,
    WHY,
    QueueKeys,
)
from triggerd.streams.script import Call, number, script_call, text
from triggerd.streams.trigger_queue import DEFAULT_TIMEOUT_MS, read_codes

REPLAYED, REPLAYED_BEFORE, NO_SUCH_LETTER, NOTHING_TO_RUN, ID_TOO_LONG = 1, 0, -1, -2, -3


@dataclass(frozen=True, slots=True)
class Burial:
    """A trigger on its way to the dead letters, with the final `failed` event for its caller."""

    id: str
    entry: str
    seq: int
    code: str
    why: str
    event: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.event)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter.

    Attributes:
        letter: Its own id among the dead letters.
        id: The trigger id, "" where none could be read.
        entry: The stream entry that it was.
        bytes: The trigger envelope; the event envelope where no handler could take an event; the entry's fields as
            JSON where there was no envelope.
        is_event: Whether it was an event, not a trigger; then with its `outcome` and `seq`.
    """

    letter: str
    id: str
    entry: str
    reply_to: str
    code: str
    why: str
    buried_ms: int
    bytes: bytes
    is_event: bool = False
    outcome: str = ""
    seq: int = 0


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

    def get(self, letter: str) -> Call[DeadLetter | None]:
        """One dead letter, None where it is not there (any more)."""
        command = ("XRANGE", self._keys.dead, letter, letter)
        return Call("dead_letter", command, lambda reply: next(iter(_read_letters(reply)), None))

    def replay(
        self, letter: DeadLetter, timeout_ms: int = DEFAULT_TIMEOUT_MS, on_timeout: str = "", env: bytes = b""
    ) -> Call[int]:
        """Try a dead letter again: a trigger under the id `replay_id`, an event on its result stream.

        Args:
            timeout_ms, on_timeout: Of the new trigger; a dead letter does not keep them.
            env: Run this envelope instead: the same one signed anew.

        Answers `REPLAYED`, `REPLAYED_BEFORE`, `NO_SUCH_LETTER` (replayed or dropped meanwhile), `NOTHING_TO_RUN`,
        `ID_TOO_LONG`.
        """
        args = [letter.letter, letter.id, timeout_ms, on_timeout, env]
        return script_call("replay", self._keys.triggers, args, int)

    def drop(self, letter: str) -> Call[bool]:
        """Delete a dead letter for good. Answer False: it was not there."""
        return Call("drop", ("XDEL", self._keys.dead, letter), bool)


def replay_id(letter: DeadLetter) -> str:
    """The id under which `replay` runs a trigger again: the same each time, so that replaying twice is once."""
    return letter.id if letter.is_event else f"{letter.id}~{letter.letter}"


def _read_letters(reply: Sequence[Any]) -> list[DeadLetter]:
    return [_read_letter(text(letter), fields) for letter, fields in reply]


def _read_letter(letter: str, raw: Any) -> DeadLetter:
    # redis-py hands the fields of a stream entry over as a dict, whatever the protocol.
    fields = {text(name): value for name, value in raw.items()}
    return DeadLetter(
        letter=letter, id=text(fields.get(ID)), entry=text(fields.get(ENTRY)), reply_to=text(fields.get(REPLY)),
        code=text(fields.get(CODE)), why=text(fields.get(WHY)), buried_ms=number(fields.get(TIME)),
        bytes=fields.get(BYTES) or fields.get(EVENT) or fields.get(FIELDS) or b"",
        is_event=EVENT in fields, outcome=text(fields.get(OUTCOME)), seq=number(fields.get(SEQ)),
    )  # fmt: skip
