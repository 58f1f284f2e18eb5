"""The probe: every verb once, on keys of its own beside the queue's, so that a missing right costs no trigger.

Its keys begin like the queue's own (one hash tag, one pattern in an ACL) and are deleted when it is over. Its control
channel is its own too, so no daemon hears of it.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from redis.exceptions import OutOfMemoryError, ReadOnlyError

from triggerd.clock import monotonic_s, wall_ms
from triggerd.envelope import encode_trigger
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.keys import RELEASED, QueueKeys
from triggerd.streams.connection import AsyncRedis
from triggerd.streams.dead_letter import REPLAYED, Burial, DeadLetters, replay_id
from triggerd.streams.leases import Leases
from triggerd.streams.result_stream import ResultStream
from triggerd.streams.script import Call
from triggerd.streams.server import delete
from triggerd.streams.trigger_queue import Checkpoint, ClaimedTrigger, NewTrigger, Publication, TriggerQueue

T = TypeVar("T")

PROBE = "probe-"
"""The first part of its keys after the queue's prefix; then the epoch ms at which it began, and a random part."""
_ME, _PEER, _REPLY = "probe-me", "probe-peer", "probe"
_LIVES_MS = 60_000
_RETENTION_MS = 300_000
_HEARD_WITHIN_S = 2.0
_SAY_AGAIN_S = 0.005
_REFUSED_WITHIN_S = 0.2
# What a server says that cannot write just now; it is no matter of rights.
_PASSING = ("OOM", "READONLY", "MISCONF", "NOREPLICAS", "BUSY")
_ANSWERS_WITH_TEXTS = {"enqueue", "publish", "bury", "checkpoint"}
_ENQUEUED = {"new", "in_flight", "finished"}


@dataclass(slots=True)
class ProbeResult:
    """What came of it.

    Attributes:
        refusals: Verb -> Redis's error, where it refused.
        oddities: Verb -> what it did instead of what it promises; a consequence, where there are refusals.
        unheard: What was said on the control channel did not arrive.
        stopped: Why the probe could not go on: the server takes no writes now. "" where it was carried out.
    """

    refusals: dict[str, str] = field(default_factory=dict)
    oddities: dict[str, str] = field(default_factory=dict)
    unheard: bool = False
    stopped: str = ""


class _StoppedError(Exception):
    """The server takes no writes just now."""


class Probe:
    """Tries the verbs of one queue. Run it once."""

    def __init__(self, redis: AsyncRedis, queue: str) -> None:
        self._redis = redis
        self._keys = QueueKeys(queue)
        self._own = f"{self._keys.prefix}{PROBE}{wall_ms()}-{secrets.token_hex(4)}:"
        self._queue, self._leases = TriggerQueue(queue), Leases(queue)
        self._dead, self._results = DeadLetters(queue), ResultStream(queue, _REPLY)
        self._ids = ["of the peer", "fires", "is cancelled", "is buried", "times out", "stays queued"]
        self._result = ProbeResult()

    async def run(self) -> ProbeResult:
        """Try everything.

        Raises:
            RedisUnavailableError: Redis went away; some keys of the probe may be left behind.
        """
        try:
            await self._triggers()
            await self._dead_letters()
            await self._events()
            await self._hint()
        except _StoppedError as stopped:
            self._result.stopped = str(stopped)
        finally:
            with contextlib.suppress(RedisUnavailableError, _StoppedError):
                await self._try(delete(self._all_keys()))
        return self._result

    async def _triggers(self) -> None:
        """The verbs of the trigger queue and its leases, as two daemons send them."""
        await self._try(self._queue.prepare())
        env = encode_trigger("triggerd.probe", {})
        new = [NewTrigger(id_, _REPLY, _LIVES_MS, env, "cancel" if id_ == "times out" else "") for id_ in self._ids]
        await self._expect(self._queue.enqueue(new[:-1]), ["new"] * 5)
        for name in (_PEER, _ME):
            await self._try(self._leases.renew(name, _LIVES_MS))
        peers = await self._claim(_PEER, 1)
        mine = await self._claim(_ME, 4)
        await self._expect(self._queue.enqueue(new[-1:]), ["new"])
        entries = [trigger.entry for trigger in (*mine, *peers)] or ["0-1"]
        for call in (
            self._queue.pending(_ME), self._queue.load(_ME, entries[:1]), self._queue.show("fires"),
            self._queue.done("fires"), self._queue.depth(), self._leases.consumers(), self._queue.repair(_ME),
            self._queue.wait_for_new("0-0", 1),
        ):  # fmt: skip
            await self._try(call)
        for trigger in mine:
            await self._end(trigger)
        await self._expect(self._queue.cancel("stays queued", _ME, _RETENTION_MS), 1)
        await self._try(self._leases.drain(_PEER))
        adopted = await self._try(self._leases.adopt(_ME, _PEER, 10))
        if adopted is not None and not adopted.triggers:
            self._result.oddities["adopt"] = "gave nothing"
        await self._try(self._leases.adopt(_ME, _PEER, 10))

    async def _claim(self, consumer: str, count: int) -> list[ClaimedTrigger]:
        claimed = await self._try(self._queue.claim(consumer, count))
        if claimed is None:
            return []
        if len(claimed.triggers) != count:
            self._result.oddities["claim"] = f"gave {len(claimed.triggers)} of {count} triggers"
        return claimed.triggers

    async def _end(self, trigger: ClaimedTrigger) -> None:
        """End a claimed trigger in the way that its id says."""
        match trigger.id:
            case "fires":
                kept = Checkpoint(trigger.id, trigger.entry, b"x")
                await self._expect(self._queue.checkpoint(_ME, [kept]), [1])
                await self._expect(self._queue.absolve(_ME, trigger.id, trigger.entry), wanted=True)
                for seq in (1, 2):
                    event = Publication(trigger.id, trigger.entry, seq, "fired", b"x", final=seq == 2)
                    await self._expect(self._queue.publish(_ME, [event], _RETENTION_MS), [1])
            case "is cancelled":
                await self._expect(self._queue.cancel(trigger.id, _ME, _RETENTION_MS), 2)
            case "is buried":
                burial = Burial(trigger.id, trigger.entry, 1, "probe", "", b"x")
                await self._expect(self._dead.bury(_ME, [burial], _RETENTION_MS), [1])
            case "times out":
                await self._expect(self._queue.extend(trigger.id, 1), 1)
                ended = await self._try(self._queue.expire(_ME, _RETENTION_MS))
                if ended is not None and [item.stopping for item in ended] != [True]:
                    self._result.oddities["expire"] = f"ended {len(ended)} of 1 triggers"
                await self._try(self._leases.renew(_ME, _LIVES_MS))
                await self._expect(self._queue.stopped(_ME, trigger.id, trigger.entry), wanted=True)

    async def _dead_letters(self) -> None:
        for letter in await self._try(self._dead.ls()) or []:
            if letter.code != "probe":  # a claim that failed inside of its script
                self._result.refusals.setdefault("claim", letter.why)
            await self._try(self._dead.get(letter.letter))
            if letter.code == "probe":
                self._ids.append(replay_id(letter))
                await self._expect(self._dead.replay(letter), REPLAYED)
            await self._try(self._dead.drop(letter.letter))

    async def _events(self) -> None:
        """The verbs of a result stream."""
        await self._try(self._results.prepare())
        claimed = await self._try(self._results.claim(_ME, 10))
        events = claimed.events if claimed is not None else []
        if len(events) < 3:
            self._result.oddities["claim_events"] = f"gave {len(events)} events"
            return
        first, second, *rest = (event.entry for event in events)
        await self._expect(self._results.begin(_ME, first), 1)
        await self._try(self._results.release(_ME, [first]))
        await self._try(self._results.adopt(_ME, RELEASED, 10))
        await self._expect(self._results.bury(_ME, second, "probe", ""), wanted=True)
        await self._try(self._results.ack([first, *rest]))

    async def _hint(self) -> None:
        """Hear on the control channel what the verb `quiet` says there."""
        async with self._hearing() as heard:
            end_s, said = monotonic_s() + _HEARD_WITHIN_S, True
            while said and not heard.done() and monotonic_s() < end_s:
                said = await self._try(self._leases.quiet(_ME)) is not None
                await asyncio.wait([heard], timeout=_SAY_AGAIN_S if said else _REFUSED_WITHIN_S)
            if heard.done() and isinstance(error := heard.exception(), RedisRefusedError):
                self._refused("subscribe", str(error).removeprefix("subscribe: "))
            self._result.unheard = said and not heard.done()

    @contextlib.asynccontextmanager
    async def _hearing(self) -> AsyncIterator[asyncio.Task[bytes]]:
        async with contextlib.aclosing(self._redis.hints(self._moved(self._keys.control))) as hints:
            heard = asyncio.create_task(anext(hints), name="probe's hint")
            try:
                yield heard
            finally:
                await _end(heard)

    async def _expect(self, call: Call[Any], wanted: Any) -> None:
        answer = await self._try(call)
        if answer is not None and answer != wanted:
            self._result.oddities.setdefault(call.verb, f"answered {answer!r}, not {wanted!r}")

    async def _try(self, call: Call[T]) -> T | None:
        """The answer of a call on the probe's keys; None where Redis refused it."""
        try:
            answer = await self._redis.run(replace(call, command=tuple(map(self._moved, call.command))))
        except RedisRefusedError as error:
            if isinstance(error.__cause__, (OutOfMemoryError, ReadOnlyError)):  # redis-py has cut their code off
                raise _StoppedError(str(error)) from error
            self._refused(call.verb, str(error).removeprefix(f"{call.verb}: "))
            return None
        if call.verb in _ANSWERS_WITH_TEXTS and isinstance(answer, list):
            for text in answer:
                if isinstance(text, str) and text not in _ENQUEUED:
                    self._refused(call.verb, text)
                    return None
        return answer

    def _refused(self, verb: str, why: str) -> None:
        if why.startswith(_PASSING):
            raise _StoppedError(why)
        self._result.refusals.setdefault(verb, why)

    def _moved(self, part: Any) -> Any:
        """A key of the queue as the probe's own; anything else as it is."""
        if isinstance(part, str) and part.startswith(self._keys.prefix) and not part.startswith(self._own):
            return self._own + part.removeprefix(self._keys.prefix)
        return part

    def _all_keys(self) -> list[str]:
        keys = self._keys
        named = [keys.triggers, keys.deadlines, keys.cancels, keys.dead, keys.events(_REPLY)]
        named += [keys.consumer(name) for name in (_ME, _PEER)]
        return [*named, *(key(id_) for id_ in self._ids for key in (keys.record, keys.done, keys.stopping))]


async def _end(heard: asyncio.Task[bytes]) -> None:
    """Cancel it until it has ended, also where this task is cancelled meanwhile: a generator at work cannot be closed.

    Once is not enough: redis-py loses a cancellation that meets a write on Python 3.11.
    """
    interrupted: asyncio.CancelledError | None = None
    while not heard.done():
        heard.cancel()
        try:
            await asyncio.wait([heard], timeout=0.1)
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
