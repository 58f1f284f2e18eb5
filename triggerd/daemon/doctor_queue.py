"""What the doctor finds out about one queue: its keys, the verbs, who serves it, what lies about."""

from collections.abc import AsyncIterator

from triggerd.clock import wall_ms
from triggerd.daemon.finding import Asker, Finding
from triggerd.keys import BATCH, RELEASED, QueueKeys
from triggerd.streams.leases import Leases
from triggerd.streams.probe import PROBE, Probe
from triggerd.streams.server import delete, inspect, key_type, length, memory_bytes, scan
from triggerd.streams.trigger_queue import TriggerQueue

COMMANDS = (
    "client|setname del eval evalsha exists get hdel hexists hget hincrby hmget hset hsetnx persist pexpire publish "
    "rename select set subscribe time unsubscribe xack xadd xclaim xdel xgroup xinfo xlen xpending xrange xread "
    "xreadgroup xrevrange zadd zrange zrangebyscore zrem zscore"
)
"""What an ACL must allow a daemon, a producer and a Resumer together; a test holds it against real servers."""

_LONG_STREAM = 10_000
_BYTES_PER_ENTRY = 2_048
_SOME_ENTRIES = 1_000
_SAMPLE_PAGES = 10
_SCAN_PAGES, _SCAN_KEYS = 50, 200
_LEFT_BEHIND_MS = 3_600_000


class QueueCheck:
    """Looks at one queue. Every look is bounded, however much is in flight."""

    def __init__(self, asker: Asker, queue: str) -> None:
        self._asker, self._queue, self._keys = asker, queue, QueueKeys(queue)
        self._about = f"queue {queue}"
        self._there = False

    async def findings(self) -> AsyncIterator[Finding]:
        """All about it. What is wrong with the keys or forbidden to us would only repeat itself in the rest."""
        wrong = [finding async for finding in self._key_types()]
        for finding in wrong:
            yield finding
        well = not wrong
        async for finding in self._verbs():
            well &= finding.level != "refuse"
            yield finding
        if well:
            replies = {"default"}
            for part in (self._depth(), self._consumers(), self._sample(replies), self._results(replies)):
                async for finding in part:
                    yield finding

    async def _key_types(self) -> AsyncIterator[Finding]:
        keys = self._keys
        wanted = {keys.triggers: "stream", keys.dead: "stream", keys.deadlines: "zset", keys.cancels: "zset"}
        for key, kind in wanted.items():
            found = await self._asker.ask(key_type(key))
            self._there |= key == keys.triggers and found == kind
            if found not in (None, "none", kind):
                advice = f"a {kind} is expected: somebody else uses this key; rename it, or name another queue"
                yield Finding("refuse", self._about, f"the key {key} is a {found}", advice)

    async def _verbs(self) -> AsyncIterator[Finding]:
        result = await Probe(self._asker.redis, self._queue).run()
        if result.oddities:  # something may have come between: a pause, a clock that stepped, FLUSHALL
            result = await Probe(self._asker.redis, self._queue).run()
        commands = COMMANDS.replace(" ", " +")
        rights = f"allow this user: ~{self._keys.prefix}* &{self._keys.prefix}* +{commands}"
        for verb, why in result.refusals.items():
            yield Finding("refuse", self._about, f"the verb {verb} is refused: {why}", rights)
        if result.refusals:
            return
        if result.stopped:
            yield Finding("warn", self._about, f"the verbs could not be tried: {result.stopped}", "mend that first")
            return
        for verb, what in result.oddities.items():
            advice = f"a right is missing inside of a script, or this is no Redis and no Valkey; {rights}"
            yield Finding("refuse", self._about, f"the verb {verb} {what}", advice)
        if result.unheard:  # no reason to stay away: all that a hint says is also said by every renewal of a lease
            advice = "cancels and `quiet` take a third of a lease: is the server busy, or does a proxy drop pub/sub?"
            yield Finding("warn", self._about, "its hints do not arrive", advice)
        if not result.oddities:
            yield Finding("ok", self._about, "every verb works")

    async def _depth(self) -> AsyncIterator[Finding]:
        depth = await self._asker.ask(TriggerQueue(self._queue).depth())
        if depth is None:
            return
        yield Finding("ok", self._about, f"{depth.waiting:,} wait, {depth.pending:,} run")
        if depth.dead:
            advice = f"`triggerd dead ls --queue {self._queue}` says why; replay or drop them"
            yield Finding("warn", self._about, f"{depth.dead:,} dead letters", advice)
        entries = depth.waiting + depth.pending
        if entries < _SOME_ENTRIES:
            return
        taken_bytes = await self._asker.ask(memory_bytes(self._keys.triggers))
        if taken_bytes and taken_bytes / entries > _BYTES_PER_ENTRY:
            advice = (
                "large envelopes, or long waits among short ones: put those into a queue of their own, or set "
                "`stream-node-max-bytes 1024`"
            )
            yield Finding("warn", self._about, f"{taken_bytes / entries:,.0f} bytes per entry of its stream", advice)

    async def _consumers(self) -> AsyncIterator[Finding]:
        found = await self._asker.ask(Leases(self._queue).consumers()) or [] if self._there else []
        dead = [info for info in found if info.state == "dead" and info.pending]
        living = sum(not info.adoptable for info in found)
        if dead:
            names = ", ".join(info.name for info in dead[:3]) + (", ..." if len(dead) > 3 else "")
            advice = "daemons adopt them once their own lease is as old as a lease is long; start one"
            left = sum(info.pending for info in dead)
            yield Finding("warn", self._about, f"{left:,} triggers of dead consumers ({names})", advice)
        yield Finding("ok", self._about, f"{living} daemons serve it" if living != 1 else "1 daemon serves it")

    async def _sample(self, replies: set[str]) -> AsyncIterator[Finding]:
        """The oldest of what is in flight: there damage gathers, as what is well goes away."""
        after, seen, orphans, deadlines, litter = "", 0, 0, 0, 0
        for _ in range(_SAMPLE_PAGES):
            page = await self._asker.ask(inspect(self._queue, after))
            if page is None:
                return
            replies.update(page.replies)
            seen, orphans = seen + page.entries, orphans + page.orphans
            deadlines, litter = deadlines + page.deadlines, litter + page.without_record
            after = page.next_after
            if not after:
                break
        if orphans:
            shown = f"{orphans:,} of the {seen:,} oldest entries were handed out and belong to nobody"
            advice = "somebody has acked them or deleted their consumer by hand; a daemon takes them within ten minutes"
            yield Finding("warn", self._about, shown, advice)
        if litter:
            shown = f"{litter:,} of the {deadlines:,} earliest deadlines are of no trigger"
            advice = "somebody has deleted records by hand; the deadlines go when they pass"
            yield Finding("warn", self._about, shown, advice)

    async def _results(self, replies: set[str]) -> AsyncIterator[Finding]:
        events, left_behind = self._keys.prefix + "events:", []
        async for key in self._scan():
            if key.startswith(events):
                replies.add(key.removeprefix(events))
            elif self._is_left_behind(key):
                left_behind.append(key)
        for start in range(0, len(left_behind), BATCH):
            await self._asker.ask(delete(left_behind[start : start + BATCH]))
        for reply_to in sorted(replies):
            async for finding in self._result_stream(reply_to):
                yield finding

    async def _result_stream(self, reply_to: str) -> AsyncIterator[Finding]:
        key = self._keys.prefix + "events:" + reply_to  # also a name that `events` would refuse
        about = f"result stream {reply_to}"
        kind = await self._asker.ask(key_type(key))
        if kind in (None, "none"):
            return
        if kind != "stream":
            advice = "a stream is expected: no trigger that replies to it can end"
            yield Finding("warn", about, f"the key {key} is a {kind}", advice)
            return
        events = await self._asker.ask(length(key)) or 0
        consumers = await self._asker.ask(Leases(self._queue).consumers(reply_to)) or []
        living = sum(not info.adoptable and info.name != RELEASED for info in consumers)
        if events and not living:
            yield Finding("warn", about, f"{events:,} events, and no Resumer", "start one, or delete the stream")
        elif events > _LONG_STREAM:
            yield Finding("warn", about, f"{events:,} events", "its Resumers do not keep up: start more of them")
        elif events or living:
            yield Finding("ok", about, f"{events:,} events, {living} Resumers")

    async def _scan(self) -> AsyncIterator[str]:
        """The queue's result streams and what probes have left, as far as a bounded search finds them."""
        cursor = 0
        for _ in range(_SCAN_PAGES):
            page = await self._asker.ask(scan(self._keys.prefix + "[ep]*", cursor, _SCAN_KEYS))
            if page is None:
                return
            for key in page.keys:
                yield key
            cursor = page.cursor
            if cursor == 0:
                return

    def _is_left_behind(self, key: str) -> bool:
        """Whether a probe that was cut off made it, long ago."""
        began_ms = key.removeprefix(self._keys.prefix + PROBE).partition("-")[0]
        return began_ms.isdigit() and int(began_ms) < wall_ms() - _LEFT_BEHIND_MS
