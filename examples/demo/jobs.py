"""What is to be done: the same jobs in every run, and what shall become of each."""

from dataclasses import dataclass
from typing import Any

MACHINE_ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:demo"
SERVICES = ("ecs", "glue", "athena", "stepfunctions", "s3", "redshift")

# Of each 20 jobs: some that wait for something of their own, and some that wait for what others wait for, too.
_MIX = ("ecs", "stepfunctions", "s3", "glue", "athena", "s3", "redshift", "stepfunctions", "s3", "ecs",
        "glue", "s3", "athena", "stepfunctions", "redshift", "s3", "stepfunctions", "athena", "s3", "glue")  # fmt: skip
_TASKS_PER_PARTITION = 8
_TASKS_PER_CLUSTER = 6

_TASKS = {
    "ecs": "RunEcsTask",
    "glue": "RunGlueJob",
    "athena": "RunQuery",
    "stepfunctions": "RunStateMachine",
    "s3": "AwaitPartition",
    "redshift": "AwaitPause",
}
# What is different in a job that fails; how its trigger then ends; words of the error that its task is resumed with.
_FAILURES: dict[str, tuple[dict[str, Any], str, str]] = {
    "ecs": ({"timeout_s": 3}, "timed_out", "passed"),
    "glue": ({"job_name": "demo-dropped"}, "fired", "EntityNotFoundException"),
    "athena": ({"workgroup": "demo-stopped"}, "fired", "CANCELLED"),
    "stepfunctions": ({"fails": True}, "fired", "FAILED"),
    "s3": ({"key": "part=never/_SUCCESS", "max_attempts": 8}, "fired", "attempts"),
    "redshift": ({"cluster": "demo-deleted"}, "fired", "ClusterNotFound"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One job and its end.

    Attributes:
        name: Unique; the trigger id, too.
        service: botocore's name.
        task: The class in `tasks.py`.
        arguments: Of its constructor, besides the name.
        outcome: How the trigger shall end.
        error: Words of the error with which the task shall be resumed; empty: with success.
    """

    name: str
    service: str
    task: str
    arguments: dict[str, Any]
    outcome: str = "fired"
    error: str = ""

    def complaint(self, outcome: str, payload: dict[str, Any]) -> str:
        """What is wrong with what this job's task was resumed with; empty if nothing is."""
        if outcome != self.outcome:
            return f"outcome {outcome}, not {self.outcome}, with {payload!r}"
        if not self.error:
            wanted = {"status": "success", "value": self.name}
            return "" if payload == wanted else f"payload {payload!r}, not {wanted!r}"
        if payload.get("status") == "error" and self.error in payload["message"]:
            return ""
        return f"payload {payload!r}, not an error that says {self.error!r}"


def plan(count: int) -> list[Job]:
    """`count` jobs in the order in which they are started.

    A tenth of each service's fail, at least one. They are started last: some of them fail because the world changes
    under them, and none shall be finished before it does.
    """
    services = [_MIX[number % len(_MIX)] for number in range(count)]
    sound: list[Job] = []
    failing: list[Job] = []
    for position, service in enumerate(services):
        number, total = services[:position].count(service), services.count(service)
        name, arguments = f"{service}-{number:03}", _arguments(service, number)
        if number < total - max(1, total // 10):
            sound.append(Job(name, service, _TASKS[service], arguments))
        else:
            different, outcome, error = _FAILURES[service]
            failing.append(Job(name, service, _TASKS[service], arguments | different, outcome, error))
    return sound + failing


def _arguments(service: str, number: int) -> dict[str, Any]:
    arguments: dict[str, dict[str, Any]] = {
        "ecs": {"timeout_s": 600},
        "glue": {"job_name": "demo"},
        "athena": {"workgroup": "primary"},
        "stepfunctions": {"machine_arn": MACHINE_ARN, "takes_s": 4 + number % 8, "fails": False},
        "s3": {"key": f"part={number // _TASKS_PER_PARTITION:02}/_SUCCESS", "max_attempts": 300},
        "redshift": {"cluster": f"demo-{number // _TASKS_PER_CLUSTER}"},
    }
    return arguments[service]
