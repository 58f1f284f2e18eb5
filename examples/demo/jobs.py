"""Which jobs the demo starts, in which order, and what each task must be resumed with."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jmespath

from examples.demo.records import Expected
from examples.demo.tasks import RestartCluster, RunEcsTask, RunGlueJob, RunQuery, RunStateMachine, WaitForObject
from triggerd import Deferrable

ACCOUNT = "123456789012"  # moto's
REGION = "us-east-1"
CLUSTER, TASK_DEFINITION, GLUE_JOB, BUCKET = "demo", "report", "nightly-etl", "demo-exports"
STATE_MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:pipeline"
WORKGROUP, CANCELLED_WORKGROUP = "reports", "ad-hoc"

READERS = 4
"""So many tasks wait for the same object."""
MISSING_OBJECT = 0
"""Nobody ever puts the object of this number: the tasks that wait for it run out of attempts."""

_SHARE_PERCENT = {"ecs": 26, "glue": 20, "stepfunctions": 26, "s3": 16, "athena": 10, "redshift": 2}
SERVICES = tuple(_SHARE_PERCENT)


@dataclass(frozen=True, slots=True)
class Job:
    """One job to start.

    Attributes:
        name: Its trigger id, and `context["job"]` for the task.
        key: `return_key` of its trigger.
        value: Where in AWS's answer to the start (JMESPath) the value of that key stands; a constant in quotes.
        fails: What the message of its error says; "" where it succeeds.
        waits: So many waits, one after the other.
    """

    name: str
    service: str
    task: Deferrable
    key: str
    value: str
    fails: str = ""
    waits: int = 1

    def expected(self, answer: Any) -> dict[str, Expected]:
        """What its events must hold, by event id; `answer` is what AWS answered when it was started."""
        status = "error" if self.fails else "success"
        expected = Expected(status, self.key, jmespath.search(self.value, answer), self.fails)
        # The trigger id of the second wait follows from the first one's, so a repeated continuation defers once.
        trigger_ids = [self.name, *(f"{self.name}+{leg}" for leg in range(2, self.waits + 1))]
        return {f"{trigger_id}:1": expected for trigger_id in trigger_ids}


def plan(count: int) -> list[Job]:
    """`count` jobs of all services, well mixed; the same ones every time."""
    counts = {service: max(1, count * percent // 100) for service, percent in _SHARE_PERCENT.items()}
    counts["ecs"] += count - sum(counts.values())
    jobs = [job for service, many in counts.items() for job in _of_service(service, many)]
    random.Random(count).shuffle(jobs)
    return jobs


def objects(jobs: list[Job]) -> list[str]:
    """The keys of the objects that will come, in this order."""
    keys = {job.task.key for job in jobs if isinstance(job.task, WaitForObject)}
    return sorted(keys - {object_key(MISSING_OBJECT)})


def clusters(jobs: list[Job]) -> list[str]:
    """The Redshift clusters that must be there."""
    return [job.task.cluster for job in jobs if isinstance(job.task, RestartCluster)]


def object_key(number: int) -> str:
    """The key of an object that tasks wait for."""
    return f"exports/{number:03}.csv"


def _of_service(service: str, count: int) -> Iterator[Job]:
    make = _MAKERS[service]
    for number in range(count):
        yield make(f"{service}-{number:03}", number)


def _ecs(name: str, _number: int) -> Job:
    return Job(name, "ecs", RunEcsTask(CLUSTER, TASK_DEFINITION), "task_arn", "tasks[0].taskArn")


def _glue(name: str, _number: int) -> Job:
    return Job(name, "glue", RunGlueJob(GLUE_JOB), "run_id", "JobRunId")


def _stepfunctions(name: str, number: int) -> Job:
    """Works for 3 to 14 s, really; every sixth ends in the state machine's Fail state."""
    broken = number % 6 == 5
    work = {"seconds": 3 + number % 12, "broken": broken}
    fails = "FAILED" if broken else ""
    return Job(name, "stepfunctions", RunStateMachine(STATE_MACHINE, work), "execution_arn", "executionArn", fails)


def _athena(name: str, number: int) -> Job:
    """Every fifth runs in a workgroup whose queries somebody cancels."""
    doomed = number % 5 == 1
    task = RunQuery(f"SELECT {number}", CANCELLED_WORKGROUP if doomed else WORKGROUP)
    return Job(name, "athena", task, "query_id", "QueryExecutionId", "CANCELLED" if doomed else "")


def _s3(name: str, number: int) -> Job:
    missing = number // READERS == MISSING_OBJECT
    key = object_key(number // READERS)
    task = WaitForObject(BUCKET, key, attempts=6 if missing else 30)
    return Job(name, "s3", task, "key", f"'{key}'", "used up" if missing else "")


def _redshift(name: str, number: int) -> Job:
    cluster = f"dwh-{number}"
    return Job(name, "redshift", RestartCluster(cluster), "cluster", f"'{cluster}'", waits=2)


_MAKERS: dict[str, Callable[[str, int], Job]] = {
    "ecs": _ecs, "glue": _glue, "stepfunctions": _stepfunctions, "s3": _s3, "athena": _athena, "redshift": _redshift,
}  # fmt: skip
