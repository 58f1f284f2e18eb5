"""Triggers that run here, without Redis: for their authors' tests and for ``deferrable=False``."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from triggerd import BaseTrigger, DateTimeTrigger, TimeDeltaTrigger, TriggerEvent
from triggerd.errors import EnvelopePackError
from triggerd.testing import round_trip, run_here, run_trigger
from triggerd.triggers.testing import FailureTrigger, SuccessTrigger


class Recording(BaseTrigger):
    def __init__(self, script: str = "fire") -> None:
        self.script, self.cleaned = script, 0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "tests.Recording", {"script": self.script}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        if self.script == "fire":
            yield TriggerEvent({"restored": self.context.restored, "id": self.context.trigger_id})
        if self.script == "hang":
            await asyncio.Event().wait()
        if self.script == "object":
            yield TriggerEvent(object())
        if self.script == "own timeout":
            raise TimeoutError("my own")

    async def cleanup(self) -> None:
        self.cleaned += 1


class Counting(Recording):
    multi_event = True

    async def run(self) -> AsyncIterator[TriggerEvent]:
        for n in range(3):
            await self.context.checkpoint(n)
            yield TriggerEvent(n)


async def test_the_first_event_is_final() -> None:
    trigger = Recording()
    events = await run_here(trigger, restored=5, trigger_id="t9")
    assert [(event.payload, event.final, event.outcome) for event in events] == [
        ({"restored": 5, "id": "t9"}, True, "fired")
    ]
    assert trigger.cleaned == 1


class Afterwards(Recording):
    """Does something once its event is published: deletes a message, say."""

    done = 0

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent("first")
        await asyncio.sleep(0)
        self.done += 1
        if self.script == "raise":
            raise RuntimeError("too late to change anything")
        if self.script == "again":
            yield TriggerEvent("second")


@pytest.mark.parametrize("script", ["fire", "raise", "again"])
async def test_what_comes_after_the_final_event_is_done_and_changes_no_outcome(script: str) -> None:
    trigger = Afterwards(script)
    events = await run_here(trigger, timeout=30)
    assert [(event.payload, event.outcome) for event in events] == [("first", "fired")]
    assert (trigger.done, trigger.cleaned) == (1, 1)


@pytest.mark.parametrize(
    ("script", "outcome", "type_", "message"),
    [
        ("nothing", "failed", "TriggerdError", "without yielding"),
        ("object", "failed", "EnvelopePackError", "object"),
        ("own timeout", "failed", "TimeoutError", "my own"),
    ],
)
async def test_a_run_that_goes_wrong_has_failed(script: str, outcome: str, type_: str, message: str) -> None:
    trigger = Recording(script)
    [event] = await run_here(trigger)
    assert event.outcome == outcome
    assert event.error is not None
    assert event.error.type == type_
    assert message in event.error.message
    assert trigger.cleaned == 1


async def test_a_run_past_its_timeout_has_timed_out() -> None:
    event = await run_trigger(Recording("hang"), timeout=timedelta(milliseconds=5))
    assert event.outcome == "timed_out"


async def test_a_multi_event_trigger_ends_with_an_empty_event() -> None:
    events = await run_here(Counting())
    assert [(event.seq, event.payload, event.final) for event in events] == [
        (1, 0, False), (2, 1, False), (3, 2, False), (4, None, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "trigger",
    [SuccessTrigger({"a": {1, 2}}), FailureTrigger("no"), TimeDeltaTrigger(0.5), DateTimeTrigger(datetime.now(UTC))],
)
def test_a_bundled_trigger_is_rebuilt_from_what_it_serializes(trigger: BaseTrigger) -> None:
    again = round_trip(trigger)
    assert again.serialize() == trigger.serialize()
    assert trigger.serialize()[0] == f"{type(trigger).__module__}.{type(trigger).__qualname__}"
    assert vars(again) == vars(trigger)


async def test_time_triggers_fire_at_their_moment() -> None:
    moment = datetime.now(UTC) + timedelta(milliseconds=20)
    event = await run_trigger(DateTimeTrigger(moment))
    assert event.payload == moment <= datetime.now(UTC)
    trigger = TimeDeltaTrigger(0)
    assert (await run_trigger(trigger)).payload == trigger.moment


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_time_delta_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        TimeDeltaTrigger(seconds)


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="aware datetime"):
        DateTimeTrigger(datetime(2026, 1, 1))  # noqa: DTZ001 - the very thing that is refused


def test_a_moment_may_be_text_as_a_shell_has_it() -> None:
    assert DateTimeTrigger("2026-01-02T03:04:05+00:00").moment == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_what_a_trigger_cannot_serialize_is_found_here_too() -> None:
    with pytest.raises(EnvelopePackError):
        await run_trigger(SuccessTrigger(object()))


async def test_a_pair_for_a_queue_is_refused_in_place() -> None:
    with pytest.raises(TypeError, match="pass the trigger itself"):
        await run_here(SuccessTrigger().serialize())
