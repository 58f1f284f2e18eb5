"""The judgement: what was promised, what was seen, and every way in which the two do not fit."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.tally import Published

UNCONFIRMED = "cancelled_unconfirmed"
"""The error code of a cancel that was carried out without its daemon, so without the call that stops the work."""
MOST_STOPS = 2
"""Calls for one cancel: its owner may die between the call and the event, and then the adopter makes it again."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One trigger whose defer has returned.

    Attributes:
        kept: Whether its events are kept for the judgement, and not acked by a Resumer.
        may_end: The outcomes that it may have.
        job: What it waits for on AWS, "" where that cannot be stopped or it does not wait for AWS.
        stop_on_timeout: Whether its time-out stops that job.
    """

    id: str
    kept: bool
    may_end: frozenset[str]
    job: str = ""
    stop_on_timeout: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """One event that a Resumer has handled."""

    id: str
    seq: int
    outcome: str
    final: bool
    code: str = ""


@dataclass(slots=True)
class Evidence:
    """Everything that was seen by the end of a run.

    Attributes:
        promises: By trigger id.
        done: Outcome and seq that Redis keeps, by trigger id.
        kept: The events of the result stream that nobody acks.
        resumed: What the Resumers handled, each time they did.
        deliveries: How often they began to handle an event.
        cancels: The answers to the cancels of each trigger id.
        stops: Calls that stopped a job, by job.
        leftovers: What is still there and should not be, by what it is.
        dead_letters: One text each.
        crashes: Exit statuses of daemons that ended for no reason of ours.
    """

    promises: Mapping[str, Promise]
    done: Mapping[str, tuple[str, int]]
    kept: Sequence[Published] = ()
    resumed: Sequence[Resumed] = ()
    deliveries: int = 0
    cancels: Mapping[str, Collection[str]] = field(default_factory=dict)
    stops: Mapping[str, int] = field(default_factory=dict)
    leftovers: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Sequence[str] = ()
    crashes: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts by name, and one sentence for each violation; none: every promise was kept."""

    counts: Mapping[str, Any]
    violations: Sequence[str]


def judge(evidence: Evidence) -> Verdict:
    """Hold the evidence against the promises."""
    lost = [trigger_id for trigger_id in evidence.promises if trigger_id not in evidence.done]
    doubled = list(_second_final_events(evidence))
    missing = list(_missing(evidence))
    resumed = {(event.id, event.seq) for event in evidence.resumed}
    stops = list(_stops(evidence))
    violations = [f"{trigger_id}: lost, it has no final event" for trigger_id in lost]
    violations += doubled + missing + list(_outcomes(evidence)) + stops
    violations += [f"{count} {what} left" for what, count in evidence.leftovers.items() if count]
    violations += [f"a dead letter that nobody expects: {letter}" for letter in evidence.dead_letters]
    violations += [f"a daemon ended with status {status}" for status in evidence.crashes]
    counts = {
        "deferred": len(evidence.promises),
        "final events": dict(sorted(Counter(outcome for outcome, _ in evidence.done.values()).items())),
        "lost": len(lost),
        "second final events": len(doubled),
        "events resumed": len(resumed),
        "events never resumed": len(missing),
        "begun again by a Resumer (allowed)": evidence.deliveries - len(resumed),
        "explicit cancels": len(evidence.cancels),
        "time-outs that stop their job": sum(_stops_itself(one, evidence) for one in evidence.promises.values()),
        "calls that stopped a job": sum(evidence.stops.values()),
        "stopped twice (allowed)": sum(count == MOST_STOPS for count in evidence.stops.values()),
        "stop calls against the rules": len(stops),
        "left behind": sum(evidence.leftovers.values()),
        "dead letters": len(evidence.dead_letters),
    }
    return Verdict(counts, violations)


def _second_final_events(evidence: Evidence) -> Iterator[str]:
    """Ids with more than one final event, or one that is not the one which Redis keeps."""
    finals: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for event in evidence.kept:
        if event.final:
            finals[event.trigger_id].append((event.outcome, event.seq))
    # A Resumer may handle one event twice, so only different ones are two.
    for outcome, seq, trigger_id in {(one.outcome, one.seq, one.id) for one in evidence.resumed if one.final}:
        finals[trigger_id].append((outcome, seq))
    for trigger_id, found in finals.items():
        if trigger_id not in evidence.promises:
            yield f"{trigger_id}: ended, and nobody has deferred it"
        elif len(found) > 1:
            yield f"{trigger_id}: {len(found)} final events, {sorted(found)}"
        elif trigger_id in evidence.done and found[0] != evidence.done[trigger_id]:
            yield f"{trigger_id}: its final event is {found[0]}, and Redis keeps {evidence.done[trigger_id]}"


def _missing(evidence: Evidence) -> Iterator[str]:
    """Events that stand in no stream and came to no Resumer, and those that stand in one twice."""
    resumed = {(event.id, event.seq) for event in evidence.resumed}
    kept = Counter((event.trigger_id, event.seq) for event in evidence.kept)
    for trigger_id, (_, last) in evidence.done.items():
        promise = evidence.promises.get(trigger_id)
        if promise is None:
            continue
        for seq in range(1, last + 1):
            count = kept[trigger_id, seq] if promise.kept else int((trigger_id, seq) in resumed)
            if count == 0:
                yield f"{trigger_id}:{seq} was never delivered"
            elif count > 1 and seq < last:
                yield f"{trigger_id}:{seq} was published {count} times"


def _outcomes(evidence: Evidence) -> Iterator[str]:
    for trigger_id, (outcome, _) in evidence.done.items():
        promise = evidence.promises.get(trigger_id)
        if promise is None:
            continue
        may_end = promise.may_end | ({"cancelled"} if trigger_id in evidence.cancels else set())
        if outcome not in may_end:
            yield f"{trigger_id}: {outcome}, and only {sorted(may_end)} can be"


def _stops(evidence: Evidence) -> Iterator[str]:
    """Calls that stop a job: none that nobody asked for, none too often, and none left out."""
    by_job = {promise.job: promise for promise in evidence.promises.values() if promise.job}
    codes = {event.id: event.code for event in evidence.resumed if event.final}
    codes |= {event.trigger_id: event.code for event in evidence.kept if event.final}
    for job, count in evidence.stops.items():
        promise = by_job.get(job)
        if promise is None or not (promise.id in evidence.cancels or _stops_itself(promise, evidence)):
            yield f"{job}: stopped, and nobody has asked for it"
        elif count > MOST_STOPS:
            yield f"{job}: stopped {count} times"
    for job, promise in by_job.items():
        answers = evidence.cancels.get(promise.id, ())
        asked = "requested" in answers and evidence.done.get(promise.id, ("",))[0] == "cancelled"
        if asked and not evidence.stops.get(job) and codes.get(promise.id) != UNCONFIRMED:
            yield f"{job}: cancelled, and never stopped"


def _stops_itself(promise: Promise, evidence: Evidence) -> bool:
    return promise.stop_on_timeout and evidence.done.get(promise.id, ("",))[0] == "timed_out"
