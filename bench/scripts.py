"""How long each verb holds the server, with 100,000 triggers pending: `python -m bench.scripts`.

The time is the CPU time of the server for one call (`INFO cpu` before and after, whose own 0.05 ms are in it): a
neighbour that takes the processor away, the socket and Python are not in it. Every verb runs at its full batch. The
exit status is 1 where a median is over `LIMIT_MS`.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.support.servers import redis_binaries
from triggerd.embedded import EmbeddedServer
from triggerd.envelope import encode_trigger
from triggerd.event import Continuation, encode_event
from triggerd.keys import BATCH, TRIGGER_GROUP, QueueKeys
from triggerd.streams.connection import SyncRedis
from triggerd.streams.dead_letter import Burial, DeadLetters
from triggerd.streams.leases import Leases
from triggerd.streams.result_stream import DeliveredEvent, ResultStream
from triggerd.streams.script import Call
from triggerd.streams.trigger_queue import Checkpoint, ClaimedTrigger, NewTrigger, Publication, TriggerQueue

T = TypeVar("T")

LIMIT_MS = 5.0
OWNERS = 10
CANCELS = 1_000
LONG_MS = RETENTION_MS = 3_600_000
KEYS, QUEUE, LEASES = QueueKeys("bench"), TriggerQueue("bench"), Leases("bench")
DEAD, RESULTS = DeadLetters("bench"), ResultStream("bench", "r")
RESUME = Continuation("execute_complete", {"cluster": "dwh", "region": "eu-central-1"}).encode()
WAIT = {"waiter_name": "cluster_resumed", "waiter_args": {"ClusterIdentifier": "dwh-0123456789"}, "delay": 30}
ENV = encode_trigger("triggerd.triggers.aws.AwsWaiterTrigger", WAIT, RESUME)
EVENT = encode_event({"status": "success", "value": "dwh-0123456789"}, resume=RESUME)


class Bench:
    """One server, filled, and the times of every verb on it in ms."""

    def __init__(self, redis: SyncRedis) -> None:
        self._redis = redis
        self._made = 0
        self.times_ms: dict[tuple[str, int], list[float]] = defaultdict(list)

    def fill(self, pending: int) -> None:
        """`pending` triggers in flight, owned by several consumers."""
        self._redis.run(QUEUE.prepare())
        self._redis.run(RESULTS.prepare())
        for start in range(0, pending, BATCH):
            self._claimed(f"owner{start // BATCH % OWNERS}")

    def renewals(self, rounds: int) -> None:
        """`renew` as it is when the most cancels that it tells of are outstanding."""
        for number in range(CANCELS):
            self._redis.run(QUEUE.cancel(_name(number), "ann", RETENTION_MS))
        for _ in range(rounds):
            self._timed("renew, with cancels", CANCELS, LEASES.renew("owner0", LONG_MS))
        self._by_hand("DEL", KEYS.prefix + "cancels")

    def round(self, number: int) -> None:
        """Every verb once, at its full batch."""
        first = self._life(f"a{number}", f"b{number}")
        self._resumed(f"r{number}")
        self._dead_letters(f"b{number}")
        self._repaired(f"b{number}", first)
        self._timed_out(f"b{number}")
        self._single(f"b{number}")

    def _life(self, owner: str, heir: str) -> str:
        """Defer, claim, adopt, publish. Answers the last entry."""
        self._timed("enqueue", BATCH, QUEUE.enqueue(self._new()))
        self._redis.run(LEASES.renew(owner, LONG_MS))
        triggers = self._timed("claim", BATCH, QUEUE.claim(owner, BATCH)).triggers
        values = [Checkpoint(trigger.id, trigger.entry, b"x" * 60) for trigger in triggers]
        self._timed("checkpoint", BATCH, QUEUE.checkpoint(owner, values))
        self._timed("publish, not final", BATCH, QUEUE.publish(owner, _events(triggers, 1, final=False), RETENTION_MS))
        self._timed("load", BATCH, QUEUE.load(owner, [trigger.entry for trigger in triggers]))
        self._timed("pending", 1000, QUEUE.pending("owner0"))
        self._redis.run(LEASES.renew(heir, LONG_MS))
        self._by_hand("DEL", KEYS.consumer(owner))
        triggers = self._timed("adopt", BATCH, LEASES.adopt(heir, owner, BATCH)).triggers
        self._redis.run(LEASES.adopt(heir, owner, BATCH))
        self._timed("publish, final", BATCH, QUEUE.publish(heir, _events(triggers, 2, final=True), RETENTION_MS))
        return triggers[-1].entry

    def _resumed(self, resumer: str) -> None:
        """The two events of each trigger, one batch after the other."""
        self._redis.run(LEASES.renew(resumer, LONG_MS))
        events = self._timed("claim_events", BATCH, RESULTS.claim(resumer, BATCH)).events
        self._timed("release_events", BATCH, RESULTS.release(resumer, _entries(events)))
        events = self._timed("adopt_events", BATCH, RESULTS.adopt(resumer, "released", BATCH)).events
        self._timed("begin_event", 1, RESULTS.begin(resumer, events[0].entry))
        self._timed("bury_event", 1, RESULTS.bury(resumer, events[0].entry, "code", "why"))
        self._timed("ack", BATCH, RESULTS.ack(_entries(events)))
        self._redis.run(RESULTS.ack(_entries(self._redis.run(RESULTS.claim(resumer, BATCH)).events)))

    def _dead_letters(self, owner: str) -> None:
        triggers = self._claimed(owner)
        burials = [Burial(trigger.id, trigger.entry, 1, "code", "why", EVENT) for trigger in triggers]
        self._timed("bury", BATCH, DEAD.bury(owner, burials, RETENTION_MS))
        letters = self._timed("dead ls", BATCH, DEAD.ls(BATCH))
        self._timed("replay", 1, DEAD.replay(letters[0]))
        self._timed("drop", 1, DEAD.drop(letters[1].letter))
        self._by_hand("DEL", KEYS.dead)
        self._redis.run(QUEUE.claim(owner, BATCH))

    def _repaired(self, owner: str, after: str) -> None:
        self._timed("repair, nothing lost", BATCH, QUEUE.repair(owner))
        entries = [trigger.entry for trigger in self._claimed(owner)]
        self._by_hand("XACK", KEYS.triggers, TRIGGER_GROUP, *entries)
        found = self._timed("repair, all lost", BATCH, QUEUE.repair(owner, self._before(entries[0], after))).triggers
        assert len(found) == BATCH

    def _timed_out(self, owner: str) -> None:
        self._pass_deadlines(self._claimed(owner))
        self._timed("expire", BATCH, QUEUE.expire("sweeper", RETENTION_MS))
        triggers = self._claimed(owner, on_timeout="cancel")
        self._pass_deadlines(triggers)
        self._timed("expire, work to stop", BATCH, QUEUE.expire("sweeper", RETENTION_MS))
        for trigger in triggers:
            self._timed("stopped", 1, QUEUE.stopped(owner, trigger.id, trigger.entry))

    def _single(self, owner: str) -> None:
        trigger = self._claimed(owner)[0]
        self._timed("prepare", 1, QUEUE.prepare())
        self._timed("renew", 1, LEASES.renew(owner, LONG_MS))
        self._timed("cancel", 1, QUEUE.cancel(trigger.id, "ann", RETENTION_MS))
        self._timed("extend", 1, QUEUE.extend(trigger.id, trigger.deadline_ms))
        self._timed("absolve", 1, QUEUE.absolve(owner, trigger.id, trigger.entry))
        self._timed("show", 1, QUEUE.show(trigger.id))
        self._timed("depth", 1, QUEUE.depth())
        self._timed("consumers", 1, LEASES.consumers())
        self._timed("quiet", 1, LEASES.quiet(owner))
        self._timed("drain", 1, LEASES.drain(owner))
        self._by_hand("DEL", KEYS.prefix + "cancels")

    def _new(self, on_timeout: str = "") -> list[NewTrigger]:
        self._made += BATCH
        return [
            NewTrigger(_name(number), "r", LONG_MS, ENV, on_timeout) for number in range(self._made - BATCH, self._made)
        ]

    def _claimed(self, owner: str, on_timeout: str = "") -> list[ClaimedTrigger]:
        self._redis.run(QUEUE.enqueue(self._new(on_timeout)))
        self._redis.run(LEASES.renew(owner, LONG_MS))
        return self._redis.run(QUEUE.claim(owner, BATCH)).triggers

    def _before(self, entry: str, at_least: str) -> str:
        """The last entry before `entry`, or what came before them both."""
        command = ("XREVRANGE", KEYS.triggers, f"({entry}", f"({at_least}", "COUNT", 1)
        found: list[Any] = self._redis.run(Call("before", command, list))
        return found[0][0].decode() if found else at_least

    def _pass_deadlines(self, triggers: list[ClaimedTrigger]) -> None:
        self._by_hand("ZADD", KEYS.deadlines, *(part for trigger in triggers for part in (1, trigger.id)))

    def _by_hand(self, *command: object) -> None:
        self._redis.run(Call("by_hand", command, bool))

    def _timed(self, verb: str, batch: int, call: Call[T]) -> T:
        """Carry a call out, and keep how long the server was at it."""
        before_ms = self._used_cpu_ms()
        answer = self._redis.run(call)
        self.times_ms[verb, batch].append(self._used_cpu_ms() - before_ms)
        return answer

    def _used_cpu_ms(self) -> float:
        used: dict[str, float] = self._redis.run(Call("info", ("INFO", "cpu"), dict))
        return 1000 * (used["used_cpu_user"] + used["used_cpu_sys"])


def _name(number: int) -> str:
    return f"{number:032d}"


def _events(triggers: list[ClaimedTrigger], seq: int, *, final: bool) -> list[Publication]:
    return [Publication(trigger.id, trigger.entry, seq, "fired", EVENT, final) for trigger in triggers]


def _entries(events: list[DeliveredEvent]) -> list[str]:
    return [event.entry for event in events]


def measure(binary: Path, pending: int, rounds: int) -> list[dict[str, Any]]:
    """One row per verb: its batch, and median, 99th percentile and worst in ms."""
    with EmbeddedServer(binary=binary) as server:
        redis = SyncRedis(server.url, name="bench", command_timeout_ms=60_000)
        bench = Bench(redis)
        bench.fill(pending)
        bench.renewals(rounds)
        for number in range(rounds):
            bench.round(number)
        redis.close()
    return [
        {
            "verb": verb,
            "batch": batch,
            "median_ms": statistics.median(times_ms),
            "p99_ms": sorted(times_ms)[int(len(times_ms) * 0.99)],
            "worst_ms": max(times_ms),
        }
        for (verb, batch), times_ms in bench.times_ms.items()
    ]


def table(flavour: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """The rows for people, the slowest first."""
    yield f"{flavour:<22} {'batch':>5} {'median':>8} {'p99':>8} {'worst':>8}   ms of the server"
    for row in sorted(rows, key=lambda row: -row["median_ms"]):
        figures = " ".join(f"{row[name]:8.2f}" for name in ("median_ms", "p99_ms", "worst_ms"))
        yield f"{row['verb']:<22} {row['batch']:>5} {figures}"


def main() -> int:
    """Measure, print, and say whether a verb holds the server for too long."""
    parser = argparse.ArgumentParser(prog="python -m bench.scripts", description=__doc__)
    parser.add_argument("--pending", type=int, default=100_000, help="triggers in flight")
    parser.add_argument("--rounds", type=int, default=50, help="times that every verb runs")
    parser.add_argument("--binary", type=Path, help="this server only, not every flavour that is found")
    parser.add_argument("--json", action="store_true", help="only the line of JSON")
    told = parser.parse_args()
    binaries = {told.binary.name: told.binary} if told.binary else redis_binaries()
    found = {}
    for flavour, binary in binaries.items():
        found[flavour] = measure(binary, told.pending, told.rounds)
        if not told.json:
            print(*table(flavour, found[flavour]), "", sep="\n")
    slow = {flavour: [row["verb"] for row in rows if row["median_ms"] > LIMIT_MS] for flavour, rows in found.items()}
    print(json.dumps({"bench": "scripts", "pending": told.pending, "rounds": told.rounds, "servers": found}))
    for flavour, verbs in slow.items():
        if verbs:
            print(f"{flavour}: over {LIMIT_MS:g} ms: {', '.join(verbs)}", file=sys.stderr)
    return int(any(slow.values()))


if __name__ == "__main__":
    sys.exit(main())
