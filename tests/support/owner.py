"""A consumer of the trigger queue in a few lines: it owns what it claims and publishes what the test says.

For tests of the caller's side, which must not depend on how the daemon runs triggers. It speaks to the real server
with the real verbs.
"""

from typing import Any, Self

from triggerd.clock import wall_ms
from triggerd.envelope import decode_trigger, pack_binary
from triggerd.event import EventError, Outcome, encode_event, ended_prefix
from triggerd.streams.connection import SyncRedis
from triggerd.streams.leases import Leases, consumer_name
from triggerd.streams.trigger_queue import PUBLISHED, ClaimedTrigger, Publication, TriggerQueue

_RETENTION_MS = 300_000


class Owner:
    """One consumer with a lease of a minute on each queue it claims from."""

    def __init__(self, url: str) -> None:
        self.name = consumer_name()
        self._redis = SyncRedis(url, name="owner")
        self._queues: dict[str, str] = {}

    def claim(self, queue: str = "default") -> list[ClaimedTrigger]:
        """Claim everything that waits on a queue."""
        self._redis.run(TriggerQueue(queue).prepare())
        self._redis.run(Leases(queue).renew(self.name, 60_000))
        triggers: list[ClaimedTrigger] = []
        while claimed := self._redis.run(TriggerQueue(queue).claim(self.name, 100)).triggers:
            triggers += claimed
        self._queues |= {trigger.entry: queue for trigger in triggers}
        return triggers

    def fire(self, trigger: ClaimedTrigger, payload: Any) -> None:
        """Publish the final event of a claimed trigger."""
        resume = decode_trigger(trigger.env).resume
        self._publish(trigger, "fired", encode_event(payload, resume=resume, fired_ms=wall_ms()))

    def fail(self, trigger: ClaimedTrigger, outcome: Outcome, message: str) -> None:
        """Publish a final event that says the trigger did not fire."""
        resume = pack_binary(decode_trigger(trigger.env).resume)
        self._publish(trigger, outcome, ended_prefix(EventError(outcome, message), 0) + resume)

    def _publish(self, trigger: ClaimedTrigger, outcome: Outcome, event: bytes) -> None:
        item = Publication(trigger.id, trigger.entry, trigger.seq + 1, outcome, event, final=True)
        queue = TriggerQueue(self._queues[trigger.entry])
        assert self._redis.run(queue.publish(self.name, [item], _RETENTION_MS)) == [PUBLISHED]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.close()
