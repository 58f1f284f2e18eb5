"""What `bench.latency` runs in other processes: a trigger that says when it fired, and a Resumer that writes down when.

All stamps are CLOCK_MONOTONIC, which is one clock for all processes of a machine.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from triggerd import BaseTrigger, Client, Event, Resumer, TriggerEvent
from triggerd.clock import monotonic_s

CLASSPATH = "bench.stamps.StampTrigger"


class StampTrigger(BaseTrigger):
    """Fires at `due_s`, or at once if that has passed. Payload: [kind, deferred_s, when it fired]."""

    def __init__(self, kind: str, deferred_s: float, due_s: float) -> None:
        self.kind, self.deferred_s, self.due_s = kind, deferred_s, due_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As it stands on the queue."""
        return CLASSPATH, {"kind": self.kind, "deferred_s": self.deferred_s, "due_s": self.due_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire."""
        if (left_s := self.due_s - monotonic_s()) > 0:
            await asyncio.sleep(left_s)
        yield TriggerEvent([self.kind, self.deferred_s, monotonic_s()])


def resume(url: str, count: int, path: Path) -> None:
    """Be called `count` times, then write all payloads, each with when its call came, and end."""
    calls: list[list[Any]] = []
    resumer = Resumer(Client(url))

    @resumer.on_event
    def called(event: Event, _: object) -> None:
        calls.append([*event.payload, monotonic_s()])
        if len(calls) == count:
            resumer.stop()

    resumer.run()
    path.write_text(json.dumps(calls))


if __name__ == "__main__":
    resume(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
