"""The verbs of the trigger queue on every flavour of server: who owns, who may publish, what is never lost."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.waiting import eventually, eventually_sync
from triggerd.embedded import EmbeddedServer
from triggerd.envelope import encode_trigger
from triggerd.errors import RedisRefusedError, RedisUnavailableError, StreamMissingError
from triggerd.event import Continuation, decode_event, encode_event
from triggerd.keys import QueueKeys
from triggerd.streams.connection import AsyncRedis, SyncRedis
from triggerd.streams.dead_letter import Burial, DeadLetters
from triggerd.streams.leases import Leases
from triggerd.streams.script import Call
from triggerd.streams.trigger_queue import (
    FINISHED_BY_ANOTHER,
    NOT_OWNER,
    PUBLISHED,
    PUBLISHED_BEFORE,
    UNKNOWN,
    Checkpoint,
    ClaimedTrigger,
    NewTrigger,
    Publication,
    TriggerFinished,
    TriggerInFlight,
    TriggerQueue,
)

QUEUE, LEASES, DEAD = TriggerQueue("q"), Leases("q"), DeadLetters("q")
KEYS = QueueKeys("q")
RESUME = Continuation("go_on", {"n": 1}).encode()
ENV = encode_trigger("jobs.Wait", {"cluster": "dwh"}, RESUME)
EVENT = encode_event({"status": "success"}, resume=RESUME)
RETENTION_MS = 300_000
LEASE_MS = 30_000


@pytest.fixture
def redis(server: EmbeddedServer) -> Iterator[SyncRedis]:
    connection = SyncRedis(server.url, name="test")
    connection.run(QUEUE.prepare())
    yield connection
    connection.close()


def command(redis: SyncRedis, *parts: object) -> object:
    """A plain command, for what a foreign producer or an operator does."""
    return redis.run(Call("test", parts, lambda reply: reply))


def enqueue(redis: SyncRedis, *ids: str, timeout_ms: int = 60_000, reply_to: str = "r") -> list[str]:
    return redis.run(QUEUE.enqueue([NewTrigger(name, reply_to, timeout_ms, ENV) for name in ids]))


def claim(redis: SyncRedis, consumer: str = "a", count: int = 100) -> list[ClaimedTrigger]:
    redis.run(LEASES.renew(consumer, LEASE_MS))
    claimed = redis.run(QUEUE.claim(consumer, count))
    assert claimed.lease_held
    return claimed.triggers


def publish(
    redis: SyncRedis, trigger: ClaimedTrigger, consumer: str = "a", seq: int = 1, *, final: bool = True
) -> int | str:
    item = Publication(trigger.id, trigger.entry, seq, "fired", EVENT, final)
    return redis.run(QUEUE.publish(consumer, [item], RETENTION_MS))[0]


def events(redis: SyncRedis) -> list[tuple[str, str]]:
    """(trigger id, outcome) of everything on the result stream."""
    reply = redis.run(Call("events", ("XRANGE", KEYS.events("r"), "-", "+"), lambda reply: reply))
    return [(fields[b"id"].decode(), fields[b"outcome"].decode()) for _, fields in reply]


def finished(redis: SyncRedis, name: str) -> TriggerFinished:
    found = redis.run(QUEUE.show(name))
    assert isinstance(found, TriggerFinished)
    return found


def in_flight(redis: SyncRedis, name: str) -> TriggerInFlight:
    found = redis.run(QUEUE.show(name))
    assert isinstance(found, TriggerInFlight)
    return found


def assert_nothing_is_left(redis: SyncRedis) -> None:
    depth = redis.run(QUEUE.depth())
    assert (depth.waiting, depth.pending) == (0, 0)
    assert command(redis, "ZCARD", KEYS.deadlines) == 0
    assert command(redis, "KEYS", KEYS.record("*")) == []


def test_deferring_the_same_id_twice_is_one_deferral(redis: SyncRedis) -> None:
    assert enqueue(redis, "t1", "t2", "t1") == ["new", "new", "in_flight"]
    [first, _] = claim(redis)
    publish(redis, first)
    assert enqueue(redis, "t1", "t2") == ["finished", "in_flight"]
    assert claim(redis) == []


def test_a_claimed_trigger_comes_with_all_its_owner_must_know(redis: SyncRedis) -> None:
    enqueue(redis, "t1", timeout_ms=60_000)
    [trigger] = claim(redis)
    assert (trigger.id, trigger.env, trigger.reply_to, trigger.seq, trigger.cancel) == ("t1", ENV, "r", 0, None)
    assert trigger.deadline_ms - trigger.deferred_ms == 60_000
    assert in_flight(redis, "t1").owner == "a"


def test_without_a_lease_nothing_is_claimed(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    assert not redis.run(QUEUE.claim("a", 10)).lease_held
    assert in_flight(redis, "t1").owner == ""


def test_an_event_published_twice_is_one_event(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    assert publish(redis, trigger) == PUBLISHED
    assert publish(redis, trigger) == PUBLISHED_BEFORE
    assert events(redis) == [("t1", "fired")]
    done = finished(redis, "t1")
    assert (done.outcome, done.seq, done.by, done.event) == ("fired", 1, "a", EVENT)
    assert_nothing_is_left(redis)


def test_a_former_owner_cannot_publish(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [mine] = claim(redis, "zombie")
    command(redis, "DEL", KEYS.consumer("zombie"))
    redis.run(LEASES.renew("heir", LEASE_MS))
    [adopted] = redis.run(LEASES.adopt("heir", "zombie", 10)).triggers
    assert adopted.adoptions == 1
    assert publish(redis, mine, "zombie") == NOT_OWNER
    assert publish(redis, adopted, "heir") == PUBLISHED
    assert publish(redis, mine, "zombie") == FINISHED_BY_ANOTHER
    assert events(redis) == [("t1", "fired")]


def test_a_trigger_nobody_knows_any_more_is_not_published(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    command(redis, "DEL", KEYS.record("t1"))
    assert publish(redis, trigger) == UNKNOWN


def test_events_of_a_multi_event_trigger_keep_it_in_flight_until_the_last(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    assert publish(redis, trigger, seq=1, final=False) == PUBLISHED
    assert publish(redis, trigger, seq=1, final=False) == PUBLISHED_BEFORE
    assert publish(redis, trigger, seq=2, final=True) == PUBLISHED
    assert events(redis) == [("t1", "fired"), ("t1", "fired")]
    assert finished(redis, "t1").seq == 2


def test_without_a_result_stream_the_event_is_kept_in_the_record_only(redis: SyncRedis) -> None:
    enqueue(redis, "t1", reply_to="")
    [trigger] = claim(redis)
    assert publish(redis, trigger) == PUBLISHED
    assert finished(redis, "t1").event == EVENT
    assert command(redis, "KEYS", KEYS.prefix + "events:*") == []


def test_a_live_consumer_is_not_adopted_from_and_a_drained_one_at_once(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    claim(redis, "a")
    redis.run(LEASES.renew("b", LEASE_MS))
    assert redis.run(LEASES.dead("b")) == []
    assert redis.run(LEASES.adopt("b", "a", 10)).status == "alive"
    redis.run(LEASES.drain("a"))
    [dead] = redis.run(LEASES.dead("b"))
    assert (dead.name, dead.pending, dead.drained) == ("a", 1, True)
    adopted = redis.run(LEASES.adopt("b", "a", 10))
    assert adopted.status == "ok"
    assert adopted.triggers[0].adoptions == 0, "a hand-over is no crash"
    assert redis.run(LEASES.adopt("b", "a", 10)).status == "done"
    assert redis.run(LEASES.dead("b")) == []


def test_who_has_no_lease_adopts_nothing(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    claim(redis, "a")
    redis.run(LEASES.drain("a"))
    assert redis.run(LEASES.adopt("b", "a", 10)).status == "own_lease_lapsed"


def test_an_audit_finds_what_a_lost_answer_left_pending(redis: SyncRedis) -> None:
    enqueue(redis, "t1", "t2", "t3")
    claim(redis)
    first = redis.run(QUEUE.pending("a", "", 2))
    rest = redis.run(QUEUE.pending("a", first[-1], 2))
    loaded = redis.run(QUEUE.load("a", [*first, *rest]))
    assert [trigger.id for trigger in loaded] == ["t1", "t2", "t3"]
    assert redis.run(QUEUE.load("b", first)) == []


def test_an_entry_deleted_by_hand_leaves_the_pending_list_with_the_audit(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    command(redis, "XDEL", KEYS.triggers, trigger.entry)
    assert redis.run(QUEUE.load("a", [trigger.entry])) == []
    assert redis.run(QUEUE.pending("a")) == []


def test_cancel_ends_an_unclaimed_trigger_at_once_and_hands_its_callers_part_back(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    assert redis.run(QUEUE.cancel("t1", "ann", RETENTION_MS)) == 1
    done = finished(redis, "t1")
    assert (done.outcome, done.by) == ("cancelled", "ann")
    event = decode_event("t1", done.seq, done.outcome, done.event)
    assert event.resume == RESUME
    assert event.error is not None
    assert "ann" in event.error.message
    assert events(redis) == [("t1", "cancelled")]
    assert redis.run(QUEUE.cancel("t1", "ann", RETENTION_MS)) == -1
    assert redis.run(QUEUE.cancel("never", "ann", RETENTION_MS)) == -2
    assert claim(redis) == []
    assert_nothing_is_left(redis)


def test_cancel_tells_the_owner_of_a_running_trigger_with_its_next_renewal(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    assert redis.run(QUEUE.cancel("t1", "ann", RETENTION_MS)) == 2
    assert redis.run(QUEUE.cancel("t1", "bob", RETENTION_MS)) == 2
    assert redis.run(LEASES.renew("a", LEASE_MS)).cancels == [("t1", "ann")]
    assert in_flight(redis, "t1").cancel == "ann"
    assert redis.run(QUEUE.load("a", [trigger.entry]))[0].cancel == "ann"
    publish(redis, trigger)
    assert redis.run(LEASES.renew("a", LEASE_MS)).cancels == []


def test_a_deadline_ends_a_trigger_whether_or_not_somebody_runs_it(redis: SyncRedis) -> None:
    enqueue(redis, "queued", "running", "later", timeout_ms=1)
    [_, running, _] = claim(redis)
    enqueue(redis, "unclaimed", timeout_ms=1)
    assert redis.run(QUEUE.extend("later", finished_later := running.deferred_ms + 60_000)) == 1
    assert in_flight(redis, "later").deadline_ms == finished_later
    ended: dict[str, str] = {}

    def sweep() -> bool:
        ended.update((item.id, item.outcome) for item in redis.run(QUEUE.expire("sweeper", RETENTION_MS)))
        return len(ended) == 3

    eventually_sync(sweep)
    assert ended == dict.fromkeys(("queued", "running", "unclaimed"), "timed_out")
    assert publish(redis, running) == FINISHED_BY_ANOTHER
    assert decode_event("queued", 1, "timed_out", finished(redis, "queued").event).resume == RESUME
    assert redis.run(QUEUE.extend("queued", 1)) == -1
    assert redis.run(QUEUE.extend("never", 1)) == -2


def test_a_checkpoint_survives_the_move_and_only_the_owner_writes_it(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    assert redis.run(QUEUE.checkpoint("a", [Checkpoint("t1", trigger.entry, b"7")])) == [1]
    assert redis.run(QUEUE.checkpoint("b", [Checkpoint("t1", trigger.entry, b"8")])) == [NOT_OWNER]
    redis.run(LEASES.drain("a"))
    redis.run(LEASES.renew("b", LEASE_MS))
    assert redis.run(LEASES.adopt("b", "a", 10)).triggers[0].checkpoint == b"7"


def test_burying_keeps_the_bytes_and_tells_the_caller(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    burial = Burial("t1", trigger.entry, 1, "classpath_not_allowed", "jobs.Wait is not allowed", EVENT)
    assert redis.run(DEAD.bury("b", [burial], RETENTION_MS)) == [NOT_OWNER]
    assert redis.run(DEAD.bury("a", [burial], RETENTION_MS)) == [PUBLISHED]
    assert redis.run(DEAD.bury("a", [burial], RETENTION_MS)) == [PUBLISHED_BEFORE]
    [letter] = redis.run(DEAD.ls())
    assert (letter.id, letter.code, letter.why, letter.bytes) == (
        "t1", "classpath_not_allowed", "jobs.Wait is not allowed", ENV,
    )  # fmt: skip
    assert events(redis) == [("t1", "failed")]
    assert_nothing_is_left(redis)


def test_what_a_foreign_producer_adds_is_a_deferral_and_garbage_a_dead_letter(redis: SyncRedis) -> None:
    command(redis, "XADD", KEYS.triggers, "*", "foo", "bar")
    command(redis, "XADD", KEYS.triggers, "*", "id", "x" * 600, "reply", "r", "env", ENV)
    command(redis, "XADD", KEYS.triggers, "*", "id", "t1", "reply", "r", "env", ENV)
    enqueue(redis, "t2")
    assert [trigger.id for trigger in claim(redis)] == ["t1", "t2"]
    assert [letter.code for letter in redis.run(DEAD.ls())] == ["undecodable", "undecodable"]
    assert in_flight(redis, "t1").deadline_ms > 0


def test_a_second_entry_with_an_id_in_flight_is_dropped(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    command(redis, "XADD", KEYS.triggers, "*", "id", "t1", "reply", "r", "env", ENV)
    [trigger] = claim(redis)
    publish(redis, trigger)
    assert_nothing_is_left(redis)


def test_a_batch_goes_on_past_an_item_that_redis_refuses(redis: SyncRedis) -> None:
    command(redis, "SET", KEYS.events("r"), "not a stream")
    enqueue(redis, "bad")
    enqueue(redis, "good", reply_to="s")
    triggers = claim(redis)
    items = [Publication(trigger.id, trigger.entry, 1, "fired", EVENT, final=True) for trigger in triggers]
    refused, published = redis.run(QUEUE.publish("a", items, RETENTION_MS))
    assert isinstance(refused, str)
    assert "WRONGTYPE" in refused
    assert published == PUBLISHED
    assert in_flight(redis, "bad").owner == "a", "nothing was taken away before the event could be written"
    command(redis, "DEL", KEYS.events("r"))
    assert redis.run(QUEUE.publish("a", items, RETENTION_MS)) == [PUBLISHED, PUBLISHED_BEFORE]


def test_a_full_server_refuses_deferrals_and_still_takes_final_events(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    [trigger] = claim(redis)
    try:
        command(redis, "CONFIG", "SET", "maxmemory", "1")
        assert "OOM" in enqueue(redis, "t2")[0]
        assert publish(redis, trigger) == PUBLISHED
    finally:
        command(redis, "CONFIG", "SET", "maxmemory", "0")


def test_a_missing_group_has_its_own_error_and_prepare_mends_it(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    command(redis, "XGROUP", "DESTROY", KEYS.triggers, "triggerd")
    redis.run(LEASES.renew("a", LEASE_MS))
    with pytest.raises(StreamMissingError):
        redis.run(QUEUE.claim("a", 10))
    redis.run(QUEUE.prepare())
    assert [trigger.id for trigger in claim(redis)] == ["t1"]


def test_a_script_that_the_server_forgot_is_sent_again(redis: SyncRedis) -> None:
    enqueue(redis, "t1")
    command(redis, "SCRIPT", "FLUSH")
    assert enqueue(redis, "t2") == ["new"]
    command(redis, "SCRIPT", "FLUSH")
    assert len(claim(redis)) == 2


def test_an_error_of_redis_is_typed(redis: SyncRedis) -> None:
    command(redis, "SET", KEYS.deadlines, "text")
    with pytest.raises(RedisRefusedError, match="WRONGTYPE"):
        redis.run(QUEUE.expire("a", RETENTION_MS))


async def test_async_calls_give_the_same_answers_and_hints_arrive(server: EmbeddedServer) -> None:
    redis = AsyncRedis(server.url, name="test")
    await redis.run(QUEUE.prepare())
    hints = redis.hints(KEYS.control)
    try:
        new = NewTrigger("t1", "r", 60_000, ENV)
        assert [await redis.run(QUEUE.enqueue([new])) for _ in range(2)] == [["new"], ["in_flight"]]
        first = asyncio.ensure_future(anext(hints))
        channels: Call[list[str]] = Call("channels", ("PUBSUB", "CHANNELS", KEYS.control), list)

        await eventually(lambda: asyncio.ensure_future(redis.run(channels)))
        await redis.run(LEASES.drain("a"))
        assert await first == b"drained a"
        assert int((await redis.info("server"))["redis_version"].split(".")[0]) >= 6
    finally:
        await hints.aclose()
        await redis.close()


def test_no_server_gives_a_typed_error_in_bounded_time() -> None:
    redis = SyncRedis("redis://127.0.0.1:1", name="test", command_timeout_ms=200, retries=1)
    with pytest.raises(RedisUnavailableError, match="enqueue"):
        enqueue(redis, "t1")
    redis.close()


def test_a_record_damaged_by_hand_harms_neither_its_batch_nor_its_owner(redis: SyncRedis) -> None:
    enqueue(redis, "bad", "good")
    for name, value in (("seq", "x"), ("adoptions", "y"), ("deferred", "z")):
        command(redis, "HSET", KEYS.record("bad"), name, value)
    assert [(trigger.id, trigger.seq, trigger.deferred_ms > 0) for trigger in claim(redis)] == [
        ("bad", 0, False), ("good", 0, True),
    ]  # fmt: skip
    command(redis, "DEL", KEYS.consumer("a"))
    redis.run(LEASES.renew("b", LEASE_MS))
    assert [trigger.adoptions for trigger in redis.run(LEASES.adopt("b", "a", 10)).triggers] == [1, 1]


def test_an_event_that_comes_after_its_own_daemons_sweep_is_refused(redis: SyncRedis) -> None:
    """It counted as published, because the sweep had put this daemon's name and the same seq into `done`."""
    enqueue(redis, "fires", "cannot run", timeout_ms=1)
    fires, cannot_run = claim(redis)
    eventually_sync(lambda: redis.run(QUEUE.expire("a", RETENTION_MS)))
    assert publish(redis, fires) == publish(redis, fires, final=False) == FINISHED_BY_ANOTHER
    burial = Burial("cannot run", cannot_run.entry, 1, "undecodable", "no msgpack", EVENT)
    assert redis.run(DEAD.bury("a", [burial], RETENTION_MS)) == [FINISHED_BY_ANOTHER]


def test_a_trigger_that_cannot_be_expired_does_not_stand_in_the_way_of_others(redis: SyncRedis) -> None:
    command(redis, "SET", KEYS.events("broken"), "no stream")
    enqueue(redis, *(f"stuck{n}" for n in range(3)), timeout_ms=1, reply_to="broken")
    enqueue(redis, "free", timeout_ms=2)
    ended: list[tuple[str, str]] = []

    def sweep() -> bool:
        ended.extend((item.id, item.outcome) for item in redis.run(QUEUE.expire("sweeper", RETENTION_MS, 3)))
        return bool(ended)

    eventually_sync(sweep)
    assert ended == [("free", "timed_out")]
    assert in_flight(redis, "stuck0").owner == ""


def test_the_word_of_a_drained_consumer_does_not_stay_for_ever(redis: SyncRedis) -> None:
    redis.run(LEASES.renew("a", LEASE_MS))
    redis.run(LEASES.drain("a"))
    assert 0 < int(str(command(redis, "PTTL", KEYS.consumer("a")))) <= 7 * 24 * 3600 * 1000
