"""Quarantine without processes: who is tried with whom, for how long, and who is buried.

The child here is a script: it says what a child process would do with the triggers that it is given.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.support.waiting import eventually
from triggerd.clock import wall_ms
from triggerd.daemon import quarantine as quarantine_module
from triggerd.daemon.consumer import Backoff
from triggerd.daemon.loading import Loader
from triggerd.daemon.quarantine import PROBATION_S, SHORTEST_RETRIAL_S, Quarantine
from triggerd.daemon.quarantine_process import SandboxError, how_ended
from triggerd.daemon.quarantine_suspect import Suspect
from triggerd.daemon.registry import Registry
from triggerd.daemon.runner import Runner
from triggerd.daemon.runs import Capacity, StopCause
from triggerd.daemon.sandbox_pipe import Checkpoint, Publish
from triggerd.envelope import TriggerReader, encode_trigger, pack
from triggerd.event import decode_event, encode_event
from triggerd.metrics import Metrics
from triggerd.settings import Settings
from triggerd.streams.dead_letter import Burial
from triggerd.streams.trigger_queue import ClaimedTrigger, Publication
from triggerd.triggers.testing import SuccessTrigger

BATCH = 50
Act = Callable[[Sequence[Suspect], float], str | Awaitable[str | None] | None]


class Script:
    """Starts children that do what `act` says, and writes down what they were given."""

    def __init__(self) -> None:
        self.trials: list[tuple[list[str], float]] = []
        self.stopped: list[str] = []
        self.open = 0
        self.broken = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.act: Act = lambda _suspects, _probation_s: None

    async def start(self) -> "ScriptedChild":
        if self.broken:
            self.broken -= 1
            raise SandboxError("no memory")
        self.open += 1
        return ScriptedChild(self)

    def kill_over(self, *poisons: str) -> None:
        """Crash over these ids."""
        self.act = lambda suspects, _: "exited with status 7" if {s.run.id for s in suspects} & set(poisons) else None


class ScriptedChild:
    def __init__(self, script: Script) -> None:
        self.script = script

    async def probe(self, suspects: Sequence[Suspect], probation_s: float) -> str | None:
        self.script.trials.append(([suspect.run.id for suspect in suspects], probation_s))
        for suspect in suspects:
            suspect.sandbox = self
        await self.script.gate.wait()
        crash = self.script.act(suspects, probation_s)
        crash = await crash if isinstance(crash, Awaitable) else crash
        for suspect in suspects:
            suspect.sandbox = None
            suspect.decide_if_over()
        return crash

    def stop(self, suspect: Suspect) -> None:
        self.script.stopped.append(suspect.run.id)

    async def close(self) -> None:
        self.script.open -= 1


class Kept:
    """An outbox that takes everything."""

    def __init__(self) -> None:
        self.published: list[Publication] = []
        self.buried: list[Burial] = []
        self.checkpoints: list[bytes] = []
        self.absolved: list[str] = []
        self.stopped_ids: list[str] = []

    async def publish(self, item: Publication) -> bool:
        self.published.append(item)
        return True

    async def bury(self, item: Burial) -> bool:
        self.buried.append(item)
        return True

    async def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> bool:
        self.checkpoints.append(value)
        return True

    async def stopped(self, trigger_id: str, entry: str) -> bool:
        self.stopped_ids.append(trigger_id)
        return True

    async def absolve(self, trigger_id: str, entry: str) -> bool:
        self.absolved.append(trigger_id)
        return True

    def fired(self) -> set[str]:
        return {item.id for item in self.published if item.outcome == "fired"}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setattr(quarantine_module, "QUARANTINE_BATCH", BATCH)
    return Script()


@pytest.fixture
def outbox() -> Kept:
    return Kept()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test", ["default"])


@pytest.fixture
async def runner(script: Script, outbox: Kept, metrics: Metrics) -> AsyncIterator[Runner]:
    aws: Any = None
    loader = Loader(Registry([], {}), aws, TriggerReader("default").read)
    quarantine = Quarantine(Settings(), metrics, script.start)
    yield Runner(loader, outbox, metrics, Capacity(1_000), quarantine)
    await quarantine.close()
    assert script.open == 0


def suspect(trigger_id: str, **changes: Any) -> ClaimedTrigger:
    env = encode_trigger(*SuccessTrigger(trigger_id).serialize(), b"")
    number = abs(hash(trigger_id))
    claimed = ClaimedTrigger(
        entry=f"{number}-0", id=trigger_id, env=env, reply_to="", deadline_ms=wall_ms() + 60_000, cancel=None, seq=0,
        checkpoint=None, adoptions=3, deferred_ms=0,
    )  # fmt: skip
    return dataclasses.replace(claimed, **changes)


async def run_all(runner: Runner, triggers: Sequence[ClaimedTrigger]) -> None:
    runner.capacity.take(len(triggers))
    for trigger in triggers:
        runner.start(trigger)
    await runner.runs.wait_empty()


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


async def test_a_poison_among_200_is_found_by_halves_and_buried_alone(
    runner: Runner, script: Script, outbox: Kept, metrics: Metrics
) -> None:
    names = [f"t{number}" for number in range(200)]
    script.kill_over("t37")
    await run_all(runner, [suspect(name) for name in names])
    (burial,) = outbox.buried
    assert (burial.id, burial.code) == ("t37", "poison")
    event = decode_event(burial.id, burial.seq, "failed", burial.event)
    assert "died 3 times" in event["message"]
    assert "exited with status 7" in event["message"]
    assert outbox.fired() == set(outbox.absolved) == set(names) - {"t37"}
    assert script.trials[0][0] == names[:BATCH]
    assert len(script.trials) < 20
    assert script.trials.count((["t37"], SHORTEST_RETRIAL_S)) == 2
    assert value(metrics, "triggerd_triggers_quarantined") == 0
    assert (value(metrics, "triggerd_quarantine_crashes_total") or 0) >= 6


async def test_a_single_crash_alone_may_be_somebody_elses_doing(runner: Runner, script: Script, outbox: Kept) -> None:
    script.act = lambda _suspects, _: "was killed by SIGKILL" if len(script.trials) == 1 else None
    await run_all(runner, [suspect("t1")])
    assert outbox.buried == []
    assert outbox.fired() == {"t1"}


async def test_two_poisons_in_one_batch_are_both_found(runner: Runner, script: Script, outbox: Kept) -> None:
    script.kill_over("t1", "t40")
    await run_all(runner, [suspect(f"t{number}") for number in range(50)])
    assert {burial.id for burial in outbox.buried} == {"t1", "t40"}
    assert len(outbox.fired()) == 48


async def test_nobody_is_absolved_before_a_whole_probation(runner: Runner, script: Script, outbox: Kept) -> None:
    script.kill_over("t0")
    await run_all(runner, [suspect(f"t{number}") for number in range(8)])
    *_, (last, probation_s) = script.trials
    assert set(last) == outbox.fired()
    assert probation_s == PROBATION_S


async def test_those_that_crash_only_in_company_pass_in_less_of_it(
    runner: Runner, script: Script, outbox: Kept
) -> None:
    script.act = lambda suspects, _: "was killed by SIGKILL" if len(suspects) > 10 else None
    await run_all(runner, [suspect(f"t{number}") for number in range(50)])
    assert outbox.buried == []
    assert len(outbox.fired()) == 50


async def test_batches_that_end_well_grow(runner: Runner, script: Script, outbox: Kept) -> None:
    await run_all(runner, [suspect(f"t{number}") for number in range(400)])
    assert [len(names) for names, _ in script.trials] == [50, 100, 200, 50]
    assert len(outbox.fired()) == 400


async def test_whoever_was_absolved_before_is_tried_longer_and_apart(runner: Runner, script: Script) -> None:
    await run_all(runner, [suspect("new"), suspect("again", quarantined=1), suspect("often", quarantined=30)])
    assert sorted(script.trials, key=lambda trial: trial[1]) == [(["new"], 3), (["again"], 12), (["often"], 3600)]


async def test_two_deaths_of_its_owners_make_no_suspect(runner: Runner, script: Script, outbox: Kept) -> None:
    await run_all(runner, [suspect("t1", adoptions=2)])
    assert script.trials == []
    assert outbox.fired() == {"t1"}


async def test_a_child_that_cannot_be_started_is_held_against_nobody(
    runner: Runner, script: Script, outbox: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _backoff: 0.0)
    script.broken = 3
    await run_all(runner, [suspect("t1")])
    assert outbox.buried == []
    assert outbox.fired() == {"t1"}


async def test_events_and_checkpoints_of_a_suspect_are_its_own_and_it_goes_on_from_them(
    runner: Runner, script: Script, outbox: Kept
) -> None:
    async def act(suspects: Sequence[Suspect], _probation_s: float) -> None:
        (one,) = suspects
        event = encode_event(1, resume=b"", final=False)
        assert await one.carry(Publish(1, one.run.entry, "fired", event, final=False))
        assert await one.carry(Checkpoint(2, one.run.entry, pack(7)))

    script.act = act
    await run_all(runner, [suspect("t1", seq=4)])
    assert [(item.seq, item.final) for item in outbox.published] == [(5, False), (6, True)]
    assert outbox.checkpoints == [pack(7)]


@pytest.mark.parametrize("cause", [StopCause.DRAINED, StopCause.EXPIRED, StopCause.RELEASED])
async def test_a_suspect_that_waits_for_its_turn_is_given_up_at_once(
    runner: Runner, script: Script, outbox: Kept, cause: StopCause
) -> None:
    script.gate.clear()
    runner.capacity.take(BATCH + 1)
    for number in range(BATCH + 1):
        runner.start(suspect(f"t{number}"))
    await eventually(lambda: script.trials)
    waits = runner.runs.by_id(f"t{BATCH}")
    assert waits is not None
    waits.stop(cause)
    await eventually(lambda: len(runner.runs) == BATCH)
    script.gate.set()
    await runner.runs.wait_empty()
    assert f"t{BATCH}" not in {*outbox.absolved, *outbox.fired()}


async def test_a_cancel_waits_for_no_probation(runner: Runner, script: Script) -> None:
    script.gate.clear()
    runner.capacity.take(BATCH + 1)
    for number in range(BATCH + 1):
        runner.start(suspect(f"t{number}"))
    await eventually(lambda: script.trials)
    runner.cancel("t0", "ann")
    runner.cancel(f"t{BATCH}", "ann")
    await eventually(lambda: len(script.trials) == 2)
    assert script.stopped == ["t0"]
    assert script.trials[1][0] == [f"t{BATCH}"]
    script.gate.set()
    await runner.runs.wait_empty()


def test_how_a_process_ended_is_said_in_words() -> None:
    assert how_ended(3) == "exited with status 3"
    assert how_ended(-9) == "was killed by SIGKILL"
    assert how_ended(-200) == "was killed by signal 200"
