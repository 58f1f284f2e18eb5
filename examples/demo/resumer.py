"""The resumer: takes each event from the result stream and lets its task go on.

python -m examples.demo.resumer REDIS_URL FOLDER SABOTAGE
"""

import logging
import sys
from dataclasses import replace
from pathlib import Path

import boto3

from examples.demo.records import RecordFile, Records, Resumed
from examples.demo.tasks import TASKS
from triggerd import Client, Event, Resumer
from triggerd.clock import wall_ms

SABOTAGES = ("lose", "repeat", "alter")
"""What can be done to one record, to prove that the check at the end is one."""


class RecordingResumer(Resumer):
    """A Resumer that writes down every resumption. A user would have no need for it."""

    def __init__(self, client: Client, record_file: RecordFile, sabotage: str) -> None:
        super().__init__(client)
        self._file, self._sabotage = record_file, sabotage

    def resume(self, queue: str, reply_to: str, event: Event) -> None:
        resumed_ms = wall_ms()
        super().resume(queue, reply_to, event)
        polls, waited_s = event.details.get("polls", 0), event.details.get("waited_s", 0.0)
        timings = (polls, waited_s, event.fired_ms, resumed_ms)
        record = Resumed(event.event_id, event.outcome, event.payload, *timings)
        sabotage, self._sabotage = self._sabotage, ""
        match sabotage:
            case "lose":
                return
            case "repeat":
                self._file.append(record)
            case "alter":
                record = replace(record, payload={**event.payload, "status": "altered"})
        self._file.append(record)


def main(redis_url: str, folder: str, sabotage: str) -> None:
    """Resume tasks until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    boto3.client("redshift")  # loads what it takes to talk to Redshift before an event has to wait for it
    with Client(redis_url) as td:
        resumer = RecordingResumer(td, Records(Path(folder)).resumed_file, sabotage)
        for task in TASKS:
            resumer.register(task)
        Path(folder, "resumer.ready").touch()
        resumer.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
