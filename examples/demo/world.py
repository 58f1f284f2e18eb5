"""AWS, played by moto, and what happens on it without our doing: objects appear, somebody cancels queries."""

import json
import os
import threading
from types import TracebackType
from typing import Any, Self

import boto3

from examples.demo import jobs
from examples.demo.processes import DemoError, fetch
from examples.demo.records import Started
from triggerd.clock import monotonic_s, wall_ms

FIRST_OBJECT_S, LAST_OBJECT_S = 7.0, 17.0
_CANCEL_EVERY_S = 1.0

# moto moves these by one step at each look, at the earliest so many seconds after the last step.
_SECONDS_A_STEP = {"ecs::task": 1, "glue::job_run": 3, "athena::execution": 3}

_PIPELINE = {
    "StartAt": "Work",
    "States": {
        "Work": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Check"},
        "Check": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.broken", "BooleanEquals": True, "Next": "Broken"}],
            "Default": "Done",
        },
        "Broken": {"Type": "Fail", "Error": "BadInput", "Cause": "this execution fails on purpose"},
        "Done": {"Type": "Succeed"},
    },
}


def move_to(endpoint_url: str) -> None:
    """Let boto3 mean the moto at this URL, here and in every child process.

    Whatever this process was told of an account, a triggerd, a systemd or a proxy is none of the demo's business.
    """
    for name in list(os.environ):
        if name.startswith(("AWS_", "TRIGGERD_", "WATCHDOG_")) or name == "NOTIFY_SOCKET":
            del os.environ[name]
    os.environ |= {
        "AWS_ENDPOINT_URL": endpoint_url, "AWS_DEFAULT_REGION": jobs.REGION,
        "AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip


class World:
    """What is there before the first job starts (`prepare`), and a thread in which things happen."""

    def __init__(self, endpoint_url: str, planned: list[jobs.Job]) -> None:
        self._put_ms: dict[str, int] = {}
        self._url, self._planned = endpoint_url, planned
        self._session = boto3.Session()
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._live, name="world")

    def prepare(self) -> None:
        """Make clusters, jobs, buckets, and tell moto that time passes."""
        for model, seconds in _SECONDS_A_STEP.items():
            transition = {"progression": "time", "seconds": seconds}
            self._moto("state-manager/set-transition", {"model_name": model, "transition": transition})
        self._moto("config", {"stepfunctions": {"execute_state_machine": True}})
        ecs = self._client("ecs")
        fargate = [{"capacityProvider": "FARGATE", "weight": 1}]
        ecs.create_cluster(
            clusterName=jobs.CLUSTER, capacityProviders=["FARGATE"], defaultCapacityProviderStrategy=fargate
        )
        container = {"name": "main", "image": "report", "memory": 64}
        ecs.register_task_definition(family=jobs.TASK_DEFINITION, containerDefinitions=[container])
        command = {"Name": "glueetl", "ScriptLocation": f"s3://{jobs.BUCKET}/etl.py"}
        role = f"arn:aws:iam::{jobs.ACCOUNT}:role/demo"
        self._client("glue").create_job(
            Name=jobs.GLUE_JOB, Role=role, Command=command, ExecutionProperty={"MaxConcurrentRuns": 10_000}
        )
        self._client("stepfunctions").create_state_machine(
            name=jobs.STATE_MACHINE.rpartition(":")[2], definition=json.dumps(_PIPELINE), roleArn=role
        )
        self._client("s3").create_bucket(Bucket=jobs.BUCKET)
        for workgroup in (jobs.WORKGROUP, jobs.CANCELLED_WORKGROUP):
            output = {"OutputLocation": f"s3://{jobs.BUCKET}/athena/"}
            self._client("athena").create_work_group(Name=workgroup, Configuration={"ResultConfiguration": output})
        for cluster in jobs.clusters(self._planned):
            self._client("redshift").create_cluster(
                ClusterIdentifier=cluster, NodeType="ra3.large", MasterUsername="demo", MasterUserPassword="Demo-0000"
            )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise DemoError where the world's thread has died."""
        if self._failure is not None:
            raise DemoError(f"the world came to an end: {self._failure!r}") from self._failure

    def reached_ms(self, started: list[Started]) -> dict[str, int]:
        """When AWS itself had got there (epoch ms), by event id: for objects, and for state machines that executed."""
        client = self._client("stepfunctions")
        pages = client.get_paginator("list_executions").paginate(stateMachineArn=jobs.STATE_MACHINE)
        instants = dict(self._put_ms)
        for page in pages:
            for execution in page["executions"]:
                if "stopDate" in execution:
                    instants[execution["executionArn"]] = int(execution["stopDate"].timestamp() * 1000)
        return {
            event_id: instants[expected.value]
            for job in started for event_id, expected in job.expected.items() if expected.value in instants
        }  # fmt: skip

    def _live(self) -> None:
        try:
            self._put_and_cancel()
        except Exception as error:  # noqa: BLE001 - raised again by `check`
            self._failure = error

    def _put_and_cancel(self) -> None:
        """Put one object after the other; in between, cancel what runs in the workgroup that is doomed."""
        s3, athena = self._client("s3"), self._client("athena")
        coming = jobs.objects(self._planned)
        gap_s = (LAST_OBJECT_S - FIRST_OBJECT_S) / max(1, len(coming) - 1)
        began_s, cancelled_s = monotonic_s(), 0.0
        cancelled: set[str] = set()
        at_s = {key: began_s + FIRST_OBJECT_S + number * gap_s for number, key in enumerate(coming)}
        while not self._over.wait(0.1):
            for key in [key for key in coming if at_s[key] <= monotonic_s()]:
                coming.remove(key)
                self._put_ms[key] = wall_ms()
                s3.put_object(Bucket=jobs.BUCKET, Key=key, Body=b"id,value\n")
            if monotonic_s() - cancelled_s > _CANCEL_EVERY_S:
                cancelled_s = monotonic_s()
                queries = athena.list_query_executions(WorkGroup=jobs.CANCELLED_WORKGROUP)["QueryExecutionIds"]
                for query in set(queries) - cancelled:
                    athena.stop_query_execution(QueryExecutionId=query)
                cancelled.update(queries)

    def _client(self, service: str) -> Any:
        return self._session.client(service)

    def _moto(self, path: str, body: object) -> None:
        fetch(f"{self._url}/moto-api/{path}", json.dumps(body).encode())
