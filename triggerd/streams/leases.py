"""Leases: a consumer's right to own entries. One key per consumer, however many triggers it runs.

A consumer whose lease is gone is dead to its peers: they adopt its entries. A consumer that drains says so, and they
adopt at once. Names are never reused, so a dead name stays dead.
"""

import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from triggerd.keys import BATCH, QueueKeys
from triggerd.streams.script import Call, nothing, script_call, text
from triggerd.streams.trigger_queue import ClaimedTrigger, read_triggers

AdoptStatus = Literal["ok", "done", "own_lease_lapsed", "alive"]
ADOPT_STATUS: dict[int, AdoptStatus] = {1: "ok", 0: "done", -1: "own_lease_lapsed", -2: "alive"}


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer of `renew`. After `lapsed` the consumer holds a lease again and must audit.

    `cancels` are the cancels of the whole queue that nobody has carried out yet: ``(trigger id, by whom)``.
    """

    lapsed: bool
    cancels: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class DeadConsumer:
    """A consumer that peers may adopt from."""

    name: str
    pending: int
    drained: bool


@dataclass(frozen=True, slots=True)
class Adopted:
    """The answer of `adopt`: ``ok`` with triggers (call again), ``done``: nothing was left."""

    status: AdoptStatus
    triggers: list[ClaimedTrigger]


class Leases:
    """The lease verbs of one queue's consumers, daemons and Resumers alike."""

    def __init__(self, queue: str) -> None:
        self._key = QueueKeys(queue).triggers

    def renew(self, consumer: str, lease_ms: int) -> Call[Renewal]:
        """Keep the lease for `lease_ms` more, or take it anew."""
        return script_call("renew", self._key, [consumer, lease_ms], _read_renewal)

    def drain(self, consumer: str) -> Call[None]:
        """Leave: peers adopt what is still pending at once. Sent after the last claim has returned."""
        return script_call("drain", self._key, [consumer], nothing)

    def dead(self, me: str, reply_to: str = "") -> Call[list[DeadConsumer]]:
        """The dead consumers of the trigger queue, or of the result stream `reply_to`."""
        return script_call("dead_consumers", self._key, [me, reply_to], _read_dead)

    def adopt(self, me: str, dead: str, count: int) -> Call[Adopted]:
        """Become the owner of at most `count` (up to `BATCH`) entries of a dead consumer."""
        return script_call("adopt", self._key, [me, dead, min(count, BATCH)], _read_adopted)


def _read_renewal(reply: Sequence[Any]) -> Renewal:
    return Renewal(reply[0] == 0, [(text(reply[i]), text(reply[i + 1])) for i in range(1, len(reply), 2)])


def _read_dead(reply: Sequence[Any]) -> list[DeadConsumer]:
    return [DeadConsumer(text(reply[i]), int(reply[i + 1]), reply[i + 2] == 1) for i in range(0, len(reply), 3)]


def _read_adopted(reply: Sequence[Any]) -> Adopted:
    return Adopted(ADOPT_STATUS[reply[0]], read_triggers(reply[1:]))


def consumer_name() -> str:
    """A name for one incarnation of a daemon or Resumer: ``host-pid-random``, never used again."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
