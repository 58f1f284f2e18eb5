"""Every way triggerd fails. One root, values as attributes and in the message, a `code` for metrics and the wire."""

from typing import Any, ClassVar

_MAX_MESSAGE_CHARS = 4_000


class TriggerdError(Exception):
    """Root of all errors of this package."""

    code: ClassVar[str] = "error"


class ConfigError(TriggerdError):
    """A setting is unknown or unusable; the daemon does not start with it."""

    code = "config"

    def __init__(self, key: str, value: object, why: str) -> None:
        shown = "" if value is ... else f" = {value!r}"  # `...` stands for a value that is not to be shown
        super().__init__(f"{key}{shown}: {why}")
        self.key, self.value, self.why = key, value, why


class NameNotValidError(TriggerdError, ValueError):
    """A queue, a result stream or a trigger id has a name that cannot be a key in Redis."""

    code = "invalid_name"

    def __init__(self, what: str, value: object, why: str) -> None:
        super().__init__(f"{what} {value!r}: {why}")
        self.what, self.value = what, value


class MissingExtraError(TriggerdError):
    """A part of triggerd was asked for that this installation does not have."""

    code = "missing_extra"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs more than the SDK: pip install 'triggerd[{extra}]'")
        self.extra = extra


# --- envelopes --------------------------------------------------------------------------------------------------


class EnvelopeError(TriggerdError):
    """The bytes of a trigger or of an event cannot be made or read."""

    code = "envelope"


class EnvelopePackError(EnvelopeError, TypeError):
    """A value cannot be put on the wire. `path` says where it stands, as in ``kwargs['job']['conf']``."""

    code = "unpackable"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class EnvelopeTooLargeError(EnvelopeError):
    """An envelope is over the size limit."""

    code = "too_large"

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{what} is {size_bytes:,} bytes, the limit is {limit_bytes:,}: pass a reference (an S3 key, an id) instead"
        )
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class EnvelopeDecodeError(EnvelopeError):
    """Bytes are not an envelope."""

    code = "undecodable"


class EnvelopeVersionError(EnvelopeError):
    """An envelope was written by a newer triggerd."""

    code = "unknown_version"

    def __init__(self, found: object, supported: int) -> None:
        super().__init__(f"envelope version {found!r}, this triggerd reads {supported}: upgrade the reader first")
        self.found, self.supported = found, supported


class EnvelopeUnsignedError(EnvelopeError):
    """An envelope or a continuation carries no signature, and its reader has signing keys."""

    code = "unsigned"


class EnvelopeSignatureError(EnvelopeError):
    """A signature is not that of one of the reader's keys over these bytes and this queue."""

    code = "bad_signature"


# --- loading a trigger ------------------------------------------------------------------------------------------


class LoadError(TriggerdError):
    """A classpath could not be turned into a trigger."""

    code = "load"

    def __init__(self, classpath: str, why: str) -> None:
        super().__init__(f"{classpath}: {why}")
        self.classpath = classpath


class ClasspathNotAllowedError(LoadError):
    """The classpath is outside the daemon's allow-list; nothing was imported."""

    code = "classpath_not_allowed"


class ClasspathNotFoundError(LoadError):
    """There is no such module, or no such name in it."""

    code = "classpath_not_found"


class NotATriggerError(LoadError):
    """The classpath names something without `serialize` and `run`."""

    code = "not_a_trigger"


class TriggerArgumentsError(LoadError):
    """The constructor refused the kwargs."""

    code = "arguments_refused"


class PoisonError(TriggerdError):
    """A trigger ended the process that it ran in, alone and in quarantine."""

    code = "poison"

    def __init__(self, adoptions: int, how: str) -> None:
        super().__init__(
            f"daemons that ran it died {adoptions} times, and the process that then ran nothing but it {how}"
        )
        self.adoptions, self.how = adoptions, how


# --- an AWS wait that did not end in success --------------------------------------------------------------------


class WaitError(TriggerdError):
    """An AWS wait ended without success.

    Attributes:
        aws_code: AWS's own error code, where AWS answered with one.
        last_status: The last status seen by the wait's status queries, None before the first answer.
        polls: How many AWS answers served this wait.
        waited_s: Seconds since the wait began.
        response: The last answer of AWS.
    """

    code = "wait"

    def __init__(
        self,
        message: str,
        *,
        aws_code: str | None = None,
        last_status: str | None = None,
        polls: int = 0,
        waited_s: float = 0.0,
        response: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.aws_code, self.last_status = aws_code, last_status
        self.polls, self.waited_s = polls, waited_s
        self.response = response if response is not None else {}


class WaiterFailedError(WaitError):
    """A failure acceptor matched: the resource is in a terminal state that is not the wanted one."""

    code = "waiter_failed"


class WaiterExhaustedError(WaitError):
    """The budget of `delay * max_attempts` is used up."""

    code = "waiter_exhausted"


class AwsCallError(WaitError):
    """AWS refused the call with an error that no acceptor expects, or the call could not be made at all."""

    code = "aws_error"


class WaiterDefinitionError(TriggerdError):
    """A waiter is unknown or its definition is wrong. Raised before anything is polled."""

    code = "waiter_definition"


# --- what a caller hears of its trigger -------------------------------------------------------------------------


class OutcomeError(TriggerdError):
    """A trigger did not end as its caller hoped. `event` is the whole event."""

    code = "outcome"

    def __init__(self, message: str, event: Any = None) -> None:
        super().__init__(message)
        self.event = event


class EventStatusError(OutcomeError):
    """The trigger fired an event whose payload says ``"status": "error"``."""

    code = "event_status"


class TriggerFailedError(OutcomeError):
    """The trigger crashed, could not be loaded, or ended without an event (outcome ``failed``)."""

    code = "trigger_failed"


class TriggerTimeoutError(OutcomeError):
    """The trigger's deadline passed (outcome ``timed_out``)."""

    code = "trigger_timed_out"


class TriggerCancelledError(OutcomeError):
    """Somebody cancelled the trigger (outcome ``cancelled``)."""

    code = "trigger_cancelled"


class ResultTimeoutError(TriggerdError):
    """`Handle.result(timeout=...)` waited in vain; the trigger itself goes on."""

    code = "result_timeout"

    def __init__(self, trigger_id: str, timeout_s: float) -> None:
        super().__init__(f"trigger {trigger_id!r} has not finished within {timeout_s:g} s; it is still in flight")
        self.trigger_id, self.timeout_s = trigger_id, timeout_s


class UnknownTriggerError(TriggerdError):
    """No trigger of this id is in flight, and no result of it is kept (any more)."""

    code = "unknown_trigger"

    def __init__(self, trigger_id: str, queue: str) -> None:
        super().__init__(
            f"no trigger {trigger_id!r} on queue {queue!r}: never deferred there, or finished over result_ttl ago"
        )
        self.trigger_id, self.queue = trigger_id, queue


# --- the caller's side ------------------------------------------------------------------------------------------


class DeferSwallowedError(TriggerdError):
    """A task caught what `defer` raised and went on as if nothing had happened."""

    code = "defer_swallowed"


class TaskNotRegisteredError(TriggerdError):
    """An event belongs to a task that this Resumer does not know."""

    code = "task_not_registered"


# --- Redis ------------------------------------------------------------------------------------------------------


class RedisUnavailableError(TriggerdError):
    """Redis did not answer in time. The command may or may not have been carried out; every verb may be sent again.

    Attributes:
        trigger_ids: From `defer` and `defer_many`: the ids that were on their way. Defer again with these.
    """

    code = "redis_unavailable"
    trigger_ids: tuple[str, ...] = ()


class RedisRefusedError(TriggerdError):
    """Redis answered with an error: no memory, read-only, a wrong type, a missing right.

    Attributes:
        trigger_ids: From `defer` and `defer_many`: the ids of the call; some may have been enqueued before.
    """

    code = "redis_refused"
    trigger_ids: tuple[str, ...] = ()


class StreamMissingError(RedisRefusedError):
    """The stream or its consumer group is gone (NOGROUP); the daemon makes it anew and audits."""

    code = "stream_missing"


def message_of(error: BaseException) -> str:
    """What an exception says, as text that any encoding can carry; not even its `__str__` can be trusted."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - somebody else's code
        text = f"{type(error).__name__}, whose __str__ raised {type(broken).__name__}"
    return (text or type(error).__name__)[:_MAX_MESSAGE_CHARS].encode(errors="replace").decode()
