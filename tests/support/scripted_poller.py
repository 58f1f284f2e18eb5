"""A poller on a clock that the test moves, and a client that it scripts: no socket, no sleep."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from botocore.exceptions import ClientError
from botocore.loaders import Loader

from triggerd.aws.acceptors import compiled
from triggerd.aws.budget import Budget
from triggerd.aws.connections import SharedClient
from triggerd.aws.forms import Forms, Place
from triggerd.aws.identity import Identity
from triggerd.aws.poller import Poller
from triggerd.aws.quotas import Quotas
from triggerd.aws.transport import Transport
from triggerd.aws.waiters import ServiceModels, Waiters
from triggerd.aws.waits import Wait
from triggerd.settings import AwsSettings, ConnectionSettings, QuotaSettings
from triggerd.trigger import WaitResponse

MODELS = ServiceModels(Loader())
WAITERS, FORMS = Waiters((), MODELS), Forms(MODELS)
JOB = WAITERS.get("glue", "job_complete")


def run(state: str, **more: Any) -> dict[str, Any]:
    return {"JobRun": {"JobRunState": state, **more}}


def fault(code: str, status: int = 400, operation: str = "GetJobRun", retry_after: str = "") -> ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": retry_after}}
    return ClientError({"Error": {"Code": code, "Message": "as scripted"}, "ResponseMetadata": metadata}, operation)


class Client:
    """As much of a Glue client as the poller uses. Plays `script`, the last answer for ever."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.calls = 0

    async def get_job_run(self, **parameters: Any) -> Any:
        self.calls += 1
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class AnyClient:
    """A client of any service whose every operation is answered by one function of its name and parameters."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any]) -> None:
        self.answer = answer
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, method: str) -> Any:
        async def call(**params: Any) -> Any:
            self.calls.append((method, params))
            found = self.answer(method, params)
            if isinstance(found, Exception):
                raise found
            return found

        return call

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)


class World:
    """An open poller, its clocks and what it counted."""

    def __init__(self, now_s: float = 1000.0, now_ms: int = 1_700_000_000_000, **settings: Any) -> None:
        self.now_s, self.now_ms = now_s, now_ms
        self.results: Counter[str] = Counter()
        settings = {"quotas": {"*": QuotaSettings(rate_per_s=10_000, burst=10_000)}, **settings}
        told = AwsSettings(transport="botocore", **settings)  # the client is scripted: there is nothing to prepare
        rng = random.Random(1)
        self.lags: list[float] = []
        self.budget = Budget(Quotas(told, MODELS), rng)
        self.poller = Poller(
            told, Transport(told), self.budget, self, clocks=(lambda: self.now_s, lambda: self.now_ms), rng=rng
        )

    async def __aenter__(self) -> Self:
        await self.poller.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.poller.close()

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        self.results[result] += 1

    def poll_lag(self, service: str, seconds: float) -> None:
        self.lags.append(seconds)

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        self.results[f"merge {why}"] += 1

    def start(self, client: SharedClient, run_id: str = "r", **more: Any) -> asyncio.Task[WaitResponse]:
        numbers = more.pop("delay", 10.0), more.pop("max_attempts", 4)
        wait = Wait(JOB, *numbers, (), more.pop("on_poll", None), restored=more.pop("restored", None))
        return asyncio.create_task(self.ended(wait, client, {"JobName": "j", "RunId": run_id}))

    async def ended(
        self, wait: Wait, client: SharedClient, params: dict[str, Any], place: Place | None = None
    ) -> WaitResponse:
        """A wait from its beginning to its end."""
        future = self.poller.join(wait, client, params, place)
        try:
            return wait.response(await future, self.now_s)
        finally:
            self.poller.leave(wait)

    def start_any(
        self, client: SharedClient, waiter: str, params: dict[str, Any], queries: tuple[str, ...] = (), **more: Any
    ) -> asyncio.Task[WaitResponse]:
        """A wait of any service, merged where there is a form for it."""
        definition = WAITERS.get(client.service, waiter)
        numbers = more.pop("delay", 10.0), more.pop("max_attempts", 1000)
        wait = Wait(definition, *numbers, tuple(compiled(query) for query in queries), more.pop("on_poll", None))
        place = FORMS.find(client.service, definition.operation, params, (*definition.acceptors.reads, *queries))
        return asyncio.create_task(self.ended(wait, client, params, place))

    async def begin(self) -> None:
        """Let what was started join, and its first polls be made."""
        await self.settle()
        await self.settle(0.1)

    async def settle(self, seconds: float = 0.0) -> None:
        """Let the clocks stand `seconds` later, and everything that is due happen."""
        self.now_s += seconds
        self.now_ms += round(1000 * seconds)
        self.poller._wake.set()
        for _ in range(12):
            await asyncio.sleep(0)

    async def until(self, task: asyncio.Task[WaitResponse], step_s: float = 1.0) -> float:
        """Move the clocks until the task has ended; how many seconds that took."""
        began_s = self.now_s
        await self.settle()
        while not task.done():
            await self.settle(step_s)
            assert self.now_s - began_s < 10_000, "the wait does not end"
        return self.now_s - began_s


def shared(client: Any, service: str = "glue", **settings: Any) -> SharedClient:
    return SharedClient(service, client, Identity.of(ConnectionSettings(**settings)), "us-east-1")
