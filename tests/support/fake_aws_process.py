"""The fake AWS in a process of its own, with jobs whose names say when they end.

A job is named ``<when>-<anything>``: it runs until that instant (epoch ms), and has succeeded after it; a stop call
ends it at once. So nothing has to be set up, and a restarted fake knows them all. `wait_for` makes the trigger.
"""

import asyncio
import json
import subprocess
import sys
import urllib.request
from types import TracebackType
from typing import Any, Self

from tests.support.fake_aws import NO_QUOTA, Answer, FakeAws, Fault
from tests.support.servers import REPOSITORY
from triggerd.clock import wall_ms
from triggerd.triggers.aws import AwsWaiterTrigger

NEVER_MS = 10**13
"""For a job that only a stop call ends."""
SERVICES = ("glue", "ecs", "batch", "redshift")

# Everything is on loopback, whatever proxy this machine uses for the rest.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for(service: str, job: str, *, delay: float = 1.0, max_attempts: int = 10_000) -> AwsWaiterTrigger:
    """A trigger that waits for the job of this name, with the call that stops it on an explicit cancel."""
    args: dict[str, Any]
    stop: tuple[str, dict[str, Any]] | None
    match service:
        case "glue":
            waiter, args = "job_complete", {"JobName": "etl", "RunId": job}
            stop = ("batch_stop_job_run", {"JobName": "etl", "JobRunIds": [job]})
        case "ecs":
            waiter, args = "tasks_stopped", {"cluster": "c", "tasks": [job]}
            stop = ("stop_task", {"cluster": "c", "task": job})
        case "batch":
            waiter, args = "job_complete", {"jobs": [job]}
            stop = ("terminate_job", {"jobId": job, "reason": "cancelled"})
        case "redshift":
            waiter, args, stop = "cluster_resumed", {"ClusterIdentifier": job}, None
        case _:
            raise ValueError(f"the fake AWS has no {service}")
    return AwsWaiterTrigger(service, waiter, args, delay=delay, max_attempts=max_attempts, cancel_call=stop)


def stopped_job(mutation: dict[str, Any]) -> str:
    """The job that a stop call of `FakeAwsProcess.mutations` has stopped."""
    params = mutation["params"]
    return str(params.get("task") or params.get("jobId") or params["JobRunIds"][0])


class FakeAwsProcess:
    """Starts the fake; leaving the block ends it, and it ends with the test's process too."""

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=REPOSITORY, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the fake AWS did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its stdin: its cause to end

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    def env(self) -> dict[str, str]:
        """What leads a daemon here, with credentials that nobody else knows."""
        connections = {"default": {"region": "us-east-1", "endpoint_url": self.url}}
        return {
            "TRIGGERD_AWS__CONNECTIONS": json.dumps(connections), "TRIGGERD_AWS__QUOTAS": json.dumps(NO_QUOTA),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    def mutations(self) -> list[dict[str, Any]]:
        """Every call that would have changed something: its operation and parameters."""
        found: list[dict[str, Any]] = json.loads(self._ask("counts"))["mutations"]
        return found

    def calls(self) -> dict[str, int]:
        """Calls by operation."""
        found: dict[str, int] = json.loads(self._ask("counts"))["calls"]
        return found

    def weather(self, share: float = 0.0, code: str = "ThrottlingException", status: int = 400) -> None:
        """Let this share of the reads fail; without arguments none."""
        self._ask("weather", {"share": share, "code": code, "status": status})

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with _OPENER.open(f"{self.url}/_fake/{what}", data=data, timeout=10) as answer:
            found: bytes = answer.read()
        return found


class _World:
    """What the jobs are doing."""

    def __init__(self) -> None:
        self._stopped: set[str] = set()

    def script(self, fake: FakeAws) -> None:
        fake.script("GetJobRun", lambda params: {"JobRun": self._glue(params["RunId"])})
        fake.script("DescribeTasks", lambda params: {"tasks": [self._ecs(job) for job in params["tasks"]]})
        fake.script("DescribeJobs", lambda params: {"jobs": [self._batch(job) for job in params["jobs"]]})
        fake.script("DescribeClusters", self._clusters)
        fake.script("BatchStopJobRun", lambda params: self._stop(*params["JobRunIds"]))
        fake.script("StopTask", lambda params: self._stop(params["task"]))
        fake.script("TerminateJob", lambda params: self._stop(params["jobId"]))

    def _clusters(self, params: dict[str, Any]) -> Answer:
        if "ClusterIdentifier" not in params:  # it knows those that somebody names, so it cannot list them
            return Fault("AccessDenied", status=403)
        return {"Clusters": [self._redshift(params["ClusterIdentifier"])]}

    def _stop(self, *jobs: str) -> Answer:
        self._stopped.update(jobs)
        return {}

    def _state(self, job: str, running: str, succeeded: str, stopped: str) -> str:
        if job in self._stopped:
            return stopped
        return succeeded if wall_ms() >= int(job.partition("-")[0]) else running

    def _glue(self, job: str) -> dict[str, Any]:
        return {"Id": job, "JobRunState": self._state(job, "RUNNING", "SUCCEEDED", "STOPPED")}

    def _ecs(self, job: str) -> dict[str, Any]:
        state = self._state(job, "RUNNING", "STOPPED", "STOPPED")
        return {"taskArn": job, "lastStatus": state, "containers": [{"name": "main", "exitCode": 0}]}

    def _batch(self, job: str) -> dict[str, Any]:
        return {"jobId": job, "jobName": job, "status": self._state(job, "RUNNING", "SUCCEEDED", "FAILED")}

    def _redshift(self, job: str) -> dict[str, Any]:
        return {"ClusterIdentifier": job, "ClusterStatus": self._state(job, "resuming", "available", "paused")}


async def _main() -> None:
    async with FakeAws(*SERVICES) as fake:
        fake.keep_reads = False
        _World().script(fake)
        print(fake.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
