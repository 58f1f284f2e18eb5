"""Six tasks that start something slow on AWS and hand the wait to triggerd.

This is what a user of triggerd writes; nothing in this file knows that it is part of a demo. Each task has two halves:

* `execute` runs in a worker: it starts the work with boto3, then calls `self.defer(...)`, which never returns. The
  worker is free for the next task.
* `execute_complete` runs in a Resumer, maybe in another process on another machine, when the wait is over: however it
  ended, `event` says how.

In between there is no process, no thread and no slot: an entry in Redis, and a poll of the daemon now and then. For its
second half the task is built anew from its constructor's arguments; what that half has to know besides travels as
`return_value`.
"""

import json
import logging
from datetime import timedelta
from typing import Any

import boto3

from triggerd import AwsWaiterTrigger, Deferrable, Event

log = logging.getLogger(__name__)

POLL_EVERY_S = 2.0  # on a real account 30 s are kinder: AWS limits how often a state may be asked for
TIMEOUT = timedelta(hours=1)  # a wait ends by itself long before; this is for the case that it cannot


class AwsTask(Deferrable):
    """The second half of all tasks below; they differ in what they start."""

    def execute_complete(self, context: Any, event: Event) -> None:
        """Go on after the wait: here with a line in the log, elsewhere with the next task, a row, an alarm.

        A job that failed on AWS is an answer, not an accident, so nothing is raised here: an exception would put the
        event back, and it would be delivered again.
        """
        if event["status"] == "success":
            log.info("%s is done", context["job"])
        else:
            log.error("%s: %s", context["job"], event["message"])


class RunEcsTask(AwsTask):
    """Runs one task of an ECS task definition until it stops."""

    def __init__(self, cluster: str, task_definition: str) -> None:
        self.cluster = cluster
        self.task_definition = task_definition

    def execute(self, context: Any) -> None:
        started = boto3.client("ecs").run_task(cluster=self.cluster, taskDefinition=self.task_definition)
        task_arn = started["tasks"][0]["taskArn"]
        self.defer(
            trigger=AwsWaiterTrigger(
                "ecs",
                "tasks_stopped",  # a waiter of botocore's own
                {"cluster": self.cluster, "tasks": [task_arn]},
                delay=POLL_EVERY_S,
                return_key="task_arn",
                return_value=task_arn,
            ),
            method_name="execute_complete",
            timeout=TIMEOUT,
        )


class RunGlueJob(AwsTask):
    """Runs a Glue job to its end."""

    def __init__(self, job_name: str) -> None:
        self.job_name = job_name

    def execute(self, context: Any) -> None:
        run_id = boto3.client("glue").start_job_run(JobName=self.job_name)["JobRunId"]
        self.defer(
            trigger=AwsWaiterTrigger(
                "glue",
                "job_complete",  # botocore has no waiter for Glue: this one is in waiters/glue.json
                {"JobName": self.job_name, "RunId": run_id},
                delay=POLL_EVERY_S,
                return_key="run_id",
                return_value=run_id,
            ),
            method_name="execute_complete",
            timeout=TIMEOUT,
        )


class RunStateMachine(AwsTask):
    """Executes a Step Functions state machine; it may well end in its Fail state."""

    def __init__(self, state_machine_arn: str, work: dict[str, Any]) -> None:
        self.state_machine_arn = state_machine_arn
        self.work = work

    def execute(self, context: Any) -> None:
        started = boto3.client("stepfunctions").start_execution(
            stateMachineArn=self.state_machine_arn,
            name=context["job"],  # AWS starts a name once: this task may be tried again
            input=json.dumps(self.work),
        )
        self.defer(
            trigger=AwsWaiterTrigger(
                "stepfunctions",
                "execution_complete",
                {"executionArn": started["executionArn"]},
                delay=POLL_EVERY_S,
                return_key="execution_arn",
                return_value=started["executionArn"],
            ),
            method_name="execute_complete",
            timeout=TIMEOUT,
        )


class RunQuery(AwsTask):
    """Runs an Athena query; somebody may cancel it."""

    def __init__(self, sql: str, workgroup: str) -> None:
        self.sql = sql
        self.workgroup = workgroup

    def execute(self, context: Any) -> None:
        started = boto3.client("athena").start_query_execution(QueryString=self.sql, WorkGroup=self.workgroup)
        self.defer(
            trigger=AwsWaiterTrigger(
                "athena",
                "query_complete",
                {"QueryExecutionId": started["QueryExecutionId"]},
                delay=POLL_EVERY_S,
                return_key="query_id",
                return_value=started["QueryExecutionId"],
            ),
            method_name="execute_complete",
            timeout=TIMEOUT,
        )


class WaitForObject(AwsTask):
    """Starts nothing: waits until somebody else has put an object into S3, or gives up."""

    def __init__(self, bucket: str, key: str, attempts: int) -> None:
        self.bucket = bucket
        self.key = key
        self.attempts = attempts

    def execute(self, context: Any) -> None:
        self.defer(
            trigger=AwsWaiterTrigger(
                "s3",
                "object_exists",
                {"Bucket": self.bucket, "Key": self.key},  # tasks that wait for one object share their polls
                delay=POLL_EVERY_S,
                max_attempts=self.attempts,
                return_key="key",
                return_value=self.key,
            ),
            method_name="execute_complete",
            timeout=TIMEOUT,
        )


class RestartCluster(AwsTask):
    """Pauses a Redshift cluster and resumes it: two waits, one after the other."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster

    def execute(self, context: Any) -> None:
        boto3.client("redshift").pause_cluster(ClusterIdentifier=self.cluster)
        self.defer(trigger=self.wait_for("cluster_paused"), method_name="resume_cluster", timeout=TIMEOUT)

    def resume_cluster(self, context: Any, event: Event) -> None:
        """Between the waits: a continuation may defer again."""
        if event["status"] != "success":
            self.execute_complete(context, event)
            return
        boto3.client("redshift").resume_cluster(ClusterIdentifier=self.cluster)
        self.defer(trigger=self.wait_for("cluster_resumed"), method_name="execute_complete", timeout=TIMEOUT)

    def wait_for(self, waiter: str) -> AwsWaiterTrigger:
        """A trigger that waits for this cluster."""
        return AwsWaiterTrigger(
            "redshift",
            waiter,
            {"ClusterIdentifier": self.cluster},
            delay=POLL_EVERY_S,
            return_key="cluster",
            return_value=self.cluster,
        )


TASKS = (RunEcsTask, RunGlueJob, RunStateMachine, RunQuery, WaitForObject, RestartCluster)
