"""What a running trigger gets as `self.context` (the protocol `triggerd.trigger.TriggerContext`)."""

from collections.abc import Awaitable, Callable
from typing import Any

from triggerd.daemon.runs import Run
from triggerd.envelope import pack, unpack
from triggerd.errors import EnvelopeTooLargeError, message_of
from triggerd.logs import get_logger
from triggerd.trigger import AwsContext

MAX_CHECKPOINT_BYTES = 4096
"""Hard limit; aim at 60 bytes, beyond which the record costs Redis several times as much memory."""


log = get_logger("triggerd.trigger")


class RunContext:
    """The context of one run."""

    __slots__ = ("_checkpoint", "_run", "_store", "aws")

    def __init__(
        self, run: Run, aws: AwsContext, checkpoint: bytes | None, store: Callable[[Run, bytes], Awaitable[None]]
    ) -> None:
        self.aws = aws
        self._run, self._checkpoint, self._store = run, checkpoint, store

    @property
    def trigger_id(self) -> str:
        return self._run.id

    @property
    def deadline_ms(self) -> int:
        return self._run.deadline_ms

    @property
    def log(self) -> Any:
        # Named here as well, for lines from a thread that does not carry the run's context variables.
        return _ForgivingLog({"trigger_id": self._run.id})

    @property
    def restored(self) -> Any:
        return None if self._checkpoint is None else unpack(self._checkpoint)

    async def checkpoint(self, value: Any) -> None:
        """Return once the value is stored.

        Raises:
            EnvelopePackError: It cannot be packed. EnvelopeTooLargeError: over `MAX_CHECKPOINT_BYTES`.
        """
        packed = pack(value, "checkpoint")
        if len(packed) > MAX_CHECKPOINT_BYTES:
            raise EnvelopeTooLargeError("the checkpoint", len(packed), MAX_CHECKPOINT_BYTES)
        await self._store(self._run, packed)


class _ForgivingLog:
    """A trigger's logger: a wrong call (``log.info("%d", "x")``) costs the line, never the trigger.

    Nothing is bound before a line is written: a wait logs each poll, at a level that is hardly ever on.
    """

    __slots__ = ("_bound",)

    def __init__(self, bound: dict[str, Any]) -> None:
        self._bound = bound

    def bind(self, **values: Any) -> "_ForgivingLog":
        return _ForgivingLog(self._bound | values)

    def __getattr__(self, name: str) -> Any:
        found = getattr(log, name)
        if not callable(found):
            return found

        def call(*args: Any, **values: Any) -> None:
            try:
                found(*args, **self._bound | values)
            except Exception as error:  # noqa: BLE001 - whatever formatting somebody's values raises
                log.warning("a log call of the trigger failed", error=message_of(error), **self._bound)

        return call
