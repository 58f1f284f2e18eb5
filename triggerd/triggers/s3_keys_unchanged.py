"""The trigger that waits until nothing changes any more under a prefix in S3."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from triggerd.clock import wall_ms
from triggerd.errors import ConfigError, WaiterDefinitionError, WaitError
from triggerd.trigger import BaseTrigger, TriggerEvent
from triggerd.triggers.arguments import attempts, changed, flag, name, number, text, whole
from triggerd.triggers.aws import failure_details
from triggerd.triggers.looks import gave_up, looks
from triggerd.triggers.s3_reads import S3Reads, pays
from triggerd.triggers.wait_checkpoints import stored

_LONGEST_DELAY_S, _SHORTEST_DELAY_S = 60.0, 1.0
_LOOKS_A_PERIOD = 10
_MAX_OBJECTS = 2**53
_MAX_KNOWN = 100_000  # keys, of some 70 bytes each; public buckets have 1,000,000,000
_WORD = 2**64


class S3KeysUnchangedTrigger(BaseTrigger):
    """Waits until the objects under a prefix have not changed for a while: none is new, replaced or gone.

    Fires ``{"status": "success", "message": ...}``, or ``{"status": "error", "message": ...}`` on an error of AWS and,
    without `allow_delete`, where an object is gone. The period begins with the first look, and anew with each change.
    It goes on when the trigger moves. A change is always seen; only that some went while as many or more came may then,
    and with more than 100,000 objects, pass for new objects.

    Args:
        prefix: Of the keys; "" means the whole bucket.
        inactivity_period: Seconds.
        min_objects: With fewer the wait goes on, however long nothing has changed.
        inactivity_seconds: Airflow's, without effect, there as here.
        previous_objects: Keys that an earlier wait has seen.
        last_activity_time: When that wait saw the last change; a time without a zone is UTC.
        hook_params: ``{"requester_pays": True}`` where the bucket asks for that.
        delay: Seconds between looks; a tenth of the period where None, but 1 to 60 s.
        max_attempts: With `delay` a budget of time; None: until the deadline.
    """

    def __init__(
        self,
        bucket_name: str,
        prefix: str,
        *,
        inactivity_period: float = 60 * 60,
        min_objects: int = 1,
        inactivity_seconds: float = 0,
        previous_objects: Iterable[str] | None = None,
        allow_delete: bool = True,
        last_activity_time: datetime | str | None = None,
        hook_params: Mapping[str, Any] | None = None,
        delay: float | None = None,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        self.bucket_name = name("bucket_name", bucket_name)
        self.prefix = prefix if prefix == "" else text("prefix", prefix)
        self.inactivity_period = 0 if inactivity_period == 0 else number("inactivity_period", inactivity_period)
        if self.inactivity_period is None:
            raise TypeError("inactivity_period must be a number of seconds, not None")
        self.min_objects = whole("min_objects", min_objects, 0, _MAX_OBJECTS)
        self.inactivity_seconds = number("inactivity_seconds", inactivity_seconds) if inactivity_seconds != 0 else 0
        self.previous_objects = None if previous_objects is None else _keys(previous_objects)
        self.allow_delete = flag("allow_delete", allow_delete)
        self.last_activity_time = None if last_activity_time is None else _time(last_activity_time)
        self.hook_params = pays(hook_params) or None
        self.delay = number("delay", delay)
        self.max_attempts = attempts(max_attempts)
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.s3_keys_unchanged.S3KeysUnchangedTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            event = await self._wait()
        except (WaitError, WaiterDefinitionError, ConfigError) as error:
            event = TriggerEvent({"status": "error", "message": str(error)}, failure_details(error))
        yield event

    async def _wait(self) -> TriggerEvent:
        period_s = self.inactivity_period or 0.0
        tenth_s = min(max(period_s / _LOOKS_A_PERIOD, _SHORTEST_DELAY_S), _LONGEST_DELAY_S)
        state, ends_ms = self._restored()
        keys: set[int] | None = None  # only where a key that is gone is an error: of others the sums are enough

        async def store(new_ends_ms: int | None) -> None:
            nonlocal ends_ms
            ends_ms = new_ends_ms
            await self.context.checkpoint([*(state or ()), ends_ms])

        number_of_looks = 0
        async for number_of_looks in looks(self.delay or tenth_s, self.max_attempts, ends_ms, store):
            asked_ms = wall_ms()
            seen = await self._list(known=not self.allow_delete)
            if state is not None and not self.allow_delete and _is_gone(state, keys, seen):
                message = f"objects under {self._where} were deleted, or their keys have changed"
                return TriggerEvent({"status": "error", "message": message}, {"polls": number_of_looks})
            before, keys = state, seen.keys
            state = self._state(before, seen)
            if state != before:
                await store(ends_ms)
            if before is not None and state.changed_ms != before.changed_ms:
                self.context.log.info("objects have changed, the period begins anew", objects=state.objects)
            elif asked_ms - state.changed_ms >= period_s * 1000 and state.objects >= self.min_objects:
                message = f"{state.objects} objects at {self._where}, unchanged for at least {period_s:g} seconds"
                return TriggerEvent({"status": "success", "message": message}, {"polls": number_of_looks})
        return gave_up(f"{self._where} was not unchanged for {period_s:g} s within {number_of_looks} looks")

    @property
    def _where(self) -> str:
        return f"s3://{self.bucket_name}/{self.prefix}"

    def _restored(self) -> "tuple[_State | None, int | None]":
        """What an earlier run or, before the first look, an earlier wait has seen; and when the budget ends."""
        match stored(self.context):
            case [int(names), int(contents), int(objects), int(changed_ms), int() | None as ends_ms]:
                return _State(names, contents, objects, changed_ms), ends_ms
        if not self.previous_objects:
            return None, None
        names = sum(_hash(key) for key in self.previous_objects) % _WORD
        return _State(names, None, len(self.previous_objects), self._last_activity_ms() or wall_ms()), None

    def _last_activity_ms(self) -> int | None:
        return None if self.last_activity_time is None else int(self.last_activity_time.timestamp() * 1000)

    async def _list(self, *, known: bool) -> "_Seen":
        reads = S3Reads(self.context.aws, self.connection, self.region, self.hook_params)
        names = contents = objects = 0
        keys: set[int] | None = set() if known else None
        async for page in reads.pages(self.bucket_name, self.prefix):
            for entry in page:
                hashed = _hash(entry["Key"])
                names = (names + hashed) % _WORD
                about = f"{entry['Key']}\n{entry.get('ETag')} {entry.get('Size')} {entry.get('LastModified')}"
                contents = (contents + _hash(about)) % _WORD
                if keys is not None:
                    keys.add(hashed)
            objects += len(page)
            if objects > _MAX_KNOWN:
                keys = None
        return _Seen(names, contents, objects, keys)

    def _state(self, before: "_State | None", seen: "_Seen") -> "_State":
        if before is not None:
            same = before.names == seen.names and before.contents in (None, seen.contents)
        else:
            same = seen.objects == 0 and self.last_activity_time is not None
        known_ms = self._last_activity_ms() if before is None else before.changed_ms
        return _State(seen.names, seen.contents, seen.objects, known_ms if same and known_ms is not None else wall_ms())


class _State(NamedTuple):
    """What is left of a look: sums of hashes, which tell a change in any order, and when the last one was seen."""

    names: int
    contents: int | None
    """None: not known, only the keys are."""
    objects: int
    changed_ms: int


class _Seen(NamedTuple):
    """What one look has found. `keys`: the hash of each."""

    names: int
    contents: int
    objects: int
    keys: set[int] | None


def _is_gone(before: _State, keys: set[int] | None, seen: _Seen) -> bool:
    """Whether a key is gone; after a move, of which only the sums are left, as far as they can tell."""
    if keys is not None and seen.keys is not None:
        return not keys <= seen.keys
    return seen.objects < before.objects or (seen.objects == before.objects and seen.names != before.names)


def _hash(value: str) -> int:
    return int.from_bytes(blake2b(value.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def _keys(values: object) -> list[str]:
    if not isinstance(values, set | frozenset | list | tuple):
        raise TypeError(f"previous_objects must be a set or list of keys, not {values!r:.100}")
    return sorted({text("previous_objects", value) for value in values})


def _time(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"last_activity_time = {value!r:.100}: a time as ISO 8601 has it is expected") from None
    if not isinstance(value, datetime):
        raise TypeError(f"last_activity_time must be a datetime or its ISO 8601 text, not {value!r:.100}")
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)
