"""The table at the end: what was asked of AWS, and how long everybody waited."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from examples.demo.jobs import SERVICES
from examples.demo.records import Records, Resumed, Started
from examples.demo.tasks import POLL_EVERY_S

_HEADER = (
    ("", "", "", "", "AWS", "a waiter", "fired ->", "AWS state ->"),
    ("service", "started", "resumed", "failed", "calls", "per task", "resumed, ms", "resumed, ms"),
    ("", "tasks", "tasks", "on AWS", "made", "would make", "p50 / p99", "p50 / p99"),
)
_NOTES = (
    "failed on AWS: an execution that ends in its Fail state, a query that somebody cancels, an object that never",
    "  comes. Their tasks were resumed too, with the error; they are counted under 'resumed'.",
    "AWS calls made: polls of the daemon (its /metrics: triggerd_polls_total). Equal waits share them.",
    "a waiter per task would make: per wait the lesser of the answers that it had (details['polls']) and",
    f"  1 + ceil(waited seconds / {POLL_EVERY_S:g}), which is how often a boto3 waiter would have asked by then.",
    "fired -> resumed: from the event's fired_ms to the call of the task's method, in another process.",
    "AWS state -> resumed: from the instant at which the object was put, or the execution ended, to that call.",
    f"  A wait asks AWS every {POLL_EVERY_S:g} s, so half of that is the cost of polling. Left out: later waits.",
)

_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Row:
    """One service, or all. Latencies are (p50, p99) in ms, None where there is nothing to measure."""

    service: str
    started: int
    resumed: int
    failed: int
    calls: int
    calls_unshared: int
    fired_to_resumed_ms: tuple[float, float] | None
    reached_to_resumed_ms: tuple[float, float] | None

    def cells(self) -> tuple[str, ...]:
        counts = (self.started, self.resumed, self.failed, self.calls, self.calls_unshared)
        latencies = (self.fired_to_resumed_ms, self.reached_to_resumed_ms)
        return (
            self.service,
            *(f"{count:,}" for count in counts),
            *(f"{pair[0]:,.0f} / {pair[1]:,.0f}" if pair else "-" for pair in latencies),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """All that the demo found out."""

    rows: list[Row]
    problems: list[str]
    set_up_s: float
    ran_s: float

    def text(self) -> str:
        """For people."""
        lines = [*_table([*_HEADER, *(row.cells() for row in self.rows)]), ""]
        lines += [*_NOTES, "", f"Set up in {self.set_up_s:.1f} s, ran for {self.ran_s:.1f} s.", ""]
        if self.problems:
            shown = [f"  {problem}" for problem in self.problems[:_SHOWN]]
            return "\n".join([*lines, f"FAILED, problems: {len(self.problems)}", *shown])
        total = self.rows[-1]
        verdict = f"OK: all {total.started} tasks were resumed, each event exactly once, with the right payload."
        return "\n".join([*lines, verdict])

    def json(self) -> dict[str, Any]:
        """For programs."""
        return {"ok": not self.problems, **asdict(self)}


def rows(records: Records, calls: Mapping[str, int], reached_ms: Mapping[str, int]) -> list[Row]:
    """A row per service, and one of all.

    Args:
        records: What worker and resumer wrote down.
        calls: AWS calls of the daemon by service.
        reached_ms: By event id, when AWS had reached the state, where that is known.
    """
    services = {job.service: [j for j in records.started if j.service == job.service] for job in records.started}
    return [
        *(_row(name, services[name], records.resumed, calls.get(name, 0), reached_ms)
          for name in SERVICES if name in services),
        _row("all", records.started, records.resumed, sum(calls.values()), reached_ms),
    ]  # fmt: skip


def _row(
    service: str, started: Sequence[Started], resumed: Sequence[Resumed], calls: int, reached_ms: Mapping[str, int]
) -> Row:
    began_ms = {event_id: job.started_ms for job in started for event_id in job.expected}
    events = [event for event in resumed if event.event_id in began_ms]
    last = {job.last_event for job in started}
    finished = {event.event_id: event for event in events if event.event_id in last}
    reached = [
        event.resumed_ms - reached_ms[event.event_id]
        for event in events if reached_ms.get(event.event_id, 0) > began_ms[event.event_id]
    ]  # fmt: skip
    return Row(
        service=service,
        started=len(started),
        resumed=len(finished),
        failed=sum(event.payload.get("status") == "error" for event in finished.values()),
        calls=calls,
        calls_unshared=sum(min(event.polls, 1 + math.ceil(event.waited_s / POLL_EVERY_S)) for event in events),
        fired_to_resumed_ms=_percentiles([event.resumed_ms - event.fired_ms for event in events]),
        reached_to_resumed_ms=_percentiles(reached),
    )


def _percentiles(values: Sequence[float]) -> tuple[float, float] | None:
    """p50 and p99, each a value that was measured (nearest rank)."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[math.ceil(0.50 * len(ranked)) - 1], ranked[math.ceil(0.99 * len(ranked)) - 1]


def _table(table_rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table_rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in table_rows
    ]
    rule = "-" * max(map(len, lines))
    return [*lines[: len(_HEADER)], rule, *lines[len(_HEADER) : -1], rule, lines[-1]]
