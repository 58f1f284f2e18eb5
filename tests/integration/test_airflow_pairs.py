"""Every pair of Airflow's amazon provider, run here: what its class yields on the same answers of AWS is the measure.

The expectations were recorded from Airflow itself (`tests/data/make_airflow_pairs.py`). Where a case has a `defect`,
Airflow is wrong and what triggerd must answer instead stands beside it.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.fake_aws import NO_QUOTA, FakeAws, Fault
from triggerd.airflow.encoding import decode
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.daemon.registry import Registry, build
from triggerd.envelope import unpack
from triggerd.errors import ConfigError, TriggerdError, WaiterDefinitionError
from triggerd.settings import AwsSettings, ConnectionSettings, QuotaSettings
from triggerd.testing import LocalContext
from triggerd.trigger import TriggerEvent

RECORDED = json.loads((Path(__file__).parents[1] / "data/airflow_pairs.json").read_text())
PAIRS: dict[str, dict[str, Any]] = RECORDED["pairs"]
CASES = [
    pytest.param(name, case, id=f"{name}-{case['name']}") for name, pair in PAIRS.items() for case in pair["cases"]
]
NOT_BY_AWS = {ConfigError.code, WaiterDefinitionError.code}
TRIGGERS = "airflow.providers.amazon.aws.triggers."
MWAA = {"inject_host_prefix": False}  # 127.0.0.1 has no env.127.0.0.1


def cases(*, of_s3: bool) -> list[Any]:
    found = ((name, case) for name, pair in PAIRS.items() for case in pair["cases"])
    wanted = ((name, case) for name, case in found if (PAIRS[name]["service"] == "s3") is of_s3)
    return [pytest.param(name, case, id=f"{name}-{case['name']}") for name, case in wanted]


async def built(name: str, kwargs: dict[str, Any]) -> Any:
    return build(await Registry((), {}).load(TRIGGERS + name), kwargs)


@asynccontextmanager
async def scripted(service: str, answers: dict[str, list[Any]]) -> AsyncIterator[Aws]:
    async with FakeAws(service) as fake:
        for operation, listed in answers.items():
            fake.script(operation, *(answer(each) for each in listed))
        async with open_aws(settings(fake.url)) as aws:
            yield aws


def answer(recorded: dict[str, Any]) -> Any:
    return Fault(recorded["!"], status=recorded.get("status", 400)) if "!" in recorded else recorded


def settings(url: str) -> AwsSettings:
    connection = ConnectionSettings(region="us-east-1", endpoint_url=url, botocore=MWAA)
    quotas = {name: QuotaSettings(**figures) for name, figures in NO_QUOTA.items()}
    return AwsSettings(connections={"default": connection}, quotas=quotas)


async def outcome_of(trigger: Any, aws: Aws, most_polls: int = 2**53) -> dict[str, Any]:
    """What the first event carries, with "*" for texts to read, or that there was none."""
    trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=2**52, restored=None)
    try:
        async with asyncio.timeout(20), aclosing(trigger.run()) as events:
            async for event in events:
                assert isinstance(event, TriggerEvent)
                assert event.details.get("error_type") not in NOT_BY_AWS
                assert event.details.get("polls", 0) <= most_polls
                return {"payload": event.payload | ({"message": "*"} if event.payload.get("message") else {})}
    except TriggerdError:
        return {"raises": True}
    finally:
        await trigger.cleanup()
    return {"raises": True}


def expected(case: dict[str, Any]) -> dict[str, Any]:
    outcome = case["ours"] if "defect" in case else case["airflow"]
    return {"raises": True} if "raises" in outcome else {"payload": decode(outcome["payload"])}


@pytest.mark.parametrize(("name", "case"), cases(of_s3=False))
async def test_the_payload_is_airflows(name: str, case: dict[str, Any]) -> None:
    async with scripted(PAIRS[name]["service"], case["answers"]) as aws:
        trigger = await built(name, PAIRS[name]["encoded"])
        assert await outcome_of(trigger, aws, 1 if "gap" in case else 2**53) == expected(case)


@pytest.mark.parametrize(("name", "case"), cases(of_s3=True))
async def test_the_payload_is_airflows_on_motos_s3(
    name: str, case: dict[str, Any], moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client(
        "s3", endpoint_url=moto_url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="s"
    )
    for operation, [parameters] in case["answers"].items():
        await asyncio.to_thread(getattr(client, operation), **parameters)
    async with open_aws(settings(moto_url)) as aws:
        assert await outcome_of(await built(name, PAIRS[name]["encoded"]), aws) == expected(case)


@pytest.mark.parametrize("name", PAIRS)
async def test_what_the_sdk_packs_and_what_the_task_runner_sends_is_one_trigger(name: str) -> None:
    packed = unpack(base64.b64decode(PAIRS[name]["packed"]))
    assert (await built(name, packed)).serialize() == (await built(name, PAIRS[name]["encoded"])).serialize()


@pytest.mark.parametrize("name", PAIRS)
async def test_a_trigger_that_stands_for_airflows_is_the_same_after_a_move(name: str) -> None:
    trigger = await built(name, PAIRS[name]["encoded"])
    classpath, kwargs = trigger.serialize()
    assert build(await Registry((), {}).load(classpath), kwargs).serialize() == (classpath, kwargs)


def test_every_class_but_the_two_that_are_refused_is_walked() -> None:
    assert len(PAIRS) == 86
    for name, pair in PAIRS.items():
        names = [case["name"] for case in pair["cases"]]
        assert "success" in names, name
        assert len(names) > 1, f"{name}: a failure, too"
