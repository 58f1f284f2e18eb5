"""What a daemon and its sandbox say to each other: msgpack messages, each behind four bytes with its length."""

import asyncio
from typing import Any, Generic, TypeVar

import msgspec

from triggerd.envelope import MAX_ENVELOPE_BYTES
from triggerd.errors import TriggerdError
from triggerd.event import Outcome
from triggerd.streams.trigger_queue import ClaimedTrigger

MAX_FRAME_BYTES = 4 * MAX_ENVELOPE_BYTES
"""An event and its caller's continuation, with room to spare."""
_HEADER_BYTES = 4

MessageT = TypeVar("MessageT")


class PipeError(TriggerdError):
    """What came through the pipe is no message of the other side."""

    code = "sandbox_pipe"


class _Message(msgspec.Struct, tag=True, array_like=True):
    """Anything said. Ids and names are bytes, as foreign producers may choose ones that are no text."""


class Admit(_Message):
    """Run this trigger. The envelope was checked by the daemon; its parts are what is passed on."""

    entry: str
    id: bytes
    classpath: str
    kwargs: bytes
    resume: bytes
    deadline_ms: int
    cancel: bytes | None
    seq: int
    checkpoint: bytes | None
    stopping: bool


class Stop(_Message):
    """Stop a run, for a `StopCause`."""

    entry: str
    cause: str
    by: bytes


class Answer(_Message):
    """Redis has answered request `number`."""

    number: int
    accepted: bool


class Ping(_Message):
    """Say `Pong`: is the sandbox's event loop alive?"""


Order = Admit | Stop | Answer | Ping


class Ready(_Message):
    """The sandbox can be given triggers."""


class Pong(_Message):
    """The answer to `Ping`, after everything that was ordered before it has begun."""


class Ended(_Message):
    """The run of this entry is over and cleaned up."""

    entry: str


class Request(_Message):
    """Something that only Redis can answer."""

    number: int
    entry: str


class Publish(Request):
    outcome: Outcome
    event: bytes
    final: bool


class Bury(Request):
    code: str
    reason: str
    event: bytes


class Checkpoint(Request):
    value: bytes


class Stopped(Request):
    pass


Report = Ready | Pong | Ended | Publish | Bury | Checkpoint | Stopped


def admission(claimed: ClaimedTrigger, classpath: str, kwargs: bytes, resume: bytes) -> Admit:
    """The message that has a claimed trigger run in the sandbox."""
    return Admit(
        entry=claimed.entry, id=_to_bytes(claimed.id), classpath=classpath, kwargs=kwargs, resume=resume,
        deadline_ms=claimed.deadline_ms, cancel=None if claimed.cancel is None else _to_bytes(claimed.cancel),
        seq=claimed.seq, checkpoint=claimed.checkpoint, stopping=claimed.stopping,
    )  # fmt: skip


def stop(entry: str, cause: str, by: str | None) -> Stop:
    """The message that stops a run in the sandbox."""
    return Stop(entry, cause, _to_bytes(by or ""))


def to_text(value: bytes) -> str:
    """The reverse of what ids and names are sent as."""
    return value.decode(errors="surrogateescape")


class Pipe(Generic[MessageT]):
    """One end of the pipe. `read` gives the other side's messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hears: Any) -> None:
        """
        Args:
            hears: The type of what the other side says, `Order` or `Report`.
        """
        self._reader, self.writer = reader, writer
        self._decoder = msgspec.msgpack.Decoder(hears)
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, message: Order | Report) -> None:
        """Say something; a pipe that is broken already swallows it."""
        self.send_bytes(self._encoder.encode(message))

    def send_bytes(self, data: bytes) -> None:
        """A frame with any content."""
        if not self.writer.is_closing():
            self.writer.write(len(data).to_bytes(_HEADER_BYTES, "big") + data)

    async def read(self) -> MessageT | None:
        """The next message, None at the end.

        Raises:
            PipeError: It is none, or far too large.
        """
        data = await self.read_bytes()
        if data is None:
            return None
        try:
            message: MessageT = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PipeError(f"not a message: {error}") from error
        return message

    async def read_bytes(self) -> bytes | None:
        """The next frame's content, None at the end."""
        try:
            header = await self._reader.readexactly(_HEADER_BYTES)
            length = int.from_bytes(header, "big")
            if length > MAX_FRAME_BYTES:
                raise PipeError(f"a message of {length:,} bytes")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None


def _to_bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")
