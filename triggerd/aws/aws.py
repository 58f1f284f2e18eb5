"""The AWS side as triggers see it: `client` and `wait` (the protocol `triggerd.trigger.AwsContext`)."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from jmespath.exceptions import JMESPathError

from triggerd.aws.acceptors import compiled
from triggerd.aws.budget import Budget
from triggerd.aws.connections import Connections, SharedClient
from triggerd.aws.forms import Forms, Place, read_forms
from triggerd.aws.hints import hint
from triggerd.aws.poller import Poller
from triggerd.aws.polling import PollMetrics
from triggerd.aws.quotas import Quotas
from triggerd.aws.reads import read_once
from triggerd.aws.rules import LENGTH, MAKES
from triggerd.aws.transport import Transport, is_transient
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters, check_arguments, new_loader
from triggerd.aws.waits import Wait
from triggerd.clock import monotonic_s
from triggerd.errors import ConfigError, WaiterDefinitionError
from triggerd.settings import AwsSettings
from triggerd.trigger import Progress, WaitResponse, WaitState

log = logging.getLogger(__name__)

Joined = tuple[Wait, asyncio.Future[Mapping[str, Any]]]


class Aws:
    """Connections, waiters and the poller of one process. Use it as an async context manager."""

    def __init__(self, settings: AwsSettings, metrics: PollMetrics) -> None:
        loader = new_loader()
        self._connections = Connections(settings, loader)
        self._models = ServiceModels(loader)
        self._waiters = Waiters(settings.waiter_folders, self._models)
        self._forms = Forms(self._models)
        self._unmerged = _services(settings.unmerged, self._models)
        self._budget = Budget(Quotas(settings, self._models), random.Random())  # noqa: S311 - jitter, not a secret
        self._poller = Poller(settings, Transport(settings), self._budget, metrics)
        self._definitions: dict[tuple[str, str], WaiterDefinition] = {}
        self._reads: dict[tuple[str, str], WaiterDefinition] = {}
        self._clients: dict[tuple[str, str, str | None], SharedClient] = {}

    async def __aenter__(self) -> Self:
        await self._connections.open()
        await self._connections.in_thread(read_forms)
        await self._poller.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._poller.close()
        self._clients.clear()
        await self._connections.close()

    def client(
        self, service: str, connection: str = "default", region: str | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """``async with`` gives a shared aiobotocore client; leaving the block does not close it.

        It retries throttles as an SDK does (3 attempts) and waits 60 s for an answer; the poller's own clients
        do not.

        Raises:
            ConfigError: There is no such connection. AwsCallError: it gives no usable client.
        """
        return self._connections.client(service, connection, region)

    def wait(
        self,
        service: str,
        waiter_name: str,
        waiter_args: Mapping[str, Any],
        *,
        delay: float | None = None,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
        status_queries: Sequence[str] = (),
        acceptors: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, str] | None = None,
        on_poll: Callable[[Progress], None] | None = None,
        restored: Any = None,
    ) -> Coroutine[Any, Any, WaitResponse]:
        """Wait as botocore's waiter would and return the last answer. See `AwsContext.wait`."""

        async def begin() -> Joined:
            definition = self._definitions.get((service, waiter_name))
            if definition is None or acceptors is not None or parameters:
                definition = await self._load(service, waiter_name, acceptors, parameters)
            check_arguments(self._models, definition, waiter_args)
            queries = _compile_queries(definition, status_queries)
            delay_s = definition.delay if delay is None else _checked_delay(definition, delay)
            attempts = definition.max_attempts if max_attempts is None else _checked_attempts(definition, max_attempts)
            client = service, connection, region
            shared = self._clients.get(client) or await self._connect(*client)
            wait = Wait(definition, delay_s, attempts, queries, on_poll, restored=_state(definition, restored))
            place = self._place(definition, waiter_args, status_queries)
            return wait, self._poller.join(wait, shared, waiter_args, place)

        return self._ended(begin())

    def poll(
        self,
        service: str,
        operation: str,
        params: Mapping[str, Any],
        *,
        connection: str = "default",
        region: str | None = None,
    ) -> Coroutine[Any, Any, WaitResponse]:
        """One read, however long throttles and outages delay it. See `AwsContext.poll`."""

        async def begin() -> Joined:
            definition = self._reads.get((service, operation))
            if definition is None:
                definition = await self._connections.in_thread(self._read, service, operation)
            check_arguments(self._models, definition, params)
            client = service, connection, region
            shared = self._clients.get(client) or await self._connect(*client)
            wait = Wait(definition, definition.delay, definition.max_attempts, (), None)
            return wait, self._poller.join(wait, shared, params)  # never merged: who asks may read any field

        return self._ended(begin())

    def _read(self, service: str, operation: str) -> WaiterDefinition:
        """A wait that the first answer ends. Runs in a thread."""
        self._reads[(service, operation)] = found = read_once(self._models, service, operation)
        return found

    def transient(self, error: BaseException) -> bool:
        """Whether what a call of `client` raised is a throttle, a 5xx or the network."""
        return is_transient(error)

    async def _ended(self, beginning: Coroutine[Any, Any, Joined]) -> WaitResponse:
        """All that stands while a wait lasts, a hundred thousand times over: nothing of how it began is kept."""
        wait, future = await beginning
        del beginning
        try:
            return wait.response(await future, monotonic_s())
        finally:
            self._poller.leave(wait)

    async def _connect(self, service: str, connection: str, region: str | None) -> SharedClient:
        found = await self._connections.shared(service, connection, region)
        self._clients[(service, connection, region)] = found
        return found

    def _place(self, definition: WaiterDefinition, params: Mapping[str, Any], queries: Sequence[str]) -> Place | None:
        if not self._unmerged.isdisjoint((definition.service, "*")):
            return None
        reads = (*definition.acceptors.reads, *queries)
        return self._forms.find(definition.service, definition.operation, params, reads)

    async def operation(self, service: str, waiter_name: str) -> str:
        """The operation that a waiter calls. Raises WaiterDefinitionError."""
        return (await self._connections.in_thread(self._waiters.find, service, waiter_name)).operation

    async def _load(
        self,
        service: str,
        waiter_name: str,
        acceptors: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> WaiterDefinition:
        get = self._waiters.get
        found = await self._connections.in_thread(get, service, waiter_name, acceptors, parameters)
        if acceptors is None and not parameters:  # of the others there are as many as triggers like
            self._definitions[(service, waiter_name)] = found
        return found

    def divide(self, parts: int) -> None:
        """Take one of so many equal parts of every budget: as many daemons share the account."""
        self._budget.divide(parts)

    def rates(self) -> Iterator[tuple[str, float]]:
        """Each quota in use, and the calls per second that its budget allows now."""
        return ((group.name, group.rate_per_s) for group in self._budget)

    def credentials(self) -> Iterator[tuple[str, int | None, int, int]]:
        """Each identity in use: its label, when its credentials end (ms since the epoch, None: never, or there are
        none yet), how many fetches gave some, how many failed."""
        return ((each.label, each.expires_ms, each.refreshed, each.failed) for each in self._connections.credentials())

    def overdue(self) -> int:
        """How many waits are overdue by three intervals."""
        return self._poller.overdue()

    @property
    def waits(self) -> int:
        """How many waits are in progress."""
        return self._poller.waits


def _services(names: Sequence[str], models: ServiceModels) -> frozenset[str]:
    """`aws.unmerged`. Raises ConfigError where it names no service."""
    for name in names:
        if name != "*" and name not in (known := models.services):
            raise ConfigError("aws.unmerged", name, f"botocore has no such service{hint(name, known)}")
    return frozenset(names)


def _checked_delay(definition: WaiterDefinition, delay: object) -> float:
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 < delay < float("inf"):
        raise WaiterDefinitionError(f"waiter {definition.label}: delay = {delay!r}: must be seconds above 0")
    return float(delay)


def _checked_attempts(definition: WaiterDefinition, attempts: object) -> int:
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise WaiterDefinitionError(f"waiter {definition.label}: max_attempts = {attempts!r}: must be 1 or more")
    return attempts


def _state(definition: WaiterDefinition, restored: object) -> WaitState | None:
    if restored is None:
        return None
    try:
        return WaitState.read(restored)
    except ValueError as error:
        log.warning("waiter %s begins anew: what was restored is %s", definition.label, error)
        return None


def _compile_queries(definition: WaiterDefinition, queries: Sequence[str]) -> tuple[Any, ...]:
    """They come from a queue, and ``[@, @][] | [@, @][] | ...`` doubles an answer as often as somebody likes."""
    found = []
    for query in queries:
        try:
            expression = compiled(query)
        except (JMESPathError, RecursionError) as error:
            raise WaiterDefinitionError(f"waiter {definition.label}: status query: {error}") from error
        if len(query) > LENGTH or expression.makes > MAKES:
            most = f"{LENGTH} characters, and {MAKES} functions or lists that it makes"
            raise WaiterDefinitionError(f"waiter {definition.label}: status query: at most {most}: {query[:100]!r}")
        found.append(expression)
    return tuple(found)
