"""The producers: threads that keep a number of triggers in flight and write down what each was promised."""

import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import redis

from tests.chaos.judge import Promise
from tests.chaos.live_system import KEPT, LiveSystem
from tests.support.fake_aws_process import NEVER_MS, SERVICES, wait_for
from tests.support.fault_triggers import StepsTrigger
from triggerd import Client
from triggerd.clock import wall_ms
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.triggers.time import TimeDeltaTrigger

Deferral = dict[str, Any]
Mix = Iterator[tuple[Deferral, Promise]]
STOPPABLE = ("glue", "ecs", "batch")
_LIVES_S, _LONG_LIVES_S = (0.5, 12.0), (20.0, 60.0)
LONG_LIVES = 0.05
"""How many of the triggers live long enough to lose several owners."""
_AT_ONCE = 100
_EVERY_S = 0.2
_FIRED, _TIMED_OUT = frozenset({"fired"}), frozenset({"timed_out"})


class Ledger:
    """Every promise that was made, and what was asked for later. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._promises: dict[str, Promise] = {}
        self._cancels: dict[str, list[str]] = {}
        self.lately: deque[Promise] = deque(maxlen=2000)

    def note(self, promises: list[Promise]) -> None:
        """These defers have returned."""
        with self._lock:
            self._promises.update({promise.id: promise for promise in promises})
            self.lately.extend(promises)

    def note_cancel(self, trigger_id: str, answer: str) -> None:
        """A cancel was sent; `answer` is "" where the answer was lost."""
        with self._lock:
            self._cancels.setdefault(trigger_id, []).append(answer)

    def some(self, rng: random.Random, count: int, *, with_job: bool = False) -> list[Promise]:
        """Some of the latest promises; most of them are still in flight."""
        with self._lock:
            latest = [promise for promise in self.lately if promise.job or not with_job]
        return rng.sample(latest, min(count, len(latest)))

    @property
    def promises(self) -> dict[str, Promise]:
        """All of them, by id."""
        with self._lock:
            return dict(self._promises)

    @property
    def cancels(self) -> dict[str, list[str]]:
        """The answers to the cancels, by id."""
        with self._lock:
            return {trigger_id: list(answers) for trigger_id, answers in self._cancels.items()}

    def __len__(self) -> int:
        return len(self._promises)


def planned(rng: random.Random, prefix: str, long_lives: float) -> Mix:
    """An endless mix: half wait for a time, the rest for AWS, for several steps, or for a deadline."""
    number = 0
    while True:
        number += 1
        trigger_id = f"{prefix}-{number}"
        life_s = rng.uniform(*(_LONG_LIVES_S if rng.random() < long_lives else _LIVES_S))
        reply_to, dice = rng.choice(("default", "default", KEPT)), rng.random()
        common = {"id": trigger_id, "reply_to": reply_to, "timeout": 3600}
        may_end, job, stop = _FIRED, "", False
        trigger: Any
        if dice < 0.5:
            trigger = TimeDeltaTrigger(life_s)
        elif dice < 0.7:
            trigger = StepsTrigger(3, life_s / 3)
        elif dice < 0.9:
            service, name = rng.choice(SERVICES), f"{wall_ms() + int(life_s * 1000)}-{trigger_id}"
            trigger, job = wait_for(service, name), name if service in STOPPABLE else ""
        else:
            job, stop = f"{NEVER_MS}-{trigger_id}", rng.random() < 0.3
            trigger, may_end = wait_for(rng.choice(STOPPABLE), job), _TIMED_OUT
            common |= {"timeout": life_s, "on_timeout": "cancel" if stop else "leave"}
        yield {"trigger": trigger, **common}, Promise(trigger_id, reply_to == KEPT, may_end, job, stop)


class Producer:
    """One of them. It sends each batch until Redis has taken it: the ids stay, so that is no second deferral."""

    def __init__(self, system: LiveSystem, ledger: Ledger, name: str, share: int, mix: Mix) -> None:
        self._system, self._ledger, self._share = system, ledger, share
        self._mix = mix
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send the batch in hand until it is taken, and end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with self._system.client() as td:
                while not self._stop.wait(_EVERY_S):
                    self._fill(td)
        except BaseException as error:  # noqa: BLE001 - raised by whoever asks for it
            self.failure = error

    def _fill(self, td: Client) -> None:
        try:
            room = self._share - self._system.in_flight() // 2
        except redis.RedisError:
            return  # later
        if room > 0:
            batch = [next(self._mix) for _ in range(min(room, _AT_ONCE))]
            insist(td, [deferral for deferral, _ in batch])
            self._ledger.note([promise for _, promise in batch])


def insist(td: Client, deferrals: list[Deferral], within_s: float = 120.0) -> None:
    """Defer, and again with the same ids where Redis did not answer, until it has taken all of them."""
    end_s = time.monotonic() + within_s
    while True:
        try:
            td.defer_many(deferrals)
        except (RedisUnavailableError, RedisRefusedError):
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)
        else:
            return
