"""The trigger that waits for keys in S3."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaitError, message_of
from triggerd.trigger import BaseTrigger, TriggerEvent
from triggerd.triggers.arguments import attempts, changed, flag, name, number, text
from triggerd.triggers.aws import failure_details
from triggerd.triggers.looks import gave_up, looks
from triggerd.triggers.s3_patterns import Pattern, PatternError, Regex, Wildcard
from triggerd.triggers.s3_reads import Place, S3Reads, pays, place
from triggerd.triggers.wait_checkpoints import stored

_MAX_KEYS = 1_000
_MAX_FILES, _MAX_METADATA = 5_000, 100
_HEADS_AT_ONCE = 20
_DEFAULT_METADATA = ["Size", "Key"]
_LISTED = frozenset({"Size", "Key", "ETag", "LastModified"})
"""Metadata that a listing gives just as HeadObject does."""

File = dict[str, Any]


class S3KeyTrigger(BaseTrigger):
    """Waits until there is an object for each key, pattern or URL, all of them in one look.

    Fires ``{"status": "success"}``, with `should_check_fn` ``{"status": "running", "files": [{"Size": ..., "Key":
    ...}]}``: one entry for each object that fits, `metadata_keys` of it, for the caller to judge. On an error of AWS
    or a pattern that cannot be used ``{"status": "error", "message": ...}``. A throttle, "SlowDown" or an outage is
    waited through.

    Args:
        bucket_name: None where `bucket_key` is a URL, or a list of them.
        bucket_key: ``"data/_SUCCESS"``, ``"s3://lake/data/_SUCCESS"``, or up to 1,000 of them.
        wildcard_match: The keys are patterns of fnmatch, whose ``*`` stands for slashes too.
        use_regex: The keys are regular expressions that match from the beginning. Listed are the objects that begin
            as the expression does; they are matched in a process apart, which has 5 s for each page of 1,000.
        should_check_fn: The caller wants to look at the files. They come one `delay` late, because a caller that
            says no defers again at once.
        metadata_keys: Of HeadObject's answer, and "Size"; None for what is not there. "*" means all of it.
        hook_params: ``{"requester_pays": True}`` where the bucket asks for that.
        delay: Seconds between looks. max_attempts: with `delay` a budget of time; None: until the deadline.
    """

    def __init__(
        self,
        bucket_name: str | None,
        bucket_key: str | Sequence[str],
        *,
        wildcard_match: bool = False,
        use_regex: bool = False,
        should_check_fn: bool = False,
        metadata_keys: Sequence[str] | None = None,
        hook_params: Mapping[str, Any] | None = None,
        delay: float = 5.0,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        self.bucket_name = bucket_name if bucket_name is None else name("bucket_name", bucket_name)
        self.bucket_key = bucket_key if isinstance(bucket_key, str) else _texts("bucket_key", bucket_key)
        self.wildcard_match = flag("wildcard_match", wildcard_match)
        self.use_regex = flag("use_regex", use_regex)
        self.should_check_fn = flag("should_check_fn", should_check_fn)
        self.metadata_keys = _texts("metadata_keys", metadata_keys, _MAX_METADATA) if metadata_keys else None
        self.hook_params = pays(hook_params) or None
        self.delay = number("delay", delay) or 5.0
        self.max_attempts = attempts(max_attempts)
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)
        keys = [self.bucket_key] if isinstance(self.bucket_key, str) else self.bucket_key
        self._places = [place(self.bucket_name, key) for key in keys]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.s3.S3KeyTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            event = await self._wait()
        except (WaitError, WaiterDefinitionError, ConfigError) as error:
            event = TriggerEvent({"status": "error", "message": _said(error)}, failure_details(error))
        except PatternError as error:
            event = TriggerEvent({"status": "error", "message": str(error)}, {"error_type": "pattern"})
        yield event

    async def _wait(self) -> TriggerEvent:
        look = _Look(
            self, self._places, S3Reads(self.context.aws, self.connection, self.region, self.hook_params or {})
        )
        number_of_looks = 0
        async for number_of_looks in looks(
            self.delay, self.max_attempts, stored(self.context), self.context.checkpoint
        ):
            try:
                files = await look.all_files()
            except OSError as error:  # this machine has no process to match keys in, just now
                self.context.log.warning("keys were not matched, later again", error=message_of(error))
                continue
            if files is None:
                continue
            details = {"polls": number_of_looks}
            if not self.should_check_fn:
                return TriggerEvent({"status": "success"}, details)
            await asyncio.sleep(self.delay)
            return TriggerEvent({"status": "running", "files": files}, details)
        missing = f"s3://{look.missing.bucket}/{look.missing.key}"
        return gave_up(f"{missing} was not there after {number_of_looks} looks")


class _Look:
    """Looks for the objects of one trigger. `missing` is the place for which the last look found none."""

    def __init__(self, trigger: S3KeyTrigger, places: Sequence[Place], reads: S3Reads) -> None:
        self._wanted = list(trigger.metadata_keys or _DEFAULT_METADATA)
        self._reads, self._describes = reads, trigger.should_check_fn
        kind: type[Wildcard | Regex] | None = None
        if trigger.wildcard_match or trigger.use_regex:
            kind = Wildcard if trigger.wildcard_match else Regex
        self._patterns: dict[Place, Pattern | None] = {each: kind(each.key) if kind else None for each in places}
        self.missing = places[0]

    async def all_files(self) -> list[File] | None:
        """The files of all places; None where one has none. The one that was missing is looked for first."""
        found: dict[Place, list[File]] = {}
        for each in sorted(self._patterns, key=lambda other: other != self.missing):
            files = await self._files(each, self._patterns[each])
            if not files:
                self.missing = each
                return None
            found[each] = files
        return [file for each in self._patterns for file in found[each]]

    async def _files(self, where: Place, pattern: Pattern | None) -> list[File]:
        if pattern is None:
            head = await self._reads.head(where)
            return [] if head is None else [self._described(where.key, head)]
        matched: list[File] = []
        async for page in self._reads.pages(where.bucket, pattern.prefix):
            matched += [page[number] for number in await pattern.matched([entry["Key"] for entry in page])]
            if matched and not self._describes:
                break
            if len(matched) > _MAX_FILES:
                raise PatternError(f"more than {_MAX_FILES:,} objects fit {where.key!r}: no event can carry them")
        if not self._describes or _LISTED.issuperset(self._wanted):
            return [self._described(entry["Key"], entry) for entry in matched]
        places = [Place(where.bucket, entry["Key"]) for entry in matched]
        heads = await _some_at_once([self._reads.head(each) for each in places])
        # One that has gone since it was listed is as one that was never there.
        return [self._described(each.key, head) for each, head in zip(places, heads, strict=True) if head is not None]

    def _described(self, key: str, about: Mapping[str, Any]) -> File:
        wanted = list(about) if "*" in self._wanted else self._wanted
        size = about.get("ContentLength", about.get("Size"))
        return {each: size if each == "Size" else _plain(about.get(each)) for each in wanted} | {"Key": key}


async def _some_at_once(calls: list[Coroutine[Any, Any, File | None]]) -> list[File | None]:
    results: list[File | BaseException | None] = []
    try:
        while calls:
            some, calls = calls[:_HEADS_AT_ONCE], calls[_HEADS_AT_ONCE:]
            results += await asyncio.gather(*some, return_exceptions=True)
    finally:
        for call in calls:
            call.close()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _plain(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _said(error: Exception) -> str:
    return ". ".join([str(error), *getattr(error, "__notes__", ())])


def _texts(label: str, values: object, most: int = _MAX_KEYS) -> list[str]:
    if not isinstance(values, list | tuple) or not 0 < len(values) <= most:
        raise TypeError(f"{label} must be a string or a list of 1 to {most:,} strings, not {values!r:.100}")
    return [text(label, value) for value in values]
