"""What others do in the account that moto plays, and Airflow's pairs that wait for it."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3

from tests.support.moto_account import Polls, aws_of
from tests.support.servers import MotoServer
from triggerd.daemon.registry import Registry, build
from triggerd.errors import WaitError
from triggerd.testing import LocalContext
from triggerd.trigger import TriggerEvent

ROLE = "arn:aws:iam::123456789012:role/etl"
SUBNETS = ["subnet-1", "subnet-2"]
_TRIGGERS = "airflow.providers.amazon.aws.triggers."
_CLASSES = json.loads((Path(__file__).parents[1] / "data/airflow_pairs.json").read_text())["classes"]
_PACE = {"waiter_delay": 0.02, "waiter_max_attempts": 900, "poll_interval": 0.02, "poke_interval": 0.02}


class Account:
    """The account by boto3, ``account("glue").create_job(...)``, and how its models move."""

    def __init__(self, moto: MotoServer) -> None:
        self.moto = moto
        self._clients: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(service, endpoint_url=self.moto.url, region_name="us-east-1")
        return self._clients[service]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()

    def slowly(self, model: str, reads: int = 2) -> None:
        """Let every step of the model take so many reads."""
        self.moto.set_transition(model, progression="manual", times=reads)

    def role(self) -> str:
        """A role that is there."""
        return str(self("iam").create_role(RoleName="etl", AssumeRolePolicyDocument="{}")["Role"]["Arn"])


@dataclass(frozen=True)
class Wait:
    """What an Airflow operator has deferred with, and what must come of it."""

    kwargs: dict[str, Any]
    payload: dict[str, Any] | str
    """Of the first event, with a part of its message. A text: the trigger fails, and says that."""
    then: Callable[[], object] | None = None
    """What others do as soon as the wait has looked in vain."""


Start = Callable[[Account], Wait]


async def outcome_of(moto: MotoServer, name: str, start: Start) -> tuple[Any, Any]:
    """Start the work and wait for it by the pair of Airflow's class `name`: what came of it, and what must.

    A message is given back as it must be where it has that in it.
    """
    polls = Polls()
    with Account(moto) as account:
        async with aws_of(moto.url, polls) as aws:
            wait = await asyncio.to_thread(start, account)
            trigger = await _built(name, wait.kwargs)
            trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=2**52, restored=None)
            waiting = asyncio.create_task(_first(trigger))
            if wait.then is not None:
                await polls.in_vain(waiting, 2)
                await asyncio.to_thread(wait.then)
            return _shortened(await waiting, wait.payload), wait.payload


async def _built(name: str, kwargs: dict[str, Any]) -> Any:
    known = {*_CLASSES[name]["has"], *_CLASSES[name]["needs"]}
    pace = {key: value for key, value in _PACE.items() if key in known}
    aws = {"aws_conn_id": "aws_default"} if "aws_conn_id" in known else {}
    return build(await Registry((), {}).load(_TRIGGERS + name), {**pace, **aws, **kwargs})


def _shortened(outcome: Any, expected: Any) -> Any:
    if isinstance(outcome, str):
        return expected if isinstance(expected, str) and expected in outcome else outcome
    said, wanted = outcome.get("message"), isinstance(expected, dict) and expected.get("message")
    return {**outcome, "message": wanted} if said and wanted and wanted in said else outcome


async def _first(trigger: Any) -> dict[str, Any] | str:
    try:
        async with asyncio.timeout(20), aclosing(trigger.run()) as events:
            async for event in events:
                assert isinstance(event, TriggerEvent)
                return dict(event.payload)
    except WaitError as error:
        return str(error)
    finally:
        await trigger.cleanup()
    raise AssertionError(f"{type(trigger).__name__} ended without an event")
