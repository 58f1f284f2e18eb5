"""What a fleet relies on beyond claim and publish: repair, replay, quiet, time-outs that stop work, a full server."""

from collections.abc import Iterator

import pytest

from tests.support.waiting import eventually_sync
from triggerd.embedded import EmbeddedServer
from triggerd.envelope import MAX_ENVELOPE_BYTES, encode_trigger
from triggerd.errors import RedisRefusedError
from triggerd.event import Continuation, decode_event, encode_event
from triggerd.keys import QueueKeys
from triggerd.streams.connection import SyncRedis
from triggerd.streams.dead_letter import NO_SUCH_LETTER, NOTHING_TO_RUN, REPLAYED, Burial, DeadLetters, replay_id
from triggerd.streams.leases import Leases
from triggerd.streams.result_stream import ResultStream
from triggerd.streams.script import Call
from triggerd.streams.trigger_queue import (
    FINISHED_BY_ANOTHER,
    NOT_OWNER,
    PUBLISHED,
    PUBLISHED_BEFORE,
    Checkpoint,
    ClaimedTrigger,
    Ended,
    NewTrigger,
    Publication,
    Repaired,
    TriggerQueue,
)

QUEUE, LEASES, DEAD, RESULTS = TriggerQueue("q"), Leases("q"), DeadLetters("q"), ResultStream("q", "r")
KEYS = QueueKeys("q")
RESUME = Continuation("go_on", {"n": 1}).encode()
ENV = encode_trigger("jobs.Wait", {"cluster": "dwh"}, RESUME)
EVENT = encode_event({"status": "success"}, resume=RESUME)
RETENTION_MS, LEASE_MS, LONG_MS = 300_000, 30_000, 3_600_000


@pytest.fixture
def redis(server: EmbeddedServer) -> Iterator[SyncRedis]:
    connection = SyncRedis(server.url, name="test")
    connection.run(QUEUE.prepare())
    connection.run(RESULTS.prepare())
    yield connection
    connection.close()


@pytest.fixture
def full(redis: SyncRedis) -> Iterator[SyncRedis]:
    """A server without a byte to spare from `CONFIG SET maxmemory 1` on; the test sets that itself."""
    yield redis
    by_hand(redis, "CONFIG", "SET", "maxmemory", "0")


def by_hand(redis: SyncRedis, *parts: object) -> object:
    return redis.run(Call("by_hand", parts, lambda reply: reply))


def defer(redis: SyncRedis, *ids: str, on_timeout: str = "") -> list[str]:
    return redis.run(QUEUE.enqueue([NewTrigger(name, "r", LONG_MS, ENV, on_timeout) for name in ids]))


def claim(redis: SyncRedis, consumer: str = "a", count: int = 100) -> list[ClaimedTrigger]:
    redis.run(LEASES.renew(consumer, LEASE_MS))
    return redis.run(QUEUE.claim(consumer, count)).triggers


def adopt(redis: SyncRedis, me: str, dead: str) -> list[ClaimedTrigger]:
    """The lease of `dead` ends, and `me` adopts."""
    by_hand(redis, "DEL", KEYS.consumer(dead))
    redis.run(LEASES.renew(me, LEASE_MS))
    return redis.run(LEASES.adopt(me, dead, 100)).triggers


def publish(redis: SyncRedis, consumer: str, trigger: ClaimedTrigger, seq: int = 1, *, final: bool = True) -> int | str:
    item = Publication(trigger.id, trigger.entry, seq, "fired", EVENT, final)
    return redis.run(QUEUE.publish(consumer, [item], RETENTION_MS))[0]


def bury(redis: SyncRedis, consumer: str, trigger: ClaimedTrigger, seq: int = 1) -> int | str:
    burial = Burial(trigger.id, trigger.entry, seq, "code", "why", EVENT)
    return redis.run(DEAD.bury(consumer, [burial], RETENTION_MS))[0]


def time_out(redis: SyncRedis, name: str) -> list[Ended]:
    by_hand(redis, "ZADD", KEYS.deadlines, "XX", 1, name)
    return redis.run(QUEUE.expire("sweeper", RETENTION_MS))


def outcomes(redis: SyncRedis) -> list[tuple[str, str]]:
    reply = redis.run(Call("events", ("XRANGE", KEYS.events("r"), "-", "+"), lambda reply: reply))
    return [(fields[b"id"].decode(), fields[b"outcome"].decode()) for _, fields in reply]


def assert_nothing_is_left(redis: SyncRedis) -> None:
    depth = redis.run(QUEUE.depth())
    assert (depth.waiting, depth.pending) == (0, 0)
    for pattern in ("trigger:*", "stopping:*", "deadlines", "cancels"):
        assert by_hand(redis, "KEYS", KEYS.prefix + pattern) == []


# -- repair


def test_repair_takes_what_nobody_owns_page_by_page_and_nothing_else(redis: SyncRedis) -> None:
    defer(redis, "lost0", "lost1", "acked", "owned", "waiting")
    claim(redis, "gone", 2)
    [acked, owned] = claim(redis, "a", 2)
    by_hand(redis, "XGROUP", "DELCONSUMER", KEYS.triggers, "triggerd", "gone")
    by_hand(redis, "XACK", KEYS.triggers, "triggerd", acked.entry)
    redis.run(LEASES.renew("b", LEASE_MS))
    pages: list[Repaired] = [redis.run(QUEUE.repair("b", "", 2))]
    while pages[-1].last_entry:
        pages.append(redis.run(QUEUE.repair("b", pages[-1].last_entry, 2)))
    assert [[trigger.id for trigger in page.triggers] for page in pages] == [["lost0", "lost1"], ["acked"], []]
    assert publish(redis, "b", pages[0].triggers[0]) == PUBLISHED
    assert publish(redis, "a", owned) == PUBLISHED
    assert publish(redis, "a", acked) == NOT_OWNER
    assert [trigger.id for trigger in claim(redis, "a")] == ["waiting"]


def test_repair_removes_the_litter_of_a_retirement_that_was_cut_short(redis: SyncRedis) -> None:
    defer(redis, "t1")
    [trigger] = claim(redis)
    publish(redis, "a", trigger)
    by_hand(redis, "XADD", KEYS.triggers, trigger.entry.replace("-", "9-"), "id", "t1", "reply", "r", "env", ENV)
    by_hand(redis, "XGROUP", "SETID", KEYS.triggers, "triggerd", "$")
    assert redis.run(QUEUE.repair("a")).triggers == []
    assert_nothing_is_left(redis)


def test_who_has_no_lease_repairs_nothing(redis: SyncRedis) -> None:
    assert not redis.run(QUEUE.repair("a")).lease_held


# -- dead letters


def test_a_letter_is_replayed_once_under_a_new_id_and_goes_on_with_its_callers_continuation(redis: SyncRedis) -> None:
    defer(redis, "t1")
    [trigger] = claim(redis)
    bury(redis, "a", trigger)
    [letter] = redis.run(DEAD.ls())
    assert redis.run(DEAD.get(letter.letter)) == letter
    assert redis.run(DEAD.replay(letter, LONG_MS)) == REPLAYED
    assert redis.run(DEAD.replay(letter, LONG_MS)) in (0, NO_SUCH_LETTER)
    [again] = claim(redis)
    assert (again.id, again.env, again.reply_to) == (replay_id(letter), ENV, "r")
    assert publish(redis, "a", again) == PUBLISHED
    done = redis.run(QUEUE.done(again.id))
    assert done is not None
    assert decode_event(done.id, done.seq, done.outcome, done.event).resume == RESUME
    assert outcomes(redis) == [("t1", "failed"), (again.id, "fired")]
    assert redis.run(DEAD.get(letter.letter)) is None


def test_a_letter_of_an_event_goes_back_to_its_result_stream_as_it_was(redis: SyncRedis) -> None:
    defer(redis, "t1")
    [trigger] = claim(redis)
    publish(redis, "a", trigger)
    [event] = redis.run(RESULTS.claim("a", 1)).events
    assert redis.run(RESULTS.bury("a", event.entry, "code", "why"))
    [letter] = redis.run(DEAD.ls())
    assert (letter.is_event, letter.outcome, letter.seq, letter.bytes) == (True, "fired", 1, EVENT)
    assert redis.run(DEAD.replay(letter)) == REPLAYED
    [back] = redis.run(RESULTS.claim("a", 1)).events
    assert (back.trigger_id, back.seq, back.outcome, back.event) == ("t1", 1, "fired", EVENT)
    assert redis.run(DEAD.replay(letter)) == NO_SUCH_LETTER


def test_a_dropped_letter_is_gone_and_one_without_an_envelope_is_not_run(redis: SyncRedis) -> None:
    by_hand(redis, "XADD", KEYS.triggers, "*", "foo", "bar")
    assert claim(redis) == []
    [letter] = redis.run(DEAD.ls())
    assert redis.run(DEAD.replay(letter)) == NOTHING_TO_RUN
    assert redis.run(DEAD.drop(letter.letter))
    assert not redis.run(DEAD.drop(letter.letter))
    assert redis.run(DEAD.replay(letter)) == NO_SUCH_LETTER


# -- leases


def test_a_wish_to_be_quiet_is_heard_with_the_renewal_and_outlives_a_lapsed_lease(redis: SyncRedis) -> None:
    assert not redis.run(LEASES.quiet("a"))
    assert not redis.run(LEASES.renew("a", LEASE_MS)).quiet
    assert redis.run(LEASES.quiet("a"))
    assert redis.run(LEASES.renew("a", LEASE_MS)).quiet
    by_hand(redis, "DEL", KEYS.consumer("a"))
    renewal = redis.run(LEASES.renew("a", LEASE_MS, quiet=True))
    assert (renewal.lapsed, renewal.quiet) == (True, True)
    assert redis.run(LEASES.renew("a", LEASE_MS)).quiet, "everybody sees it, not this daemon alone"
    redis.run(LEASES.drain("a"))
    assert not redis.run(LEASES.quiet("a"))


def test_consumers_says_who_lives_and_how_much_each_owns(redis: SyncRedis) -> None:
    defer(redis, *(f"t{number}" for number in range(8)))
    for count, name in enumerate(("alive", "quiet", "drained", "dead"), 1):
        claim(redis, name, count)
    redis.run(LEASES.quiet("quiet"))
    redis.run(LEASES.drain("drained"))
    by_hand(redis, "DEL", KEYS.consumer("dead"))
    found = {info.name: (info.pending, info.state, info.adoptable) for info in redis.run(LEASES.consumers())}
    assert found == {
        "alive": (1, "alive", False), "quiet": (2, "quiet", False), "drained": (3, "drained", True),
        "dead": (2, "dead", True),
    }  # fmt: skip


def test_only_the_owner_absolves_checkpoints_and_says_that_work_was_stopped(redis: SyncRedis) -> None:
    defer(redis, "t1", on_timeout="cancel")
    claim(redis, "zombie")
    [trigger] = adopt(redis, "a", "zombie")
    assert trigger.adoptions == 1
    item = Checkpoint("t1", trigger.entry, b"7")
    assert not redis.run(QUEUE.absolve("zombie", "t1", trigger.entry))
    assert redis.run(QUEUE.checkpoint("zombie", [item])) == [NOT_OWNER]
    assert redis.run(QUEUE.absolve("a", "t1", trigger.entry))
    assert redis.run(QUEUE.checkpoint("a", [item])) == [1]
    [again] = adopt(redis, "b", "a")
    assert (again.adoptions, again.quarantined, again.checkpoint) == (1, 1, b"7")
    time_out(redis, "t1")
    assert not redis.run(QUEUE.stopped("a", "t1", trigger.entry))
    assert redis.run(QUEUE.stopped("b", "t1", trigger.entry))
    assert_nothing_is_left(redis)


def test_what_another_owner_has_published_meanwhile_is_not_taken_for_ones_own(redis: SyncRedis) -> None:
    defer(redis, "t1")
    [mine] = claim(redis, "a")
    [theirs] = adopt(redis, "b", "a")
    assert publish(redis, "b", theirs, final=False) == PUBLISHED
    [back] = adopt(redis, "a", "b")
    assert publish(redis, "a", mine, final=False) == NOT_OWNER, "the run from before knows nothing of that event"
    assert publish(redis, "a", mine) == NOT_OWNER
    assert bury(redis, "a", mine) == NOT_OWNER
    assert publish(redis, "a", back, back.seq + 1, final=False) == PUBLISHED
    assert publish(redis, "a", back, back.seq + 1, final=False) == PUBLISHED_BEFORE
    assert publish(redis, "a", back, back.seq + 2) == PUBLISHED
    assert outcomes(redis) == [("t1", "fired")] * 3


def test_an_event_that_comes_after_its_own_daemons_sweep_with_the_same_outcome_is_refused(redis: SyncRedis) -> None:
    defer(redis, "t1")
    [trigger] = claim(redis)
    redis.run(QUEUE.cancel("t1", "ann", RETENTION_MS))
    by_hand(redis, "ZADD", KEYS.prefix + "cancels", "XX", 1, "t1")
    assert redis.run(QUEUE.expire("a", RETENTION_MS)) == [Ended("t1", "cancelled", stopping=False)]
    item = Publication("t1", trigger.entry, 1, "cancelled", EVENT, final=True)
    assert redis.run(QUEUE.publish("a", [item], RETENTION_MS)) == [FINISHED_BY_ANOTHER]
    assert outcomes(redis) == [("t1", "cancelled")]


def test_of_an_envelope_far_too_large_an_owner_is_handed_no_more_than_it_takes_to_refuse_it(redis: SyncRedis) -> None:
    by_hand(redis, "XADD", KEYS.triggers, "*", "id", "t1", "reply", "", "env", b"x" * 1_000_000)
    [trigger] = claim(redis)
    assert len(trigger.env) == MAX_ENVELOPE_BYTES + 1
    bury(redis, "a", trigger)
    [letter] = redis.run(DEAD.ls())
    assert len(letter.bytes) == 1_000_000


# -- a time-out that stops the remote work


def test_a_time_out_tells_the_caller_at_once_and_its_owner_until_the_work_is_stopped(redis: SyncRedis) -> None:
    defer(redis, "t1", on_timeout="cancel")
    [trigger] = claim(redis)
    assert time_out(redis, "t1") == [Ended("t1", "timed_out", stopping=True)]
    assert outcomes(redis) == [("t1", "timed_out")]
    done = redis.run(QUEUE.done("t1"))
    assert done is not None
    assert done.outcome == "timed_out"
    by_hand(redis, "ZADD", KEYS.prefix + "cancels", "XX", 1, "t1")
    assert redis.run(QUEUE.expire("sweeper", RETENTION_MS)) == [], "a sweep does not end what has ended"
    for _ in range(2):
        renewal = redis.run(LEASES.renew("a", LEASE_MS))
        assert (renewal.stops, renewal.cancels) == (["t1"], [])
    assert publish(redis, "a", trigger) == FINISHED_BY_ANOTHER
    assert redis.run(QUEUE.load("a", [trigger.entry]))[0].stopping
    assert redis.run(QUEUE.stopped("a", "t1", trigger.entry))
    assert not redis.run(QUEUE.stopped("a", "t1", trigger.entry))
    assert redis.run(LEASES.renew("a", LEASE_MS)).stops == []
    assert_nothing_is_left(redis)


def test_work_to_stop_is_adopted_from_a_dead_owner_and_its_adoptions_leave_no_stray_record(redis: SyncRedis) -> None:
    defer(redis, "t1", on_timeout="cancel")
    claim(redis, "a")
    time_out(redis, "t1")
    [adopted] = adopt(redis, "b", "a")
    [again] = adopt(redis, "c", "b")
    assert [(trigger.stopping, trigger.adoptions) for trigger in (adopted, again)] == [(True, 1), (True, 2)]
    assert by_hand(redis, "EXISTS", KEYS.record("t1")) == 0
    assert redis.run(QUEUE.stopped("c", "t1", again.entry))
    assert_nothing_is_left(redis)


def test_a_time_out_between_a_quarantine_and_its_absolution_takes_nothing_from_the_owner(redis: SyncRedis) -> None:
    defer(redis, "t1", on_timeout="cancel")
    claim(redis, "a")
    time_out(redis, "t1")
    [adopted] = adopt(redis, "b", "a")
    assert not redis.run(QUEUE.absolve("a", "t1", adopted.entry))
    assert redis.run(QUEUE.absolve("b", "t1", adopted.entry))
    [loaded] = redis.run(QUEUE.load("b", [adopted.entry]))
    assert (loaded.stopping, loaded.adoptions, loaded.quarantined) == (True, 0, 1)
    assert redis.run(QUEUE.stopped("b", "t1", adopted.entry))
    assert_nothing_is_left(redis)


def test_work_that_was_never_claimed_is_claimed_to_be_stopped(redis: SyncRedis) -> None:
    defer(redis, "t1", on_timeout="cancel")
    time_out(redis, "t1")
    [trigger] = claim(redis)
    assert trigger.stopping
    assert redis.run(QUEUE.stopped("a", "t1", trigger.entry))
    assert_nothing_is_left(redis)


def test_an_id_whose_work_is_being_stopped_is_finished_even_when_its_result_has_expired(redis: SyncRedis) -> None:
    defer(redis, "t1", on_timeout="cancel")
    [trigger] = claim(redis)
    time_out(redis, "t1")
    for _ in range(2):
        assert defer(redis, "t1") == ["finished"]
        assert redis.run(QUEUE.cancel("t1", "ann", RETENTION_MS)) == -1
        assert redis.run(QUEUE.extend("t1", 1)) == -1
        by_hand(redis, "DEL", KEYS.done("t1"))
    assert redis.run(QUEUE.stopped("a", "t1", trigger.entry))
    assert defer(redis, "t1") == ["new"]


def test_work_to_stop_whose_entry_was_deleted_by_hand_is_forgotten_by_the_sweep(redis: SyncRedis) -> None:
    defer(redis, "t1", on_timeout="cancel")
    [trigger] = claim(redis)
    time_out(redis, "t1")
    by_hand(redis, "XDEL", KEYS.triggers, trigger.entry)
    by_hand(redis, "ZADD", KEYS.prefix + "cancels", "XX", 1, "t1")
    redis.run(QUEUE.expire("sweeper", RETENTION_MS))
    assert_nothing_is_left(redis)


# -- a full server


def test_a_full_server_lets_everything_go_on_that_ends_or_moves_a_trigger(full: SyncRedis) -> None:
    defer(full, "move", "fire", "ask", "expire", "bury", "stop", on_timeout="cancel")
    triggers = {trigger.id: trigger for trigger in claim(full, "a", 6)}
    defer(full, "unclaimed", "free")
    by_hand(full, "ZADD", KEYS.deadlines, "XX", 1, "stop", 2, "expire")
    by_hand(full, "CONFIG", "SET", "maxmemory", "1")
    eventually_sync(lambda: "OOM" in defer(full, "t9")[0])
    assert not full.run(LEASES.renew("a", LEASE_MS)).lapsed
    assert full.run(QUEUE.cancel("ask", "ann", RETENTION_MS)) == 2
    assert publish(full, "a", triggers["fire"]) == PUBLISHED
    assert bury(full, "a", triggers["bury"]) == PUBLISHED
    ended = full.run(QUEUE.expire("sweeper", RETENTION_MS))
    assert ended == [Ended(name, "timed_out", stopping=True) for name in ("stop", "expire")]
    assert full.run(QUEUE.stopped("a", "stop", triggers["stop"].entry))
    by_hand(full, "DEL", KEYS.consumer("a"))
    assert full.run(LEASES.renew("a", LEASE_MS)).lapsed, "a lapsed lease, too"
    assert full.run(LEASES.renew("b", LEASE_MS)).lapsed
    by_hand(full, "DEL", KEYS.consumer("a"))
    assert {trigger.id for trigger in full.run(LEASES.adopt("b", "a", 100)).triggers} == {"move", "ask", "expire"}
    assert full.run(QUEUE.cancel("free", "ann", RETENTION_MS)) == 1
    assert [trigger.id for trigger in full.run(QUEUE.claim("b", 10)).triggers] == ["unclaimed"]
    by_hand(full, "XACK", KEYS.triggers, "triggerd", triggers["move"].entry)
    assert [trigger.id for trigger in full.run(QUEUE.repair("b")).triggers] == ["move"]
    full.run(LEASES.renew("r", LEASE_MS))
    events = full.run(RESULTS.claim("r", 100)).events
    full.run(RESULTS.ack([event.entry for event in events]))
    assert outcomes(full) == []


def test_a_full_server_goes_on_with_the_sweep_behind_work_that_is_still_to_be_stopped(full: SyncRedis) -> None:
    defer(full, "t1", on_timeout="cancel")
    defer(full, "t2")
    claim(full)
    time_out(full, "t1")
    full.run(QUEUE.cancel("t2", "ann", RETENTION_MS))
    by_hand(full, "ZADD", KEYS.cancels, "XX", 1, "t1", 2, "t2")
    by_hand(full, "CONFIG", "SET", "maxmemory", "1")
    eventually_sync(lambda: "OOM" in defer(full, "t9")[0])
    assert full.run(QUEUE.expire("sweeper", RETENTION_MS)) == [Ended("t2", "cancelled", stopping=False)]


def test_a_full_server_lets_go_of_a_dead_consumer_that_owns_nothing(full: SyncRedis) -> None:
    defer(full, "t1")
    [trigger] = claim(full, "a")
    full.run(LEASES.renew("b", LEASE_MS))
    assert publish(full, "a", trigger) == PUBLISHED
    by_hand(full, "DEL", KEYS.consumer("a"))
    by_hand(full, "CONFIG", "SET", "maxmemory", "1")
    eventually_sync(lambda: "OOM" in defer(full, "t9")[0])
    assert full.run(LEASES.adopt("b", "a", 10)).status == "done"


def test_a_full_server_refuses_what_would_only_fill_it_further_and_says_so(full: SyncRedis) -> None:
    defer(full, "t1")
    [trigger] = claim(full)
    by_hand(full, "CONFIG", "SET", "maxmemory", "1")
    for answer in (
        defer(full, "t2")[0],
        publish(full, "a", trigger, final=False),
        full.run(QUEUE.checkpoint("a", [Checkpoint("t1", trigger.entry, b"7")]))[0],
    ):
        assert isinstance(answer, str)
        assert "OOM" in answer
    bury(full, "a", trigger)
    [letter] = full.run(DEAD.ls())
    with pytest.raises(RedisRefusedError, match="maxmemory"):
        full.run(DEAD.replay(letter))
