"""Promises of what a trigger does beside its wait: it never stands in the way, and its lines have their level."""

import asyncio
import contextvars
import logging
from typing import Any

import pytest

from triggerd.clock import wall_ms
from triggerd.testing import LocalContext
from triggerd.trigger import Progress
from triggerd.triggers import beside
from triggerd.triggers.beside import Beside
from triggerd.triggers.log_tail import LogStream, _WithPositions, level_of

POLL = Progress(1, "RUNNING", 1.0, 60.0)
ENDED = Progress(2, "STOPPED", 2.0, 0.0)
STOPPED = Progress(1, "RUNNING", 1.0, 60.0, cancelled=True)


def _context(restored: Any = None, *, left_ms: int = 3_600_000) -> LocalContext:
    aws: Any = None
    return LocalContext(aws, trigger_id="t1", deadline_ms=wall_ms() + left_ms, restored=restored)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("hello", "info"),
        ("ERROR: no disk", "error"),
        ("  [warning] slow", "warning"),
        ("WARN slow", "warning"),
        ("debug - x", "debug"),
        ("FATAL", "critical"),
        ("CRITICAL - x", "critical"),
        ("ERRORS: 0", "info"),
        ("no ERROR here", "info"),
        ('{"level": "error", "msg": "x"}', "error"),
        ('{"levelname": "Warn", "level": "debug"}', "warning"),
        ('{"level": 50}', "info"),
        ('{"level": {"a": 1}}', "info"),
        ('{"level": ', "info"),
        ("{" * 19_000, "info"),
        ('{"a":' * 3_900, "info"),
        ('{"level": "error", "msg": "' + "x" * 30_000 + '"}', "info"),
        ("", "info"),
    ],
)
def test_a_line_has_the_level_that_it_names(line: str, level: str) -> None:
    assert level_of(line) == level


async def test_one_look_at_a_time_however_many_polls() -> None:
    gate, looks = asyncio.Event(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        await gate.wait()

    side = Beside(_context(), look)
    for _ in range(3):
        side(POLL)
        await asyncio.sleep(0)
    assert looks == 1
    gate.set()
    await side.last()
    assert looks == 2  # the last one comes after the one on its way


async def test_the_poll_that_ends_the_wait_and_a_cancel_start_no_look() -> None:
    async def look() -> None:
        raise AssertionError

    side = Beside(_context(), look)
    side(ENDED)
    side(STOPPED)
    assert not {task for task in asyncio.all_tasks() if task.get_name().startswith("beside")}


async def test_a_look_that_hangs_keeps_the_event_back_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "LAST_WITHIN_S", 0.05)
    side = Beside(_context(), asyncio.Event().wait)  # type: ignore[arg-type]
    side(POLL)
    async with asyncio.timeout(5):
        await side.last()
        await side.stop()
    assert not {task for task in asyncio.all_tasks() if task.get_name().startswith("beside")}


async def test_the_last_look_is_not_what_makes_a_trigger_miss_its_deadline() -> None:
    side = Beside(_context(left_ms=1_000), asyncio.Event().wait)  # type: ignore[arg-type]
    async with asyncio.timeout(1):
        await side.last()


async def test_a_look_that_fails_again_and_again_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def look() -> None:
        raise OSError("no route")

    side = Beside(_context(), look)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await side.last()
    assert [record.getMessage() for record in caplog.records if "no route" in record.getMessage()] == [
        "the wait goes on without a look beside it trigger_id='t1' error='no route'"
    ]


async def test_a_look_belongs_to_the_run_and_not_to_the_poll_that_started_it() -> None:
    run: contextvars.ContextVar[str] = contextvars.ContextVar("run")
    found: list[str] = []

    async def look() -> None:
        found.append(run.get())

    run.set("mine")
    side = Beside(_context(), look)
    run.set("the poller's")
    side(POLL)
    while not found:
        await asyncio.sleep(0)
    assert found == ["mine"]


async def test_a_stopped_run_leaves_no_look_behind() -> None:
    side = Beside(_context(), asyncio.Event().wait)  # type: ignore[arg-type]
    side(POLL)
    await asyncio.sleep(0)
    await side.stop()
    assert not {task for task in asyncio.all_tasks() if task.get_name().startswith("beside")}


async def test_how_far_a_log_was_read_stands_behind_the_state_of_the_wait() -> None:
    context, streams = _context(), [LogStream("g", "a"), LogStream("g", "b")]
    streams[0].seen_ms = 1_700_000_000_123
    await _WithPositions(context, streams).checkpoint([1, None, 3, "RUNNING"])
    assert context.checkpoints == [[1, None, 3, "RUNNING", [1_700_000_000_123, 0]]]

    again = [LogStream("g", "a"), LogStream("g", "b")]
    moved = _WithPositions(_context(context.checkpoints[0]), again)
    assert moved.restored == [1, None, 3, "RUNNING"]
    assert [stream.begin_ms for stream in again] == [1_700_000_000_123, 0]


@pytest.mark.parametrize(
    "restored",
    [None, 5, "x", [], [1, None, 3, None], [1, None, 3, None, []], [1, None, 3, None, [-1]], [1, None, 3, None, ["x"]],
     [1, None, 3, None, [True]], [1, None, 3, None, [2**60]], [[[]]], {"a": 1}],
)  # fmt: skip
def test_a_position_that_cannot_be_read_is_the_begin(restored: Any) -> None:
    stream = LogStream("g", "a")
    context = _WithPositions(_context(restored), [stream])
    assert stream.begin_ms == 0
    assert context.restored in (restored, [1, None, 3, None], [])
