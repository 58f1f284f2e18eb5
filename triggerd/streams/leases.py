"""Leases: a consumer's right to own entries. One key per consumer, however many triggers it runs.

A consumer whose lease is gone is dead to its peers: they adopt its entries. A consumer that drains says so, and they
adopt at once. Names are never reused, so a dead name stays dead.
"""

import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from triggerd.keys import ALIVE, BATCH, DRAINED, LAPSED, QUIET, QueueKeys
from triggerd.streams.script import Call, nothing, script_call, text
from triggerd.streams.trigger_queue import ClaimedTrigger, read_triggers

AdoptStatus = Literal["ok", "done", "own_lease_lapsed", "alive"]
ADOPT_STATUS: dict[int, AdoptStatus] = {1: "ok", 0: "done", -1: "own_lease_lapsed", -2: "alive"}


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer of `renew`. After `lapsed` the consumer holds a lease again and must audit.

    Attributes:
        quiet: Somebody has asked this consumer to take nothing new.
        cancels: The cancels of the whole queue that nobody has carried out yet: ``(trigger id, by whom)``.
        stops: Ids of the queue that have timed out, whose remote work is still to be stopped.
    """

    lapsed: bool
    quiet: bool
    cancels: list[tuple[str, str]]
    stops: list[str]


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A member of a consumer group: how many entries it owns, and how it does."""

    name: str
    pending: int
    state: Literal["alive", "quiet", "drained", "dead"]

    @property
    def drained(self) -> bool:
        return self.state == DRAINED

    @property
    def adoptable(self) -> bool:
        """Whether peers may become the owner of its entries."""
        return self.state in (DRAINED, LAPSED)


@dataclass(frozen=True, slots=True)
class Adopted:
    """The answer of `adopt`: ``ok`` with triggers (call again), ``done``: nothing was left."""

    status: AdoptStatus
    triggers: list[ClaimedTrigger]


class Leases:
    """The lease verbs of one queue's consumers, daemons and Resumers alike."""

    def __init__(self, queue: str) -> None:
        self._key = QueueKeys(queue).triggers

    def renew(self, consumer: str, lease_ms: int, *, quiet: bool = False) -> Call[Renewal]:
        """Keep the lease for `lease_ms` more, or take it anew. `quiet`: let everybody see that it takes nothing new."""
        return script_call("renew", self._key, [consumer, lease_ms, QUIET if quiet else ALIVE], _read_renewal)

    def quiet(self, consumer: str) -> Call[bool]:
        """Ask a consumer to take nothing new. Answer False: no such consumer lives."""
        return script_call("quiet", self._key, [consumer], bool)

    def drain(self, consumer: str) -> Call[None]:
        """Leave: peers adopt what is still pending at once. Sent after the last claim has returned."""
        return script_call("drain", self._key, [consumer], nothing)

    def consumers(self, reply_to: str = "") -> Call[list[ConsumerInfo]]:
        """Everybody in the group of the trigger queue, or of the result stream `reply_to`."""
        return script_call("consumers", self._key, [reply_to], _read_consumers)

    def dead(self, me: str, reply_to: str = "") -> Call[list[ConsumerInfo]]:
        """Those whom `me` may adopt from."""

        def read(reply: Sequence[Any]) -> list[ConsumerInfo]:
            return [found for found in _read_consumers(reply) if found.adoptable and found.name != me]

        return script_call("consumers", self._key, [reply_to], read)

    def adopt(self, me: str, dead: str, count: int) -> Call[Adopted]:
        """Become the owner of at most `count` (up to `BATCH`) entries of a dead consumer."""
        return script_call("adopt", self._key, [me, dead, min(count, BATCH)], _read_adopted)


def _read_renewal(reply: Sequence[Any]) -> Renewal:
    held, quiet, *asked = reply
    triples = [(text(asked[i]), text(asked[i + 1]), asked[i + 2] == 1) for i in range(0, len(asked), 3)]
    return Renewal(
        lapsed=held == 0,
        quiet=quiet == 1,
        cancels=[(trigger_id, by) for trigger_id, by, stop in triples if not stop],
        stops=[trigger_id for trigger_id, _, stop in triples if stop],
    )


def _read_consumers(reply: Sequence[Any]) -> list[ConsumerInfo]:
    return [
        ConsumerInfo(text(reply[i]), int(reply[i + 1]), cast("Any", text(reply[i + 2])))
        for i in range(0, len(reply), 3)
    ]


def _read_adopted(reply: Sequence[Any]) -> Adopted:
    return Adopted(ADOPT_STATUS[reply[0]], read_triggers(reply[1:]))


def consumer_name() -> str:
    """A name for one incarnation of a daemon or Resumer: ``host-pid-random``, never used again."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
