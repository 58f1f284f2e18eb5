"""Many AWS services at once: a fake of each, with resources of one kind whose state a test sets."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any, Self

from tests.support.fake_aws import FakeAws, Fault
from tests.support.merge_world import (
    OK,
    WAITERS,
    World,
    ids_for,
    serve,
    single_item_shape,
    single_params,
    states_of,
    waiters_of,
)
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.aws.forms import Form, read_forms
from triggerd.aws.verdicts import decide
from triggerd.aws.waiters import WaiterDefinition
from triggerd.settings import AwsSettings
from triggerd.trigger import WaitResponse


class ServiceWorld:
    """One service with `count` resources that somebody waits for. All go on until `end`."""

    def __init__(self, service: str, waiter: str, count: int) -> None:
        self.service = service
        self.waiter: WaiterDefinition = WAITERS.get(service, waiter)
        self.form = _form(self.waiter)
        self.fake = FakeAws(service)
        self.ids = [*islice(ids_for(self.form), count)]
        self._states = self._by_decision()
        self.world = World(self.form, {one: self._item(one, "goes on") for one in self.ids})
        serve(self.fake, self.world)

    def end(self, ending: str, *ids: str) -> None:
        """Let these resources come to a state that ends their waits by ``success`` or ``failure``."""
        for one in ids:
            self.world.items[one] = self._item(one, ending)

    def remove(self, one: str) -> None:
        """Let a resource be gone, if it is known what the service says then."""
        if self.form.answer.missing != "single":
            del self.world.items[one]

    def start(self, aws: Aws, **more: Any) -> list[asyncio.Task[WaitResponse]]:
        """A wait for each resource."""
        return [
            asyncio.create_task(aws.wait(self.service, self.waiter.name, single_params(self.form, [one]), **more))
            for one in self.ids
        ]  # fmt: skip

    def decision(self, one: str) -> str:
        """What the single call says of this resource to its wait: ``goes on``, ``success``, ``failure``, ``error``."""
        return self._decision(self.world.single([one]))

    def named_in(self, answer: Mapping[str, Any]) -> list[str]:
        """The resources that an answer names."""
        text = repr({name: value for name, value in answer.items() if name != "ResponseMetadata"})
        return [one for one in self.ids if one in text]

    def _decision(self, answer: Mapping[str, Any] | Fault | None) -> str:
        assert answer is not None
        if isinstance(answer, Fault):
            answer = {"Error": {"Code": answer.code, "Message": answer.message}}
        decided = decide(self.waiter, {**answer, "ResponseMetadata": OK})
        if isinstance(decided, Exception):
            return "broken"
        if decided is None:
            return "error" if "Error" in answer else "goes on"
        return "goes on" if decided.state == "retry" else decided.state

    def _item(self, one: str, decision: str) -> dict[str, Any]:
        # A list may name its items otherwise than the single answer does.
        name = self.form.id if self.form.id in single_item_shape(self.form).members else self.form.answer.key
        return {**self._states[decision][-1], name: one, self.form.answer.key: one}

    def _by_decision(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for state in states_of(self.form):
            decision = self._decision(World(self.form, {self.ids[0]: state}).single([self.ids[0]]))
            found.setdefault(decision, []).append(state)
        return found


def _form(waiter: WaiterDefinition) -> Form:
    return next(form for form in read_forms() if form.service == waiter.service and waiter in waiters_of(form))


class ServicesWorld:
    """Several services; one connection leads to them all."""

    def __init__(self, waiters: Mapping[str, str], count: int) -> None:
        self.services: Sequence[ServiceWorld] = [ServiceWorld(name, one, count) for name, one in waiters.items()]
        self._open = AsyncExitStack()

    def settings(self, **more: Any) -> AwsSettings:
        connection = more.pop("connection", {})
        ours = {each.service: each.fake.url for each in self.services}
        connection["endpoints"] = ours | connection.get("endpoints", {})
        return self.services[0].fake.settings(connection=connection, **more)

    @property
    def calls(self) -> int:
        """Calls so far."""
        return sum(each.fake.calls.total() for each in self.services)

    async def rounds(self, count: int) -> None:
        """Return once each service was asked so many times more."""
        wanted = {each: each.fake.calls.total() + count for each in self.services}
        await eventually(lambda: all(each.fake.calls.total() >= calls for each, calls in wanted.items()), 30)

    async def __aenter__(self) -> Self:
        for each in self.services:
            await self._open.enter_async_context(each.fake)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
