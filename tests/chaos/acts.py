"""What is done to the live system: each act breaks one thing for a while, or asks for something at a bad moment."""

import contextlib
import heapq
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import redis

from tests.chaos.judge import Promise
from tests.chaos.live_system import KEPT, LEASE_MS, LiveSystem
from tests.chaos.producers import Ledger, insist
from tests.support.fake_aws_process import NEVER_MS, wait_for
from triggerd import Client
from triggerd.errors import TriggerdError
from triggerd.streams.script import script
from triggerd.triggers.time import TimeDeltaTrigger

_LOST = ("claim", "publish", "enqueue", "adopt", "renew", "cancel", "checkpoint", "expire", "ack")
_OFTEN = {"kill -9 a daemon": 3, "freeze a daemon, longer than its lease": 2}
"""How much likelier than the others: triggers are to lose their owner several times."""
_ENDS = frozenset({"fired", "timed_out"})


class _Later:
    """Puts right again, in a thread of its own, what an act has broken: the acts may themselves wait for that."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="later")
        self._thread.start()

    def do(self, seconds: float, call: Callable[[], None]) -> None:
        """Have it called in so many seconds."""
        with self._lock:
            self._number += 1
            heapq.heappush(self._due, (time.monotonic() + seconds, self._number, call))

    def close(self) -> None:
        """Do at once all that is left."""
        self._closing.set()
        self._thread.join()
        self._do_due(float("inf"))

    def _run(self) -> None:
        while not self._closing.wait(0.05):
            self._do_due(time.monotonic())

    def _do_due(self, now_s: float) -> None:
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > now_s:
                    return
                call = heapq.heappop(self._due)[2]
            call()


class Acts:
    """Draws acts and carries them out."""

    def __init__(self, system: LiveSystem, ledger: Ledger, rng: random.Random) -> None:
        self._system, self._ledger, self._rng = system, ledger, rng
        self._later = _Later()
        self._number = 0
        self._told_to_end: set[int] = set()
        self._server_busy = False
        self._clients: list[Client] = [system.client(), system.client()]
        self._all: dict[str, Callable[[], None]] = {
            "kill -9 a daemon": self._kill_daemon,
            "freeze a daemon, shorter than its lease": lambda: self._freeze_daemon(0.3, 0.6),
            "freeze a daemon, longer than its lease": lambda: self._freeze_daemon(1.5, 3.0),
            "SIGTERM a daemon": self._end_daemon,
            "kill -9 a Resumer": self._kill_resumer,
            "freeze a Resumer, longer than its lease": self._freeze_resumer,
            "restart Valkey": lambda: self._restart_server(signal.SIGTERM),
            "kill -9 Valkey": lambda: self._restart_server(signal.SIGKILL),
            "freeze Valkey": self._freeze_server,
            "cut all connections": system.proxy.cut,
            "silence all connections": system.proxy.silence,
            "lose replies": self._lose_replies,
            "delay": self._delay,
            "SCRIPT FLUSH": self._flush_scripts,
            "AWS throttles": lambda: self._weather(0.7, "ThrottlingException", 400),
            "AWS fails": lambda: self._weather(0.5, "InternalFailure", 500),
            "cancel some": self._cancel,
            "short deadlines": self._short_deadlines,
            "defer the same ids twice": self._defer_twice,
            "extend some": self._extend,
        }

    @property
    def names(self) -> list[str]:
        """All acts."""
        return list(self._all)

    def act(self) -> str:
        """Carry out one, chosen at random; its name."""
        [name] = self._rng.choices(self.names, [_OFTEN.get(name, 1) for name in self.names])
        self._all[name]()
        return name

    def calm(self) -> None:
        """Put everything right, at once."""
        self._later.close()
        self._system.proxy.lose_nothing()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def _kill_daemon(self) -> None:
        self._system.fleet.kill(self._rng.randrange(len(self._system.fleet)))

    def _freeze_daemon(self, least: float, most: float) -> None:
        member = self._system.fleet.member(self._rng.randrange(len(self._system.fleet)))
        member.signal(signal.SIGSTOP)
        self._later.do(self._rng.uniform(least, most) * LEASE_MS / 1000, lambda: member.signal(signal.SIGCONT))

    def _end_daemon(self) -> None:
        index = self._rng.randrange(len(self._system.fleet))
        member = self._system.fleet.member(index)
        # A second signal ends it at once, and before it is ready a first one does, each with a status of its own.
        if member.pid not in self._told_to_end and self._system.fleet.is_ready(index):
            self._told_to_end.add(member.pid)
            member.signal(signal.SIGTERM)

    def _kill_resumer(self) -> None:
        self._rng.choice(self._system.resumers).kill()

    def _freeze_resumer(self) -> None:
        process = self._rng.choice(self._system.resumers).process
        process.send_signal(signal.SIGSTOP)
        self._later.do(self._rng.uniform(1.5, 3.0) * LEASE_MS / 1000, lambda: process.send_signal(signal.SIGCONT))

    def _restart_server(self, number: signal.Signals) -> None:
        if not self._server_busy:
            self._system.restart_server(number)

    def _freeze_server(self) -> None:
        if self._server_busy:
            return
        self._server_busy = True
        self._system.signal_server(signal.SIGSTOP)
        self._later.do(self._rng.uniform(0.2, 2.0) * LEASE_MS / 1000, self._thaw_server)

    def _thaw_server(self) -> None:
        self._system.signal_server(signal.SIGCONT)
        self._server_busy = False

    def _lose_replies(self) -> None:
        for verb in self._rng.choices(_LOST, k=5):
            self._system.proxy.lose_reply(script(verb).sha.encode(), after_bytes=self._rng.choice((0, 0, 3)))
        self._later.do(3.0, self._system.proxy.lose_nothing)

    def _delay(self) -> None:
        proxy = self._system.proxy
        proxy.to_client_s = self._rng.uniform(0.01, 0.2)

        def end() -> None:
            proxy.to_client_s = 0.0

        self._later.do(self._rng.uniform(1, 3), end)

    def _flush_scripts(self) -> None:
        with contextlib.suppress(redis.RedisError):  # it is away, and will have forgotten them anyway
            self._system.raw.script_flush()

    def _weather(self, share: float, code: str, status: int) -> None:
        self._system.aws.weather(share, code, status)
        self._later.do(self._rng.uniform(1, 5), self._system.aws.weather)

    def _cancel(self) -> None:
        for promise in self._ledger.some(self._rng, 20, with_job=self._rng.random() < 0.7):
            try:
                answer = self._clients[0].handle(promise.id).cancel(by="chaos")
            except TriggerdError:
                answer = ""  # lost: it may have been carried out
            self._ledger.note_cancel(promise.id, answer)

    def _extend(self) -> None:
        for promise in self._ledger.some(self._rng, 50):
            if promise.may_end != frozenset({"timed_out"}):
                continue  # a deadline that comes nearer would end what is to fire
            try:
                self._clients[0].handle(promise.id).extend(timedelta(seconds=self._rng.uniform(0, 10)))
            except TriggerdError:
                continue

    def _short_deadlines(self) -> None:
        """A time-out and the event, at the same moment or nearly."""
        names = [f"short-{self._next()}" for _ in range(30)]
        life_s = {name: self._rng.uniform(1, 3) for name in names}
        deferrals = [
            {"trigger": TimeDeltaTrigger(life_s[name]), "id": name, "timeout": life_s[name], "reply_to": KEPT}
            for name in names
        ]
        insist(self._clients[0], deferrals)
        self._ledger.note([Promise(name, kept=True, may_end=_ENDS) for name in names])

    def _defer_twice(self) -> None:
        """Two producers defer the same ids at the same time."""
        promises, deferrals = [], []
        for _ in range(20):
            name = f"twice-{self._next()}"
            job = f"{NEVER_MS}-{name}"
            deferrals.append({"trigger": wait_for("ecs", job), "id": name, "timeout": 5, "reply_to": KEPT})
            promises.append(Promise(name, kept=True, may_end=frozenset({"timed_out"}), job=job))
        with ThreadPoolExecutor(len(self._clients)) as pool:
            list(pool.map(lambda client: insist(client, deferrals), self._clients))
        self._ledger.note(promises)

    def _next(self) -> int:
        self._number += 1
        return self._number
