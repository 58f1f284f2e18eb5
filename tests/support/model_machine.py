"""The rules of the protocol's model: what daemons, resumers, callers and operators may do, in any order."""

import contextlib
import sys
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.model import DEAD, KEYS, LEASES, QUEUE, RETENTION_MS, AnswerLostError, Event, Fate, World
from tests.support.model_daemon import Daemon, Run
from tests.support.model_resumer import Resumer
from triggerd.clock import wall_ms
from triggerd.envelope import encode_trigger
from triggerd.errors import StreamMissingError
from triggerd.streams.connection import SyncRedis
from triggerd.streams.dead_letter import NOTHING_TO_RUN, REPLAYED, DeadLetter
from triggerd.streams.trigger_queue import NewTrigger

LONG_MS = 3_600_000
ENV = encode_trigger("jobs.Wait", {}, b"")

IDS = st.integers(0, 4)
DAEMONS = st.integers(0, 2)
RESUMERS = st.integers(0, 1)
NTH = st.integers(0, 7)
FATES: st.SearchStrategy[Fate] = st.sampled_from(["heard", "heard", "heard", "lost", "late"])


def new_trigger(number: int) -> NewTrigger:
    """Each id has its own ways: the second and third want their remote work stopped, the last has no result stream."""
    return NewTrigger(
        f"t{number}", "" if number % 5 == 4 else "r", LONG_MS, ENV, "cancel" if number % 5 in (1, 2) else ""
    )


def nth(items: Any, number: int) -> Any:
    """One of `items`, whichever number was drawn; None where there is none."""
    choice = sorted(items)
    return choice[number % len(choice)] if choice else None


class Protocol(RuleBasedStateMachine):
    """The rules; `redis` and `audits` are set by whoever runs it."""

    redis: SyncRedis
    audits = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.redis)
        self.born = 0
        self.daemons = [self.new_daemon() for _ in range(3)]
        self.resumers = [self.new_resumer() for _ in range(2)]

    def new_daemon(self) -> Daemon:
        self.born += 1
        daemon = Daemon(self.world, f"d{self.born}", audits=self.audits)
        daemon.renew("heard")
        daemon.renew("heard")
        return daemon

    def new_resumer(self) -> Resumer:
        self.born += 1
        resumer = Resumer(self.world, f"r{self.born}")
        resumer.renew("heard")
        return resumer

    def everybody(self) -> list[Daemon | Resumer]:
        return [*self.daemons, *self.resumers]

    def caller(self, call: Any, fate: Fate) -> Any:
        """A call from outside. None: not heard."""
        try:
            return self.world.send(call, fate)
        except AnswerLostError:
            return None

    # -- callers

    @initialize(count=st.integers(0, 5), claimed=st.integers(0, 3))
    def begin(self, count: int, claimed: int) -> None:
        self.redis.run(QUEUE.enqueue([new_trigger(number) for number in range(count)]))
        self.claim(0, claimed, "heard", at_once=True)
        self.claim(1, claimed, "heard", at_once=True)

    @rule(number=IDS, fate=FATES, foreign=st.sampled_from([False, False, True]))
    def defer(self, number: int, fate: Fate, foreign: bool) -> None:
        """An id that may be known already; a foreign producer adds what it likes."""
        if foreign:
            self.add_without_sdk(new_trigger(number))
            return
        item, now = new_trigger(number), self.world.now
        answer = self.caller(QUEUE.enqueue([item]), fate)
        known = "in_flight" if item.id in now.records else "finished" if item.id in now.done else "new"
        assert answer in (None, [known])

    def add_without_sdk(self, item: NewTrigger) -> None:
        fields = ["id", item.id, "reply", item.reply_to, "env", ENV]
        self.world.by_hand("XADD", KEYS.triggers, "*", *fields, *(["on_timeout", "cancel"] if item.on_timeout else []))

    @precondition(lambda self: self.world.deferred)
    @rule(number=NTH, fate=FATES, longer=st.booleans())
    def cancel(self, number: int, fate: Fate, longer: bool) -> None:
        """Cancel a trigger, or give it a later deadline."""
        now = self.world.now
        name = nth(self.world.deferred, number)
        if longer:
            known = 1 if name in now.records else -1 if name in now.done else -2
            assert self.caller(QUEUE.extend(name, wall_ms() + LONG_MS), fate) in (None, known)
        else:
            owned = name in now.records and now.records[name]["entry"] in now.owners
            known = (2 if owned else 1) if name in now.records else -1 if name in now.done else -2
            assert self.caller(QUEUE.cancel(name, "ann", RETENTION_MS), fate) in (None, known)

    @precondition(lambda self: self.world.now.deadlines or self.world.now.cancels)
    @rule(number=NTH, which=st.sampled_from(["deadlines", "cancels"]), daemon=DAEMONS, fate=FATES)
    def time_passes(self, number: int, which: str, daemon: int, fate: Fate) -> None:
        """A deadline has passed, or the time that an owner has for a cancel."""
        if name := nth(self.world.now.deadlines if which == "deadlines" else self.world.now.cancels, number):
            self.world.by_hand("ZADD", KEYS.prefix + which, "XX", 1, name)
            self.daemons[daemon].sweep(fate)

    # -- daemons

    @precondition(lambda self: len(self.world.now.entries) > len(self.world.now.owners))
    @rule(daemon=DAEMONS, count=st.integers(1, 3), fate=FATES, at_once=st.booleans())
    def claim(self, daemon: int, count: int, fate: Fate, at_once: bool) -> None:
        self.daemons[daemon].claim(count, fate)
        if at_once:
            self.daemons[daemon].take()

    @precondition(lambda self: any(daemon.hand is not None for daemon in self.daemons))
    @rule(fate=FATES)
    def take(self, fate: Fate) -> None:
        next(daemon for daemon in self.daemons if daemon.hand is not None).take(fate)

    @rule(daemon=DAEMONS, verb=st.sampled_from(["renew", "audit", "audit", "adopt", "repair", "sweep"]), fate=FATES)
    def keep(self, daemon: int, verb: str, fate: Fate) -> None:
        getattr(self.daemons[daemon], verb)(fate)

    @rule(number=st.integers(0, 30), what=st.sampled_from(["final", "more", "more", "bury"]), fate=FATES)
    def publish(self, number: int, what: str, fate: Fate) -> None:
        """A run has something to tell."""
        owner, run = self.some_run(number)
        if run is not None:
            self.tell(owner, run, what, fate)

    @rule(number=st.integers(0, 30), what=st.sampled_from(["final", "more"]), fate=FATES)
    def publish_twice(self, number: int, what: str, fate: Fate) -> None:
        """The answer is lost, and the same is sent again."""
        owner, run = self.some_run(number)
        chances: tuple[Fate, Fate] = ("lost", fate)
        for chance in chances:
            if run is not None and run.entry in owner.runs:
                self.tell(owner, run, what, chance)

    @rule(number=st.integers(0, 30), what=st.sampled_from(["checkpoint", "absolve"]), fate=FATES)
    def remember(self, number: int, what: str, fate: Fate) -> None:
        owner, run = self.some_run(number)
        if run is not None:
            getattr(owner, what)(run, fate)

    def tell(self, owner: Daemon, run: Run, what: str, fate: Fate) -> None:
        if run.stopping and run.parcel is None:
            owner.stopped(run, fate)
        else:
            owner.publish(run, what, fate)

    def some_run(self, number: int) -> tuple[Daemon, Run | None]:
        """A run of any daemon; where there is none, something to run is deferred and claimed."""
        runs = [(daemon, run) for daemon in self.daemons for run in daemon.runs.values()]
        if runs:
            return runs[number % len(runs)]
        owner = self.daemons[number % 3]
        with contextlib.suppress(StreamMissingError):
            self.redis.run(QUEUE.enqueue([new_trigger(len(self.world.deferred) % 5 + 5 * self.born)]))
            owner.take()
            owner.claim(2, "heard")
            owner.take()
        self.world.observe()
        return owner, next(iter(owner.runs.values()), None)

    @precondition(lambda self: self.world.now.owners)
    @rule(number=NTH, how=st.sampled_from(["crash", "lapse"]), heir=DAEMONS, fate=FATES)
    def fall(self, number: int, how: str, heir: int, fate: Fate) -> None:
        """An owner's lease ends, and a peer adopts. One that only seemed dead goes on: it does not know yet."""
        name = self.world.now.owners[nth(self.world.now.owners, number)]
        self.world.by_hand("DEL", KEYS.consumer(name))
        for place, daemon in enumerate(self.daemons):
            if daemon.name == name and how == "crash":
                self.daemons[place] = self.new_daemon()
        self.daemons[heir].adopt(fate)

    @rule(
        daemon=DAEMONS, fate=FATES,
        how=st.sampled_from(["crash", "drain", "lapse", "quiet", "resumer crash", "resumer lapse", "scripts", "dead"]),
    )  # fmt: skip
    def trouble(self, daemon: int, how: str, fate: Fate) -> None:
        """Somebody ends, or seems to. One whose lease lapsed goes on as before: it does not know."""
        old, resumer = self.daemons[daemon], daemon % 2
        if how == "scripts":
            self.world.by_hand("SCRIPT", "FLUSH")
        elif how == "dead":
            self.end_leases_of_the_dead()
        elif how.startswith("resumer"):
            self.world.by_hand("DEL", KEYS.consumer(self.resumers[resumer].name))
            if how == "resumer crash":
                self.resumers[resumer] = self.new_resumer()
        elif how == "quiet":
            self.caller(LEASES.quiet(old.name), fate)
        elif how == "lapse":
            self.world.by_hand("DEL", KEYS.consumer(old.name))
        elif how == "crash" or old.hand is None:
            if how == "drain":
                self.caller(LEASES.drain(old.name), fate)
            self.daemons[daemon] = self.new_daemon()

    def end_leases_of_the_dead(self) -> None:
        living = {member.name for member in self.everybody()}
        names = {f"{kind}{number}" for kind in "dr" for number in range(1, self.born + 1)} - living
        if names:
            self.world.by_hand("DEL", *map(KEYS.consumer, sorted(names)))

    # -- resumers and operators

    @rule(resumer=RESUMERS, verb=st.sampled_from(["renew", "claim", "claim", "adopt", "audit"]), fate=FATES)
    def resume(self, resumer: int, verb: str, fate: Fate) -> None:
        getattr(self.resumers[resumer], verb)(fate)

    @precondition(lambda self: any(resumer.events for resumer in self.resumers))
    @rule(number=NTH, how=st.sampled_from(["ack", "release", "bury"]), fate=FATES)
    def handle(self, number: int, how: str, fate: Fate) -> None:
        resumer = next(resumer for resumer in self.resumers if resumer.events)
        resumer.handle(nth(resumer.events, number), how, fate)

    @precondition(lambda self: self.world.now.letters)
    @rule(number=NTH, verb=st.sampled_from(["replay", "replay", "drop"]), fate=FATES)
    def letters(self, number: int, verb: str, fate: Fate) -> None:
        found = {letter.letter: letter for letter in self.redis.run(DEAD.ls())}
        if not (name := nth(found, number)):
            return
        letter: DeadLetter = found[name]
        event = Event(letter.id, letter.seq, letter.outcome, letter.bytes)
        if verb == "drop":
            self.redis.run(DEAD.drop(name))
            self.world.unread.discard((event.id, event.seq))
            return
        if letter.is_event:
            self.world.may_return(name, event)
        known = REPLAYED if letter.bytes else NOTHING_TO_RUN  # its entry was deleted before it was buried
        assert self.caller(DEAD.replay(letter, LONG_MS), fate) in (None, known)

    @precondition(lambda self: self.world.late)
    @rule(number=NTH)
    def late(self, number: int) -> None:
        """A call that its sender gave up long ago is carried out. The second look of an audit is for this."""
        self.world.deliver(number)
        for member in self.everybody():
            member.doubt = True

    @precondition(lambda self: self.world.now.owners)
    @rule(kind=st.sampled_from(["consumer", "xack", "xdel", "group", "group_gone"]), number=NTH)
    def damage(self, kind: str, number: int) -> None:
        self.world.damage(kind, number)

    # -- what must be true

    @invariant()
    def always(self) -> None:
        self.world.observe()
        for daemon in self.daemons:
            daemon.check()

    def teardown(self) -> None:
        """Peace: every call arrives, everybody lives, and all that was deferred must come to its end."""
        if sys.exc_info()[0] is not None:
            return  # a step has failed already
        self.world.observe()
        while self.world.late:
            self.late(0)
            self.world.observe()
        self.redis.run(QUEUE.prepare())
        for number in range(1, self.born + 1):
            self.world.by_hand("DEL", KEYS.consumer(f"d{number}"), KEYS.consumer(f"r{number}"))
        for member in self.everybody():
            member.renew("heard")
        for daemon in self.daemons:
            daemon.finish()
        for name in self.world.entryless():
            self.world.by_hand("ZADD", KEYS.deadlines, "XX", 1, name)
            self.world.by_hand("ZADD", KEYS.prefix + "cancels", "XX", 1, name)
            self.daemons[0].sweep("heard")
            self.world.observe()
        self.world.check_end()
        for resumer in self.resumers * 2:
            resumer.finish()
        self.world.check_handled()
