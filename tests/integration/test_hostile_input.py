"""Anybody who can write to Redis can write anything: nothing but dead letters comes of it.

Hypothesis draws batches of recipes (`tests/support/hostile.py`); one real daemon, on one real server, gets them all.
In CI the same ones each time; elsewhere new ones, and a failure prints how to have it again.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import hostile
from tests.support.daemon_process import DaemonProcess
from tests.support.resuming import running
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync
from triggerd import Client, Event, Resumer
from triggerd.errors import NameNotValidError
from triggerd.event import decode_event, encode_event
from triggerd.keys import TRIGGER_GROUP, QueueKeys, check_name
from triggerd.streams.trigger_queue import TriggerQueue
from triggerd.triggers.testing import FailureTrigger, SuccessTrigger
from triggerd.triggers.time import TimeDeltaTrigger

CI = "CI" in os.environ
BATCHES, BATCH = 150, 140
KEYS = QueueKeys("default")
MAY_GROW_BYTES = 150_000_000
# What Python itself still imports late, whatever the queue says.
LATE_IMPORTS = re.compile(r"import '(encodings|_strptime|_decimal|_pydecimal|traceback|linecache|tokenize)\b")

given_batches = given(st.binary(min_size=BATCH * hostile.RECIPE_BYTES, max_size=BATCH * hostile.RECIPE_BYTES))
fuzz = settings(
    max_examples=BATCHES, deadline=None, derandomize=CI, database=None, print_blob=True,
    phases=[Phase.generate],  # what failed is in the message; the daemon would have to begin anew for each smaller try
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def raw_redis(url: str) -> Any:
    return redis.Redis.from_url(url)


def recipes(drawn: bytes) -> Iterator[bytes]:
    for start in range(0, len(drawn), hostile.RECIPE_BYTES):
        yield drawn[start : start + hostile.RECIPE_BYTES]


class Queue:
    """The queue as an attacker and an auditor see it: raw commands only."""

    def __init__(self, td: Client, raw: Any, daemon: DaemonProcess) -> None:
        self.td, self.raw, self.daemon = td, raw, daemon
        self.number = 0
        self.ends: Counter[str] = Counter()

    def feed(self, drawn: bytes) -> dict[bytes, hostile.Fields]:
        """Add one batch; answers entry id -> fields."""
        self._forget()  # what a batch that failed has left
        pipeline = self.raw.pipeline(transaction=False)
        sent = []
        for recipe in recipes(drawn):
            self.number += 1
            fields = hostile.entry(recipe, self.number)
            if fields:
                sent.append(fields)
                pipeline.execute_command(
                    "XADD", KEYS.triggers, "*", *(part for pair in fields.items() for part in pair)
                )
        return dict(zip(pipeline.execute(), sent, strict=True))

    def settle(self) -> None:
        """Until nothing is in flight. A mutated trigger may be one that waits for years: the user cancels it."""
        healthy = self.td.defer(SuccessTrigger("healthy"), reply_to=None, id=f"healthy-{self.number}")
        assert healthy.result(timeout=20).payload == "healthy"
        try:
            eventually_sync(self._is_settled, 20)
        except AssertionError:
            left = self.raw.xrange(KEYS.triggers), self.raw.xpending(KEYS.triggers, TRIGGER_GROUP)
            raise AssertionError(f"not settled: {hostile.describe(left)}") from None

    def _is_settled(self) -> bool:
        left = self.raw.xrange(KEYS.triggers, count=200)
        if not left:
            return bool(self.raw.xpending(KEYS.triggers, TRIGGER_GROUP)["pending"] == 0)
        for _, fields in left:
            if env_waits(fields.get(b"env", b"")):
                trigger_id: Any = fields[b"id"]  # bytes, which no client of ours would send
                call = TriggerQueue("default").cancel(trigger_id, "the test", 300_000)
                self.td.caller.redis.run(call)
        return False

    def judge(self, sent: dict[bytes, hostile.Fields]) -> None:
        """Each entry became a dead letter or had its one final event; nothing else has come of it. Then forget them."""
        letters = {fields[b"entry"]: fields for _, fields in self.raw.xrange(KEYS.dead)}
        events = dict(self._events())
        for entry, fields in sent.items():
            self._judge_one(entry, fields, letters.pop(entry, None), events)
        assert not letters, f"dead letters of nothing: {hostile.describe(letters)}"
        assert not events, f"events of nothing: {hostile.describe(events)}"
        assert self.raw.zcard(KEYS.deadlines) == 0
        assert list(self.raw.scan_iter("*:trigger:*", count=1000)) == []
        self._forget()

    def _judge_one(
        self, entry: bytes, fields: hostile.Fields, letter: Any, events: dict[tuple[bytes, bytes], Event]
    ) -> None:
        trigger_id, reply = fields.get(b"id", b""), fields.get(b"reply", b"")
        what = f"{hostile.describe(fields)} became {letter!r}"
        done = self.raw.get(KEYS.prefix.encode() + b"done:" + trigger_id) if trigger_id else None
        event = events.pop((reply, trigger_id), None)
        if done is None:
            assert letter is not None, f"vanished: {what}"
            assert event is None, what
            self.ends[f"buried, no caller to tell: {letter[b'code'].decode()}"] += 1
            return
        assert is_reply(reply), what
        if reply and not trigger_id.startswith(b"twice"):  # whose second entry is dropped
            assert event is not None, what
            assert event.final, what
        outcome = done.partition(b" ")[0].decode()
        self.ends[f"{outcome}, {'buried: ' + letter[b'code'].decode() if letter else 'run'}"] += 1

    def _events(self) -> Iterator[tuple[tuple[bytes, bytes], Event]]:
        """Every event of every result stream, by stream and trigger id."""
        head = KEYS.prefix.encode() + b"events:"
        counted: Counter[tuple[bytes, bytes]] = Counter()
        for key in self.raw.scan_iter(head + b"*", count=1000):
            assert is_reply(key.removeprefix(head)), f"a result stream of an illegal name: {key!r}"
            for _, fields in self.raw.xrange(key):
                where = (key.removeprefix(head), fields[b"id"])
                counted[where] += 1
                assert counted[where] == 1, f"two final events: {where}"
                yield where, decode_event("t", int(fields[b"seq"]), fields[b"outcome"].decode(), fields[b"event"])

    def _forget(self) -> None:
        old = [key for pattern in ("*done:*", "*events:*") for key in self.raw.scan_iter(pattern, count=1000)]
        self.raw.delete(KEYS.dead, *old)


def is_reply(reply: bytes) -> bool:
    try:
        return reply == b"" or bool(check_name("reply_to", reply.decode(errors="replace")))
    except NameNotValidError:
        return False


def env_waits(env: bytes) -> bool:
    return b"triggers.time." in env or b"AwsWaiter" in env


def rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.deadline(150)
def test_21_000_hostile_entries_leave_nothing_but_dead_letters(
    redis_url: str, td: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = tmp_path / "audit"
    executable = (sys.executable, str(REPOSITORY / "tests/support/audited.py"), str(audit))
    env = {"TRIGGERD_LOGS__LEVEL": "error", "TRIGGERD_ALLOW": "tests.support.triggers.*"}
    with raw_redis(redis_url) as raw, DaemonProcess(redis_url, env=env, executable=executable) as daemon:
        queue = Queue(td, raw, daemon)
        refused: Any = ("triggerd.triggers.aws.AwsWaiterTrigger", {})
        warm = [td.defer(trigger) for trigger in (SuccessTrigger(), FailureTrigger(), TimeDeltaTrigger(0), refused)]
        assert [handle.result(timeout=10).outcome for handle in warm] == ["fired", "failed", "fired", "failed"]
        queue._forget()
        rss_before_bytes, audited = rss_bytes(daemon.pid), audit.stat().st_size

        @fuzz
        @given_batches
        def feed(drawn: bytes) -> None:
            sent = queue.feed(drawn)
            queue.settle()
            queue.judge(sent)
            assert daemon.is_alive()

        feed()
        grown_bytes = rss_bytes(daemon.pid) - rss_before_bytes
        noted = audit.read_bytes()[audited:].decode().splitlines()
        with capsys.disabled():
            print(f"\n{queue.number:,} envelopes, {grown_bytes / 1e6:.0f} MB more; {dict(queue.ends.most_common())}")
        assert queue.number >= 20_000
        assert [line for line in noted if not LATE_IMPORTS.match(line)] == []
        assert grown_bytes < MAY_GROW_BYTES
        assert daemon.stop() == 0


def test_nonsense_on_the_control_channel_is_no_concern_of_a_daemon(redis_url: str, td: Client) -> None:
    with raw_redis(redis_url) as raw, DaemonProcess(redis_url) as daemon:
        handle = td.defer(TimeDeltaTrigger(3600), id="t1", reply_to=None)
        eventually_sync(lambda: handle.status() == "running")
        numbers = [b"extended t1\n" + number for number in ("\u00b2".encode(), b"9" * 5000, b"\xff", b"")]
        for hint in (*numbers, b"extended", b"cancel", b"retired", b"\0", b"quiet", b"\xff\xfe t1"):
            assert raw.publish(KEYS.control, hint) == 1
        assert handle.cancel() == "requested"
        assert handle.result(timeout=10).outcome == "cancelled"
        assert daemon.stop() == 0


@pytest.mark.deadline(120)
def test_a_resumer_makes_dead_letters_of_hostile_events_and_resumes_the_good_ones(
    redis_url: str, td: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = KEYS.events("default")
    resumed: list[str] = []
    number = 0
    resumer = Resumer(td, max_deliveries=1)
    resumer.on_event(lambda event, _: resumed.append(event.trigger_id))

    @settings(fuzz, max_examples=30)
    @given_batches
    def feed(drawn: bytes) -> None:
        nonlocal number
        raw.delete(KEYS.dead)
        resumed.clear()
        pipeline = raw.pipeline(transaction=False)
        for recipe in recipes(drawn):
            number += 1
            fields = hostile.event(recipe, number)
            pipeline.execute_command("XADD", stream, "*", *(part for pair in fields.items() for part in pair))
        good = {"id": f"good-{number}", "seq": 1, "outcome": "fired", "event": encode_event(1, resume=b"")}
        pipeline.execute_command("XADD", stream, "*", *(part for pair in good.items() for part in pair))
        pipeline.execute()
        eventually_sync(lambda: raw.xlen(stream) == 0 and f"good-{number}" in resumed, 20)
        assert raw.xlen(KEYS.dead) + len(resumed) == BATCH + 1

    with raw_redis(redis_url) as raw, running(resumer):
        feed()
    with capsys.disabled():
        print(f"\n{number:,} events")
