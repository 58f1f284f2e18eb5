"""A virtual daemon of the protocol's model: the daemon's rules (claim, audit, release, adopt) and nothing else.

It holds at most one answer in its hand: the real daemon claims, adopts, audits and repairs in one task. Until the
answer is taken the world goes on, so what is taken may be stale.
"""

import itertools
from dataclasses import dataclass, field
from typing import TypeVar

from tests.support.model import DEAD, LEASE_MS, LEASES, QUEUE, RETENTION_MS, AnswerLostError, Event, Fate, World
from triggerd.errors import StreamMissingError
from triggerd.event import Outcome
from triggerd.streams.dead_letter import Burial
from triggerd.streams.script import Call
from triggerd.streams.trigger_queue import NOT_OWNER, Checkpoint, ClaimedTrigger, Publication

T = TypeVar("T")


@dataclass
class Run:
    """A trigger that a daemon runs. `parcel` is what it has to tell and what Redis has not answered for yet."""

    id: str
    entry: str
    seq: int
    stopping: bool
    cancelled: bool
    parcel: Publication | Burial | None = None


@dataclass
class _Audit:
    """The audit's first half: what is ours by Redis, and what ran when it was asked."""

    ours: list[str]
    ran: list[Run]


@dataclass
class Daemon:
    """One incarnation of a daemon.

    Attributes:
        doubt: It has to audit.
        held: Renewals in a row that found the lease held; without any it adopts from nobody who has not drained.
        audits: False makes it a daemon that heeds no doubt: the model must find that.
    """

    world: World
    name: str
    audits: bool = True
    doubt: bool = True
    held: int = 0
    quiet: bool = False
    away: bool = False
    repair_after: str = ""
    hand: list[ClaimedTrigger] | _Audit | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    told: int = 0

    def renew(self, fate: Fate) -> None:
        try:
            renewal = self.world.send(LEASES.renew(self.name, LEASE_MS, quiet=self.quiet), fate)
        except AnswerLostError:
            self.away = True
            return
        self.held = 0 if renewal.lapsed else self.held + 1
        self.doubt |= renewal.lapsed or self.away
        self.away = False
        self.quiet |= renewal.quiet
        cancels = {trigger_id for trigger_id, _ in renewal.cancels}
        for run in self.runs.values():
            if run.parcel is None:
                run.cancelled |= run.id in cancels
                run.stopping |= run.id in renewal.stops

    def claim(self, count: int, fate: Fate) -> None:
        if self.hand is None and not self.quiet and (claimed := self._ask(QUEUE.claim(self.name, count), fate)):
            self.doubt |= not claimed.lease_held
            self.hand = claimed.triggers

    def adopt(self, fate: Fate) -> None:
        """Adopt a few entries of everybody who may be adopted from."""
        for dead in self._ask(LEASES.dead(self.name), "heard") or []:
            if self.hand is None and not self.quiet and (dead.drained or self.held):
                adopted = self._ask(LEASES.adopt(self.name, dead.name, 2), fate)
                if adopted is not None:
                    self.doubt |= adopted.status == "own_lease_lapsed"
                    self.hand = adopted.triggers or None

    def repair(self, fate: Fate) -> None:
        if self.hand is None and not self.quiet:
            page = self._ask(QUEUE.repair(self.name, self.repair_after, 2), fate)
            if page is not None and page.lease_held:
                self.repair_after, self.hand = page.last_entry, page.triggers

    def audit(self, fate: Fate) -> None:
        """Ask what is ours; `take` does the rest."""
        if self.hand is not None or not self.audits:
            return
        ran, ours, page = list(self.runs.values()), list[str](), [""]
        self.doubt = False
        while page:
            found = self._ask(QUEUE.pending(self.name, page[-1], 2), fate)
            if found is None:
                return
            page = found
            ours += page
        self.hand = _Audit(ours, ran)

    def take(self, fate: Fate = "heard") -> None:
        """Start running what the answer in hand brought, or lose it."""
        hand, self.hand = self.hand, None
        if isinstance(hand, _Audit):
            unknown = [entry for entry in hand.ours if entry not in self.runs]
            if (loaded := self._ask(QUEUE.load(self.name, unknown), fate)) is not None:
                self._start(loaded)
                for run in hand.ran:
                    if run.entry not in hand.ours and run.parcel is None:
                        self._forget(run)
        elif fate == "heard":
            self._start(hand or [])
        else:
            self.doubt = True

    def publish(self, run: Run, kind: str, fate: Fate) -> None:
        """Tell what a run has to say; what was not answered for yet is sent again as it was."""
        item = run.parcel or self._parcel(run, kind)
        run.parcel = item
        call = (
            DEAD.bury(self.name, [item], RETENTION_MS)
            if isinstance(item, Burial)
            else QUEUE.publish(self.name, [item], RETENTION_MS)
        )
        answers = self._ask(call, fate)
        if answers is not None and isinstance(answers[0], int):
            self._settled(run, item, accepted=answers[0] >= 0)
        elif answers is not None:
            assert "NOGROUP" in str(answers[0])
            self._group_missing()

    def checkpoint(self, run: Run, fate: Fate) -> None:
        item = Checkpoint(run.id, run.entry, self._body("checkpoint"))
        if not run.stopping and self._ask(QUEUE.checkpoint(self.name, [item]), fate) == [NOT_OWNER]:
            self.doubt = True
            if run.parcel is None:
                self._forget(run)

    def absolve(self, run: Run, fate: Fate) -> None:
        self._ask(QUEUE.absolve(self.name, run.id, run.entry), fate)

    def stopped(self, run: Run, fate: Fate) -> None:
        """The remote work of a run that has timed out is stopped."""
        call = QUEUE.stopped(self.name, run.id, run.entry)
        if run.stopping and run.parcel is None and self._ask(call, fate) is not None:
            self._forget(run)

    def sweep(self, fate: Fate) -> None:
        for ended in self._ask(QUEUE.expire(self.name, RETENTION_MS, 2), fate) or []:
            for run in [run for run in self.runs.values() if run.id == ended.id and run.parcel is None]:
                run.stopping = ended.stopping
                if not ended.stopping:
                    self._forget(run)

    def _ask(self, call: Call[T], fate: Fate) -> T | None:
        """Send a call. None: the answer is lost, and there is doubt."""
        try:
            return self.world.send(call, fate)
        except AnswerLostError:
            self.doubt = True
        except StreamMissingError:
            self._group_missing()
        return None

    def _group_missing(self) -> None:
        self.doubt = True
        self.world.redis.run(QUEUE.prepare())

    def _start(self, triggers: list[ClaimedTrigger]) -> None:
        for trigger in triggers:
            if trigger.entry not in self.runs:
                cancelled = trigger.cancel is not None
                self.runs[trigger.entry] = Run(trigger.id, trigger.entry, trigger.seq, trigger.stopping, cancelled)

    def _parcel(self, run: Run, kind: str) -> Publication | Burial:
        if kind == "bury" and not run.cancelled:
            return Burial(run.id, run.entry, run.seq + 1, "code", "why", self._body("final"))
        outcome: Outcome = "cancelled" if run.cancelled else "fired"
        final = run.cancelled or kind == "final"
        return Publication(run.id, run.entry, run.seq + 1, outcome, self._body("final" if final else "more"), final)

    def _body(self, word: str) -> bytes:
        self.told += 1
        return f"{word} {self.name} {self.told}".encode()

    def _settled(self, run: Run, item: Publication | Burial, *, accepted: bool) -> None:
        run.parcel = None
        self.doubt |= not accepted
        if accepted:
            self._check_told(item)
            run.seq = item.seq
        if not accepted or isinstance(item, Burial) or item.final:
            self._forget(run)

    def _check_told(self, item: Publication | Burial) -> None:
        """What Redis says is published, that and nothing else was told to the caller."""
        self.world.observe()
        if self.world.now.records.get(item.id, {}).get("reply") == "":
            return  # an event that is not the last, and no result stream: it is told to nobody
        outcome = item.outcome if isinstance(item, Publication) else "failed"
        told = self.world.events.get((item.id, item.seq)) or self.world.finals.get(item.id)
        assert told == Event(item.id, item.seq, outcome, item.event), f"{item} was accepted, told was {told}"

    def _forget(self, run: Run) -> None:
        if self.runs.get(run.entry) is run:
            del self.runs[run.entry]

    def check(self) -> None:
        """A live owner without doubt owns nothing that it does not run."""
        if not self.doubt and self.hand is None:
            mine = {entry for entry, owner in self.world.now.owners.items() if owner == self.name}
            strays = mine - self.runs.keys()
            assert not strays, f"{self.name} owns {strays} and does not run them"

    def finish(self) -> None:
        """Bring everything to its end that this daemon can reach."""
        self.take()
        self.doubt = True
        for rounds in itertools.count():
            assert rounds < 20, "there is no end"
            self.renew("heard")
            self.quiet = False
            if self.doubt:
                self.audit("heard")
                self.take()
            more = self._gather()
            self.world.observe()
            for run in list(self.runs.values()):
                if run.stopping and run.parcel is None:
                    self.stopped(run, "heard")
                else:
                    self.publish(run, "final", "heard")
            if not (more or self.runs or (self.doubt and self.audits)):
                break
        self.world.observe()

    def _gather(self) -> bool:
        """Claim, repair and adopt once. True: there may be more."""
        self.claim(100, "heard")
        more = bool(self.hand)
        self.take()
        self.repair("heard")
        more |= bool(self.hand) or bool(self.repair_after)
        self.take()
        self.adopt("heard")
        more |= bool(self.hand)
        self.take()
        return more
