"""Triggers that wait for time to pass: the smallest examples of the contract."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from triggerd.clock import wall_ms
from triggerd.trigger import BaseTrigger, TriggerEvent

_LONGEST_SLEEP_S = 3600.0


class DateTimeTrigger(BaseTrigger):
    """Fires at `moment`, an aware datetime or its ISO 8601 text; at once if it has passed. Payload: the moment."""

    def __init__(self, moment: datetime | str) -> None:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise ValueError(f"moment = {moment!r}: an aware datetime is expected, such as datetime.now(UTC) + ...")
        self.moment = moment

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.time.DateTimeTrigger", {"moment": self.moment}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        moment_ms = self.moment.timestamp() * 1000
        # In pieces, so that a stepped wall clock is noticed within the hour.
        while (left_s := (moment_ms - wall_ms()) / 1000) > 0:  # noqa: ASYNC110 - a clock has no event to wait for
            await asyncio.sleep(min(left_s, _LONGEST_SLEEP_S))
        yield TriggerEvent(self.moment)


class TimeDeltaTrigger(BaseTrigger):
    """Fires `seconds` after it was made (not after it was claimed: a full queue does not add to the wait).

    Payload: the moment at which it was due.
    """

    def __init__(self, seconds: float | timedelta, *, moment: datetime | None = None) -> None:
        self.seconds = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"seconds = {seconds!r}: zero or more is expected")
        self.moment = moment or datetime.now(UTC) + timedelta(seconds=self.seconds)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.time.TimeDeltaTrigger", {"seconds": self.seconds, "moment": self.moment}

    def run(self) -> AsyncIterator[TriggerEvent]:
        return DateTimeTrigger(self.moment).run()
