"""Writes `airflow_pairs.json`: what Airflow's triggers serialize to, and what they yield on scripted answers of AWS.

So the expectations of `tests/integration/test_airflow_pairs.py` are Airflow's, not ours. Run with the Python of an
environment that has Airflow (`make bench-airflow` makes one), which borrows what it lacks from triggerd's:

    PYTHONPATH=.:.venv/lib/python3.11/site-packages .cache/bench-airflow/bin/python -m tests.data.make_airflow_pairs

Of all 88 classes it has the constructor's arguments. Of each that triggerd runs it has its kwargs as the task runner
sends them (`encoded`), the same as triggerd's SDK packs them (`packed`, base64), and per case the answers of AWS and
Airflow's outcome: ``{"payload": ...}`` with "*" for message texts, ``{"raises": ...}``, or ``{"endless": true}``.
"""

import asyncio
import base64
import importlib
import importlib.metadata
import inspect
import json
import logging
import os
import pkgutil
import re
import sys
import types
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import boto3
from airflow.sdk.serde import serialize
from airflow.triggers.base import BaseTrigger
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ServiceModel
from moto.server import ThreadedMotoServer

from tests.data.airflow_samples import NO_RIGHT, SAMPLES, Sample
from tests.support.fake_aws import FakeAws, Fault
from triggerd.airflow_pairs import ready_kwargs
from triggerd.envelope import pack

TRIGGERS = "airflow.providers.amazon.aws.triggers"
ABSTRACT = ("AwsBaseWaiterTrigger", "BedrockBaseBatchInferenceTrigger")
OUT = Path(__file__).with_name("airflow_pairs.json")
ENDLESS_S = 2.0
_sleep = asyncio.sleep


async def _hardly_sleep(seconds: float, result: Any = None) -> Any:
    return await _sleep(min(seconds, 0.01), result)


def class_of(name: str) -> Any:
    module, _, cls = name.rpartition(".")
    return getattr(importlib.import_module(f"{TRIGGERS}.{module}"), cls)


def pretend_kubernetes() -> None:
    """The module `eks` needs Airflow's Kubernetes provider for one of its seven classes."""
    for name in ("cncf", "cncf.kubernetes", "cncf.kubernetes.triggers", "cncf.kubernetes.triggers.pod"):
        sys.modules[f"airflow.providers.{name}"] = types.ModuleType(name)
    pod: Any = sys.modules["airflow.providers.cncf.kubernetes.triggers.pod"]
    pod.KubernetesPodTrigger = type("KubernetesPodTrigger", (BaseTrigger,), {})


def concrete_classes() -> dict[str, Any]:
    """Every trigger class of the provider that can be deferred to, by module and name."""
    package = importlib.import_module(TRIGGERS)
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        for name, cls in vars(importlib.import_module(f"{TRIGGERS}.{module.name}")).items():
            ours = (
                inspect.isclass(cls) and issubclass(cls, BaseTrigger) and cls.__module__ == f"{TRIGGERS}.{module.name}"
            )
            if ours and name not in ABSTRACT:
                found[f"{module.name}.{name}"] = cls
    return found


def arguments_of(cls: Any) -> dict[str, Any]:
    """The constructor's arguments: those that are needed, and the others with their defaults."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    named = [each for each in parameters if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]
    needs = [each.name for each in named if each.default is each.empty]
    has = {each.name: each.default for each in named if each.default is not each.empty}
    if len(named) < len(parameters) and "aws_conn_id" not in {*needs, *has}:
        has["aws_conn_id"] = "aws_default"  # the base class's
    return {"needs": needs, "has": has}


# --- the cases of a waiter --------------------------------------------------------------------------------------


def rules_of(service: str, waiter_name: str) -> dict[str, Any]:
    """Airflow's definition, else botocore's."""
    own = (
        Path(importlib.import_module("airflow.providers.amazon.aws").__file__ or "").parent / f"waiters/{service}.json"
    )
    found = json.loads(own.read_text())["waiters"] if own.exists() else {}
    if waiter_name not in found:
        found = Loader().load_service_model(service, "waiters-2")["waiters"]
        waiter_name = next(name for name in found if name == waiter_name or xform_name(name) == waiter_name)
    return dict(found[waiter_name])


def waiter_cases(service: str, waiter_name: str) -> list[Sample]:
    """One success and one failure, as the waiter has them; where it knows no failure, a denied call."""
    rules = rules_of(service, waiter_name)
    operation = rules["operation"][0].upper() + rules["operation"][1:]
    model = ServiceModel(Loader().load_service_model(service, "service-2")).operation_model(operation)
    members = {*model.output_shape.members}  # a few rules look at what this call never answers
    cases = []
    for state, otherwise in (("success", None), ("failure", NO_RIGHT)):
        accepting = sorted((each for each in rules["acceptors"] if each["state"] == state), key=_plainness)
        answers = (answer_for(each) for each in accepting)
        fitting = (each for each in answers if each is not None and ("!" in each or {*each} <= members))
        answer = next(fitting, otherwise)
        assert answer is not None, (service, waiter_name, state)
        cases.append({"name": state, "answers": {operation: [answer]}})
    return cases


def _plainness(acceptor: dict[str, Any]) -> bool:
    """Last come the states that are on the way to others, and those that stand for something else in Airflow."""
    return not re.search("succe|complet|fail|error", str(acceptor["expected"]), re.IGNORECASE)


def answer_for(acceptor: dict[str, Any]) -> Any:
    """An answer of AWS that the acceptor accepts, where it is a plain one."""
    matcher, expected = acceptor["matcher"], acceptor["expected"]
    if matcher == "error":
        return {"!": expected, "status": 404} if isinstance(expected, str) else None
    argument = str(acceptor.get("argument", ""))
    if empty := re.fullmatch(r"length\((\w+)(\[\])?\) == `0`", argument):
        return {empty[1]: []} if expected is True else None
    if not re.fullmatch(r"\w+(\[0?\])?(\.\w+(\[0?\])?)*", argument):
        return None
    answer = expected
    for part in reversed(argument.split(".")):
        name, listed, _ = part.partition("[")
        answer = {name: [answer] if listed else answer}
    return answer


# --- what Airflow's class does ----------------------------------------------------------------------------------


async def outcome_of(trigger: Any) -> dict[str, Any]:
    try:
        async with asyncio.timeout(ENDLESS_S):
            async for event in trigger.run():
                payload = event.payload
                if isinstance(payload, dict) and "message" in payload:
                    payload = payload | {"message": "*"}
                return {"payload": serialize(payload)}
    except TimeoutError:
        return {"endless": True}
    except Exception as error:  # noqa: BLE001 - that is the outcome
        return {"raises": type(error).__name__}
    return {"raises": "no event"}


async def play(name: str, kwargs: dict[str, Any], service: str, answers: dict[str, list[Any]]) -> dict[str, Any]:
    config = {"inject_host_prefix": False} if service == "mwaa" else None  # 127.0.0.1 has no env.127.0.0.1
    trigger = class_of(name)(**kwargs | ({"botocore_config": config} if config else {}))
    if service == "s3":
        server = ThreadedMotoServer(port=0, verbose=False)
        server.start()
        try:
            os.environ["AWS_ENDPOINT_URL"] = url = "http://{}:{}".format(*server.get_host_and_port())
            await asyncio.to_thread(urllib.request.urlopen, f"{url}/moto-api/reset", b"")
            client = boto3.client("s3")
            for operation, [parameters] in answers.items():
                getattr(client, operation)(**parameters)
            return await outcome_of(trigger)
        finally:
            server.stop()
    async with FakeAws(service) as fake:
        for operation, listed in answers.items():
            fake.script(
                operation,
                *(Fault(each["!"], status=each.get("status", 400)) if "!" in each else each for each in listed),
            )
        os.environ["AWS_ENDPOINT_URL"] = fake.url
        return await outcome_of(trigger)


async def record(name: str, sample: Sample) -> dict[str, Any]:
    trigger = class_of(name)(**sample["kwargs"])
    classpath, kwargs = trigger.serialize()
    assert classpath == f"{TRIGGERS}.{name}", classpath
    service, cases = sample.get("service", ""), sample["cases"]
    if sample.get("waiter"):
        service = trigger.hook().client_type
        named = [case["name"] for case in cases]
        found = waiter_cases(service, trigger.waiter_name)
        cases = [case for case in found if case["name"] not in named] + cases
    recorded = []
    for case in cases:
        outcome = await play(name, sample["kwargs"], service, case["answers"])
        recorded.append(case | {"airflow": outcome})
        print(name, case["name"], json.dumps(outcome)[:150])
    packed = base64.b64encode(pack(ready_kwargs(trigger, classpath, kwargs))).decode()
    return {"service": service, "encoded": serialize(kwargs), "packed": packed, "cases": recorded}


async def main() -> None:
    pretend_kubernetes()
    setattr(asyncio, "sleep", _hardly_sleep)  # noqa: B010 - an assignment would be a type error
    classes = {name: arguments_of(cls) for name, cls in concrete_classes().items()}
    pairs = {name: await record(name, sample) for name, sample in SAMPLES.items()}
    versions = {name: importlib.metadata.version(f"apache-airflow{name}") for name in ("-core", "-providers-amazon")}
    OUT.write_text(
        json.dumps({"versions": versions, "classes": classes, "pairs": pairs}, indent=1, sort_keys=True) + "\n"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
    asyncio.run(main())
