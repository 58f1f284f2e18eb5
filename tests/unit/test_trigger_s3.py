"""Promises of the S3 triggers that need no S3: their arguments, places, prefixes and patterns."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers import s3_patterns
from triggerd.triggers.s3 import S3KeyTrigger
from triggerd.triggers.s3_keys_unchanged import S3KeysUnchangedTrigger
from triggerd.triggers.s3_patterns import PatternError, Regex, Wildcard, literal_prefix
from triggerd.triggers.s3_reads import Place, pays, place


@pytest.mark.parametrize(
    ("bucket", "key", "found"),
    [
        ("lake", "a/b", ("lake", "a/b")),
        ("lake", "time=10:00/b", ("lake", "time=10:00/b")),
        (None, "s3://lake/a/b?c#d", ("lake", "a/b?c#d")),
        (None, "s3a://lake//a*", ("lake", "a*")),
        (None, "https://lake.s3.eu-west-1.amazonaws.com/a/b", ("lake", "a/b")),
        (None, "https://my.lake.s3.eu-west-1.amazonaws.com/a/b", ("my.lake", "a/b")),
        (None, "https://s3.eu-west-1.amazonaws.com/lake/a/b", ("lake", "a/b")),
    ],
)
def test_a_key_or_a_url_names_a_place(bucket: str | None, key: str, found: tuple[str, str]) -> None:
    assert place(bucket, key) == Place(*found)


@pytest.mark.parametrize(
    ("bucket", "key", "said"),
    [
        (None, "a/b", "s3://bucket/key is expected"),
        (None, "s3://lake", "s3://bucket/key is expected"),
        ("lake", "s3://lake/a", "a key without s3://"),
        ("lake", "", "1 to 1024 characters"),
        ("lake", "x" * 1025, "1 to 1024 characters"),
        ("lake", 5, "1 to 1024 characters"),
    ],
)
def test_a_place_that_cannot_be_is_refused(bucket: str | None, key: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        place(bucket, key)


def test_hook_params_that_airflow_has_nested_at_each_round_trip_are_found() -> None:
    hook_params: dict[str, Any] = {"requester_pays": True}
    for _ in range(5):
        hook_params = {"hook_params": hook_params}
    assert pays(hook_params) == {"requester_pays": True}
    assert pays({"hook_params": {"hook_params": {}}}) == pays(None) == {}
    with pytest.raises(TypeError, match="hook_params must be a dict"):
        pays({"hook_params": "x"})


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"bucket_key": []}, TypeError, "a list of 1 to 1,000 strings"),
        ({"bucket_key": ["a", 5]}, TypeError, "bucket_key must be a string"),
        ({"bucket_key": {"a": 1}}, TypeError, "a list of 1 to 1,000 strings"),
        ({"wildcard_match": "false"}, TypeError, "wildcard_match must be True or False"),
        ({"metadata_keys": "Size"}, TypeError, "metadata_keys must be"),
        ({"metadata_keys": [*map(str, range(101))]}, TypeError, "metadata_keys must be"),
        ({"delay": 0}, ValueError, "above 0"),
        ({"max_attempts": 0}, ValueError, "at least 1"),
        ({"bucket_name": 5}, TypeError, "bucket_name must be a string"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(change: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        S3KeyTrigger(**{"bucket_name": "lake", "bucket_key": "a", **change})


def test_every_argument_survives_the_wire() -> None:
    trigger = S3KeyTrigger(
        None, ["s3://lake/a*", "s3://sea/b*"], wildcard_match=True, should_check_fn=True, metadata_keys=["*"],
        hook_params={"requester_pays": True}, delay=7, max_attempts=3, connection="prod", region="eu-west-1",
    )  # fmt: skip
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert S3KeyTrigger("lake", "a").serialize()[1] == {"bucket_name": "lake", "bucket_key": "a"}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"bucket_name": ""}, ValueError, "bucket_name must not be empty"),
        ({"prefix": None}, TypeError, "prefix must be a string"),
        ({"inactivity_period": -1}, ValueError, "inactivity_period = -1"),
        ({"inactivity_period": "60"}, TypeError, "number of seconds"),
        ({"inactivity_period": None}, TypeError, "inactivity_period must be"),
        ({"min_objects": -1}, ValueError, "min_objects = -1"),
        ({"previous_objects": "abc"}, TypeError, "a set or list of keys"),
        ({"previous_objects": [5]}, TypeError, "previous_objects must be a string"),
        ({"last_activity_time": 5}, TypeError, "a datetime or its ISO 8601 text"),
        ({"last_activity_time": "yesterday"}, ValueError, "last_activity_time = 'yesterday'"),
        ({"allow_delete": 1}, TypeError, "must be True or False"),
        ({"hook_params": []}, TypeError, "hook_params must be a dict"),
    ],
)
def test_an_argument_that_keys_unchanged_cannot_use_is_refused(change: Any, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        S3KeysUnchangedTrigger(**{"bucket_name": "lake", "prefix": "", **change})


def test_the_set_and_the_datetime_that_airflow_serializes_survive_the_wire() -> None:
    moment = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - as Airflow's datetime.now() makes it
    trigger = S3KeysUnchangedTrigger(
        "lake", "data/", inactivity_period=60.0, previous_objects={"data/b", "data/a"}, last_activity_time=moment,
        allow_delete=False, min_objects=0, delay=7,
    )  # fmt: skip
    again = round_trip(trigger)
    assert again.serialize() == trigger.serialize()
    assert again.previous_objects == ["data/a", "data/b"]
    assert again.last_activity_time == moment.replace(tzinfo=UTC)
    assert S3KeysUnchangedTrigger("lake", "").serialize()[1] == {"bucket_name": "lake", "prefix": ""}


@pytest.mark.parametrize(
    ("regex", "prefix"),
    [
        ("data/2024/.*\\.csv", "data/2024/"),
        ("^data/part-\\d+", "data/part-"),
        ("data\\.csv$", "data.csv"),
        ("data/x*", "data/"),
        ("data/x+", "data/"),
        ("data/x{2}", "data/"),
        ("data/(a)?", "data/"),
        ("data/a|other", ""),
        ("(?i)data", ""),
        (".*", ""),
        ("", ""),
        ("a\\", "a"),
    ],
)
def test_a_regex_lists_only_what_begins_as_it_does(regex: str, prefix: str) -> None:
    assert literal_prefix(regex) == prefix


async def test_a_wildcard_is_fnmatchs_and_case_counts() -> None:
    wildcard = Wildcard("data/*/part-[0-9]?.csv")
    assert wildcard.prefix == "data/"
    keys = ["data/a/b/part-12.csv", "data/a/part-1.csv", "DATA/a/part-12.csv", "data/a/part-x2.csv"]
    assert await wildcard.matched(keys) == [0]


async def test_a_regex_is_matched_from_the_beginning() -> None:
    regex = Regex("data/\\d+\\.csv")
    assert await regex.matched(["data/7.csv", "x/data/7.csv", "data/77.csv.gz", "data/x.csv", "data/\n\u20ac"]) == [
        0,
        2,
    ]
    assert await regex.matched([]) == []


async def test_a_page_in_which_nothing_matched_is_not_matched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    regex = Regex("b")
    assert await regex.matched(["a", "c"]) == []
    monkeypatch.setattr(s3_patterns, "_PROGRAM", "raise SystemExit(1)")
    assert await regex.matched(["a", "c"]) == []
    with pytest.raises(PatternError):
        await regex.matched(["a", "b"])


async def test_a_process_that_ends_before_it_is_asked_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.create_subprocess_exec

    async def begin_and_end(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await begun(*arguments, **options)
        await process.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin_and_end)
    monkeypatch.setattr(s3_patterns, "_PROGRAM", "raise SystemExit(1)")
    with pytest.raises(PatternError):
        await Regex("b").matched(["a"])


@pytest.mark.parametrize("regex", ["(", "a{2,1}", "(?P<x>", "\\", "(" * 600, "(?i:[\\x00-\\U0010ffff])" * 40 + "("])
async def test_what_is_no_regex_is_said(regex: str) -> None:
    with pytest.raises(PatternError, match=r"is no regular expression|takes more than"):
        await Regex(regex).matched(["a"])


async def test_a_hostile_regex_stalls_nobody_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_patterns, "LIMIT_S", 1)
    matching = asyncio.create_task(Regex("(a+)+$").matched(["a" * 60 + "b"]))
    beats = 0
    while not matching.done():
        await asyncio.wait({matching}, timeout=0.01)
        beats += 1
    assert beats > 20
    with pytest.raises(PatternError, match="takes more than 1 s for 1 keys"):
        matching.result()


async def test_a_look_that_is_cancelled_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started = asyncio.Event()
    begun = asyncio.create_subprocess_exec
    processes: list[asyncio.subprocess.Process] = []

    async def begin(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        processes.append(await begun(*arguments, **options))
        started.set()
        return processes[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin)
    matching = asyncio.create_task(Regex("(a+)+$").matched(["a" * 60 + "b"]))
    await started.wait()
    matching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await matching
    assert processes[0].returncode is not None


async def test_a_wildcard_that_is_slow_to_match_gives_the_loop_its_turns() -> None:
    matching = asyncio.create_task(Wildcard("*" + "[ab]" * 250 + "c").matched(["a" * 1024] * 1000))
    turns = 0
    while not matching.done():  # half a second in one go
        turns += 1
        await asyncio.sleep(0)
    assert matching.result() == []
    assert turns >= 40
