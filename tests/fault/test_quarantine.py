"""Quarantine: whoever kills its daemon is found out among hundreds and buried alone; innocence costs seconds."""

import itertools
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import broken_triggers, poison_triggers
from tests.support.daemon_process import records_of
from tests.support.fake_aws import FakeAws
from tests.support.fault_triggers import StepsTrigger
from tests.support.fleet import Fleet
from tests.support.poison_triggers import AT_IMPORT, LastWordsTrigger, PoisonTrigger, ProcessTrigger
from tests.support.triggers import FileTrigger
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.clock import wall_ms
from triggerd.daemon import quarantine_process
from triggerd.daemon.outbox import RunOutbox
from triggerd.daemon.quarantine_process import Sandbox, SandboxError
from triggerd.daemon.quarantine_suspect import Suspect, Verdict
from triggerd.daemon.runs import Run, StopCause
from triggerd.envelope import TriggerEnvelope, pack
from triggerd.event import decode_event
from triggerd.handle import Handle
from triggerd.keys import ADOPTIONS, QUARANTINED, SEQ, TRIGGER_GROUP, QueueKeys
from triggerd.metrics import Metrics
from triggerd.settings import AwsSettings, ConnectionSettings, Settings
from triggerd.streams.trigger_queue import ClaimedTrigger, Publication
from triggerd.trigger import BaseTrigger
from triggerd.triggers.aws import AwsWaiterTrigger

ENV = {
    "TRIGGERD_ALLOW": "tests.support.triggers.*,tests.support.fault_triggers.*,tests.support.poison_*",
    "TRIGGERD_LEASE_MS": "1200",
}
AT_ONCE = ENV | {"TRIGGERD_QUARANTINE_AFTER": "1"}
KEYS = QueueKeys("default")

pytestmark = pytest.mark.fault


@pytest.fixture
def raw(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def owned(raw: Any, fleet: Fleet) -> int:
    """How many triggers the daemons of now own."""
    logs = [record for text in fleet.living_logs for record in records_of(text)]
    names = {record["consumer"] for record in logs if record["event"] == "daemon started"}
    consumers = raw.xpending(KEYS.triggers, TRIGGER_GROUP)["consumers"] or []
    return sum(int(one["pending"]) for one in consumers if one["name"].decode() in names)


def lines(path: Path) -> list[str]:
    """What a `ProcessTrigger` has written so far."""
    return path.read_text().splitlines() if path.exists() else []


def suspected(fleet: Fleet) -> int:
    """How many suspects are or were on probation in the daemons of now."""
    return sum(record["suspects"] for record in fleet.log_records("suspects on probation"))


def wait_for_deaths(fleet: Fleet, count: int) -> None:
    eventually_sync(lambda: len(fleet.statuses) >= count)


def all_fire(handles: list[Handle], deadline_s: float = 60.0) -> None:
    assert {handle.result(timeout=deadline_s).outcome for handle in handles} == {"fired"}


@pytest.mark.deadline(120)
def test_those_that_kill_their_daemon_are_found_among_200_innocents_and_buried_alone(
    redis_url: str, td: Client, raw: Any, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    before = [td.defer(FileTrigger(path=str(go)), reply_to=None) for _ in range(100)]
    poisons = [
        td.defer(PoisonTrigger("exit"), id="exit"),
        td.defer(PoisonTrigger("kill"), id="kill"),
        td.defer((AT_IMPORT, {}), id="import"),
    ]
    after = [td.defer(FileTrigger(path=str(go)), reply_to=None) for _ in range(100)]
    with Fleet(redis_url, env=ENV, size=2) as fleet:
        for handle in poisons:
            event = handle.result(timeout=90)
            assert event.error is not None
            assert (event.outcome, event.error.code) == ("failed", "poison")
        deaths = len(fleet.statuses)
        go.touch()
        all_fire(before + after)
        assert len(fleet.statuses) == deaths
        assert fleet.is_ready(0) or fleet.is_ready(1)
    assert raw.xlen(KEYS.dead) == 3
    assert raw.xpending(KEYS.triggers, TRIGGER_GROUP)["pending"] == 0


@pytest.mark.deadline(120)
def test_daemons_that_are_killed_from_outside_bury_nobody(redis_url: str, td: Client, raw: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"
    innocents = [td.defer(FileTrigger(path=str(go)), reply_to=None) for _ in range(300)]
    with Fleet(redis_url, env=ENV | {"TRIGGERD_QUARANTINE_AFTER": "2"}, size=2) as fleet:
        for deaths in range(1, 5):
            eventually_sync(lambda: owned(raw, fleet) == 300, 30.0)
            fleet.kill(0)
            fleet.kill(1)
            wait_for_deaths(fleet, 2 * deaths)
        eventually_sync(lambda: suspected(fleet) > 0, 30.0)
        go.touch()
        all_fire(innocents)
    assert raw.xlen(KEYS.dead) == 0


def test_a_drain_makes_no_suspect_and_a_death_does_and_its_child_dies_with_its_daemon(
    redis_url: str, td: Client, raw: Any, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    td.defer(ProcessTrigger(str(path)), id="t", timeout=60)

    def runs() -> list[int]:
        return [int(line.split()[1]) for line in lines(path)]

    with Fleet(redis_url, env=AT_ONCE, size=1) as fleet:
        eventually_sync(lambda: len(runs()) == 1)
        assert fleet.stop(0) == 0
        eventually_sync(lambda: len(runs()) == 2, 20.0)
        assert runs()[-1] == fleet.member(0).pid
        assert raw.hget(KEYS.record("t"), ADOPTIONS) is None
        raw.hset(KEYS.record("t"), QUARANTINED, 3)  # long enough to look at
        fleet.kill(0)
        eventually_sync(lambda: len(runs()) == 3, 30.0)
        assert runs()[-1] != fleet.member(0).pid
        assert fleet.stop(0) == 0
        assert raw.hget(KEYS.record("t"), ADOPTIONS) == b"1"
        eventually_sync(lambda: len(runs()) == 4, 30.0)
        child = runs()[-1]
        assert os.path.exists(f"/proc/{child}")  # noqa: PTH110
        fleet.kill(0)
        eventually_sync(lambda: not os.path.exists(f"/proc/{child}"))  # noqa: PTH110


def test_a_suspect_can_be_cancelled_and_times_out_and_keeps_its_events_and_its_checkpoint(
    redis_url: str, td: Client, raw: Any, tmp_path: Path
) -> None:
    cancelled, asked = tmp_path / "cancelled", tmp_path / "asked"
    long = {"cancelled": ProcessTrigger(str(cancelled)), "expired": ProcessTrigger(str(tmp_path / "expired"))}
    handles = {name: td.defer(trigger, id=name, timeout=300) for name, trigger in long.items()}
    handles["stopped"] = td.defer(ProcessTrigger(str(asked)), id="stopped", timeout=300, on_timeout="cancel")
    steps = td.defer(StepsTrigger(60, 0.2), id="steps", timeout=300)
    with Fleet(redis_url, env=AT_ONCE, size=1) as fleet:
        eventually_sync(lambda: lines(cancelled) and lines(asked) and raw.hget(KEYS.record("steps"), SEQ))
        for name in handles:
            raw.hset(KEYS.record(name), QUARANTINED, 3)  # 192 s, so that they are in quarantine whatever the load
        fleet.kill(0)
        eventually_sync(lambda: suspected(fleet) == 4, 30.0)
        eventually_sync(lambda: len(lines(cancelled)) == 2)
        handles["cancelled"].cancel(by="ann")
        event = handles["cancelled"].result(timeout=20)
        assert (event.outcome, event["message"]) == ("cancelled", "cancelled by ann")
        first, second, third = lines(cancelled)
        assert third == second.replace("run", "cancel")  # in the child
        assert first != second
        for name in ("expired", "stopped"):
            handles[name].extend(timedelta(seconds=0.1))
            assert handles[name].result(timeout=20).outcome == "timed_out"
        eventually_sync(lambda: lines(asked)[-1].startswith("cancel"))
        assert all(line.startswith("run") for line in lines(tmp_path / "expired"))
        assert steps.result(timeout=40).outcome == "fired"
        eventually_sync(lambda: raw.xpending(KEYS.triggers, TRIGGER_GROUP)["pending"] == 0)
        assert sum(record["suspects"] for record in fleet.log_records("suspects absolved")) == 1
    events = [fields for _, fields in raw.xrange(KEYS.events("default")) if fields[b"id"] == b"steps"]
    assert [int(fields[b"seq"]) for fields in events] == list(range(1, len(events) + 1))
    numbers = [decode_event("steps", int(f[b"seq"]), "fired", f[b"event"]).payload for f in events]
    # The daemon may have been killed between an event and the checkpoint after it.
    assert [number for number, _ in itertools.groupby(numbers)] == [*range(60), None]


class Published:
    """The other end of a suspect's outbox."""

    def __init__(self) -> None:
        self.items: list[Publication] = []

    async def publish(self, item: Publication) -> bool:
        self.items.append(item)
        return True

    async def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> bool:
        return True


def suspect_of(trigger: BaseTrigger, published: Published) -> Suspect:
    classpath, kwargs = trigger.serialize()
    claimed = ClaimedTrigger(
        entry="1-0", id="t", env=b"", reply_to="", deadline_ms=wall_ms() + 60_000, cancel=None, seq=0, checkpoint=None,
        adoptions=3, deferred_ms=0,
    )  # fmt: skip
    outbox: Any = published
    run = Run(claimed, lambda _run, _step: None)
    envelope = TriggerEnvelope(classpath, pack(kwargs), b"")
    return Suspect(run, claimed, envelope, RunOutbox(outbox, Metrics("test", [])))


async def test_a_child_whose_event_loop_is_blocked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine_process, "HANG_AFTER_S", 1.0)
    sandbox = await Sandbox.start(Settings(allow=(f"{poison_triggers.__name__}.*",)))
    suspect = suspect_of(PoisonTrigger("block"), Published())
    how = await sandbox.probe([suspect], 3.0)
    await sandbox.close()
    assert how == "had its event loop blocked for 1 s"
    assert suspect.waits


async def test_a_cancel_that_crosses_the_end_of_a_probation_is_carried_out_all_the_same() -> None:
    class CancelledMeanwhile(Published):
        async def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> bool:
            suspect.run.cancelled_by = "ann"
            suspect.run.stop(StopCause.CANCELLED)
            return True

    sandbox = await Sandbox.start(Settings(allow=(f"{poison_triggers.__name__}.*",)))
    suspect = suspect_of(LastWordsTrigger(), CancelledMeanwhile())
    hurried: list[Suspect] = []
    suspect.run.held, suspect.when_urgent = suspect, hurried.append
    assert await sandbox.probe([suspect], 0.2) is None
    await sandbox.close()
    assert suspect.waits, "its run has ended in the child, its remote work has not been stopped"
    assert hurried == [suspect]
    assert suspect.claimed.cancel == "ann"


@pytest.mark.parametrize("trigger", [broken_triggers.ExitsFromACallback(), broken_triggers.StopsTheLoop()])
async def test_what_a_daemon_contains_is_no_crash_in_a_child_either(trigger: BaseTrigger) -> None:
    sandbox = await Sandbox.start(Settings(allow=(f"{broken_triggers.__name__}.*",)))
    suspect = suspect_of(trigger, Published())
    assert await sandbox.probe([suspect], 1.0) is None
    await sandbox.close()


class AirflowsGlueJobTrigger(BaseTrigger):
    """What a queue holds of Airflow's."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        run = {"job_name": "etl", "run_id": "jr_1", "waiter_delay": "0.1", "aws_conn_id": None}
        return "airflow.providers.amazon.aws.triggers.glue.GlueJobCompleteTrigger", run


GLUE_RUN = {"JobName": "etl", "RunId": "jr_1"}


@pytest.mark.parametrize(
    "trigger",
    [AwsWaiterTrigger("glue", "job_complete", GLUE_RUN, delay=0.1, max_attempts=100), AirflowsGlueJobTrigger()],
    ids=["ours", "airflows"],
)
async def test_a_child_waits_on_aws_with_the_daemons_connections(trigger: BaseTrigger) -> None:
    async with FakeAws("glue") as fake:
        fake.script("GetJobRun", {"JobRun": {"JobRunState": "RUNNING"}}, {"JobRun": {"JobRunState": "SUCCEEDED"}})
        connection = ConnectionSettings(region="us-east-1", endpoint_url=fake.url)
        sandbox = await Sandbox.start(Settings(aws=AwsSettings(connections={"default": connection})))
        published = Published()
        suspect = suspect_of(trigger, published)
        assert await sandbox.probe([suspect], 30.0) is None
        await sandbox.close()
    assert await suspect.verdict is Verdict.ENDED
    (item,) = published.items
    assert decode_event("t", 1, item.outcome, item.event)["status"] == "success"


async def test_a_child_that_cannot_be_started_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SandboxError, match="exited with status 1"):
        await Sandbox.start(Settings())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SandboxError, match="No such file"):
        await Sandbox.start(Settings())
