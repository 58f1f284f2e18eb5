"""What came of many triggers: read from Redis as it stands, and held against what was promised."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.waiting import eventually_sync
from triggerd.event import decode_event
from triggerd.keys import RESUMER_GROUP, TRIGGER_GROUP, QueueKeys
from triggerd.streams.trigger_queue import read_done

Client = Any
"""A redis.Redis; its own types cannot tell bytes from text."""
_PAGE = 1000
_KEYS = QueueKeys("default")


@dataclass(frozen=True, slots=True)
class Published:
    """One event of a result stream."""

    trigger_id: str
    seq: int
    outcome: str
    final: bool
    code: str


def published(client: Client, reply_to: str = "default") -> list[Published]:
    """Every event that stands in a result stream; nobody may have acked one."""
    found: list[Published] = []
    after = "-"
    while page := client.xrange(_KEYS.events(reply_to), after, "+", _PAGE):
        for _, fields in page:
            trigger_id, seq, outcome = fields[b"id"].decode(), int(fields[b"seq"]), fields[b"outcome"].decode()
            event = decode_event(trigger_id, seq, outcome, fields[b"event"])
            code = event.error.code if event.error is not None else ""
            found.append(Published(trigger_id, seq, outcome, event.final, code))
        after = "(" + page[-1][0].decode()
    return found


def done(client: Client, ids: Collection[str]) -> dict[str, tuple[str, int]]:
    """Outcome and seq of each finished trigger, by id."""
    names = list(ids)
    found = {}
    for start in range(0, len(names), _PAGE):
        part = names[start : start + _PAGE]
        for trigger_id, value in zip(part, client.mget([_KEYS.done(name) for name in part]), strict=True):
            if finished := read_done(trigger_id, value):
                found[trigger_id] = (str(finished.outcome), finished.seq)
    return found


def leftovers(client: Client) -> dict[str, int]:
    """What should be gone once every trigger has finished, where it is not."""
    prefix = _KEYS.prefix.encode()
    kinds = (_KEYS.record("").encode(), _KEYS.stopping("").encode())
    records = sum(key.startswith(kinds) for key in client.scan_iter(prefix + b"*", 1000))
    entries = client.xlen(_KEYS.triggers)
    counts = {
        "entries": entries,
        # Where nobody has ever served the queue there is no group; nor is there where somebody deleted the stream.
        "pending": client.xpending(_KEYS.triggers, TRIGGER_GROUP)["pending"] if entries else 0,
        "records": records,
        "deadlines": client.zcard(_KEYS.deadlines),
        "cancels": client.zcard(_KEYS.prefix + "cancels"),
    }
    return {what: count for what, count in counts.items() if count}


def unacked(client: Client, reply_to: str = "default") -> int:
    """Events of a result stream that no Resumer has acked."""
    return int(client.xlen(_KEYS.events(reply_to)))


def pending_events(client: Client, reply_to: str = "default") -> int:
    """Events that a Resumer holds."""
    return int(client.xpending(_KEYS.events(reply_to), RESUMER_GROUP)["pending"])


def complaints(ids: Collection[str], events: Iterable[Published], ended: Mapping[str, tuple[str, int]]) -> list[str]:
    """Every way in which these triggers did not reach exactly one final event each, a sentence each."""
    by_id: dict[str, list[Published]] = defaultdict(list)
    for event in events:
        by_id[event.trigger_id].append(event)
    wrong = [f"{trigger_id}: an event of a trigger that nobody deferred" for trigger_id in by_id.keys() - set(ids)]
    for trigger_id in ids:
        own = by_id[trigger_id]
        final = [event for event in own if event.final]
        if len(final) != 1:
            wrong.append(f"{trigger_id}: {len(final)} final events: {final}")
        elif ended.get(trigger_id) != (final[0].outcome, final[0].seq):
            wrong.append(f"{trigger_id}: {final[0]}, and Redis keeps {ended.get(trigger_id)}")
        elif sorted(event.seq for event in own) != list(range(1, final[0].seq + 1)):
            wrong.append(f"{trigger_id}: events {sorted(event.seq for event in own)}")
    return wrong


def assert_all_ended_once(client: Client, ids: Collection[str], deadline_s: float = 60.0) -> Counter[str]:
    """Wait until nothing is in flight; none lost, none ended twice, nothing left. Answers the outcomes."""
    eventually_sync(lambda: not leftovers(client), deadline_s, f"everything at its end; now {leftovers(client)}")
    events = published(client)
    wrong = complaints(ids, events, done(client, ids))
    assert not wrong, f"{len(wrong)} of {len(ids)}: {wrong[:5]}"
    return Counter(event.outcome for event in events if event.final)
