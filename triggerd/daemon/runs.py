"""What runs in this daemon: one `Run` per trigger, the table of them, and the room for more."""

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from triggerd.metrics import TriggerMetrics
from triggerd.streams.trigger_queue import ClaimedTrigger

INTERRUPT_EVERY_S = 5.0
"""Between two cancellations of a run that goes on; time enough for its own `finally` blocks."""
ABANDON_AFTER_S = 10.0
"""A trigger's code that was told to end and still goes on after this long is left to itself."""

CANCEL_MESSAGE = "__airflow_user_action__"
"""With every cancellation: an Airflow trigger takes one without it for a user's, and might stop its remote job."""


class StopCause(enum.Enum):
    """Why a run is stopped. Only CANCELLED and STOPPING touch AWS, and only CANCELLED ends with an event of ours."""

    CANCELLED = "cancelled"
    """The user asked for it."""
    EXPIRED = "expired"
    """Ended in Redis by a sweep: its deadline passed."""
    STOPPING = "stopping"
    """Expired, and its remote work is to be stopped: its final event is out, its entry is kept until that is done."""
    RELEASED = "released"
    """Redis says that the trigger is not ours (any more)."""
    REFUSED = "refused"
    """Its event was refused, because the trigger is not ours or has ended."""
    DRAINED = "drained"
    """This daemon goes; another one takes over."""


class Holder(Protocol):
    """Whatever has a run's code executed elsewhere."""

    def on_stop(self) -> None:
        """The run was stopped; `cause` says why."""
        ...


class Run:
    """One trigger on its way to its outcome. Written by its own task and by `stop`, in one event loop."""

    __slots__ = ("_on_deaf", "abandoned", "cancelled_by", "cause", "classpath", "deadline_ms", "ended", "entry",
                 "events", "held", "id", "interruptible", "metrics", "resume", "seq", "settled", "settling", "spawned",
                 "successor", "task", "trigger")  # fmt: skip

    def __init__(self, claimed: ClaimedTrigger, on_deaf: Callable[["Run", str], None]) -> None:
        """
        Args:
            on_deaf: Called with the run and the step of its trigger, "run()", that heeds no cancellation.
        """
        self.id, self.entry = claimed.id, claimed.entry
        self.deadline_ms = claimed.deadline_ms
        self.cancelled_by = claimed.cancel
        # Adopted with something not yet carried out: the former owner died over it.
        self.cause: StopCause | None = None
        if claimed.stopping:
            self.cause = StopCause.STOPPING
        elif claimed.cancel is not None:
            self.cause = StopCause.CANCELLED
        self.seq = claimed.seq  # of the last event that was published
        self.classpath = ""  # until the envelope was decoded
        self.resume = b""
        self.settling = False  # an event is on its way to Redis
        self.settled = False  # the final event was published
        self.interruptible = False  # the task stands inside the trigger's run(), so it may be cancelled
        self.metrics: TriggerMetrics | None = None
        self.abandoned = False  # its code heeds no cancellation and was left to itself
        self.task: asyncio.Task[None] | None = None
        self.trigger: Any = None
        self.events: AsyncIterator[Any] | None = None  # the generator of its run(), once that is asked for an event
        self._on_deaf = on_deaf
        self.held: Holder | None = None  # in quarantine: its code runs elsewhere
        # What the trigger itself started and has not ended yet; see `containment`.
        self.spawned: set[asyncio.Task[Any]] | None = None
        self.ended = False  # the run is over and cleaned up: its trigger may start nothing more
        # The same entry, ours again while this run, released before, still ends. It begins anew after that.
        self.successor: ClaimedTrigger | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is to come of the trigger's own run()."""
        return self.settled or self.cause is not None

    @property
    def in_this_task(self) -> bool:
        """Whether the current task still drives this run; False in one that was abandoned.

        Only a run's own tasks may ask. Which task is the current one costs a system call (Python 3.11), and this is
        asked several times in each run.
        """
        return not self.abandoned or self.task is asyncio.current_task()

    @property
    def driver(self) -> asyncio.Task[Any]:
        """The current task, where a task of this run asks."""
        task = asyncio.current_task() if self.abandoned else self.task
        assert task is not None  # noqa: S101 - only ever asked from a task of the run
        return task

    def stop(self, cause: StopCause) -> None:
        """Stop driving the trigger; the first cause counts.

        The task is cancelled only while it stands in the trigger's run(). A publish, an on_cancel or a clean-up
        in progress is never cut off by this; the task looks at `cause` when it comes back from there.
        """
        if cause is StopCause.DRAINED:
            self.successor = None
        if self.over:
            return
        self.cause = cause
        if self.held is not None:
            self.held.on_stop()
        else:
            self._interrupt()

    def _interrupt(self, since_s: float = 0.0) -> None:
        if not self.interruptible or self.task is None:
            return
        if since_s >= ABANDON_AFTER_S:
            self._on_deaf(self, "run()")
            return
        self.task.cancel(CANCEL_MESSAGE)
        # Once more for a trigger that did not notice: it caught the first, or was doing its last await.
        self.task.get_loop().call_later(INTERRUPT_EVERY_S, self._interrupt, since_s + INTERRUPT_EVERY_S)


class Capacity:
    """Room for runs, shared by all queues of the daemon. Reserve before claiming, give back when a run ends."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._on_room: list[Callable[[], None]] = []

    @property
    def free(self) -> int:
        return max(0, self.limit - self._used)

    def when_room(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever there is room again after there was none."""
        self._on_room.append(call)

    def reserve(self, most: int) -> int:
        """Take up to `most` places; answers how many."""
        got = min(most, self.free)
        self._used += got
        return got

    def take(self, places: int) -> None:
        """Take places even beyond the limit: for triggers that are ours already."""
        self._used += places

    def unreserve(self, places: int) -> None:
        """Give places of a reservation back that were not needed: there is no more room than before it."""
        self._used -= places

    def give_back(self, places: int) -> None:
        """A run has ended."""
        was_full = self._used >= self.limit
        self._used -= places
        if was_full and self._used < self.limit:
            for call in self._on_room:
                call()


class RunTable:
    """The runs of one queue, by entry and by trigger id. It owns their tasks, the abandoned ones too."""

    def __init__(self) -> None:
        self._by_entry: dict[str, Run] = {}
        self._by_id: dict[str, Run] = {}
        self._deaf: set[asyncio.Task[None]] = set()
        self._on_end: list[Callable[[Run], None]] = []
        self._empty = asyncio.Event()
        self._empty.set()
        self.cut_off = False
        """The process ends: nothing that is told to a run's task by a cancellation is the trigger's own doing."""

    def __len__(self) -> int:
        return len(self._by_entry)

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._by_entry.values()))

    def __contains__(self, entry: str) -> bool:
        return entry in self._by_entry

    def by_id(self, trigger_id: str) -> Run | None:
        return self._by_id.get(trigger_id)

    def by_entry(self, entry: str) -> Run | None:
        return self._by_entry.get(entry)

    def runs_entry(self, entry: str) -> bool:
        """Whether this entry has a run that will bring it to its outcome, or one that waits for its turn."""
        run = self._by_entry.get(entry)
        if run is None:
            return False
        ends_it = run.cause in (StopCause.CANCELLED, StopCause.STOPPING)
        return not run.over or run.settled or ends_it or run.successor is not None

    def cuts_off(self, run: Run) -> bool:
        """Whether the current task, one of this run, was cancelled as the process ends, not by the trigger."""
        while not self.cut_off and run.driver.cancelling():
            run.driver.uncancel()
        return self.cut_off

    def when_ended(self, call: Callable[[Run], None]) -> None:
        """Have `call` called with each run that has left the table."""
        self._on_end.append(call)

    def add(self, run: Run) -> None:
        self._by_entry[run.entry] = run
        self._by_id[run.id] = run
        self._empty.clear()

    def remove(self, run: Run) -> None:
        del self._by_entry[run.entry]
        # A queue emptied by hand can hand out the same id anew while the old run still ends.
        if self._by_id.get(run.id) is run:
            del self._by_id[run.id]
        if not self._by_entry:
            self._empty.set()
        for call in self._on_end:
            call(run)

    def let_go(self, run: Run) -> None:
        """Keep the run's task until it ends, which may be never, but wait for it no more."""
        if run.task is not None:
            run.task.set_name(f"trigger {run.id}, abandoned")  # its run has another task: should it block the loop
            self._deaf.add(run.task)
            run.task.add_done_callback(self._deaf.discard)

    async def wait_empty(self) -> None:
        """Until the last run has ended."""
        await self._empty.wait()

    async def abandon(self) -> None:
        """Cut off whatever still runs: the process ends."""
        self.cut_off = True
        tasks = [*self._deaf, *(run.task for run in self if run.task is not None)]
        for task in tasks:
            task.cancel(CANCEL_MESSAGE)
        await asyncio.wait(tasks, timeout=1.0) if tasks else None
