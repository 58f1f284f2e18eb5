"""What the fake AWS knows: five services, what their waits ask, and answers of real size (`answers/`).

A resource runs until the instant in the last twelve hex digits of its id (epoch ms), and has ended well after it.
So nothing has to be set up, however many there are. A parent (a Glue job, a state machine) is named
``<name>-<children>-<instant>`` and so knows its children too.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from triggerd.clock import wall_ms

NEVER_MS = 10**14
"""For a resource that does not end."""
_ANSWERS = Path(__file__).parent / "answers"


@dataclass(frozen=True)
class Service:
    """How one service is waited for: waiter and operation names, and the arguments for the n-th of so many."""

    waiter: str
    operation: str
    arguments: Callable[[int, int, int], dict[str, Any]]


SERVICES = {
    "ecs": Service("tasks_stopped", "DescribeTasks", lambda number, _, end_ms: {
        "cluster": "batch", "tasks": [f"arn:aws:ecs:us-east-1:123456789012:task/batch/{number:020x}{end_ms:012x}"]}),
    "glue": Service("job_complete", "GetJobRun", lambda number, count, end_ms: {
        "JobName": f"etl-{count}-{end_ms:012x}", "RunId": f"jr_{number:052x}{end_ms:012x}"}),
    "stepfunctions": Service("execution_complete", "DescribeExecution", lambda number, count, end_ms: {
        "executionArn": f"{_EXECUTION}flow-{count}-{end_ms:012x}:{number:020x}{end_ms:012x}"}),
    "batch": Service("job_complete", "DescribeJobs", lambda number, _, end_ms: {
        "jobs": [f"{number:08x}-0000-4000-8000-{end_ms:012x}"]}),
    "redshift": Service("cluster_resumed", "DescribeClusters", lambda number, _, end_ms: {
        "ClusterIdentifier": f"dwh-{number:08x}-{end_ms:012x}"}),
    "ec2": Service("instance_running", "DescribeInstances", lambda number, _, end_ms: {
        "InstanceIds": [f"i-{number:05x}{end_ms:012x}"]}),
}  # fmt: skip
_EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:"
_PAGE = {"GetJobRuns": 200, "ListExecutions": 1000, "DescribeClusters": 100}


class Template:
    """An answer's bytes with the id and the state of one resource to be put in."""

    def __init__(self, name: str, running: str, ended: str) -> None:
        text = (_ANSWERS / name).read_text()
        self._text = json.dumps(json.loads(text), separators=(",", ":")) if name.endswith(".json") else text
        self._states = (running, ended)

    def fill(self, id_: str, parent: str = "") -> str:
        state = self._states[ended(id_)]
        text = self._text.replace("@id@", id_).replace("@state@", state)
        return text.replace("@parent@", parent).replace("@name@", id_.rpartition(":")[2]) if parent else text


def ended(id_: str) -> bool:
    return wall_ms() >= int(id_[-12:], 16)


_TASK = Template("ecs_task.json", "RUNNING", "STOPPED")
_RUN = Template("glue_job_run.json", "RUNNING", "SUCCEEDED")
_JOB = Template("batch_job.json", "RUNNING", "SUCCEEDED")
_FLOW = Template("states_execution.json", "RUNNING", "SUCCEEDED")
_SUMMARY = Template("states_summary.json", "RUNNING", "SUCCEEDED")
_CLUSTER = Template("redshift_cluster.xml", "resuming", "available")
_INSTANCE = Template("ec2_instance.xml", "pending", "running")


class Services:
    """Answers one operation at a time: ``answer(operation, body) -> (text, how many resources are in it)``."""

    def __init__(self, clusters: int, end_ms: int) -> None:
        """`clusters` with this end are what a Redshift list of all has in it: no parent names them."""
        self._clusters_of = (clusters, end_ms)
        self._answers: dict[str, Callable[[Any], tuple[str, int]]] = {
            "DescribeTasks": self._tasks, "GetJobRun": self._run, "GetJobRuns": self._runs,
            "DescribeExecution": self._flow, "ListExecutions": self._flows, "DescribeJobs": self._jobs,
            "DescribeClusters": self._clusters, "DescribeInstances": self._instances,
        }  # fmt: skip

    def answer(self, operation: str, body: bytes) -> tuple[str, int]:
        params = dict(parse_qsl(body.decode())) if body.startswith(b"Action=") else json.loads(body)
        return self._answers[operation](params)

    @staticmethod
    def _tasks(params: Any) -> tuple[str, int]:
        found = [_TASK.fill(id_) for id_ in params["tasks"]]
        return f'{{"failures":[],"tasks":[{",".join(found)}]}}', len(found)

    @staticmethod
    def _run(params: Any) -> tuple[str, int]:
        return f'{{"JobRun":{_RUN.fill(params["RunId"], params["JobName"])}}}', 1

    @staticmethod
    def _runs(params: Any) -> tuple[str, int]:
        job = params["JobName"]
        numbers, token = _page("GetJobRuns", int(job.split("-")[1]), params.get("NextToken"))
        found = [_RUN.fill(f"jr_{number:052x}{job[-12:]}", job) for number in numbers]
        more = f',"NextToken":"{token}"' if token else ""
        return f'{{"JobRuns":[{",".join(found)}]{more}}}', len(found)

    @staticmethod
    def _flow(params: Any) -> tuple[str, int]:
        return _FLOW.fill(params["executionArn"], params["executionArn"].split(":")[-2]), 1

    @staticmethod
    def _flows(params: Any) -> tuple[str, int]:
        flow = params["stateMachineArn"].rpartition(":")[2]
        numbers, token = _page("ListExecutions", int(flow.split("-")[1]), params.get("nextToken"))
        if ended(flow):
            numbers, token = range(0), ""  # the list is asked for with statusFilter=RUNNING
        found = [_SUMMARY.fill(f"{_EXECUTION}{flow}:{number:020x}{flow[-12:]}", flow) for number in numbers]
        more = f',"nextToken":"{token}"' if token else ""
        return f'{{"executions":[{",".join(found)}]{more}}}', len(found)

    @staticmethod
    def _jobs(params: Any) -> tuple[str, int]:
        found = [_JOB.fill(id_) for id_ in params["jobs"]]
        return f'{{"jobs":[{",".join(found)}]}}', len(found)

    def _clusters(self, params: Any) -> tuple[str, int]:
        if id_ := params.get("ClusterIdentifier"):
            ids, token = [id_], ""
        else:
            count, end_ms = self._clusters_of
            numbers, token = _page("DescribeClusters", count, params.get("Marker"))
            ids = [f"dwh-{number:08x}-{end_ms:012x}" for number in numbers]
        found = "".join(_CLUSTER.fill(id_) for id_ in ids)
        more = f"<Marker>{token}</Marker>" if token else ""
        return f"<DescribeClustersResult><Clusters>{found}</Clusters>{more}</DescribeClustersResult>", len(ids)

    @staticmethod
    def _instances(params: Any) -> tuple[str, int]:
        ids = [value for name, value in params.items() if name.startswith(("InstanceId.", "Filter.1.Value."))]
        return f"<reservationSet>{''.join(_INSTANCE.fill(id_) for id_ in ids)}</reservationSet>", len(ids)


def _page(operation: str, count: int, token: str | None) -> tuple[range, str]:
    begin = int(token or 0)
    end = min(count, begin + _PAGE[operation])
    return range(begin, end), str(end) if end < count else ""
