"""The worker: starts every job with boto3, defers each wait, and is gone long before the jobs have ended.

python -m examples.demo.worker REDIS_URL FOLDER JOBS
"""

import sys
from pathlib import Path
from typing import Any

import boto3

from examples.demo.jobs import plan
from examples.demo.records import Records, Started
from triggerd import Client
from triggerd.clock import wall_ms


def main(redis_url: str, folder: str, count: str) -> None:
    """Start `count` jobs, one after the other."""
    records = Records(Path(folder))
    answers: list[Any] = [None]
    # Listens to what AWS itself answers, so that the check at the end does not depend on what the tasks say.
    boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("after-call", lambda parsed, **_: answers.append(parsed))
    with Client(redis_url) as td:
        for job in plan(int(count)):
            td.start(job.task, context={"job": job.name}, id=job.name)
            records.started_file.append(Started(job.name, job.service, wall_ms(), job.expected(answers[-1])))


if __name__ == "__main__":
    main(*sys.argv[1:])
