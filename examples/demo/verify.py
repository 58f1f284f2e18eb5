"""The check: was every task resumed exactly once, with the right payload, and not before its time?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from examples.demo.records import Expected, Records, Resumed, Started


def problems(records: Records, planned: int, reached_ms: Mapping[str, int]) -> list[str]:
    """Everything that is not as it must be, a sentence each; empty where the demo has succeeded.

    Args:
        records: What worker and resumer wrote down.
        planned: How many jobs there should be.
        reached_ms: By event id, when AWS itself had reached the state that was waited for, where that is known.
    """
    found = []
    if len(records.started) != planned:
        found.append(f"{len(records.started)} of {planned} jobs were started")
    by_event = defaultdict(list)
    for resumed in records.resumed:
        by_event[resumed.event_id].append(resumed)
    for job in records.started:
        for event_id, expected in job.expected.items():
            found += _of_event(job, event_id, expected, by_event.pop(event_id, []), reached_ms)
    found += [f"{event_id}: was resumed, and nobody had started it" for event_id in by_event]
    return found


def _of_event(
    job: Started, event_id: str, expected: Expected, calls: list[Resumed], reached_ms: Mapping[str, int]
) -> Iterator[str]:
    if not calls:
        yield f"{job.service} task {job.job}: was never resumed (event {event_id})"
    if len(calls) > 1:
        yield f"{job.service} task {job.job}: was resumed {len(calls)} times (event {event_id})"
    for call in calls:
        if call.outcome != "fired":
            yield f"{job.service} task {job.job}: its trigger has {call.outcome}: {call.payload}"
        elif not expected.fits(call.payload):
            yield f"{job.service} task {job.job}: expected {expected}, resumed with {call.payload}"
        if call.resumed_ms < reached_ms.get(event_id, 0):
            yield f"{job.service} task {job.job}: was resumed before AWS had got there"
